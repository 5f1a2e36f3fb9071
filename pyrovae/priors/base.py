"""What every prior is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from pyrovae.distributions import Classes, Label
from pyrovae.part import Part

__all__ = ["Prior", "Shape", "class_site"]

Shape = tuple[int, ...]


class Prior(Part):
    """Base class of priors: `forward(context=None)` gives a distribution with event shape (size,).

    A prior of one layer has size = latent_dim. One with more entries than the decoder reads (upper
    layers) or than it has variables (one-hot classes) says so in `size` and `visible`.

    Attributes:
        advice: which guide to take instead of one on another space.
        states: of a discrete site "c" of the program; None when it has none.
        labels: whether the program observes labels y of that site; `forward` and `mixture` then take `known`
            too, the rows (*, C) of `sites`.
    """

    latent_dim: int
    advice: str = "use a guide on the space of the prior"
    states: int | None = None
    labels: bool = False

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

    @property
    def waits_for(self) -> int:
        """The epochs of a run before it starts from encodings; 0 once it has."""
        return 0

    def connect(self, recognition: nn.Module, q: nn.Module, input_shape: Shape) -> None:
        """Take note of the encoder with its heads and of the guide, for a prior that is made of q(z|u).

        Keep them in a tuple: as submodules their parameters would be counted twice.

        Arguments:
            recognition: u and a context to the guide's parameters by name.
            q: the guide.
            input_shape: the shape of one u.
        """

    def begin_epoch(
        self,
        epoch: int,
        encodings: Callable[[], Tensor],
        known: Callable[[], Tensor | None] = lambda: None,
    ) -> bool:
        """Look at the encodings of training data (N, size) at the start of an epoch of a run.

        Arguments:
            epoch: how many are done.
            encodings: gives them, at a price.
            known: gives what is known of their classes, (N, C), or None.

        Returns:
            Whether the law is now another one, so that bounds of earlier epochs no longer compare.
        """
        return False

    def mixture(
        self, context: Tensor | None = None, known: Tensor | None = None
    ) -> dist.MixtureSameFamily | None:
        """The prior as a mixture of K components over z, event (D,); None when it is not a mixture."""
        return None

    def sites(
        self,
        context: Tensor | None = None,
        known: Tensor | None = None,
        *,
        observed: bool = True,
        enumerated: bool = True,
    ) -> Tensor:
        """Draw z in a Pyro program: the site "z", unless there is a class before it.

        Arguments:
            context: (*, context_dim).
            known: one-hot classes (*, C), zeros where the label is not known; only with `labels`.
            observed: whether data are, and with them the labels; otherwise these choose what is drawn.
            enumerated: whether a class is summed out, as no guide draws it.
        """
        return pyro.sample("z", self(context))

    @abstractmethod
    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        """The distribution p(z), or p(z|c) for a context (*, context_dim)."""


def class_site(logits: Tensor, known: Tensor | None, *, observed: bool, enumerated: bool) -> Tensor:
    """The site "c", and behind it the site "y" of the labels where there are data."""
    law = Classes(logits, None if observed else known)
    c = pyro.sample("c", law, infer={"enumerate": "parallel"} if enumerated else {})
    if known is not None and observed:
        pyro.sample("y", Label(c, law.strata), obs=known)
    return c
