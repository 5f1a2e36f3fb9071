r"""Operations that ONNX lacks, or has without their digits, as sums, products and logarithms.

e^x - 1           \(\tanh(x / 2) (e^x + 1)\), which is exact for small x
log(1 + x)        \(x \log(u) / (u - 1)\) with u = 1 + x as it was rounded
log Gamma         \(\log\Gamma(x) = S(x + n) - \log\prod_{i<n}(x + i)\), with Stirling's series S
Cholesky factor   column by column
triangular solve  row by row

A matrix of size D gives about D operations.

Reference:
    Goldberg (1991), "What Every Computer Scientist Should Know About Floating-Point Arithmetic",
    theorem 4 (log(1 + x));
    Abramowitz & Stegun (1964), "Handbook of Mathematical Functions", 6.1.15 and 6.1.41.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["cholesky", "decompositions", "expm1", "log1p", "log_gamma", "softplus", "solved"]

SHIFT = 10
# B_2k / (2k (2k - 1)), k = 1, 2, ...
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


def expm1(x: Tensor) -> Tensor:
    """e^x - 1.

    Example:
        >>> x = torch.tensor([-200.0, -1e-9, 0, 1e-9, 3, 200])
        >>> torch.allclose(expm1(x), torch.expm1(x), rtol=1e-5, atol=0)
        True
    """
    return (x / 2).tanh() * (x.exp() + 1)


def log1p(x: Tensor) -> Tensor:
    """log(1 + x).

    Example:
        >>> x = torch.tensor([-1.0, -0.5, 1e-9, 3, torch.inf])
        >>> torch.allclose(log1p(x), torch.log1p(x), rtol=1e-5, atol=0)
        True
    """
    u = 1 + x
    is_plain = (u != 1) & (u < torch.inf)
    quotient = x * u.log() / torch.where(is_plain, u - 1, 1.0)
    return torch.where(is_plain, quotient, x)


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^x), as `torch.nn.functional.softplus`; there is no need of a threshold.

    Example:
        >>> x = torch.tensor([-80.0, 0, 1, 30])
        >>> torch.allclose(softplus(x), torch.nn.functional.softplus(x), rtol=1e-5, atol=0)
        True
    """
    y = beta * x
    return (y.clamp(min=0) + log1p((-y.abs()).exp())) / beta


def log_gamma(x: Tensor) -> Tensor:
    """log Gamma(x) for x of 0 or more, computed in float64.

    Example:
        >>> x = torch.tensor([1e-6, 0.5, 1, 2, 30, 1e6])
        >>> torch.allclose(log_gamma(x), torch.lgamma(x))
        True
    """
    double = x.double()
    below = double
    for i in range(1, SHIFT):
        below = below * (double + i)
    y = double + SHIFT
    series = sum(c * y ** -(2 * k + 1) for k, c in enumerate(_STIRLING))
    stirling = (y - 0.5) * y.log() - y + 0.5 * math.log(2 * math.pi) + series
    return (stirling - below.log()).to(x.dtype)


def solved(a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """The solution X of A X = B (or X A = B) for a triangular matrix A.

    Example:
        >>> a = torch.tensor([[2.0, 0.0], [1.0, 4.0]])
        >>> solved(a, torch.tensor([[2.0], [5.0]]), upper=False).tolist()
        [[1.0], [1.0]]
    """
    if not left:
        return solved(a.mT, b.mT, upper=not upper, unitriangular=unitriangular).mT
    if upper:
        return solved(a.flip(-1, -2), b.flip(-2), upper=False, unitriangular=unitriangular).flip(-2)
    rows: list[Tensor] = []
    for i in range(a.shape[-1]):
        row = b[..., i : i + 1, :]
        if rows:
            row = row - a[..., i : i + 1, :i] @ torch.cat(rows, -2)
        rows.append(row if unitriangular else row / a[..., i : i + 1, i : i + 1])
    return torch.cat(rows, -2)


def cholesky(a: Tensor) -> Tensor:
    """The lower triangular L with L L' = A.

    Example:
        >>> a = torch.tensor([[4.0, 2.0], [2.0, 5.0]])
        >>> cholesky(a).tolist()
        [[2.0, 0.0], [1.0, 2.0]]
    """
    columns: list[Tensor] = []
    for j in range(a.shape[-1]):
        column = a[..., j:, j : j + 1]
        if columns:
            before = torch.cat(columns, -1)
            column = column - before[..., j:, :] @ before[..., j : j + 1, :].mT
        column = column / column[..., :1, :].sqrt()
        columns.append(torch.cat([torch.zeros_like(a[..., :j, :1]), column], -2))
    return torch.cat(columns, -1)


def decompositions() -> dict[Any, Callable[..., Any]]:
    """The decompositions by operation, for `ExportedProgram.run_decompositions`."""
    aten = torch.ops.aten
    return {
        aten.expm1.default: expm1,
        aten.log1p.default: log1p,
        aten.softplus.default: softplus,
        aten.log_sigmoid.default: lambda x: -softplus(-x),
        aten.lgamma.default: log_gamma,
        aten.linalg_solve_triangular.default: solved,
        aten.linalg_cholesky_ex.default: _cholesky_ex,
        aten.linalg_cholesky.default: _lower_or_upper,
        aten.sort.stable: _stable_sort,
        aten.argsort.stable: _stable_argsort,
        aten.einsum.default: _einsum,
    }


def _cholesky_ex(a: Tensor, *, upper: bool = False, check_errors: bool = False) -> tuple[Tensor, Tensor]:
    return _lower_or_upper(a, upper=upper), torch.zeros_like(a[..., 0, 0], dtype=torch.int32)


def _lower_or_upper(a: Tensor, *, upper: bool = False) -> Tensor:
    return cholesky(a).mT if upper else cholesky(a)


def _einsum(equation: str, operands: list[Tensor], *, path: list[int] | None = None) -> Tensor:
    """An einsum as torch computes it: ONNX has one, but without all broadcasting."""
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return torch.ops.aten.einsum.default._op_dk(key, equation, operands, path=path)


def _stable_argsort(x: Tensor, *, stable: bool, dim: int = -1, descending: bool = False) -> Tensor:
    return _stable_sort(x, stable=stable, dim=dim, descending=descending)[1]


def _stable_sort(
    x: Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Tensor, Tensor]:
    """A sort by TopK, which keeps the order of equal values in ONNX (not in torch)."""
    numbers = x.to(torch.int32) if x.dtype == torch.bool else x
    values, places = torch.topk(numbers, x.shape[dim], dim, largest=descending, sorted=True)
    return values.to(x.dtype), places
