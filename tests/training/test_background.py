"""Steps that are compiled in another process while the run goes on, and the comparison of both kinds."""

import os
import signal
import subprocess
import sys
import time

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae.compiling import Graph, storage, traced
from pyrovae.errors import NumericalError, Uncapturable
from tests.support.captured import QUIET, cache_with_tools, interpreted, learned, willing
from tests.support.interrupted import Crashed, crash_after
from tests.support.same_runs import assert_same_runs, binary, checkpoint, same, small

LOUD = QUIET | {"progress": True}


@pytest.fixture(autouse=True)
def cache(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("PYROVAE_CACHE", cache_with_tools(tmp_path / "cache", tmp_path_factory))


@pytest.fixture
def code(monkeypatch):
    return interpreted(monkeypatch)


@pytest.fixture
def data():
    return pv.datasets.load(binary(58), validation=10, test=10)


class Elsewhere:
    """A compilation that ends after some steps, or never."""

    def __init__(self, steps, why=None):
        self.steps, self.why = steps, why
        self.is_cancelled = self.is_started = False

    def __call__(self, graph, inputs):
        self.is_started = True
        return self

    @property
    def is_done(self):
        self.steps -= 1
        return self.steps < 0

    def finish(self):
        if self.why:
            raise Uncapturable(self.why)
        return 12.3

    def cancel(self):
        self.is_cancelled = True


def compiled_elsewhere(monkeypatch, steps, why=None):
    willing(monkeypatch)
    build = Elsewhere(steps, why)
    monkeypatch.setattr(Graph, "start", lambda graph, inputs: build(graph, inputs))
    return build


def said(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if " steps: " in line]


# ---------------------------------------------------------------- runs


def test_a_run_changes_to_compiled_steps_when_they_are_there(code, data, tmp_path, monkeypatch, capsys):
    compiled_elsewhere(monkeypatch, 3)
    run = pv.fit(small(), data, out=tmp_path / "r", **LOUD)
    first, second = said(capsys)
    assert first.startswith("compiled steps: compiling once, about 0 s; eager ones until then")
    assert second == "compiled steps: compiled in 12.3 s"
    # Five steps are timed and four pass until the code is there; of 12 full batches two are left then, of
    # which the first is compared, and the last batches of epochs are small.
    assert code.calls > 0
    assert checkpoint(tmp_path / "r")["state"]["captured"] is True
    eager = pv.fit(small(), data, compile=False, **QUIET)
    torch.testing.assert_close(learned(run.program), learned(eager.program), rtol=2e-5, atol=2e-5)


def test_a_run_that_is_killed_keeps_what_it_has_changed_to(code, data, tmp_path, monkeypatch):
    compiled_elsewhere(monkeypatch, 2)
    with crash_after(10), pytest.raises(Crashed):
        pv.fit(small(), data, out=tmp_path / "r", **QUIET)
    assert checkpoint(tmp_path / "r")["state"]["captured"] is True
    willing(monkeypatch, 1e9)
    calls = code.calls
    pv.fit(small(), data, out=tmp_path / "r", resume=True, **QUIET)
    assert code.calls > calls


def test_a_compilation_that_fails_is_told_and_the_run_goes_on(code, data, monkeypatch, capsys):
    compiled_elsewhere(monkeypatch, 1, "it could not be compiled: no disk")
    run = pv.fit(small(), data, **LOUD)
    assert said(capsys)[1:] == ["eager steps: it could not be compiled: no disk"]
    assert same(learned(run.program), learned(pv.fit(small(), data, compile=False, **QUIET).program))
    assert not code.calls


@pytest.mark.parametrize("end", ["last step", "error"])
def test_a_compilation_ends_with_its_run(code, data, monkeypatch, end):
    build = compiled_elsewhere(monkeypatch, 10**6)
    if end == "error":
        monkeypatch.setattr("pyrovae.training.loop.Loop._end_epoch", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pv.fit(small(), data, **(QUIET | {"batch_size": 5}))
    else:
        pv.fit(small(), data, **QUIET)
    assert build.is_started
    assert build.is_cancelled


# ---------------------------------------------------------------- the faster kind


def test_compiled_steps_that_are_slower_are_not_used(code, data, tmp_path, monkeypatch, capsys):
    """The comparison leaves no trace: the weights are those of eager steps, but for the one checked."""
    willing(monkeypatch)
    monkeypatch.setattr("pyrovae.training.steps.SLOWER", -1.0)
    run = pv.fit(small(), data, out=tmp_path / "r", **(LOUD | {"checkpoint_seconds": 1e9}))
    line = said(capsys)[-1]
    assert line.startswith("eager steps: a compiled one takes ")
    assert line.count(" ms") == 2
    assert checkpoint(tmp_path / "r")["state"]["captured"] is False
    eager = pv.fit(small(), data, compile=False, **QUIET)
    torch.testing.assert_close(learned(run.program), learned(eager.program), rtol=1e-6, atol=1e-6)


def test_what_was_slower_stays_eager_in_a_resumed_run(code, data, tmp_path, monkeypatch):
    willing(monkeypatch)
    monkeypatch.setattr("pyrovae.training.steps.SLOWER", -1.0)
    settings = QUIET | {"checkpoint_seconds": 1e9}
    pv.fit(small(), data, out=tmp_path / "whole", **settings)
    calls = code.calls
    pv.fit(small(), data, out=tmp_path / "whole", resume=True, **settings)
    assert code.calls == calls


def test_a_comparison_changes_neither_weights_nor_random_numbers(code, data, tmp_path, monkeypatch):
    willing(monkeypatch)
    pv.fit(small(), data, out=tmp_path / "one", **QUIET)
    monkeypatch.setattr("pyrovae.training.compiled.TIMED", 7)
    pv.fit(small(), data, out=tmp_path / "two", **QUIET)
    assert_same_runs(tmp_path / "one", tmp_path / "two")


def counting(calls):
    """A hand-written pair whose guide counts its steps in a tensor that is no buffer."""

    def model(x):
        shift = pyro.param("shift", torch.zeros(16))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            logits = shift + z.sum(-1, keepdim=True)
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(x):
        mean = pyro.param("mean", torch.zeros(2))
        if torch.is_grad_enabled():
            calls.detach().add_(1.0)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(mean + 0 * calls, 1.0).to_event(1))

    return model, guide


def test_a_comparison_changes_no_tensor_of_the_program(code, monkeypatch):
    willing(monkeypatch)
    rows, counts = torch.bernoulli(torch.full((80, 16), 0.5)), []
    for timed in (1, 4):
        monkeypatch.setattr("pyrovae.training.compiled.TIMED", timed)
        pyro.clear_param_store()
        calls = torch.zeros(())
        pv.fit(counting(calls), rows, **QUIET)
        counts.append(calls.item())
    assert code.calls > 0
    assert counts[0] == counts[1]


@pytest.mark.parametrize("kind", ["eager", "compiled"])
def test_a_comparison_that_fails_leaves_no_trace(code, data, tmp_path, monkeypatch, kind):
    """A loss that is not finite in a step that is only timed is none of the run."""
    willing(monkeypatch)
    pv.fit(small(), data, out=tmp_path / "one", **QUIET)
    steps = []

    def timed(step, take):
        steps.append(take())
        if len(steps) == 1 + (kind == "compiled"):
            raise NumericalError("the loss is not finite")
        return 1.0

    monkeypatch.setattr("pyrovae.training.compiled.CompiledStep._timed", timed)
    pv.fit(small(), data, out=tmp_path / "two", **QUIET)
    assert steps
    assert_same_runs(tmp_path / "one", tmp_path / "two")


# ---------------------------------------------------------------- the other process


def test_the_code_of_another_process_is_this_ones():
    one, two = torch.randn(5, 5), torch.randn(5)
    graph = traced(lambda a, b: (a @ b + 1,), [one, two])
    build = graph.start([one, two])
    assert not graph.is_stored
    assert build.finish() > 0
    assert graph.is_stored
    torch.testing.assert_close(graph.compiled([one, two])([one, two])[0], one @ two + 1)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_other_process_draws_noise_and_not_a_constant():
    """Operations without inputs, which a pickled graph would run once and for all, and their type."""

    def noisy(a):
        drawn = torch.bernoulli(torch.full((3,), 0.5, dtype=a.dtype)) + torch.zeros(3).normal_()
        return (a + torch.randn(3), drawn, torch.stack(a.unbind()) * torch.tensor(float("inf")))

    given = [torch.ones(3, dtype=torch.float32)]
    graph = traced(noisy, given)
    graph.start(given).finish()
    code = graph.compiled(given)
    for seed in (1, 2):
        torch.manual_seed(seed)
        wanted, state = noisy(*given), torch.get_rng_state()
        torch.manual_seed(seed)
        torch.testing.assert_close(tuple(code(given)), wanted)
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_a_run_uses_the_code_of_the_other_process(monkeypatch, capsys):
    monkeypatch.setattr("pyrovae.compiling.when.TRACING_SECONDS", -1e9)
    monkeypatch.setattr("pyrovae.training.steps.SLOWER", float("inf"))
    data = pv.datasets.load(binary(40), validation=10, test=10)
    seen = []

    class UntilThere(pv.Callback):
        def on_epoch(self, run):
            seen.extend(said(capsys))
            if len(seen) > 1:
                run.stop()

    pv.fit(small(), data, **(LOUD | {"epochs": 10**5, "patience": None}), callbacks=[UntilThere()])
    first, second = seen
    assert first.startswith("compiled steps: compiling once")
    assert second.startswith("compiled steps: compiled in ")


def test_a_graph_that_cannot_be_compiled_is_a_reason(monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/compiler")
    graph = traced(lambda a: (a.exp(),), [torch.ones(3)])
    with pytest.raises(Uncapturable, match="^it could not be compiled: "):
        graph.start([torch.ones(3)]).finish()


def test_entries_of_the_import_path_that_python_ignores(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, storage.cache_folder(), None])
    monkeypatch.setenv("CXX", "/nowhere/compiler")
    graph = traced(lambda a: (a.exp() * 5,), [torch.ones(3)])
    with pytest.raises(Uncapturable, match="nowhere"):  # so the other process did start
        graph.start([torch.ones(3)]).finish()


def test_without_a_python_to_start_there_is_no_other_process(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert traced(lambda a: (a.exp(),), [torch.ones(3)]).start([torch.ones(3)]) is None


def test_a_cancelled_compilation_leaves_nothing():
    graph = traced(lambda a: (a.exp() + 3,), [torch.ones(3)])
    build = graph.start([torch.ones(3)])
    until(lambda: build.is_done or any(storage.cache_folder().glob(".build-*")))
    half = half_a_header()
    build.cancel()
    assert build.is_done
    assert not half.exists()
    assert not any(storage.cache_folder().glob(".build-*"))
    assert not graph.is_stored


def test_a_compilation_that_is_killed_is_a_reason_and_leaves_nothing():
    build = traced(lambda a: (a.exp() + 6,), [torch.ones(3)]).start([torch.ones(3)])
    until(lambda: any(storage.cache_folder().glob(".build-*")))
    os.killpg(build.process.pid, signal.SIGKILL)  # as by a system without memory
    with pytest.raises(Uncapturable, match="the compiling process ended early"):
        build.finish()
    assert not any(storage.cache_folder().glob(".build-*"))


def test_the_other_process_ends_when_this_one_is_killed():
    lines = (
        "import time, torch",
        "from pyrovae.compiling import traced",
        "build = traced(lambda a: (a.exp() - 3,), [torch.ones(3)]).start([torch.ones(3)])",
        "print(build.process.pid, flush=True)",
        "time.sleep(600)",
    )
    command = [sys.executable, "-c", "\n".join(lines)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        until(lambda: any(storage.cache_folder().glob(".build-*")))
        half = half_a_header()
        parent.send_signal(signal.SIGKILL)
    until(lambda: not is_alive(child))
    assert not half.exists()
    assert not any(storage.cache_folder().glob(".build-*"))


def half_a_header():
    """A precompiled header that a compiler was writing when it was killed."""
    folder = storage.cache_folder() / "tools/headers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "half.gch").write_bytes(b"gpch")
    return folder / "half.gch"


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def is_alive(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return os.path.exists("/proc/1") is False and _answers(process)


def _answers(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
