"""Exploring a mixture: what is said about components and data is so, by mathematics.

The oracle is a linear decoder under a mixture; a guide over quadratic features can hold its exact posterior.
"""

import dataclasses
import math
import warnings

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from scipy.integrate import quad
from scipy.stats import multivariate_normal

import pyrovae as pv
from pyrovae.errors import InputError
from pyrovae.exploring import agreement, agreements, choose, choose_plain, explore
from pyrovae.exploring.gaussians import (
    divergences,
    effective,
    entropy,
    mahalanobis,
    merged,
    overlaps,
    principal,
    split,
)
from pyrovae.exploring.mixture import Mixture
from pyrovae.exploring.projection import plane_of
from pyrovae.exploring.space import Space
from pyrovae.exploring.walks import path_between
from pyrovae.networks import MLP, Network
from pyrovae.numerics import SCALE_FLOOR, inverse_softplus
from pyrovae.oracles import LinearGaussianMixture
from tests.support.linear import Same, same_state, set_head, state

pytestmark = pytest.mark.usefixtures("float64")

SCALE = 0.7
SIGMAS = 5


# ---------------------------------------------------------------- what is explored


class Squares(Network):
    """x, and all products of two of its entries: a log-density of a Gaussian is linear in them."""

    def __init__(self) -> None:
        super().__init__()

    def attach(self, input_shape, output_shape=None, context_dim=0):
        (self.inputs,) = input_shape
        self.features = self.inputs + self.inputs**2

    def forward(self, value, context=None):
        return torch.cat([value, (value.unsqueeze(-1) * value.unsqueeze(-2)).flatten(-2)], -1)


def covariances(count, dim, seed=0):
    root = np.random.default_rng(seed).normal(size=(count, dim, dim))
    return root @ root.swapaxes(1, 2) / dim + 0.3 * np.eye(dim)


def a_mixture(count=4, dim=3, seed=0):
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.2, 1.0, count)
    return Mixture(weight / weight.sum(), 1.5 * rng.normal(size=(count, dim)), covariances(count, dim, seed))


def put(vae, mixture):
    vae.prior.put(*map(torch.from_numpy, (mixture.weight, mixture.mean, mixture.covariance)))
    return vae


def a_vae(count=4, dim=3, *, seed=0, event=(5,), covariance="full", mixture=None, guide=None, **prior):
    """A VAE with random networks and the components of `a_mixture`."""
    torch.manual_seed(seed)
    vae = pv.VAE(
        event,
        dim,
        prior=pv.priors.GaussianMixture(count, covariance, **prior),
        likelihood=pv.likelihoods.Normal(scale=SCALE),
        guide=guide,
        encoder=MLP(16),
        decoder=MLP(16),
    )
    return put(vae, a_mixture(count, dim, seed) if mixture is None else mixture)


@torch.no_grad()
def oracle_vae(*, explicit=False):
    """A VAE that is the oracle, its guide the exact posterior, collapsed or with the class drawn by it."""
    oracle = LinearGaussianMixture(
        torch.tensor(
            [[1.0, 0.0], [0.8, 0.0], [0.0, 1.2], [0.0, -0.4]]
        ),  # orthogonal: posteriors are diagonal
        torch.linspace(-1, 1, 4),
        torch.tensor(SCALE),
        torch.tensor([0.3, -0.2, 0.5]),
        torch.tensor([[-1.0, 0.5], [1.2, 0.0], [0.0, -1.0]]),
        torch.tensor([[0.6, 0.9], [0.5, 0.4], [1.1, 0.7]]),
    )
    vae = pv.VAE(
        (4,),
        2,
        prior=pv.priors.GaussianMixture(3, explicit=explicit),
        likelihood=pv.likelihoods.Normal(scale=SCALE),
        guide=pv.guides.GaussianMixture(3, explicit=explicit),
        encoder=Squares(),
        decoder=Same(),
    )
    vae.prior.put(oracle.logits.exp(), oracle.loc, oracle.spread.square().diag_embed())
    set_head(vae.generation.heads["loc"].linear, oracle.weight, oracle.bias)
    set_exact_posterior(vae, oracle)
    return vae, oracle


def set_exact_posterior(vae, oracle):
    """Least squares through points: each parameter of the posterior is a polynomial of degree two in x."""
    x = 2 * torch.randn(200, 4)
    features = torch.cat([vae.encoder(x), torch.ones(200, 1)], -1)
    parts = oracle.posterior(x).component_distribution
    sd = parts.covariance_matrix.diagonal(dim1=-2, dim2=-1).sqrt()
    wanted = {
        "logits": oracle._joint(x),
        "loc": parts.loc,
        "raw_scale": inverse_softplus(sd - SCALE_FLOOR),
    }
    for name, value in wanted.items():
        solution = torch.linalg.lstsq(features, value.flatten(1), driver="gelsd").solution
        assert torch.allclose(features @ solution, value.flatten(1), atol=1e-9)
        set_head(vae.recognition.heads[name].linear, solution[:-1].mT, solution[-1])


def data_for(vae, rows=40, seed=1):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return vae.sample(rows)


# ---------------------------------------------------------------- closed forms


def test_overlap_is_the_integral_of_the_geometric_mean():
    mean, sd = np.array([[-0.5], [0.4], [2.0]]), np.array([0.6, 1.1, 0.3])
    found = overlaps(mean, (sd**2)[:, None, None])
    for i in range(3):
        for j in range(3):

            def both(z, i=i, j=j):
                at = [multivariate_normal(mean[k], sd[k] ** 2).pdf(z) for k in (i, j)]
                return math.sqrt(at[0] * at[1])

            assert abs(found[i, j] - quad(both, -8, 8, epsabs=1e-11, limit=200)[0]) < 1e-9


def test_overlap_with_full_covariances_by_a_grid():
    mixture = a_mixture(3, 2, seed=3)
    side = np.linspace(-12, 12, 801)
    points = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    root = np.exp(mixture.log_prob_of(points) / 2)
    by_grid = root.T @ root * (side[1] - side[0]) ** 2
    assert np.allclose(overlaps(mixture.mean, mixture.covariance), by_grid, atol=1e-8)


def test_divergence_against_draws_and_for_diagonal_and_full_alike():
    mixture, other = a_mixture(3, 2, seed=0), a_mixture(4, 2, seed=1)
    found = divergences(mixture.mean, mixture.covariance, other.mean, other.covariance)
    for n in range(4):
        z = other.draw(n, 200_000, seed=n)
        ratio = other.log_prob_of(z)[:, [n]] - mixture.log_prob_of(z)
        error = ratio.std(0) / math.sqrt(len(z))
        assert (np.abs(ratio.mean(0) - found[n]) < SIGMAS * error).all()
    variance = np.random.default_rng(0).uniform(0.1, 2.0, (4, 2))
    diagonal = divergences(mixture.mean, mixture.covariance, other.mean, variance)
    full = divergences(mixture.mean, mixture.covariance, other.mean, variance[:, :, None] * np.eye(2))
    assert np.allclose(diagonal, full, atol=1e-12)


def test_no_divergence_from_itself_and_no_overlap_above_one():
    mixture = a_mixture(5, 3)
    own = divergences(mixture.mean, mixture.covariance, mixture.mean, mixture.covariance)
    assert np.allclose(np.diag(own), 0, atol=1e-12)
    assert (own + np.eye(5) > 0).all()
    found = overlaps(mixture.mean, mixture.covariance)
    assert np.array_equal(found, found.T)
    assert np.array_equal(np.diag(found), np.ones(5))
    assert ((found >= 0) & (found <= 1)).all()


def test_mahalanobis_with_one_covariance_and_with_many():
    d, s = np.random.default_rng(0).normal(size=(6, 3)), covariances(6, 3)
    by_hand = [row @ np.linalg.inv(one) @ row for row, one in zip(d, s, strict=True)]
    assert np.allclose(mahalanobis(d, s), by_hand)
    assert np.allclose(mahalanobis(d, s[0]), [row @ np.linalg.inv(s[0]) @ row for row in d])


def test_principal_axes_rebuild_the_covariance():
    s = covariances(1, 4)[0]
    variance, axes = principal(s)
    assert (np.diff(variance) <= 0).all()
    assert np.allclose((axes.T * variance) @ axes, s)
    assert (axes[np.arange(4), np.abs(axes).argmax(1)] > 0).all()


def test_effective_numbers():
    assert effective(np.ones(7)) == pytest.approx(7)
    assert effective(np.array([1.0, 0.0, 0.0])) == 1.0
    assert entropy(np.array([[0.5, 0.5], [1.0, 0.0]])).tolist() == pytest.approx([math.log(2), 0.0])


