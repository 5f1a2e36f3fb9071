"""Resume: a run that was stopped, in whatever way, ends bit for bit like one that never was."""

import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.errors import InputError
from pyrovae.terms import Runner
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.training.folder import RunFolder
from pyrovae.training.saver import Saver
from tests.support.interrupted import (
    Crashed,
    crash_after,
    file_limit,
    fit_in_pieces,
    stop_after,
    wait_for_step,
)
from tests.support.same_runs import assert_same_runs, binary, checkpoint, same, small, table, untimed

QUIET = {"progress": False, "figures": False, "batch_size": 8, "epochs": 3}
QUIET |= {"lr": 1e-3, "lr_schedule": "constant", "kl_warmup": 0}  # so that a run may be extended
STEPS_AN_EPOCH = 5
EPOCHS = 3


@pytest.fixture
def data():
    return pv.datasets.load(binary(58), validation=10, test=10)


# -------------------------------------------------------------------- in this process

RUNS = {
    "plain": {},
    "IWAE": {"objective": pv.objectives.IWAE(3)},
    "schedules": {"lr_schedule": "cosine", "kl_warmup": 1.7, "clip": 0.1},
    "radam": {"optimizer": "radam", "lr_schedule": "linear"},
    "sgd": {"optimizer": "sgd"},
    "adamax": {"optimizer": "adamax"},
    "early stopping": {"patience": 2, "lr": 0.3, "epochs": 12},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_crashed_run_ends_like_one_that_never_was(data, tmp_path, name):
    settings = QUIET | {"checkpoint_seconds": 0} | RUNS[name]
    whole, pieces = small(), tmp_path / "pieces"
    run = pv.fit(whole, data, out=tmp_path / "whole", **settings)
    again = fit_in_pieces(small, data, pieces, (0, 3, 5, 6, 11), **settings)
    assert_same_runs(tmp_path / "whole", pieces)
    assert same(whole.state_dict(), again.program.state_dict())
    assert untimed(run.history) == untimed(again.history)
    assert run.best_epoch == again.best_epoch
    if name == "early stopping":
        assert len(run.history["epoch"]) < 12


def test_a_run_whose_checkpoints_are_rare_goes_back_to_the_last_one(data, tmp_path):
    """By default nothing is written within an epoch this short: a crash loses it, and it is run again."""
    pv.fit(small(), data, out=tmp_path / "whole", **QUIET)
    with crash_after(8), pytest.raises(Crashed):
        pv.fit(small(), data, out=tmp_path / "pieces", **QUIET)
    assert checkpoint(tmp_path / "pieces")["state"]["position"]["step"] in (0, STEPS_AN_EPOCH)
    pv.fit(small(), data, out=tmp_path / "pieces", resume=True, **QUIET)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")


@pytest.mark.parametrize("binarize", ["dynamic", "static"])
def test_grey_data_are_binarised_in_the_same_way(tmp_path, binarize):
    grey = torch.rand(58, 1, 4, 4)
    data = pv.datasets.load(grey, binarize=binarize, validation=10, test=10)
    settings = QUIET | {"checkpoint_seconds": 0}
    pv.fit(small(), data, out=tmp_path / "whole", **settings)
    fit_in_pieces(small, data, tmp_path / "pieces", (4, 7), **settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")


@pytest.mark.parametrize("binarize", ["dynamic", None])
def test_a_stream_resumes_within_an_epoch(tmp_path, binarize):
    rows = torch.rand(58, 1, 4, 4) if binarize else binary(58)
    stream = torch.utils.data.TensorDataset(rows)
    data = pv.datasets.load(stream, binarize=binarize, stream=True, validation=10, test=10)
    assert data.streams
    settings = QUIET | {"checkpoint_seconds": 0}
    pv.fit(small(), data, out=tmp_path / "whole", **settings)
    fit_in_pieces(small, data, tmp_path / "pieces", (4, 7), **settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")


def test_a_conditional_vae_resumes(tmp_path):
    labelled = torch.utils.data.TensorDataset(binary(58), torch.arange(58) % 3)
    data = pv.datasets.load(labelled, context="labels", validation=10, test=10)
    settings = QUIET | {"checkpoint_seconds": 0}

    def make():
        return small(context_shape=(3,), prior=pv.priors.GaussianMixture(2))

    pv.fit(make(), data, out=tmp_path / "whole", **settings)
    fit_in_pieces(make, data, tmp_path / "pieces", (4, 7), **settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")


def test_a_hand_written_pair_resumes(tmp_path):
    x = torch.randn(58, 1)

    def model(x):
        loc = pyro.param("loc", lambda: torch.randn(()))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(loc, 1.0))
            pyro.sample("x", dist.Normal(z[..., None], 1.0).to_event(1), obs=x)

    def guide(x):
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0] / 2, scale))

    def make():
        pyro.clear_param_store()
        return model, guide

    settings = QUIET | {"checkpoint_seconds": 0}
    pv.fit(make(), x, out=tmp_path / "whole", **settings)
    learned = {name: value.detach().clone() for name, value in pyro.get_param_store().items()}
    fit_in_pieces(make, x, tmp_path / "pieces", (4, 9), **settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")
    assert same(learned, {name: value.detach() for name, value in pyro.get_param_store().items()})


def test_a_lock_that_is_a_link_is_refused_and_what_it_points_to_is_kept(data, tmp_path):
    pv.fit(small(), data, out=tmp_path / "r", **QUIET)
    precious = tmp_path / "precious"
    precious.write_text("work of years")
    (tmp_path / "r" / ".lock").unlink()
    (tmp_path / "r" / ".lock").symlink_to(precious)
    with pytest.raises(InputError, match=r"\.lock is a link or a device"):
        pv.fit(small(), data, out=tmp_path / "r", resume=True, **QUIET)
    assert precious.read_text() == "work of years"


# -------------------------------------------------------------------- Ctrl-C


@pytest.mark.parametrize("steps", [1, 5, 7])
def test_ctrl_c_writes_a_checkpoint_and_says_how_to_resume(data, tmp_path, steps):
    pv.fit(small(), data, out=tmp_path / "whole", **QUIET)
    handler = signal.getsignal(signal.SIGINT)
    with stop_after(steps), pytest.raises(KeyboardInterrupt, match="resume=True") as stopped:
        pv.fit(small(), data, out=tmp_path / "pieces", **QUIET)
    assert f"stopped after {steps} steps" in str(stopped.value)
    assert signal.getsignal(signal.SIGINT) is handler
    assert checkpoint(tmp_path / "pieces")["state"]["position"]["step"] == steps
    pv.fit(small(), data, out=tmp_path / "pieces", resume=True, **QUIET)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")


def test_ctrl_c_stops_at_once_while_pictures_are_drawn(data, tmp_path, monkeypatch):
    """No step is left that would look at a request."""
    drawn = []

    def draw(*args, **options):
        os.kill(os.getpid(), signal.SIGINT)
        drawn.append(True)

    monkeypatch.setattr("pyrovae.report.save_figures", draw)
    with pytest.raises(KeyboardInterrupt):
        pv.fit(small(), data, out=tmp_path / "r", **(QUIET | {"figures": True}))
    assert not drawn
    assert len(table(tmp_path / "r")) == EPOCHS


def test_ctrl_c_in_the_last_step_comes_too_late(data, tmp_path):
    with stop_after(EPOCHS * STEPS_AN_EPOCH):
        run = pv.fit(small(), data, out=tmp_path / "r", **QUIET)
    assert len(run.history["epoch"]) == EPOCHS


# -------------------------------------------------------------------- what may change, and what may not


def test_a_finished_run_is_returned_as_it_is(data, tmp_path):
    first = pv.fit(small(), data, out=tmp_path / "r", **QUIET)
    shutil.copytree(tmp_path / "r", tmp_path / "before")
    second = pv.fit(small(), data, out=tmp_path / "r", resume=True, **QUIET)
    assert_same_runs(tmp_path / "before", tmp_path / "r")
    assert same(first.program.state_dict(), second.program.state_dict())
    assert untimed(first.history) == untimed(second.history)


def test_more_epochs_continue_as_if_they_had_been_asked_for_at_once(data, tmp_path):
    pv.fit(small(), data, out=tmp_path / "whole", **(QUIET | {"epochs": 5}))
    pv.fit(small(), data, out=tmp_path / "pieces", **QUIET)
    pv.fit(small(), data, out=tmp_path / "pieces", resume=True, **(QUIET | {"epochs": 5}))
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")
    whole, pieces = ((tmp_path / name / "config.yaml").read_text() for name in ("whole", "pieces"))
    assert whole == pieces


def test_more_patience_continues_a_run_that_stopped_early(data, tmp_path):
    settings = QUIET | {"lr": 0.3, "epochs": 15}
    pv.fit(small(), data, out=tmp_path / "whole", patience=5, **settings)
    pv.fit(small(), data, out=tmp_path / "pieces", patience=1, **settings)
    assert len(table(tmp_path / "pieces")) < len(table(tmp_path / "whole"))
    pv.fit(small(), data, out=tmp_path / "pieces", patience=5, resume=True, **settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")


def test_resuming_in_a_folder_that_does_not_exist_starts_a_run(data, tmp_path):
    pv.fit(small(), data, out=tmp_path / "whole", **QUIET)
    pv.fit(small(), data, out=tmp_path / "deep" / "new", resume=True, **QUIET)
    assert_same_runs(tmp_path / "whole", tmp_path / "deep" / "new")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": 1}, "another seed .was 0 and is 1"),
        ({"lr": 0.1}, "another lr .was 0.001 and is 0.1"),
        ({"batch_size": 9}, "another batch_size"),
        ({"optimizer": "sgd"}, "another optimizer"),
        ({"clip": 1.0}, "another clip"),
        ({"kl_warmup": 1.0}, "another kl_warmup"),
        ({"lr_schedule": "linear"}, "another lr_schedule"),
        ({"objective": pv.objectives.IWAE(2)}, "another objective"),
        ({"epochs": 2}, "is already in epoch 3"),
    ],
)
def test_a_run_is_not_resumed_with_another_setting(data, tmp_path, changed, said):
    pv.fit(small(), data, out=tmp_path / "r", **QUIET)
    shutil.copytree(tmp_path / "r", tmp_path / "before")
    with pytest.raises(InputError, match=said):
        pv.fit(small(), data, out=tmp_path / "r", resume=True, **(QUIET | changed))
    assert_same_runs(tmp_path / "before", tmp_path / "r")
    before, after = ((tmp_path / name / "config.yaml").read_text() for name in ("before", "r"))
    assert before == after


