"""Importance sampling at the modes: exact where the posterior is a mixture of its components."""

import dataclasses
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae.evidence import Laplace, laplace, log_evidence
from pyrovae.evidence.adapting import Adapter, tempered
from pyrovae.evidence.draws import BLOCK
from pyrovae.evidence.modes import Scout
from pyrovae.evidence.proposal import Proposal, draw
from pyrovae.evidence.run import evaluation
from pyrovae.evidence.surface import Curvature, Surface
from pyrovae.oracles import Banana, Curve, Fold, LinearGaussian, LinearGaussianMixture, Ring, correlated

pytestmark = pytest.mark.usefixtures("float64")


def errors(oracle, x, program=None, **options):
    evidence = log_evidence(program or oracle, x, method=Laplace(), **options)
    return evidence, evidence.log_px - oracle.log_px(x).numpy()


def mean_field(oracle, *, shift=0.0):
    """A guide with the exact mean and the standard deviations of the best factorised distribution."""

    def guide(x):
        exact = oracle.posterior(x)
        scale = torch.linalg.inv(exact.covariance_matrix).diagonal(dim1=-2, dim2=-1).rsqrt()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(exact.loc + shift, scale).to_event(1))

    return oracle.model, guide


# ---------------------------------------------------------------- exact where it must be


EXACT = {
    "linear": lambda: LinearGaussian.random(6, 3),
    "narrow guide": lambda: LinearGaussian.random(6, 3, guide_scale=0.3),
    "wide guide": lambda: LinearGaussian.random(6, 3, guide_scale=3.0),
    "mixture": lambda: LinearGaussianMixture.random(5, 2, components=3),
}


@pytest.mark.parametrize("name", EXACT)
def test_a_posterior_that_is_a_mixture_of_normals_leaves_no_variance(name):
    oracle = EXACT[name]()
    evidence, error = errors(oracle, oracle.sample(12))
    assert np.abs(error).max() < 1e-4
    assert evidence.khat.max() < 0.7
    assert evidence.ess.min() > 500


def test_correlated_latents_with_a_factorised_guide():
    # Annealing from this guide is low by .8 to 3.5 nats.
    oracle = correlated(20, 1100.0)
    x = oracle.sample(10)
    spread = oracle.posterior(x[:1]).covariance_matrix[0]
    values = torch.linalg.eigvalsh(spread)
    assert 1000 < float(values[-1] / values[0]) < 1200
    _, error = errors(oracle, x, mean_field(oracle))
    assert np.abs(error).max() < 1e-4


def test_an_untrained_encoder_does_not_matter():
    oracle = LinearGaussian.random(6, 3)
    x = oracle.sample(12)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(len(x), 3), 1.0).to_event(1))

    evidence, error = errors(oracle, x, (oracle.model, guide))
    assert np.abs(error).max() < 1e-4
    assert evidence.khat.max() < 0.7


@pytest.mark.parametrize("seed", range(3))
def test_a_mode_that_the_guide_misses_is_found(seed):
    oracle = Fold()  # its guide covers one of two modes: importance sampling is low by log 2
    evidence, error = errors(oracle, torch.linspace(1.2, 5.5, 20).unsqueeze(1), seed=seed)
    assert np.abs(error).max() < 0.1
    assert evidence.doubtful < 0.05


def test_more_latents_than_have_a_full_matrix():
    dim = 500
    rng = torch.Generator().manual_seed(0)
    oracle = LinearGaussian(0.2 * torch.randn(20, dim, generator=rng), torch.zeros(20), torch.tensor(0.5))
    x = oracle.sample(1)
    evidence, error = errors(oracle, x, mean_field(oracle), particles=500)
    assert np.abs(error).max() < 1e-3
    assert evidence.khat.max() < 0.7


# ---------------------------------------------------------------- errors that cover


@pytest.mark.parametrize("make", [Fold, Curve, Ring, Banana])
def test_the_errors_cover_the_truth(make):
    oracle = make()
    evidence, error = errors(oracle, oracle.sample(100, seed=1))
    good = evidence.khat < evidence.threshold
    assert good.mean() > 0.9
    size, allowed = np.abs(error[good]), evidence.mc_stderr[good]
    assert (size < np.maximum(3 * allowed, 0.05)).mean() > 0.98
    assert (size < 1.96 * allowed).mean() > 0.8
    assert abs(error[good].mean()) < 0.01


