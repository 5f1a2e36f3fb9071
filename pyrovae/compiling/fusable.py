"""Operations rewritten so that the compiler can fuse them into one loop.

A linear map is one library call. As a product and a sum, the sum is fused with the activation and
later operations. tanh is slow on a CPU and slows down its loop; a sigmoid is an exponential and a
division. softplus calls `log1p`, which takes half as long as the matrix products of a gradient.
Here it is an exponential, a division and a short polynomial, and its derivative is a sigmoid. All
rewrites give the same numbers up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyrovae.numerics import series_softplus

__all__ = ["Fusable"]


class Fusable(TorchFunctionMode):
    """Rewrites linear maps, tanh and softplus in float32 on a CPU, outside of autocast."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        if func is torch.nn.functional.linear and len(args) == 3 and not kwargs and _is_plain(*args):
            value, weight, bias = args
            return value @ weight.mT if bias is None else value @ weight.mT + bias
        if func in (torch.tanh, Tensor.tanh) and not kwargs and _is_plain(*args):
            return 2 * torch.sigmoid(2 * args[0]) - 1
        if func is torch.nn.functional.softplus and _is_softplus(*args, **(kwargs or {})):
            return _Softplus.apply(args[0] if args else kwargs["input"])
        return func(*args, **(kwargs or {}))


class _Softplus(torch.autograd.Function):
    """log(1 + e^raw), which can be differentiated any number of times, also by torch.func."""

    generate_vmap_rule = True

    @staticmethod
    def forward(raw: Tensor) -> Tensor:
        return series_softplus(raw)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ANN401
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        (raw,) = ctx.saved_tensors
        return gradient * torch.sigmoid(raw)

    @staticmethod
    def jvp(ctx: Any, change: Tensor) -> Tensor:  # noqa: ANN401
        (raw,) = ctx.saved_tensors
        return change * torch.sigmoid(raw)


def _is_softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> bool:  # noqa: A002
    """Whether softplus with these options is log(1 + e^raw), to the rounding of float32."""
    return beta == 1 and threshold >= 20 and _is_plain(input)


def _is_plain(*tensors: Tensor | None) -> bool:
    plain = all(t is None or (t.dtype == torch.float32 and t.device.type == "cpu") for t in tensors)
    return plain and not torch.is_autocast_enabled("cpu")
