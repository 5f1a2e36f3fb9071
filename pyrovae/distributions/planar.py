r"""Planar maps, whose inverse is one monotone equation in one unknown.

    T(z) = z + u h(w.z + b),    h = tanh,    log |det dT/dz| = log(1 + w.u h'(w.z + b))

T is invertible if w.u > -1, so the component of u along w is corrected: w.u -> m(w.u), with
m(a) = softplus(a + k) - 1. The constant k is chosen so that m(0) = 0, and u = 0 is the identity.
At z' = T(z), the number a = w.z + b is the solution of

    a + (w.u) tanh(a) = w.z' + b,    whose left side increases.

Reference:
    Rezende & Mohamed (2015), "Variational Inference with Normalizing Flows", appendix A.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyrovae.numerics import UNIT, positive

__all__ = ["Planar"]

BISECTIONS, NEWTON_STEPS = 30, 3  # to 1e-9 of the bracket, then to rounding


class Planar:
    """A sequence of T planar maps.

    Arguments:
        u: directions, before the correction, (*, T, D).
        w: normals, (*, T, D).
        b: offsets, (*, T).

    Example:
        >>> maps = Planar(torch.ones(3, 2), torch.ones(3, 2), torch.zeros(3))
        >>> z, log_det = maps.push(torch.tensor([0.5, -1.0]))
        >>> e, back = maps.pull(z)
        >>> torch.allclose(e, torch.tensor([0.5, -1.0]), atol=1e-6)
        True
        >>> torch.allclose(back, -log_det, atol=1e-5)
        True
    """

    def __init__(self, u: Tensor, w: Tensor, b: Tensor) -> None:
        along = (w * u).sum(-1)
        bent = positive(along + UNIT) - 1
        length = w.square().sum(-1).clamp_min(1e-12)
        self.u = u + ((bent - along) / length).unsqueeze(-1) * w
        self.w, self.b, self.along = w, b, bent

    def push(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """T(z), (*, D), and log |det dT/dz|, (*)."""
        log_det = torch.zeros_like(z[..., 0])
        for u, w, b, along in self._each():
            h = torch.tanh((w * z).sum(-1) + b)
            z = z + u * h.unsqueeze(-1)
            log_det = log_det + torch.log1p(along * (1 - h.square()))
        return z, log_det

    def pull(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse at z, and the logarithm of its Jacobian."""
        log_det = torch.zeros_like(z[..., 0])
        for u, w, b, along in reversed(self._each()):
            h = torch.tanh(_solved(along, (w * z).sum(-1) + b))
            z = z - u * h.unsqueeze(-1)
            log_det = log_det - torch.log1p(along * (1 - h.square()))
        return z, log_det

    def _each(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        columns = (self.u.unbind(-2), self.w.unbind(-2), self.b.unbind(-1), self.along.unbind(-1))
        return list(zip(*columns, strict=True))


def _solved(c: Tensor, target: Tensor) -> Tensor:
    """The root a of a + c tanh(a) = target for c > -1, differentiable in both."""
    with torch.no_grad():
        low, high = target - c.abs(), target + c.abs()
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            above = middle + c * torch.tanh(middle) > target
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        a = (low + high) / 2
        for _ in range(NEWTON_STEPS):
            a = a - (a + c * torch.tanh(a) - target) / _slope(c, a)
    # One more Newton step, with only the numerator differentiated, has the gradient of the root.
    return a - (a + c * torch.tanh(a) - target) / _slope(c, a).detach()


def _slope(c: Tensor, a: Tensor) -> Tensor:
    return 1 + c * (1 - torch.tanh(a).square())
