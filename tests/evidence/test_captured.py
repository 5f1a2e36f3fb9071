"""Compiled densities and derivatives: the numbers of Python, for any tile, or Python itself."""

from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae import compiling
from pyrovae.compiling import when
from pyrovae.errors import Uncapturable
from pyrovae.evidence import AIS, captured, estimate, log_evidence, path, run, sandwich
from pyrovae.evidence.captured import Codes
from pyrovae.evidence.compiled import CompiledTerms
from pyrovae.evidence.path import Latents
from pyrovae.evidence.run import evaluation
from pyrovae.evidence.surface import Surface
from pyrovae.oracles import LatentClass, LinearGaussian, LinearGaussianMixture
from tests.support.captured import cache_with_tools
from tests.support.linear import rows_for
from tests.support.parts import raises_one_sentence, small_vae


@pytest.fixture
def interpreted(monkeypatch):
    """Graphs run operation by operation, without a compiler; gives the shapes of u in each call."""
    calls = []

    def run(self, inputs):
        calls.append(tuple(inputs[0].shape[:2]))
        return list(self.module(*inputs))

    def compiled(self, inputs):
        return compiling.Compiled(lambda given: run(self, given), self.lifted, 0.0)

    monkeypatch.setattr(compiling.Graph, "compiled", compiled)
    monkeypatch.setattr(compiling.Graph, "start", lambda self, inputs: None)
    monkeypatch.setattr(captured._Code, "seconds", lambda self: 0.0)
    return calls


@pytest.fixture
def at_once(monkeypatch):
    """Methods compile every kind at its first call."""
    monkeypatch.setattr(estimate, "Codes", lambda compile, rows: Codes(True, rows))


