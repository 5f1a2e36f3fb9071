"""Rows of a run's data that tasks read."""

import torch

import pyrovae as pv
from pyrovae.cli.runs import rows_of
from pyrovae.exploring import explore
from pyrovae.tasks.runs import training_rows

JITTER = "shift 2, noise .2"


def test_training_rows_have_no_jitter():
    """Percentiles and directions are about the rows of the data, not about their random changes."""
    plain = pv.datasets.load("digits", count=60).train.x
    data = pv.datasets.load("digits", count=60, jitter=JITTER)
    assert torch.equal(training_rows(data, 1000).x, plain)
    assert torch.equal(training_rows(data, 7).x, plain[:7])
    assert torch.equal(rows_of(data, "train", None).x, plain)


def test_the_components_of_training_rows_are_those_without_jitter():
    plain = pv.datasets.load("digits", count=60, binarize="threshold")
    data = pv.datasets.load("digits", count=60, binarize="threshold", jitter=JITTER)
    prior = pv.priors.GaussianMixture(3)
    vae = pv.VAE.suited(data, latent_dim=2, prior=prior, encoder=pv.networks.MLP(8))
    one, other = (explore(vae, each, split="train") for each in (data, plain))
    assert torch.equal(one.rows.x, other.rows.x)
