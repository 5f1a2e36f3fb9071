"""Compiled evaluation: the numbers of the eager one, or the eager one itself."""

from collections import Counter

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae import cli, compiling
from pyrovae.compiling import When, when
from pyrovae.evidence import compiled, log_evidence
from pyrovae.evidence.compiled import CompiledTerms, Evaluator
from pyrovae.evidence.run import eager_terms, evaluation
from pyrovae.oracles import LatentClass, LinearGaussian, LinearGaussianMixture
from tests.support.captured import cache_with_tools
from tests.support.cells import cell_name, cover, declared, space
from tests.support.linear import labelled_vae, rows_for
from tests.support.parts import PAIRS, raises_one_sentence, small_vae

# Networks, events and contexts take turns over the table of the other parts.
CELLS = [cell for cell in cover(1) if not isinstance(cell.networks[0], pv.networks.Recurrent)]


@pytest.fixture
def interpreted(monkeypatch):
    """Graphs run operation by operation, without a compiler; gives the inputs of each call."""
    calls = []

    def run(self, inputs):
        calls.append(inputs)
        return list(self.module(*inputs))

    def compiled(self, inputs):
        return compiling.Compiled(lambda given: run(self, given), self.lifted, 0.0)

    monkeypatch.setattr(compiling.Graph, "compiled", compiled)
    return calls


NUMBERS = ("log_px", "mc_stderr", "ess", "khat")


def same(found, wanted, tolerance=2e-4, names=NUMBERS):
    for name in names:
        a, b = getattr(found, name), getattr(wanted, name)
        size = np.nanmax(np.abs(b)) if name in ("log_px", "ess") else 1
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * (1 + size), err_msg=name)


def both(program, rows, **options):
    return (log_evidence(program, rows, compile=how, **options) for how in (True, False))


# ---------------------------------------------------------------- the same numbers


@pytest.mark.parametrize("cell", CELLS, ids=cell_name)
def test_a_compiled_cell_gives_the_eager_numbers(cell, interpreted):
    vae = declared(cell)
    # Of a few one-hot states most weights are equal, and a tail fitted to them is one of rounding.
    names = NUMBERS[:3] if space(cell.guide)[0] == "one-hot" else NUMBERS
    same(*both(vae, rows_for(vae, 4), particles=600, chunk=500), names=names)
    assert len(interpreted) > 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bernoulli", "mixture, context"])
