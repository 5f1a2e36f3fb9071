r"""A guide on the unit sphere: z = (mu + e) / |mu + e|, e ~ N(0, I)."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from pyrovae import distributions
from pyrovae.errors import InputError
from pyrovae.guides.base import Guide, Shape

__all__ = ["ProjectedNormal"]


class ProjectedNormal(Guide):
    r"""The direction of a normal vector, \(z = (\mu + e) / |\mu + e|\) with \(e \sim \mathcal N(0, I)\).

    The direction of \(\mu\) is the location, its length the concentration. Its prior is
    `HypersphericalUniform`.

    Raises:
        InputError: when z has one entry, where the sphere is two points.

    Reference:
        Hernandez-Stumpfhauser, Breidt & van der Woerd (2017), "The General Projected Normal Distribution of
        Arbitrary Dimension"; Davidson et al. (2018), "Hyperspherical Variational Auto-Encoders".

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
