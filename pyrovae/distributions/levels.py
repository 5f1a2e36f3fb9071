r"""A categorical distribution whose outcomes are numbers on a grid.

    x = k / top,   P(x) = softmax(l)_k         k = 0 .. n - 1

With top = n - 1 these are the grey levels of an image between 0 and 1; with top = 1 the codes of n classes.
Data are floating point numbers here, so a value lies on the grid when it does up to rounding.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from pyrovae.distributions.composed import every

__all__ = ["Grid", "Levels"]

# In steps of the grid; 65,536 levels in float32 are exact to 0.004.
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
    """A categorical distribution over k / top, from logits (*, n); numbers where they are `grey`, else codes.

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
        """The mean of the grid's numbers; the codes of classes have none."""
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
        """The grid, (n, 1 ...), or with the batch behind it."""
        return every(self._values(), self.batch_shape, expand=expand)

    def expand(self, batch_shape: _size, _instance: Any = None) -> Levels:  # noqa: ANN401
        new = self._get_checked_instance(Levels, _instance)
        new.top, new.grey = self.top, self.grey
        return super().expand(batch_shape, new)

    def _values(self) -> Tensor:
        count = self._num_events
        return torch.arange(count, dtype=self.logits.dtype, device=self.logits.device) / self.top