def test_a_schedule_to_the_last_step_does_not_move_its_end(data, tmp_path):
    settings = QUIET | {"lr_schedule": "cosine"}
    pv.fit(small(), data, out=tmp_path / "r", **settings)
    with pytest.raises(InputError, match="another epochs .was 3 and is 5"):
        pv.fit(small(), data, out=tmp_path / "r", resume=True, **(settings | {"epochs": 5}))


def test_a_run_is_not_resumed_with_another_declaration_or_other_data(data, tmp_path):
    pv.fit(small(), data, out=tmp_path / "r", **QUIET)
    with pytest.raises(InputError, match="belongs to another declaration"):
        pv.fit(small(latent_dim=3), data, out=tmp_path / "r", resume=True, **QUIET)
    other = pv.datasets.load(binary(58, seed=9), validation=10, test=10)
    with pytest.raises(InputError, match="another data .fingerprint was"):
        pv.fit(small(), other, out=tmp_path / "r", resume=True, **QUIET)


# -------------------------------------------------------------------- files that are lost, broken or refused


def test_a_cut_off_checkpoint_is_one_sentence_and_the_files_stay(data, tmp_path):
    pv.fit(small(), data, out=tmp_path / "r", **QUIET)
    for name in ("last.ckpt", "best.ckpt"):
        path = tmp_path / "r" / name
        whole = path.read_bytes()
        for cut in (0, 10, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:cut])
            with pytest.raises(InputError, match=f"{name} cannot be read: it is cut off"):
                pv.load(tmp_path / "r", which=name.partition(".")[0])
            if name == "last.ckpt":
                with pytest.raises(InputError, match="cut off"):
                    pv.fit(small(), data, out=tmp_path / "r", resume=True, **QUIET)
            assert path.read_bytes() == whole[:cut]
        path.write_bytes(whole)


