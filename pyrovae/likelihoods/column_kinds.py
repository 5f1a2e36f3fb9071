r"""The kinds of columns of a table, for `Mixed`.

kind                           likelihood     the encoder reads      in units of the data
normal, laplace, studentt      of this name   x                      m + s u
lognormal                      of this name   log x                  exp(m + s u)
poisson, negativebinomial,     of this name   log(1 + x)             mean multiplied by s
  zeroinflatednegativebinomial
bernoulli                      of this name   x                      as it is
categorical:N                  codes          one-hot vectors        as it is
ordinal:K                      codes          the code, as a number  as it is

In an ordinal column, learned cutpoints divide the real line into the classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from pyrovae.distributions import Levels, LogRescaled, Rescaled, ZeroInflated
from pyrovae.errors import InputError
from pyrovae.likelihoods.base import Likelihood, Shape
from pyrovae.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from pyrovae.likelihoods.levels import Categorical
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
        has_units: whether values are scaled by the location and spread of the training data.
    """

    has_units = False

    def __init__(self, likelihood: Callable[[], Likelihood], levels: int = 0) -> None:
        self.likelihood, self.levels = likelihood, levels

    def read(self, x: Tensor) -> Tensor:
        """Transform values to a scale without long tails."""
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


class _Ordinal(Likelihood):
    r"""Ordered classes of each element, \(P(x_i \le k | z) = \mathrm{sigmoid}(c_{ik} - \eta_i)\).

    The decoder gives one location \(\eta_i\) for each element; the K - 1 cutpoints \(c_{i0} <
    c_{i1} < ...\) are learned parameters of the element. A higher location moves probability to
    higher classes. Values are 0 .. K - 1.

    Arguments:
        classes: the number K of classes, 2 or more.

    Raises:
        InputError: for fewer than two classes.

    Reference:
        McCullagh (1980), "Regression models for ordinal data".

    Example:
        >>> likelihood = _Ordinal(classes=4)
        >>> likelihood.attach((1,))
        >>> p = likelihood(loc=torch.zeros(5, 1))
        >>> p.log_prob(torch.full((5, 1), 3.0)).exp()
        tensor([0.2500, 0.2500, 0.2500, 0.2500, 0.2500], grad_fn=<ExpBackward0>)
    """

    elementwise = ("loc",)

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.classes = classes

    @property
    def advice(self) -> str:  # type: ignore[override]
        """What to do about values outside the support."""
        return f"every value must be a whole number from 0 to {self.classes - 1}: number the classes so"

    def attach(self, event_shape: Shape) -> None:
        super().attach(event_shape)
        self.check_whole("classes", least=2)
        count = self.classes
        even = torch.tensor([math.log(k / (count - k)) for k in range(1, count)])  # equal shares at 0
        first, steps = even[:1], even.diff()
        raw = torch.cat([first, steps.expm1().log()]) if count > 2 else first
        shape = (count - 1, *self.event_shape)
        self.raw_cutpoints = nn.Parameter(raw.view(-1, *(1 for _ in self.event_shape)).expand(shape).clone())

    @property
    def cutpoints(self) -> Tensor:
        """The cutpoints of each element, ascending, (K - 1, *event)."""
        return torch.cat([self.raw_cutpoints[:1], softplus(self.raw_cutpoints[1:])]).cumsum(0)

    def forward(self, loc: Tensor) -> dist.TorchDistribution:
        cuts = self.cutpoints.movedim(0, -1) - loc.unsqueeze(-1)
        return self.over_event(Levels(_log_probs(cuts), grey=False))


def _log_probs(cuts: Tensor) -> Tensor:
    r"""Log-probabilities of the K intervals between cuts (*, K - 1) of a logistic variable, (*, K).

    Nothing cancels in sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)).
    """
    below, above = cuts[..., :-1], cuts[..., 1:]
    between = logsigmoid(above) + logsigmoid(-below) + torch.log(-torch.expm1(below - above))
    return torch.cat([logsigmoid(cuts[..., :1]), between, logsigmoid(-cuts[..., -1:])], -1)


class Ordered(ColumnKind):
    """Ordered codes, which the encoder reads as standardised numbers."""

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
