"""log p(x | D) over draws of variables that all rows share, and log p(D), on models where they are known."""

import dataclasses
import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae.datasets import Rows
from pyrovae.evidence import AIS, compare
from pyrovae.networks import MLP, Bayesian
from tests.support.conjugate import Conjugate, exact
from tests.support.parts import raises_one_sentence


def rows(count=30, seed=0):
    return torch.randn(count, 1, generator=torch.Generator().manual_seed(seed)) * 1.4


def bayesian(posterior="normal", **options):
    torch.manual_seed(0)
    decoder = Bayesian(MLP(6), posterior=posterior)
    return pv.VAE((1, 4, 4), 2, decoder=decoder, encoder=MLP(6), seed=0, **options).eval()


def binary(count=12):
    return (torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(1)) > 0.5).float()


def test_the_predictive_density_and_its_errors_are_right():
    program, x = Conjugate(guide_scale=1.3), rows()
    truth = program.predictive(x).numpy()
    z_rows, z_mean = [], []
    for seed in range(60):
        evidence = pv.log_evidence(program, x, particles=100, seed=seed)
        z_rows.append((evidence.log_px - evidence.log_bias - truth) / evidence.mc_stderr)
        z_mean.append((evidence.corrected - truth.mean()) / evidence.corrected_error)
    assert 0.85 < np.std(z_mean) < 1.3
    assert abs(np.mean(z_mean)) < 0.4
    assert (np.abs(z_rows) < 3).mean() > 0.96
    # Rows share the draws, so the error of the mean is larger than that of independent rows.
    assert evidence.mc_error > 1.5 * np.sqrt((evidence.mc_stderr**2).sum()) / 30


@pytest.mark.parametrize("method", ["psis", "laplace", "defensive", AIS(temperatures=5)])
def test_every_method_averages_over_draws(method):
    program, x = Conjugate(guide_scale=1.2), rows(6)
    particles = 60 if isinstance(method, str) else 6
    evidence = pv.log_evidence(program, x, method=method, particles=particles, weights=200)
    assert (np.abs(evidence.log_px - program.predictive(x).numpy()) < 4 * evidence.mc_stderr + 0.01).all()
    assert evidence.given == "posterior"
    assert evidence.weights == 200


def test_the_result_says_what_was_averaged():
    evidence = pv.log_evidence(Conjugate(), rows(), particles=50)
    assert str(evidence).startswith("posterior predictive log p(x | D) of 30 observations")
    assert "20 samples of the shared variables" in str(evidence)
    assert evidence.to_dict()["given"] == "posterior"
    assert evidence.to_dict()["weights"] == 20
    at_mean = pv.log_evidence(Conjugate(), rows(), particles=50, given="mean")
    assert "at the mean of the shared variables" in str(at_mean)
    assert at_mean.weights_ess is None
    assert at_mean.common_error == 0
    expected = dist.Normal(0.3, math.sqrt(2)).log_prob(rows())[:, 0]
    assert np.allclose(at_mean.log_px, expected, atol=1e-5)
    labelled = dataclasses.replace(evidence, quantity="log p(x, y | c)")
    assert labelled.meaning == "posterior predictive log p(x, y | c, D)"


def test_few_draws_that_carry_the_estimate_are_not_trusted():
    wide = pv.log_evidence(Conjugate(scale=8.0), rows(), particles=50)
    assert wide.trusted.mean() < 0.5
    assert "few of the 20 samples" in wide.verdict
    assert "fewer than 5 samples" in pv.log_evidence(Conjugate(), rows(), particles=50, weights=3).verdict
    assert math.isnan(pv.log_evidence(Conjugate(), rows(), particles=50, weights=1).mc_error)
    assert pv.log_evidence(Conjugate(), rows(), particles=50).trusted.all()


@pytest.mark.parametrize("posterior", ["normal", "lowrank", "lastlayer"])
def test_draws_depend_on_the_seed_only(posterior):
    vae, x = bayesian(posterior), binary()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(2))
    whole = pv.log_evidence(vae, x, particles=300, weights=4, compile=False)
    some = pv.log_evidence(vae, x[order][:5], particles=300, weights=4, chunk=250, compile=False)
    assert np.allclose(some.log_px, whole.log_px[order][:5], atol=1e-4)
    other = pv.log_evidence(vae, x, particles=300, weights=4, seed=1, compile=False)
    assert not np.allclose(other.log_px, whole.log_px, atol=1e-3)


def two(rank_rows):
    return pv.log_evidence(Conjugate(guide_scale=1.2), rank_rows, particles=30, weights=5)


def test_two_processes_have_the_same_draws(pair):
    one = two(rows(7))
    for other in pair(two, rows(7)):
        assert np.allclose(other.log_px, one.log_px, atol=1e-5)
        assert math.isclose(other.common_error, one.common_error, abs_tol=1e-6)


