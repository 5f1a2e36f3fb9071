r"""Normal guides, the Laplace guide, and a guide on the sphere.

DiagonalNormal    z = loc + scale * noise
FullRankNormal    z = loc + L noise,  L lower triangular
LowRankNormal     z = loc + W noise_1 + scale * noise_2,  W of `rank` columns
Laplace           z = loc + scale * Laplace noise
ProjectedNormal   z = (loc + noise) / |loc + noise|
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae import distributions
from pyrovae.errors import InputError
from pyrovae.guides.base import Guide, Shape
from pyrovae.numerics import positive

__all__ = ["DiagonalNormal", "FullRankNormal", "Laplace", "LowRankNormal", "ProjectedNormal"]

REACH = 100.0


class _Located(Guide):
    """Base class with a location and a scale of each latent; a subclass may add parameters."""

    @property
    def param_shapes(self) -> dict[str, Shape]:
        return {"loc": (self.latent_dim,), "raw_scale": (self.latent_dim,)}


class DiagonalNormal(_Located):
    r"""Independent normal latents, \(q(z|x) = \mathcal N(z; \mu(x), \mathrm{diag}\,\sigma(x)^2)\).

    Reference:
        Kingma & Welling (2014), "Auto-Encoding Variational Bayes".

    Example:
        >>> import torch
        >>> guide = DiagonalNormal()
        >>> guide.attach(latent_dim=2)
        >>> guide(loc=torch.zeros(5, 2), raw_scale=torch.zeros(5, 2)).rsample().shape
        torch.Size([5, 2])
    """

    def forward(self, loc: Tensor, raw_scale: Tensor) -> dist.TorchDistribution:
        return dist.Normal(loc, positive(raw_scale)).to_event(1)


class FullRankNormal(_Located):
    r"""A Gaussian with a full covariance for each row, \(q(z|x) = \mathcal N(z; \mu, L L^\top)\).

    The head of L has D^2 outputs, so this is for tens of latents, not hundreds.

    Reference:
        Kingma & Welling (2019), "An Introduction to Variational Autoencoders", section 2.5.1.

    Example:
        >>> import torch
        >>> guide = FullRankNormal()
        >>> guide.attach(latent_dim=2)
        >>> guide(torch.zeros(5, 2), torch.zeros(5, 2), torch.ones(5, 2, 2)).rsample().shape
        torch.Size([5, 2])
    """

    @property
    def param_shapes(self) -> dict[str, Shape]:
        return super().param_shapes | {"lower": (self.latent_dim, self.latent_dim)}

    def forward(self, loc: Tensor, raw_scale: Tensor, lower: Tensor) -> dist.TorchDistribution:
        factor = lower.tril(-1) + positive(raw_scale).diag_embed()
        return dist.MultivariateNormal(loc, scale_tril=factor)


class LowRankNormal(_Located):
    r"""A Gaussian with covariance \(W W^\top + \mathrm{diag}\,\sigma^2\), where W has few columns.

    Row d of W is \(\sigma_d\) times the encoder's output, limited smoothly to 100: with larger
    values, the Cholesky factor may not exist in single precision.

    Arguments:
        rank: the number of columns of W.

    Raises:
        InputError: if `rank` is below 1.

    Reference:
        Rezende, Mohamed & Wierstra (2014), "Stochastic Backpropagation and Approximate Inference in
        Deep Generative Models", section 4.3.

    Example:
        >>> import torch
        >>> guide = LowRankNormal(rank=1)
        >>> guide.attach(latent_dim=3)
        >>> guide(torch.zeros(5, 3), torch.zeros(5, 3), torch.ones(5, 1, 3)).rsample().shape
        torch.Size([5, 3])
    """

    def __init__(self, rank: int = 2) -> None:
        super().__init__()
        self.rank = rank

    def attach(self, latent_dim: int, feature_dim: int = 0) -> None:
        super().attach(latent_dim, feature_dim)
        self.check_whole("rank")

    @property
    def param_shapes(self) -> dict[str, Shape]:
        return super().param_shapes | {"factors": (self.rank, self.latent_dim)}

    def forward(self, loc: Tensor, raw_scale: Tensor, factors: Tensor) -> dist.TorchDistribution:
        scale = positive(raw_scale)
        within = scale.unsqueeze(-2) * REACH * torch.tanh(factors / REACH)
        return dist.LowRankMultivariateNormal(loc, within.mT, scale.square())


class Laplace(_Located):
    r"""Independent Laplace latents, \(q(z|x) = \prod_d \tfrac{1}{2 b_d} e^{-|z_d - \mu_d| / b_d}\).

    Reference:
        Mathieu, Rainforth, Siddharth & Teh (2019), "Disentangling Disentanglement in Variational
        Autoencoders".

    Example:
        >>> import torch
        >>> guide = Laplace()
        >>> guide.attach(latent_dim=2)
        >>> guide(loc=torch.zeros(5, 2), raw_scale=torch.zeros(5, 2)).rsample().shape
        torch.Size([5, 2])
    """

    def forward(self, loc: Tensor, raw_scale: Tensor) -> dist.TorchDistribution:
        return dist.Laplace(loc, positive(raw_scale)).to_event(1)


class ProjectedNormal(Guide):
    r"""The direction of a normal vector, \(z = (\mu + e) / |\mu + e|, e \sim \mathcal N(0, I)\).

    The direction of \(\mu\) is the location, and its length the concentration. Use it with the
    prior `HypersphericalUniform`.

    Raises:
        InputError: if z has one entry, since the sphere then has only two points.

    Reference:
        Hernandez-Stumpfhauser, Breidt & van der Woerd (2017), "The General Projected Normal
        Distribution of Arbitrary Dimension"; Davidson et al. (2018), "Hyperspherical Variational
        Auto-Encoders".

    Example:
        >>> import torch
        >>> guide = ProjectedNormal()
        >>> guide.attach(latent_dim=3)
        >>> bool((guide(loc=torch.ones(5, 3)).rsample().norm(dim=-1) - 1).abs().max() < 1e-6)
        True
    """

    def attach(self, latent_dim: int, feature_dim: int = 0) -> None:
        super().attach(latent_dim, feature_dim)
        if latent_dim < 2:
            raise InputError("the sphere of ProjectedNormal needs latent_dim of 2 or more, not 1")

    @property
    def param_shapes(self) -> dict[str, Shape]:
        return {"loc": (self.latent_dim,)}

    def forward(self, loc: Tensor) -> dist.TorchDistribution:
        return distributions.ProjectedNormal(loc)
