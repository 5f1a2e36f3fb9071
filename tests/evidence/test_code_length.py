"""Code lengths: log p(x), the reconstruction and the KL divergence in bits; the rest is the penalty."""

import math

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae.errors import InputError
from pyrovae.networks import MLP
from pyrovae.oracles import posterior_on_grid, quadrature


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    vae = pv.VAE((3,), latent_dim=1, encoder=MLP(8), decoder=MLP(8, activation="tanh"))
    x = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    return vae, x


def test_the_parts_are_those_of_a_grid_in_bits(small):
    """One latent: log p(x) and the penalty KL(q || p(z|x)) are known to eight digits."""
    vae, x = small
    bits = pv.evidence.code_length(vae, x, particles=2000, samples=4000)
    exact = posterior_on_grid(vae, x)
    with torch.no_grad():
        penalty = exact.kl(vae.encode(x)).numpy() / math.log(2)
        prior_kl = torch.distributions.kl_divergence(vae.encode(x), vae.latents()).numpy() / math.log(2)
    assert bits.total == pytest.approx(-quadrature(vae, x).numpy() / math.log(2), abs=0.01)
    assert bits.penalty == pytest.approx(penalty, abs=0.03)
    assert bits.kl == pytest.approx(prior_kl, abs=0.08)


def test_the_parts_add_up_and_are_printed_in_bits(small):
    vae, x = small
    bits = pv.evidence.code_length(vae, x, particles=200)
    nats = pv.log_evidence(vae, x, method="laplace", particles=200)
    assert np.allclose(bits.total, -nats.log_px / math.log(2))
    assert np.allclose(bits.kl + bits.reconstruction - bits.penalty, bits.total)
    assert f"{bits.total.mean():.3f}" in str(bits)
    assert "depend on the unit" not in str(bits)
    assert len(bits) == 3
    total, kl, _, penalty = (bar.get_width() for bar in bits.plot().patches)
    assert (total, kl) == pytest.approx((bits.total.mean(), bits.kl.mean()))
    assert penalty == pytest.approx(bits.penalty.mean())


def test_a_density_says_that_its_total_depends_on_the_unit(small):
    vae = pv.VAE((2,), 1, likelihood=pv.likelihoods.Normal(), encoder=MLP(4), decoder=MLP(4))
    assert "depend on the unit of x" in str(pv.evidence.code_length(vae, torch.randn(3, 2), particles=50))


def test_impossible_bars_are_refused():
    with pytest.raises(InputError, match="shorter than"):
        pv.plots.code_lengths(20.0, 5.0, 10.0)
    for wrong in (np.nan, "many", None):
        with pytest.raises(InputError, match="kl must be"):
            pv.plots.code_lengths(20.0, wrong, 10.0)


def test_one_observation_and_the_values_of_diagnose(small):
    vae, x = small
    bits = pv.evidence.code_length(vae, x[:1], particles=100, samples=7, seed=3)
    assert "nan" not in str(bits)
    assert str(bits).startswith("bits per observation of 1 observation\n")
    assert len(bits.plot().patches) == 4
    every, split = (
        pv.evidence.code_length(vae, x, particles=100, samples=7, seed=3),
        pv.diagnose(vae, x, particles=7, seed=3),
    )
    assert every.total[0] == pytest.approx(bits.total[0])
    assert np.allclose(every.kl * math.log(2), split.kl)
    assert np.allclose(-every.reconstruction * math.log(2), split.reconstruction)


def test_labels_are_not_sent(small):
    torch.manual_seed(0)
    prior = pv.priors.GaussianMixture(2, labels=True)
    vae = pv.VAE((3,), 1, prior=prior, encoder=MLP(4), decoder=MLP(4))
    given, rows = (pv.Rows(small[1], y=torch.tensor([0, 1, 1])), pv.Rows(small[1]))
    with_labels, without = (pv.evidence.code_length(vae, each, particles=50) for each in (given, rows))
    assert np.array_equal(with_labels.total, without.total)
    assert with_labels.quantity == "log p(x)"


def test_all_parts_of_a_bayesian_vae_are_at_the_mean_of_its_weights(small):
    torch.manual_seed(0)
    vae = pv.VAE((3,), 1, encoder=MLP(4), decoder=pv.networks.Bayesian(MLP(4)))
    bits = pv.evidence.code_length(vae, small[1], particles=100, samples=2000)
    exact = pv.log_evidence(vae, small[1], method="laplace", particles=100, given="mean")
    assert np.allclose(bits.total * math.log(2), -exact.log_px)
    assert (bits.penalty > -0.05).all()


def test_the_first_line_names_the_context_and_what_is_wrong_is_said():
    vae = pv.VAE((2,), 1, encoder=MLP(4), decoder=MLP(4), context_shape=(2,))
    bits = pv.evidence.code_length(vae, torch.ones(2, 2), torch.eye(2), particles=50)
    assert str(bits).splitlines()[1].startswith("  -log2 p(x | c)  ")
    with pytest.raises(InputError, match="samples must be a whole number of 1 or more"):
        pv.evidence.code_length(vae, torch.ones(2, 2), torch.eye(2), samples=0)
    with pytest.raises(InputError, match="code_length reads the encoder of a VAE .* on a tuple"):
        pv.evidence.code_length((vae.model, vae.guide), torch.ones(2, 2))
