r"""The optimisers' steps as arithmetic, for the captured step.

Each law is that of torch's own optimiser of the same name with its default settings, works on the moments
that the torch optimiser holds, and gives the same numbers to rounding; so a run may change between the two at
any step. What depends on the step alone is worked out beforehand in double precision:

    m <- m + (1 - b1) (g - m)            v <- b2 v + (1 - b2) g^2
    Adam    w <- w - c0 m / (sqrt(v) / c1 + eps)             c0 = lr / (1 - b1^t),  c1 = sqrt(1 - b2^t)
    AdamW   w <- c2 w first                                  c2 = 1 - lr * decay
    Adamax  w <- w - c0 m / u,  u <- max(b2 u, |g| + eps)
    RAdam   w <- w - m (c0 / (sqrt(v) + eps) + c1)           one of the two is zero
    SGD     w <- w - c0 g

Reference:
    Kingma & Ba (2015), "Adam"; Loshchilov & Hutter (2019), "Decoupled Weight Decay Regularization"; Liu et
    al. (2020), "On the Variance of the Adaptive Learning Rate and Beyond".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["MOMENTS", "coefficients", "updated"]

B1, B2, EPS = 0.9, 0.999, 1e-8
DECAY = 1e-2

# The names under which torch's optimisers keep what a law moves.
MOMENTS: dict[str, tuple[str, ...]] = {
    "adam": ("exp_avg", "exp_avg_sq"),
    "adamw": ("exp_avg", "exp_avg_sq"),
    "adamax": ("exp_avg", "exp_inf"),
    "radam": ("exp_avg", "exp_avg_sq"),
    "sgd": (),
}


def coefficients(name: str, step: int, lr: float) -> tuple[float, ...]:
    """What the law of an optimiser needs at its step number `step`, counted from 1.

    Example:
        >>> coefficients("sgd", 7, 0.1)
        (0.1,)
    """
    if name == "sgd":
        return (lr,)
    first, second = 1 - B1**step, 1 - B2**step
    if name == "radam":
        return _rectified(step, lr / first, second)
    tail = {"adam": (math.sqrt(second),), "adamw": (math.sqrt(second), 1 - lr * DECAY), "adamax": ()}
    return (lr / first, *tail[name])


def _rectified(step: int, rate: float, second: float) -> tuple[float, float]:
    limit = 2 / (1 - B2) - 1
    rho = limit - 2 * step * B2**step / second
    if rho <= 5:
        return 0.0, rate
    rectified = (rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)
    return rate * math.sqrt(rectified) * math.sqrt(second), 0.0


def updated(name: str, w: Tensor, g: Tensor, moments: Sequence[Tensor], c: Sequence[Tensor]) -> list[Tensor]:
    """The parameter and its moments after one step: [w, *moments].

    Arguments:
        name: of the optimiser.
        w, g: the parameter and its gradient.
        moments: as `MOMENTS` names them.
        c: `coefficients`, in the type of w.

    Example:
        >>> w, g = torch.tensor([1.0]), torch.tensor([2.0])
        >>> updated("sgd", w, g, [], [torch.tensor(0.1)])
        [tensor([0.8000])]
    """
    return _LAWS[name](w, g, moments, c)


def _adam(w: Tensor, g: Tensor, moments: Sequence[Tensor], c: Sequence[Tensor]) -> list[Tensor]:
    m, v = _mean(moments[0], g), B2 * moments[1] + (1 - B2) * g * g
    return [w - c[0] * (m / (v.sqrt() / c[1] + EPS)), m, v]


def _adamw(w: Tensor, g: Tensor, moments: Sequence[Tensor], c: Sequence[Tensor]) -> list[Tensor]:
    return _adam(c[2] * w, g, moments, c)


def _adamax(w: Tensor, g: Tensor, moments: Sequence[Tensor], c: Sequence[Tensor]) -> list[Tensor]:
    m, u = _mean(moments[0], g), torch.maximum(B2 * moments[1], g.abs() + EPS)
    return [w - c[0] * (m / u), m, u]


def _radam(w: Tensor, g: Tensor, moments: Sequence[Tensor], c: Sequence[Tensor]) -> list[Tensor]:
    m, v = _mean(moments[0], g), B2 * moments[1] + (1 - B2) * g * g
    return [w - m * (c[0] / (v.sqrt() + EPS) + c[1]), m, v]


def _sgd(w: Tensor, g: Tensor, _: Sequence[Tensor], c: Sequence[Tensor]) -> list[Tensor]:
    return [w - c[0] * g]


def _mean(m: Tensor, g: Tensor) -> Tensor:
    return m + (1 - B1) * (g - m)


_LAWS: dict[str, Callable[..., list[Tensor]]] = {
    "adam": _adam,
    "adamw": _adamw,
    "adamax": _adamax,
    "radam": _radam,
    "sgd": _sgd,
}
