"""Operations rewritten for compiled code, where a library's function is slow.

In a loop of compiled code softplus is an exponential, a division and a short polynomial, and its
derivative a sigmoid. torch's is a call of `log1p`, which took as long as half of the matrix
products of a gradient. Both give the same numbers up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyrovae.distributions.adapted import series_softplus

__all__ = ["Loops"]


class Loops(TorchFunctionMode):
    """Rewrites softplus in float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        options = kwargs or {}
        if func is torch.nn.functional.softplus and len(args) == 1 and set(options) <= {"threshold"}:
            if args[0].dtype == torch.float32 and options.get("threshold", 20.0) >= 20.0:
                return _Softplus.apply(args[0])
        return func(*args, **options)


class _Softplus(torch.autograd.Function):
    """log(1 + e^raw), which can be differentiated any number of times."""

    @staticmethod
    def forward(ctx: Any, raw: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(raw)
        return series_softplus(raw)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        (raw,) = ctx.saved_tensors
        return gradient * torch.sigmoid(raw)
