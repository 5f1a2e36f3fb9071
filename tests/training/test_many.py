"""Several processes train one program as one process would, with equal weights, and end together."""

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.multiprocessing

import pyrovae as pv
from pyrovae import sharing
from pyrovae.cli import main
from pyrovae.compiling import Compiled, Graph
from pyrovae.errors import InputError, NumericalError, Uncapturable
from pyrovae.training import exchange
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.training.compiled import CompiledShare, CompiledStep
from pyrovae.training.folder import RunFolder
from pyrovae.training.job import Job
from pyrovae.training.steps import Steps
from tests.support.interrupted import wait_for_step
from tests.support.same_runs import assert_same_runs, binary, checkpoint, same, small, table
from tests.support.two_processes import SECONDS

QUIET = {"progress": False, "figures": False, "batch_size": 9, "epochs": 3, "compile": False}
RUN = {"lr_schedule": "linear", "kl_warmup": 1.5, "clip": 0.5}


# -------------------------------------------------------------------- two processes that take orders


@contextmanager
def doubles():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


# -------------------------------------------------------------------- the arithmetic


@contextmanager
def noise_of_one_process(patch):
    """Each process draws the whole batch's noise, a function of the step alone, and takes its rows."""
    take, normal, now = Steps.take, torch.distributions.normal._standard_normal, []

    def noted(self, epoch, number):
        now[:] = [self.job.state.position.step, epoch.count(number)]
        take(self, epoch, number)
        now.clear()

    def drawn(shape, dtype, device, **given):
        if not now:
            return normal(shape, dtype, device, **given)
        whole = (*shape[:-2], now[1], shape[-1])
        noise = torch.randn(whole, generator=torch.Generator().manual_seed(now[0]), dtype=dtype)
        return noise[..., sharing.rank() :: sharing.world(), :]

    patch.setattr(Steps, "take", noted)
    patch.setattr(torch.distributions.normal, "_standard_normal", drawn)
    yield


def gradients_of_a_run(settings):
    """The gradient of each step, and what the run says of itself; 19 rows, in batches of 9, 9 and 1."""
    gradients, move = [], torch.optim.SGD.step

    def noted(self):
        gradients.append(torch.cat([w.grad.flatten() for w in self.param_groups[0]["params"]]))
        return move(self)

    with doubles(), pytest.MonkeyPatch.context() as patch, noise_of_one_process(patch):
        patch.setattr(torch.optim.SGD, "step", noted)
        patch.setattr(pv.training.loop, "VALIDATION_ROWS", 4)
        data = pv.datasets.load(binary(40), validation=11, test=10)
        run = pv.fit(small().double(), data, optimizer="sgd", **QUIET | {"epochs": 2} | settings)
    history = [run.history[name] for name in ("train", "validation", "reconstruction", "kl")]
    return torch.stack(gradients), torch.tensor([values.tolist() for values in history])


@pytest.mark.parametrize("settings", [{}, RUN, {"objective": pv.objectives.IWAE(3)}], ids=["", "all", "IWAE"])
def test_two_processes_have_the_gradient_of_one(pair, settings):
    gradients, history = gradients_of_a_run(settings)
    assert len(gradients) == 6
    for theirs, said in pair(gradients_of_a_run, settings):
        assert torch.allclose(theirs, gradients, rtol=0, atol=1e-10)
        assert torch.allclose(said, history, rtol=0, atol=1e-10)


class Spare(pv.networks.MLP):
    """A layer that nothing uses, and a scale that, when it `stops`, only the first three calls use."""

    def __init__(self, *, stops=False) -> None:
        super().__init__(8)
        self.stops, self.calls = stops, 0

    def attach(self, *sizes, **named):
        super().attach(*sizes, **named)
        self.spare = torch.nn.Linear(2, 2)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def start_from(self, x):
        self.calls = 0

    def forward(self, *inputs):
        out = super().forward(*inputs)
        self.calls += self.training
        return out if self.stops and self.calls > 3 else out * self.scale


