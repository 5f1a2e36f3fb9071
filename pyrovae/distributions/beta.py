"""The Beta distribution on the open unit interval.

At 0 or 1 its density may be infinite, so these values are outside its support; a sample that rounding moves
there is replaced by the nearest number inside.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

__all__ = ["Beta"]


class _OpenUnit(constraints.Constraint):
    """Numbers above 0 and below 1."""

    def check(self, value: Tensor) -> Tensor:
        """Whether each value lies between 0 and 1 and is neither."""
        return (value > 0) & (value < 1)


class Beta(dist.Beta):
    """The Beta distribution whose support leaves out 0 and 1.

    Example:
        >>> beta = Beta(torch.tensor(2.0), torch.tensor(1.0))
        >>> beta.log_prob(torch.tensor(0.5)), bool(beta.support.check(torch.tensor(1.0)))
        (tensor(0.), False)
    """

    support = _OpenUnit()  # type: ignore[assignment]

    def rsample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Reparameterised samples, inside the open interval."""
        x = super().rsample(sample_shape)
        info = torch.finfo(x.dtype)
        return x.clamp(info.tiny, 1 - info.eps / 2)

    def expand(self, batch_shape: _size, _instance: Any = None) -> Beta:  # noqa: ANN401
        return super().expand(batch_shape, self._get_checked_instance(Beta, _instance))