@pytest.mark.parametrize("dim", [1, 3])
def test_merging_and_splitting_keep_the_moments(dim):
    mixture = a_mixture(3, dim, seed=5)

    def moments(weight, mean, covariance):
        middle = weight @ mean / weight.sum()
        second = np.einsum("k,kij->ij", weight, covariance + mean[:, :, None] * mean[:, None, :])
        return weight.sum(), middle, second

    pair = mixture.weight[:2], mixture.mean[:2], mixture.covariance[:2]
    one = [np.asarray(part)[None] for part in merged(*pair)]
    halves = split(float(mixture.weight[2]), mixture.mean[2], mixture.covariance[2])
    whole = [part[2:] for part in (mixture.weight, mixture.mean, mixture.covariance)]
    for old, new in ((pair, one), (whole, halves)):
        for a, b in zip(moments(*old), moments(*new), strict=True):
            assert np.allclose(a, b, atol=1e-10)
    assert (np.linalg.eigvalsh(halves[2]) > 0).all()


# ---------------------------------------------------------------- the mixture


@pytest.mark.parametrize("covariance", ["spherical", "diagonal", "full"])
def test_the_mixture_read_is_the_one_put(covariance):
    mixture = a_mixture()
    diagonal = mixture.covariance * np.eye(3)
    held = {"full": mixture.covariance, "diagonal": diagonal, "spherical": np.tile(np.eye(3), (4, 1, 1))}
    vae = a_vae(covariance=covariance, mixture=dataclasses.replace(mixture, covariance=held[covariance]))
    found = explore(vae, data_for(vae)).components
    for name in ("weight", "mean"):
        assert np.allclose(getattr(found, name), getattr(mixture, name), atol=1e-12)
    assert np.allclose(found.covariance, held[covariance], atol=1e-10)


def test_log_pz_and_responsibilities_by_hand():
    mixture = a_mixture()
    z = np.random.default_rng(0).normal(size=(9, 3))
    each = [multivariate_normal(m, s).pdf(z) for m, s in zip(mixture.mean, mixture.covariance, strict=True)]
    joint = mixture.weight * np.stack(each, 1)
    assert np.allclose(mixture.log_prob(z), np.log(joint.sum(1)), atol=1e-10)
    assert np.allclose(mixture.responsibilities(z), joint / joint.sum(1, keepdims=True), atol=1e-10)


def test_the_latent_of_a_projection_is_the_mean_of_draws_that_project_there():
    """Least squares of z on functions of U z is E[z | U z]: the residual is orthogonal to all of them."""
    mixture = a_mixture(3, 4, seed=2)
    basis = plane_of(mixture, np.zeros((5, 4))).basis
    rng = np.random.default_rng(0)
    c = rng.choice(3, 100_000, p=mixture.weight)
    noise = np.einsum("nij,nj->ni", np.linalg.cholesky(mixture.covariance)[c], rng.normal(size=(len(c), 4)))
    z = mixture.mean[c] + noise
    residual = z - mixture.mean_of(z @ basis.T, basis)
    for tested in (np.ones(len(z)), *(z @ basis.T).T, np.sin(z @ basis[0]), np.cos(z @ basis[1])):
        product = residual * tested[:, None]
        assert (np.abs(product.mean(0)) < SIGMAS * product.std(0) / math.sqrt(len(z)) + 1e-9).all()


# ---------------------------------------------------------------- data


def test_responsibilities_are_bayes_by_hand_over_the_same_draws():
    vae = a_vae()
    x, mixture = data_for(vae), a_mixture()
    ex = explore(vae, x, particles=7, seed=3)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(3)
        q = vae.encode(x)
        z = torch.stack([q.sample() for _ in range(7)]).numpy()
    share = mixture.responsibilities(z.reshape(-1, 3)).reshape(7, len(x), 4)
    assert np.allclose(ex.responsibilities, share.mean(0), atol=1e-10)
    assert np.allclose(ex.responsibility_sd, share.std(0, ddof=1), atol=1e-10)
    assert np.allclose(ex.z, q.mean.numpy())


def test_with_the_exact_posterior_they_are_the_exact_ones():
    vae, oracle = oracle_vae()
    x = oracle.sample(50)
    ex = explore(vae, x, particles=500)
    exact = oracle.responsibilities(x).numpy()
    widest = np.sqrt(exact * (1 - exact) / 500)  # no distribution on [0, 1] of that mean has a larger error
    assert (np.abs(ex.responsibilities - exact) < SIGMAS * widest + 0.01).all()
    assert np.abs(ex.responsibilities - exact).mean() < 0.01
    assert np.allclose(ex.log_px, oracle.log_px(x).numpy(), atol=1e-6)
    assert (ex.log_px_se < 1e-6).all()
    assert np.allclose(ex.z, oracle.posterior(x).mean.numpy(), atol=1e-8)
    assert np.allclose(ex.encoding.sd**2, oracle.posterior(x).variance.numpy(), atol=1e-8)


def test_a_guide_that_draws_the_class_gives_them_without_spread():
    vae, oracle = oracle_vae(explicit=True)
    x = oracle.sample(50)
    ex = explore(vae, x, particles=30)
    assert np.allclose(ex.responsibilities, oracle.responsibilities(x).numpy(), atol=1e-8)
    assert (ex.responsibility_sd == 0).all()
    posterior = oracle.posterior(x).component_distribution
    components = ex.components
    for k in range(3):
        own = divergences(
            components.mean[[k]],
            components.covariance[[k]],
            posterior.loc[:, k].numpy(),
            posterior.covariance_matrix[:, k].numpy(),
        )[:, 0]
        paid = (ex.responsibilities[:, k] * own).sum() / ex.responsibilities[:, k].sum()
        assert components.kl[k] == pytest.approx(paid, abs=1e-7)


def test_they_are_the_marginals_of_pyros_enumeration():
    vae = a_vae(explicit=True)
    x = data_for(vae, 20)
    ex = explore(vae, x, particles=1, seed=4)
    torch.manual_seed(4)
    marginals = TraceEnum_ELBO(max_plate_nesting=1).compute_marginals(vae.model, vae.guide, x)
    pyro.clear_param_store()
    assert np.allclose(ex.responsibilities, marginals["c"].probs.detach().numpy(), atol=1e-10)


def test_soft_counts_and_hard_counts_sum_to_the_rows():
    vae = a_vae()
    ex = explore(vae, data_for(vae, 77))
    assert ex.components.soft.sum() == pytest.approx(77, abs=1e-9)
    assert ex.components.hard.sum() == 77
    assert np.allclose(ex.responsibilities.sum(1), 1)
    assert np.array_equal(np.bincount(ex.assignment, minlength=4), ex.components.hard)
    assert np.allclose(ex.doubt, -(ex.responsibilities * np.log(ex.responsibilities)).sum(1))


def test_what_a_component_costs_against_draws():
    """The closed form of normals, and the mean of log q - log N for a guide without one."""
    vae = a_vae()
    x = data_for(vae, 12)
    ex, mixture = explore(vae, x), a_mixture()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        z = vae.encode(x).sample((20_000,))
        log_q = vae.encode(x).log_prob(z).numpy()
    ratio = log_q[..., None] - mixture.log_prob_of(z.numpy().reshape(-1, 3)).reshape(*log_q.shape, 4)
    error = ratio.std(0) / math.sqrt(len(ratio))
    assert (np.abs(ex.encoding.kl - ratio.mean(0)) < SIGMAS * error).all()
    by_hand = (ex.responsibilities * ex.encoding.kl).sum(0) / ex.responsibilities.sum(0)
    assert np.allclose(ex.components.kl, by_hand)

    mixed = a_vae(guide=pv.guides.GaussianMixture(2))
    drawn = explore(mixed, data_for(mixed, 12), particles=400, seed=0).encoding.kl
    again = explore(mixed, data_for(mixed, 12), particles=400, seed=1).encoding.kl
    assert np.allclose(drawn, again, rtol=0.2, atol=1.0)
    assert not np.array_equal(drawn, again)


