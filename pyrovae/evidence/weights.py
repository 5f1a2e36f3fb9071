r"""Sums of importance weights that stream: memory does not grow with the number of particles.

For each datum, from log w_1 .. log w_K in any number of pieces:

    log p(x)  ~  log S1 - log K,            S1 = sum w,  S2 = sum w^2
    ess        = S1^2 / S2                  (Kong, 1992)
    mc_stderr  = sqrt(K/(K-1) (1/ess - 1/K))   the relative error of the mean weight, which is the error
                                              of its logarithm to first order (delta method)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["WeightSums"]


class WeightSums:
    """Running log-sums of the weights of B data, in float64."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self.particles = 0
        self.log_s1 = torch.full((rows,), -math.inf, dtype=torch.float64, device=device)
        self.log_s2 = self.log_s1.clone()

    def add(self, log_w: Tensor) -> None:
        """Add weights of shape (K, B)."""
        log_w = log_w.double()
        self.particles += len(log_w)
        self.log_s1 = torch.logaddexp(self.log_s1, torch.logsumexp(log_w, 0))
        self.log_s2 = torch.logaddexp(self.log_s2, torch.logsumexp(2 * log_w, 0))

    @property
    def log_px(self) -> Tensor:
        """The estimate of log p(x) for each datum, (B,)."""
        return self.log_s1 - math.log(self.particles)

    @property
    def ess(self) -> Tensor:
        """The effective sample size, between 1 and K, (B,)."""
        return torch.exp(2 * self.log_s1 - self.log_s2)

    @property
    def mc_stderr(self) -> Tensor:
        """The Monte Carlo standard error of `log_px`; nan for one particle, which tells nothing of it."""
        if self.particles < 2:
            return torch.full_like(self.log_s1, math.nan)
        k = self.particles
        return ((1 / self.ess - 1 / k).clamp(min=0) * k / (k - 1)).sqrt()
