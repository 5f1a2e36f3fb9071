"""A VAE whose encodings and reconstructions are the observations: E[z|x] = x and E[x|z] = z."""

import torch

import pyrovae as pv
from pyrovae.numerics import inverse_positive
from tests.support.linear import Same, set_head


@torch.no_grad()
def identity_vae(dim=2, *, sd=0.1, **parts):
    """The VAE, with q(z|x) = N(x, sd^2 I)."""
    vae = pv.VAE((dim,), dim, likelihood=pv.likelihoods.Normal(), encoder=Same(), decoder=Same(), **parts)
    set_head(vae.generation.heads["loc"].linear, torch.eye(dim), torch.zeros(dim))
    set_head(vae.recognition.heads["loc"].linear, torch.eye(dim), torch.zeros(dim))
    raw = torch.full((dim,), inverse_positive(sd))
    set_head(vae.recognition.heads["raw_scale"].linear, torch.zeros(dim, dim), raw)
    return vae