def test_a_checkpoint_of_something_else_is_refused(data, tmp_path):
    pv.fit(small(), data, out=tmp_path / "r", **QUIET)
    torch.save({"weights": {}}, tmp_path / "r" / "best.ckpt")
    with pytest.raises(InputError, match="not a PyroVAE checkpoint of format 5 or older"):
        pv.load(tmp_path / "r")
    pv.fit(small(), data, out=tmp_path / "r", resume=True, **QUIET)  # made again from last.ckpt
    pv.load(tmp_path / "r")
    shutil.copy(tmp_path / "r" / "best.ckpt", tmp_path / "r" / "last.ckpt")
    with pytest.raises(InputError, match="not a PyroVAE checkpoint from which a run can resume"):
        pv.fit(small(), data, out=tmp_path / "r", resume=True, **QUIET)


@pytest.mark.parametrize("lost", ["best.ckpt", "metrics.csv", "config.yaml"])
def test_resuming_makes_the_other_files_again(data, tmp_path, lost):
    pv.fit(small(), data, out=tmp_path / "r", **QUIET)
    shutil.copytree(tmp_path / "r", tmp_path / "before")
    (tmp_path / "r" / lost).unlink()
    pv.fit(small(), data, out=tmp_path / "r", resume=True, **QUIET)
    assert_same_runs(tmp_path / "before", tmp_path / "r")
    assert (tmp_path / "r" / "config.yaml").read_text() == (tmp_path / "before" / "config.yaml").read_text()