def pair():
    """A hand-written program with two sites, one of them positive, and a parameter in the store."""

    def model(x):
        scale = pyro.param("scale", torch.tensor(1.5), dist.constraints.positive)
        with pyro.plate("data", len(x)):
            w = pyro.sample("w", dist.Gamma(x.new_tensor(3.0), 2.0))
            z = pyro.sample("z", dist.Normal(0.0, w))
            many = z.unsqueeze(-1).expand(*z.shape, 5)
            pyro.sample("x", dist.Normal(many, scale).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            w = pyro.sample("w", dist.Gamma(3 + x.square().sum(-1), 3.0))
            pyro.sample("z", dist.Normal(x.mean(-1) / 2, 0.5 + w))

    return model, guide


def program(name):
    """A program and rows of it."""
    if name == "pair":
        return pair(), torch.randn(5, 5)
    if name == "mixture of lines":
        oracle = LinearGaussianMixture.random(4, 2, components=3)
        return oracle, oracle.sample(5)
    vae = small_vae((6,), 2, **PARTS[name])
    rows = rows_for(vae, 5)
    if name == "missing":
        rows.x[0, 0] = torch.nan
    return vae, rows


PARTS = {
    "normal": {},
    "missing": {"likelihood": pv.likelihoods.Normal("predicted")},
    "mixture": {"prior": pv.priors.GaussianMixture(3)},
    "pseudo-inputs": {"prior": pv.priors.VampPrior(4)},
    "two layers": {"prior": pv.priors.Hierarchical((2,))},
    "conditional": {"context_shape": (3,), "likelihood": pv.likelihoods.Normal("predicted")},
}
PROGRAMS = [*PARTS, "pair", "mixture of lines"]


def close(found, wanted, tolerance=1e-8):
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert torch.allclose(a, b.to(a), rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------- the same numbers


@pytest.mark.parametrize("name", PROGRAMS)
def test_densities_and_derivatives_are_those_of_python(name, interpreted, float64):
    vae, rows = program(name)
    with evaluation(vae, rows, seed=0, chunk=11) as pieces:
        eager, code = (Latents(replace(pieces, codes=c)) for c in (None, Codes(True, 5)))
        u = eager.pack(eager.guide_values(7))
        for start in ("guide", "prior"):
            close(code.gradients(u, start), eager.gradients(u, start))
        smooth, plain = (Surface(latents.pieces) for latents in (code, eager))
        close(smooth.densities(u), plain.densities(u))
        close(smooth.slopes(u), plain.slopes(u))
        close(smooth.curvature(u, torch.ones(5)), plain.curvature(u, torch.ones(5)))
    assert {(1, 11), (11, 1), (1, 1)} >= set(interpreted)  # tiles, of which the last are filled up
    assert len(interpreted) > 20


@pytest.mark.parametrize("name", ["normal", "conditional", "pair", "mixture of lines"])
def test_methods_give_the_eager_numbers(name, interpreted, at_once, float64):
    vae, rows = program(name)
    methods = (AIS(5, start="guide"), AIS(5, start="prior"), AIS(6), pv.evidence.Laplace(2))
    for method, particles in zip(methods, (6, 6, 6, 120), strict=True):
        del interpreted[:]
        found, wanted, other = (
            log_evidence(vae, rows, particles=particles, method=method, compile=how, chunk=chunk)
            for how, chunk in (("auto", None), (False, None), ("auto", 300))
        )
        assert interpreted
        for same in (found, other):
            np.testing.assert_allclose(same.log_px, wanted.log_px, rtol=0, atol=1e-7)
            np.testing.assert_allclose(same.ess, wanted.ess, rtol=1e-5)


def test_curvatures_are_those_of_single_products(float64):
    for name in PROGRAMS:
        vae, rows = program(name)
        with evaluation(vae, rows, seed=0, chunk=11) as pieces:
            surface = Surface(pieces)
            u = surface.latents.pack(surface.latents.guide_values(2)).double()
            eye = torch.eye(surface.dim).unsqueeze(1)
            close([surface._hessians(u)], [surface.products(u, eye)])


def test_sandwich_compiles_too(interpreted, monkeypatch, float64):
    oracle = LinearGaussian.random(4, 2, guide_scale=0.7)
    wanted = sandwich(oracle, count=4, temperatures=(5,), chains=4)
    assert not interpreted
    monkeypatch.setattr(when, "TRACING_SECONDS", 0.0)
    monkeypatch.setattr(when, "compile_seconds", lambda: 0.0)
    found = sandwich(oracle, count=4, temperatures=(5,), chains=4)
    assert interpreted
    np.testing.assert_allclose(found.gap, wanted.gap, rtol=0, atol=1e-8)


@pytest.mark.slow
def test_machine_code_gives_the_eager_numbers(tmp_path, tmp_path_factory, monkeypatch, at_once):
    monkeypatch.setenv("PYROVAE_CACHE", cache_with_tools(tmp_path / "cache", tmp_path_factory))
    vae, rows = program("normal")
    for method, particles in ((AIS(5, start="guide"), 6), (pv.evidence.Laplace(2), 120)):
        found, wanted = (
            log_evidence(vae, rows, particles=particles, method=method, compile=how)
            for how in ("auto", False)
        )
        np.testing.assert_allclose(found.log_px, wanted.log_px, rtol=0, atol=1e-4)
    assert len(list((tmp_path / "cache").glob("*.so"))) == 3


# ---------------------------------------------------------------- the choice


def gradients(oracle, codes, calls):
    """The gradients at one point, asked for again and again."""
    with evaluation(oracle, oracle.sample(3), seed=0, chunk=None) as pieces:
        latents = Latents(replace(pieces, codes=codes))
        u = latents.pack(latents.guide_values(4))
        return [latents.gradients(u, "prior") for _ in range(calls)]


def test_code_is_made_when_it_pays(interpreted, monkeypatch):
    monkeypatch.setattr(when, "TRACING_SECONDS", 0.0)
    monkeypatch.setattr(compiling.Graph, "is_stored", False)
    oracle = LinearGaussian.random(4, 2)
    for seconds, makes in ((1e9, False), (0.0, True)):
        monkeypatch.setattr(when, "compile_seconds", lambda seconds=seconds: seconds)
        codes = Codes("auto", 3)
        gradients(oracle, codes, 6)
        assert bool(interpreted) == makes
    codes = Codes(False, 3)
    del interpreted[:]
    gradients(oracle, codes, 6)
    assert not interpreted


def test_stored_code_serves_any_number_of_rows(float64):
    vae, _ = program("normal")
    x = rows_for(vae, 9).x
    keys = set()
    for rows, chains in ((9, 7), (2, 7), (9, 1), (1, 4)):
        with evaluation(vae, x[:rows], seed=0, chunk=11) as pieces:
            latents = Latents(pieces)
            u = latents.pack(latents.guide_values(chains))
            kinds = (path.SLOPES, path.HESSIANS, path.DENSITIES)
            keys.add(tuple(captured._Code(kind, latents, u).graph.key for kind in kinds))
    assert len(keys) == 1


def test_announced_work_counts(interpreted, monkeypatch):
    monkeypatch.setattr(when, "TRACING_SECONDS", 60.0)
    monkeypatch.setattr(when, "compile_seconds", lambda: 0.0)
    oracle = LinearGaussian.random(4, 2)
    codes = Codes("auto", 3)
    gradients(oracle, codes, 4)
    assert not interpreted
    codes.expect(path.FROM_PRIOR, 10**9)
    gradients(oracle, codes, 1)
    assert interpreted


def test_code_that_gives_something_else_is_not_used(monkeypatch, at_once):
    def compiled(self, inputs):
        return compiling.Compiled(lambda given: [t + 1 for t in self.module(*given)], self.lifted, 0.0)

    oracle = LinearGaussian.random(4, 2, guide_scale=0.8)
    x = oracle.sample(3)
    wanted = log_evidence(oracle, x, method="laplace", particles=100, compile=False)
    monkeypatch.setattr(compiling.Graph, "compiled", compiled)
    found = log_evidence(oracle, x, method="laplace", particles=100)
    np.testing.assert_array_equal(found.log_px, wanted.log_px)


def test_compile_false_means_never(interpreted, monkeypatch):
    for module in (run, estimate):
        monkeypatch.setattr(module, "Codes", lambda compile, rows: Codes(True, rows))
    vae, rows = program("normal")
    for compile in (False, "auto"):
        options = {"method": "laplace", "particles": 60, "compile": compile}
        log_evidence(vae, rows, **options)
        assert bool(interpreted) == (compile == "auto")
        del interpreted[:]
        pv.score(vae, rows, **options)
        assert bool(interpreted) == (compile == "auto")


class Branching(LinearGaussian):
    def model(self, x=None):
        if x is not None and x.sum() > 1e9:
            raise AssertionError
        return super().model(x)


def test_what_cannot_be_traced_stays_in_python(interpreted, at_once):
    oracle = Branching.random(4, 2, guide_scale=0.8)
    x = oracle.sample(3)
    for method in (AIS(5), "laplace"):
        found, wanted = (
            log_evidence(oracle, x, method=method, particles=60, compile=c) for c in ("auto", False)
        )
        np.testing.assert_array_equal(found.log_px, wanted.log_px)
    assert not interpreted


def test_discrete_latents_are_refused_as_before(at_once):
    oracle = LatentClass.random(6, classes=3)
    x = oracle.sample(3)
    for method in ("ais", "laplace"):
        raises_one_sentence(lambda m=method: log_evidence(oracle, x, method=m), "discrete")


# ---------------------------------------------------------------- compiling in another process


def test_a_kind_is_traced_once(interpreted, monkeypatch):
    made = []
    trace = captured.traced
    monkeypatch.setattr(captured, "traced", lambda *a, **k: made.append(1) or trace(*a, **k))
    monkeypatch.setattr(when, "TRACING_SECONDS", 0.0)
    monkeypatch.setattr(when, "compile_seconds", lambda: 1e9)
    monkeypatch.setattr(compiling.Graph, "is_stored", False)
    gradients(LinearGaussian.random(4, 2), Codes("auto", 3), 20)
    assert len(made) == 1
    assert not interpreted


class Build:
    """A compilation elsewhere that is done when it was asked a number of times."""

    every = ()

    def __init__(self, asked, error=None):
        self.left, self.error, self.cancelled = asked, error, False
        Build.every = (*Build.every, self)

    @property
    def is_done(self):
        self.left -= 1
        return self.left < 0

    def finish(self):
        if self.error:
            raise Uncapturable(self.error)
        return 0.0

    def cancel(self):
        self.cancelled = True


@pytest.fixture
def elsewhere(interpreted, monkeypatch):
    """Code is compiled by another process, which takes as long as the fixture is told to wait."""
    monkeypatch.setattr(when, "TRACING_SECONDS", 0.0)
    monkeypatch.setattr(when, "compile_seconds", lambda: 0.0)
    monkeypatch.setattr(compiling.Graph, "is_stored", False)
    monkeypatch.setattr(CompiledTerms, "seconds", lambda *_: 0.0)
    monkeypatch.setattr(Build, "every", ())

    def begins(asked, error=None):
        monkeypatch.setattr(compiling.Graph, "start", lambda self, inputs: Build(asked, error))

    return begins


METHODS = [("importance", 8000), (AIS(5, start="guide"), 6), ("laplace", 600)]


@pytest.mark.parametrize(("method", "particles"), METHODS)
@pytest.mark.parametrize(("asked", "error"), [(0, None), (1, None), (10**9, None), (1, "no compiler")])
def test_calls_are_eager_until_the_code_is_there(
    method, particles, asked, error, interpreted, elsewhere, capfd, float64
):
    oracle = LinearGaussian.random(4, 2, guide_scale=0.7)
    x = oracle.sample(4)
    elsewhere(asked, error)
    found, wanted = (
        log_evidence(oracle, x, method=method, particles=particles, chunk=300, compile=c)
        for c in ("auto", False)
    )
    np.testing.assert_allclose(found.log_px, wanted.log_px, rtol=0, atol=1e-9)
    assert Build.every
    assert bool(interpreted) == (asked < 10**9 and error is None)
    assert all(build.cancelled == (asked == 10**9) for build in Build.every)
    assert capfd.readouterr() == ("", "")


def test_a_failed_evaluation_ends_the_compilation(elsewhere, monkeypatch):
    class Failing(LinearGaussian):
        def model(self, x=None):
            if Build.every:
                raise ValueError("failed")
            return super().model(x)

    elsewhere(10**9)
    oracle = Failing.random(4, 2, guide_scale=0.7)
    for method, particles in METHODS:
        monkeypatch.setattr(Build, "every", ())
        with pytest.raises(ValueError, match="failed"):
            log_evidence(oracle, oracle.sample(4), method=method, particles=particles, chunk=300)
        assert all(build.cancelled for build in Build.every)


@pytest.mark.slow
def test_another_process_makes_the_same_code(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("PYROVAE_CACHE", cache_with_tools(tmp_path / "cache", tmp_path_factory))
    vae, rows = program("normal")
    with evaluation(vae, rows, seed=0, chunk=None) as pieces:
        latents = Latents(pieces)
        u = latents.pack(latents.guide_values(4))
        code = captured._Code(path.SLOPES, latents, u)
        assert not code.compile(wait=False)
        code.making.build.process.wait()
        assert code.compile(wait=False)
        code.check()
        close(code(latents, u), latents.slopes(u), 1e-4)
