r"""Nonlinear decoders of one or two latents, whose evidence is an integral that a grid does to 1e-8.

    z ~ N(0, I_D),   x = f(z) + noise,   noise ~ N(0, s^2),   D = 1 or 2
    p(x) = integral N(z; 0, I) N(x; f(z), s^2) dz

    Curve    f(z) = (exp(sin(2 + 3.675 z)) / 2, cos(2 + 2.85 z))   D = 1, the example of Prince's chapter
    Fold     f(z) = z^2                                            D = 1, two modes, +z and -z
    Banana   f(z) = (z_1, z_2 + z_1^2)                             D = 2, a bent posterior

The guide is the normal law with the posterior's own mean and covariance, read from a grid.

Reference:
    Prince (2023), "Understanding Deep Learning", chapter 17.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.oracles.quadrature import grid, quadrature
from pyrovae.terms import DATA

__all__ = ["Banana", "Curve", "Curved", "Fold"]


class Curved(nn.Module, ABC):
    """Base class: a subclass gives f.

    Arguments:
        scale: s.
        guide_scale: factor on the standard deviations of the guide; 1 has those of the posterior.

    Attributes:
        latent_dim: D.
        one_side: whether the guide looks only at z_1 > 0.
    """

    latent_dim: int = 1
    one_side: bool = False
    scale: Tensor
    zero: Tensor

    def __init__(self, scale: float = 0.25, *, guide_scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("zero", torch.zeros(self.latent_dim))
        self.guide_scale = guide_scale

    @abstractmethod
    def mean(self, z: Tensor) -> Tensor:
        """f(z): (*, D) -> (*, E)."""

    def latents(self) -> dist.TorchDistribution:
        """p(z), event (D,)."""
        return dist.Normal(self.zero, 1.0).to_event(1)

    def decode(self, z: Tensor) -> dist.TorchDistribution:
        """p(x|z), z (*, D)."""
        return dist.Normal(self.mean(z), self.scale).to_event(1)

    def model(self, x: Tensor | None = None) -> Tensor:
        """The generative program; x (B, E), observed when given."""
        with pyro.plate(DATA, 1 if x is None else len(x), dim=-1):
            z = pyro.sample("z", self.latents())
            return pyro.sample("x", self.decode(z), obs=x)

    def guide(self, x: Tensor) -> Tensor:
        """The normal law with the moments of the posterior, or of its half, widened by `guide_scale`."""
        with pyro.plate(DATA, len(x), dim=-1):
            loc, covariance = self.moments(x)
            tril = self.guide_scale * torch.linalg.cholesky(covariance)
            return pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=tril))

    @torch.no_grad()
    def moments(self, x: Tensor, *, limit: float = 6.0) -> tuple[Tensor, Tensor]:
        """The mean (B, D) and covariance (B, D, D) of p(z|x), of its half z_1 > 0 when `one_side`."""
        z = grid(self.latent_dim, limit, 1201 if self.latent_dim == 1 else 121).to(x)
        z = z[z[:, 0] > 0] if self.one_side else z
        log_p = self.latents().log_prob(z).unsqueeze(1) + self.decode(z.unsqueeze(1)).log_prob(x)
        share = log_p.softmax(0).mT  # (B, G)
        loc = share @ z
        second = torch.einsum("bg,gi,gj->bij", share, z, z)
        return loc, second - loc.unsqueeze(-1) * loc.unsqueeze(-2)

    def log_px(self, x: Tensor) -> Tensor:
        """log p(x) in nats, exact to 1e-8: x (B, E) -> (B,), float64."""
        return quadrature(self.double_copy(), x.double())

    def double_copy(self) -> Curved:
        """The same model in float64: a grid's sum needs the digits."""
        copy = type(self)(guide_scale=self.guide_scale).double()
        copy.load_state_dict(self.state_dict())
        return copy.to(self.zero.device)

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Data (count, E) drawn from the model."""
        rng = torch.Generator().manual_seed(seed)
        z = torch.randn(count, self.latent_dim, generator=rng, dtype=self.zero.dtype)
        mean = self.mean(z.to(self.zero)).cpu()
        return mean + self.scale.cpu() * torch.randn(mean.shape, generator=rng, dtype=mean.dtype)


class Curve(Curved):
    """A curve in the plane that nearly meets itself.

    Example:
        >>> oracle = Curve()
        >>> x = oracle.sample(3)
        >>> coarse = quadrature(oracle.double(), x.double(), points=2001)
        >>> bool((oracle.log_px(x) - coarse).abs().max() < 1e-8)
        True
    """

    def mean(self, z: Tensor) -> Tensor:
        return torch.cat([torch.exp(torch.sin(2 + 3.675 * z)) / 2, torch.cos(2 + 2.85 * z)], -1)


class Fold(Curved):
    """The square: z and -z explain x alike, and the guide has seen only one of them.

    For x well above 0 the two modes are apart. Each weight of the guide's draws looks perfect, and the
    estimate is low by log 2.

    Example:
        >>> oracle = Fold()
        >>> loc, covariance = oracle.moments(torch.tensor([[4.0]]))
        >>> round(float(loc), 1)  # and -2.0 as well
        2.0
    """

    one_side = True

    def mean(self, z: Tensor) -> Tensor:
        return z.square()


class Banana(Curved):
    """A parabola in two latents, whose posterior no normal law matches.

    Example:
        >>> oracle = Banana()
        >>> oracle.log_px(oracle.sample(3)).shape
        torch.Size([3])
    """

    latent_dim = 2

    def mean(self, z: Tensor) -> Tensor:
        first, second = z.unbind(-1)
        return torch.stack([first, second + first.square()], -1)