def test_only_new_samples_count():
    # Samples that shaped the proposal would be low; the rows here all adapt.
    oracle = Curve(scale=0.05)
    x = oracle.sample(60, seed=3)
    evidence, error = errors(oracle, x, particles=200)
    assert abs(error.mean()) < 3 * evidence.mc_error + 0.02


# ---------------------------------------------------------------- its parts


def surface_of(oracle, x):
    return evaluation(oracle, x, seed=0, chunk=None)


def test_the_curvature_is_that_of_the_posterior():
    oracle = LinearGaussian.random(6, 3)
    x = oracle.sample(4)
    with surface_of(oracle, x) as pieces:
        surface = Surface(pieces)
        modes = Scout(surface).modes()
        exact = oracle.posterior(x)
        assert torch.allclose(modes.place[0], exact.loc, atol=1e-6)
        precision = modes.curvature.take(0).power(torch.eye(3), 1.0)
        assert torch.allclose(precision, torch.linalg.inv(exact.covariance_matrix), atol=1e-8)
        # Differences of gradients, for programs without second derivatives, are nearly the same.
        u = modes.place
        eye = torch.eye(3).unsqueeze(1).expand(3, 4, 3)
        numeric = -surface._difference(u[0].expand(3, 4, 3), eye).transpose(0, 1)
        assert torch.allclose(numeric, precision, rtol=1e-5, atol=1e-6)


def test_a_climb_that_starts_at_a_mode_does_not_keep_the_curvature_of_another():
    oracle = LinearGaussian.random(6, 3)
    with surface_of(oracle, oracle.sample(4)) as pieces:
        scout = Scout(Surface(pieces))
        modes = scout.modes()
        exact = modes.curvature
        other = dataclasses.replace(modes, curvature=Curvature(exact.vectors, 9 * exact.values, exact.rest))
        found = scout.climbed(modes.place, modes.mask, other)
    assert torch.allclose(found.place, modes.place, atol=1e-6)
    assert torch.allclose(found.curvature.values, exact.values)


def test_powers_of_a_curvature():
    rng = torch.Generator().manual_seed(1)
    root = torch.randn(2, 4, 4, generator=rng)
    matrix = root @ root.mT + torch.eye(4)
    curvature = Curvature.of(matrix, torch.full((2,), 1e-9))
    d = torch.randn(2, 5, 4, generator=rng)
    assert torch.allclose(curvature.power(d, -1.0), (torch.linalg.inv(matrix) @ d.mT).mT)
    assert torch.allclose(curvature.energy(d), ((d @ matrix) * d).sum(-1))
    assert torch.allclose(curvature.log_det(), torch.logdet(matrix))
    low = Curvature(curvature.vectors[..., 2:], curvature.values[..., 2:], torch.ones(2))
    full = (
        curvature.vectors
        @ torch.diag_embed(torch.cat([torch.ones(2, 2), curvature.values[:, 2:]], 1))
        @ curvature.vectors.mT
    )
    assert torch.allclose(low.power(d, -0.5), low.power(low.power(d, -1.0), 0.5))
    assert torch.allclose(low.energy(d), ((d @ full) * d).sum(-1))
    assert torch.allclose(low.log_det(), torch.logdet(full))


def test_the_density_of_a_proposal_integrates_to_one_and_is_that_of_its_samples():
    oracle = Fold()
    x = torch.tensor([[2.0], [0.1]])
    with surface_of(oracle, x) as pieces:
        surface = Surface(pieces)
        proposal = Proposal.at(Scout(surface).modes())
        grid = torch.linspace(-12, 12, 6001)
        u = grid[:, None, None].expand(-1, 2, 1)
        log_prior, _ = surface.densities(u)
        density = proposal.log_density(u, surface.log_guide(u), log_prior).exp()
        mass = torch.trapezoid(density, grid, dim=0)
        assert torch.allclose(mass, torch.ones(2), atol=1e-3)  # the tails of Student-t
        samples = draw(surface, proposal, 40 * BLOCK, 0).u[..., 0]
        for row in range(2):
            below = torch.cumulative_trapezoid(density[:, row], grid)
            place = torch.searchsorted(grid, samples[:, row].clamp(-11.9, 11.9)) - 1
            u_of = below[place].sort().values
            gap = (u_of - torch.linspace(0, 1, len(u_of))).abs().max()
            assert gap < 1.63 / math.sqrt(len(u_of)) * 1.5  # Kolmogorov's distance


