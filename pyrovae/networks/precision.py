"""The precision of the networks' matrix products: float32, tf32 or bf16.

A log-density needs the precision of the data; the matrix products that give its parameters do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Literal, get_args

import torch

from pyrovae.checks import one_of
from pyrovae.errors import InputError

__all__ = ["Precision", "networks_in", "product_dtype", "products_in"]

Precision = Literal["float32", "tf32", "bf16"]

_PRODUCTS: ContextVar[torch.dtype | None] = ContextVar("products", default=None)


def product_dtype() -> torch.dtype | None:
    """The current type of the networks' matrix products; None is that of their weights."""
    return _PRODUCTS.get()


@contextmanager
def networks_in(dtype: torch.dtype | None) -> Iterator[None]:
    """Run only the networks' matrix products in a precision; None is that of their weights."""
    token = _PRODUCTS.set(dtype)
    try:
        yield
    finally:
        _PRODUCTS.reset(token)


@contextmanager
def products_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Run matrix products in a precision, and restore the caller's settings.

    On a GPU this includes convolutions, which torch computes in tf32 by default.

    Raises:
        InputError: for an unknown precision, or tf32 without CUDA.
    """
    one_of("precision", precision, get_args(Precision))
    if precision == "tf32" and device.type != "cuda":
        raise InputError("precision 'tf32' needs CUDA; use float32 or bf16 on a CPU")
    single = _on_a_gpu(tf32=precision == "tf32") if device.type == "cuda" else nullcontext()
    with single, networks_in(torch.bfloat16 if precision == "bf16" else None):
        yield


@contextmanager
def _on_a_gpu(*, tf32: bool) -> Iterator[None]:
    """Compute products of float32 tensors in tf32 or in full precision."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
