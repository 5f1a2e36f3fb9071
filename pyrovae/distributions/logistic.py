r"""Normal numbers, and events whose probability is a logistic function of them.

    sigmoid(t) = E_K[Phi(t / (2 K))]        K has Kolmogorov's distribution
              ~= sum_k w_k Phi(t / l_k)      16 nodes: wrong by less than 1e-8

    t ~ N(m, v^2)     E[sigmoid(t)] = sum_k w_k Phi(m / sqrt(l_k^2 + v^2))

So the mean is in closed form for every m and v, with the same error. Given an event of probability
sigmoid(t), t is a mixture over k: V = t + l_k noise is truncated to positive numbers, and t given V
is normal.

Reference:
    Andrews & Mallows (1974), "Scale mixtures of normal distributions"; Monahan & Stefanski (1992),
    "Normal scale mixture approximations to F*(z) and computation of the logistic-normal integral";
    Azzalini (1985), "A class of distributions which includes the normal ones".
"""

from __future__ import annotations

import math
from functools import cache, cached_property
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid
from torch.types import _size

from pyrovae.distributions.composed import Composed, Draw, alike, draw_index

__all__ = ["NormalGivenEvent", "log_mean_sigmoid"]

NODES, LOWEST, HIGHEST = 16, 0.28, 4.0
TERMS = 40
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
TAIL = -30.0  # the log-probability below which an inverse of Phi needs Newton's steps


@cache
def _nodes() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """l_k and log w_k: a trapezoid over log K."""
    step = math.log(HIGHEST / LOWEST) / (NODES - 1)
    places = [LOWEST * math.exp(k * step) for k in range(NODES)]
    masses = [place * _kolmogorov(place) for place in places]
    return tuple(2 * place for place in places), tuple(math.log(mass / sum(masses)) for mass in masses)


def _kolmogorov(k: float) -> float:
    """The density of Kolmogorov's distribution."""
    terms = ((-1) ** (j - 1) * j * j * math.exp(-2 * j * j * k * k) for j in range(1, TERMS))
    return 8 * k * math.fsum(terms)


def _parts(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """l_k (16,), sqrt(l_k^2 + v^2) and log w_k + log Phi(m / sqrt(l_k^2 + v^2)), (*, 16)."""
    widths, log_weights = (loc.new_tensor(values) for values in _nodes())
    spread = (widths.square() + scale.square().unsqueeze(-1)).sqrt()
    return widths, spread, log_weights + torch.special.log_ndtr(loc.unsqueeze(-1) / spread)


def log_mean_sigmoid(loc: Tensor, scale: Tensor) -> Tensor:
    """log E[sigmoid(t)] for t ~ N(loc, scale^2), elementwise.

    Example:
        >>> log_mean_sigmoid(torch.zeros(2), torch.tensor([0.0, 9.0])).exp()
        tensor([0.5000, 0.5000])
    """
    return _parts(loc, scale)[2].logsumexp(-1)


class NormalGivenEvent(Composed):
    r"""u ~ N(loc, scale^2) given that an event of probability sigmoid(slope u + offset) occurred.

    \[\log p(u) = \log \mathcal N(u; m, s^2) + \log \mathrm{sigmoid}(a u + b)
    - \log \mathbb E[\mathrm{sigmoid}(a u + b)]\]

    Arguments:
        loc, scale: of u, batch (*).
        slope, offset: a and b, broadcastable to the batch.

    Example:
        >>> zero, one = torch.zeros(()), torch.ones(())
        >>> NormalGivenEvent(zero, one, 50 * one, zero).mean  # nearly half a normal distribution
        tensor(0.7974)
    """

    has_rsample = False
    support: constraints.Constraint = constraints.real

    def __init__(self, loc: Tensor, scale: Tensor, slope: Tensor, offset: Tensor) -> None:
        self.loc, self.scale, self.slope, self.offset = torch.broadcast_tensors(loc, scale, slope, offset)
        super().__init__(self.loc.shape, validate_args=False)

    @cached_property
    def _logit(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of t = slope u + offset without the event."""
        return self.slope * self.loc + self.offset, (self.slope * self.scale).abs()

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), elementwise, in nats."""
        without = dist.Normal(self.loc, self.scale).log_prob(value)
        return without + logsigmoid(self.slope * value + self.offset) - log_mean_sigmoid(*self._logit)

    def compose(self, draw: Draw) -> Tensor:
        """One value for each entry of the batch: k, then V, then u."""
        widths, spread, log_parts = _parts(*(part.double() for part in self._logit))
        k = draw_index(draw, log_parts.log_softmax(-1))
        width, spread = widths[k], spread.gather(-1, k.unsqueeze(-1)).squeeze(-1)
        h = self._logit[0] / spread
        uniform = draw(dist.Uniform(torch.zeros_like(h), 1.0)).clamp(min=1e-300)
        y = -_inverse(uniform.log() + torch.special.log_ndtr(h))  # V, standardised
        noise = self.slope * self.scale / spread * y
        noise = noise + width / spread * draw(dist.Normal(torch.zeros_like(h), 1.0))
        return (self.loc + self.scale * noise).to(self.loc.dtype)

    @property
    def mean(self) -> Tensor:
        return self.loc + self.scale * self._moments[0]

    @property
    def variance(self) -> Tensor:
        return self.scale.square() * self._moments[1]

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of (u - loc) / scale."""
        widths, spread, log_parts = _parts(*self._logit)
        weights, h = log_parts.softmax(-1), self._logit[0].unsqueeze(-1) / spread
        ratio = torch.exp(-0.5 * h.square() - HALF_LOG_2PI - torch.special.log_ndtr(h))
        share = (self.slope * self.scale).unsqueeze(-1) / spread
        means = share * ratio
        within = share.square() * (1 - ratio * (ratio + h)).clamp(min=0) + (widths / spread).square()
        mean = (weights * means).sum(-1)
        return mean, (weights * (within + (means - mean.unsqueeze(-1)).square())).sum(-1)

    def expand(self, batch_shape: _size, _instance: Any = None) -> NormalGivenEvent:  # noqa: ANN401
        parts = (part.expand(batch_shape) for part in (self.loc, self.scale, self.slope, self.offset))
        return alike(NormalGivenEvent(*parts), self)


def _inverse(log_p: Tensor) -> Tensor:
    """The y with log Phi(y) = log_p, in the tail by Newton's steps on log Phi, which is concave."""
    y = torch.special.ndtri(log_p.exp().clamp(1e-300, 1 - 1e-16))
    for _ in range(4):
        log_cdf = torch.special.log_ndtr(y)
        slope = torch.exp(-0.5 * y.square() - HALF_LOG_2PI - log_cdf)
        y = torch.where(log_p < TAIL, y - (log_cdf - log_p) / slope, y)
    return y