def test_nearest_doubtful_and_far():
    vae = a_vae()
    ex, mixture = explore(vae, data_for(vae, 60)), a_mixture()
    for k in range(4):
        own = [
            (z - mixture.mean[k]) @ np.linalg.solve(mixture.covariance[k], z - mixture.mean[k]) for z in ex.z
        ]
        assert ex.nearest(k, 9).tolist() == np.argsort(own, kind="stable")[:9].tolist()
    assert ex.doubtful(5).tolist() == np.argsort(-ex.doubt, kind="stable")[:5].tolist()
    assert ex.far(5).tolist() == np.argsort(ex.log_px, kind="stable")[:5].tolist()
    strange = torch.cat([data_for(vae, 20), torch.full((1, 5), 30.0)])
    assert explore(vae, strange).far(1).tolist() == [20]


def test_log_px_is_that_of_evidence_and_an_observation_has_the_same():
    vae = a_vae()
    x = data_for(vae, 15)
    ex = explore(vae, x, particles=50, seed=2)
    found = pv.log_evidence(vae, x, particles=50, seed=2)
    assert np.array_equal(ex.log_px, found.log_px)
    assert np.array_equal(ex.log_px_se, found.mc_stderr)
    one = ex.observation(4, particles=50)
    assert one.log_px == pytest.approx(ex.log_px[4], abs=1e-9)
    assert np.array_equal(one.responsibilities, ex.responsibilities[4])
    assert np.array_equal(one.x, x[4].numpy())
    assert np.allclose(one.reconstruction, ex.decode(ex.z[4]))
    assert (one.number, one.index) == (4, 4)
    assert str(one).startswith("observation 4: component")
    with pytest.warns(DeprecationWarning, match="use Exploration.observation"):
        assert ex.datum(4, particles=50).log_px == one.log_px


# ---------------------------------------------------------------- latents


def test_decode_keeps_leading_dimensions_and_is_the_mean_of_the_decoder():
    vae = a_vae()
    ex = explore(vae, data_for(vae))
    z = np.random.default_rng(0).normal(size=(2, 300, 3))
    with torch.no_grad():
        expected = vae.decode(torch.from_numpy(z)).mean.numpy()
    assert ex.decode(z).shape == (2, 300, 5)
    assert np.allclose(ex.decode(z), expected)
    assert np.allclose(ex.decode(z[0, 0]), expected[0, 0])


def test_samples_of_a_component_have_its_moments():
    vae, oracle = oracle_vae()
    ex = explore(vae, oracle.sample(5))
    count = 40_000
    for mean in (True, False):
        x = ex.samples(1, count, seed=7, mean=mean)
        spread = oracle.weight @ oracle.spread[1].square().diag() @ oracle.weight.mT
        covariance = (spread if mean else spread + SCALE**2 * torch.eye(4)).numpy()
        middle = (oracle.weight @ oracle.loc[1] + oracle.bias).numpy()
        error = np.sqrt(np.diag(covariance) / count)
        assert (np.abs(x.mean(0) - middle) < SIGMAS * error).all()
        assert np.allclose(np.cov(x.T), covariance, atol=0.05)
    assert np.array_equal(ex.samples(1, 3, seed=7), ex.samples(1, 3, seed=7))
    assert not np.array_equal(ex.samples(1, 3, seed=7), ex.samples(1, 3, seed=8))


def ring(count=8, radius=3.0):
    angle = 2 * np.pi * np.arange(count) / count
    mean = radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    return Mixture(np.full(count, 1 / count), mean, np.tile(0.4 * np.eye(2), (count, 1, 1)))


def vee():
    """Two long components that cross above both means."""
    turn = [np.array([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]]) for t in (0.9, -0.9)]
    long = [r @ np.diag([4.0, 0.05]) @ r.T for r in turn]
    return Mixture(np.array([0.5, 0.5]), np.array([[-1.5, 0.0], [1.5, 0.0]]), np.stack(long))


WAYS = [
    (ring(), 0, 3),
    (ring(), 0, 4),
    (vee(), 0, 1),
    *((a_mixture(4, d, s), 0, 3) for d, s in ((1, 0), (2, 1), (2, 37), (5, 2))),
]


@pytest.mark.parametrize("case", range(len(WAYS)))
@pytest.mark.parametrize("steps", [2, 3, 8, 9])
def test_a_walk_along_the_density_ends_at_the_means_and_is_never_lower_than_straight(case, steps):
    mixture, a, b = WAYS[case]
    straight, dense = (path_between(mixture, a, b, steps, way) for way in ("straight", "density"))
    for path in (straight, dense):
        assert np.array_equal(path[[0, -1]], mixture.mean[[a, b]])
        assert path.shape == (steps, mixture.dim)
    apart = np.diff(straight, axis=0)
    assert np.allclose(apart, apart[0])
    assert mixture.log_prob(dense).min() >= mixture.log_prob(straight).min() - 1e-12
    fine = [
        np.concatenate([np.linspace(p, q, 40) for p, q in zip(path, path[1:], strict=False)])
        for path in (straight, dense)
    ]
    if steps > 3:  # between few steps the chords leave the path
        assert mixture.log_prob(fine[1]).min() >= mixture.log_prob(fine[0]).min() - 0.1


def test_a_walk_goes_round_a_hole_and_through_a_crossing():
    for mixture, b, gain in ((ring(), 3, 2.0), (vee(), 1, 10.0)):
        straight, dense = (
            mixture.log_prob(path_between(mixture, 0, b, 15, way)) for way in ("straight", "density")
        )
        assert dense.min() > straight.min() + gain


def test_walks_back_and_forth_are_one():
    mixture = vee()
    there, back = path_between(mixture, 0, 1, 9, "density"), path_between(mixture, 1, 0, 9, "density")
    assert np.allclose(there, back[::-1], atol=0.05)


def test_a_walk_is_decoded_with_its_density():
    vae = a_vae()
    ex = explore(vae, data_for(vae))
    for walk in (ex.walk(0, 2), ex.walk(0, 2, along="density"), ex.axis(1, axis=2, steps=5)):
        assert np.allclose(walk.x, ex.decode(walk.z))
        assert np.allclose(walk.log_pz, a_mixture().log_prob(walk.z))
    assert np.array_equal(ex.walk(1, 1, along="density").z, np.tile(a_mixture().mean[1], (9, 1)))


def test_an_axis_runs_through_the_mean_as_far_as_it_says():
    vae = a_vae()
    walk = explore(vae, data_for(vae)).axis(2, axis=0, steps=5, reach=1.5)
    mixture = a_mixture()
    assert np.allclose(walk.z[2], mixture.mean[2])
    apart = walk.z[-1] - walk.z[2]
    assert apart @ np.linalg.solve(mixture.covariance[2], apart) == pytest.approx(1.5**2)
    assert np.linalg.norm(apart) == pytest.approx(
        1.5 * math.sqrt(np.linalg.eigvalsh(mixture.covariance[2])[-1])
    )


def test_the_map_of_two_latents_is_the_identity():
    vae = a_vae(dim=2)
    plane = explore(vae, data_for(vae)).map
    z = np.random.default_rng(0).normal(size=(3, 4, 2))
    assert plane.identity
    assert np.array_equal(plane.to_plane(z), z)
    assert np.array_equal(plane.to_latent(z), z)
    mean, covariance = plane.ellipse(z[0, 0], covariances(1, 2)[0])
    assert np.array_equal(mean, z[0, 0])
    assert np.allclose(covariance, covariances(1, 2)[0])


@pytest.mark.parametrize(("count", "dim"), [(1, 5), (2, 5), (6, 5), (3, 1), (3, 3)])
def test_the_map_and_the_way_back(count, dim):
    mixture = a_mixture(count, dim)
    z = np.random.default_rng(1).normal(size=(50, dim))
    plane = plane_of(mixture, z)
    point = plane.to_plane(z)
    if dim > 1:
        assert np.allclose(plane.basis @ plane.basis.T, np.eye(2), atol=1e-12)
        assert np.allclose(plane.to_plane(plane.to_latent(point)), point, atol=1e-8)
    mean, covariance = plane.ellipse(mixture.mean[0], mixture.covariance[0])
    draws = plane.to_plane(mixture.draw(0, 60_000, seed=0))
    assert np.allclose(draws.mean(0), mean, atol=0.05)
    assert np.allclose(np.cov(draws.T), covariance, atol=0.05 * max(1.0, covariance.max()))
    again = plane_of(mixture, z)
    assert np.array_equal(again.basis, plane.basis)


def test_the_map_shows_what_separates_and_not_what_is_large():
    """The means differ in three directions, relative to different spreads within components."""
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    mean = np.zeros((8, 6))
    mean[:, [0, 2, 4]] = signs * [3.0, 1.0, 0.3]
    variance = np.array([9.0, 25.0, 0.25, 25.0, 0.0009, 25.0])
    mixture = Mixture(np.full(8, 1 / 8), mean, np.tile(np.diag(variance), (8, 1, 1)))
    plane = plane_of(mixture, 5 * np.random.default_rng(0).normal(size=(99, 6)))
    assert np.allclose(plane.basis, np.eye(6)[[4, 2]], atol=1e-6)


