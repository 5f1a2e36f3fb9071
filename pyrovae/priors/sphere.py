r"""A prior on the unit sphere: p(z) = 1 / area for |z| = 1."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.distributions import HypersphericalUniform as Uniform
from pyrovae.errors import InputError
from pyrovae.priors.base import Prior

__all__ = ["HypersphericalUniform"]


class HypersphericalUniform(Prior):
    r"""Uniform on the unit sphere of \(\mathbb R^D\), \(p(z) = \Gamma(D/2) / (2 \pi^{D/2})\).

    A context does not change it. Directions have no centre to collapse to. Its guide is `ProjectedNormal`.

    Raises:
        InputError: when the latent size is 1, where the sphere is two points.

    Reference:
        Davidson, Falorsi, De Cao, Kipf & Tomczak (2018), "Hyperspherical Variational Auto-Encoders".

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
            raise InputError("the sphere of HypersphericalUniform needs latent_dim of 2 or more, not 1")
        self.register_buffer("zero", torch.zeros(latent_dim), persistent=False)

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        return Uniform(self.zero)
