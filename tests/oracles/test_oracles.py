"""The oracles themselves: their closed forms against grids, sums, Bayes' rule and their own samples."""

import math
from types import SimpleNamespace

import pyro.distributions as dist
import pytest
import torch

from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.oracles import (
    Banana,
    Curve,
    Fold,
    LatentClass,
    LinearGaussian,
    LinearGaussianMixture,
    quadrature,
)
from pyrovae.terms import Runner

pytestmark = pytest.mark.usefixtures("float64")

CLOSED = {
    "linear": lambda: LinearGaussian.random(event_dim=5, latent_dim=2),
    "collapsed mixture": lambda: LinearGaussianMixture.random(5, 2, components=3),
    "enumerated mixture": lambda: LinearGaussianMixture.random(5, 2, components=3, collapsed=False),
    "classes": lambda: LatentClass.random(event_dim=6, classes=3),
}
CURVED = {"curve": Curve, "fold": Fold, "banana": Banana}


def on_a_grid(oracle, prior, latent_dim):
    """What `quadrature` reads, of a linear oracle."""
    decode = lambda z: dist.Normal(z @ oracle.weight.mT + oracle.bias, oracle.scale).to_event(1)  # noqa: E731
    return SimpleNamespace(latent_dim=latent_dim, latents=lambda: prior, decode=decode)


def components(oracle):
    return dist.MixtureSameFamily(
        dist.Categorical(logits=oracle.logits), dist.Normal(oracle.loc, oracle.spread).to_event(1)
    )


@pytest.mark.parametrize("name", CLOSED)
def test_bayes_rule_holds_at_every_draw_of_the_exact_posterior(name):
    oracle = CLOSED[name]()
    x = oracle.sample(20)
    log_w = Runner(oracle).check(Rows(x)).terms(Rows(x), particles=30).log_w
    assert torch.allclose(log_w, oracle.log_px(x).expand(30, -1), atol=1e-10, rtol=0)


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_linear_evidence_is_the_integral(latent_dim):
    oracle = LinearGaussian.random(event_dim=3, latent_dim=latent_dim, seed=3)
    x = oracle.sample(10)
    prior = dist.Normal(torch.zeros(latent_dim), 1.0).to_event(1)
    found = quadrature(on_a_grid(oracle, prior, latent_dim), x, limit=9.0)
    assert (oracle.log_px(x) - found).abs().max() < 1e-8


def test_mixture_evidence_is_the_integral():
    oracle = LinearGaussianMixture.random(event_dim=3, latent_dim=1, components=4, seed=1)
    x = oracle.sample(10)
    found = quadrature(on_a_grid(oracle, components(oracle), 1), x, limit=16.0, points=8001)
    assert (oracle.log_px(x) - found).abs().max() < 1e-8


def test_a_mixture_of_one_standard_normal_is_the_linear_model():
    plain = LinearGaussian.random(event_dim=4, latent_dim=2)
    one = LinearGaussianMixture(
        plain.weight, plain.bias, plain.scale, torch.zeros(1), torch.zeros(1, 2), torch.ones(1, 2)
    )
    x = plain.sample(10)
    assert torch.allclose(one.log_px(x), plain.log_px(x), atol=1e-12)
    z = torch.randn(10, 2)
    assert torch.allclose(one.posterior(x).log_prob(z), plain.posterior(x).log_prob(z), atol=1e-12)


def test_collapsed_and_enumerated_mixtures_have_the_same_weights():
    one, other = (
        LinearGaussianMixture.random(4, 2, components=3, collapsed=collapsed) for collapsed in (True, False)
    )
    x, z = one.sample(6), torch.randn(5, 6, 2)
    a, b = (Runner(o).check(Rows(x)).terms_at({"z": z}, Rows(x), particles=5).log_w for o in (one, other))
    assert torch.allclose(a, b, atol=1e-12)


def test_responsibilities_are_the_posterior_of_the_class():
    oracle = LinearGaussianMixture.random(4, 2, components=3)
    x = oracle.sample(5)
    assert torch.allclose(oracle.responsibilities(x).sum(1), torch.ones(5))
    # p(c|x) is the mean of p(c|z) over p(z|x).
    z = oracle.posterior(x).sample((20_000,))
    joint = oracle.logits + dist.Normal(oracle.loc, oracle.spread).to_event(1).log_prob(z.unsqueeze(-2))
    draws = joint.softmax(-1)
    error = draws.std(0) / math.sqrt(20_000) + 1e-12
    assert ((draws.mean(0) - oracle.responsibilities(x)).abs() / error).max() < 5


