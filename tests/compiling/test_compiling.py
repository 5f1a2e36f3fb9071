"""Graphs: a traced function gives what the function gives, or is refused with the reason.

And what a run does then: it goes on in Python, with one line that says why; with compile=True it ends.
"""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae.compiling import When, check_option, compile_seconds, native, tools, traced
from pyrovae.errors import Uncapturable
from pyrovae.networks import MLP
from tests.support.captured import QUIET, interpreted, learned, willing
from tests.support.parts import raises_one_sentence
from tests.support.same_runs import binary, same, small

SCALE = torch.tensor([1.0, 2.0, 3.0])
SEEN: list[int] = []
ONE = torch.tensor([1.0, -1.0, 2.0])


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYROVAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def code(monkeypatch):
    return interpreted(monkeypatch)


@pytest.fixture
def data():
    return pv.datasets.load(binary(58), validation=10, test=10)


@torch.no_grad()
def run(graph, *inputs):
    return graph.module(*inputs, *graph.lifted)


# ---------------------------------------------------------------- what a graph is


def noisy(x, number):
    """Draws of several kinds, one that nothing uses, a tensor from elsewhere, an input that is moved."""
    torch.rand(7)
    number.add_(1)
    kept = torch.nn.functional.dropout(x, 0.5)
    drawn = torch.randn(3) + torch.bernoulli(torch.full((3,), 0.5))
    return x * SCALE + drawn, kept + torch.rand_like(x)


def agrees_with_the_function(call):
    """Equal values, equal changes and an equal generator, from any input, also when a lifted tensor moved."""
    before = SCALE.clone()
    try:
        for seed in range(3):
            x, counts = torch.full((3,), float(seed)), (torch.zeros(1), torch.zeros(1))
            torch.manual_seed(seed)
            wanted, state = noisy(x, counts[0]), torch.get_rng_state()
            torch.manual_seed(seed)
            for got, want in zip(call(x, counts[1]), wanted, strict=True):
                torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
            assert torch.equal(torch.get_rng_state(), state)
            assert torch.equal(*counts)
            SCALE.mul_(-2.0)
    finally:
        SCALE.copy_(before)


def test_a_graph_draws_and_gives_what_its_function_does():
    graph = traced(noisy, [ONE, torch.zeros(1)])
    agrees_with_the_function(lambda *given: run(graph, *given))
    assert len(graph.lifted) == 1
    assert graph.lifted[0] is SCALE


@pytest.mark.slow
def test_machine_code_draws_and_gives_what_its_function_does(monkeypatch, tmp_path):
    """A truncated library would crash this process with SIGBUS; it is compiled again."""
    given = [ONE, torch.zeros(1)]
    graph = traced(noisy, given)
    assert not graph.is_stored
    made = graph.compiled(given)
    assert graph.is_stored
    assert compile_seconds() == pytest.approx(made.seconds, abs=0.5)
    agrees_with_the_function(lambda *given: made(list(given)))
    monkeypatch.setattr("torch._inductor.aot_compile", None)
    again = traced(noisy, given).compiled(given)
    agrees_with_the_function(lambda *given: again(list(given)))
    assert again.seconds < made.seconds
    (path,) = Path(os.environ["PYROVAE_CACHE"]).glob(f"{graph.key}-*.so")
    whole = path.read_bytes()
    path.unlink()  # the code that is loaded stays as it is
    path.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "made").write_bytes(whole)
    monkeypatch.setattr("torch._inductor.aot_compile", lambda *given, **options: tmp_path / "made")
    again = traced(noisy, given).compiled(given)
    agrees_with_the_function(lambda *given: again(list(given)))
    assert path.read_bytes() == whole


def test_tracing_computes_draws_and_changes_nothing():
    number, random = torch.zeros(1), torch.get_rng_state()
    validates = torch.distributions.Distribution._validate_args
    traced(noisy, [ONE, number])
    assert number == 0
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.distributions.Distribution._validate_args == validates
    assert len(pyro.get_param_store()) == 0


def test_tracing_moves_no_buffer():
    module = torch.nn.Module()
    module.register_buffer("count", torch.zeros(()))
    traced(lambda x: (x + module.count.add_(1),), [ONE], watched=[module])
    assert module.count == 0