def weights_of_a_run(optimizer, *, stops=False, zeros=False):
    """The last weights of a run in which some parameters get no gradient, or with `zeros` one of zeros."""
    unpacked = exchange.unpacked

    def without_none(flat, trained):
        loss, gradient, used, sums = unpacked(flat, trained)
        return loss, gradient, torch.ones_like(used), sums

    with doubles(), pytest.MonkeyPatch.context() as patch, noise_of_one_process(patch):
        if zeros:
            patch.setattr(exchange, "unpacked", without_none)
        data = pv.datasets.load(binary(40), validation=11, test=12)  # 17 rows: batches of 9 and 8
        vae = small(decoder=Spare(stops=stops)).double()
        pv.fit(vae, data, optimizer=optimizer, lr=0.01, **QUIET | {"patience": None})
        initial = small(decoder=Spare()).state_dict()["generation.network.spare.weight"]
    assert zeros or torch.equal(vae.generation.network.spare.weight, initial)
    return vae.state_dict()


def of_two(optimizer, stops, zeros):
    return weights_of_a_run(optimizer, stops=stops, zeros=zeros)


@pytest.mark.parametrize("stops", [False, True], ids=["never used", "used in the first epoch"])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_a_parameter_without_a_gradient_is_the_same_to_one_process_and_to_two(pair, optimizer, stops):
    """AdamW would shrink a weight whose gradient is zeros, and Adam would move it by its old moments."""
    alone = weights_of_a_run(optimizer, stops=stops)
    for weights in pair(of_two, optimizer, stops, False):
        for name, value in alone.items():
            assert torch.allclose(weights[name], value, rtol=0, atol=1e-9), name


def test_zeros_in_the_place_of_no_gradient_would_be_another_run(pair):
    """What the test above guards against: the processes used to exchange zeros for a missing gradient."""
    spare, scale = "generation.network.spare.weight", "generation.network.scale"
    alone, stopped = weights_of_a_run("adamw"), weights_of_a_run("adam", stops=True)
    for weights in pair(of_two, "adamw", False, True):
        assert (weights[spare] - alone[spare]).abs().max() > 1e-5
    for weights in pair(of_two, "adam", True, True):
        assert (weights[scale] - stopped[scale]).abs() > 1e-3


def data_of(rows=58):
    return pv.datasets.load(binary(rows), validation=10, test=10)


def fitted(settings, stream=False):
    data = data_of()
    if stream and stream is not True:  # a file
        data = pv.datasets.load(stream, binarize="dynamic", stream=True, validation=5, test=5)
    elif stream:
        rows = torch.utils.data.TensorDataset(
            torch.rand(29, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        )
        data = pv.datasets.load(rows, binarize="dynamic", stream=True, validation=5, test=5)
    vae = small(seed=1 + sharing.rank())  # the first process's weights count
    run = pv.fit(vae, data, **QUIET | settings)
    return vae.state_dict(), run.history["validation"].tolist(), torch.get_rng_state()


@pytest.mark.parametrize("stream", [False, True, "x.npy"], ids=["in memory", "stream", "file"])
def test_weights_are_equal_bit_for_bit(pair, stream, tmp_path):
    if stream == "x.npy":
        stream = tmp_path / stream
        np.save(stream, torch.rand(29, 1, 4, 4, generator=torch.Generator().manual_seed(0)).numpy())
    (first, said, _), (second, too, _) = pair(fitted, RUN, stream)
    assert same(first, second)
    assert said == too
    assert not same(first, small().state_dict())


def noise_of_steps():
    noise, reseed = [], exchange.Exchange._reseed

    def noted(self, *where):
        reseed(self, *where)
        noise.append(torch.randn(3))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange.Exchange, "_reseed", noted)
        fitted({})
    return torch.cat(noise)


def test_each_process_draws_its_own_noise_at_each_step(pair):
    noise = torch.cat(pair(noise_of_steps))
    assert len(noise) == 2 * 15 * 3
    assert len(noise.unique()) == len(noise)


