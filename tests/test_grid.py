"""The whole grid: every two parts that interact do so in some cell.

Each cell declares, prints, goes through YAML, trains ten steps, gives a finite log p(x), and comes back from
its run folder. Every part is trained ten steps by the captured step too, to the weights of the eager one;
PYROVAE_LONG=1 does that in all cells.
"""

import itertools
import os

import matplotlib.pyplot as plt
import numpy as np
import pyro
import pytest
import torch
import yaml

import pyrovae as pv
from pyrovae import report
from tests.support.captured import interpreted
from tests.support.cells import (
    AXES,
    INTERACTING,
    Cell,
    cell_name,
    cover,
    declared,
    goes,
    is_discrete,
    sample,
    space,
    tiny,
)
from tests.support.parts import raises_one_sentence

LONG = bool(os.environ.get("PYROVAE_LONG"))
QUIET = {"epochs": 2, "batch_size": 4, "lr": 1e-3, "progress": False, "figures": False}


def same_weights(one, two):
    a, b = one.state_dict(), two.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("cell", [*cover(2), *sample(30)], ids=cell_name)
def test_a_cell_is_declared_trained_evaluated_saved_and_loaded(cell, tmp_path):
    vae = declared(cell, seed=1)  # with seed 0, all units of a layer of five are zero in one cell
    written = vae.to_dict()
    assert pv.VAE.from_dict(yaml.safe_load(yaml.safe_dump(written))).to_dict() == written
    assert all(repr(part) in str(vae) for part in (vae.prior, vae.likelihood, vae.q, vae.encoder))
    before = {n: p.detach().clone() for n, p in vae.named_parameters()}
    data = tiny(vae)
    run = pv.fit(vae, data, cell.objective, out=tmp_path, compile=False, **QUIET)
    for column in ("train", "validation", "reconstruction", "kl"):
        assert run.history[column].shape == (2,)
        assert np.isfinite(run.history[column]).all()
    still = [n for n, p in vae.named_parameters() if torch.equal(p, before[n])]
    has_no_divergence = isinstance(cell.objective, pv.objectives.Autoencoder)
    if has_no_divergence or getattr(cell.objective, "free_bits", 0):  # nothing teaches the prior
        still = [n for n in still if not n.startswith("prior.")]
    assert still == []
    loaded = pv.load(tmp_path)
    assert loaded == vae
    assert same_weights(loaded, vae)
    evidence = pv.log_evidence(loaded, data.test, particles=4, compile=False)
    assert np.isfinite(evidence.log_px).all()
    assert len(pyro.get_param_store()) == 0


def can_be_captured(cell):
    """The sleep phase draws data, and torch's multinomial draws take a number out of a tensor."""
    sleeps = getattr(cell.objective, "insomnia", 1) < 1
    if isinstance(cell.networks[0], pv.networks.Recurrent):  # a loop over steps
        return False
    return not (sleeps and isinstance(cell.likelihood, pv.likelihoods.Multinomial))


CAPTURED = [cell for cell in (cover(2) if LONG else cover(1, seed=1)) if can_be_captured(cell)]


@pytest.mark.parametrize("cell", CAPTURED, ids=cell_name)
def test_a_captured_cell_is_the_eager_one(cell, monkeypatch, float64):
    code = interpreted(monkeypatch)
    eager, captured = declared(cell), declared(cell)
    pv.fit(eager, tiny(eager), cell.objective, compile=False, **QUIET)
    pv.fit(captured, tiny(captured), cell.objective, compile=True, **QUIET)
    assert code.calls > 0
    torch.testing.assert_close(captured.state_dict(), eager.state_dict(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("cell", cover(1), ids=cell_name)
def test_every_verb_takes_a_cell_or_says_why_not(cell, tmp_path):
    vae = declared(cell)
    data, few = tiny(vae), pv.evidence.AIS(temperatures=3)
    verbs = [
        lambda: pv.log_evidence(vae, data.test, method=few, particles=3),
        lambda: pv.log_evidence(vae, data.test, method="defensive", particles=30),
        lambda: pv.log_evidence(vae, data.test, method=pv.evidence.Laplace(rounds=1), particles=30),
        lambda: pv.diagnose(vae, data),
        lambda: pv.gaps(vae, data.test, steps=2, particles=5, method=few),
        lambda: pv.to_arviz(vae, data.test, draws=3),
    ]
    if is_discrete(cell.guide) or space(cell.guide) == "sphere":
        has_class = cell.guide.states is not None
        for number, verb in enumerate(verbs):
            # `gaps` asks the guide before it runs it.
            words = "draws a class too" if has_class and number == 4 else "the latent site "
            raises_one_sentence(verb, words + ("" if "class" in words else repr("c" if has_class else "z")))
    else:
        assert all(str(verb()) for verb in verbs)
    assert pv.iwae_bound(vae, data.test, particles=(1, 5)).bound.shape == (2, 3)
    assert report.save_figures(vae, data, tmp_path)
    plt.close("all")


def test_every_interacting_pair_is_there():
    """Against the pairs of all feasible cells with one likelihood, and of all with one prior."""
    latent = product(AXES._replace(likelihood=AXES.likelihood[6:7], networks=AXES.networks[:1]))
    plain = latent[0]
    observed = product(AXES._replace(prior=[plain.prior], guide=[plain.guide], objective=[plain.objective]))
    wanted = {pair for cells in (latent, observed) for cell in cells for pair in pairs(cell)}
    assert wanted - {pair for cell in cover(2) for pair in pairs(cell)} == set()


def product(axes):
    """All feasible cells of some axes."""
    return [cell for cell in map(Cell._make, itertools.product(*axes)) if goes(cell)]


def pairs(cell):
    """The pairs of entries of a cell that interact, each entry by its identity."""
    return {(a, id(cell[a]), b, id(cell[b])) for a, b in INTERACTING}
