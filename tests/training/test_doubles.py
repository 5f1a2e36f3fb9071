"""A VAE in float32 is trained on x in float64: eager and compiled, streamed, resumed, in two processes."""

import math
import os

import pytest
import torch

import pyrovae as pv
from pyrovae.networks import MLP
from tests.support import messy
from tests.support.captured import QUIET, alike, interpreted, learned
from tests.support.interrupted import fit_in_pieces
from tests.support.same_runs import assert_same_runs, same

LONG = bool(os.environ.get("PYROVAE_LONG"))

NAMES = ("dates", "offsets", "incomes")


def make(name="offsets", likelihood=None):
    torch.manual_seed(0)
    chosen = messy.likelihood(name) if likelihood is None else likelihood
    return pv.VAE((3,), 2, likelihood=chosen, encoder=MLP(8), decoder=MLP(8))


def offsets(rows=60):
    return 5.4e6 + 0.2 * torch.randn(rows, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", NAMES)
def test_a_compiled_step_of_a_messy_table_is_the_eager_one(monkeypatch, name):
    code = interpreted(monkeypatch)
    alike(lambda: make(name), messy.table(name, rows=60), epochs=2)
    assert code.calls > 0


@pytest.mark.parametrize("likelihood", [pv.likelihoods.Normal("optimal"), pv.likelihoods.StudentT()])
def test_a_compiled_step_of_an_array_is_the_eager_one(monkeypatch, likelihood):
    code = interpreted(monkeypatch)
    data = pv.datasets.load(offsets())
    assert data.train.x.dtype == data.epoch(0, 0).x.dtype == torch.float64
    alike(lambda: make(likelihood=likelihood), data, epochs=2)
    assert code.calls > 0


@pytest.mark.skipif(not LONG, reason="the real compiler, in the long form of the tests")
def test_machine_code_takes_doubles():
    alike(make, messy.table("offsets", rows=80), epochs=2)


def test_compiled_evidence_takes_doubles(monkeypatch):
    code, data, vae = interpreted(monkeypatch), messy.table("offsets", rows=80), make()
    pv.fit(vae, data, **QUIET | {"epochs": 1, "compile": False})
    options = {"particles": 500, "chunk": 2000}
    eager, compiled = (
        pv.log_evidence(vae, data.validation, compile=kind, **options).log_px for kind in (False, True)
    )
    assert code.calls > 0
    torch.testing.assert_close(torch.tensor(compiled), torch.tensor(eager), rtol=1e-5, atol=1e-4)


def test_a_run_in_pieces_ends_like_one_run(tmp_path):
    data, settings = messy.table("dates", rows=58), QUIET | {"checkpoint_seconds": 0, "compile": False}
    pv.fit(make("dates"), data, out=tmp_path / "whole", **settings)
    fit_in_pieces(lambda: make("dates"), data, tmp_path / "pieces", (4, 7), **settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")


def test_a_stream_keeps_its_digits():
    x = offsets()
    stream = pv.datasets.load(torch.utils.data.TensorDataset(x), stream=True, validation=10, test=10)
    assert stream.streams
    assert stream.train[0].dtype == stream.validation.x.dtype == torch.float64
    assert torch.equal(stream.train[3], x[stream.train.index[3]])
    vae = make(likelihood=pv.likelihoods.Normal("learned"))
    run = pv.fit(vae, stream, **QUIET | {"compile": False})
    assert math.isfinite(run.history["validation"][-1])
    assert (vae.likelihood.spread - 0.2).abs().max() < 0.15  # of the ten validation rows


def fitted():
    vae = make("dates")
    run = pv.fit(vae, messy.table("dates", rows=58), **QUIET | {"compile": False})
    return vae.state_dict(), run.history["validation"].tolist()


def test_two_processes_have_equal_weights(pair):
    (first, said), (second, too) = pair(fitted)
    assert same(first, second)
    assert said == too


def test_conditional_programs_take_doubles():
    x, context = offsets(), torch.randn(60, 2, dtype=torch.float64)
    torch.manual_seed(0)
    vae = pv.VAE(
        (3,),
        2,
        likelihood=pv.likelihoods.Normal("learned"),
        encoder=MLP(8),
        decoder=MLP(8),
        context_shape=(2,),
    )
    pv.fit(vae, pv.Rows(x, context), **QUIET | {"compile": False})
    evidence = pv.log_evidence(vae, x, context, particles=10)
    assert evidence.quantity == "log p(x | c)"
    assert vae.sample(5, context[:5]).shape == (5, 3)


def test_priors_and_diagnoses_start_from_doubles():
    for prior in (pv.priors.VampPrior(4, pseudo_inputs="data"), pv.priors.GaussianMixture(2, start="kmeans")):
        torch.manual_seed(0)
        vae = pv.VAE(
            (3,), 2, likelihood=messy.likelihood("dates"), prior=prior, encoder=MLP(8), decoder=MLP(8)
        )
        data = messy.table("dates", rows=80)
        epochs = max(2, vae.prior.waits_for + 1)
        pv.fit(vae, data, **QUIET | {"compile": False, "epochs": epochs})
        assert all(v.isfinite().all() for v in learned(vae).values())
    pv.diagnose(vae, data)
    plain = make("dates")
    pv.fit(plain, data, **QUIET | {"compile": False})
    pv.gaps(plain, data.test[:5], steps=3, particles=20, method="importance")
    pv.iwae_bound(plain, data.test, particles=(1, 5))
    pv.sandwich(plain, count=10, temperatures=(3,), chains=4)
    ais = pv.log_evidence(plain, data.test[:5], method=pv.evidence.AIS(10), particles=4)
    assert torch.tensor(ais.log_px).isfinite().all()
