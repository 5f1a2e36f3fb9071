r"""Optimisers: torch's own for eager steps, and the same arithmetic for compiled ones.

Each class is torch's optimiser of the same name with its default settings. `updated` uses the
moments of the torch optimiser and gives the same numbers up to rounding, so a run may change
between them at any step. `coefficients` are the factors that depend on the step only, in double
precision:

    m <- m + (1 - b1) (g - m)            v <- b2 v + (1 - b2) g^2
    Adam    w <- w - c0 m / (sqrt(v) c1 + eps)         c0 = lr / (1 - b1^t), c1 = 1 / sqrt(1 - b2^t)
    AdamW   w <- c2 w first                              c2 = 1 - lr * decay
    Adamax  w <- w - c0 m / u,  u <- max(b2 u, |g| + eps)
    RAdam   w <- w - m (c0 / (sqrt(v) + eps) + c1)       c0 or c1 is zero
    SGD     w <- w - c0 g

Reference:
    Kingma & Ba (2015), "Adam"; Loshchilov & Hutter (2019), "Decoupled Weight Decay Regularization";
    Liu et al. (2020), "On the Variance of the Adaptive Learning Rate and Beyond".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

__all__ = ["OPTIMIZERS", "Optimizer"]

B1, B2, EPS = 0.9, 0.999, 1e-8
DECAY = 1e-2


class Optimizer:
    """Base class of optimisers, which have no state.

    Attributes:
        torch_class: torch's optimiser.
        moments: the names of its moments.
        fused: whether it has a fused step.
    """

    torch_class: ClassVar[Callable[..., torch.optim.Optimizer]]
    moments: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")
    fused: ClassVar[bool] = False

    @classmethod
    def over(cls, trained: Mapping[str, Tensor], lr: float) -> torch.optim.Optimizer:
        """Torch's optimiser of all parameters, fused if possible."""
        tensors = list(trained.values())
        fused = {"fused": True} if cls.fused and all(p.is_floating_point() for p in tensors) else {}
        return cls.torch_class(tensors, lr=lr, **fused)

    @classmethod
    def coefficients(cls, step: int, lr: float) -> tuple[float, ...]:
        """The coefficients of `updated` at step `step`, counted from 1."""
        return (lr / (1 - B1**step),)

    @classmethod
    def updated(cls, w: Tensor, g: Tensor, moments: Sequence[Tensor], c: Sequence[Tensor]) -> list[Tensor]:
        """Update a parameter and its moments by one step; returns [w, *moments].

        Arguments:
            w, g: the parameter and its gradient.
            moments: in the order of the class attribute `moments`.
            c: the coefficients, in the type of w.
        """
        raise NotImplementedError


class Adam(Optimizer):
    """Adam."""

    torch_class: ClassVar[Callable[..., torch.optim.Optimizer]] = torch.optim.Adam
    fused = True

    @classmethod
    def coefficients(cls, step: int, lr: float) -> tuple[float, ...]:
        return *super().coefficients(step, lr), 1 / math.sqrt(1 - B2**step)

    @classmethod
    def updated(cls, w: Tensor, g: Tensor, moments: Sequence[Tensor], c: Sequence[Tensor]) -> list[Tensor]:
        m, v = _mean(moments[0], g), _mean_square(moments[1], g)
        return [w - c[0] * (m / (v.sqrt() * c[1] + EPS)), m, v]


class AdamW(Adam):
    """Adam with decoupled weight decay."""

    torch_class = torch.optim.AdamW

    @classmethod
    def coefficients(cls, step: int, lr: float) -> tuple[float, ...]:
        return *super().coefficients(step, lr), 1 - lr * DECAY

    @classmethod
    def updated(cls, w: Tensor, g: Tensor, moments: Sequence[Tensor], c: Sequence[Tensor]) -> list[Tensor]:
        return super().updated(c[2] * w, g, moments, c)


class Adamax(Optimizer):
    """Adam with the largest recent gradient as its scale."""

    torch_class = torch.optim.Adamax
    moments = ("exp_avg", "exp_inf")

    @classmethod
    def updated(cls, w: Tensor, g: Tensor, moments: Sequence[Tensor], c: Sequence[Tensor]) -> list[Tensor]:
        m, u = _mean(moments[0], g), torch.maximum(B2 * moments[1], g.abs() + EPS)
        return [w - c[0] * (m / u), m, u]


class RAdam(Optimizer):
    """Adam whose first steps use momentum only."""

    torch_class = torch.optim.RAdam

    @classmethod
    def coefficients(cls, step: int, lr: float) -> tuple[float, ...]:
        (rate,), second, limit = super().coefficients(step, lr), 1 - B2**step, 2 / (1 - B2) - 1
        rho = limit - 2 * step * B2**step / second
        if rho <= 5:
            return 0.0, rate
        rectified = (rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)
        return rate * math.sqrt(rectified) * math.sqrt(second), 0.0

    @classmethod
    def updated(cls, w: Tensor, g: Tensor, moments: Sequence[Tensor], c: Sequence[Tensor]) -> list[Tensor]:
        m, v = _mean(moments[0], g), _mean_square(moments[1], g)
        return [w - m * (c[0] / (v.sqrt() + EPS) + c[1]), m, v]


class SGD(Optimizer):
    """Plain gradient descent.

    Example:
        >>> SGD.coefficients(7, 0.1)
        (0.1,)
        >>> SGD.updated(torch.tensor([1.0]), torch.tensor([2.0]), [], [torch.tensor(0.1)])
        [tensor([0.8000])]
    """

    torch_class = torch.optim.SGD
    moments = ()
    fused = True

    @classmethod
    def coefficients(cls, step: int, lr: float) -> tuple[float, ...]:
        return (lr,)

    @classmethod
    def updated(cls, w: Tensor, g: Tensor, moments: Sequence[Tensor], c: Sequence[Tensor]) -> list[Tensor]:
        return [w - c[0] * g]


OPTIMIZERS: dict[str, type[Optimizer]] = {
    cls.__name__.lower(): cls for cls in (Adam, AdamW, Adamax, RAdam, SGD)
}


def _mean(m: Tensor, g: Tensor) -> Tensor:
    return m + (1 - B1) * (g - m)


def _mean_square(v: Tensor, g: Tensor) -> Tensor:
    return B2 * v + (1 - B2) * g * g
