"""Runs with recorded steps are runs with eager ones, and a run belongs to no device."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyrovae as pv
from pyrovae import sharing
from pyrovae.compiling import random_state
from pyrovae.networks import MLP
from pyrovae.training.compiled import CompiledStep
from tests.support.captured import QUIET, alike
from tests.support.cells import cell_name, declared, sample, tiny
from tests.support.recordings import GPUS, gpus, needs_gpus, recording
from tests.support.same_runs import binary, checkpoint, same, small

STEPS = 3 * 4 - 1  # of 38 rows in batches of 8: all full batches but the first
CONV = {"encoder": pv.networks.ConvEncoder((4, 4), 16), "decoder": pv.networks.ConvDecoder((4, 4))}
ALL = {"clip": 0.1, "kl_warmup": 1.3, "lr_schedule": "cosine"}


@pytest.fixture
def data():
    return pv.datasets.load(binary(58), validation=10, test=10)


@pytest.fixture
def steps(monkeypatch):
    """The recorded steps that were taken."""
    taken, take = [], CompiledStep.__call__
    monkeypatch.setattr(CompiledStep, "__call__", lambda *given: taken.append(given[2]) or take(*given))
    return taken


# ---------------------------------------------------------------- recorded = eager


@pytest.mark.parametrize("cell", sample(12 if GPUS else 3, seed=5), ids=cell_name)
def test_a_recorded_run_is_the_run(cell, device, recordings, steps, float64):
    """Over the table of parts, with batches of 6 and a smaller last one."""
    data = tiny(declared(cell))
    alike(lambda: declared(cell), data, cell[3], batch_size=6, device=str(device), apart=1e-7)
    assert len(recordings) == 1
    assert len(steps) == 8


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adamax", "radam", "sgd"])
def test_optimisers_and_schedules(optimizer, device, recordings, steps, data, float64):
    settings = {"optimizer": optimizer, "lr": 0.01, **ALL}
    alike(small, data, apart=1e-8, device=str(device), **settings)
    assert len(steps) == STEPS


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "in memory"])
def test_data_that_are_drawn_again_for_every_epoch(stream, device, recordings, steps, float64):
    """The tables of an epoch are new tensors, and with a stream those of every batch."""
    rows = torch.utils.data.TensorDataset(torch.rand(58, 1, 4, 4))
    data = pv.datasets.load(rows, binarize="dynamic", stream=stream, validation=10, test=10)
    alike(small, data, apart=1e-8, device=str(device), kl_warmup=1.7)
    assert len(steps) == STEPS
    assert len(recordings) == 1


def test_an_epoch_of_a_single_batch(device, recordings, steps, float64):
    """A warm-up step of another batch would read behind the order of the rows, which ends the process."""
    data = pv.datasets.load(binary(28), validation=10, test=10)
    alike(small, data, apart=1e-8, device=str(device), batch_size=8, epochs=5)
    assert len(steps) == 4


class Scaled(MLP):
    """A buffer that is read, one that counts the calls, and a constant on the CPU."""

    def __init__(self) -> None:
        super().__init__(8)

    def attach(self, *sizes, **named):
        super().attach(*sizes, **named)
        self.register_buffer("scale", torch.tensor(0.7))
        self.register_buffer("calls", torch.zeros(()))
        self.constants = [torch.tensor(0.1)]

    def forward(self, x, *rest):
        if self.training:
            self.calls += 1
        return super().forward(x, *rest) * self.scale + self.constants[0]


def test_buffers_and_constants(device, recordings, steps, data, float64):
    run = alike(lambda: small(encoder=Scaled()), data, apart=1e-8, device=str(device))
    assert len(steps) == STEPS
    assert run.program.encoder.calls.item() > STEPS


def pair_on(device):
    """A hand-written pair whose parameters are on a device."""
    pyro.clear_param_store()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net, reader = nn.Linear(1, 3).to(device), nn.Linear(3, 2).to(device)

    def model(x):
        decoder = pyro.module("decoder", net)
        loc = pyro.param("loc", lambda: torch.tensor(0.3, device=device))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(loc, 1.0))
            pyro.sample("x", dist.Normal(decoder(z[..., None]), 1.0).to_event(1), obs=x)

    def guide(x):
        loc, raw = pyro.module("reader", reader)(x).unbind(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, raw.exp()))

    return model, guide


def test_a_hand_written_pair(device, recordings, steps, float64):
    x = torch.randn(58, 3)
    objective = pv.objectives.IWAE(3)
    run = alike(lambda: pair_on(device), x, objective, apart=1e-8, device=str(device), batch_size=8)
    assert len(steps) > 10
    assert all(value.device.type == device.type for value in pyro.get_param_store()._params.values())
    evidence = pv.log_evidence(run.program, x[:5].to(device), particles=500)
    assert evidence.log_px.shape == (5,)


@needs_gpus(1)
def test_a_pair_on_the_cpu_trains_there_unless_told_otherwise():
    run = pv.fit(pair_on("cpu"), torch.randn(58, 3), **QUIET, compile=False)
    assert len(run.history["train"]) == 3
    with pytest.raises(pv.InputError, match="device"):
        pv.fit(pair_on("cpu"), torch.randn(58, 3), **QUIET, compile=False, device="cuda")


# ---------------------------------------------------------------- random numbers


@pytest.mark.parametrize("compile", [False, True])
def test_a_run_is_a_function_of_its_seed_and_leaves_no_trace(compile, device, recordings, data):
    torch.manual_seed(17)
    random = [torch.get_rng_state(), random_state(device)]
    options = {"device": str(device), "compile": compile, **QUIET}
    first, again, other = (pv.fit(small(), data, seed=seed, **options).program for seed in (1, 1, 2))
    assert same(first.state_dict(), again.state_dict())
    assert not same(first.state_dict(), other.state_dict())
    assert torch.equal(torch.get_rng_state(), random[0])
    assert torch.equal(random_state(device), random[1])


def test_a_resumed_run_is_the_run(device, recordings, data, tmp_path):
    """The checkpoint has the state of the generator that draws the noise."""
    options = {"device": str(device), "compile": True, "lr_schedule": "constant", "kl_warmup": 0.0, **QUIET}
    whole = pv.fit(small(), data, out=tmp_path / "whole", **options | {"epochs": 4})
    pv.fit(small(), data, out=tmp_path / "parts", **options | {"epochs": 2})
    parts = pv.fit(small(), data, out=tmp_path / "parts", resume=True, **options | {"epochs": 4})
    for name, value in whole.program.state_dict().items():
        torch.testing.assert_close(parts.program.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    assert (checkpoint(tmp_path / "parts")["random"]["cuda"] is None) == (device.type == "cpu")


@needs_gpus(2)
def test_a_run_on_the_second_gpu_is_one_on_the_first(data, monkeypatch, tmp_path, float64):
    """While the first is the current one, whose random state stays too."""
    recording(monkeypatch, "cuda")
    torch.cuda.manual_seed_all(5)
    before = torch.cuda.get_rng_state_all()
    runs = {}
    for name in ("cuda:0", "cuda:1"):
        options = QUIET | {"device": name, "compile": True}
        runs[name] = pv.fit(small(), data, out=tmp_path / name[-1], **options).program.cpu().state_dict()
    torch.testing.assert_close(runs["cuda:1"], runs["cuda:0"], rtol=1e-8, atol=1e-8)
    states = [checkpoint(tmp_path / number)["random"]["cuda"] for number in "01"]
    assert torch.equal(*states)
    x = data.test.x[:4].double()
    vae = small().to("cuda:1")
    pv.log_evidence(vae, x, particles=50)
    assert all(torch.equal(a, b) for a, b in zip(torch.cuda.get_rng_state_all(), before, strict=True))


# ---------------------------------------------------------------- checkpoints


@needs_gpus(1)
@pytest.mark.parametrize(("first", "then"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_continues_on_another_device(first, then, data, tmp_path, monkeypatch):
    recording(monkeypatch, "cuda")
    pv.fit(small(), data, out=tmp_path / "run", device=first, compile=False, **QUIET)
    loaded = pv.load(tmp_path / "run")
    assert next(loaded.parameters()).device.type == "cpu"
    rows = data.test.x[:5]
    here = pv.log_evidence(loaded, rows, particles=100).log_px
    there = pv.log_evidence(loaded.to("cuda"), rows, particles=100).log_px
    assert abs(here - there).max() < 1e-3
    more = QUIET | {"epochs": 5, "device": then, "compile": False}
    run = pv.fit(small(), data, out=tmp_path / "run", resume=True, **more)
    assert len(run.history["train"]) == 5
    assert next(run.program.parameters()).device.type == then


# ---------------------------------------------------------------- several processes


@pytest.fixture
def alone_in_a_group(device, tmp_path, monkeypatch):
    """A group of one process that exchanges its vector with itself, by NCCL on a GPU."""
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    torch.distributed.init_process_group(backend, init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    monkeypatch.setattr(sharing, "is_shared", lambda: True)
    yield
    torch.distributed.destroy_process_group()


def test_steps_with_an_exchange(device, recordings, steps, data, alone_in_a_group, float64):
    """Both graphs of a step, one before the all-reduce of its output and one after."""
    alike(small, data, apart=1e-8, device=str(device), **ALL)
    assert len(recordings) == 2
    assert len(steps) == STEPS


def run_of_two(rank, folder, compile):
    """The weights of a run in two processes on two GPUs."""
    torch.cuda.set_device(rank)
    where = {"init_method": f"file://{folder}/meet", "rank": rank, "world_size": 2}
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl", **where)
    data = pv.datasets.load(binary(58), validation=10, test=10)
    run = pv.fit(small(), data, device=f"cuda:{rank}", compile=compile, **QUIET)
    torch.save(run.program.cpu().state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@needs_gpus(2)
@pytest.mark.parametrize("compile", [False, True])
def test_two_processes_on_two_gpus_have_equal_weights(compile, tmp_path):
    torch.multiprocessing.spawn(run_of_two, (str(tmp_path), compile), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert same(first, second)


# ---------------------------------------------------------------- precision and the compiler


@pytest.mark.parametrize("precision", ["float32", "bf16", pytest.param("tf32", marks=gpus(1))])
def test_recorded_products_have_the_precision_of_eager_ones(precision, device, recordings, steps, data):
    """Also those of convolutions; the settings of the process stay."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    apart = {"float32": 1e-3, "tf32": 5e-3, "bf16": 5e-2}[precision]
    alike(lambda: small(**CONV), data, apart=apart, device=str(device), precision=precision)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
    assert len(steps) == STEPS


@needs_gpus(1)
@pytest.mark.parametrize("conv", [False, True])
def test_the_compilers_step_is_the_run(conv, data, steps, float64, monkeypatch, tmp_path):
    """With TorchInductor's kernels in the recorded graph."""
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path))
    alike(lambda: small(**CONV if conv else {}), data, apart=1e-7, device="cuda", **ALL)
    assert len(steps) == STEPS
