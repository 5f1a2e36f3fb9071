"""Bidirectional Monte Carlo and paired comparison, on models whose log p(x) is known."""

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae.evidence import AIS, compare
from pyrovae.oracles import LinearGaussian

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def oracle():
    return LinearGaussian.random(event_dim=6, latent_dim=3, guide_scale=0.6)


@pytest.mark.parametrize("start", ["guide", "prior"])
def test_the_sandwich_brackets_the_exact_evidence(oracle, start):
    bounds = pv.sandwich(oracle, count=200, temperatures=(3, 120), start=start, seed=1)
    truth = oracle.log_px(torch.from_numpy(bounds.x)).numpy()
    for side, sign in ((bounds.lower, 1), (bounds.upper, -1)):
        below = sign * (truth - side)  # at least 0 in expectation
        for found in below:
            assert found.mean() > -4.5 * found.std(ddof=1) / len(found) ** 0.5
    # and they close: at the longest schedule both are at the truth within their errors
    for side in (bounds.lower[-1], bounds.upper[-1]):
        error = (side - truth).std(ddof=1) / len(truth) ** 0.5
        assert abs((side - truth).mean()) < 0.05 + 4.5 * error


def test_the_gap_closes_as_the_schedule_grows(oracle):
    bounds = pv.sandwich(oracle, count=100, temperatures=(2, 8, 32), start="prior")
    assert bounds.gaps[0] > bounds.gaps[1] > abs(bounds.gaps[2])


def test_the_exact_guide_leaves_no_gap():
    exact = LinearGaussian.random(event_dim=6, latent_dim=3)
    bounds = pv.sandwich(exact, count=20, temperatures=(3,))
    truth = exact.log_px(torch.from_numpy(bounds.x)).numpy()
    np.testing.assert_allclose(bounds.lower[0], truth, atol=1e-10)
    np.testing.assert_allclose(bounds.upper[0], truth, atol=1e-10)


def test_a_conditional_vae_is_simulated_given_its_contexts():
    vae = pv.VAE((5,), latent_dim=2, context_shape=(3,), likelihood=pv.likelihoods.Normal(0.5))
    bounds = pv.sandwich(vae, count=4, context=torch.eye(3)[[0, 1, 2, 0]], temperatures=(4,), chains=4)
    assert bounds.x.shape == (4, 5)
    assert np.isfinite(bounds.gap).all()


def test_pieces_change_nothing(oracle):
    whole = pv.sandwich(oracle, count=30, temperatures=(5,), chains=4)
    cut = pv.sandwich(oracle, count=30, temperatures=(5,), chains=4, chunk=17)
    np.testing.assert_allclose(whole.lower, cut.lower, atol=1e-9)
    np.testing.assert_allclose(whole.upper, cut.upper, atol=1e-9)


@pytest.mark.parametrize(
    ("given", "word"),
    [({"count": 0}, "count"), ({"temperatures": (0,)}, "temperatures"), ({"chains": 0}, "chains")],
)
def test_sizes_below_one_are_refused(oracle, given, word):
    with pytest.raises(pv.InputError, match=f"^{word} must be a whole number"):
        pv.sandwich(oracle, **given)


def test_the_paired_error_is_that_of_the_differences(oracle):
    other = LinearGaussian(oracle.weight * 1.1, oracle.bias, oracle.scale)
    x = oracle.sample(400)
    evidences = {
        "other": pv.log_evidence(other, x, particles=2),
        "true": pv.log_evidence(oracle, x, method=AIS(100)),
    }
    table = compare(evidences)
    assert table.names == ("true", "other")
    exact = (other.log_px(x) - oracle.log_px(x)).numpy()
    error = exact.std(ddof=1) / 20
    assert table.difference[1] == pytest.approx(exact.mean(), abs=0.02)
    assert table.difference_stderr[1] == pytest.approx(error, rel=0.5)
    assert table.difference_stderr[1] < table.stderr[1] / 2
    assert table.difference[0] == table.difference_stderr[0] == 0
    assert "paired error" in str(table)


def test_different_data_are_not_compared(oracle):
    x = oracle.sample(5)
    evidences = {str(n): pv.log_evidence(oracle, x[:n], particles=2) for n in (3, 5)}
    with pytest.raises(pv.InputError, match="different numbers of rows"):
        compare(evidences)
    with pytest.raises(pv.InputError, match="nothing to compare"):
        compare({})