# ---------------------------------------------------------------- labels


def test_agreement_by_hand():
    c, y = [0, 0, 0, 1, 1, 2, 2, 2], [5, 5, 3, 3, 3, 5, 5, 5]
    found = agreement(c, y, components=4)
    assert found.confusion.tolist() == [[1, 2], [2, 0], [0, 3], [0, 0]]
    assert found.matching.tolist() == [-1, 3, 5, -1]
    assert found.accuracy == 5 / 8
    assert found.purity == 7 / 8
    assert found.plain is None
    perfect = agreement(c, c, components=3, names=range(3))
    assert (perfect.accuracy, perfect.plain, perfect.nmi, perfect.ari, perfect.purity) == pytest.approx(
        (1,) * 5
    )


def test_agreement_is_the_same_under_other_numbers():
    rng = np.random.default_rng(0)
    c, y = rng.integers(0, 6, 300), rng.integers(0, 5, 300)
    y[:200] = c[:200] % 5
    found = agreement(c, y, 6)
    other = agreement(rng.permutation(6)[c], 10 + rng.permutation(5)[y], 6)
    for name in ("accuracy", "nmi", "ari", "purity"):
        assert getattr(other, name) == pytest.approx(getattr(found, name), abs=1e-12)


def test_accuracy_is_the_best_of_all_matchings():
    from itertools import permutations

    rng = np.random.default_rng(1)
    c, y = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    every = [np.mean(np.array(p)[c] == y) for p in permutations(range(4))]
    found = agreement(c, y, 4)
    assert found.accuracy == pytest.approx(max(every))
    assert np.mean(found.matching[c] == y) == pytest.approx(max(every))


def test_over_several_runs():
    vae = a_vae()
    x = data_for(vae, 30)
    runs = [explore(vae, x, labels=np.arange(30) % (2 + s), seed=s) for s in range(3)]
    found = agreements(runs)
    assert found.accuracy.tolist() == [run.agreement.accuracy for run in runs]
    assert found.table().shape == (3, 4)
    assert str(found).splitlines()[1].split()[1:] == [
        f"{v:.3f}" for v in (np.median(found.accuracy), found.accuracy.min(), found.accuracy.max())
    ]
    assert explore(vae, x).agreement is None
    with pytest.raises(InputError, match="exploration 1 has no labels"):
        agreements([runs[0], explore(vae, x)])
    with pytest.raises(InputError, match="nothing to compare"):
        agreements([])


# ---------------------------------------------------------------- symmetry, seeds, nothing changed


def test_permuting_the_components_permutes_every_answer():
    order = np.array([2, 0, 3, 1])
    mixture = a_mixture()
    moved = Mixture(mixture.weight[order], mixture.mean[order], mixture.covariance[order])
    vae, other = a_vae(), a_vae(mixture=moved)
    x, y = data_for(vae), np.arange(40) % 3
    a, b = (explore(each, x, labels=y) for each in (vae, other))
    for name in ("weight", "mean", "covariance", "hard", "soft", "kl"):
        assert np.allclose(getattr(b.components, name), getattr(a.components, name)[order], atol=1e-9), name
    assert np.allclose(b.components.overlap, a.components.overlap[np.ix_(order, order)])
    assert np.array_equal(order[b.components.closest], a.components.closest[order])
    assert np.allclose(b.responsibilities, a.responsibilities[:, order])
    assert np.allclose(b.responsibility_sd, a.responsibility_sd[:, order])
    assert np.array_equal(order[b.assignment], a.assignment)
    assert np.allclose(b.doubt, a.doubt)
    assert np.allclose(b.log_px, a.log_px)
    assert b.components.in_use == pytest.approx(a.components.in_use)
    assert np.array_equal(b.nearest(0, 5), a.nearest(2, 5))
    assert np.allclose(b.walk(0, 1, along="density").z, a.walk(2, 0, along="density").z, atol=1e-3)
    assert np.allclose(b.map.to_plane(b.z), a.map.to_plane(a.z), atol=1e-6)
    assert np.array_equal(b.agreement.confusion, a.agreement.confusion[order])
    assert b.merge(0, 1).difference == pytest.approx(a.merge(2, 0).difference, abs=1e-9)


def test_the_same_seed_gives_the_same_and_nothing_is_changed():
    vae = a_vae()
    x = data_for(vae, 30)
    vae.train()
    vae.decoder.eval()
    before = state(vae)
    seen = []
    for _ in range(2):
        ex = explore(vae, x, rows=20, labels=np.arange(30) % 3, seed=5)
        ex.samples(0, 3), ex.samples(0, 3, mean=False), ex.walk(0, 1, along="density"), ex.axis(0)
        ex.observation(0, particles=30), ex.far(2), str(ex), str(ex.components), ex.map.to_latent([0.0, 1.0])
        edits = [ex.merge(0, 1), ex.split(0), ex.remove(1), ex.reweight({0: 0.5})]
        seen.append([ex.index, ex.responsibilities, ex.log_px, *(edit.after.log_px for edit in edits)])
        torch.rand(3)
    torch.set_rng_state(before[3])
    assert same_state(before, state(vae))
    assert all(map(np.array_equal, *seen))
    other = explore(vae, x, rows=20, seed=6)
    assert not np.array_equal(other.responsibilities, seen[0][1])


def test_the_callers_random_state_is_kept():
    vae = a_vae()
    x, before = data_for(vae), torch.get_rng_state()
    ex = explore(vae, x)
    ex.log_px, ex.merge(0, 1), ex.samples(0, 2, mean=False), ex.observation(1, particles=20)
    assert torch.equal(torch.get_rng_state(), before)


def test_rows_are_taken_from_all_of_the_part():
    vae = a_vae()
    x = data_for(vae, 100)
    ex = explore(vae, x, rows=30, labels=np.arange(100), seed=1)
    assert len(ex) == len(set(ex.index.tolist())) == 30
    assert np.array_equal(ex.x, x[ex.index].numpy())
    assert np.array_equal(ex.labels, ex.index)
    assert np.array_equal(ex.evidence.index, ex.index)
    assert ex.index.max() > 60
    assert np.array_equal(explore(vae, x, rows=500).index, np.arange(100))


def test_rows_tensors_and_arrays_of_any_type_are_explored_alike():
    vae, x = a_vae(), torch.randint(-3, 4, (30, 5))
    exact = explore(vae, x.double())
    given = (
        x,
        x.numpy(),
        x.numpy().astype(np.int8),
        x.float(),
        pv.Rows(x, y=torch.arange(30) % 4),
        x.tolist(),
    )
    for data in given:  # labels are not observed: p(c|x), whatever y says
        ex = explore(vae, data)
        assert np.array_equal(ex.responsibilities, exact.responsibilities)
        assert np.array_equal(ex.log_px, exact.log_px)
        assert ex.labels is None


def test_rows_of_a_data_set_keep_their_numbers_in_the_source():
    x = torch.randn(200, 5)
    data, vae = pv.datasets.load(x, test=0.25), a_vae()
    for name in ("test", "validation", "train"):
        ex = explore(vae, data, split=name, rows=15)
        assert np.allclose(ex.x, x[ex.index].numpy())
        assert np.array_equal(ex.index, ex.evidence.index)
    assert explore(vae, pv.Rows(x, index=torch.arange(200) + 7), rows=15).index.min() > 6
    one = ex.observation(3, particles=20)
    assert one.index == ex.index[3]
    assert str(one).startswith(f"observation 3, row {one.index}: component")


# ---------------------------------------------------------------- editing


def same_prior(a, b, atol):
    z = 3 * torch.randn(400, 3)
    return torch.allclose(a.prior.mixture().log_prob(z), b.prior.mixture().log_prob(z), atol=atol)


def moments(vae):
    with torch.no_grad():
        mixture = vae.prior.mixture()
        w, m = mixture.mixture_distribution.probs, mixture.component_distribution.mean
        s = mixture.component_distribution.covariance_matrix
        return w @ m, torch.einsum("k,kij->ij", w, s + m.unsqueeze(-1) * m.unsqueeze(-2))


def test_merging_two_copies_changes_nothing():
    mixture = a_mixture()
    for part in (mixture.mean, mixture.covariance):
        part[3] = part[1]
    vae = a_vae(mixture=mixture)
    edit = explore(vae, data_for(vae)).merge(3, 1)
    assert edit.vae.prior.components == 3
    assert same_prior(vae, edit.vae, 1e-10)
    assert np.abs(edit.change).max() < 1e-10


