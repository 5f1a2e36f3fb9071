r"""Pareto-smoothed importance sampling, through ArviZ: k-hat and the smoothed largest weights.

The largest M = min(K/5, 3 sqrt K) weights follow a generalised Pareto law in the limit. Its index k-hat
tells how many moments the weights have: their variance is finite below 1/2, and above min(1 - 1/log10 K, 0.7)
the estimate cannot be trusted at this K.

Both generations of ArviZ serve: 0.23 takes log weights, 1.x takes minus log weights (the wrong sign looks
perfect: k-hat near -0.9 for every heavy tail). Two cases never reach them, since the two disagree there:
largest weights that are equal to rounding have no tail, k-hat 0; fewer than 25 give no fit, k-hat nan.

Reference:
    Vehtari, Simpson, Gelman, Yao & Gabry (2024), "Pareto Smoothed Importance Sampling".
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = ["SMALLEST_SAMPLE", "smoothed_tail", "tail_size"]

SMALLEST_SAMPLE = 25
ROUNDING = 1e-4


def tail_size(particles: int) -> int:
    """The number of largest weights that are fitted, min(K/5, 3 sqrt K) rounded up."""
    return math.ceil(min(particles / 5, 3 * math.sqrt(particles)))


def smoothed_tail(tail: Tensor, smallest: Tensor, particles: int) -> tuple[Tensor, Tensor]:
    """Smooth the largest log weights of each datum.

    Arguments:
        tail: the `tail_size(particles)` + 1 largest log weights in descending order, (B, M + 1).
        smallest: the smallest log weight, (B,).
        particles: K.

    Returns:
        The smoothed tail, (B, M + 1), and k-hat, (B,).
    """
    khat = torch.full((len(tail),), math.nan, dtype=torch.float64)
    if particles < SMALLEST_SAMPLE:
        return tail, khat.to(tail.device)
    smoothed, psislw = tail.cpu().numpy().copy(), _psislw()
    # Ties, as discrete latents have them: the largest weights are equal and end there.
    equal = torch.minimum(tail[:, 0] - smallest, tail[:, 0] - tail[:, -2]).cpu() < ROUNDING
    khat[equal] = 0.0
    khat[~torch.isfinite(tail[:, -1].cpu())] = math.inf  # fewer weights than the tail has places
    for row in (~equal & torch.isfinite(tail[:, -1].cpu())).nonzero().flatten().tolist():
        smoothed[row], khat[row] = _fit(smoothed[row], psislw)
    return torch.from_numpy(smoothed).to(tail.device), khat.to(tail.device)


def _fit(tail: np.ndarray, psislw: Callable) -> tuple[np.ndarray, float]:
    # ArviZ reads the tail's size from the number of weights: five times as many, the rest at the cutoff.
    largest, size = tail[0], len(tail) - 1
    filled = np.full(5 * size, tail[-1] - largest - 1.0)
    filled[: size + 1] = tail - largest
    smoothed, khat = psislw(filled)
    shift = filled[-1] - smoothed[-1]
    return smoothed[: size + 1] + shift + largest, float(khat)


def _psislw() -> Callable[[np.ndarray], tuple[np.ndarray, float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from arviz_stats.base import array_stats
        except ImportError:
            import arviz

            return lambda log_w: arviz.psislw(log_w.copy(), reff=1e-9)
    return lambda log_w: array_stats.psislw(-log_w, r_eff=1e-9)
