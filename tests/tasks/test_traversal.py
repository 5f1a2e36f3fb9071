"""Traversals: each step is where it says, and the directions are in the order of their effect."""

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae.errors import InputError
from tests.support.identity import identity_vae
from tests.support.linear import linear_vae, same_state, set_head, state

pytestmark = pytest.mark.usefixtures("float64")


def rows(count=300, seed=0):
    turn = np.array([[0.8, 0.6, 0.0], [-0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    return np.random.default_rng(seed).normal(size=(count, 3)) * [2.0, 0.5, 1.0] @ turn + [1.0, -2.0, 0.0]


def test_each_latent_goes_through_its_standard_deviations_and_the_others_stay():
    x = rows()
    found = pv.traverse(identity_vae(3), x, steps=5, span=2, start=7)
    assert np.allclose(found.by, [-2, -1, 0, 1, 2])
    for name, z, sd in zip(found.names, found.z, found.sd, strict=True):
        i = int(name[1:])
        assert sd == pytest.approx(x[:, i].std())
        assert np.allclose(z[:, i], x[:, i].mean() + found.by * sd)
        rest = np.delete(z, i, 1)
        assert np.allclose(rest, np.delete(x[7], i))
    assert np.allclose(found.x, found.z)  # E[x|z] = z
    assert np.allclose(found.log_pz, -0.5 * (found.z**2).sum(-1) - 1.5 * np.log(2 * np.pi))


def test_principal_directions_are_those_of_the_encodings():
    x = rows()
    found = pv.traverse(identity_vae(3), x, "principal", start=None)
    variances, vectors = np.linalg.eigh(np.cov(x.T))
    for name, unit, sd in zip(found.names, found.direction, found.sd, strict=True):
        i = 2 - int(name.removeprefix("PC "))
        assert abs(unit @ vectors[:, i]) == pytest.approx(1)
        assert sd == pytest.approx(np.sqrt(variances[i]), rel=0.01)
    assert np.allclose(found.z[:, 3], x.mean(0))


def test_directions_are_sorted_by_the_change_of_the_observation():
    vae, _ = linear_vae()
    with torch.no_grad():
        weight = torch.tensor([[0.1, 1.0], [0.1, 1.0], [0.1, 1.0], [0.1, 1.0]])
        set_head(vae.generation.heads["loc"].linear, weight, torch.zeros(4))
    x = torch.randn(100, 4)
    found = pv.traverse(vae, x)
    assert found.names == ("z1", "z0")
    unit = found.sd * [1.0, 0.1] * np.sqrt((found.by**2).mean())
    expected = unit * np.sqrt((1 / x.numpy().std(0) ** 2).mean())
    assert np.allclose(found.change, expected)


def test_the_context_is_that_of_the_row():
    vae = pv.VAE((3,), 2, context_shape=(2,), likelihood=pv.likelihoods.Normal(), seed=0)
    x, context = torch.randn(20, 3), torch.randn(20, 2)
    found = pv.traverse(vae, x, context=context, start=4)
    again = vae.decode(torch.from_numpy(found.z[0]), context[4].expand(7, 2)).mean
    assert np.allclose(found.x[0], again.detach())


def test_the_vae_and_the_random_state_do_not_change():
    vae = identity_vae(3).train()
    before = state(vae)
    pv.traverse(vae, rows(), "principal")
    assert same_state(before, state(vae))


def test_a_table_and_figures():
    found = pv.traverse(identity_vae(3), rows())
    frame = found.to_frame()
    assert list(frame["direction"]) == list(found.names)
    assert (np.diff(frame["change"]) <= 0).all()
    assert all(name in str(found) for name in found.names)
    ax = found.plot(2)
    assert [text.get_text() for text in ax.get_yticklabels()] == list(found.names[:2])
    table = ax.images[0].get_array()
    assert np.allclose(table, ((found.x[:, -1] - found.x[:, 0]) / rows().std(0))[:2])
    images = pv.VAE((1, 6, 6), 2, seed=0)
    ax = pv.traverse(images, torch.rand(10, 1, 6, 6).round(), steps=3, span=1.5).plot()
    assert [text.get_text() for text in ax.get_xticklabels()] == ["−1.5", "0", "+1.5"]
    long = identity_vae(45)
    ax = pv.traverse(long, np.random.default_rng(0).normal(size=(50, 45)), steps=3).plot(4)
    assert len(ax.child_axes) == 4


def test_missing_entries_have_no_part_in_the_scale():
    vae = pv.VAE((3,), 2, likelihood=pv.likelihoods.Normal(), seed=0)
    x = torch.randn(40, 3)
    x[::3, 1] = torch.nan
    found = pv.traverse(vae, x)
    assert np.isfinite(found.change).all()
    assert found.scale[1] == pytest.approx(np.nanstd(x.numpy()[:, 1]))


def test_refusals():
    vae = identity_vae(3)
    for call, message in (
        (lambda: pv.traverse(vae, rows()[:1]), "give a sample of the data"),
        (lambda: pv.traverse(vae, rows(), "sideways"), "'latent' or 'principal'"),
        (lambda: pv.traverse(vae, rows(), steps=1), "steps must be"),
        (lambda: pv.traverse(vae, rows(), span=0), "span must be"),
        (lambda: pv.traverse(vae, rows(), start=300), "start must be a whole number from 0 to 299"),
        (lambda: pv.traverse(vae, pv.datasets.load("ring")), "as in data.test"),
        (lambda: pv.traverse("runs/a", rows()), "traverse needs a VAE, not a str"),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert message in str(caught.value)
