r"""The two families of elementwise distributions that measurements keep in closed form.

    normal    x_i ~ N(m_i, s_i^2)
    finite    P(x_i = v_k) = softmax(l_i)_k          binary values and levels

A measurement of a normal x is normal, and of a finite x finite or a mixture of normals. Every other
distribution of x is sampled.
"""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import softplus
from torch.types import _size

from pyrovae.distributions import Bernoulli, Levels, Rescaled
from pyrovae.distributions.composed import Composed, Draw, alike, draw_index, every
from pyrovae.distributions.rescaled import LogRescaled
from pyrovae.measurements.pooling import Pooled

__all__ = ["Finite", "NoisyBits", "Smeared", "as_finite", "as_normal", "elements_of", "expanded"]

MOST = 300  # the largest number of values of a mean of finite elements
NEAR = 0.01  # the largest distance of a value from the support, in units of its smallest step


class _Values(constraints.Constraint):
    """Some numbers, up to rounding."""

    is_discrete = True

    def __init__(self, values: Tensor) -> None:
        self.values = values
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each value is one of the numbers."""
        order = self.values.to(value).sort().values
        step = order.diff().min() if len(order) > 1 else order.new_ones(())
        return (value.unsqueeze(-1) - order).abs().amin(-1) < NEAR * step


class Finite(Composed):
    """A distribution over a few numbers.

    Arguments:
        values: the numbers, (V,).
        logits: their unnormalised log-probabilities, (*, V).

    Example:
        >>> p = Finite(torch.tensor([0.0, 0.5, 1.0]), torch.zeros(3))
        >>> p.mean, p.log_prob(torch.tensor(0.5)).exp()
        (tensor(0.5000), tensor(0.3333))
    """

    has_rsample = False
    has_enumerate_support = True

    def __init__(self, values: Tensor, logits: Tensor) -> None:
        self.values, self.logits = values, logits.log_softmax(-1)
        super().__init__(logits.shape[:-1], validate_args=False)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The numbers."""
        return _Values(self.values)

    @property
    def mean(self) -> Tensor:
        """The mean, (*)."""
        return (self.logits.exp() * self.values).sum(-1)

    @property
    def variance(self) -> Tensor:
        """The variance, (*)."""
        away = self.values - self.mean.unsqueeze(-1)
        return (self.logits.exp() * away.square()).sum(-1)

    def index(self, value: Tensor) -> Tensor:
        """The position of the nearest number."""
        return (value.unsqueeze(-1) - self.values.to(value)).abs().argmin(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), elementwise, in nats."""
        at, logits = torch.broadcast_tensors(self.index(value).unsqueeze(-1), self.logits)
        return logits.gather(-1, at[..., :1]).squeeze(-1)

    def compose(self, draw: Draw) -> Tensor:
        """One number for each entry of the batch."""
        return self.values[draw_index(draw, self.logits)]

    def enumerate_support(self, expand: bool = True) -> Tensor:  # noqa: FBT001, FBT002
        """The numbers, (V, 1 ...), or expanded to the batch shape."""
        return every(self.values, self.batch_shape, expand=expand)

    def expand(self, batch_shape: _size, _instance: Any = None) -> Finite:  # noqa: ANN401
        return alike(Finite(self.values, self.logits.expand(*batch_shape, -1)), self)


class Smeared(Composed):
    r"""A number of a `Finite` plus normal noise, \(p(y) = \sum_k P(v_k) \mathcal N(y; v_k, sd^2)\).

    Arguments:
        base: the distribution of the number, batch (*).
        sd: the standard deviation of the noise.

    Example:
        >>> p = Smeared(Finite(torch.tensor([0.0, 1.0]), torch.zeros(2)), torch.tensor(1.0))
        >>> p.log_prob(torch.tensor(0.5)).exp()
        tensor(0.3521)
    """

    has_rsample = False
    support: constraints.Constraint = constraints.real

    def __init__(self, base: Finite, sd: Tensor) -> None:
        self.base, self.sd = base, sd
        super().__init__(base.batch_shape, validate_args=False)

    def log_each(self, value: Tensor) -> Tensor:
        """log P(v_k) + log N(value; v_k, sd^2), (*, V)."""
        t = (value.unsqueeze(-1) - self.base.values) / self.sd
        return self.base.logits - 0.5 * t.square() - self.sd.log() - 0.5 * math.log(2 * math.pi)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), elementwise, in nats."""
        return self.log_each(value.to(self.base.logits.dtype)).logsumexp(-1)

    def posterior(self, value: Tensor) -> Finite:
        """The distribution of the number given the noisy value."""
        return Finite(self.base.values, self.log_each(value.to(self.base.logits.dtype)))

    def compose(self, draw: Draw) -> Tensor:
        """One noisy number for each entry of the batch."""
        x = self.base.compose(draw)
        return draw(dist.Normal(x, self.sd.expand(x.shape)))

    def expand(self, batch_shape: _size, _instance: Any = None) -> Smeared:  # noqa: ANN401
        return alike(Smeared(self.base.expand(batch_shape), self.sd), self)


