"""What every guide is."""

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
    """Base class of guides: `forward(**params)` gives a distribution with event shape (D,).

    It should be reparameterised (has_rsample); one that is not can be trained by few objectives only.

    Attributes:
        states: of a discrete site "c"; None when the guide draws none. Its parameters
            may then hold `known`, the classes that are known (see `pyrovae.distributions.Classes`).
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
        """The parameters wanted from the encoder, by name, with the shape of each for one datum."""

    def sites(self, *args: Any, **params: Any) -> Tensor:  # noqa: ANN401
        """Draw z in a Pyro program: the site "z", unless there is a class before it."""
        return pyro.sample("z", self(*args, **params))

    @abstractmethod
    def forward(self, *args: Any, **params: Any) -> dist.TorchDistribution:  # noqa: ANN401
        """The distribution q(z|x) for parameters of shape (*, *shape)."""
