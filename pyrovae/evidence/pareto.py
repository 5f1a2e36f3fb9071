r"""Pareto-smoothed importance sampling: k-hat and the smoothed largest weights.

The largest M = min(K/5, 3 sqrt K) weights follow a generalised Pareto distribution in the limit.
Its shape k-hat says how many moments the weights have: their variance is finite below 1/2, and
above min(1 - 1/log10 K, 0.7) the estimate is not reliable at this K.

The fit is that of ArviZ (`arviz.psislw` with reff=1), for many rows at once. Two cases are not
fitted. If the largest weights are equal up to rounding, there is no tail, and k-hat is 0. With
fewer than 25 weights, k-hat is nan.

Reference:
    Vehtari, Simpson, Gelman, Yao & Gabry (2024), "Pareto Smoothed Importance Sampling"; Zhang &
    Stephens (2009), "A New and Efficient Estimation Method for the Generalized Pareto
    Distribution".
"""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor

__all__ = ["SMALLEST_SAMPLE", "smoothed_tail", "tail_size"]

SMALLEST_SAMPLE = 25
SMALLEST_TAIL = 5
ROUNDING = 1e-4
BLOCK = 256  # number of rows fitted at once
EPS, TINY = sys.float_info.epsilon, math.log(sys.float_info.min)


def tail_size(particles: int) -> int:
    """The number of largest weights that are fitted, min(K/5, 3 sqrt K) rounded up."""
    return math.ceil(min(particles / 5, 3 * math.sqrt(particles)))


def smoothed_tail(tail: Tensor, smallest: Tensor, particles: int) -> tuple[Tensor, Tensor]:
    """Smooth the largest log weights of each row.

    Arguments:
        tail: the `tail_size(particles)` + 1 largest log weights in descending order, (B, M + 1).
        smallest: the smallest log weight, (B,).
        particles: K.

    Returns:
        The smoothed tail, (B, M + 1), and k-hat, (B,).
    """
    khat = torch.full_like(smallest, math.nan, dtype=torch.float64)
    if particles < SMALLEST_SAMPLE:
        return tail, khat
    # Ties, as with discrete latents: the largest weights are all equal.
    equal = torch.minimum(tail[:, 0] - smallest, tail[:, 0] - tail[:, -2]) < ROUNDING
    finite = torch.isfinite(tail[:, -1])
    khat[equal] = 0.0
    khat[~finite] = math.inf  # fewer positive weights than the size of the tail
    smoothed = tail.clone()
    for rows in (~equal & finite).nonzero().flatten().split(BLOCK):
        tails, khat[rows] = _smoothed(tail[rows].double())
        smoothed[rows] = tails.to(tail.dtype)
    return smoothed, khat


def _smoothed(tail: Tensor) -> tuple[Tensor, Tensor]:
    """Smooth the weights of rows that have a tail: weights above the cutoff, the last weight."""
    smoothed, khat = tail.clone(), torch.full_like(tail[:, 0], math.inf)
    log_w = tail - tail[:, :1]
    cutoff = log_w[:, -1:].clamp_min(TINY)
    sizes = (log_w > cutoff).sum(1)
    for size in sizes[sizes >= SMALLEST_TAIL].unique().tolist():
        rows = sizes == size
        floor = cutoff[rows].exp()
        khat[rows], scale = _fit_pareto((log_w[rows, :size].exp() - floor).flip(1))
        quantiles = _quantiles(khat[rows], scale, size) + floor
        smoothed[rows, :size] = quantiles.log().clamp_max(0).flip(1) + tail[rows, :1]
    return smoothed, khat


def _fit_pareto(x: Tensor) -> tuple[Tensor, Tensor]:
    """Shape and scale, each (B,), of generalised Pareto distributions of ascending rows (B, n).

    The fit averages over a grid of theta = -shape / scale, weighted by the profile likelihood, with
    a weak prior for a shape of 1/2.
    """
    n = x.shape[1]
    count = 30 + math.isqrt(n)
    places = torch.arange(1, count + 1, dtype=x.dtype, device=x.device) - 0.5
    theta = (1 - (count / places).sqrt()) / (3 * x[:, int(n / 4 + 0.5) - 1, None]) + 1 / x[:, -1:]
    shape = torch.log1p(-theta[..., None] * x[:, None]).mean(-1)
    profile = n * ((-theta / shape).log() - shape - 1)
    weights = torch.softmax(profile, 1)
    weights = torch.where(weights < 10 * EPS, 0.0, weights)
    mean = (theta * weights).sum(1) / weights.sum(1)
    khat = torch.log1p(-mean[:, None] * x).mean(1)
    return (n * khat + 5) / (n + 10), -khat / mean


def _quantiles(shape: Tensor, scale: Tensor, count: int) -> Tensor:
    """The quantiles of ranks (i - 1/2) / n of generalised Pareto distributions, (B, n)."""
    ranks = torch.arange(0.5, count, dtype=shape.dtype, device=shape.device) / count
    k = torch.where(shape.abs() < EPS, EPS, shape)[:, None]
    return scale[:, None] * torch.expm1(-k * torch.log1p(-ranks)) / k