def pictures_of_a_run(folder):
    """The number of times that a process drew pictures, in a run of which only the first has a folder."""
    with pytest.MonkeyPatch.context() as patch:
        folders = []
        patch.setattr(pv.report, "save_figures", lambda vae, data, place, **_: folders.append(place))
        fitted({"out": folder, "figures": True, "epochs": 1})
    return len(folders), sharing.agreed("still together")


def test_the_first_process_draws_the_pictures_and_none_waits_for_ever(pair, tmp_path):
    assert pair(pictures_of_a_run, tmp_path / "r") == [(1, "still together"), (0, "still together")]


# -------------------------------------------------------------------- captured steps


def interpret(self, inputs):
    return Compiled(torch.no_grad()(lambda given: list(self.module(*given))), self.lifted, 0.0)


def captured_and_eager(settings):
    with doubles(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Graph, "compiled", interpret)
        data = data_of()
        runs = []
        for choice in (True, False):
            vae = small().double()
            steps, take = [], CompiledStep.__call__
            patch.setattr(CompiledStep, "__call__", lambda *a, t=take, s=steps: s.append(1) or t(*a))
            run = pv.fit(vae, data, **QUIET | settings | {"compile": choice})
            patch.setattr(CompiledStep, "__call__", take)
            runs.append((vae.state_dict(), run.history["train"].tolist(), len(steps)))
    return runs


@pytest.mark.parametrize("settings", [RUN, {"optimizer": "radam", "batch_size": 8}], ids=["all", "radam"])
def test_captured_steps_are_eager_steps(pair, settings):
    for (captured, train, steps), (eager, said, none) in pair(captured_and_eager, settings):
        assert (steps, none) == (11, 0)  # all but the first and the smaller last of each epoch
        assert all(torch.allclose(captured[name], eager[name], atol=1e-8) for name in eager)
        assert train == pytest.approx(said, abs=1e-8)


def one_cannot_capture(choice):
    def refused(self):
        if sharing.rank() == 1:
            raise Uncapturable("of its nature")
        return traced(self)

    with pytest.MonkeyPatch.context() as patch:
        traced = CompiledShare._traced
        patch.setattr(CompiledShare, "_traced", refused)
        patch.setattr(Graph, "compiled", interpret)
        patch.setattr(pv.compiling.when, "TRACING_SECONDS", 0.0)
        return result_of(lambda: fitted({"compile": choice}))


def test_what_one_process_cannot_capture_is_captured_by_none(pair):
    first, second = pair(one_cannot_capture, "auto")
    assert same(first[0], second[0])
    first, second = pair(one_cannot_capture, True)
    assert first == second
    assert first.startswith("InputError: compile=True, but the step cannot be captured: of its nature")


# -------------------------------------------------------------------- resume


class Crashed(Exception):
    """What the tests raise in the middle of a step."""


def run_in(folder, crash=None, **settings):
    """Fit in a folder; all processes die before step `crash`, if any."""
    take = Steps.take

    def counted(self, *batch):
        if self.job.state.position.step == crash:
            raise Crashed
        take(self, *batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Steps, "take", counted)
        try:
            fitted(RUN | {"out": folder, "resume": True, "checkpoint_seconds": 0} | settings)
        except Crashed:
            return "crashed"
    return "done"


def test_a_run_resumes_with_the_same_number_of_processes_bit_for_bit_and_with_another(pair, tmp_path):
    whole, pieces, alone = tmp_path / "whole", tmp_path / "pieces", tmp_path / "alone"
    assert pair(run_in, whole) == ["done"] * 2
    assert pair(run_in, pieces, 7) == ["crashed"] * 2
    shutil.copytree(pieces, alone)
    assert checkpoint(pieces)["state"]["position"]["step"] == 7
    assert pair(run_in, pieces) == ["done"] * 2
    assert_same_runs(whole, pieces)

    assert run_in(alone, 12) == "crashed"  # one process takes over, and two resume what it left
    assert table(alone)[0] == table(whole)[0]
    assert pair(run_in, alone) == ["done"] * 2
    assert checkpoint(alone)["state"]["position"] == checkpoint(whole)["state"]["position"]
    validation = [float(table(folder)[-1]["validation"]) for folder in (whole, alone)]
    assert validation[0] == pytest.approx(validation[1], abs=0.3)
    assert not same(checkpoint(alone)["weights"], checkpoint(whole)["weights"])


