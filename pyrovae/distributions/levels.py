r"""Distributions whose outcomes are numbers on a grid.

    Levels                x = k / top,   P(x) = softmax(l)_k         k = 0 .. n - 1
    DiscretizedLogistic   P(v) = sum_c pi_c [F_c(v + h) - F_c(v - h)]
                          F_c(t) = sigma((t - mu_c) / s_c)

With top = n - 1 the outcomes are the grey levels of an image between 0 and 1; with top = 1 they are
the codes of n classes. Data are floating point numbers, so values are compared with the grid up to
rounding. F(v - h) = 0 at v = 0 and F(v + h) = 1 at v = 1.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid
from torch.types import _size

from pyrovae.distributions.composed import alike, every

__all__ = ["DiscretizedLogistic", "Grid", "Levels"]

# In steps of the grid; with 65,536 levels, float32 is exact to 0.004 steps.
TOLERANCE = 0.01


class Grid(constraints.Constraint):
    """The numbers k / top for k = 0 .. count - 1, up to rounding."""

    is_discrete = True

    def __init__(self, count: int, top: int) -> None:
        self.count = count
        self.top = top
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each value lies on the grid; NaN does not."""
        k = value * self.top
        return ((k - k.round()).abs() < TOLERANCE) & (k > -0.5) & (k < self.count - 0.5)


class Levels(dist.Categorical):
    """A categorical distribution over k / top from logits (*, n); `grey` levels or codes.

    Example:
        >>> levels = Levels(torch.zeros(3), top=2)
        >>> levels.enumerate_support(), levels.mean
        (tensor([0.0000, 0.5000, 1.0000]), tensor(0.5000))
        >>> levels.log_prob(torch.tensor(0.5)).exp()
        tensor(0.3333)
    """

    def __init__(
        self, logits: Tensor, top: int = 1, *, grey: bool | None = None, validate_args: bool | None = None
    ) -> None:
        self.top = top
        self.grey = top > 1 if grey is None else grey
        super().__init__(logits=logits, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The grid."""
        return Grid(self._num_events, self.top)

    @property
    def mean(self) -> Tensor:
        """The mean; the codes of classes have none."""
        if not self.grey:
            raise NotImplementedError("the codes of classes have no mean")
        return (self.probs * self._values()).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), elementwise, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        k = (value * self.top).round().long().unsqueeze(-1)
        k, logits = torch.broadcast_tensors(k, self.logits)
        return logits.gather(-1, k[..., :1]).squeeze(-1)

    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Samples as numbers in the type of the logits."""
        return super().sample(sample_shape).to(self.logits.dtype) / self.top

    def enumerate_support(self, expand: bool = True) -> Tensor:  # noqa: FBT001, FBT002
        """The grid, (n, 1 ...), or expanded to the batch shape."""
        return every(self._values(), self.batch_shape, expand=expand)

    def expand(self, batch_shape: _size, _instance: Any = None) -> Levels:  # noqa: ANN401
        new = self._get_checked_instance(Levels, _instance)
        new.top, new.grey = self.top, self.grey
        return super().expand(batch_shape, new)

    def _values(self) -> Tensor:
        count = self._num_events
        return torch.arange(count, dtype=self.logits.dtype, device=self.logits.device) / self.top


class DiscretizedLogistic(dist.TorchDistribution):
    r"""A mixture of logistic distributions, integrated over the bins of the grid k / (levels - 1).

    With \(a = (v - h - \mu) / s\) and \(b = (v + h - \mu) / s\), for bins of half width h, there is
    no cancellation in

    \[\log [\sigma(b) - \sigma(a)] = \log \sigma(b) + \log \sigma(-a) + \log(1 - e^{-(b - a)})\]

    Arguments:
        loc: locations (*, C) of C components, in units of the grid's values.
        scale: scales (*, C).
        logits: logits of the components, (*, C).
        levels: the number of grid values, 2 or more.

    Example:
        >>> grey = DiscretizedLogistic(torch.zeros(1), torch.ones(1), torch.zeros(1), levels=256)
        >>> grey.log_prob(grey.enumerate_support()).exp().sum()
        tensor(1.)
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
        "logits": constraints.real_vector,
    }
    has_enumerate_support = True

    def __init__(
        self, loc: Tensor, scale: Tensor, logits: Tensor, levels: int, *, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale, self.logits = torch.broadcast_tensors(loc, scale, logits)
        self.levels = levels
        super().__init__(self.loc.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The grid."""
        return Grid(self.levels, self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """The sum of P(x >= v) over the grid's values above 0, times its step."""
        total, weights = torch.zeros_like(self.loc[..., 0]), self.logits.softmax(-1)
        for k in range(1, self.levels):
            edge = (k - 0.5) / (self.levels - 1)
            total += (weights * torch.sigmoid((self.loc - edge) / self.scale)).sum(-1)
        return total / (self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), elementwise, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        top, half = self.levels - 1, 0.5 / (self.levels - 1)
        exact = (value.double() * top).round() / top  # in float32, k / top is rounded
        v, rest = value.unsqueeze(-1), (exact - value).to(self.loc.dtype).unsqueeze(-1)
        first, last, none = v < half, v > 1 - half, self.loc.new_zeros(())
        apart = v - self.loc  # exact where they are close, and the scale is small
        above = torch.where(first, none, logsigmoid(((half - rest) - apart) / self.scale))
        below = torch.where(last, none, logsigmoid(((half + rest) + apart) / self.scale))
        width = torch.where(first | last, none, torch.log(-torch.expm1(-2 * half / self.scale)))
        each = above + below + width
        if self.loc.shape[-1] == 1:
            return each.squeeze(-1)
        return torch.logsumexp(each + self.logits.log_softmax(-1), -1)

    @torch.no_grad()
    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Samples on the grid: a component, then a logistic number, rounded and clipped."""
        shape = self._extended_shape(sample_shape)
        component = dist.Categorical(logits=self.logits).expand(shape).sample().unsqueeze(-1)
        loc, scale = (t.expand(*shape, -1).gather(-1, component).squeeze(-1) for t in (self.loc, self.scale))
        u = torch.rand_like(loc).clamp(min=torch.finfo(loc.dtype).tiny)
        k = ((loc + scale * (u.log() - (-u).log1p())) * (self.levels - 1)).round()
        return k.clamp(0, self.levels - 1) / (self.levels - 1)

    def enumerate_support(self, expand: bool = True) -> Tensor:  # noqa: FBT001, FBT002
        """The grid, (n, 1 ...), or expanded to the batch shape."""
        values = torch.arange(self.levels, dtype=self.loc.dtype, device=self.loc.device) / (self.levels - 1)
        return every(values, self.batch_shape, expand=expand)

    def expand(self, batch_shape: _size, _instance: Any = None) -> DiscretizedLogistic:  # noqa: ANN401
        loc, scale, logits = (t.expand(*batch_shape, -1) for t in (self.loc, self.scale, self.logits))
        return alike(DiscretizedLogistic(loc, scale, logits, self.levels, validate_args=False), self)