def test_a_kill_between_two_files_of_a_checkpoint_is_repaired(data, tmp_path, monkeypatch):
    """The best weights are written, and then the process dies before last.ckpt is."""
    pv.fit(small(), data, out=tmp_path / "whole", **QUIET)
    write = Checkpoint.write

    def dies(self, path):
        write(self, path)
        if path.name == "best.ckpt" and self.epoch == 2:
            raise Crashed

    monkeypatch.setattr(Checkpoint, "write", dies)
    with pytest.raises(Crashed):
        pv.fit(small(), data, out=tmp_path / "pieces", **QUIET)
    monkeypatch.undo()
    assert checkpoint(tmp_path / "pieces")["state"]["position"]["epoch"] == 1
    pv.fit(small(), data, out=tmp_path / "pieces", resume=True, **QUIET)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")


def test_a_checkpoint_has_the_schema_of_the_data_and_load_gives_it_back(data, tmp_path):
    pv.fit(small(), data, out=tmp_path / "r", **QUIET)
    for which in ("best", "last"):
        assert pv.load(tmp_path / "r", which=which).schema == data.schema
    assert checkpoint(tmp_path / "r")["format"] == 5


def test_a_full_disk_keeps_the_last_checkpoint_and_leaves_no_half_file(data, tmp_path):
    pv.fit(small(), data, out=tmp_path / "whole", **QUIET)
    with crash_after(7), pytest.raises(Crashed):
        pv.fit(small(), data, out=tmp_path / "r", checkpoint_seconds=0, **QUIET)
    before = (tmp_path / "r" / "last.ckpt").read_bytes()
    smaller = (tmp_path / "r" / "best.ckpt").stat().st_size
    with (
        file_limit((smaller + len(before)) // 2),
        pytest.raises(InputError, match="cannot write .*free space or choose another"),
    ):
        pv.fit(small(), data, out=tmp_path / "r", resume=True, checkpoint_seconds=0, **QUIET)
    assert (tmp_path / "r" / "last.ckpt").read_bytes() == before
    assert not [p for p in (tmp_path / "r").rglob(".*") if p.name != ".lock"]
    pv.fit(small(), data, out=tmp_path / "r", resume=True, checkpoint_seconds=0, **QUIET)
    assert_same_runs(tmp_path / "whole", tmp_path / "r")


@pytest.mark.parametrize(("owner", "refused"), [(Checkpoint, "write"), (RunFolder, "write_config")])
def test_a_run_that_cannot_start_leaves_a_folder_that_can_be_used(
    data, tmp_path, monkeypatch, owner, refused
):
    write = getattr(owner, refused)

    def full(self, *content):
        with file_limit(5):
            write(self, *content)

    with monkeypatch.context() as patch:
        patch.setattr(owner, refused, full)
        with pytest.raises(InputError, match="cannot write"):
            pv.fit(small(), data, out=tmp_path / "r", **QUIET)
    pv.fit(small(), data, out=tmp_path / "r", **QUIET)


def test_two_runs_do_not_share_a_folder(data, tmp_path):
    folder = RunFolder(tmp_path / "r")
    with folder.locked(), pytest.raises(InputError, match="another process is training in"):
        pv.fit(small(), data, out=tmp_path / "r", **QUIET)
    pv.fit(small(), data, out=tmp_path / "r", **QUIET)
    late = RunFolder(tmp_path / "new")
    pv.fit(small(), data, out=tmp_path / "new", **QUIET)
    job = SimpleNamespace(
        data=data,
        runner=Runner(small()),
        objective=pv.objectives.ELBO(),
        settings=SimpleNamespace(seed=0),
        precise=torch.float32,
    )
    with late.locked(), pytest.raises(InputError, match="holds another run"):
        Saver(job, late).begin()  # it looked when the folder was still empty


def test_leftovers_of_a_killed_writer_are_swept_away(data, tmp_path):
    (tmp_path / "r" / "figures").mkdir(parents=True)
    leftovers = [tmp_path / "r" / ".last.ckpt.1.tmp", tmp_path / "r" / "figures" / ".a.png.2.tmp"]
    for path in leftovers:
        path.write_bytes(b"half")
    pv.fit(small(), data, out=tmp_path / "r", **QUIET)
    assert not any(path.exists() for path in leftovers)


# -------------------------------------------------------------------- in a process of its own

COMMAND = ["fit", "--binarize", "dynamic", "--latent_dim", "2", "--batch_size", "50", "--figures", "false"]
COMMAND += ["--encoder", "MLP", "--encoder.sizes", "[8]", "--decoder", "MLP", "--decoder.sizes", "[8]"]
COMMAND += ["--objective", "IWAE", "--objective.particles", "2", "--lr_schedule", "cosine", "--clip", "5"]
COMMAND += ["--kl_warmup", "1.5", "--epochs", "6"]


def start(out, *options):
    command = [sys.executable, "-m", "pyrovae", *COMMAND, "--out", str(out), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, **pipes)


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("never stopped") / "r"
    process = start(folder)
    assert process.wait() == 0, process.stderr.read()
    process.stderr.close()
    return folder


def test_a_run_that_is_killed_three_times(tmp_path, never_stopped):
    """kill -9: before the first epoch is over, within one, and somewhere later."""
    folder = tmp_path / "r"
    for step in (2, 40, 90):
        process = start(folder, "--resume", "--checkpoint_seconds", "0")
        wait_for_step([process], folder, step)
        process.kill()
        assert process.wait() == -signal.SIGKILL, process.stderr.read()
        process.stderr.close()
    position = checkpoint(folder)["state"]["position"]
    assert 90 <= position["step"] < 156, "the kill came too late to show anything"
    process = start(folder, "--resume")
    assert process.wait() == 0, process.stderr.read()
    process.stderr.close()
    assert_same_runs(never_stopped, folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_asked_to_stop(tmp_path, never_stopped, number):
    folder = tmp_path / "r"
    process = start(folder, "--checkpoint_seconds", "0")
    wait_for_step([process], folder, 30)
    process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == 130, error
    state = checkpoint(folder)["state"]
    cure = f"pyrovae fit --out {folder} --resume"
    cure += f", or draw its figures so far with pyrovae figures {folder}" if state["best_epoch"] else ""
    assert error == f"pyrovae: stopped after {state['position']['step']} steps; resume it with {cure}\n"
    assert main(["fit", "--out", str(folder), "--resume", "--figures", "false"]) == 0
    assert_same_runs(never_stopped, folder)


def test_a_second_process_is_kept_out(tmp_path, capsys):
    folder = tmp_path / "r"
    first = start(folder, "--checkpoint_seconds", "0")
    wait_for_step([first], folder, 1)
    first.send_signal(signal.SIGSTOP)
    try:
        assert main(["fit", "--out", str(folder), "--resume"]) == 2
    finally:
        first.kill()
        first.communicate()
    assert capsys.readouterr().err.startswith("pyrovae: another process is training in ")