# -------------------------------------------------------------------- failures


def result_of(do):
    """What `do` gives, or what it is refused with."""
    try:
        return do()
    except (InputError, NumericalError, sharing.Lost, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def refused(case, folder):
    rank = sharing.rank()
    if case == "small batch":
        return result_of(lambda: fitted({"batch_size": 1}))
    if case == "bad data in one":
        data = data_of().to("cpu")
        data.train.x[rank] = -0.5 * rank + 0.5 * data.train.x[rank]
        return result_of(lambda: pv.fit(small(), data, **QUIET))
    if case == "other settings":
        return result_of(lambda: fitted({"lr": 1e-3 * (1 + rank)}))
    if case == "held folder":
        held = RunFolder(folder / "held", resume=True).locked() if rank == 1 else contextmanager(iter)([0])
        with held:
            sharing.together(lambda: None)
            result = result_of(lambda: fitted({"out": folder / "held"}))
            sharing.together(lambda: None)
        return result
    return result_of(lambda: broken_step(case, folder))


def broken_step(case, folder):
    """Something goes wrong at step 6 in one process."""
    loss, write = Job.loss, Checkpoint.write

    def bad(self, *args):
        if case == "error in one" and sharing.rank() == 1 and self.state.position.step == 6:
            raise ValueError("no more")
        return loss(self, *args)

    def full(self, path):
        last = path.name == "last.ckpt"
        if case == "full disk" and last and self.state["position"]["step"] == 6:
            raise InputError("cannot write: the disk is full")
        write(self, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "loss", bad)
        patch.setattr(Checkpoint, "write", full)
        return fitted({"out": folder / case, "checkpoint_seconds": 0})


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("small batch", "InputError: batch_size 1 is smaller than the number of processes"),
        ("bad data in one", "InputError: "),
        ("other settings", "InputError: the processes were given different lr (was 0.001 and is 0.002)"),
        ("held folder", "InputError: another process is training in"),
        ("full disk", "InputError: cannot write: the disk is full"),
    ],
)
def test_what_one_process_is_refused_ends_both_with_one_sentence(pair, tmp_path, case, said):
    first, second = pair(refused, case, tmp_path)
    assert first == second
    assert first.startswith(said)


def test_an_error_of_one_process_ends_the_other(pair, tmp_path):
    first, second = pair(refused, "error in one", tmp_path)
    assert second == "ValueError: no more"
    assert first.startswith(
        "Lost: process 1 of this run failed with ValueError: no more, in step 7; resume it with"
    )
    assert checkpoint(tmp_path / "error in one")["state"]["position"]["step"] == 6


def not_finite(choice):
    """The loss of one process is NaN at step 6."""
    with pytest.MonkeyPatch.context() as patch:
        maximised = pv.objectives.ELBO.maximised
        steps = []
        take = Steps.take
        patch.setattr(
            Steps, "take", lambda self, *a: steps.append(self.job.state.position.step) or take(self, *a)
        )
        patch.setattr(
            pv.objectives.ELBO,
            "maximised",
            lambda self, t: maximised(self, t) * (torch.nan if sharing.rank() and steps[-1:] == [6] else 1),
        )
        return result_of(lambda: fitted(choice))


def test_a_loss_that_is_not_finite_in_one_process_ends_both(pair):
    first, second = pair(not_finite, {})
    assert first == second
    assert first.startswith("NumericalError: the loss is not finite at step 7 (epoch 2, batch 2)")


# -------------------------------------------------------------------- the command line