def test_what_shares_memory_with_an_input_keeps_its_values_when_the_input_is_another():
    """Rows of the data, of which a batch is an input and others are used by the program."""
    data = torch.arange(12.0)
    kept = data[1:4]
    graph = traced(lambda x: (x * kept + data[9:],), [data[6:9]])
    for start in (0, 6, 8):
        x = data[start : start + 3]
        torch.testing.assert_close(run(graph, x)[0], x * kept + data[9:])


def test_views_of_an_input_that_changes_change_with_it():
    vector = torch.zeros(4)
    part = vector[1:3]
    graph = traced(lambda v: (part * 1, v.add_(1)[1:3] + part), [vector], changed=[vector])
    assert not graph.lifted
    before, after = graph.module(torch.full((4,), 5.0))
    assert before.tolist() == [5, 5]
    assert after.tolist() == [12, 12]


def key(function=lambda x: (x * 2,), x=ONE):
    return traced(function, [x]).key


def test_the_key_is_of_what_decides_the_code():
    threads = torch.get_num_threads()
    assert key() == key(x=torch.zeros(3)) == key(lambda y: (y * 2,))
    others = [
        key(x=torch.zeros(4)),
        key(x=torch.zeros(3, 1)),
        key(x=torch.zeros(6)[::2]),
        key(x=ONE.double()),
        key(lambda x: (x * 3,)),
        key(lambda x: (x + 2,)),
        key(lambda x: (x * SCALE,)),
    ]
    try:
        torch.set_num_threads(threads + 1)
        others.append(key())
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(threads)
        others.append(key())  # tensors without a type may be made in it
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(torch.float32)
    assert len({key(), *others}) == 10
    one, two = (traced(lambda x, scale=scale: (x * scale,), [ONE]) for scale in (SCALE, SCALE + 1))
    assert one.key == two.key


# ---------------------------------------------------------------- what is refused


NUMBER = "it takes a number out of a tensor"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: (x if x.sum() > 0 else -x,), NUMBER),
        (lambda x: (x * x.sum().item(),), NUMBER),
        (lambda x: (x * x.tolist()[0],), NUMBER),
        (lambda x: (x * float(x[0]),), NUMBER),
        (lambda x: (x * int(x[0]),), NUMBER),
        (lambda x: (x * [1, 2, 3][x[0].long()],), NUMBER),
        (lambda x: (x + torch.from_numpy(np.sin(x.numpy())),), NUMBER),
        (lambda x: (x * float(np.asarray(x)[0]),), NUMBER),
        (lambda x: (x * SCALE[0].item(),), NUMBER),
        (lambda x: (x if SCALE.sum() > 0 else -x,), NUMBER),
        (lambda x: (x * len(x.nonzero()),), "data-dependent"),
        (lambda x: (x * len(SCALE.unique()),), "data-dependent"),
        (lambda x: (x if torch.equal(x, SCALE) else -x,), NUMBER),
        (lambda x: (x / 0 + {}["none"],), "KeyError"),
        (lambda x: (x @ torch.ones(4),), "RuntimeError"),
        (lambda x: (print("hello"), (x,))[1], "it prints at every call ('hello')"),
    ],
)
def test_what_no_graph_can_hold_is_refused_with_the_place(function, words):
    random = torch.get_rng_state()
    with pytest.raises(Uncapturable) as caught:
        traced(function, [ONE])
    said = str(caught.value)
    assert words in said
    assert "\n" not in said
    assert "test_compiling.py:" in said or "prints" in said
    assert torch.equal(torch.get_rng_state(), random)


def test_a_comparison_of_two_tensors_from_elsewhere_is_refused():
    with pytest.raises(Uncapturable):
        traced(lambda x: (x if torch.equal(SCALE, ONE) else -x,), [ONE])


def test_a_generator_of_ones_own_is_refused():
    own = torch.Generator()
    with pytest.raises(Uncapturable):
        traced(lambda x: (x + torch.rand(3, generator=own),), [ONE])


def test_a_name_without_a_value_yet_is_no_state():
    def function(x):
        return (x * 2,) if x.dim() else (later,)

    assert torch.equal(run(traced(function, [ONE], watched=[function]), ONE)[0], ONE * 2)
    later = None


