"""VAEs with a class as a site, and four observations of which two have labels."""

import torch

import pyrovae as pv
from pyrovae.guides import Classes as ClassGuide
from pyrovae.guides import GaussianMixture as MixtureGuide
from pyrovae.likelihoods import Normal
from pyrovae.priors import Classes as ClassPrior
from pyrovae.priors import GaussianMixture
from tests.support.parts import small_vae

COVARIANCES = ("spherical", "diagonal", "full")
KNOWN = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
LABELS = torch.tensor([1, -1, 2, -1])
X = torch.tensor([[0.3, -1.0, 0.8], [1.5, 0.2, -0.4], [-0.7, 0.9, 0.1], [0.0, 1.1, -2.0]])


def small(prior, guide=None, **more):
    """A VAE of three reals and two latents (of style), with parameters that are no special values."""
    return small_vae((3,), 2, prior=prior, guide=guide, likelihood=Normal(0.7), **more)


def known():
    """The labels as one-hot rows."""
    return KNOWN.to(torch.get_default_dtype())


def data():
    return X.to(torch.get_default_dtype())


def rows_of(vae):
    """The data, with their labels for a prior that observes them."""
    return pv.Rows(data(), y=LABELS if vae.prior.labels else None)


# What sums over a class in strata: GMVAE in its three covariances, and M2.
SUMMED = [*((GaussianMixture(3, c, explicit=True), MixtureGuide(3, explicit=True)) for c in COVARIANCES)]
SUMMED += [(ClassPrior(3), ClassGuide(3))]
LABELLED = [
    (GaussianMixture(3, "full", labels=True), MixtureGuide(3, explicit=True)),
    (ClassPrior(3, labels=True), ClassGuide(3)),
]


VADE = (GaussianMixture(3, "full", labels=True), None)
