r"""Distributions of counts, accurate to rounding for counts of any size (see `saddle`).

    Poisson            log p = -(log_root(x) + deviance(x, m))
    NegativeBinomial   log p = (log(r / (n x)) - log 2 pi) / 2 + delta(n) - delta(r) - delta(x)
                               - r e(t) - x e(s)
                       with n = r + x, t = (x - m) / (r + m) and s = -r t / x

Values may be in float64 when the parameters are in float32. All digits of the values are used, and
the result has the type of the parameters.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.types import _size

from pyrovae.distributions.saddle import (
    HALF_LOG_2PI,
    log1p_excess,
    log_root,
    poisson_deviance,
    stirling_error,
)

__all__ = ["NegativeBinomial", "Poisson"]


class Poisson(dist.Poisson):
    """Counts with mean and variance m.

    Example:
        >>> Poisson(torch.tensor(1e8)).log_prob(torch.tensor(1e8))
        tensor(-10.1293)
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), elementwise, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        is_positive, x = value > 0, value.clamp(min=0.5)
        log_p = -poisson_deviance(x, self.rate) - log_root(x)
        return torch.where(is_positive, log_p, -self.rate).to(self.rate.dtype)

    def scaled(self, factor: Tensor) -> Poisson:
        """The distribution with a mean that is `factor` times as large."""
        return Poisson((factor * self.rate).to(self.rate.dtype))

    def expand(self, batch_shape: _size, _instance: Any = None) -> Poisson:  # noqa: ANN401
        return super().expand(batch_shape, self._get_checked_instance(Poisson, _instance))


class NegativeBinomial(dist.NegativeBinomial):
    """Counts with mean m and variance m + m^2 / r.

    Arguments:
        total_count: r, (*).
        average: m, (*).

    Example:
        >>> counts = NegativeBinomial(torch.tensor(1.0), torch.tensor(1e8))
        >>> counts.log_prob(torch.tensor(1.1e8))
        tensor(-19.5207)
    """

    def __init__(self, total_count: Tensor, average: Tensor, *, validate_args: bool | None = None) -> None:
        self.average = average
        super().__init__(total_count, logits=average.log() - total_count.log(), validate_args=validate_args)
        self.average = average.expand(self.batch_shape)

    @property
    def mean(self) -> Tensor:
        """The mean m."""
        return self.average

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), elementwise, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        r, m = self.total_count, self.average
        is_positive, x = value > 0, value.clamp(min=0.5)
        n, both = r + x, r + m
        t, ratio = (x - m) / both, n / both
        of_r = r * log1p_excess(t, ratio.log())
        of_x = x * log1p_excess(-r * t / x, (ratio * (m / x)).log())
        errors = stirling_error(n) - stirling_error(r) - stirling_error(x)
        log_p = 0.5 * (r / n / x).log() - HALF_LOG_2PI + errors - of_r - of_x
        return torch.where(is_positive, log_p, -r * (m / r).log1p()).to(m.dtype)

    def scaled(self, factor: Tensor) -> NegativeBinomial:
        """The distribution with a mean that is `factor` times as large, and the same r."""
        return NegativeBinomial(self.total_count, (factor * self.average).to(self.average.dtype))

    def expand(self, batch_shape: _size, _instance: Any = None) -> NegativeBinomial:  # noqa: ANN401
        new = self._get_checked_instance(NegativeBinomial, _instance)
        new.average = self.average.expand(batch_shape)
        return super().expand(batch_shape, new)
