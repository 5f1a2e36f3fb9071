"""What every prior is."""

from __future__ import annotations

from abc import abstractmethod

import pyro.distributions as dist
from torch import Tensor, nn

from pyrovae.errors import InputError
from pyrovae.part import Part

__all__ = ["Prior", "Shape", "at_least"]

Shape = tuple[int, ...]


class Prior(Part):
    """Base class of priors: `forward(context=None)` gives a distribution with event shape (size,).

    A prior of one layer has size = latent_dim. One with more entries than the decoder reads (upper
    layers) or than it has variables (one-hot classes) says so in `size` and `visible`.
    """

    latent_dim: int
    advice: str = "use a guide on the space of the prior"

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        """Create parameters and buffers for latents of size `latent_dim`; extend it in a subclass."""
        self.latent_dim = latent_dim

    @property
    def size(self) -> int:
        """The number of entries of z, the event of `forward` and of every guide."""
        return self.latent_dim

    @property
    def visible(self) -> int:
        """The decoder reads the first so many entries of z."""
        return self.size

    def connect(self, recognition: nn.Module, q: nn.Module, input_shape: Shape) -> None:
        """Take note of the encoder with its heads and of the guide, for a prior that is made of q(z|u).

        Keep them in a tuple: as submodules their parameters would be counted twice.

        Arguments:
            recognition: u and a context to the guide's parameters by name.
            q: the guide.
            input_shape: the shape of one u.
        """

    @abstractmethod
    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        """The distribution p(z), or p(z|c) for a context (*, context_dim)."""


def at_least(part: Part, least: int, **given: int) -> None:
    """Refuse hyperparameters that are no whole numbers of `least` or more.

    Raises:
        InputError: for the first such.
    """
    for name, value in given.items():
        if isinstance(value, bool) or int(value) != value or value < least:
            raise InputError(f"{type(part).__name__} needs {name} of {least} or more, not {value}")