def test_python_state_that_a_call_changes_is_found():
    calls, counted, module = [], {"calls": 0}, torch.nn.Identity()
    module.calls = 0

    def appends(x):
        calls.append(1)
        return (x,)

    def counts(x):
        counted["calls"] += 1
        return (x,)

    def attribute(x):
        module.calls += 1
        return (x,)

    def globally(x):
        SEEN.append(1)
        return (x,)

    said = {
        appends: "appends.calls",
        counts: "counts.counted",
        attribute: "Identity.calls",
        globally: ".SEEN",
    }
    for function, words in said.items():
        with pytest.raises(Uncapturable, match=f"it changes .*{words} in Python at every call"):
            traced(function, [ONE], watched=[function, module])
    traced(lambda x: (x * len(calls),), [ONE], watched=[appends, counts, module])


# ---------------------------------------------------------------- the folder of the code


def test_a_graph_is_stored_and_compiled_once(monkeypatch, tmp_path):
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path / "here"))
    assert compile_seconds() == 30.0  # before the first compilation
    builds = fake_compiler(monkeypatch, tmp_path)
    graph = traced(lambda x: (x * 7,), [ONE])
    assert not graph.is_stored
    graph.compiled([ONE])
    graph.compiled([ONE])
    assert graph.is_stored
    assert len(builds) == 1
    for text, seconds in (("12.5\n", 12.5), ("", 30.0), ("soon", 30.0)):
        (tmp_path / "here" / "seconds").write_text(text)
        assert compile_seconds() == seconds


def fake_compiler(monkeypatch, tmp_path):
    """Stand-in for machine code; returns the build folders and what was loaded."""
    builds = []

    def build(*given, **options):
        builds.append(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]))
        (builds[-1] / "made.so").write_text(f"code {len(builds)}")
        return builds[-1] / "made.so"

    monkeypatch.setattr("torch._inductor.aot_compile", build)
    monkeypatch.setattr(tools, "_check_processor", lambda: None)
    monkeypatch.setattr(native, "_load", lambda path: lambda values: [ONE])
    return builds


def test_code_is_built_in_a_private_folder_wherever_torch_would_build_it(monkeypatch, tmp_path):
    """TorchInductor's own folder may belong to another user, whose code it would compile and run."""
    from torch._inductor import codecache

    seen = []
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    builds = fake_compiler(monkeypatch, tmp_path)
    compiler = torch._inductor.aot_compile

    def look(*given, **options):
        library = compiler(*given, **options)
        seen.append((builds[-1].stat().st_mode & 0o777, os.environ["TMPDIR"], codecache._HEADER_DIR))
        return library

    monkeypatch.setattr("torch._inductor.aot_compile", look)
    headers, before = codecache._HEADER_DIR, dict(os.environ)
    traced(lambda x: (x * 7,), [ONE]).compiled([ONE])
    assert builds[0].parent == tmp_path / "cache"
    assert seen == [(0o700, str(builds[0]), str(tmp_path / "cache" / "tools" / "headers"))]
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert not builds[0].exists()
    assert codecache._HEADER_DIR == headers
    assert dict(os.environ) == before
    # A folder that the user has chosen is used; torch's own default does not count.
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    (tmp_path / "chosen").mkdir()
    for value, place in ((str(tmp_path / "chosen"), "chosen"), (default_cache_dir(), "cache")):
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", value)
        traced(lambda x, place=place: (x * len(place) + 1,), [ONE]).compiled([ONE])
        assert builds[-1].is_relative_to(tmp_path / place)


def test_a_compiler_that_was_ended_leaves_no_process_and_no_cut_header(monkeypatch, tmp_path):
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path))
    monkeypatch.setattr(tools, "_check_processor", lambda: None)
    header, cut = (tmp_path / "tools" / "headers" / f"{name}.gch" for name in ("whole", "cut"))
    header.parent.mkdir(parents=True)
    header.write_text("whole")
    os.utime(header, (time.time() - 1000,) * 2)
    compilers = []

    def interrupted(*given, **options):
        cut.write_text("cu")
        compilers.append(subprocess.Popen(["sleep", "60"]))
        time.sleep(0.2)
        raise KeyboardInterrupt

    monkeypatch.setattr("torch._inductor.aot_compile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        traced(lambda x: (x * 7,), [ONE]).compiled([ONE])
    assert compilers[0].wait(timeout=20) != 0
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["whole.gch"]


def test_a_failed_build_leaves_nothing(monkeypatch, tmp_path):
    def fails(*given, **options):
        assert list(tmp_path.glob(".build-*"))
        raise RuntimeError("no compiler\nand a hundred lines more")

    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path))
    monkeypatch.setattr(tools, "_check_processor", lambda: None)
    monkeypatch.setattr("torch._inductor.aot_compile", fails)
    graph = traced(lambda x: (x * 7,), [ONE])
    with pytest.raises(Uncapturable) as caught:
        graph.compiled([ONE])
    assert str(caught.value) == "it could not be compiled: RuntimeError: no compiler"
    assert not graph.is_stored
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# ---------------------------------------------------------------- whether it pays


