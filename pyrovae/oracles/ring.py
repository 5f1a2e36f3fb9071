r"""Doersch's ring: a decoder that maps a normal distribution to a ring.

    z ~ N(0, I_2),   x = f(z) + noise,   noise ~ N(0, s^2 I)
    f(z) = w z + r z / ||z||,   w = 1/10, r = 1

In polar coordinates z = rho (cos phi, sin phi) the angle is integrated in closed form: given rho
the angle between z and x is von Mises with concentration k = ||x|| R / s^2, R = r + w rho. The
remaining integral is over the length only,

    p(x) = integral rho exp(-rho^2 / 2) exp(-(||x|| - R)^2 / (2 s^2)) I_0(k) exp(-k) / (2 pi s^2) d
    rho

and is computed by the trapezoidal rule with rho = exp(t). The grid of the posterior has polar
nodes: its axes are radius and angle, and z is in the coordinates of the plane. Without noise, x is
`datasets.toys.ring`.

Reference:
    Doersch (2016), "Tutorial on Variational Autoencoders".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from pyrovae.oracles.curved import Curved
from pyrovae.quadrature import Nodes

__all__ = ["Ring"]

NODES, LOW, HIGH = 4001, -18.0, math.log(9.0)  # of t
TINY = 1e-24  # under a root: f(0) = 0 instead of 0/0


class Ring(Curved):
    """Points around the origin at radius r + w ||z||, in the direction of z, with noise.

    The guide is the normal distribution with the exact moments of the posterior.

    Example:
        >>> oracle = Ring()
        >>> x = oracle.sample(1000)
        >>> 1.1 < float(x.norm(dim=1).mean()) < 1.15  # 1 + E||z|| / 10, and a little for the noise
        True
        >>> oracle.log_px(x).shape
        torch.Size([1000])
    """

    latent_dim = 2
    constants: ClassVar[Mapping[str, float]] = {"width": 0.1, "radius": 1.0}
    width: float | Tensor
    radius: float | Tensor

    def __init__(self, scale: float = 0.05, *, guide_scale: float = 1.0, learned: bool = False) -> None:
        super().__init__(scale, guide_scale=guide_scale, learned=learned)

    def mean(self, z: Tensor) -> Tensor:
        inverse = z.square().sum(-1, keepdim=True).clamp(min=TINY).rsqrt()
        return z * (self.width + self.radius * inverse)

    @torch.no_grad()
    def log_px(self, x: Tensor) -> Tensor:
        x, exact = self._checked(x), self.double_copy()
        log_joint, _, _ = exact._along_the_radius(x)
        return log_joint.logsumexp(1)

    @torch.no_grad()
    def moments(self, x: Tensor, *, limit: float = 6.0) -> tuple[Tensor, Tensor]:
        log_joint, rho, k = self._along_the_radius(x)
        share = log_joint.softmax(1)
        k = k.clamp(min=1e-12)
        cosine = torch.special.i1e(k) / torch.special.i0e(k)  # E[cos] of the angle between z and x
        across = (share * rho.square() * cosine / k).sum(1)  # E[sin^2] is E[cos] / k
        along = (share * rho.square()).sum(1) - across
        length = (share * rho * cosine).sum(1)
        unit = x * x.square().sum(1, keepdim=True).clamp(min=TINY).rsqrt()
        loc = length.unsqueeze(1) * unit
        turn = torch.stack([unit, torch.stack([-unit[:, 1], unit[:, 0]], 1)], -1)
        spread = torch.stack([along - length.square(), across], -1)
        return loc, turn @ spread.diag_embed() @ turn.mT

    def nodes(self, limit: float, points: int) -> Nodes:
        """Gauss-Legendre nodes along the radius and even ones in the angle, since f jumps at 0."""
        place, weight = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(points))
        rho, weight = limit * (1 + place) / 2, limit * weight / 2
        angle = torch.arange(points, dtype=torch.float64) * (2 * math.pi / points)
        z = torch.stack([torch.outer(rho, angle.cos()), torch.outer(rho, angle.sin())], -1)
        area = (rho * weight * (2 * math.pi / points)).repeat_interleave(points)
        return Nodes(z.flatten(0, 1), area, (points, points))

    def _along_the_radius(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log p(x, rho) d rho at the nodes, without the angle, (B, G); rho (G,); and k (B, G)."""
        t = torch.linspace(LOW, HIGH, NODES, dtype=torch.float64, device=x.device).to(x)
        rho = t.exp()
        norm, radius = x.norm(dim=1, keepdim=True), self.radius + self.width * rho
        variance = self.scale.square()
        k = norm * radius / variance
        log_p = (
            2 * t  # the Rayleigh density's rho, and that of d rho = rho dt
            - rho.square() / 2
            - (norm - radius).square() / (2 * variance)
            + torch.special.i0e(k).log()
            - (2 * math.pi * variance).log()
        )
        return log_p + math.log((HIGH - LOW) / (NODES - 1)), rho, k
