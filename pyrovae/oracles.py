r"""Programs whose log p(x) and posterior are known exactly: what every estimate is tested against.

The linear-Gaussian model (probabilistic PCA; factor analysis when `scale` differs between elements):

    z ~ N(0, I),   x = W z + b + noise,   noise ~ N(0, diag(s^2))
    p(x)   = N(b, W W' + diag(s^2))
    p(z|x) = N(S W' diag(1/s^2) (x - b), S),   S = (I + W' diag(1/s^2) W)^-1

An oracle has `model` and `guide` like a VAE, and its guide is the exact posterior, so every importance
weight equals p(x): an estimator that is right has no variance there. For a VAE with one or two latents
`quadrature` integrates p(z) p(x|z) over a grid.

Reference:
    Tipping & Bishop (1999), "Probabilistic Principal Component Analysis".
"""

from __future__ import annotations

import math
from typing import Protocol, Self

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.errors import InputError
from pyrovae.terms import DATA

__all__ = ["LinearGaussian", "quadrature"]


class LinearGaussian(nn.Module):
    """The linear-Gaussian model with its exact posterior as guide.

    Arguments:
        weight: W, (E, D).
        bias: b, (E,).
        scale: s, a scalar or (E,).
        guide_scale: factor on the standard deviations of the guide; 1 is the exact posterior.

    Example:
        >>> oracle = LinearGaussian.random(event_dim=4, latent_dim=2)
        >>> x = oracle.sample(3)
        >>> oracle.log_px(x).shape, oracle.posterior(x).event_shape
        (torch.Size([3]), torch.Size([2]))
    """

    weight: Tensor
    bias: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, scale: Tensor, *, guide_scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("scale", scale.expand(len(weight)))
        self.guide_scale = guide_scale

    @classmethod
    def random(cls, event_dim: int, latent_dim: int, *, seed: int = 0, guide_scale: float = 1.0) -> Self:
        """A model with normal weights and bias and unequal noise, drawn from a seed."""
        rng = torch.Generator().manual_seed(seed)
        weight = torch.randn(event_dim, latent_dim, generator=rng)
        bias = torch.randn(event_dim, generator=rng)
        scale = 0.5 + torch.rand(event_dim, generator=rng)
        return cls(weight, bias, scale, guide_scale=guide_scale)

    def model(self, x: Tensor | None = None) -> Tensor:
        """The generative program; x (B, E), observed when given."""
        with pyro.plate(DATA, 1 if x is None else len(x), dim=-1):
            prior = dist.Normal(torch.zeros_like(self.weight[0]), 1.0).to_event(1)
            z = pyro.sample("z", prior)
            return pyro.sample(
                "x", dist.Normal(z @ self.weight.mT + self.bias, self.scale).to_event(1), obs=x
            )

    def guide(self, x: Tensor) -> Tensor:
        """The exact posterior, its standard deviations multiplied by `guide_scale`."""
        with pyro.plate(DATA, len(x), dim=-1):
            exact = self.posterior(x)
            return pyro.sample(
                "z", dist.MultivariateNormal(exact.loc, scale_tril=exact.scale_tril * self.guide_scale)
            )

    def posterior(self, x: Tensor) -> dist.MultivariateNormal:
        """p(z|x): x (B, E) -> batch (B,), event (D,)."""
        weighted = self.weight / self.scale.square().unsqueeze(-1)
        precision = torch.eye(self.weight.shape[1]).to(self.weight) + self.weight.mT @ weighted
        covariance = torch.linalg.inv(precision)
        loc = (x - self.bias) @ weighted @ covariance
        return dist.MultivariateNormal(loc, scale_tril=torch.linalg.cholesky(covariance))

    def log_px(self, x: Tensor) -> Tensor:
        """The exact log p(x) in nats: x (B, E) -> (B,)."""
        covariance = self.weight @ self.weight.mT + self.scale.square().diag()
        return dist.MultivariateNormal(self.bias, covariance).log_prob(x)

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Data (count, E) drawn from the model."""
        rng = torch.Generator().manual_seed(seed)
        z = torch.randn(count, self.weight.shape[1], generator=rng, dtype=self.weight.dtype)
        noise = torch.randn(count, len(self.bias), generator=rng, dtype=self.weight.dtype)
        return z @ self.weight.mT.cpu() + self.bias.cpu() + self.scale.cpu() * noise


class LatentModel(Protocol):
    """What `quadrature` integrates: a VAE, or anything with its p(z) and p(x|z)."""

    latent_dim: int

    def latents(self) -> dist.TorchDistribution:
        """p(z), event (D,)."""

    def decode(self, z: Tensor) -> dist.TorchDistribution:
        """p(x|z), z (*, D)."""


@torch.no_grad()
def quadrature(vae: LatentModel, x: Tensor, *, limit: float = 8.0, points: int | None = None) -> Tensor:
    r"""log p(x) of a VAE with one or two latents, by the trapezoidal rule on \([-\ell, \ell]^D\).

    \[\log p(x) = \log \int p(z)\, p(x|z)\, dz\]

    Arguments:
        vae: with `latent_dim` 1 or 2.
        x: data (N, *event).
        limit: half the side of the grid.
        points: grid points along each axis; 4,001 for one latent and 401 for two unless given.

    Returns:
        log p(x) in nats, (N,), float64.

    Raises:
        InputError: for more than two latents.
    """
    if vae.latent_dim > 2:
        raise InputError(f"quadrature needs a latent_dim of 1 or 2, not {vae.latent_dim}")
    points = points or (4001 if vae.latent_dim == 1 else 401)
    axis = torch.linspace(-limit, limit, points, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * vae.latent_dim).reshape(-1, vae.latent_dim).to(x)
    log_step = vae.latent_dim * math.log(2 * limit / (points - 1))
    log_pz = vae.latents().log_prob(grid).double()
    total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
    for z, log_p in zip(grid.split(2048), log_pz.split(2048), strict=True):
        log_px = vae.decode(z.unsqueeze(1)).log_prob(x).double()
        total = torch.logaddexp(total, torch.logsumexp(log_px + log_p.unsqueeze(1), 0))
    return total + log_step
