r"""Distributions on the unit sphere of R^D, as densities with respect to its area.

HypersphericalUniform   p(z) = 1 / area,   area = 2 pi^(D/2) / Gamma(D/2)
ProjectedNormal         z = x / |x|,  x ~ N(mu, I)

The density of `ProjectedNormal` is that of x integrated along the ray of z. With t = mu.z,

    q(z) = (2 pi)^(-D/2) exp(-|mu - t z|^2 / 2 - t-^2 / 2) I(t),    t+ = max(t, 0), t- = min(t, 0)
    I(t) = int_0^inf r^(D-1) exp(-(r - t+)^2 / 2 + r t-) dr

The integrand is that of the density, r^(D-1) exp(-(r - t)^2 / 2), without the constant that is
large if t is far below 0. It is log-concave with its mode at r* = (t + sqrt(t^2 + 4 (D - 1))) / 2.
64 Gauss-Legendre nodes cover the range in which it is above e^-40 of the mode.

Reference:
    Hernandez-Stumpfhauser, Breidt & van der Woerd (2017), "The General Projected Normal
    Distribution of Arbitrary Dimension".
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor

from pyrovae.distributions.composed import Composed, Draw, alike

__all__ = ["HypersphericalUniform", "ProjectedNormal"]

NODES = 64
DEPTH = 40.0  # nats below the mode


class HypersphericalUniform(Composed):
    """The uniform distribution on the unit sphere.

    Arguments:
        zero: zeros (*, D) with the shape, type and device of the samples.

    Example:
        >>> log_p = HypersphericalUniform(torch.zeros(3)).log_prob(torch.tensor([0.0, 0.0, 1.0]))
        >>> torch.allclose((-log_p).exp(), torch.tensor(4 * torch.pi))
        True
    """

    support = constraints.sphere

    def __init__(self, zero: Tensor, *, validate_args: bool | None = None) -> None:
        self.zero = zero
        super().__init__(zero.shape[:-1], zero.shape[-1:], validate_args=validate_args)

    def compose(self, draw: Draw) -> Tensor:
        return _unit(draw(dist.Normal(self.zero, 1.0)))

    def log_prob(self, value: Tensor) -> Tensor:
        """-log(area), (*), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        half = self.event_shape[0] / 2
        log_area = math.log(2) + half * math.log(math.pi) - math.lgamma(half)
        shape = torch.broadcast_shapes(self.batch_shape, value.shape[:-1])
        return value.new_full((), -log_area).expand(shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> HypersphericalUniform:  # noqa: ANN401
        zero = self.zero.expand(*batch_shape, -1)
        return alike(HypersphericalUniform(zero, validate_args=False), self)


class ProjectedNormal(Composed):
    """The direction of a normal vector with unit covariance, for any D of 2 or more.

    Arguments:
        loc: mu, (*, D); its length is the concentration.

    Example:
        >>> loc, z = torch.tensor([0.3, -2.0, 0.5]), torch.tensor([0.6, -0.8, 0.0])
        >>> ProjectedNormal(loc).log_prob(z), dist.ProjectedNormal(loc).log_prob(z)
        (tensor(-0.9987), tensor(-0.9987))
    """

    arg_constraints = {"loc": constraints.real_vector}
    support = constraints.sphere

    def __init__(self, loc: Tensor, *, validate_args: bool | None = None) -> None:
        self.loc = loc
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=validate_args)

    def compose(self, draw: Draw) -> Tensor:
        return _unit(draw(dist.Normal(self.loc, 1.0)))

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(value), (*), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        dim = self.event_shape[0]
        t = (self.loc * value).sum(-1)
        # |mu|^2 - t^2 would lose all digits if mu is long.
        across = (self.loc - t.unsqueeze(-1) * value).square().sum(-1)
        constant = across + t.clamp(max=0).square()
        return _log_integral(t, dim) - 0.5 * (constant + dim * math.log(2 * math.pi))

    def expand(self, batch_shape: Any, _instance: Any = None) -> ProjectedNormal:  # noqa: ANN401
        loc = self.loc.expand(*batch_shape, -1)
        return alike(ProjectedNormal(loc, validate_args=False), self)


def _unit(x: Tensor) -> Tensor:
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)


def _log_integral(t: Tensor, dim: int) -> Tensor:
    """log I(t) for each t."""
    x, weight = (torch.as_tensor(a, dtype=t.dtype, device=t.device) for a in _legendre())
    low, high = _limits(t.detach(), dim)
    half = ((high - low) / 2).unsqueeze(-1)
    r = low.unsqueeze(-1) + half * (x + 1)
    above = t.clamp(min=0)
    below = t - above
    log_f = (dim - 1) * r.log() - 0.5 * (r - above.unsqueeze(-1)).square() + r * below.unsqueeze(-1)
    return torch.logsumexp(log_f + (half * weight).log(), -1)


def _limits(t: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The limits at which the integrand has fallen to e^-DEPTH of its mode, or further."""
    root = (t.square() + 4 * (dim - 1)).sqrt()
    # Half of root + t would lose all digits if t is far below zero.
    mode = torch.where(t > 0, (root + t) / 2, 2 * (dim - 1) / (root - t).clamp_min(1e-30))
    reach = math.sqrt(2 * DEPTH)  # from its factor exp(-(r - t)^2 / 2)
    a = DEPTH / (dim - 1)  # from (dim - 1) (y - log(1 + y)) > (dim - 1) y^2 / (2 + 2 y), y = r / mode - 1
    right = torch.clamp(mode * (a + math.sqrt(a * a + 2 * a)), max=reach)
    left = torch.clamp(mode * math.sqrt(2 * a), max=reach)
    return (mode - left).clamp_min(0), mode + right


@cache
def _legendre() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(NODES)
