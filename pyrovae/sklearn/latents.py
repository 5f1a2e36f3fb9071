"""Latents of rows, their classes, and rows of latents, in pieces and without changing the VAE.

Samples of z ~ q(z|x) depend on the seed and the values of the row only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pyrovae.checks import count_of
from pyrovae.datasets import Rows
from pyrovae.distributions import log_shares
from pyrovae.errors import InputError
from pyrovae.evidence.methods import Importance
from pyrovae.evidence.run import evaluation
from pyrovae.measurements.families import elements_of
from pyrovae.measurements.moments import moments_of
from pyrovae.networks.modes import in_mode
from pyrovae.sklearn.rows import distinct
from pyrovae.vae import VAE

__all__ = ["class_shares", "decoded", "means"]

PIECE = 1000  # rows
PARTICLES = 100


def means(vae: VAE, rows: Rows, particles: int | None, seed: int) -> Tensor:
    """The mean of q(z|x) of each row, (N, D) float64; of samples if the guide has no known mean."""
    try:
        with _reading(vae):
            return torch.cat([vae.encode(some).mean.double().cpu() for some in rows.batches(PIECE)])
    except NotImplementedError:
        unique, places = distinct(rows)
        return torch.cat([z.mean(0) for z in _samples(vae, unique, particles, seed)])[places]


def class_shares(vae: VAE, rows: Rows, particles: int | None, seed: int) -> Tensor:
    r"""The probabilities of the classes of each row, (N, C) float64: \(E_{q(z|x)}[p(c|z)]\).

    If the guide draws the class, they are q(c|x). `VAE.responsibilities` has the same values for
    single samples.

    Raises:
        InputError: for a prior without components.
    """
    if vae.q.states is not None or vae.prior.mixture(None) is None:  # refused by the second
        with _reading(vae):
            pieces = [vae.responsibilities(some)[0] for some in rows.batches(PIECE)]
        shares = torch.cat(pieces).double().cpu()
    else:
        unique, places = distinct(rows)
        with _reading(vae):
            mixture = vae.prior.mixture(None)
            pieces = [log_shares(mixture, z).exp() for z in _samples(vae, unique, particles, seed)]
        shares = torch.cat([share.double().mean(0).cpu() for share in pieces])[places]
    return shares / shares.sum(1, keepdim=True)


def _samples(vae: VAE, rows: Rows, particles: int | None, seed: int) -> Iterator[Tensor]:
    """Samples of q(z|x), (K, B, D), of one piece of the rows after another."""
    count = count_of("particles", PARTICLES if particles is None else particles)
    method = Importance()
    with evaluation(vae, rows, seed=seed, chunk=None) as every:
        for some in every.parts(count):
            yield method.posterior(some, count).values["z"]


def decoded(vae: VAE, z: Tensor) -> Tensor:
    """E[x|z] of latents (N, D), (N, *event); the most probable values for a model of a table.

    Raises:
        InputError: for a likelihood without a known mean.
    """
    is_table = vae.schema is not None and vae.schema.columns is not None
    with _reading(vae):
        try:
            each = [_modes(vae, some) if is_table else vae.decode(some).mean for some in z.split(PIECE)]
        except NotImplementedError:
            raise InputError(
                f"the mean of {vae.likelihood!r} is not known: use inverse_transform with another likelihood"
            ) from None
    return torch.cat(each)


def _modes(vae: VAE, z: Tensor) -> Tensor:
    elements, _ = elements_of(vae.decode(z[None]))
    return moments_of(elements, torch.ones(1, len(z), device=z.device)).mode


@contextmanager
def _reading(vae: VAE) -> Iterator[None]:
    with torch.no_grad(), in_mode(vae, training=False):
        yield
