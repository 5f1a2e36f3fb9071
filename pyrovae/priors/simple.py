r"""Independent latents with learned locations and scales, and priors without parameters.

    StandardNormal          p(z) = N(z; 0, I)
    HypersphericalUniform   p(z) = Gamma(D/2) / (2 pi^(D/2)) on the unit sphere
    Normal                  p(z) = N(z; mu, diag sigma^2)
    Laplace                 p(z) = prod_d Laplace(z_d; mu_d, b_d)
    StudentT                p(z) = prod_d StudentT(z_d; df, mu_d, sigma_d)

With a context c, a learned location is mu + A c, with A initially zero.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae import distributions
from pyrovae.errors import InputError
from pyrovae.numerics import UNIT, positive
from pyrovae.priors.base import Prior, context_map, shifted

__all__ = ["HypersphericalUniform", "Laplace", "Normal", "StandardNormal", "StudentT"]


class StandardNormal(Prior):
    r"""The standard normal prior, \(p(z) = \mathcal N(z; 0, I)\), for any context.

    Reference:
        Kingma & Welling (2014), "Auto-Encoding Variational Bayes".

    Example:
        >>> prior = StandardNormal()
        >>> prior.attach(latent_dim=2)
        >>> prior().log_prob(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    zero: Tensor

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        self.register_buffer("zero", torch.zeros(latent_dim), persistent=False)

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        return dist.Normal(self.zero, torch.ones_like(self.zero)).to_event(1)


class HypersphericalUniform(Prior):
    r"""Uniform on the unit sphere of \(\mathbb R^D\), \(p(z) = \Gamma(D/2) / (2 \pi^{D/2})\).

    It does not depend on the context. On the sphere there is no centre to which latents could
    collapse. Use the guide `ProjectedNormal`.

    Raises:
        InputError: if the latent size is 1, since the sphere then has only two points.

    Reference:
        Davidson, Falorsi, De Cao, Kipf & Tomczak (2018), "Hyperspherical Variational
        Auto-Encoders".

    Example:
        >>> prior = HypersphericalUniform()
        >>> prior.attach(latent_dim=3)
        >>> bool((prior().sample((5,)).norm(dim=-1) - 1).abs().max() < 1e-6)
        True
    """

    advice = "use the guide ProjectedNormal"
    zero: Tensor

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        if latent_dim < 2:
            raise InputError("HypersphericalUniform needs a latent_dim of 2 or more, not 1")
        self.register_buffer("zero", torch.zeros(latent_dim), persistent=False)

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        return distributions.HypersphericalUniform(self.zero)


class _Located(Prior):
    """Base class with a learned location and scale of each latent, initially 0 and 1."""

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        self.loc = nn.Parameter(torch.zeros(latent_dim))
        self.raw_scale = nn.Parameter(torch.full((latent_dim,), UNIT))
        self.shift = context_map(context_dim, latent_dim)

    def place(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """The location and the scale, (*, D)."""
        return shifted(self.loc, self.shift, context), positive(self.raw_scale)


class Normal(_Located):
    r"""A learned normal prior, \(p(z) = \mathcal N(z; \mu + A c, \mathrm{diag}\,\sigma^2)\).

    Without a context, a decoder could learn the same model, but training may be easier if the data
    fill the latent space unevenly. The prior starts as N(0, I).

    Reference:
        Kingma & Welling (2014), "Auto-Encoding Variational Bayes".

    Example:
        >>> prior = Normal()
        >>> prior.attach(latent_dim=2)
        >>> prior().log_prob(torch.zeros(2))
        tensor(-1.8379, grad_fn=<SumBackward1>)
    """

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        return dist.Normal(*self.place(context)).to_event(1)


class Laplace(_Located):
    r"""Independent Laplace latents, \(p(z) = \prod_d \tfrac{1}{2 b_d} e^{-|z_d-\mu_d|/b_d}\).

    Most of its mass is near the axes, so latents become sparse and aligned with the axes.

    Reference:
        Mathieu, Rainforth, Siddharth & Teh (2019), "Disentangling Disentanglement in Variational
        Autoencoders".

    Example:
        >>> prior = Laplace()
        >>> prior.attach(latent_dim=2)
        >>> prior().log_prob(torch.zeros(2))
        tensor(-1.3863, grad_fn=<SumBackward1>)
    """

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        return dist.Laplace(*self.place(context)).to_event(1)


class StudentT(_Located):
    r"""Independent Student t latents with learned locations and scales, and tails \(|z|^{-\nu-1}\).

    Arguments:
        df: the degrees of freedom \(\nu\); large values give a normal distribution, and 1 has no
            mean.

    Raises:
        InputError: if `df` is not above 0.

    Reference:
        Mathieu, Rainforth, Siddharth & Teh (2019), "Disentangling Disentanglement in Variational
        Autoencoders".

    Example:
        >>> prior = StudentT(df=5.0)
        >>> prior.attach(latent_dim=2)
        >>> prior().log_prob(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    def __init__(self, df: float = 5.0) -> None:
        super().__init__()
        self.df = df

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        self.check_number("df", above=0)

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        return distributions.StudentT(self.df, *self.place(context)).to_event(1)
