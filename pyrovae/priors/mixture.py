r"""Mixtures of Gaussians as priors.

p(z) = sum_k pi_k N(z; mu_k, Sigma_k)

Means that are spread lie on a sphere, as far from each other as they can, the closest two 4 standard
deviations apart: on a circle in the plane, at the corners of a simplex where there are enough dimensions.
"""

from __future__ import annotations

import math
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.errors import InputError
from pyrovae.numerics import inverse_positive, positive
from pyrovae.priors.base import Prior, at_least

__all__ = ["GaussianMixture"]

APART = 4.0


class GaussianMixture(Prior):
    r"""A mixture of Gaussians with learned weights, means and scales, marginalised over components.

    \[p(z) = \sum_{k=1}^{K} \pi_k \, \mathcal N(z; \mu_k, \Sigma_k), \qquad
    \Sigma_k = \mathrm{diag}\, \sigma_k^2 \quad\text{or}\quad L_k L_k^\top\]

    Given a context c the weights depend on it, \(\pi(c) = \mathrm{softmax}(b + A c)\), with A zero at first.

    Arguments:
        components: the number K of components.
        covariance: "diagonal" or "full".
        start: means at "random", or "spread", the closest two 4 standard deviations apart.
        learned: with False weights, means and scales stay as they start; A is learned all the same.

    Raises:
        InputError: when `components` is below 1, or for an unknown `covariance` or `start`.

    Reference:
        Dilokthanakul et al. (2016), "Deep Unsupervised Clustering with Gaussian Mixture VAEs".

    Example:
        >>> prior = GaussianMixture(components=10)
        >>> prior.attach(latent_dim=2)
        >>> prior().log_prob(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    logits: Tensor
    loc: Tensor
    raw_scale: Tensor
    lower: Tensor

    def __init__(
        self,
        components: int = 10,
        covariance: Literal["diagonal", "full"] = "diagonal",
        start: Literal["random", "spread"] = "random",
        *,
        learned: bool = True,
    ) -> None:
        super().__init__()
        self.components = components
        self.covariance = covariance
        self.start = start
        self.learned = learned

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        self._check()
        shape = (self.components, latent_dim)
        spread = self.start == "spread"
        self._keep("logits", torch.zeros(self.components))
        self._keep("loc", _spread(*shape) if spread else torch.randn(shape))
        self._keep("raw_scale", torch.full(shape, inverse_positive(1.0)))
        if self.covariance == "full":
            self._keep("lower", torch.zeros(*shape, latent_dim))
        self.gate = nn.Linear(context_dim, self.components, bias=False) if context_dim else None
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)

    def _check(self) -> None:
        at_least(self, 1, components=self.components)
        if self.covariance not in ("diagonal", "full"):
            raise InputError(f"unknown covariance {self.covariance!r}: choose diagonal or full")
        if self.start not in ("random", "spread"):
            raise InputError(f"unknown start {self.start!r}: choose random or spread")

    def _keep(self, name: str, value: Tensor) -> None:
        if self.learned:
            setattr(self, name, nn.Parameter(value))
        else:  # what was drawn must come back with the weights
            self.register_buffer(name, value, persistent=self.start == "random")

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        logits = self.logits if self.gate is None or context is None else self.logits + self.gate(context)
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), self._components(logits.shape))

    def _components(self, batch: torch.Size) -> dist.TorchDistribution:
        scale = positive(self.raw_scale)
        if self.covariance == "full":
            factor = self.lower.tril(-1) + scale.diag_embed()
            return dist.MultivariateNormal(self.loc, scale_tril=factor).expand(batch)
        return dist.Normal(self.loc, scale).expand((*batch, self.latent_dim)).to_event(1)


def _spread(count: int, dim: int) -> Tensor:
    """Points (count, dim), a pure function of the two numbers."""
    if dim == 1:
        return APART * (torch.arange(count) - (count - 1) / 2).unsqueeze(-1).to(torch.get_default_dtype())
    if dim == 2:
        angle = 2 * math.pi * torch.arange(count) / count
        points = torch.stack([angle.cos(), angle.sin()], -1).to(torch.get_default_dtype())
    else:
        points = _repelled(count, dim)
    nearest = torch.pdist(points).min() if count > 1 else torch.tensor(math.inf)
    return points * (APART / nearest)


def _repelled(count: int, dim: int) -> Tensor:
    """Points on the unit sphere that have pushed each other apart."""
    points = torch.randn(count, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for step in range(400):
        points = points / points.norm(dim=-1, keepdim=True)
        apart = points.unsqueeze(1) - points
        push = (apart / apart.square().sum(-1, keepdim=True).clamp_min(1e-6)).sum(1)
        along = push - (push * points).sum(-1, keepdim=True) * points
        points = points + 0.5 * 0.99**step * along / along.norm(dim=-1, keepdim=True).max().clamp_min(1e-6)
    return (points / points.norm(dim=-1, keepdim=True)).to(torch.get_default_dtype())