def test_tempered_weights_have_the_effective_sample_size_that_was_asked_for():
    log_w = torch.randn(400, 3) * torch.tensor([0.1, 3.0, 30.0])
    v = tempered(log_w, 50)
    ess = 1 / v.square().sum(0)
    assert ess[0] > 350
    assert torch.allclose(ess[1:], torch.full((2,), 50.0), rtol=0.01)


def test_covariances_of_many_latents_are_not_estimated():
    for dim, factor in ((64, 2), (65, 1)):  # adapted components stand next to those of the modes
        oracle = correlated(dim, 10.0)
        with surface_of(oracle, oracle.sample(2)) as pieces:
            scout = Scout(Surface(pieces))
            modes = scout.modes()
            draws = draw(scout.surface, Proposal.at(modes), 100, 0)
            proposal = Adapter(scout, modes, draws).run(2, 100)
        assert len(proposal.modes.place) == factor * len(modes.place)


def test_rounds_are_a_number_of_0_or_more():
    with pytest.raises(pv.InputError, match="rounds must be"):
        Laplace(-1)
    oracle = Curve()
    x = oracle.sample(5)
    assert np.isfinite(log_evidence(oracle, x, method=Laplace(0), particles=3).log_px).all()


def test_very_many_samples_are_drawn_in_pieces(monkeypatch):
    oracle = LinearGaussianMixture.random(4, 2, components=3)
    x = oracle.sample(5)
    whole, _ = errors(oracle, x, particles=6000)
    monkeypatch.setattr(laplace, "MEMORY", 2 * 900)
    pieces, error = errors(oracle, x, particles=6000)
    assert (np.abs(error) < 4 * pieces.mc_stderr + 1e-9).all()
    np.testing.assert_allclose(pieces.ess, whole.ess, rtol=0.2)
    np.testing.assert_allclose(errors(oracle, x, particles=900)[0].log_px, oracle.log_px(x), atol=0.05)
    with surface_of(oracle, x) as rows:
        scout = Scout(Surface(rows))
        proposal = Proposal.at(scout.modes())
        draws = laplace._counted(scout.surface, proposal, 6000)
    assert draws.components.shape[1:] == draws.joint.shape == (6000, 5)
    counts = sum(proposal.counts(n) for n in (900,) * 6 + (600,))
    assert torch.allclose(draws.log_shares.exp() * 6000, counts.double())
    # The densities of samples of a mixture are those of its components: E[q_j / q] = 1.
    ratios = (draws.components - draws.log_q).exp().mean(1)[counts.amin(1) > 0]
    assert torch.allclose(ratios, torch.ones(()), atol=0.2)


def test_rows_without_second_derivatives_leave_others_alone():
    class Kink(torch.autograd.Function):
        """A function whose second derivative is not a number below -1."""

        @staticmethod
        def forward(ctx, u):
            ctx.save_for_backward(u)
            return -(u**4)

        @staticmethod
        def backward(ctx, gradient):
            (u,) = ctx.saved_tensors
            one = torch.where(u < -1, u * 0, 1.0).sqrt() + (u < -1)
            return gradient * -4 * u**3 * one

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.factor("bend", Kink.apply(z))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 1.0))

    u = torch.tensor([[0.5], [-2.0], [1.0]]).unsqueeze(0)
    with evaluation((model, guide), torch.zeros(3), seed=0, chunk=None) as pieces:
        found = Surface(pieces)._hessians(u).flatten()
    exact = -2 - 12 * u.flatten() ** 2
    assert torch.allclose(found[[0, 2]], exact[[0, 2]], rtol=1e-13)
    assert torch.isclose(found[1], exact[1], rtol=1e-4)
