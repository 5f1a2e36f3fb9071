r"""A mixture as a guide: q(z|x) = sum_k pi_k(x) N(z; mu_k(x), diag sigma_k(x)^2)."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions import DiagonalMixture
from pyrovae.guides.base import Guide, Shape, at_least
from pyrovae.numerics import positive

__all__ = ["GaussianMixture"]


class GaussianMixture(Guide):
    r"""A mixture of normals, \(q(z|x) = \sum_k \pi_k\, \mathcal N(z; \mu_k, \mathrm{diag}\,\sigma_k^2)\).

    For posteriors with several modes. Its draws are differentiable in the weights too; with a number of
    particles that is a multiple of K they are stratified, one component after another.

    Arguments:
        components: K.

    Raises:
        InputError: when `components` is below 1.

    Reference:
        Morningstar, Vikram, Ham, Gallagher & Dillon (2021), "Automatic Differentiation Variational Inference
        with Mixtures"; Figurnov, Mohamed & Mnih (2018), "Implicit Reparameterization Gradients".

    Example:
        >>> import torch
        >>> guide = GaussianMixture(components=3)
        >>> guide.attach(latent_dim=2)
        >>> guide(torch.zeros(5, 3), torch.zeros(5, 3, 2), torch.zeros(5, 3, 2)).rsample().shape
        torch.Size([5, 2])
    """

    def __init__(self, components: int = 3) -> None:
        super().__init__()
        self.components = components

    def attach(self, latent_dim: int, feature_dim: int = 0) -> None:
        super().attach(latent_dim, feature_dim)
        at_least(self, 1, components=self.components)

    @property
    def param_shapes(self) -> dict[str, Shape]:
        each = (self.components, self.latent_dim)
        return {"logits": (self.components,), "loc": each, "raw_scale": each}

    def forward(self, logits: Tensor, loc: Tensor, raw_scale: Tensor) -> dist.TorchDistribution:
        return DiagonalMixture(logits, loc, positive(raw_scale))
