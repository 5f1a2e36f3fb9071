"""Operations rewritten so that the compiler can fuse them into one loop.

A linear map is one library call. As a product and a sum, the sum is fused with the activation and
later operations. tanh is slow on a CPU and slows down its loop; a sigmoid is an exponential and a
division. Both rewrites give the same numbers up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["Fusable"]


class Fusable(TorchFunctionMode):
    """Rewrites linear maps and tanh in float32 on a CPU, outside of autocast."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        if func is torch.nn.functional.linear and len(args) == 3 and not kwargs and _is_plain(*args):
            value, weight, bias = args
            return value @ weight.mT if bias is None else value @ weight.mT + bias
        if func in (torch.tanh, Tensor.tanh) and not kwargs and _is_plain(*args):
            return 2 * torch.sigmoid(2 * args[0]) - 1
        return func(*args, **(kwargs or {}))


def _is_plain(*tensors: Tensor | None) -> bool:
    plain = all(t is None or (t.dtype == torch.float32 and t.device.type == "cpu") for t in tensors)
    return plain and not torch.is_autocast_enabled("cpu")
