"""The two gaps below log p(x), on linear VAEs where both have a closed form."""

import dataclasses
import sys

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import kl_divergence

import pyrovae as pv
from pyrovae.evidence.gaps import Gaps, _Split
from pyrovae.oracles import LinearGaussian
from tests.support.linear import labelled_vae, linear_vae, rows_for, same_state, state
from tests.support.parts import LaplaceGuide, raises_one_sentence, small_vae

pytestmark = pytest.mark.usefixtures("float64")

SOME = {"particles": 2000, "steps": 200, "method": "importance"}


def kl_to_posterior(vae, oracle, x):
    q = vae.encode(x)
    full = dist.MultivariateNormal(q.mean, scale_tril=q.stddev.diag_embed())
    return kl_divergence(full, oracle.posterior(x)).detach().numpy()


def test_no_approximation_gap_when_the_family_holds_the_posterior():
    vae, oracle = linear_vae(shift=0.5, widen=1.4)
    x = oracle.sample(6)
    found = pv.gaps(vae, x, **SOME)
    log_px, truth = oracle.log_px(x).numpy(), kl_to_posterior(vae, oracle, x)
    assert np.abs(found.best - log_px).max() < 1e-3
    assert found.best_stderr.max() < 1e-2  # at the posterior every weight is log p(x)
    assert (np.abs(found.amortisation - truth) < 5 * found.amortisation_stderr + 1e-3).all()
    assert np.abs(found.approximation).max() < 5 * found.approximation_stderr.max()
    assert np.abs(found.gain).max() < 1e-2
    assert "amortisation" in found.verdict


def test_no_amortisation_gap_at_the_best_factorised_distribution():
    vae, oracle = linear_vae("correlated")
    x = oracle.sample(6)
    found = pv.gaps(vae, x, **SOME)
    truth = kl_to_posterior(vae, oracle, x)  # the encoder's q is the best of its family
    assert truth.min() > 0.1
    assert np.abs(found.amortisation).max() < 5 * found.amortisation_stderr.max() + 1e-2
    errors = np.hypot(found.approximation_stderr, 1e-3)
    assert (np.abs(found.approximation - truth) < 5 * errors).all()
    assert np.abs(found.richer - oracle.log_px(x).numpy()).max() < 5e-3  # which a full covariance closes
    assert "full covariance closes" in found.verdict


def test_both_gaps_at_once():
    vae, oracle = linear_vae("correlated", shift=0.5, widen=0.7)
    x = oracle.sample(6)
    exact = linear_vae("correlated")[0]
    approximation = kl_to_posterior(exact, oracle, x)
    amortisation = kl_to_posterior(vae, oracle, x) - approximation
    found = pv.gaps(vae, x, **SOME)
    assert (np.abs(found.approximation - approximation) < 5 * found.approximation_stderr + 1e-2).all()
    assert (np.abs(found.amortisation - amortisation) < 5 * found.amortisation_stderr + 1e-2).all()


def test_no_gap_at_all_is_said():
    vae, oracle = linear_vae()
    found = pv.gaps(vae, oracle.sample(4), **SOME)
    assert np.abs(found.total).max() < 1e-4
    assert "no gap" in str(found)


def test_gaps_add_up_and_the_elbo_is_that_of_iwae_bound():
    vae = small_vae()
    x = rows_for(vae, 5).x
    found = pv.gaps(vae, x, steps=100, particles=500)
    np.testing.assert_allclose(found.approximation + found.amortisation, found.total, atol=1e-9)
    np.testing.assert_allclose(found.elbo, pv.iwae_bound(vae, x, particles=(1, 500)).bound[0], atol=1e-9)
    evidence = pv.log_evidence(vae, x, method="ais")
    np.testing.assert_array_equal(found.log_px, evidence.log_px)
    assert found.amortisation.mean() > 0
    assert "annealed" in str(found)


def test_reported_samples_are_not_those_that_were_ascended(monkeypatch):
    seen = {"ascent": set(), "report": set()}
    draws = _Split._draws

    def noted(self, q, count, first=0):
        seen["ascent" if torch.is_grad_enabled() else "report"] |= set(range(first, first + count))
        return draws(self, q, count, first)

    monkeypatch.setattr(_Split, "_draws", noted)
    vae = small_vae()
    pv.gaps(vae, rows_for(vae, 2), steps=3, particles=300, method="importance")
    assert seen["ascent"]
    assert not seen["ascent"] & seen["report"]


def test_pieces_and_order_change_nothing():
    vae = small_vae()
    x = rows_for(vae, 4).x
    options = {"steps": 10, "particles": 300, "method": "importance"}
    whole, pieces = pv.gaps(vae, x, **options), pv.gaps(vae, x.flip(0), chunk=250, **options)
    for name in ("elbo", "best", "richer"):
        np.testing.assert_allclose(getattr(pieces, name)[::-1], getattr(whole, name), atol=1e-6)


def test_other_families_and_a_context():
    vae = small_vae(guide=LaplaceGuide(), context_shape=(3,))
    found = pv.gaps(vae, rows_for(vae, 3), steps=20, particles=200, method="importance")
    for values in (found.elbo, found.best, found.richer):
        assert np.isfinite(values).all()
    assert "LaplaceGuide" in str(found)


