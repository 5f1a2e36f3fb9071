r"""The continuous Bernoulli distribution on [0, 1], from its logit l, for logits of any size.

    p(x) = exp(l x - phi(l)),    phi(l) = log((exp(l) - 1) / l)

A normalising constant computed from the probability sigmoid(l) loses all digits where sigmoid(l) is
rounded to 1, beyond |l| = 16 in single precision. The formulas here need no exponential of a large
number. With a = |l|, and y = 1 - x if l > 0 and y = x otherwise:

    near 0         log p = l (x - 1/2) - g(l),    g(l) = log(sinh(l / 2) / (l / 2)), by its series
    elsewhere      log p = -a y + log a - log(1 - exp(-a))

y is the distance from the end at which the density is highest. It has an exponential distribution
truncated at 1, from which samples, means and the distribution function follow.

Reference:
    Loaiza-Ganem & Cunningham (2019), "The continuous Bernoulli".
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

__all__ = ["ContinuousBernoulli"]

# Below this |l| the series are used; the closed forms subtract nearly equal numbers there.
NEAR = 1.0
# The branches overlap, since the gradient of clamp is also 0 at the limit.
NEAR_END, FAR_START = 1.5, 0.5
# The series of g: B_2k / (2k (2k)!) for k = 1, 2, ..., with Bernoulli numbers B_2k. Each term
# is at least 39 times smaller than the last, so ten suffice in float64 and five in float32.
_BERNOULLI = (
    1 / 6,
    -1 / 30,
    1 / 42,
    -1 / 30,
    5 / 66,
    -691 / 2730,
    7 / 6,
    -3617 / 510,
    43867 / 798,
    -174611 / 330,
)
_SERIES = tuple(b / (2 * k * math.factorial(2 * k)) for k, b in enumerate(_BERNOULLI, 1))
_SLOPES = tuple(2 * k * c for k, c in enumerate(_SERIES, 1))
_CURVATURES = tuple((2 * k - 1) * c for k, c in enumerate(_SLOPES, 1))
TERMS = {torch.float64: 10}
FEWER_TERMS = 5
LEAST = 1e-20  # a logit this small gives the uniform distribution


class ContinuousBernoulli(TorchDistribution):
    r"""The continuous Bernoulli, \(p(x) \propto e^{l x}\) on [0, 1].

    Arguments:
        logits: l, (*).

    Example:
        >>> grey = ContinuousBernoulli(torch.tensor([0.0, 1e4]))
        >>> grey.log_prob(torch.ones(2)), grey.mean
        (tensor([0.0000, 9.2103]), tensor([0.5000, 0.9999]))
    """

    arg_constraints = {"logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, logits: Tensor, *, validate_args: bool | None = None) -> None:
        self.logits = torch.as_tensor(logits)
        super().__init__(self.logits.shape, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), elementwise, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        value = value.to(self.logits.dtype)
        near, far, size = self._near_and_far()
        of_near = near * (value - 0.5) - _log_sinhc(near)
        of_far = far.log() - (-(-far).exp()).log1p() - far * self._distance(value)
        return torch.where(size < NEAR, of_near, of_far)

    def _distance(self, value: Tensor) -> Tensor:
        """Distances from the end at which the density is highest; exact at both ends."""
        return torch.where(self.logits > 0, 1 - value, value)

    @property
    def probs(self) -> Tensor:
        """sigmoid(l), the parameter lambda of the paper, (*)."""
        return torch.sigmoid(self.logits)

    @property
    def mean(self) -> Tensor:
        """The mean, 1 / (1 - exp(-l)) - 1 / l."""
        near, far, size = self._near_and_far()
        of_y = far.reciprocal() - far.expm1().reciprocal()
        of_far = torch.where(self.logits > 0, 1 - of_y, of_y)
        return torch.where(size < NEAR, 0.5 + near * _even(near, _SLOPES), of_far)

    @property
    def variance(self) -> Tensor:
        """The variance, 1 / l^2 - 1 / (4 sinh(l / 2)^2)."""
        near, far, size = self._near_and_far()
        of_far = far.square().reciprocal() - (-far).exp() / (-far).expm1().square()
        return torch.where(size < NEAR, _even(near, _CURVATURES), of_far)

    def entropy(self) -> Tensor:
        """The differential entropy, phi(l) - l E[x], in nats; 0 for l = 0, else negative."""
        near, far, size = self._near_and_far()
        of_near = _log_sinhc(near) - near.square() * _even(near, _SLOPES)
        of_far = 1 - far / far.expm1() + (-(-far).exp()).log1p() - far.log()
        return torch.where(size < NEAR, of_near, of_far)

    def cdf(self, value: Tensor) -> Tensor:
        """P(x <= value), elementwise; 0 below 0 and 1 above 1."""
        if self._validate_args:
            self._validate_sample(value)
        x = value.to(self.logits.dtype).clamp(0, 1)
        near, far, size = self._near_and_far()
        of_near = x * ((near * x - near) / 2 + _log_sinhc(near * x) - _log_sinhc(near)).exp()
        cut = (-far).expm1()
        of_far = torch.where(
            self.logits > 0, (-far * (1 - x)).exp() * (-far * x).expm1() / cut, (-far * x).expm1() / cut
        )
        return torch.where(size < NEAR, of_near, of_far)

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of `cdf`, elementwise."""
        rises, a = self.logits > 0, self.logits.abs().clamp(min=LEAST)
        u, rest = value.to(a.dtype), 1 - value.to(a.dtype)
        v, w = torch.where(rises, rest, u), torch.where(rises, u, rest)  # of y, and 1 - v
        below = v * (-a).expm1()
        # The first form loses digits where `below` is near -1, the second where it is near 0.
        log_left = torch.where(below > -0.5, below.log1p(), (w + v * (-a).exp()).log())
        y = (-log_left / a).clamp(0, 1)
        return torch.where(rises, 1 - y, y)

    def rsample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        r"""Reparameterised samples, with \(dx/dl = -(dF/dl) / p(x)\) at a fixed F."""
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            u = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
            x = self.icdf(u)
        if not (torch.is_grad_enabled() and self.logits.requires_grad):
            return x
        below, density = self.cdf(x), self.log_prob(x).exp().detach()
        return x - (below - below.detach()) / density

    def expand(self, batch_shape: _size, _instance: Any = None) -> ContinuousBernoulli:  # noqa: ANN401
        new = self._get_checked_instance(ContinuousBernoulli, _instance)
        new.logits = self.logits.expand(batch_shape)
        super(ContinuousBernoulli, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _near_and_far(self) -> tuple[Tensor, Tensor, Tensor]:
        """l within the range of the series, |l| beyond it, and |l|.

        The branch that is not selected stays finite, and its gradient is zero.
        """
        size = self.logits.abs()
        return self.logits.clamp(-NEAR_END, NEAR_END), size.clamp(min=FAR_START), size


def _even(l: Tensor, series: tuple[float, ...]) -> Tensor:  # noqa: E741
    """The sum of series[k] l^2k over k."""
    square, terms = l.square(), TERMS.get(l.dtype, FEWER_TERMS)
    total = square * series[terms - 1]
    for coefficient in reversed(series[1 : terms - 1]):
        total = (total + coefficient) * square
    return total + series[0]


def _log_sinhc(l: Tensor) -> Tensor:  # noqa: E741
    """g(l) = log(sinh(l / 2) / (l / 2)) for small l."""
    return l.square() * _even(l, _SERIES)
