r"""The mean of a logistic function of a normal number, and the number given that an event occurred.

    sigmoid(t) = E_K[Phi(t / (2 K))]        K has Kolmogorov's distribution
              ~= sum_k w_k Phi(t / l_k)      16 nodes: wrong by less than 1e-8

    t ~ N(m, v^2)     E[sigmoid(t)] = sum_k w_k Phi(m / sqrt(l_k^2 + v^2))

So the mean is in closed form for every m and v, with the same error. If an event has probability
sigmoid(t), then t given the event is a mixture of the truncated normals behind each Phi.

Reference:
    Andrews & Mallows (1974), "Scale mixtures of normal distributions"; Monahan & Stefanski (1992),
    "Normal scale mixture approximations to F*(z) and computation of the logistic-normal integral".
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

__all__ = ["log_mean_sigmoid", "sample_given_event"]

NODES, LOWEST, HIGHEST = 16, 0.28, 4.0
TERMS = 40


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
    """l_k, sqrt(l_k^2 + v^2), and log w_k + log Phi(m / sqrt(l_k^2 + v^2)), each (*, 16)."""
    widths, log_weights = (loc.new_tensor(values) for values in _nodes())
    spread = torch.hypot(widths, scale.unsqueeze(-1))
    return widths, spread, log_weights + torch.special.log_ndtr(loc.unsqueeze(-1) / spread)


def log_mean_sigmoid(loc: Tensor, scale: Tensor) -> Tensor:
    """log E[sigmoid(t)] for t ~ N(loc, scale^2), elementwise.

    Example:
        >>> log_mean_sigmoid(torch.zeros(2), torch.tensor([0.0, 9.0])).exp()
        tensor([0.5000, 0.5000])
    """
    return _parts(loc, scale)[2].logsumexp(-1)


@torch.no_grad()
def sample_given_event(loc: Tensor, scale: Tensor) -> Tensor:
    """A sample of t ~ N(loc, scale^2) given an event of probability sigmoid(t), elementwise.

    Exact up to the nodes: a node k, then t + l_k noise truncated to positive numbers, then t.

    Example:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch...>
        >>> bool((sample_given_event(torch.zeros(99), torch.full((99,), 50.0)) > -9).all())
        True
    """
    m, v = loc.double(), scale.double()
    widths, spread, log_parts = _parts(m, v)
    k = torch.distributions.Categorical(logits=log_parts).sample().unsqueeze(-1)
    spread = spread.gather(-1, k).squeeze(-1)
    above = _positive_normal(m, spread)
    slope = (v / spread).square()
    apart = v * widths[k.squeeze(-1)] / spread
    return (m + slope * (above - m) + apart * torch.randn_like(m)).to(loc.dtype)


def _positive_normal(loc: Tensor, scale: Tensor) -> Tensor:
    """A sample of N(loc, scale^2) truncated to positive numbers, by the inverse of log Phi."""
    log_u = torch.log(torch.rand_like(loc).clamp(min=1e-300)) + torch.special.log_ndtr(loc / scale)
    return loc - scale * _ndtri_exp(log_u)


def _ndtri_exp(log_p: Tensor) -> Tensor:
    """The y with log Phi(y) = log_p: Newton's steps from an asymptote in the tail."""
    y = torch.special.ndtri(log_p.exp().clamp(1e-300, 1 - 1e-16))
    for _ in range(4):  # log Phi is concave, and the first guess is near
        log_cdf = torch.special.log_ndtr(y)
        slope = torch.exp(-0.5 * y.square() - 0.5 * math.log(2 * math.pi) - log_cdf)
        y = torch.where(log_p < -30, y - (log_cdf - log_p) / slope, y)
    return y
