r"""Log-probabilities of counts without cancellation: the saddle-point form.

    log x! = x log x - x + log(2 pi x) / 2 + delta(x)          delta: `stirling_error`
    m - x - x log(m / x) = x e((m - x) / x)                    e(t) = t - log(1 + t): `log1p_excess`

The textbook formula of a count of 1e8 is a difference of terms of 1e9, and single precision has seven
digits. Here these terms are cancelled by hand, and what is left is as small as the result.

Reference:
    Loader (2000), "Fast and Accurate Computation of Binomial Probabilities".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "HALF_LOG_2PI",
    "is_near",
    "log1p_excess",
    "log_root",
    "poisson_deviance",
    "small_excess",
    "stirling_error",
]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
# Above it five terms of Stirling's series are exact to 2e-14, or to 1e-8 in fewer digits.
SERIES_FROM = {torch.float64: 10.0}
FEWER_FROM = 3.0
# |t / (2 + t)| below which the series of log(1 + t) is summed, and its terms for seven or sixteen digits.
NEAR = 0.2
TERMS = {torch.float64: 11}
FEWER_TERMS = 6


def stirling_error(x: Tensor) -> Tensor:
    r"""The error of Stirling's formula, for x > 0.

    \[\delta(x) = \log \Gamma(x + 1) - (x + 1/2) \log x + x - \log(2 \pi) / 2\]

    Example:
        >>> stirling_error(torch.tensor([1.0, 1e8]))
        tensor([8.1061e-02, 8.3333e-10])
    """
    start = SERIES_FROM.get(x.dtype, FEWER_FROM)
    is_small = x < start
    small = torch.where(is_small, x, 1.0)
    direct = torch.lgamma(small + 1) - (small + 0.5) * small.log() + (small - HALF_LOG_2PI)
    inverse = torch.where(is_small, start, x).reciprocal()
    y = inverse.square()
    series = inverse * (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y / 1188))))
    return torch.where(is_small, direct, series)


def log1p_excess(t: Tensor, log1p_t: Tensor) -> Tensor:
    r"""\(t - \log(1 + t) \ge 0\) for t > -1, right to rounding also where both are nearly equal.

    Arguments:
        t: without cancellation, as (m - x) / x and not m / x - 1.
        log1p_t: log(1 + t), as log(m / x); used where t is not small.

    Example:
        >>> t = torch.tensor([1e-4, 1.0])
        >>> log1p_excess(t, t.log1p())
        tensor([4.9997e-09, 3.0685e-01])
    """
    return torch.where(is_near(t), small_excess(t), t - log1p_t)


def is_near(t: Tensor) -> Tensor:
    """Whether t is so small that `small_excess` is right and t - log(1 + t) is not."""
    return (t / (2 + t)).abs() < NEAR


def small_excess(t: Tensor) -> Tensor:
    """t - log(1 + t) by a series, for t from -1/3 to 1/2."""
    v = t / (2 + t)  # log(1 + t) = 2 artanh(v) = 2 (v + v^3 / 3 + v^5 / 5 + ...)
    v2, terms = v.square(), TERMS.get(t.dtype, FEWER_TERMS)
    total = torch.full_like(v2, 1 / (2 * terms + 1))
    for j in range(terms - 1, 0, -1):
        total = total * v2 + 1 / (2 * j + 1)
    return v * (t - 2 * v2 * total)


def poisson_deviance(x: Tensor, m: Tensor) -> Tensor:
    r"""\(x \log(x / m) + m - x\) for x > 0 and m > 0: half the deviance of a Poisson distribution.

    Example:
        >>> poisson_deviance(torch.tensor(1e8), torch.tensor(1.1e8))
        tensor(468983.)
    """
    return x * log1p_excess((m - x) / x, (m / x).log())


def log_root(x: Tensor) -> Tensor:
    r"""\(\log x! - x \log x + x\) for x > 0: about \(\log(2 \pi x) / 2\)."""
    return stirling_error(x) + 0.5 * x.log() + HALF_LOG_2PI
