"""Estimators of one gradient have one mean, and the variances that are known for a linear model."""

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae.errors import InputError
from pyrovae.networks import MLP, Wrapped
from pyrovae.oracles import LinearGaussian


@pytest.fixture(scope="module")
def noise():
    torch.manual_seed(0)
    vae = pv.VAE((3,), 2, encoder=MLP(4), decoder=MLP(5), likelihood=pv.likelihoods.Normal(scale=1.0))
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    before = torch.get_rng_state(), {n: p.clone() for n, p in vae.named_parameters()}
    found = pv.evidence.gradient_noise(vae, x, particles=(2, 8), repeats=80)
    assert torch.equal(torch.get_rng_state(), before[0])
    for name, value in vae.named_parameters():
        assert torch.equal(value, before[1][name])
        assert value.grad is None
    return found


def test_all_estimators_are_unbiased(noise):
    """Each mean is within five standard errors of that of the reparameterised gradient."""
    exact, noisy = noise.mean["reparameterised"][1], noise.variance["reparameterised"][1]
    for name, mean in noise.mean.items():
        error = np.sqrt((noise.variance[name][1] + noisy) / noise.repeats)
        assert (np.abs(mean[1] - exact) <= 5 * error + 1e-6).all(), name
        assert np.abs(mean[1]).max() > 10 * error.max() or name != "without the score"


def test_the_means_have_the_length_of_the_exact_gradient(noise):
    """A baseline that includes its own sample would halve the mean with two particles."""
    exact = noise.mean["without the score"][1]
    for name in ("score, baseline", "reparameterised"):
        share = noise.mean[name][0] @ exact / (exact @ exact)
        assert share == pytest.approx(1, abs=0.3), name


def test_more_particles_average_the_noise(noise):
    for name in ("score function", "reparameterised", "without the score"):
        few, many = noise.spread[name]
        assert few / many == pytest.approx(2, rel=0.35), name  # four times the particles
    assert noise.spread["score function"][0] > 2 * noise.spread["reparameterised"][0]


def test_the_exact_posterior_has_no_noise_without_the_score():
    """log w is constant there, so the path derivative is zero for every sample."""
    one = torch.tensor([[1.0]])
    linear = LinearGaussian(one, torch.zeros(1), torch.tensor(1.0))  # p(z|x) = N(x / 2, 1 / 2)
    read = Wrapped(torch.nn.Identity(), features=1)
    vae = pv.VAE((1,), 1, encoder=read, decoder=MLP(2), likelihood=pv.likelihoods.Normal())
    with torch.no_grad():
        vae.recognition.heads["loc"].linear.weight.fill_(0.5)
        vae.recognition.heads["loc"].linear.bias.zero_()
        wanted = torch.tensor(0.5).sqrt()
        head = vae.recognition.heads["raw_scale"].linear
        head.weight.zero_()
        for _ in range(400):  # the bias at which the scale is the posterior's
            scale = vae.encode(torch.zeros(1, 1)).stddev.squeeze()
            head.bias += wanted - scale
    noise = pv.evidence.gradient_noise(
        vae, torch.tensor([[0.7], [-1.0]]), model=linear.model, repeats=5, particles=[2]
    )
    assert noise.spread["without the score"].max() < 1e-4
    assert noise.spread["reparameterised"].min() > 1e-2


def test_it_is_printed_and_drawn(noise):
    assert len(noise.plot().lines) == 4
    assert f"{noise.spread['reparameterised'][0]:.4g}" in str(noise)


def test_other_programs_and_rows_are_refused():
    with pytest.raises(InputError, match="needs the encoder"):
        pv.evidence.gradient_noise(LinearGaussian.random(2, 1), torch.zeros(1, 2))
    binary = pv.VAE((2,), 1, encoder=MLP(3), decoder=MLP(3))
    with pytest.raises(InputError, match="0 or 1"):
        pv.evidence.gradient_noise(binary, torch.full((2, 2), 0.5))
    for options, name in (({"seed": "x"}, "seed"), ({"model": 3}, "model"), ({"estimators": {}}, "names")):
        with pytest.raises(InputError, match=name):
            pv.evidence.gradient_noise(binary, torch.ones(2, 2), **options)


def test_an_exact_sum_over_states_has_no_noise_and_is_drawn():
    torch.manual_seed(0)
    parts = {"prior": pv.priors.Categorical(3), "guide": pv.guides.Categorical(3)}
    vae = pv.VAE((2,), 1, encoder=MLP(3), decoder=MLP(3), **parts)
    noise = pv.evidence.gradient_noise(vae, torch.eye(2), particles=[2, 4], repeats=5)
    assert noise.spread["reparameterised"].max() == 0
    assert np.abs(noise.mean["reparameterised"]).max() > 1e-3  # and a gradient
    ax = noise.plot()
    low, high = ax.get_ylim()
    for line, (name, spread) in zip(ax.lines, noise.spread.items(), strict=True):
        assert np.array_equal(line.get_ydata(), spread), name
        assert low <= spread.min() <= spread.max() <= high
    assert ax.get_yscale() == "symlog"
    assert pv.plots.gradient_noise([1, 2], {"exact": [0.0, 0.0]}).get_yscale() == "linear"


def test_the_modes_of_submodules_stay_and_estimators_must_be_objectives():
    vae = pv.VAE((2,), 1, encoder=MLP(3), decoder=MLP(3)).train()
    vae.decoder.eval()
    pv.evidence.gradient_noise(vae, torch.eye(2), particles=[2], repeats=2)
    assert vae.training
    assert not vae.decoder.training
    for estimators, message in (({"a": 3}, "functions of K"), ({"a": lambda k: k}, "'a' returned a int")):
        with pytest.raises(InputError, match=message):
            pv.evidence.gradient_noise(vae, torch.eye(2), estimators=estimators)
    with pytest.raises(InputError, match="x has no rows"):
        pv.evidence.gradient_noise(vae, torch.eye(2)[:0])
