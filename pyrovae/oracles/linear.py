r"""The linear-Gaussian model: probabilistic PCA, or factor analysis if `scale` is not a scalar.

    z ~ N(0, I),   x = W z + b + noise,   noise ~ N(0, diag(s^2))
    p(x)   = N(b, W W' + diag(s^2))
    p(z|x) = N(S W' diag(1/s^2) (x - b), S),   S = (I + W' diag(1/s^2) W)^-1

Reference:
    Tipping & Bishop (1999), "Probabilistic Principal Component Analysis".
"""

from __future__ import annotations

from typing import Self

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.checks import whole
from pyrovae.oracles.given import normal_given
from pyrovae.seeds import generator_of
from pyrovae.terms import DATA

__all__ = ["LinearDecoder", "LinearGaussian"]


class LinearDecoder(nn.Module):
    """Base class of linear oracles: x = W z + b + noise, noise ~ N(0, diag(s^2)).

    Arguments:
        weight: W, (E, D).
        bias: b, (E,).
        scale: s, a scalar or (E,).
        guide_scale: factor on the standard deviations of the guide; 1 gives the exact posterior.
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

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of x, (E,)."""
        return (len(self.bias),)

    def decode(self, z: Tensor) -> dist.TorchDistribution:
        """p(x|z): z (*, D) -> batch (*), event (E,)."""
        return dist.Normal(z @ self.weight.mT + self.bias, self.scale).to_event(1)

    def _weighted(self) -> Tensor:
        """diag(1/s^2) W, (E, D)."""
        return self.weight / self.scale.square().unsqueeze(-1)

    def _observations(self, z: Tensor, rng: torch.Generator) -> Tensor:
        """Sample x (N, E) at z (N, D), both on the CPU."""
        noise = torch.randn(len(z), len(self.bias), generator=rng, dtype=self.bias.dtype)
        return z @ self.weight.mT.cpu() + self.bias.cpu() + self.scale.cpu() * noise


class LinearGaussian(LinearDecoder):
    """The linear-Gaussian model with its exact posterior as guide.

    Arguments:
        weight, bias, scale, guide_scale: as for `LinearDecoder`.

    Example:
        >>> oracle = LinearGaussian.random(event_dim=4, latent_dim=2)
        >>> x = oracle.sample(3)
        >>> oracle.log_px(x).shape, oracle.posterior(x).event_shape
        (torch.Size([3]), torch.Size([2]))
    """

    @classmethod
    def random(cls, event_dim: int, latent_dim: int, *, seed: int = 0, guide_scale: float = 1.0) -> Self:
        """A model with normal weights and bias and unequal noise, drawn from a seed."""
        event_dim, latent_dim = whole("event_dim", event_dim), whole("latent_dim", latent_dim)
        rng = generator_of(seed)
        weight = torch.randn(event_dim, latent_dim, generator=rng)
        bias = torch.randn(event_dim, generator=rng)
        scale = 0.5 + torch.rand(event_dim, generator=rng)
        return cls(weight, bias, scale, guide_scale=guide_scale)

    def model(self, x: Tensor | None = None) -> Tensor:
        """The generative program; x (B, E) is observed if given."""
        with pyro.plate(DATA, 1 if x is None else len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(self.weight[0]), 1.0).to_event(1))
            return pyro.sample("x", self.decode(z), obs=x)

    def guide(self, x: Tensor) -> Tensor:
        """The exact posterior, with standard deviations multiplied by `guide_scale`."""
        with pyro.plate(DATA, len(x), dim=-1):
            exact = self.posterior(x)
            tril = exact.scale_tril * self.guide_scale
            return pyro.sample("z", dist.MultivariateNormal(exact.loc, scale_tril=tril))

    def posterior(self, x: Tensor) -> dist.MultivariateNormal:
        """p(z|x): x (B, E) -> batch (B,), event (D,)."""
        weighted = self._weighted()
        precision = torch.eye(self.weight.shape[1]).to(self.weight) + self.weight.mT @ weighted
        covariance = torch.linalg.inv(precision)
        loc = (x - self.bias) @ weighted @ covariance
        return dist.MultivariateNormal(loc, scale_tril=torch.linalg.cholesky(covariance))

    def log_px(self, x: Tensor) -> Tensor:
        """The exact log p(x) in nats: x (B, E) -> (B,)."""
        covariance = self.weight @ self.weight.mT + self.scale.square().diag()
        return dist.MultivariateNormal(self.bias, covariance).log_prob(x)

    def given(
        self, y: Tensor, matrix: Tensor | None = None, sd: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The exact log p(y) (B,), and mean (B, E) and covariance (B, E, E) of p(x|y).

        Arguments:
            y: y = A x + sd e, (B, F); NaN is a missing entry.
            matrix: A, (F, E); the identity by default.
            sd: the standard deviation of the noise.
        """
        covariance = self.weight @ self.weight.mT + self.scale.square().diag()
        return normal_given(self.bias, covariance, y, matrix, sd)

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Observations (count, E) drawn from the model."""
        rng = generator_of(seed)
        z = torch.randn(count, self.weight.shape[1], generator=rng, dtype=self.weight.dtype)
        return self._observations(z, rng)
