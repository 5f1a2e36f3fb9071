"""Paths and analogies: exact for linear decoders, and never worse than the straight line."""

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae.errors import InputError
from pyrovae.exploring.space import Space
from tests.support.identity import identity_vae
from tests.support.linear import same_state, state

pytestmark = pytest.mark.usefixtures("float64")

ENDS = np.array([[3.0, 0.5, -1.0], [-1.0, 2.0, 2.0]])


def crossing():
    """Two long components that cross above both ends."""
    turn = [np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]) for t in (0.9, -0.9)]
    covariance = np.stack([r @ np.diag([4.0, 0.05]) @ r.T for r in turn])
    vae = identity_vae(2, prior=pv.priors.GaussianMixture(2, "full"))
    means = torch.tensor([[-1.5, 0.0], [1.5, 0.0]])
    vae.prior.put(torch.tensor([0.5, 0.5]), means, torch.from_numpy(covariance))
    return vae, means.numpy()


def test_a_straight_path_has_even_steps():
    walk = pv.interpolate(identity_vae(3), *ENDS, steps=5)
    assert np.allclose(walk.z, np.linspace(*ENDS, 5))
    assert np.allclose(walk.x, walk.z)  # E[x|z] = z
    assert np.allclose(walk.log_pz, -0.5 * (walk.z**2).sum(1) - 1.5 * np.log(2 * np.pi))


def test_a_spherical_path_turns_evenly_and_its_length_changes_evenly():
    walk = pv.interpolate(identity_vae(3), *ENDS, steps=6, how="spherical")
    assert np.allclose(walk.z[[0, -1]], ENDS)
    lengths = np.linalg.norm(walk.z, axis=1)
    assert np.allclose(np.diff(lengths, 2), 0)
    units = walk.z / lengths[:, None]
    cosines = (units[1:] * units[:-1]).sum(1)
    assert np.allclose(cosines, cosines[0])
    assert np.linalg.matrix_rank(walk.z, tol=1e-8) == 2  # in the plane of both ends


@pytest.mark.parametrize("factor", [-2.0, 0.0, 1.0, 2.0])
def test_a_spherical_path_between_parallel_vectors_is_straight(factor):
    walk = pv.interpolate(identity_vae(3), ENDS[0], factor * ENDS[0], steps=4, how="spherical")
    assert np.allclose(walk.z, np.linspace(ENDS[0], factor * ENDS[0], 4))


def test_a_spherical_path_turns_about_the_mean_of_the_prior():
    vae = identity_vae(2, prior=pv.priors.GaussianMixture(1))
    vae.prior.put(torch.ones(1), torch.tensor([[5.0, 5.0]]), torch.eye(2)[None])
    walk = pv.interpolate(vae, [6.0, 5.0], [5.0, 6.0], how="spherical")
    assert np.allclose(np.linalg.norm(walk.z - 5, axis=1), 1)


def test_a_path_along_the_density_goes_through_a_crossing():
    vae, means = crossing()
    straight, dense = (pv.interpolate(vae, *means, steps=15, how=how) for how in ("straight", "density"))
    assert dense.log_pz.min() > straight.log_pz.min() + 5
    assert np.allclose(dense.z[[0, -1]], means)


@pytest.mark.parametrize("seed", range(4))
def test_a_path_along_the_density_is_never_lower_and_not_much_longer(seed):
    rng = np.random.default_rng(seed)
    ends = 1.3 * rng.normal(size=(2, 8))
    straight, dense = (pv.interpolate(identity_vae(8), *ends, how=how) for how in ("straight", "density"))
    assert dense.log_pz.min() >= straight.log_pz.min() - 1e-9
    assert dense.length <= 1.3 * straight.length
    assert dense.log_pz.mean() >= straight.log_pz.mean() - 1e-9


def test_a_path_from_an_observation_to_itself_stays():
    vae, means = crossing()
    for how in ("straight", "spherical", "density"):
        assert np.allclose(pv.interpolate(vae, means[0], means[0], how=how).z, means[0])


def test_an_analogy_adds_the_difference_of_means():
    vae, rng = identity_vae(3), np.random.default_rng(0)
    a, b, c = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)), rng.normal(size=(2, 3))
    assert np.allclose(pv.analogy(vae, a, b, c), c + b.mean(0) - a.mean(0))
    assert np.allclose(pv.analogy(vae, a[0], b[0], c[0]), (c + b[0] - a[0])[:1])


def test_the_vae_and_the_random_state_do_not_change():
    vae, means = crossing()
    before = state(vae.train())
    pv.interpolate(vae, *means, how="density")
    pv.analogy(vae, *means, means)
    assert same_state(before, state(vae))


def test_the_class_stays_and_two_classes_have_no_path():
    torch.manual_seed(0)
    parts = {"prior": pv.priors.Classes(2), "guide": pv.guides.Classes(2)}
    vae = pv.VAE((4,), 2, likelihood=pv.likelihoods.Normal(), **parts)
    x = 3 * torch.randn(60, 4)
    classes = vae.responsibilities(x)[0].argmax(1)
    one, two = (x[classes == c] for c in (0, 1))
    walk = pv.interpolate(vae, one[0], one[1], how="density")
    assert (walk.z[:, 2:] == walk.z[0, 2:]).all()
    with pytest.raises(InputError, match="give two observations of one class"):
        pv.interpolate(vae, one[0], two[0])
    space = Space(vae)
    a, b, c = (space.encode(space.rows(x)) for x in (one, two, one[:3]))
    z = np.concatenate([(c + b.mean(0) - a.mean(0))[:, :2], c[:, 2:]], 1)
    assert np.allclose(pv.analogy(vae, one, two, one[:3]), space.decoded(z))


def test_refusals():
    vae = identity_vae(3)
    conditional = pv.VAE((3,), 2, context_shape=(1,), likelihood=pv.likelihoods.Normal())
    rows = [pv.Rows.of(np.zeros((1, 3)), context=[[c]]) for c in (0.0, 1.0)]
    for call, message in (
        (lambda: pv.interpolate(vae, ENDS, ENDS[0]), "x1 has 2 rows"),
        (lambda: pv.interpolate(vae, *ENDS, steps=1), "steps must be a whole number of 2 or more"),
        (lambda: pv.interpolate(vae, *ENDS, how="river"), "'straight', 'spherical' or 'density'"),
        (lambda: pv.interpolate((1,), *ENDS), "interpolate needs a VAE"),
        (lambda: pv.interpolate(conditional, *rows), "have different contexts"),
        (lambda: pv.interpolate(conditional, *ENDS), "needs a context of shape"),
        (lambda: pv.analogy(vae, ENDS[:, :2], ENDS, ENDS), "must have shape (N, 3)"),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert message in str(caught.value)
    assert pv.interpolate(conditional, *rows, context=[0.5]).x.shape == (9, 3)
