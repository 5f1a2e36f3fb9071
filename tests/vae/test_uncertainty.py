"""What a VAE with a Bayesian decoder gives for rows: samples, reconstructions, and where doubt is from."""

import math

import pytest
import torch

import pyrovae as pv
from pyrovae.networks import MLP, Bayesian, Wrapped
from tests.support.linear import Same, collapse
from tests.support.parts import raises_one_sentence


@torch.no_grad()
def linear(width=0.6):
    """E[x|z, W, b] = W z + b with normal W and b, whose moments are known."""
    torch.manual_seed(0)
    vae = pv.VAE(
        (3,),
        2,
        likelihood=pv.likelihoods.Normal(scale=0.5),
        encoder=Same(),
        decoder=Bayesian(Same()),
        seed=0,
    )
    for variable in vae.global_variables.values():
        variable.loc.normal_()
        variable.log_width.fill_(math.log(width))
    return vae


def moments(vae):
    """Means and variances of W and b."""
    weight, bias = (vae.global_variables[f"decoder.loc.linear.{name}"] for name in ("weight", "bias"))
    return weight.loc, weight.scales.square(), bias.loc, bias.scales.square()


@torch.no_grad()
def test_the_parts_are_those_of_the_law_of_total_variance():
    vae = linear()
    x = torch.randn(6, 3) * 1.5
    found = vae.uncertainty(x, draws=4000, samples=10, seed=0)
    q, (mean, spread, bias, of_bias) = vae.encode(x), moments(vae)
    z, variance = q.mean, q.variance
    from_z, from_w = variance @ (mean.square() + spread).mT, z.square() @ spread.mT + of_bias
    assert torch.allclose(torch.from_numpy(found.from_z).float(), from_z, rtol=0.08, atol=0.02)
    assert torch.allclose(torch.from_numpy(found.from_w).float(), from_w, rtol=0.12, atol=0.02)
    assert torch.allclose(torch.from_numpy(found.mean).float(), z @ mean.mT + bias, atol=0.15)
    assert (found.total == found.from_z + found.from_w).all()
    assert "from w" in str(found)
    assert len(found) == 6


@torch.no_grad()
def test_few_samples_are_not_biased():
    vae, x = linear(), torch.randn(1, 3)
    q, (_, spread, _, of_bias) = vae.encode(x), moments(vae)
    truth = q.mean.square() @ spread.mT + of_bias
    few = torch.stack([torch.from_numpy(vae.uncertainty(x, draws=3, samples=2).from_w) for _ in range(600)])
    error = few.std(0) / 600**0.5
    assert ((few.mean(0) - truth).abs() < 4 * error).all()


def test_noise_of_training_is_no_uncertainty():
    encoder = Wrapped(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.9)), features=4)
    vae = pv.VAE((3,), 2, encoder=encoder, decoder=Bayesian(MLP(4)), seed=0)
    x = torch.tensor([[0.0, 1.0, 1.0]])
    parts = [vae.train(training).uncertainty(x, draws=5, samples=3, seed=0) for training in (True, False)]
    assert parts[0].from_w.tolist() == parts[1].from_w.tolist()


def test_a_program_without_shared_variables_has_no_such_split():
    vae = pv.VAE((3,), 2, encoder=MLP(4), decoder=MLP(4))
    raises_one_sentence(lambda: vae.uncertainty(torch.zeros(1, 3)), "only z varies")
    raises_one_sentence(lambda: vae.log_prob(torch.zeros(1, 3), weights=2), "leave it out")
    raises_one_sentence(lambda: linear().uncertainty(torch.zeros(1, 3), draws=1), "draws")
    with linear().holding(linear().central_globals()):
        raises_one_sentence(lambda: vae.uncertainty(torch.zeros(1, 3)), "only z varies")


@torch.no_grad()
@pytest.mark.parametrize("count", [60, 4000])
def test_samples_have_draws_of_the_shared_variables(count):
    vae, parts = linear(1.5), []
    for seed in range(4000 // count if count < 100 else 8):
        parts.append(vae.sample(count, mean=True, seed=seed))
    x = torch.cat(parts)
    mean, spread, bias, of_bias = moments(vae)
    truth = (mean.square() + spread).sum(1) + of_bias
    assert torch.allclose(x.var(0).float(), truth, rtol=0.2)
    assert torch.allclose(x.mean(0).float(), bias, atol=0.4)
    assert torch.equal(vae.sample(count, seed=1), vae.sample(count, seed=1))


@torch.no_grad()
def test_held_variables_are_not_drawn():
    vae = linear(1.5)
    values = vae.central_globals()
    with vae.holding(values):
        x = vae.sample(2000, mean=True, seed=0)
        one, two = (vae.reconstruct(x[:3], seed=seed) for seed in (0, 0))
    mean = moments(vae)[0]
    assert torch.allclose(x.var(0).float(), mean.square().sum(1), rtol=0.2)
    assert torch.equal(one, two)


@torch.no_grad()
def test_reconstructions_average_over_draws():
    vae, x = linear(), torch.randn(4, 3)
    mean, _, bias, _ = moments(vae)
    many = vae.reconstruct(x, draws=3000, seed=0).float()
    assert torch.allclose(many, vae.encode(x).mean @ mean.mT + bias, atol=0.15)
    assert not torch.equal(vae.reconstruct(x, seed=0), vae.reconstruct(x, seed=1))


@torch.no_grad()
def test_log_prob_is_the_predictive_density():
    vae = collapse(linear(0.1))
    x = vae.sample(5, seed=3)
    evidence = pv.log_evidence(vae, x, particles=2000, weights=100)
    log_p = vae.log_prob(x, particles=2000, weights=100)
    error = torch.from_numpy(evidence.mc_stderr)
    assert ((log_p - torch.from_numpy(evidence.log_px)).abs() < 4 * 2**0.5 * error).all(), error
    assert (error[log_p > -6] < 0.1).all()
    assert torch.equal(vae.log_prob(x), vae.log_prob(x))


@torch.no_grad()
@pytest.mark.parametrize("posterior", ["normal", "lowrank", "lastlayer", "laplace"])
def test_every_posterior_draws_samples_with_contexts(posterior):
    decoder = Bayesian(MLP(5), posterior=posterior)
    vae = pv.VAE((3,), 2, encoder=MLP(4), decoder=decoder, context_shape=(2,), seed=0)
    context = torch.eye(2)[torch.arange(150) % 2]
    assert vae.sample(150, context, seed=0).shape == (150, 3)
    assert vae.sample(150, context[0], seed=0).shape == (150, 3)
    x = torch.ones(4, 3)
    assert vae.uncertainty(x, context[:4], draws=3, samples=2, seed=0).total.shape == (4, 3)
    raises_one_sentence(lambda: vae.sample(3, context[:2]), "give one for each")
