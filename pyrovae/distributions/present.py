r"""Independent elements of an event, some of which may be missing (NaN).

    log p(x) = sum over the present elements i of log p_i(x_i)

The missing elements integrate to 1, so this is the log-density of the present ones. A missing
element is replaced before its density is computed, because NaN times zero is NaN, in a gradient
too.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from pyrovae.distributions.composed import alike

__all__ = ["Elements"]


class _OrMissing(constraints.Constraint):
    """Values in the support of one element, or missing."""

    def __init__(self, support: constraints.Constraint) -> None:
        self.support = support
        self.is_discrete, self.event_dim = support.is_discrete, support.event_dim
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each value is in the support, or missing."""
        return value.isnan() | self.support.check(value)


class Elements(dist.Independent):
    """Independent elements as one event; NaN is a missing element, with log-density 0.

    Arguments:
        base: the distribution of each element, batch (*, *event).
        event_dim: the number of dimensions of the event.
        fill: a value inside the support, which replaces missing elements; a number, or a tensor
            that broadcasts to the event.

    Example:
        >>> x = Elements(dist.Normal(torch.zeros(2), 1.0), 1, 0.0)
        >>> x.log_prob(torch.tensor([0.0, torch.nan])), x.log_prob(torch.full((2,), torch.nan))
        (tensor(-0.9189), tensor(0.))
    """

    def __init__(
        self,
        base: dist.TorchDistribution,
        event_dim: int,
        fill: float | Tensor,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.fill = fill
        super().__init__(base, event_dim, validate_args=validate_args)

    @constraints.dependent_property  # type: ignore[misc]
    def support(self) -> constraints.Constraint | None:
        """The support of the elements, and NaN."""
        support = self.base_dist.support
        if support is None:
            return None
        dims = self.reinterpreted_batch_ndims
        return constraints.independent(_OrMissing(support), dims) if dims else _OrMissing(support)

    def log_prob(self, value: Tensor) -> Tensor:
        """The sum of log p(value) over the present elements, in nats."""
        missing = torch.ne(value, value)  # NaN; compiled code does not vectorise isnan
        fill = self.fill.to(value.dtype) if isinstance(self.fill, Tensor) else self.fill
        log_p = self.base_dist.log_prob(torch.where(missing, fill, value))
        log_p = torch.where(missing, log_p.new_zeros(()), log_p)
        dims = self.reinterpreted_batch_ndims
        return log_p.flatten(-dims).sum(-1) if dims else log_p

    def expand(self, batch_shape: _size, _instance: Any = None) -> Elements:  # noqa: ANN401
        dims = self.reinterpreted_batch_ndims
        base = self.base_dist.expand(torch.Size(batch_shape) + self.event_shape[:dims])
        return alike(Elements(base, dims, self.fill, validate_args=False), self)