def test_merge_and_split_keep_the_moments_of_the_prior():
    vae = a_vae()
    ex = explore(vae, data_for(vae))
    for edit, count in ((ex.merge(0, 2), 3), (ex.split(1), 5)):
        assert edit.vae.prior.components == count
        for a, b in zip(moments(vae), moments(edit.vae), strict=True):
            assert torch.allclose(a, b, atol=1e-10)
        assert not same_prior(vae, edit.vae, 1e-3)
    again = explore(ex.split(1).vae, data_for(vae)).merge(1, 4)
    assert same_prior(vae, again.vae, 1e-9)


def test_a_removed_component_is_gone_and_the_others_are_as_they_were():
    vae, mixture = a_vae(), a_mixture()
    edit = explore(vae, data_for(vae)).remove(1)
    left, others = edit.vae.prior.mixture(), [0, 2, 3]
    weight = mixture.weight[others] / mixture.weight[others].sum()
    assert np.allclose(left.mixture_distribution.probs.detach(), weight)
    assert np.allclose(left.component_distribution.mean.detach(), mixture.mean[others])


def test_weights_are_put_and_present_ones_are_no_change():
    vae, mixture = a_vae(), a_mixture()
    ex = explore(vae, data_for(vae))
    for same in (mixture.weight, {1: mixture.weight[1]}, dict(enumerate(mixture.weight))):
        edit = ex.reweight(same)
        assert same_prior(vae, edit.vae, 1e-10)
        assert np.abs(edit.change).max() < 1e-9
    edit = ex.reweight({2: 0.7})
    rest = np.delete(mixture.weight, 2)
    found = edit.vae.prior.mixture().mixture_distribution.probs.detach().numpy()
    assert np.allclose(found[[0, 1, 3]], 0.3 * rest / rest.sum())
    assert found[2] == pytest.approx(0.7)


def test_an_edit_is_scored_in_pairs_on_the_same_samples():
    vae = a_vae()
    x = data_for(vae, 25)
    ex = explore(vae, x, particles=40, seed=3)
    edit = ex.remove(0)
    after = pv.log_evidence(edit.vae, x, particles=40, seed=3)
    assert np.array_equal(edit.after.log_px, after.log_px)
    assert np.array_equal(edit.before.log_px, ex.log_px)
    change = after.log_px - ex.log_px
    assert edit.difference == pytest.approx(change.mean())
    assert edit.se == pytest.approx(change.std(ddof=1) / 5)
    assert "component 0 removed: log p(x)" in str(edit)


def test_all_but_the_prior_is_kept():
    vae = a_vae()
    vae.train()
    edit = explore(vae, data_for(vae)).split(0)
    old, new = vae.state_dict(), edit.vae.state_dict()
    assert edit.vae.training
    assert all(torch.equal(new[name], old[name]) for name in old if not name.startswith("prior."))
    loaded = pv.VAE.from_dict(edit.vae.to_dict())
    loaded.load_state_dict(new)
    assert same_prior(loaded, edit.vae, 1e-12)


def test_a_narrow_form_widens_only_where_it_must():
    flat = a_mixture()
    for part in (flat.mean, flat.covariance):
        part[1] = part[0]
    flat = dataclasses.replace(flat, covariance=np.tile(0.5 * np.eye(3), (4, 1, 1)))
    vae = a_vae(covariance="spherical", mixture=flat)
    ex = explore(vae, data_for(vae))
    forms = {
        "merge the same": ex.merge(0, 1),
        "merge": ex.merge(0, 2),
        "split": ex.split(0),
        "remove": ex.remove(0),
    }
    found = {name: edit.vae.prior.covariance for name, edit in forms.items()}
    assert found == {
        "merge the same": "spherical",
        "merge": "full",
        "split": "diagonal",
        "remove": "spherical",
    }


def test_a_prior_that_does_not_learn_or_has_guards_is_edited_too():
    for options in (
        {"learned": False},
        {"floor": 0.5},
        {"prune": 0.2},
        {"start": "kmeans", "start_epoch": 3},
    ):
        vae = a_vae(count=4, **options)
        edit = explore(vae, data_for(vae)).split(
            int(np.argmin(vae.prior.mixture().mixture_distribution.probs.detach().numpy()))
        )
        assert edit.vae.prior.components == 5
        for a, b in zip(moments(vae), moments(edit.vae), strict=True):
            assert torch.allclose(a, b, atol=1e-8), options
        assert edit.vae.prior.start_epoch == 0


def test_a_dead_component_is_seen_and_can_be_removed():
    vae = a_vae(prune=0.1)
    vae.prior.alive[2] = False
    ex = explore(vae, data_for(vae))
    assert ex.components.weight[2] == 0
    assert ex.components.hard[2] == 0
    assert "hardly used    2" in str(ex)
    assert same_prior(vae, ex.remove(2).vae, 1e-9)
    assert ex.walk(0, 2, along="density").z.shape == (9, 3)


# ---------------------------------------------------------------- classes and labels


def m2(labels=False):
    torch.manual_seed(0)
    return pv.VAE(
        (5,),
        2,
        prior=pv.priors.Classes(3, labels=labels),
        guide=pv.guides.Classes(3),
        likelihood=pv.likelihoods.Normal(scale=SCALE),
        encoder=MLP(8),
        decoder=MLP(8),
    )


def test_a_mean_and_its_class_are_joined_on_one_device(monkeypatch):
    """The mean is a double on the CPU; q(z|x) is in single precision, perhaps on a GPU."""
    vae, joined, cat = m2(labels=False).float(), [], torch.cat
    q = vae.encode(torch.randn(4, 5, dtype=torch.float32))
    monkeypatch.setattr(torch, "cat", lambda parts, *dim: joined.append(parts) or cat(parts, *dim))
    assert Space(vae)._mean(q).shape == (4, 5)
    assert len({(part.dtype, part.device) for part in joined[-1]}) == 1


@pytest.mark.parametrize("labels", [False, True])
def test_classes_that_the_decoder_reads(labels):
    vae = m2(labels)
    with torch.no_grad():
        vae.prior.logits.copy_(torch.tensor([0.5, -0.2, 0.1]))
    x = torch.randn(30, 5)
    ex = explore(vae, x, labels=np.arange(30) % 3)
    assert np.allclose(ex.components.weight, vae.prior.logits.softmax(0).detach())
    assert ex.z.shape == (30, 2)
    with torch.no_grad():
        assert np.allclose(ex.responsibilities, vae.responsibilities(x)[0])
        point = torch.tensor([0.3, -0.4, 0.0, 1.0, 0.0])
        assert np.allclose(ex.decode([0.3, -0.4], k=1), vae.decode(point).mean)
    assert np.allclose(ex.decode(point), ex.decode([0.3, -0.4], k=1))
    assert ex.nearest(2, 4).tolist() == np.argsort(-ex.responsibilities[:, 2], kind="stable")[:4].tolist()
    assert not np.allclose(ex.axis(0).x, ex.axis(1).x)
    assert np.allclose(ex.axis(0).z, ex.axis(1).z)
    assert (ex.components.kl >= 0).all()
    assert ex.samples(1, 4).shape == (4, 5)
    assert (ex.agreement.plain is not None) == labels
    for ask, message in (
        (lambda: ex.walk(0, 1), "no path between them"),
        (lambda: ex.merge(0, 1), "only the components of a GaussianMixture"),
        (lambda: ex.decode([0.3, -0.4]), "say which by k="),
    ):
        with pytest.raises(InputError, match=message):
            ask()
    assert "share one p\\(z\\)".replace("\\", "") in str(ex)
    assert ex.observation(3, particles=30).reconstruction.shape == (5,)
    row = int(np.flatnonzero(ex.assignment != 0)[0])
    own = ex.decode([0.3, -0.4], k=ex.assignment[row])
    assert np.allclose(ex.decode([0.3, -0.4], row=row), own)
    assert np.allclose(ex.slice(row).decoded(np.array([0.3, -0.4])), own)
    walk = ex.path(row, 0, steps=3)
    assert np.allclose(walk.x, ex.decode(walk.z[:, :2], k=ex.assignment[row]))


