"""The few numerical formulas that the rest of the package shares, each written once.

    log_mean_exp(a) = log (1/K) sum_k exp a_k          computed without overflow
    positive(r)     = softplus(r) + floor              a scale from an unconstrained number

`exp` would overflow where an untrained network gives 100; softplus grows linearly there. The floor
keeps a density from growing without bound when a scale runs to zero.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = [
    "SCALE_FLOOR",
    "inverse_positive",
    "inverse_softplus",
    "keep_freed_memory",
    "khat_threshold",
    "log_mean_exp",
    "positive",
    "stderr_of_mean",
]

SCALE_FLOOR = 1e-4


def log_mean_exp(log_w: Tensor, dim: int = 0) -> Tensor:
    r"""The logarithm of a mean of exponentials, \(\log \frac1K \sum_k e^{a_k}\).

    Arguments:
        log_w: logarithms, with K entries along `dim`.
        dim: the dimension to average over.

    Example:
        >>> log_mean_exp(torch.tensor([1000.0, 1000.0]))
        tensor(1000.)
    """
    return torch.logsumexp(log_w, dim) - math.log(log_w.shape[dim])


def khat_threshold(particles: int) -> float:
    """The Pareto k-hat above which importance sampling with K particles is not to be trusted.

    It is min(1 - 1 / log10 K, 0.7).

    Reference:
        Vehtari, Simpson, Gelman, Yao & Gabry (2024), "Pareto Smoothed Importance Sampling".

    Example:
        >>> khat_threshold(100), khat_threshold(5000)
        (0.5, 0.7)
    """
    return min(1 - 1 / math.log10(max(particles, 2)), 0.7)


def stderr_of_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The standard error of a mean from the spread of what is averaged; nan for a single value.

    Example:
        >>> float(stderr_of_mean(np.array([0.0, 2.0])))
        1.0
    """
    count = values.shape[axis]
    if count < 2:
        return np.full(values.mean(axis).shape, math.nan)
    return values.std(axis, ddof=1) / math.sqrt(count)


def positive(raw: Tensor, floor: float = SCALE_FLOOR) -> Tensor:
    """A positive number from any real one: softplus(raw) + floor."""
    return softplus(raw) + floor


def inverse_positive(value: float, floor: float = SCALE_FLOOR) -> float:
    """The real number that `positive` maps to `value`.

    Example:
        >>> round(float(positive(torch.tensor(inverse_positive(0.1)))), 6)
        0.1
    """
    return inverse_softplus(torch.tensor(value - floor, dtype=torch.float64)).item()


def inverse_softplus(value: Tensor) -> Tensor:
    """The real number whose softplus is `value`, log(exp(value) - 1), without overflow."""
    return value + torch.log(-torch.expm1(-value))


def keep_freed_memory() -> None:
    """Have the C library give freed pieces out again instead of returning them to the system.

    glibc maps every block above a threshold anew, page by page, until one of that size was freed; the
    largest that it learns from is 32 MiB. Without this, pieces spend a third of their time in page faults.
    """
    torch.empty(30 * 2**20, dtype=torch.uint8)
