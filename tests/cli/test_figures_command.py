"""`pyrovae figures`: it draws what `fit` draws, and completes the folder of an interrupted run."""

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.training.folder import RunFolder
from tests.support.interrupted import stop_after
from tests.support.same_runs import assert_same_runs, checkpoint, same

SMALL = "--encoder MLP --encoder.sizes [8] --decoder MLP --decoder.sizes [8] --latent_dim 2 --compile false"
FIT = f"fit --data digits --binarize threshold --count 150 {SMALL} --epochs 2 --lr_schedule constant"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "r"
    assert main([*FIT.split(), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A copy of the run, as r in the working folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, "r")
    return Path("r")


def pictures(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def epochs(folder):
    """The lines of metrics.csv after its first."""
    path = Path(folder, "metrics.csv")
    return path.read_text().splitlines()[1:] if path.exists() else []


def test_the_figures_are_those_of_fit(run, finished, capsys):
    before = {path: path.read_bytes() for path in run.glob("*.*")}
    shutil.rmtree(run / "figures")
    assert main(["figures", "r"]) == 0
    assert pictures(run / "figures") == pictures(finished / "figures")
    assert len(pictures(run / "figures")) == 5
    assert before == {path: path.read_bytes() for path in before}
    assert "written: r/figures/training.png, r/figures/samples.png" in capsys.readouterr().out
    assert main(["figures", "r", "--out", "elsewhere/new", "--seed", "1"]) == 0
    other, drawn = pictures(Path("elsewhere/new")), pictures(finished / "figures")
    different = {name for name in drawn if drawn[name] != other[name]}
    assert {"samples.png"} <= different <= {"samples.png", "reconstructions.png"}


def test_missing_and_old_files_are_completed(run, finished, capsys):
    shutil.rmtree(run / "figures")
    for name in ("config.yaml", "best.ckpt"):
        (run / name).unlink()
    first = (run / "metrics.csv").read_text().splitlines(keepends=True)[:2]
    (run / "metrics.csv").write_text("".join(first))
    assert main(["figures", "r"]) == 0
    assert "written: r/config.yaml, r/best.ckpt, r/metrics.csv, r/figures/" in capsys.readouterr().out
    assert (run / "config.yaml").read_bytes() == (finished / "config.yaml").read_bytes()
    assert (run / "metrics.csv").read_bytes() == (finished / "metrics.csv").read_bytes()
    assert_same_runs(run, finished)
    one, two = checkpoint(run, "best"), checkpoint(finished, "best")
    assert {name: one[name] for name in ("epoch", "mark", "config", "identity")} == {
        name: two[name] for name in ("epoch", "mark", "config", "identity")
    }
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] is None] == [name for name in two if two[name] is None]
    assert pictures(run / "figures") == pictures(finished / "figures")


def test_a_run_that_is_killed_has_its_figures_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [*FIT.replace("--epochs 2", "--epochs 5000 --checkpoint_seconds 0").split(), "--out", "my run"]
    command = [sys.executable, "-m", "pyrovae", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 60
        while len(epochs("my run")) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        process.kill()
    assert not list(Path("my run/figures").iterdir())
    assert main(["figures", "my run"]) == 0
    assert len(pictures(Path("my run/figures"))) == 5
    done = checkpoint("my run")["state"]["position"]["epoch"]
    assert main(["fit", "--out", "my run", "--resume", "--epochs", str(done + 1), "--figures", "false"]) == 0


def test_the_message_after_ctrl_c_is_two_commands_to_paste(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [*FIT.split(), "--out", "my run", "--batch_size", "50"]
    with stop_after(3):
        assert main(words) == 130
    error = capsys.readouterr().err
    assert error.startswith(
        "pyrovae: stopped after 3 steps; resume it with pyrovae fit --out 'my run' --resume, "
    )
    resume, draw = error.partition("resume it with ")[2].split(", or draw its figures so far with ")
    assert main(shlex.split(draw)[1:]) == 0
    assert main(shlex.split(resume)[1:]) == 0
    assert len(pictures(Path("my run/figures"))) == 5


def test_a_run_without_a_whole_epoch(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with stop_after(1):
        assert main([*FIT.split(), "--out", "r", "--batch_size", "20"]) == 130
    assert "figures" not in capsys.readouterr().err
    assert main(["figures", "r"]) == 2
    said = "r has finished no epoch to draw: resume it with pyrovae fit --out r --resume"
    assert capsys.readouterr().err == f"pyrovae: {said}\n"


def test_a_run_that_is_being_trained_is_drawn_as_it_is(run):
    (run / "metrics.csv").unlink()
    with RunFolder(run, resume=True).locked():
        assert main(["figures", "r", "--out", "now"]) == 0
    assert len(pictures(Path("now"))) == 5
    assert not (run / "metrics.csv").exists()


def test_a_run_of_fit_prior_has_no_history(run):
    words = "fit-prior r --prior GaussianMixture --prior.components 2 --epochs 1 --out n"
    assert main(words.split()) == 0
    before = pictures(Path("n/figures"))
    shutil.rmtree("n/figures")
    assert main(["figures", "n"]) == 0
    assert pictures(Path("n/figures")) == before
    assert "training.png" not in before


def test_a_hand_written_program_has_the_curves_of_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def model(x, context=None, y=None):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            loc = pyro.param("loc", torch.zeros(()))
            pyro.sample("x", dist.Normal(loc + z, 1.0), obs=x)

    def guide(x, context=None, y=None):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x * pyro.param("scale", torch.tensor(0.1)), 1.0))

    x = torch.randn(40)
    pv.fit((model, guide), x, epochs=1, batch_size=10, out="r", progress=False, compile=False)
    shutil.rmtree("r/figures")
    assert main(["figures", "r"]) == 0
    assert list(pictures(Path("r/figures"))) == ["training.png"]


def test_weights_that_are_completed_after_training_are_kept(tmp_path, monkeypatch):
    """A Laplace approximation is made after the last epoch, so best.ckpt has more than last.ckpt."""
    monkeypatch.chdir(tmp_path)
    words = "fit --data ring --count 120 --latent_dim 1 --epochs 1 --compile false --figures false --out r"
    words += " --encoder MLP --encoder.sizes [8] --decoder Bayesian --decoder.posterior laplace"
    assert main(words.split()) == 0
    before = Path("r/best.ckpt").read_bytes()
    assert not same(checkpoint("r", "best")["weights"], checkpoint("r")["best"])
    assert main(["figures", "r"]) == 0
    assert Path("r/best.ckpt").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "there is no checkpoint nowhere/best.ckpt: is this the folder of a run?"),
        (["r", "--seed", "-1"], "seed must be a whole number of 0 or more, not -1"),
        (["r", "--data", "moons"], "moons"),
    ],
)
def test_bad_input(run, words, said, capsys):
    assert main(["figures", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not Path("nowhere").exists()


def test_a_damaged_last_checkpoint(run, capsys):
    (run / "last.ckpt").write_bytes((run / "last.ckpt").read_bytes()[:200])
    assert main(["figures", "r"]) == 2
    assert "r/last.ckpt cannot be read" in capsys.readouterr().err