def test_components_that_are_labels():
    torch.manual_seed(0)
    vae = pv.VAE(
        (5,),
        3,
        prior=pv.priors.GaussianMixture(4, "full", labels=True),
        likelihood=pv.likelihoods.Normal(scale=SCALE),
        encoder=MLP(8),
        decoder=MLP(8),
    )
    put(vae, a_mixture())
    x, y = torch.randn(30, 5), np.arange(30) % 4
    ex = explore(vae, x, labels=y)
    assert ex.agreement.plain == pytest.approx(np.mean(ex.assignment == y))
    assert "as the classes that they are" in str(ex)
    edit = ex.merge(0, 1)
    assert not edit.vae.prior.labels
    same = ex.reweight({0: 0.5}).vae
    assert same.prior.labels
    assert ex.with_vae(same).names.tolist() == [0, 1, 2, 3]
    assert ex.with_vae(edit.vae).names is None
    assert np.array_equal(ex.with_vae(edit.vae).with_vae(vae).responsibilities, ex.responsibilities)  # undone


# ---------------------------------------------------------------- choosing


def clusters(count=600):
    rng = np.random.default_rng(0)
    centre = np.array([[-4.0, 0.0], [4.0, 0.0], [0.0, 5.0]])
    return centre[np.arange(count) % 3] + 0.5 * rng.normal(size=(count, 2))


def test_the_plain_number_of_components_is_found():
    choice = choose_plain(clusters(), components=(1, 2, 3, 5))
    assert choice.enough == 3
    assert choice.components == (1, 2, 3, 5)
    assert (choice.mc_stderr == 0).all()
    paired = choice.log_px - choice.log_px[choice.components.index(choice.best)]
    assert np.allclose(choice.difference, paired.mean(1))
    assert np.allclose(choice.difference_se, paired.std(1, ddof=1) / math.sqrt(paired.shape[1]))
    assert choice.table().loc[3, "mean"] == pytest.approx(choice.log_px[2].mean())
    assert choice[3].components == 3
    assert "3 are enough" in str(choice)


def test_a_vae_is_fitted_with_each_number():
    vae = a_vae(count=4, dim=2, event=(2,), covariance="diagonal")
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    x = torch.from_numpy(clusters())
    data = pv.datasets.load(x, test=0.1)
    rng = torch.get_rng_state()
    choice = choose(vae, data, (3, 1), epochs=1, particles=20, compile=False)
    assert torch.equal(torch.get_rng_state(), rng)
    assert choice.components == (1, 3)
    assert [program.prior.components for program in choice.programs] == [1, 3]
    for program, log_px in zip(choice.programs, choice.log_px, strict=True):
        found = pv.log_evidence(program, data.validation, particles=20)
        assert np.allclose(found.log_px, log_px)
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    again = choose(vae, data, (3,), epochs=1, particles=20, compile=False)
    assert np.array_equal(again.log_px[0], choice.log_px[1])


# ---------------------------------------------------------------- VAEs without components


def plain_vae(dim=4, **parts):
    torch.manual_seed(1)
    return pv.VAE((5,), dim, likelihood=pv.likelihoods.Normal(), encoder=MLP(8), decoder=MLP(8), **parts)


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_a_plain_vae_has_a_plane_and_the_way_back(dim):
    ex = explore(plain_vae(dim), torch.randn(30, 5), particles=5)
    assert type(ex) is pv.exploring.Exploration
    point = np.random.default_rng(0).normal(size=(7, 2))
    planes = [ex.map, ex.plane("principal")] + ([ex.plane((0, dim - 1))] if dim > 1 else [])
    for plane in planes[: 1 if dim == 1 else 3]:
        z = plane.to_latent(point)
        back = plane.to_plane(z)
        assert np.allclose(back[:, :1] if dim == 1 else back, point[:, :1] if dim == 1 else point)
    if dim > 2:
        assert np.allclose(ex.map.to_latent(np.zeros(2)), ex.z.mean(0))  # the mean of q(z)
        assert np.allclose(ex.plane((0, 2)).to_latent([0.3, -0.7])[[0, 2]], [0.3, -0.7])


def test_the_latent_of_a_plane_is_the_mean_of_gaussian_samples_that_project_there():
    """E[z | U z = u] under a Gaussian with the moments of q(z), by regression on samples."""
    ex = explore(plain_vae(3), 2 * torch.randn(200, 5), particles=5)
    mean = ex.z.mean(0)
    covariance = np.cov(ex.z.T, bias=True) + np.diag((ex.encoding.sd**2).mean(0))
    assert np.allclose(ex.map.mixture.covariance[0], covariance, atol=1e-6)
    z = np.random.default_rng(0).multivariate_normal(mean, covariance, 200_000)
    plane = ex.plane((0, 1))
    slope = np.linalg.lstsq(np.c_[np.ones(len(z)), plane.to_plane(z)], z, rcond=None)[0]
    point = np.array([0.4, -0.2])
    assert np.allclose(plane.to_latent(point), np.r_[1.0, point] @ slope, atol=0.02)


def test_log_pz_and_decoded_latents_are_those_of_the_vae():
    vae = plain_vae(3, prior=pv.priors.Laplace())
    ex = explore(vae, torch.randn(30, 5), particles=5)
    z = np.random.default_rng(0).normal(size=(6, 3))
    with torch.no_grad():
        assert np.allclose(ex.log_pz(z), vae.latents().log_prob(torch.from_numpy(z)))
        assert np.allclose(ex.decode(z), vae.decode(torch.from_numpy(z)).mean)
        assert np.allclose(ex.z, vae.encode(ex.rows).mean)
    walk = ex.path(0, 1, steps=5)
    assert np.allclose(walk.z, np.linspace(ex.z[0], ex.z[1], 5))
    assert np.allclose(walk.x, ex.decode(walk.z))
    same = pv.interpolate(vae, ex.x[0], ex.x[1], steps=5, how="density")
    assert np.allclose(ex.path(0, 1, 5, "density").z, same.z)


def test_the_nearest_rows_by_brute_force():
    ex = explore(plain_vae(), torch.randn(40, 5), particles=5)
    apart = [sum((a - b) ** 2 for a, b in zip(ex.z[7], row, strict=True)) for row in ex.z]
    assert ex.neighbours(7, 5).tolist() == sorted(range(40), key=apart.__getitem__)[1:6]
    at = ex.z[3] + 1e-9
    assert ex.neighbours(at, 40)[0] == 3
    assert sorted(ex.neighbours(at, 40)) == list(range(40))


def test_one_row_is_explored_but_has_no_neighbours():
    ex = explore(plain_vae(), torch.randn(1, 5), particles=5)
    assert str(ex).startswith("StandardNormal() over 4 latents, explored with 1 row\n")
    assert set(ex.figures()) == {"latents"}
    assert set(explore(plain_vae(2), torch.randn(1, 5), particles=5).figures()) == {"map", "latents"}
    refused(lambda: ex.neighbours(0), "the only one and has no neighbours")
    assert ex.neighbours(np.zeros(4), 1).tolist() == [0]
    edit = explore(a_vae(), torch.randn(1, 5), particles=5).remove(0)
    assert str(edit).endswith(" on 1 row, without an error")


def test_without_a_count_there_are_ten_rows_or_all_that_there_are():
    for size, many in ((3, 3), (12, 10)):
        ex = explore(a_vae(), torch.randn(size, 5), particles=5)
        found = [ex.far(), ex.doubtful(), ex.nearest(0), ex.neighbours(np.zeros(ex.z.shape[1]))]
        assert [len(rows) for rows in found] == [many] * 4
        assert len(ex.neighbours(1)) == min(many, size - 1)


def test_a_conditional_class_has_the_moments_of_its_most_probable_class():
    parts = {"prior": pv.priors.Classes(3), "guide": pv.guides.Classes(3), "context_shape": (2,)}
    vae, context = plain_vae(3, **parts), torch.randn(20, 2)
    ex = explore(vae, pv.Rows(3 * torch.randn(20, 5), context), particles=5)
    with torch.no_grad():
        q = vae.encode(ex.rows)
        given = q.given(q.classes.logits.argmax(-1))
        assert np.allclose(ex.z, given.mean)
        assert np.allclose(ex.encoding.sd, given.variance.sqrt())
        assert np.array_equal(ex.encoding.tail.argmax(1), q.classes.logits.argmax(-1))
        z = torch.cat([given.mean, torch.from_numpy(ex.encoding.tail).float()], 1)
        expected = vae.latents(context).log_prob(z)
    assert np.allclose([ex.log_pz(ex.z[i : i + 1], row=i)[0] for i in range(20)], expected, atol=1e-5)
    k = ex.encoding.tail.argmax(1)
    a, b = np.flatnonzero(k == k[0])[0], np.flatnonzero(k != k[0])[0]
    other = ex.read(ex.rows[[int(b), int(a)]])[2]
    assert np.array_equal(other.tail, np.eye(3)[k[b]])
    assert np.array_equal(other.of_class(2).tail, [0.0, 0.0, 1.0])