COMMAND = ["fit", "--binarize", "dynamic", "--latent_dim", "2", "--batch_size", "50", "--figures", "false"]
COMMAND += ["--encoder", "MLP", "--encoder.sizes", "[8]", "--decoder", "MLP", "--decoder.sizes", "[8]"]
COMMAND += ["--compile", "false", "--lr_schedule", "constant"]


def start(out, *options):
    """Two processes as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    base = os.environ | meet | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "pyrovae", *COMMAND, "--out", str(out), *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    envs = [base | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    return [subprocess.Popen(command, env=env, **pipes) for env in envs]


def ended(processes):
    """Exit status, output and error of each."""
    try:
        said = [process.communicate(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *text) for process, text in zip(processes, said, strict=True)]


def test_a_killed_process_ends_the_other_and_one_resumes(tmp_path, capsys):
    out = tmp_path / "r"
    both = start(out, "--epochs", "400", "--checkpoint_seconds", "0")
    wait_for_step(both, out, 20)
    both[1].kill()
    (status, _, error), _ = ended(both)
    step = checkpoint(out)["state"]["position"]["step"]
    assert status == 1, error
    assert f"process 0: another process of this run ended, in step {step + 1}; resume it with" in error
    assert f"torchrun --nproc-per-node 2 -m pyrovae fit --out {out} --resume\n" in error
    again = ["fit", "--out", str(out), "--resume", "--epochs", str(step // 26 + 1), "--figures", "false"]
    assert main(again) == 0
    assert len(table(out)) == step // 26 + 1
    capsys.readouterr()


def asked(folder):
    """The second process is sent SIGTERM, twice, during step 6."""
    take = Steps.take

    def interrupted(self, *batch):
        take(self, *batch)
        if sharing.rank() == 1 and self.job.state.position.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Steps, "take", interrupted)
        try:
            fitted(RUN | {"out": folder})
        except KeyboardInterrupt as stop:
            return str(stop)
    return "done"


def test_a_process_that_is_asked_to_stop_stops_both(pair, tmp_path):
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    assert pair(run_in, whole) == ["done"] * 2
    first, second = pair(asked, pieces)
    assert first == second == f"stopped after 8 steps; resume it with resume=True in {pieces}"
    assert checkpoint(pieces)["state"]["position"]["step"] == 8
    assert pair(run_in, pieces) == ["done"] * 2
    assert_same_runs(whole, pieces)


def test_a_run_of_torchrun_is_stopped_and_resumed_by_one_process(tmp_path, capsys):
    out = tmp_path / "r"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "pyrovae", *COMMAND, "--epochs", "400", "--checkpoint_seconds", "0", "--out", str(out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes)
    wait_for_step([both], out, 20)
    both.send_signal(signal.SIGINT)
    [(status, _, error)] = ended([both])
    step = checkpoint(out)["state"]["position"]["step"]
    assert status != 0
    cure = f"torchrun --nproc-per-node 2 -m pyrovae fit --out {out} --resume"
    assert error.count(f"pyrovae: stopped after {step} steps; resume it with {cure}") == 1, error
    again = ["fit", "--out", str(out), "--resume", "--epochs", str(step // 26 + 1), "--figures", "false"]
    assert main(again) == 0
    assert len(table(out)) == step // 26 + 1
    capsys.readouterr()


def command_line(argv):
    """Exit status, output and error of the command line."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        status = main(argv)
    return status, out.getvalue(), error.getvalue()


def test_bad_input_ends_both_with_status_2_and_one_sentence(pair, tmp_path):
    out = tmp_path / "r"
    for options, said in (
        (["--batch_size", "1"], "batch_size 1 is smaller than the number of processes"),
        (["--lr", "abc"], "--lr cannot be 'abc'"),
        (["--data", "nothing.npy"], ""),
    ):
        first, second = pair(command_line, [*COMMAND, "--out", str(out), *options])
        assert first[0] == second[0] == 2
        assert first[2].startswith(f"pyrovae: {said}")
        assert first[2].count("\n") == 1
        assert second[1:] == ("", "")
        assert not out.exists()
