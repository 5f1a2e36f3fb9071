r"""The kinds of columns of a table, for `Mixed`.

kind                           likelihood     the encoder reads      in units of the data
normal, laplace, studentt      of this name   x                      m + s u
lognormal                      of this name   log x                  exp(m + s u)
poisson, negativebinomial,     of this name   log(1 + x)             a mean that is s times as large
  zeroinflatednegativebinomial
bernoulli                      of this name   x                      as it is
categorical:N                  codes          one-hot vectors        as it is
ordinal:K                      codes          the code, as a number  as it is
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.distributions import LogRescaled, Rescaled, ZeroInflated
from pyrovae.errors import InputError
from pyrovae.likelihoods.base import Likelihood
from pyrovae.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from pyrovae.likelihoods.levels import Categorical
from pyrovae.likelihoods.ordinal import _Ordinal
from pyrovae.likelihoods.real import Laplace, LogNormal, Normal, StudentT
from pyrovae.likelihoods.unit import Bernoulli

__all__ = ["ColumnKind", "kind_of"]

Moments = tuple[Tensor, Tensor]


class ColumnKind:
    """A kind of column whose values are not transformed, such as 0 and 1.

    Arguments:
        likelihood: returns the likelihood of the columns.
        levels: the number of codes of a column, 0 if its values are numbers.

    Attributes:
        has_units: whether it is scaled by the location and spread of the training data.
    """

    has_units = False

    def __init__(self, likelihood: Callable[[], Likelihood], levels: int = 0) -> None:
        self.likelihood, self.levels = likelihood, levels

    def read(self, x: Tensor) -> Tensor:
        """Transform values to a scale on which they are spread evenly."""
        return x

    def fill(self, shift: Tensor) -> Tensor:
        """Values inside the support and close to the data, to replace missing ones."""
        return torch.ones_like(shift)

    def units(self, read: Moments, plain: Moments) -> Moments:
        """The units of the distribution, from moments of transformed and plain values."""
        return read

    def in_units(self, p: Any, shift: Tensor, spread: Tensor) -> dist.TorchDistribution:  # noqa: ANN401
        """Convert the distribution to the units of the table."""
        return p


class Real(ColumnKind):
    """Numbers with a location and a scale."""

    has_units = True

    def fill(self, shift: Tensor) -> Tensor:
        return shift

    def in_units(self, p: Any, shift: Tensor, spread: Tensor) -> dist.TorchDistribution:  # noqa: ANN401
        return Rescaled(p, shift, spread)


class Positive(Real):
    """Numbers above 0 whose logarithms have a location and a scale."""

    def read(self, x: Tensor) -> Tensor:
        return x.log()

    def fill(self, shift: Tensor) -> Tensor:
        return shift.exp()

    def in_units(self, p: Any, shift: Tensor, spread: Tensor) -> dist.TorchDistribution:  # noqa: ANN401
        return LogRescaled(p, shift, spread)


class Count(ColumnKind):
    """Counts, with their mean in units of the training data's mean."""

    has_units = True

    def read(self, x: Tensor) -> Tensor:
        return x.log1p()

    def units(self, read: Moments, plain: Moments) -> Moments:
        return torch.zeros_like(read[0]), plain[0].clamp(min=0.1)

    def in_units(self, p: Any, shift: Tensor, spread: Tensor) -> dist.TorchDistribution:  # noqa: ANN401
        if isinstance(p, ZeroInflated):
            return ZeroInflated(self.in_units(p.base_dist, shift, spread), gate_logits=p.gate_logits)
        return p.scaled(spread)


class Ordered(ColumnKind):
    """Codes in an order, which the encoder reads as standardised numbers."""

    has_units = True


_KINDS = {
    "normal": Real(lambda: Normal("predicted").without_units()),
    "laplace": Real(lambda: Laplace("predicted").without_units()),
    "studentt": Real(lambda: StudentT("learned", "predicted").without_units()),
    "lognormal": Positive(lambda: LogNormal("predicted").without_units()),
    "poisson": Count(Poisson),
    "negativebinomial": Count(NegativeBinomial),
    "zeroinflatednegativebinomial": Count(ZeroInflatedNegativeBinomial),
    "bernoulli": ColumnKind(Bernoulli),
}


def kind_of(word: str) -> ColumnKind:
    """The kind of a column named "normal", ..., "categorical:5" or "ordinal:5".

    Raises:
        InputError: for an unknown word.
    """
    name, _, count = word.partition(":")
    if name == "categorical" and count.isdecimal() and int(count) >= 2:
        return ColumnKind(lambda: Categorical(int(count), grey=False), levels=int(count))
    if name == "ordinal" and count.isdecimal() and int(count) >= 2:
        return Ordered(lambda: _Ordinal(int(count)))
    if word not in _KINDS:
        raise InputError(
            f"Mixed knows no columns of kind {word!r}: use one of {', '.join(_KINDS)}, categorical:N or "
            "ordinal:N, with N classes, 2 or more"
        )
    return _KINDS[word]