def test_the_map_has_the_two_largest_variances_of_the_encodings():
    ex = explore(plain_vae(), torch.randn(40, 5), particles=5)
    drawn = np.cov(ex.map.to_plane(ex.z).T, bias=True)
    largest = np.linalg.eigvalsh(np.cov(ex.z.T, bias=True))[::-1][:2]
    assert np.allclose(drawn, np.diag(largest))
    directions = ex.directions("latent")
    assert directions.largest(2).names == tuple(f"z{i}" for i in sorted(np.argsort(-ex.z.std(0))[:2]))
    assert np.allclose(directions.largest(1).sd, ex.z.std(0).max())


def test_an_axis_of_a_component_is_measured_in_its_standard_deviations():
    vae = plain_vae(3, prior=pv.priors.GaussianMixture(2, covariance="full"))
    with torch.no_grad():
        vae.prior.put(torch.tensor([0.4, 0.6]), torch.randn(2, 3), torch.as_tensor(covariances(2, 3)))
    ex = explore(vae, torch.randn(10, 5), particles=2)
    mean, axes = ex.components.mean[1], ex.axes(1)
    assert np.allclose(axes.place(mean), 0)
    for i in range(3):
        walk = ex.axis(1, i, steps=3, reach=1.5)
        assert np.allclose(axes.put(mean, i, [-1.5, 0.0, 1.5]), walk.z)
        assert mahalanobis(walk.z[2:] - mean, ex.components.covariance[1]) == pytest.approx(1.5**2)


def test_a_step_along_a_direction_moves_one_place():
    ex = explore(plain_vae(), torch.randn(40, 5), particles=5)
    for kind in ("latent", "principal"):
        along = ex.directions(kind)
        assert np.allclose(along.unit @ along.unit.T, np.eye(4))
        places = np.stack([along.place(z) for z in ex.z])
        assert np.allclose(places.mean(0), 0)
        assert np.allclose(places.std(0), 1)
        moved = along.put(ex.z[5], 2, 1.5)
        assert np.allclose(along.place(moved), np.where(np.arange(4) == 2, 1.5, places[5]))
    assert along.sd[0] == pytest.approx(np.sqrt(np.linalg.eigvalsh(np.cov(ex.z.T, bias=True))[-1]))


def test_the_kl_of_a_plain_vae_and_its_facts():
    vae = plain_vae()
    ex = explore(vae, torch.randn(40, 5), particles=4000)
    with torch.no_grad():
        q = vae.encode(ex.rows)
        exact = torch.distributions.kl_divergence(q.base_dist, torch.distributions.Normal(0.0, 1.0))
    assert np.allclose(ex.divergence[1], exact)
    assert np.allclose(ex.divergence[0], exact.sum(1), atol=0.2)
    lines = str(ex).splitlines()
    assert lines[0] == "StandardNormal() over 4 latents, explored with 40 rows"
    assert "4 of 4 latents" in lines[1]
    assert "estimated at the first use" in lines[-1]
    assert set(ex.figures()) == {"map", "latents"}
    lowest = np.argsort(ex.log_px)[:5]
    assert str(ex).splitlines()[-1].split(None, 2)[2] == ", ".join(map(str, lowest))
    assert "observation 3: log p(x)" in str(ex.observation(3, particles=50))


CODES = {"prior": pv.priors.Categorical(3), "guide": pv.guides.Categorical(3)}
LAYERS = {"prior": pv.priors.Hierarchical((2,)), "guide": pv.guides.Hierarchical((2,))}
SPHERE = {"prior": pv.priors.HypersphericalUniform(), "guide": pv.guides.ProjectedNormal()}


@pytest.mark.parametrize(
    ("parts", "size", "real"),
    [
        (CODES, 12, False),
        (SPHERE, 4, False),
        (LAYERS, 6, True),
        ({"prior": pv.priors.VampPrior(3)}, 4, True),
        ({"prior": pv.priors.Flow()}, 4, True),
    ],
)
def test_other_latents_are_explored_too(parts, size, real):
    vae = plain_vae(**parts)
    ex = explore(vae, torch.randn(20, 5), particles=20)
    assert (ex.z.shape, ex.real) == ((20, size), real)
    with torch.no_grad():
        assert bool(vae.encode(ex.rows).support.check(torch.as_tensor(ex.points)).all())
        assert np.allclose(ex.decode(ex.points), vae.decode(torch.as_tensor(ex.points)).mean)
    assert str(ex)
    if not real:
        with pytest.raises(InputError, match="there are no directions among them"):
            ex.path(0, 1)


def test_the_plane_of_a_decoder_that_reads_one_of_several_latents_is_orthonormal():
    parts = {"prior": pv.priors.Hierarchical((3,)), "guide": pv.guides.Hierarchical((3,))}
    ex = explore(plain_vae(1, **parts), torch.randn(20, 5), particles=5)
    assert np.array_equal(ex.map.basis, np.eye(4)[:2])
    assert ex.map.names == ("z0", "z1")
    assert np.allclose(ex.map.to_plane(ex.z), ex.z[:, :2])
    assert np.allclose(ex.map.to_plane(ex.map.to_latent([0.3, -1.0])), [0.3, -1.0])


def test_a_context_is_that_of_a_row():
    vae = plain_vae(prior=pv.priors.Conditional(), context_shape=(3,))
    context = torch.eye(3)[torch.arange(20) % 3]
    ex = explore(vae, pv.Rows(torch.randn(20, 5), context), particles=5)
    with pytest.raises(InputError, match="name the row whose context it reads by row="):
        ex.decode(ex.z[0])
    with torch.no_grad():
        z = torch.as_tensor(ex.z[:1])
        for row in (0, 1):
            assert np.allclose(ex.decode(ex.z[:1], row=row), vae.decode(z, context[row : row + 1]).mean)
            assert np.allclose(ex.log_pz(ex.z[:1], row=row), vae.latents(context[row : row + 1]).log_prob(z))
        kl = torch.distributions.kl_divergence(vae.encode(ex.rows).base_dist, vae.latents(context).base_dist)
        assert np.allclose(ex.divergence[1], kl)
    walk = ex.path(1, 2, steps=3)
    assert np.allclose(walk.x, ex.decode(walk.z, row=1))
    assert not np.allclose(walk.x, ex.decode(walk.z, row=2))
    _, place, first = ex.read(ex.rows[4:7])
    assert np.allclose(place, ex.points[4:7])
    assert np.allclose(first.decoded(place), ex.decode(place, row=4))
    with pytest.raises(AttributeError, match="there is no ex.components, because Conditional"):
        ex.components  # noqa: B018
    mixture = plain_vae(prior=pv.priors.GaussianMixture(3), context_shape=(3,))
    ex = explore(mixture, pv.Rows(torch.randn(20, 5), context), particles=5)
    with pytest.raises(AttributeError, match="that all contexts share: .* and no context"):
        ex.components  # noqa: B018


# ---------------------------------------------------------------- what is refused

VAE4 = {"likelihood": pv.likelihoods.Normal(), "encoder": MLP(4), "decoder": MLP(4)}
ONE_HOT = {"prior": pv.priors.Categorical(2), "guide": pv.guides.Categorical(2)}
CONDITIONAL = {"prior": pv.priors.GaussianMixture(2), "context_shape": (3,)}


