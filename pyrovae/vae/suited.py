"""The parts of a VAE that suit a data set, where the user names none.

    values                             likelihood
    columns of a table                 Mixed
    0 and 1                            Bernoulli
    n integer levels, as of pixels     DiscretizedLogistic(levels=n)
    in [0, 1]                          ContinuousBernoulli
    whole numbers of 0 or more         NegativeBinomial, or Poisson where they vary less
    other numbers                      Normal with a learned scale

Missing entries (NaN) do not count.

Networks are convolutional for colour images and for large ones, and dense otherwise: with gates for
images, and without for other data, since with gates the bounds of many tables diverged.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from torch import Tensor

from pyrovae import likelihoods, networks
from pyrovae.datasets import Data, Rows
from pyrovae.errors import InputError

__all__ = [
    "Choice",
    "filling_for",
    "has_missing",
    "latent_dim_for",
    "likelihood_for",
    "loaded",
    "networks_for",
]

LOOKED_AT = 10_000  # rows
DENSE = 32 * 32  # elements of the largest image for dense networks
LATENTS = 32
LONGEST = 60  # characters of a likelihood in a sentence


class Choice(NamedTuple):
    """A likelihood and the reason for it, as the end of a sentence."""

    likelihood: likelihoods.Likelihood
    reason: str

    def __str__(self) -> str:
        words = repr(self.likelihood)
        short = words if len(words) <= LONGEST else f"{type(self.likelihood).__name__}(...)"
        return f"likelihood {short}, because {self.reason}"


def likelihood_for(data: Data) -> Choice:
    """The likelihood that suits a data set, with the reason.

    Example:
        >>> from pyrovae import datasets
        >>> likelihood_for(datasets.load("digits"))
        Choice(likelihood=DiscretizedLogistic(levels=17), reason='values are 17 levels')
        >>> likelihood_for(datasets.load("digits", binarize="dynamic")).likelihood
        Bernoulli()
    """
    if data.columns is not None:
        return Choice(likelihoods.Mixed().suited(data), "the data are a table")
    if data.binarize is not None:
        return Choice(likelihoods.Bernoulli(), "values are binarised")
    rows = data.train if isinstance(data.train, Rows) else data.validation
    x = rows.x[:LOOKED_AT]
    if bool(((x == 0) | (x == 1) | x.isnan()).all()):
        return Choice(likelihoods.Bernoulli(), "every value is 0 or 1")
    if data.levels and not data.dequantize:
        levels = likelihoods.DiscretizedLogistic(levels=data.levels)
        return Choice(levels, f"values are {data.levels} levels")
    return _of_numbers(x)


def _of_numbers(x: Tensor) -> Choice:
    missing = x.isnan()
    if bool(((x >= 0) & (x <= 1) | missing).all()):
        return Choice(likelihoods.ContinuousBernoulli(), "values are numbers from 0 to 1")
    if bool(((x >= 0) & (x == x.round()) | missing).all()):
        mean = x.double().nanmean(0)
        variance = (x - mean).square().nanmean(0)
        if bool((variance > mean).any()):
            return Choice(likelihoods.NegativeBinomial(), "values are counts that vary more than Poisson's")
        return Choice(likelihoods.Poisson(), "values are counts")
    if bool(missing.any()):
        return Choice(likelihoods.Normal("learned"), "values are real numbers, and some are missing")
    return Choice(likelihoods.Normal("learned"), "values are real numbers")


def has_missing(data: Data) -> bool:
    """Whether x has missing entries (NaN) in some part of a data set.

    Entries that a context gives, such as half an image, do not count.

    Example:
        >>> from pyrovae import datasets
        >>> has_missing(datasets.load("digits"))
        False
    """
    parts = (data.train, data.validation, data.test)
    missing = [part.x.isnan() for part in parts if isinstance(part, Rows)]
    if data.given is not None:
        missing = [part & ~data.given.to(part.device) for part in missing]
    return any(bool(part.any()) for part in missing)


def loaded(data: object) -> Data:
    """The data set.

    Raises:
        InputError: for rows that were not loaded.
    """
    if not isinstance(data, Data):
        raise InputError(
            f"a VAE is suited to a data set, not to {type(data).__name__}: give pyrovae.datasets.load(rows)"
        )
    return data


def filling_for(data: Data) -> Literal["zeros", "flags"]:
    """What the encoder reads for missing entries: flags if the data have some, else zeros.

    A table needs no flags, since `Mixed` has its own.
    """
    return "flags" if data.columns is None and has_missing(data) else "zeros"


def networks_for(event_shape: tuple[int, ...]) -> tuple[networks.Network, networks.Network]:
    """The encoder and the decoder that suit the shape of an observation.

    Example:
        >>> networks_for((1, 28, 28))
        (Gated(300, 300), Gated(300, 300))
        >>> networks_for((9,))[0]
        MLP(300, 300, activation='silu')
    """
    is_image = len(event_shape) == 3 and min(event_shape[1:]) >= 8
    if is_image and (event_shape[0] > 1 or math.prod(event_shape) > DENSE):
        return networks.ConvEncoder(activation="silu"), networks.ConvDecoder(activation="silu")
    if is_image:
        return networks.Gated(), networks.Gated()
    return networks.MLP(300, 300, activation="silu"), networks.MLP(300, 300, activation="silu")


def latent_dim_for(event_shape: tuple[int, ...]) -> int:
    """The number of latents: half the number of elements, between 2 and 32.

    Example:
        >>> latent_dim_for((1, 28, 28)), latent_dim_for((9,))
        (32, 4)
    """
    return max(2, min(LATENTS, math.prod(event_shape) // 2))