def test_code_is_compiled_once_for_all_draws(monkeypatch):
    import pyrovae.evidence.compiled as module

    compiled, plain = [], module.CompiledTerms.compile
    monkeypatch.setattr(module.CompiledTerms, "compile", lambda self: (compiled.append(1), plain(self))[1])
    vae, x = bayesian(), binary()
    fast = pv.log_evidence(vae, x, particles=250, weights=4, compile=True)
    slow = pv.log_evidence(vae, x, particles=250, weights=4, compile=False)
    assert len(compiled) == 1
    assert np.allclose(fast.log_px, slow.log_px, atol=1e-3)
    assert np.ptp(slow.weights_ess) > 0


def test_options_without_an_effect_are_refused():
    vae = pv.VAE((1, 4, 4), 2, encoder=MLP(4), decoder=MLP(4))
    for options in ({"weights": 20}, {"given": "mean"}):
        raises_one_sentence(
            lambda options=options: pv.log_evidence(vae, binary(), **options), "leave them out"
        )
    raises_one_sentence(
        lambda: pv.log_evidence(bayesian(), binary(), given="mean", weights=3), "leave out weights="
    )
    raises_one_sentence(lambda: pv.log_evidence(bayesian(), binary(), given="median"), "given")
    raises_one_sentence(lambda: pv.data_evidence(vae, binary()), "has none")
    assert pv.log_evidence(vae, binary(), particles=5, given="posterior").given is None


def test_point_and_bayesian_models_are_ranked_with_the_common_error():
    vae = pv.VAE((1, 4, 4), 2, encoder=MLP(6), decoder=MLP(6), seed=0)
    point = pv.log_evidence(vae, binary(), particles=200)
    drawn = pv.log_evidence(bayesian(), binary(), particles=200, weights=6)
    drawn = dataclasses.replace(drawn, common_error=0.5)
    table = compare({"point": point, "bayes": drawn})
    own = np.std(drawn.log_px - point.log_px, ddof=1) / math.sqrt(12)
    assert math.isclose(table.difference_stderr[1], math.hypot(own, 0.5), rel_tol=1e-6)
    assert set(table.given) == {None, "posterior"}
    assert "bayes: rows share variables, and this is the posterior predictive log p(x | D)" in str(table)


def test_the_curve_of_bounds_ends_at_the_predictive_density():
    program, x = Conjugate(guide_scale=1.5), rows()
    curve = pv.iwae_bound(program, x, particles=(1, 10, 100), weights=10)
    evidence = pv.log_evidence(program, x, particles=100, weights=10)
    assert np.allclose(curve.bound[-1], evidence.log_px, atol=1e-6)
    assert (np.diff(curve.mean) > 0).all()
    assert "over the samples of the shared variables" in str(curve)


# -------------------------------------------------------------------- log p(D)


def test_the_bound_on_the_whole_data_set_is_exact_for_exact_posteriors():
    x = rows(40)
    program, log_pd = exact(x)
    found = pv.data_evidence(program, x)
    assert abs(found.bound - float(log_pd)) < 1e-3
    assert found.stderr < 1e-5
    program.scale *= 1.5
    kl = math.log(1 / 1.5) + (1.5**2 - 1) / 2
    looser = pv.data_evidence(program, x, weights=400)
    assert abs(looser.bound - (float(log_pd) - kl)) < 4 * looser.stderr
    of_prior = torch.distributions.kl_divergence(
        dist.Normal(program.loc, program.scale), dist.Normal(torch.zeros(1), 1.0)
    )
    assert abs(looser.kl - of_prior.item()) < 4 * looser.kl_stderr
    assert "40 rows together" in str(found)
    assert found.to_dict()["rows"] == 40


@pytest.mark.parametrize("posterior", ["normal", "lowrank", "lastlayer", "laplace"])
def test_the_divergence_is_that_of_the_formula(posterior):
    vae = bayesian(posterior)
    found = pv.data_evidence(vae, binary(), weights=40, particles=2)
    with torch.no_grad():
        known = (
            None
            if posterior == "lowrank"
            else sum(float(v.divergence()) for v in vae.global_variables.values())
        )
        ratios = [_log_ratio(vae, binary()) for _ in range(200)]
    if known is not None:
        assert math.isclose(found.kl, known, rel_tol=1e-4)
        assert found.kl_stderr == 0
    assert abs(np.mean(ratios) - found.kl) < 4 * (np.std(ratios) / 14 + found.kl_stderr)


def _log_ratio(vae, x):
    from pyrovae.terms import Runner

    return -float(Runner(vae).check(Rows(x)).run(Rows(x[:1])).log_global)


def test_the_bound_takes_the_distinct_training_rows():
    data = pv.datasets.load(binary(40), validation=10, test=10)
    found = pv.data_evidence(bayesian(), data, weights=3, particles=2)
    assert found.rows == 20