def test_patterns_of_the_latent_class_model_sum_to_one_and_appear_as_often_as_they_should():
    oracle = LatentClass.random(event_dim=4, classes=3)
    patterns = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
    p = oracle.log_px(patterns).exp()
    assert abs(p.sum() - 1) < 1e-12
    x = oracle.sample(20_000)
    seen = (x.unsqueeze(1) == patterns).all(-1).double().mean(0)
    assert ((seen - p).abs() / (p * (1 - p) / 20_000).sqrt()).max() < 5


@pytest.mark.parametrize("name", CURVED)
def test_quadrature_is_exact_to_eight_digits(name):
    oracle = CURVED[name]()
    x = oracle.sample(4)
    fine, wide = (8001, 10.0) if oracle.latent_dim == 1 else (801, 10.0)
    assert (oracle.log_px(x) - quadrature(oracle, x, points=fine, limit=wide)).abs().max() < 1e-8


def test_a_float32_oracle_integrates_in_float64():
    # The buffers of the copy are float32 numbers: the integrals differ by those, not by a float32 sum.
    exact, rough = Curve(), Curve().float()
    x = exact.sample(10)
    assert rough.log_px(x.float()).dtype == torch.float64
    assert (exact.log_px(x) - rough.log_px(x.float())).abs().max() < 1e-5


def test_a_density_integrates_to_one():
    oracle = Fold()
    x = torch.linspace(-3, 40, 8001).unsqueeze(1)
    assert abs(torch.trapezoid(oracle.log_px(x).exp(), x.squeeze(1)) - 1) < 1e-6


@pytest.mark.parametrize("name", ["linear", "collapsed mixture"])
def test_samples_follow_the_density(name):
    # E_p[p'/p] = 1 for every density p'; with a little less noise p' has the lighter tails.
    oracle, other = CLOSED[name](), CLOSED[name]()
    other.scale *= 0.9
    x = oracle.sample(20_000, seed=2)
    ratio = (other.log_px(x) - oracle.log_px(x)).exp()
    assert abs(ratio.mean() - 1) / (ratio.std() / math.sqrt(20_000)) < 4.5


@pytest.mark.parametrize("name", CURVED)
def test_curved_samples_follow_the_density(name):
    count = 4000 if CURVED[name].latent_dim == 1 else 150
    oracle, other = CURVED[name](), CURVED[name](scale=0.22)
    x = oracle.sample(count, seed=2)
    ratio = (quadrature(other, x, points=1201 if oracle.latent_dim == 1 else 241) - oracle.log_px(x)).exp()
    assert abs(ratio.mean() - 1) / (ratio.std() / math.sqrt(count)) < 4.5


@pytest.mark.parametrize("name", CURVED)
def test_the_guide_has_the_moments_of_the_posterior(name):
    oracle = CURVED[name]()
    x = oracle.sample(3) if name != "fold" else torch.tensor([[1.0], [2.0], [4.0]])
    loc, covariance = oracle.moments(x)
    z = 3 * torch.randn(200_000, oracle.latent_dim)
    z[:, 0] = z[:, 0].abs() if oracle.one_side else z[:, 0]
    log_w = oracle.latents().log_prob(z).unsqueeze(1) + oracle.decode(z.unsqueeze(1)).log_prob(x)
    share = (log_w - dist.Normal(0, 3).log_prob(z).sum(-1, keepdim=True)).softmax(0)
    apart = z.unsqueeze(1) - loc
    # The error of a weighted mean with the weights of importance sampling.
    error = (share.unsqueeze(-1).square() * apart.square()).sum(0).sqrt()
    assert ((share.mT @ z - loc).abs() / error).max() < 5
    second = apart.unsqueeze(-1) * apart.unsqueeze(-2) - covariance
    weight = share.unsqueeze(-1).unsqueeze(-1)
    error = (weight * second).square().sum(0).sqrt()
    assert ((weight * second).sum(0).abs() / error).max() < 5


def test_no_grid_for_three_latents():
    three = SimpleNamespace(latents=lambda: dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pytest.raises(InputError, match="a z of 1 or 2 entries, not 3"):
        quadrature(three, torch.zeros(1, 2))


@pytest.mark.parametrize("make", [*CLOSED.values(), *CURVED.values()])
def test_a_model_draws_a_datum_of_the_shape_of_its_samples(make):
    oracle = make()
    assert oracle.model().shape == oracle.sample(1).shape
    assert torch.equal(oracle.sample(3, seed=1), oracle.sample(3, seed=1))
    assert not torch.equal(oracle.sample(30, seed=1), oracle.sample(30, seed=2))