class NoisyBits(Composed):
    r"""A binary value plus normal noise.

    With the bit k that is nearer to y, the other bit 1 - k, and
    \(t = (2 k - 1) (l + (y - 1/2) / sd^2)\), the log-odds of k given y,

    \[\log p(y) = \log P(k) + \log \mathcal N(y; k, sd^2) + \mathrm{softplus}(-t)\]

    where \(-\log P(k) = \mathrm{softplus}(-(2 k - 1) l)\).

    Arguments:
        logits: l, the log-odds of a 1, (*).
        sd: the standard deviation of the noise.

    Example:
        >>> NoisyBits(torch.zeros(1), 1.0).log_prob(torch.tensor(0.5)).exp()
        tensor([0.3521])
    """

    has_rsample = False
    support: constraints.Constraint = constraints.real

    def __init__(self, logits: Tensor, sd: float) -> None:
        self.logits, self.sd = logits, sd
        super().__init__(logits.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), elementwise, in nats."""
        value = value.to(self.logits.dtype)
        near = (value > 0.5).to(value)
        sign = 2 * near - 1
        other = softplus(-sign * (self.logits + (value - 0.5) / self.sd**2))
        constant = math.log(self.sd) + 0.5 * math.log(2 * math.pi)
        away = (value - near) / self.sd
        return other - softplus(-sign * self.logits) - 0.5 * away.square() - constant

    def posterior(self, value: Tensor) -> Bernoulli:
        """The distribution of the bit given the noisy value."""
        return Bernoulli(logits=self.logits + (value.to(self.logits.dtype) - 0.5) / self.sd**2)

    def compose(self, draw: Draw) -> Tensor:
        """One noisy bit for each entry of the batch."""
        x = draw(Bernoulli(logits=self.logits))
        return draw(dist.Normal(x, torch.full_like(x, self.sd)))

    def expand(self, batch_shape: _size, _instance: Any = None) -> NoisyBits:  # noqa: ANN401
        return alike(NoisyBits(self.logits.expand(batch_shape), self.sd), self)


def elements_of(p: Any) -> tuple[Any, int]:  # noqa: ANN401
    """The distribution of the elements of an event, (*, *event), and the number of its dimensions.

    A distribution of coupled elements is returned as it is, with 0 for the number.
    """
    if isinstance(p, torch.distributions.Independent):
        inner, dims = elements_of(p.base_dist)
        return inner, dims + p.reinterpreted_batch_ndims
    return p, 0


def expanded(p: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Location and scale of a normal distribution in its batch shape."""
    return p.loc.expand(p.batch_shape), p.scale.expand(p.batch_shape)


def as_normal(p: Any) -> Any:  # noqa: ANN401
    """An elementwise distribution as a normal one, or None if it is not."""
    if isinstance(p, Rescaled) and not isinstance(p, LogRescaled) and isinstance(p.base, dist.Normal):
        loc, scale = p.loc, p.scale
        return dist.Normal(loc, scale.to(loc), validate_args=False)
    return p if isinstance(p, dist.Normal) else None


def as_finite(p: Any) -> Finite | None:  # noqa: ANN401
    """An elementwise distribution over a few numbers as a `Finite`, or None if it is not."""
    if isinstance(p, Finite):
        return p
    if isinstance(p, dist.Bernoulli):
        logits = p.logits.expand(p.batch_shape)
        return Finite(logits.new_tensor([0.0, 1.0]), torch.stack([torch.zeros_like(logits), logits], -1))
    if isinstance(p, Pooled):
        return Finite(*p.table()) if p.values <= MOST else None
    if not getattr(p, "has_enumerate_support", False) or (isinstance(p, Levels) and not p.grey):
        return None
    values = p.enumerate_support(expand=False)
    logits = torch.stack([p.log_prob(value) for value in values], -1)
    return Finite(values.flatten(), logits.expand(*p.batch_shape, -1))
