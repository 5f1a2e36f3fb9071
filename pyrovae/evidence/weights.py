r"""Streaming sums of importance weights: memory does not grow with the number of particles.

For each row, from log w_1 .. log w_K in any number of pieces:

    log p(x)  ~  log S1 - log K,            S1 = sum w,  S2 = sum w^2
    ess        = S1^2 / S2                  (Kong, 1992)
    mc_stderr  = sqrt(K/(K-1) (1/ess - 1/K))   the relative error of the mean weight, to first order
                                              the error of its logarithm (delta method)
    khat       the index of a generalised Pareto distribution fitted to the largest weights
                                              (Vehtari et al., 2024)

Only the largest min(K/5, 3 sqrt K) weights are stored, which are enough for k-hat and the smoothed
estimate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrovae.evidence.pareto import smoothed_tail, tail_size

__all__ = ["WeightSums"]

LIGHT = 0.5  # the k-hat below which weights have a finite variance


class WeightSums:
    """Running log-sums of the weights of B rows, in float64.

    Arguments:
        rows: B.
        particles: K, the number that will be added.
        device: the device of the weights.
    """

    def __init__(self, rows: int, particles: int, device: torch.device) -> None:
        self.particles = 0
        self.log_s1 = torch.full((rows,), -math.inf, dtype=torch.float64, device=device)
        self.log_s2 = self.log_s1.clone()
        self.smallest = -self.log_s1
        self.tail_length = min(particles, tail_size(particles) + 1)
        self.tail = self.log_s1.new_empty(rows, 0)

    def add(self, log_w: Tensor) -> None:
        """Add weights of shape (K, B)."""
        log_w = log_w.double().mT
        self.particles += log_w.shape[1]
        self.log_s1 = torch.logaddexp(self.log_s1, torch.logsumexp(log_w, 1))
        self.log_s2 = torch.logaddexp(self.log_s2, torch.logsumexp(2 * log_w, 1))
        self.smallest = torch.minimum(self.smallest, log_w.min(1).values)
        candidates = torch.cat([self.tail, log_w], 1)
        self.tail = candidates.topk(min(self.tail_length, candidates.shape[1]), 1).values

    def summary(self, *, smooth: bool = False) -> Tensor:
        """log_px, mc_stderr, ess and khat, (4, B).

        With `smooth` they are those of the smoothed weights, followed by the bias of log_px: its
        difference from the logarithm of the plain mean, corrected for the bias of that logarithm.
        Where k-hat is above 1/2, the plain mean may have infinite variance, and the bias is nan.
        """
        tail, khat = smoothed_tail(self.tail, self.smallest, self.particles)
        plain = self._moments(self.log_s1, self.log_s2)
        if not smooth:
            return torch.stack([*plain, khat])
        log_s1 = _replaced(self.log_s1, self.tail, tail)
        smoothed = self._moments(log_s1, _replaced(self.log_s2, 2 * self.tail, 2 * tail))
        bias = smoothed[0] - plain[0] - plain[1].square() / 2
        return torch.stack([*smoothed, khat, torch.where(khat < LIGHT, bias, math.nan)])

    def _moments(self, log_s1: Tensor, log_s2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log_px, mc_stderr and ess from sums of weights."""
        ess = torch.exp(2 * log_s1 - log_s2)
        return log_s1 - math.log(self.particles), self._stderr(ess), ess

    def _stderr(self, ess: Tensor) -> Tensor:
        if self.particles < 2:  # the error is not known from one weight
            return torch.full_like(ess, math.nan)
        k = self.particles
        return ((1 / ess - 1 / k).clamp(min=0) * k / (k - 1)).sqrt()

    def relative_variance(self, log_total: Tensor) -> Tensor:
        """The variance of the sum of these weights in units of the square of a larger sum, (B,).

        Arguments:
            log_total: the logarithm of the larger sum, (B,).
        """
        k = self.particles
        second, first = self.log_s2 - 2 * log_total, 2 * (self.log_s1 - log_total)
        return (second.exp() - first.exp() / k).clamp(min=0) * k / (k - 1)


def _replaced(log_sum: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """log(exp(log_sum) - sum exp(old) + sum exp(new)), at least the sum of the new ones."""
    body = 1 - torch.exp(torch.logsumexp(old, 1) - log_sum)
    body = torch.where(body > 1e-12, body, torch.zeros_like(body)).log() + log_sum
    return torch.logaddexp(body, torch.logsumexp(new, 1))
