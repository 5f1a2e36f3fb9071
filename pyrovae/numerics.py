"""Conversion of user input to arrays, and numerical formulas that the whole package uses.

    log_mean_exp(a) = log (1/K) sum_k exp a_k          computed without overflow
    normalised(a)_k = exp a_k / sum_j exp a_j          exactly 0 below 1e-30 of the largest
    bits_per_dim    = -log p / (D log 2) + log2 levels
    positive(r)     = softplus(r) + floor              a scale from an unconstrained number

`exp` would overflow when an untrained network returns 100; softplus grows linearly. The floor keeps
the density bounded when a scale goes to zero. `positive(0 + UNIT)` is 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from pyrovae.errors import InputError

__all__ = [
    "SCALE_FLOOR",
    "UNIT",
    "Array",
    "as_array",
    "bits_per_dim",
    "inverse_positive",
    "inverse_softplus",
    "keep_freed_memory",
    "khat_threshold",
    "log_mean_exp",
    "log_sum_exp",
    "normalised",
    "numbers",
    "positive",
    "series_softplus",
    "stderr_of_mean",
    "without_negligible",
]

SCALE_FLOOR = 1e-4
NEGLIGIBLE = 1e-30  # relative to the largest weight
Array = NDArray[np.float64]


def as_array(value: Any, dtype: type | None = None) -> np.ndarray:  # noqa: ANN401
    """Convert a tensor, rows (their x), a list or an array to numpy, without a copy if possible."""
    value = value.x if isinstance(getattr(value, "x", None), Tensor) else value
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.double() if value.dtype == torch.bfloat16 else value).numpy()  # numpy has no bfloat16
    return np.asarray(value, dtype=dtype)


def numbers(
    value: Any,  # noqa: ANN401
    name: str,
    shape: tuple[int | str, ...] | None = None,
    *,
    finite: bool = True,
) -> Array:
    """Copy numbers given by a user to a float64 array.

    Arguments:
        value: a tensor, a list or an array.
        name: their name in the message.
        shape: the expected shape; a letter stands for any size, and equal letters for equal sizes.
        finite: refuse NaN and infinite values.

    Raises:
        InputError: if they are not numeric, are empty, have a wrong shape or, with `finite`,
            contain NaN or infinite values.

    Example:
        >>> numbers([[1, 2]], "x", ("N", 2))
        array([[1., 2.]])
    """
    try:
        array = np.array(as_array(value), dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"{name} is a {type(value).__name__} and not an array of numbers; give a numpy array or a tensor"
        ) from None
    if shape is not None and not _fits(array.shape, shape):
        expected = f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
        raise InputError(f"{name} has shape {array.shape} where {expected} was expected")
    if array.size == 0:
        raise InputError(f"{name} is empty (shape {array.shape}); give at least one value")
    wrong = int(np.count_nonzero(~np.isfinite(array))) if finite else 0
    if wrong:
        raise InputError(f"{name} has {wrong} values that are NaN or infinite; remove them first")
    return array


def _fits(shape: tuple[int, ...], expected: tuple[int | str, ...]) -> bool:
    sizes: dict[str, int] = {}
    return len(shape) == len(expected) and all(
        size == (sizes.setdefault(entry, size) if isinstance(entry, str) else entry)
        for size, entry in zip(shape, expected, strict=True)
    )


def without_negligible(log_w: Tensor, dim: int | list[int] = 0) -> Tensor:
    r"""Logarithms of weights, with \(-\infty\) for those below 1e-30 of the largest along `dim`.

    Such weights change no digit of a sum, and neither does their gradient, which becomes exactly 0.
    Otherwise some weights would be denormal numbers (below 1.2e-38 in float32), and so would the
    gradients of all layers at these particles. Many processors multiply denormal numbers slowly.

    Arguments:
        log_w: logarithms of weights.
        dim: the dimension or dimensions along which the largest is taken.

    Example:
        >>> without_negligible(torch.tensor([0.0, -60.0, -100.0]))
        tensor([  0., -60., -inf])
    """
    largest = log_w.detach().amax(dim, keepdim=True)
    return log_w.masked_fill(log_w < largest + math.log(NEGLIGIBLE), -math.inf)


def log_sum_exp(log_w: Tensor, dim: int | list[int] = 0) -> Tensor:
    r"""The logarithm of a sum of exponentials, \(\log \sum_k e^{a_k}\), without negligible ones.

    Example:
        >>> log_sum_exp(torch.tensor([0.0, 0.0]))
        tensor(0.6931)
    """
    return torch.logsumexp(without_negligible(log_w, dim), dim)


def log_mean_exp(log_w: Tensor, dim: int = 0) -> Tensor:
    r"""The logarithm of a mean of exponentials, \(\log \frac1K \sum_k e^{a_k}\).

    Arguments:
        log_w: logarithms, with K entries along `dim`.
        dim: the dimension to average over.

    Example:
        >>> log_mean_exp(torch.tensor([1000.0, 1000.0]))
        tensor(1000.)
    """
    return log_sum_exp(log_w, dim) - math.log(log_w.shape[dim])


def normalised(log_w: Tensor, dim: int = 0) -> Tensor:
    r"""Normalised weights, \(e^{a_k} / \sum_j e^{a_j}\); exactly 0 below 1e-30 of the largest.

    Arguments:
        log_w: logarithms of the weights.
        dim: the dimension along which the weights sum to 1.

    Example:
        >>> normalised(torch.tensor([0.0, 0.0, -100.0]))
        tensor([0.5000, 0.5000, 0.0000])
    """
    return torch.softmax(without_negligible(log_w, dim), dim)


def bits_per_dim(log_p: float, dims: float, levels: int | None = None) -> float:
    r"""Nats per observation as bits per dimension, \(-\log_2 p / D + \log_2 n\); smaller is better.

    For a probability of discrete values, leave out `levels`. For dequantised data x = (v + u) / n,
    with levels v and uniform noise u, give n: a cell of x has the volume n^-D, so the density of x
    gives a lower bound on the probability of v. Both results are then bits of the same values.

    Arguments:
        log_p: log p(x) in nats.
        dims: D, the number of elements of x that are present (their mean over rows).
        levels: n for a density of dequantised values in [0, 1], else None.

    Reference:
        Theis, van den Oord & Bethge (2016), "A Note on the Evaluation of Generative Models",
        section 3.1.

    Example:
        >>> bits_per_dim(-math.log(256), 1), bits_per_dim(0.0, 1, levels=256)
        (8.0, 8.0)
    """
    return -log_p / (dims * math.log(2)) + (math.log2(levels) if levels else 0.0)


def khat_threshold(particles: int) -> float:
    """The Pareto k-hat above which importance sampling with K particles is unreliable.

    It is min(1 - 1 / log10 K, 0.7).

    Reference:
        Vehtari, Simpson, Gelman, Yao & Gabry (2024), "Pareto Smoothed Importance Sampling".

    Example:
        >>> khat_threshold(100), khat_threshold(5000)
        (0.5, 0.7)
    """
    return min(1 - 1 / math.log10(max(particles, 2)), 0.7)


def stderr_of_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The standard error of the mean of some values; nan for a single value.

    Example:
        >>> float(stderr_of_mean(np.array([0.0, 2.0])))
        1.0
    """
    count = values.shape[axis]
    if count < 2:
        return np.full(values.mean(axis).shape, math.nan)
    return values.std(axis, ddof=1) / math.sqrt(count)