def test_compiling_must_pay_for_itself(monkeypatch):
    """A quarter of the time to come must be more than tracing costs, and more than compiling with it."""
    monkeypatch.setattr("pyrovae.compiling.when.TRACING_SECONDS", 4.0)
    monkeypatch.setattr("pyrovae.compiling.when.compile_seconds", lambda: 20.0)
    when = When("auto", 3)
    when.seconds = [100.0, 1.0, 3.0]  # the first call does not count
    assert when.is_due
    assert when.usual_seconds == 2.0
    assert when.gain(8) == 4.0
    when.seconds = [9.0, 0.005, 0.005]  # a short call is mostly Pyro's
    assert when.gain(1000) == pytest.approx(3.0)
    when.seconds = [9.0, 0.001, 0.001]
    assert when.gain(1000) == pytest.approx(0.6)
    for gain, is_stored, seconds, pays in (
        (4.0, True, None, True),
        (3.9, True, None, False),
        (24.0, False, None, True),
        (23.9, False, None, False),
        (9.0, False, 5.0, True),
        (8.9, False, 5.0, False),
    ):
        assert when.pays(gain, is_stored=is_stored, seconds=seconds) == pays, (gain, is_stored, seconds)


def test_calls_are_timed_until_something_is_chosen():
    when = When("auto", 2)
    for count in (1, 2):
        assert not when.is_due
        with when.timing():
            pass
        assert len(when.seconds) == count
    assert when.is_due
    when.is_open = False
    with when.timing():
        pass
    assert len(when.seconds) == 2
    assert not when.is_due


def test_true_compiles_at_once_at_any_price_and_false_never():
    insisting, never = When(True, 5), When(False, 5)
    assert insisting.is_due
    assert insisting.pays(insisting.gain(1), is_stored=False, seconds=1e9)
    assert not never.is_due
    with never.timing():
        pass
    assert never.seconds == []
    for choice in (1, 0, "yes", None, "Auto"):
        raises_one_sentence(lambda choice=choice: check_option(choice), "compile must be True, False or")


# ---------------------------------------------------------------- a run that cannot be captured


class Odd(MLP):
    """A decoder that does what no graph can hold, and computes as another does."""

    def __init__(self, kind: str) -> None:
        super().__init__(8)
        self.kind, self.calls, self._turn = kind, 0, itertools.count()

    def forward(self, *inputs):
        return getattr(self, self.kind)(super().forward(*inputs))

    def branches(self, out):
        return out if out.sum() > 0 else out * 1.0

    def takes(self, out):
        return out + 0 * out.sum().item()

    def prints(self, out):
        print("hello")
        return out

    def counts(self, out):
        self.calls += 1
        return out

    def appends(self, out):
        SEEN.append(1)
        return out

    def turns(self, out):
        return out * (1 + next(self._turn) % 3)


def said_of(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if " steps: " in line]


def goes_on(make, data, capsys, *words, **settings):
    """`auto` gives the weights of compile=False bit for bit, and one line."""
    one = learned(pv.fit(make(), data, compile=False, **QUIET, **settings).program)
    capsys.readouterr()
    two = learned(pv.fit(make(), data, **(QUIET | {"progress": True}), **settings).program)
    (line,) = [line for line in said_of(capsys) if line.startswith("eager")]
    for word in words:
        assert word in line
    assert same(one, two)
    return one


FALLS_BACK = {
    "branches": (NUMBER, "in Odd, test_compiling.py:"),
    "takes": (NUMBER, "in Odd, test_compiling.py:"),
    "prints": ("it prints at every call ('hello')",),
    "counts": ("it changes Odd (generation.network).calls in Python",),
}


