r"""Counts of the entries of an event, given their total.

    log p(x | n) = log n! - sum_i log x_i! + sum_i x_i log p_i          n = sum_i x_i
                 = log_root(n) - sum_i [log_root(x_i) + deviance(x_i, n p_i)]

The second line (see `saddle`) has no difference of large numbers.
torch's distribution has one total for the whole batch. Here every row has its own total, the sum of
its counts, and a total has to be given for samples only.
"""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from pyrovae.distributions.composed import alike
from pyrovae.distributions.saddle import log1p_excess, log_root

__all__ = ["Multinomial"]

TINY = 1e-20


class _Counts(constraints.Constraint):
    """Whole numbers of 0 or more, with any sum or a fixed one."""

    is_discrete = True

    def __init__(self, event_dim: int, total: int | None) -> None:
        self.total = total
        self.event_dim = event_dim
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each event consists of counts."""
        right = ((value >= 0) & (value % 1 == 0)).flatten(-self.event_dim).all(-1)
        return right if self.total is None else right & (value.flatten(-self.event_dim).sum(-1) == self.total)


class Multinomial(dist.TorchDistribution):
    """Counts over the entries of an event, given their total.

    Arguments:
        logits: (*, *event).
        event_dim: the number of dimensions of an event.
        drawn: the total of samples, (), a whole number.
        total: the total that every row must have, or None.

    Example:
        >>> counts = Multinomial(torch.zeros(2), 1, torch.tensor(3.0))
        >>> counts.log_prob(torch.tensor([1.0, 1.0])).exp(), counts.sample().sum()
        (tensor(0.5000), tensor(3.))
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(
        self,
        logits: Tensor,
        event_dim: int,
        drawn: Tensor,
        total: int | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.logits, self.drawn, self.total = logits, drawn, total
        cut = logits.dim() - event_dim
        super().__init__(logits.shape[:cut], logits.shape[cut:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> constraints.Constraint:
        """Counts, with the total if it is given."""
        return _Counts(len(self.event_shape), self.total)

    @property
    def probs(self) -> Tensor:
        """The share of each entry, (*, *event)."""
        return self._log_shares(self.logits).exp()

    @property
    def mean(self) -> Tensor:
        """The mean of samples."""
        return self.drawn * self.probs

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value given its total), (*), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        dims, dtype = tuple(range(-len(self.event_shape), 0)), self.logits.dtype
        # x - n p is small next to both, so shares in float32 would limit it to five digits.
        counts, log_shares = value.double(), self._log_shares(self.logits.double())
        total, is_positive = counts.sum(dims, keepdim=True), value > 0
        in_double = total * log_shares.exp()
        apart = (in_double - counts).to(dtype)
        expected, x, n = (t.to(dtype) for t in (in_double, counts.clamp(min=0.5), total.clamp(min=0.5)))
        # The logarithm of a share that is too small for a number is known.
        is_tiny = expected < TINY
        log_ratio = torch.where(
            is_tiny,
            log_shares.to(dtype) + n.log() - x.log(),
            (torch.where(is_tiny, 1.0, expected) / x).log(),
        )
        of_x = x * log1p_excess(apart / x, log_ratio) + log_root(x)
        each = torch.where(is_positive, of_x, expected).sum(dims)
        return torch.where(total > 0, log_root(n), 0.0).sum(dims) - each

    @torch.no_grad()
    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Samples with the total `drawn`."""
        shape = self._extended_shape(sample_shape)
        shares = self.probs.expand(shape).reshape(-1, math.prod(self.event_shape))
        words = torch.multinomial(shares, int(self.drawn), replacement=True)
        return (
            torch.zeros_like(shares)
            .scatter_add_(1, words, torch.ones_like(shares[:, :1]).expand(words.shape))
            .reshape(shape)
        )

    def expand(self, batch_shape: _size, _instance: Any = None) -> Multinomial:  # noqa: ANN401
        logits, dims = self.logits.expand(torch.Size(batch_shape) + self.event_shape), len(self.event_shape)
        return alike(Multinomial(logits, dims, self.drawn, self.total, validate_args=False), self)

    def _log_shares(self, logits: Tensor) -> Tensor:
        return logits.flatten(-len(self.event_shape)).log_softmax(-1).reshape(logits.shape)
