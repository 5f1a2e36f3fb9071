"""`pyrovae sweep`: a grid of runs from the command line, and how `compare` reads them."""

import os
import shlex
import signal
import subprocess
import sys

import pandas
import pytest
import yaml

from pyrovae.cli import main

DATA = "--data digits --count 200 --binarize threshold".split()
SMALL = (
    "--encoder MLP --encoder.sizes [8] --decoder MLP --decoder.sizes [8] --epochs 1 --compile false".split()
)
QUICK = "--seeds 2 --particles 5 --out a".split()


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def table(folder="a"):
    return pandas.read_csv(f"{folder}/table.csv", index_col="name")


def test_a_grid_of_runs(tmp_path, capsys):
    grid = ["--grid", "latent_dim=1,2", "--grid", "lr=1e-3,1e-2"]
    assert main(["sweep", *DATA, *SMALL, *QUICK, *grid]) == 0
    text = capsys.readouterr().out
    assert "8/8  " in text
    assert "4 points with 2 seeds: nats per observation, 40 rows of the test set" in text
    assert list(table().index) == [f"latent_dim={n} lr={lr}" for n in (1, 2) for lr in ("0.001", "0.01")]
    config = yaml.safe_load((tmp_path / "a/latent_dim=2,lr=0.01/seed-1/config.yaml").read_text())
    assert (config["latent_dim"], config["lr"], config["seed"], config["data"]) == (2, 0.01, 1, "digits")
    runs = [f"a/latent_dim={n},lr=0.01/seed-0" for n in (1, 2)]
    assert main(["compare", *runs, "--particles", "5"]) == 0
    assert runs[1] in capsys.readouterr().out
    assert main(["evaluate", runs[0], "--particles", "5", "--bounds", "[1]", "--method", "Importance"]) == 0


def test_several_words_may_follow_one_grid():
    assert main(["sweep", *DATA, *SMALL, *QUICK, "--grid", "latent_dim=1,2", "lr=1e-3,1e-2"]) == 0
    assert len(table()) == 4


def test_the_fixed_options_come_from_a_run(tmp_path):
    """The config.yaml of a run has all options of a run, also its seed."""
    assert (
        main(["fit", *DATA, *SMALL, "--latent_dim", "3", "--lr", "0.004", "--seed", "7", "--out", "r"]) == 0
    )
    words = ["--config", "r/config.yaml", "--grid", "latent_dim=3,4", "--seeds", "1", "--out", "a"]
    assert main(["sweep", *words, "--particles", "5"]) == 0
    one = yaml.safe_load((tmp_path / "r/config.yaml").read_text())
    two = yaml.safe_load((tmp_path / "a/latent_dim=3/seed-7/config.yaml").read_text())
    assert one == two
    first, second = ((tmp_path / run / "metrics.csv").read_text() for run in ("r", "a/latent_dim=3/seed-7"))
    validation = first.splitlines()[0].split(",").index("validation")
    assert first.splitlines()[1].split(",")[validation] == second.splitlines()[1].split(",")[validation]


def test_parts_and_their_options_vary():
    words = ["--grid", "prior=StandardNormal,GaussianMixture", "--grid", "prior.components=2,3"]
    assert main(["sweep", *DATA, *SMALL, *QUICK[2:], "--seeds", "1", *words]) == 0
    assert [name.split()[0] for name in table().index] == [
        "prior=StandardNormal", "prior=GaussianMixture", "prior=GaussianMixture"
    ]  # fmt: skip


def test_the_same_command_goes_on_and_another_is_refused(capsys):
    words = ["sweep", *DATA, *SMALL, "--particles", "5", "--out", "a", "--grid"]
    assert main([*words, "latent_dim=1,2", "--seeds", "1"]) == 0
    capsys.readouterr()
    assert main([*words, "latent_dim=1,2", "--seeds", "2", "--jobs", "1"]) == 0
    assert capsys.readouterr().out.startswith("2 of 4 runs are done\n3/4  ")
    assert main([*words, "latent_dim=1,3", "--seeds", "1"]) == 2
    assert "latent_dim.choose was [1, 2] and is [1, 3]" in capsys.readouterr().err
    assert main([*words, "latent_dim=1,2", "--split_seed", "4"]) == 2
    assert "split_seed was 0 and is 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "nothing is varied: give at least one --grid"),
        (["--grid", "latent_dim"], "not of the form name=values"),
        (["--grid", "latentdim=1,2"], "latent_dim"),
        (["--grid", "latent_dim=3"], "no choices"),
        (["--grid", "binarize=dynamic,static"], "changes the data"),
        (["--grid", "lr=1e-4..1e-2:log"], "no finite list of values"),
        (["--grid", "lr=1,2", "--grid", "lr=3,4"], "varied twice"),
        (["--grid", "lr=-1,-2"], "all 4 runs failed, the first (lr=-1) with: lr must be"),
        (["--grid", "prior=Nothing,StandardNormal"], "there is no prior 'Nothing'"),
        (["--grid", "lr=1,2", "--jobs", "0"], "jobs must be"),
        (["--grid", "lr=1,2", "--seeds", "x"], "--seeds cannot be 'x'"),
        (["--grid", "lr=1,2", "--resume", "true"], "there is no option --resume"),
    ],
)
def test_bad_input_is_one_sentence(words, sentence, capsys):
    assert main(["sweep", *DATA, *SMALL, *QUICK, *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert sentence in error


def test_a_part_from_a_module_of_the_user(tmp_path):
    """It travels to the processes, and the runs name it."""
    code = "from pyrovae.priors import StandardNormal\nclass Mine(StandardNormal):\n    pass\n"
    (tmp_path / "my_parts_of_a_sweep.py").write_text(code)
    command = [sys.executable, "-m", "pyrovae", "sweep", *DATA, *SMALL, *QUICK, "--jobs", "2"]
    command += ["--prior", "my_parts_of_a_sweep.Mine", "--grid", "latent_dim=1,2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load((tmp_path / "a/latent_dim=1/seed-0/config.yaml").read_text())
    assert config["prior"]["class_path"] == "my_parts_of_a_sweep.Mine"


def test_ctrl_c_prints_the_table_of_what_there_is():
    words = [*DATA, *SMALL, "--epochs", "60", "--particles", "5", "--out", "a"]
    command = [sys.executable, "-m", "pyrovae", "sweep", *words, "--seeds", "50", "--jobs", "2"]
    command += ["--grid", "latent_dim=1,2"]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, start_new_session=True) as process:
        while not process.stdout.readline().startswith("1/100 "):
            pass
        os.killpg(process.pid, signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 100 runs (stopped early)" in out
    assert errors.startswith("pyrovae: stopped after ")
    assert errors.endswith(f" of 100 runs; go on with pyrovae {shlex.join(command[3:])}\n")
    assert table()["seeds"].max() >= 1