def positive(raw: Tensor, floor: float = SCALE_FLOOR) -> Tensor:
    """Map a real number to a positive one: softplus(raw) + floor."""
    return softplus(raw) + floor


# Coefficients of atanh(s) / s in powers of s^2 <= 1/9, from Chebyshev points; error at most 5e-9.
ATANH = (1.0, 0.33333161, 0.20012298, 0.13982579, 0.14078889)


def series_softplus(raw: Tensor) -> Tensor:
    """log(1 + e^raw) in float32 without a logarithm, for loops of compiled code.

    It is max(raw, 0) + log(1 + y) with y = e^-|raw| and log(1 + y) = 2 atanh(s), s = y / (y + 2).
    The error is that of rounding in float32.

    Example:
        >>> series_softplus(torch.tensor([-30.0, 0.0, 30.0]))
        tensor([9.3576e-14, 6.9315e-01, 3.0000e+01])
    """
    y = (-raw.abs()).exp()
    s = y / (y + 2)
    square = s * s
    series = torch.full_like(s, ATANH[-1])
    for coefficient in reversed(ATANH[:-1]):
        series = series * square + coefficient
    return 2 * s * series + raw.relu()


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


# Computed here, since `.item()` in a `forward` could not be compiled.
UNIT = inverse_positive(1.0)


def keep_freed_memory() -> None:
    """Let the C library reuse freed memory instead of returning it to the system.

    glibc maps every block above a threshold again, page by page, and raises the threshold, to 32
    MiB at most, when such a block is freed. Without this function, page faults take a third of the
    running time.
    """
    torch.empty(30 * 2**20, dtype=torch.uint8)
