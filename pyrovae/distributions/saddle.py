r"""Log-probabilities of counts without cancellation: the saddle-point form.

    log x! = x log x - x + log(2 pi x) / 2 + delta(x)          delta: `stirling_error`
    m - x - x log(m / x) = x e((m - x) / x)                    e(t) = t - log(1 + t): `log1p_excess`

For a count of 1e8, the textbook formula is a difference of terms near 1e9, and single precision has
only seven digits. Here the large terms are cancelled by hand, and the remaining terms are small.

Reference:
    Loader (2000), "Fast and Accurate Computation of Binomial Probabilities".
"""

from __future__ import annotations

import math
from typing import Any

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
# Above this x, five terms of Stirling's series are accurate to 2e-14 (float64) or 1e-8 (float32).
SERIES_FROM = {torch.float64: 10.0}
FEWER_FROM = 3.0
# Where |t / (2 + t)| < 0.15, a series of log(1 + t) is used, with ten terms in float64, else four.
NEAR = 0.15
SMALLEST, LARGEST = -2 * NEAR / (1 + NEAR), 2 * NEAR / (1 - NEAR)
TERMS = {torch.float64: 10}
FEWER_TERMS = 4


def stirling_error(x: Tensor) -> Tensor:
    r"""The error of Stirling's formula, for x > 0.

    \[\delta(x) = \log \Gamma(x + 1) - (x + 1/2) \log x + x - \log(2 \pi) / 2\]

    Example:
        >>> stirling_error(torch.tensor([1.0, 1e8]))
        tensor([8.1061e-02, 8.3333e-10])
    """
    start = SERIES_FROM.get(x.dtype, FEWER_FROM)
    # Clamps are faster than `where`. A clamped form, whose gradient is 0, is not the one returned.
    small, inverse = x.clamp(max=start + 0.5), x.clamp(min=start - 0.5).reciprocal()
    direct = torch.lgamma(small + 1) - (small + 0.5) * small.log() + (small - HALF_LOG_2PI)
    y = inverse.square()
    series = inverse * (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y / 1188))))
    return torch.where(x < start, direct, series)


def log1p_excess(t: Tensor, log1p_t: Tensor) -> Tensor:
    r"""\(t - \log(1 + t) \ge 0\) for t > -1, accurate even where t and log(1 + t) are nearly equal.

    Arguments:
        t: computed without cancellation, as (m - x) / x and not m / x - 1.
        log1p_t: log(1 + t), computed as log(m / x). It is used where t is not small, and the
            gradient passes through it.

    Example:
        >>> t = torch.tensor([1e-4, 1.0])
        >>> log1p_excess(t, t.log1p())
        tensor([4.9997e-09, 3.0685e-01])
    """
    return _Excess.apply(t, log1p_t)


class _Excess(torch.autograd.Function):
    """e = exp(L) - 1 - L as a function of L = log(1 + t): its derivative is t, without a branch."""

    generate_vmap_rule = True

    @staticmethod
    def forward(t: Tensor, log1p_t: Tensor) -> Tensor:
        return torch.where(is_near(t), small_excess(t), t - log1p_t)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ANN401, ARG004
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:  # type: ignore[override]  # noqa: ANN401
        return None, gradient * ctx.saved_tensors[0]


def is_near(t: Tensor) -> Tensor:
    """Whether t is so small that `small_excess` is accurate and t - log(1 + t) is not."""
    return (t > SMALLEST) & (t < LARGEST)


def small_excess(t: Tensor) -> Tensor:
    """t - log(1 + t) by a series, for small t."""
    v = t / (2 + t)  # log(1 + t) = 2 artanh(v) = 2 (v + v^3 / 3 + v^5 / 5 + ...)
    v2, terms = v.square(), TERMS.get(t.dtype, FEWER_TERMS)
    total = v2 / (2 * terms + 1)
    for j in range(terms - 1, 1, -1):
        total = (total + 1 / (2 * j + 1)) * v2
    return v * (t - 2 * v2 * (total + 1 / 3))


def poisson_deviance(x: Tensor, m: Tensor) -> Tensor:
    r"""\(x \log(x / m) + m - x\) for x > 0 and m > 0: half the deviance of a Poisson distribution.

    Example:
        >>> round(poisson_deviance(torch.tensor(1e8), torch.tensor(1.1e8)).item(), -2)
        469000.0
    """
    return x * log1p_excess((m - x) / x, (m / x).log())


def log_root(x: Tensor) -> Tensor:
    r"""\(\log x! - x \log x + x\) for x > 0: about \(\log(2 \pi x) / 2\)."""
    return stirling_error(x) + 0.5 * x.log() + HALF_LOG_2PI