@pytest.mark.parametrize("kind", FALLS_BACK)
def test_auto_goes_on_in_python_and_true_says_why(kind, code, data, capsys, monkeypatch, tmp_path):
    def make():
        return small(decoder=Odd(kind))

    willing(monkeypatch)
    weights = goes_on(make, data, capsys, *FALLS_BACK[kind])
    given = QUIET | {"out": tmp_path, "checkpoint_seconds": 0}
    raises_one_sentence(
        lambda: pv.fit(make(), data, compile=True, **given), *FALLS_BACK[kind], "compile='auto'"
    )
    assert same(learned(pv.fit(make(), data, resume=True, **given).program), weights)
    assert not code.graphs


def test_a_part_that_keeps_a_list_elsewhere_is_not_captured(code, data, capsys, monkeypatch):
    willing(monkeypatch)
    goes_on(lambda: small(decoder=Odd("appends")), data, capsys, "SEEN")


def test_a_guide_that_keeps_a_list_is_not_captured(code, capsys, monkeypatch):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None], 1.0).to_event(1), obs=x)

    def guide(x):
        SEEN.append(len(x))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(pyro.param("slope", torch.ones(())) * x[:, 0], 1.0))

    def make():
        pyro.clear_param_store()
        return model, guide

    willing(monkeypatch)
    goes_on(make, torch.randn(58, 1), capsys, "it changes guide.SEEN in Python at every call")
    assert not code.graphs


def test_a_program_that_changes_its_mathematics_is_found(code, data, capsys, monkeypatch):
    willing(monkeypatch)
    found = pv.fit(small(decoder=Odd("turns")), data, **(QUIET | {"progress": True}))
    assert np.isfinite(found.history["train"]).all()
    assert "gives a different result" in said_of(capsys)[-1]
    assert code.calls == 1
    raises_one_sentence(
        lambda: pv.fit(small(decoder=Odd("turns")), data, compile=True, **QUIET), "gives a different result"
    )


def spoils(weights, draws):
    def spoilt(given):
        for tensor in given[4:] if weights else ():
            tensor.mul_(1.5)
        torch.rand(int(draws))

    return spoilt


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(
    ("what", "words"), [("weights", "gives a different result"), ("draws", "not draw the same number")]
)
def test_code_that_is_wrong_is_not_used(code, data, capsys, monkeypatch, optimizer, what, words):
    willing(monkeypatch)
    code.spoilt = spoils(what == "weights", what == "draws")
    goes_on(small, data, capsys, words, optimizer=optimizer)
    assert code.calls == 1


# ---------------------------------------------------------------- no compiler, no folder, no need


def test_without_a_compiler_there_is_no_code(tmp_path):
    from torch._inductor import config

    with (
        config.patch({"cpp.cxx": (str(tmp_path / "c++"),)}),
        pytest.raises(Uncapturable, match="could not be compiled: .*[Cc]ompiler"),
    ):
        traced(lambda x: (x * 11,), [ONE]).compiled([ONE])


def no_compiler(monkeypatch):
    def fails(*given, **options):
        raise RuntimeError("no compiler")

    monkeypatch.setattr("torch._inductor.aot_compile", fails)
    monkeypatch.setattr(tools, "_check_processor", lambda: None)


def test_code_that_fails_when_it_runs_is_not_used(code, data, capsys, monkeypatch):
    """An operation that machine code lacks (a draw from a Gamma) is missed when it first runs."""

    def fails(given):
        raise RuntimeError("unable to find a proxy executor")

    willing(monkeypatch)
    code.spoilt = fails
    goes_on(small, data, capsys, "proxy executor")


def test_a_place_where_nothing_compiles(data, capsys, monkeypatch):
    willing(monkeypatch)
    no_compiler(monkeypatch)
    goes_on(small, data, capsys, "it could not be compiled")
    raises_one_sentence(lambda: pv.fit(small(), data, compile=True, **QUIET), "it could not be compiled")


def test_a_short_run_stays_in_python_and_says_nothing(code, data, capsys):
    one, two = small(), small()
    pv.fit(one, data, **(QUIET | {"progress": True}))
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown[1:]] == ["epoch"] * 3  # after the settings
    pv.fit(two, data, compile=False, **QUIET)
    assert same(one.state_dict(), two.state_dict())
    assert not code.graphs


def test_importing_loads_no_compiler():
    heavy = "{m for m in sys.modules if m.startswith(('torch._inductor', 'torch._dynamo'))}"
    verbs = "import pyrovae.training, pyrovae.evidence, pyrovae.vae"
    lines = ("import sys, torch, pyro", f"before = {heavy}", verbs, f"assert {heavy} == before")
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, timeout=120)
