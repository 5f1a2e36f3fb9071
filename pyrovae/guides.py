r"""Guides q(z|x): the law of one datum's latents, given the parameters that an encoder computes.

A guide declares the parameters it needs and their shapes; the program puts one head for each behind the
encoder and calls `forward` with them by name. It returns a reparameterised distribution with event
shape (D,): a draw is a differentiable function of the parameters and of noise, so a gradient passes.

    DiagonalNormal:  z = loc + scale * noise,   noise ~ N(0, I)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import pyro.distributions as dist
from torch import Tensor

from pyrovae.numerics import positive
from pyrovae.part import Part

__all__ = ["DiagonalNormal", "Guide"]

Shape = tuple[int, ...]


class Guide(Part):
    """Base class of guides: `forward(**params)` gives a reparameterised distribution, event shape (D,)."""

    latent_dim: int

    def attach(self, latent_dim: int, feature_dim: int = 0) -> None:
        """Create parameters and buffers.

        Arguments:
            latent_dim: D.
            feature_dim: the size of the encoder's features.
        """
        self.latent_dim = latent_dim

    @property
    @abstractmethod
    def param_shapes(self) -> dict[str, Shape]:
        """The parameters wanted from the encoder, by name, with the shape of each for one datum."""

    @abstractmethod
    def forward(self, *args: Any, **params: Any) -> dist.TorchDistribution:  # noqa: ANN401
        """The distribution q(z|x) for parameters of shape (*, *shape)."""


class DiagonalNormal(Guide):
    r"""A Gaussian with independent latents, \(q(z|x) = \mathcal N(z; \mu(x), \mathrm{diag}\,\sigma(x)^2)\).

    Reference:
        Kingma & Welling (2014), "Auto-Encoding Variational Bayes".

    Example:
        >>> import torch
        >>> guide = DiagonalNormal()
        >>> guide.attach(latent_dim=2)
        >>> guide(loc=torch.zeros(5, 2), raw_scale=torch.zeros(5, 2)).rsample().shape
        torch.Size([5, 2])
    """

    def __init__(self) -> None:
        super().__init__()

    @property
    def param_shapes(self) -> dict[str, Shape]:
        return {"loc": (self.latent_dim,), "raw_scale": (self.latent_dim,)}

    def forward(self, loc: Tensor, raw_scale: Tensor) -> dist.TorchDistribution:
        return dist.Normal(loc, positive(raw_scale)).to_event(1)