@pytest.mark.parametrize(
    ("vae", "message"),
    [
        (lambda: pv.VAE((5,), 2, **VAE4), "has no components to explore: declare the VAE with"),
        (lambda: pv.VAE((5,), 2, prior=pv.priors.Flow(), **VAE4), "has no components to explore"),
        (lambda: pv.VAE((5,), 2, **ONE_HOT, **VAE4), "has no components to explore"),
        (lambda: pv.VAE((5,), 2, **CONDITIONAL, **VAE4), "a conditional VAE has another for each context"),
        (lambda: a_vae().decoder, "choose needs a VAE, not a MLP"),
    ],
)
def test_a_vae_without_a_mixture_is_refused(vae, message):
    refused(lambda: choose(vae(), torch.randn(20, 5), (2,)), message)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda vae, x: explore(vae.decoder, x), "explore needs a VAE, not a MLP: give the result of VAE"),
        (lambda vae, x: explore((vae.model, vae.guide), x), "explore needs a VAE, not a tuple"),
        (lambda vae, x: explore(vae, x[:0]), "no rows"),
        (lambda vae, x: explore(vae, pv.Rows(x, torch.ones(20, 3))), "this VAE takes no context"),
        (lambda vae, x: explore(vae, x[:, :3]), "x must have shape \\(N, 5\\)"),
        (lambda vae, x: explore(vae, torch.where(x > 1, torch.inf, x)), "finite|NaN|missing"),
        (lambda vae, x: explore(vae, x, particles=0), "particles must be a whole number"),
        (lambda vae, x: explore(vae, x, rows=0), "rows must be a whole number"),
        (lambda vae, x: explore(vae, x, labels=[1, 2]), r"labels must be .* of shape \(20,\)"),
        (lambda vae, x: explore(vae, x, labels=np.ones(20)), "labels must be whole numbers .* not float64"),
        (lambda vae, x: explore(vae, pv.datasets.load(x), split="all"), "split must be .* not 'all'"),
        (lambda vae, x: explore(vae, pv.datasets.load(x), labels=[1]), "a data set has its own"),
        (lambda vae, x: agreement([0, 1], [0], 2), r"labels must be .* of shape \(2,\)"),
        (lambda vae, x: agreement([0, 5], [0, 1], 2), "outside the 2 components"),
        (lambda vae, x: agreement([0, 1], [0.5, 1.0], 2), "must be whole numbers"),
        (lambda vae, x: choose(vae, x, ()), "nothing to choose from"),
        (lambda vae, x: choose(vae, x, (0,)), "components must be a whole number"),
        (lambda vae, x: choose(vae, x, (2,), split="train"), "split must be 'validation' or 'test'"),
        (lambda vae, x: choose_plain(x[:, 0]), r"where \(N, D\) was expected"),
        (lambda vae, x: choose_plain(x[:1]), "give more"),
        (lambda vae, x: choose_plain(x, held_out=2.0), "held_out must be a finite number"),
    ],
)
def test_data_and_options_that_cannot_be_used(ask, message):
    refused(lambda: ask(a_vae(), torch.randn(20, 5)), message)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda ex: ex.nearest(0, 21), "count must be a whole number from 1 to 20, not 21"),
        (lambda ex: ex.doubtful(0), "count must be a whole number"),
        (lambda ex: ex.samples(4, 1), "component must be a whole number from 0 to 3, not 4"),
        (lambda ex: ex.samples(-1, 1), "component must be .* not -1"),
        (lambda ex: ex.observation(20), "observation must be a whole number from 0 to 19, not 20"),
        (lambda ex: ex.walk(0, 1, steps=1), "steps must be a whole number of 2 or more"),
        (lambda ex: ex.walk(0, 1, along="river"), "along must be 'straight' or 'density', not 'river'"),
        (lambda ex: ex.axis(0, axis=3), "axis must be a whole number from 0 to 2, not 3"),
        (lambda ex: ex.axis(0, reach=math.nan), "reach must be a finite number, 0 or more, not nan"),
        (lambda ex: ex.decode([0.0]), "z must have shape"),
        (lambda ex: ex.decode([0.0, math.nan, 1.0]), "NaN"),
        (lambda ex: ex.log_pz([0.0, 1.0, 2.0]), r"where \(M, 3\) was expected"),
        (lambda ex: ex.map.to_latent([0.0, 1.0, 2.0]), "where \\(..., 2\\) was expected"),
        (lambda ex: ex.map.to_plane([0.0, 1.0]), "where \\(..., 3\\) was expected"),
        (lambda ex: ex.merge(1, 1), "cannot be merged with itself"),
        (lambda ex: ex.reweight({0: 0.0}), "weights must be above 0"),
        (lambda ex: ex.reweight({0: 1.0}), "for the rest"),
        (lambda ex: ex.reweight({}), "name at least one component"),
        (lambda ex: ex.reweight({9: 0.1}), "component must be .* not 9"),
        (lambda ex: ex.reweight([0.5, 0.5]), r"weights has shape \(2,\) where \(4,\)"),
        (lambda ex: ex.figures("cat"), "no picture 'cat'"),
        (lambda ex: ex.plot(["map"]), "no picture"),
        (lambda ex: ex.plane(None), "'principal' or two latents"),
        (lambda ex: ex.plane("01"), "'principal' or two latents"),
        (lambda ex: ex.decode([0.0, 0.0, 0.0], row=20), "observation must be .* not 20"),
        (lambda ex: ex.log_pz([[0.0, 0.0, 0.0]], row="x"), "observation must be"),
        (lambda ex: ex.directions().place([0.0]), r"where \(3\) was expected|where \(3,\)"),
        (lambda ex: ex.directions().put([0.0, 0.0, 0.0], 3, 0.0), "direction must be"),
        (lambda ex: ex.directions().put([0.0, 0.0, 0.0], 0, math.nan), "NaN"),
        (lambda ex: ex.directions().largest("all"), "count must be"),
        (lambda ex: ex.map.ellipse([0.0, 0.0, 0.0], np.eye(2)), r"covariance has shape \(2, 2\)"),
    ],
)
def test_questions_without_an_answer(ask, message):
    refused(lambda: ask(explore(a_vae(), torch.randn(20, 5))), message)


def refused(ask, message):
    with pytest.raises(InputError, match=message) as caught:
        ask()
    text = str(caught.value)
    assert "\n" not in text
    assert not text.endswith(".")


def test_the_last_component_stays():
    refused(lambda: explore(a_vae(count=1), torch.randn(20, 5)).remove(0), "cannot be removed")


def test_a_guide_with_a_distribution_for_each_component_keeps_their_number():
    vae, oracle = oracle_vae(explicit=True)
    ex = explore(vae, oracle.sample(20))
    with pytest.raises(InputError, match="so their number stays"):
        ex.merge(0, 1)
    assert ex.reweight([0.2, 0.3, 0.5]).vae.q == vae.q


# ---------------------------------------------------------------- what is printed and drawn


def test_at_a_glance():
    vae = a_vae()
    ex = explore(vae, data_for(vae), labels=np.arange(40) % 3)
    lines = str(ex).splitlines()
    assert lines[0] == "a mixture of 4 components over 3 latents, explored with 40 rows"
    assert len(lines) <= 10
    assert max(map(len, lines)) < 120
    assert len(ex.log_px) == 40
    assert str(ex).splitlines()[-1].split()[:2] == ["log", "p(x)"]
    table = ex.components.table()
    assert table["data"].sum() == 40
    assert len(str(ex.components).splitlines()) == 6
    assert table.loc[1, "overlap"] == ex.components.overlap[1, table.loc[1, "closest"]]


def test_one_component_and_one_latent():
    vae = a_vae(count=1, dim=1)
    ex = explore(vae, data_for(vae))
    assert (ex.responsibilities == 1).all()
    assert (ex.doubt == 0).all()
    assert str(ex)
    assert ex.split(0).vae.prior.components == 2
    assert ex.figures() == {}
    assert ex.map.to_plane(ex.z).shape == (40, 2)


def test_the_pictures_that_apply_are_drawn():
    torch.manual_seed(0)
    vae = pv.VAE((1, 4, 6), 3, prior=pv.priors.GaussianMixture(4, "full"), encoder=MLP(8), decoder=MLP(8))
    put(vae, a_mixture())
    x = (torch.rand(30, 1, 4, 6) > 0.5).double()
    drawn = explore(vae, x, labels=np.arange(30) % 3).figures()
    assert set(drawn) == {"map", "components", "axes", "walks", "overlap", "doubt", "confusion"}
    assert drawn["map"].get_xlabel() == "direction 1"
    few = explore(a_vae(dim=2), torch.randn(30, 5)).figures()
    assert set(few) == {"map", "overlap", "doubt"}
    assert list(explore(a_vae(dim=2), torch.randn(30, 5)).figures("doubt")) == ["doubt"]
    assert set(explore(m2(), torch.randn(30, 5)).figures()) == {"map", "doubt"}


def test_single_precision_is_enough():
    vae = a_vae().float()
    x = data_for(vae.double()).float()
    vae.float()
    ex = explore(vae, x)
    exact = explore(vae.double(), x.double())
    assert ex.responsibilities.dtype == np.float64
    assert np.allclose(ex.components.weight, exact.components.weight, atol=1e-6)
    vae.float()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        edit = ex.merge(0, 1)
    assert next(edit.vae.parameters()).dtype == torch.float32
    assert np.abs(ex.reweight(ex.components.weight).change).max() < 1e-3