def test_with_labels_it_is_the_gap_below_the_joint():
    vae, joint = labelled_vae()
    rows = rows_for(vae, 6)
    found = pv.gaps(vae, rows, particles=500, method=pv.evidence.AIS(1000))
    exact = joint(rows.x)
    known = exact.gather(1, rows.y.clamp_min(0)[:, None])[:, 0]
    truth = torch.where(rows.y < 0, exact.logsumexp(1), known).numpy()
    assert str(found).startswith("log p(x, y) - ELBO of 6 observations")
    assert (np.abs(found.log_px - truth) < 5 * found.log_px_stderr + 0.02).all()
    assert (found.elbo < truth).all()
    # With a known class the posterior is normal, so that a full covariance reaches it.
    assert np.median(np.abs(found.richer - truth)[rows.y >= 0]) < 1e-4


def test_nothing_is_touched():
    vae = small_vae()
    vae.decoder.eval()
    x = rows_for(vae, 3).x
    before = state(vae)
    pv.gaps(vae, x, steps=5, particles=20, method="importance")
    assert same_state(before, state(vae))


def test_the_elbo_has_its_own_error_and_the_verdict_counts_best_once():
    vae, oracle = linear_vae("correlated", shift=0.5, widen=0.7)
    x = oracle.sample(4)
    runs = [pv.gaps(vae, x, steps=1, particles=200, method="importance", seed=s) for s in range(20)]
    spread = np.stack([found.elbo for found in runs]).std(0, ddof=1)
    stated = np.stack([found.elbo_stderr for found in runs]).mean(0)
    assert spread.mean() == pytest.approx(stated.mean(), rel=0.35)
    row = next(line for line in str(runs[0]).splitlines() if line.startswith("  ELBO"))
    assert f"{np.sqrt((runs[0].elbo_stderr ** 2).sum()) / 4:.4f}" in row
    one = np.ones(1)  # `best` and its differences are noise, the total is not
    found = Gaps(
        -88 * one, -90 * one, -89 * one, -89 * one, *(0.1 * one,) * 2, *(5 * one,) * 3, "G", "A", 1, 2
    )
    assert "no gap" not in found.verdict


def test_a_stopped_estimate_of_the_evidence_stops_the_gaps(monkeypatch):
    vae = small_vae()
    x = rows_for(vae, 3).x
    partial = dataclasses.replace(pv.log_evidence(vae, x, particles=10), partial=True)
    monkeypatch.setattr(sys.modules[Gaps.__module__], "at_mean", lambda *_, **__: partial)
    with pytest.raises(KeyboardInterrupt):
        pv.gaps(vae, x, steps=1, particles=10)


def test_bad_input_is_refused_in_one_sentence():
    vae = small_vae()
    x = rows_for(vae, 3).x
    raises_one_sentence(lambda: pv.gaps(LinearGaussian.random(3, 2), x), "LinearGaussian", "VAE")
    raises_one_sentence(lambda: pv.gaps((vae.model, vae.guide), x), "tuple", "VAE")
    for prior, guide in (
        (pv.priors.Classes(3), pv.guides.Classes(3)),
        (pv.priors.GaussianMixture(3, explicit=True), pv.guides.GaussianMixture(3, explicit=True)),
    ):
        with_class = small_vae(prior=prior, guide=guide)
        raises_one_sentence(lambda v=with_class: pv.gaps(v, x), repr(guide), "draws a class")
    raises_one_sentence(lambda: pv.gaps(vae, x, steps=0), "steps")
    raises_one_sentence(lambda: pv.gaps(vae, x, particles=0), "particles")
    raises_one_sentence(lambda: pv.gaps(vae, x, lr=0.0), "lr")
    raises_one_sentence(lambda: pv.gaps(vae, x[:0]), "no rows")


def test_figure_shows_the_two_steps():
    found = Gaps(
        *(np.array([v]) for v in (-87.4, -89.5, -88.0, -87.6, 0.1, 0.1, 0.1, 0.1, 0.1)), "G", "AIS", 1, 2
    )
    means = (values.mean() for values in (found.log_px, found.best, found.elbo, found.richer))
    ax = pv.plots.inference_gaps(*means)
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == pytest.approx([found.approximation[0], found.amortisation[0]])


def test_a_far_off_encoder_is_left_for_the_mode_of_the_posterior():
    vae, oracle = linear_vae(shift=40.0)  # 300 steps of .03 move a latent by 5 at most
    x = oracle.sample(4)
    split = pv.gaps(vae, x, particles=500, method="importance")
    assert np.abs(split.best - oracle.log_px(x).numpy()).max() < 1e-3
    assert split.converged.all()
    assert "converge" not in split.verdict


def test_a_maximisation_that_did_not_converge_is_said_per_row(monkeypatch):
    module = sys.modules["pyrovae.evidence.gaps"]  # the package has a function of this name
    monkeypatch.setattr(module, "started_at_modes", lambda pieces, encoded: None)
    vae, oracle = linear_vae(shift=2.0)
    x = oracle.sample(6)
    with torch.no_grad():  # two rows start at the end, the others two nats or more away
        exact, far = linear_vae()[0].encode(x), vae.encode(x)
    params = {"loc": torch.where(torch.arange(6).unsqueeze(1) < 2, exact.mean, far.mean)}
    plain = _Split.__init__

    def near(self, vae, pieces):
        plain(self, vae, pieces)
        self.encoded = self.encoded | params

    monkeypatch.setattr(_Split, "__init__", near)
    split = pv.gaps(vae, pv.Rows(x, index=torch.arange(10, 16)), steps=3, particles=4000, method="importance")
    assert split.converged.tolist() == [True] * 2 + [False] * 4
    truth = oracle.log_px(x).numpy() - split.best
    assert np.allclose(split.missing, truth, rtol=0.3, atol=0.05)
    assert "did not converge for 4 of 6 observations (row 12, 13, 14, 15)" in split.verdict