def test_machine_code_gives_the_eager_numbers(name, tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("PYROVAE_CACHE", cache_with_tools(tmp_path / "cache", tmp_path_factory))
    more = {
        "prior": pv.priors.GaussianMixture(3),
        "likelihood": pv.likelihoods.Normal("predicted"),
        "context_shape": (3,),
    }
    vae = small_vae((6,), 3, networks=PAIRS[0], **({} if name == "bernoulli" else more))
    rows = rows_for(vae, 4)
    same(*both(vae, rows, particles=600, chunk=500))
    assert len(list((tmp_path / "cache").glob("*.so"))) == 1
    before = (tmp_path / "cache" / "seconds").stat().st_mtime_ns
    same(*both(vae, rows, particles=600, chunk=500))
    assert (tmp_path / "cache" / "seconds").stat().st_mtime_ns == before  # it was found, not made again


@pytest.mark.parametrize("method", ["importance", "psis"])
def test_programs_that_are_not_a_vae(method, interpreted, float64):
    for oracle in (
        LinearGaussian.random(4, 2, guide_scale=0.8),
        LinearGaussianMixture.random(4, 2, components=3, collapsed=False),
        LatentClass.random(6, classes=3, temperature=1.5),  # drawn whole, by torch's own generator
    ):
        del interpreted[:]
        same(*both(oracle, oracle.sample(5), particles=300, method=method), 1e-9)
        assert interpreted


def test_several_sites_inner_plates_and_parameters_in_the_store(interpreted, float64):
    def model(x):
        scale = pyro.param("scale", torch.tensor(1.5), dist.constraints.positive)
        with pyro.plate("data", len(x)):
            w = pyro.sample("w", dist.Gamma(x.new_tensor(3.0), 2.0))
            with pyro.plate("elements", 5, dim=-2):
                z = pyro.sample("z", dist.Normal(0.0, w))
                pyro.sample("x", dist.Normal(z, scale), obs=x.mT)

    def guide(x):
        with pyro.plate("data", len(x)):
            w = pyro.sample("w", dist.Gamma(3 + x.square().sum(-1), 3.0))
            with pyro.plate("elements", 5, dim=-2):
                pyro.sample("z", dist.Normal(x.mT / 2, 0.5 + w))

    same(*both((model, guide), torch.randn(7, 5), particles=300), 1e-9)
    assert interpreted


@pytest.mark.parametrize("context_shape", [None, (3,)])
def test_labels_are_compiled_too(context_shape, interpreted, float64):
    vae, _ = labelled_vae(context_shape)
    same(*both(vae, rows_for(vae, 6), particles=300), 1e-9)
    assert interpreted


@pytest.mark.parametrize("precision", ["bf16", "auto"])
def test_products_in_fewer_bits_are_compiled_too(precision, interpreted):
    vae = small_vae((20,), 3)
    x = rows_for(vae, 4).x
    found, wanted = both(vae, x, particles=300, precision="bf16")
    same(found, wanted, 2e-2)  # a product's bias may be added before it is rounded or after
    assert np.abs(found.log_px - log_evidence(vae, x, particles=300).log_px).max() > 0
    log_evidence(vae, x, particles=300, precision=precision, compile=True)


def test_only_the_commonest_shape_is_code(interpreted):
    vae = small_vae((5,), 2)
    x = rows_for(vae, 7).x
    same(*both(vae, x, particles=600, chunk=500))
    # 7 rows of 500 and 100 particles; the first piece is also compared.
    assert len(interpreted) == 8
    assert {len(given[0]) for given in interpreted} == {500}


def test_nothing_is_changed_by_it(interpreted):
    vae = small_vae((5,), 2).train()
    x = rows_for(vae, 4).x
    before, random = {n: t.clone() for n, t in vae.state_dict().items()}, torch.get_rng_state()
    log_evidence(vae, x, particles=100, compile=True)
    assert all(torch.equal(t, before[n]) for n, t in vae.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert vae.training
    assert not len(pyro.get_param_store())


# ---------------------------------------------------------------- the choice


def evaluate(compile, monkeypatch, *, pieces=20, compile_seconds=0.0, tracing=0.0):
    """Run equal pieces through an `Evaluator`; gives it, and the number of pieces that were eager."""
    monkeypatch.setattr(when, "compile_seconds", lambda: compile_seconds)
    monkeypatch.setattr(when, "TRACING_SECONDS", tracing)
    monkeypatch.setattr(compiling.Graph, "is_stored", False)
    monkeypatch.setattr(CompiledTerms, "seconds", lambda *_: 0.0)
    oracle, count = LinearGaussian.random(4, 2), []

    def counted(*given):
        count.append(1)
        return eager_terms(*given)

    monkeypatch.setattr(compiled, "eager_terms", counted)
    evaluator = Evaluator(compile, Counter({(250, 1): pieces}))
    with evaluation(oracle, oracle.sample(1), seed=0, chunk=None) as one:
        for i in range(pieces):
            terms = evaluator(one, 250 * i, 250)
            assert torch.allclose(terms.log_w, eager_terms(one, 250 * i, 250).log_w)
    return evaluator, len(count)


def test_auto_times_some_pieces_and_compiles_what_pays(interpreted, monkeypatch):
    evaluator, count = evaluate("auto", monkeypatch)
    assert evaluator.compiled is not None
    assert count == compiled.TIMED + 1  # and one to compare with
    assert len(interpreted) == 20 - compiled.TIMED + 1


@pytest.mark.parametrize("costs", [{"compile_seconds": 1e9}, {"tracing": 1e9}])
def test_auto_stays_eager_where_it_does_not_pay(costs, interpreted, monkeypatch):
    evaluator, count = evaluate("auto", monkeypatch, **costs)
    assert evaluator.compiled is None
    assert (count, len(interpreted)) == (20, 0)


def test_auto_stays_eager_where_code_is_not_faster(interpreted, monkeypatch):
    monkeypatch.setattr(When, "usual_seconds", -1.0)
    monkeypatch.setattr(when, "SAVED", -1.0)
    evaluator, count = evaluate("auto", monkeypatch)
    assert evaluator.compiled is None
    assert count == 21  # all of them, and one to compare with
    assert len(interpreted) == 1


# ---------------------------------------------------------------- what cannot be compiled


class Branching(LinearGaussian):
    def model(self, x=None):
        if x is not None and x.sum() > 1e9:
            raise AssertionError
        return super().model(x)


class Noisy(LinearGaussian):
    def guide(self, x):
        return super().guide(x + 1e-3 * torch.randn_like(x))


@pytest.mark.parametrize(("kind", "why"), [(Branching, "takes a number"), (Noisy, "random numbers outside")])
def test_what_cannot_be_compiled_is_eager_or_refused(kind, why, interpreted, monkeypatch):
    oracle = kind.random(4, 2)
    x = oracle.sample(30)
    raises_one_sentence(lambda: log_evidence(oracle, x, particles=250, compile=True), why, "compile='auto'")
    monkeypatch.setattr(when, "TRACING_SECONDS", 0.0)
    monkeypatch.setattr(when, "compile_seconds", lambda: 0.0)
    found, wanted = (log_evidence(oracle, x, particles=250, chunk=250, compile=c) for c in ("auto", False))
    assert not interpreted
    same(found, wanted, 0.0)


def test_code_that_gives_something_else_is_not_used(monkeypatch):
    def compiled(self, inputs):
        return compiling.Compiled(lambda given: [t + 1 for t in self.module(*given)], self.lifted, 0.0)

    monkeypatch.setattr(compiling.Graph, "compiled", compiled)
    oracle = LinearGaussian.random(4, 2)
    x = oracle.sample(2)
    raises_one_sentence(lambda: log_evidence(oracle, x, particles=250, compile=True), "gives other terms")


def test_a_guide_of_changing_shape_runs_eagerly(interpreted):
    vae = small_vae((5,), 2)
    evaluator = Evaluator(True, Counter({(250, 1): 9}))
    with evaluation(vae, rows_for(vae, 1), seed=0, chunk=None) as pieces:
        evaluator(pieces, 0, 250)
        evaluator.compiled.sites = ["y"]
        terms = evaluator(pieces, 250, 250)
        assert torch.equal(terms.log_w, eager_terms(pieces, 250, 250).log_w)


def test_a_value_of_compile_that_does_not_exist_is_refused():
    oracle = LinearGaussian.random(4, 2)
    x = oracle.sample(2)
    raises_one_sentence(lambda: log_evidence(oracle, x, compile="yes"), "'auto'", "'yes'")
    for method in ("ais", "defensive"):
        raises_one_sentence(
            lambda m=method: log_evidence(oracle, x, method=m, compile=True), "compile='auto'"
        )


def test_the_command_line_passes_it_on(tmp_path, interpreted, capsys):
    run = str(tmp_path / "run")
    assert (
        cli.main(f"fit --data digits --binarize threshold --epochs 1 --compile false --out {run}".split())
        == 0
    )
    common = f"evaluate {run} --particles 250 --rows 20 --method importance --bounds [1,5] --baseline false"
    assert cli.main([*common.split(), "--compile", "false"]) == 0
    assert not interpreted
    assert cli.main([*common.split(), "--compile", "true"]) == 0
    assert interpreted
