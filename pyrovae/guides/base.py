"""The base class of guides."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import pyro
import pyro.distributions as dist
from torch import Tensor

from pyrovae.part import Part

__all__ = ["Guide", "Shape"]

Shape = tuple[int, ...]


class Guide(Part):
    """Base class of guides: `forward(**params)` returns a distribution with event shape (D,).

    The distribution should be reparameterised (has_rsample); only a few objectives can train it
    otherwise.

    Attributes:
        states: the number of classes of a discrete site "c", or None without one. With a site "c"
            the parameters may contain `known`, the known classes (see
            `pyrovae.distributions.ClassDistribution`).
    """

    latent_dim: int
    states: int | None = None

    def attach(self, latent_dim: int, feature_dim: int = 0) -> None:
        """Create parameters and buffers.

        Arguments:
            latent_dim: D, the number of entries of z (`Prior.size`).
            feature_dim: the size of the encoder's features.
        """
        self.latent_dim = latent_dim

    @property
    @abstractmethod
    def param_shapes(self) -> dict[str, Shape]:
        """The parameters that the encoder computes, by name, with the shape of each for one row."""

    def sites(self, *args: Any, **params: Any) -> Tensor:  # noqa: ANN401
        """Draw z in a Pyro program: the site "z", after the site "c" of a guide with classes."""
        return pyro.sample("z", self(*args, **params))

    @abstractmethod
    def forward(self, *args: Any, **params: Any) -> dist.TorchDistribution:  # noqa: ANN401
        """The distribution q(z|x) for parameters of shape (*, *shape)."""
