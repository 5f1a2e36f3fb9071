r"""A normal distribution whose scale comes from the data: the root mean square of the residuals.

    sigma^2 = mean over the batch and all elements of (x - mu)^2

is the maximum of sum log N(x; mu, sigma^2) over sigma. Its own derivative vanishes there, so the gradient
of the sum for mu is that of -N log sigma whether sigma is held constant or not. Here it is, so that the
gradient of each row is that of a normal distribution.

While it is learning (and gradients are on) the rows of a batch are coupled through sigma, and a running
average of sigma^2 is updated. Everything else uses the average, with independent rows.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.types import _size

from pyrovae.numerics import SCALE_FLOOR

__all__ = ["CalibratedNormal"]

# The average is over all batches at first and over the last hundred or so later.
SHARE = 0.01


class CalibratedNormal(dist.Normal):
    """A normal distribution that computes its scale from the values whose density it is asked for.

    Arguments:
        loc: means.
        variance: the running average of sigma^2, (), changed in place while learning.
        count: the batches in it, (), changed in place while learning.
        learning: whether `log_prob` computes sigma from its values.

    Example:
        >>> variance, count = torch.tensor(1.0), torch.tensor(0.0)
        >>> normal = CalibratedNormal(torch.zeros(2), variance, count, learning=True)
        >>> log_p = normal.log_prob(torch.tensor([2.0, -2.0]))
        >>> variance
        tensor(4.)
    """

    def __init__(self, loc: Tensor, variance: Tensor, count: Tensor, *, learning: bool) -> None:
        self.running, self.count, self.learning = variance, count, learning
        super().__init__(loc, variance.sqrt())

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), elementwise, in nats."""
        if not (self.learning and torch.is_grad_enabled()):
            return super().log_prob(value)
        return dist.Normal(self.loc, self._learned(value).sqrt()).log_prob(value)

    @torch.no_grad()
    def _learned(self, value: Tensor) -> Tensor:
        variance = (value - self.loc).square().mean().clamp(min=SCALE_FLOOR**2)
        self.count.add_(1)
        share = self.count.reciprocal().clamp(min=SHARE)
        self.running.copy_(self.running + share * (variance - self.running))
        return variance

    def expand(self, batch_shape: _size, _instance: Any = None) -> CalibratedNormal:  # noqa: ANN401
        new = self._get_checked_instance(CalibratedNormal, _instance)
        new.running, new.count, new.learning = self.running, self.count, self.learning
        return super().expand(batch_shape, new)
