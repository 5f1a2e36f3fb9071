"""The base class of priors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from pyrovae.distributions import ClassDistribution, Label
from pyrovae.part import Part

__all__ = ["Encodings", "Labels", "Prior", "Shape", "context_map", "shifted"]

Shape = tuple[int, ...]
Encodings = Callable[[], Tensor]
Labels = Callable[[], Tensor | None] | None


class Prior(Part):
    """Base class of priors: `forward(context=None)` returns a distribution of event (size,).

    A prior with one layer has size = latent_dim. A prior whose z has more entries than the decoder
    reads (upper layers) or than variables (one-hot classes) overrides `size` and `visible`.

    Attributes:
        advice: which guide to use if the given guide is on another space.
        states: the number of classes of the program's discrete site "c", or None without one.
        labels: whether the program observes labels y of that site. `forward` and `mixture` then
            also take `known`, the rows (*, C) of `sites`.
    """

    latent_dim: int
    advice: str = "use a guide on the space of the prior"
    states: int | None = None
    labels: bool = False

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        """Create parameters and buffers for latents of a size; extend it in a subclass."""
        self.latent_dim = latent_dim

    @property
    def size(self) -> int:
        """The number of entries of z, in `forward` and in every guide."""
        return self.latent_dim

    @property
    def visible(self) -> int:
        """The number of entries of z, from the first, that the decoder reads."""
        return self.size

    @property
    def waits_for(self) -> int:
        """The number of epochs before the prior starts from encodings; 0 if it has started."""
        return 0

    def connect(self, recognition: nn.Module, q: nn.Module, input_shape: Shape) -> None:
        """Store the encoder with its heads and the guide, for a prior built from q(z|u).

        Here u are pseudo-inputs. Keep the modules in a tuple: if they were submodules, their
        parameters would be counted twice.

        Arguments:
            recognition: maps u and a context to the guide's parameters, by name.
            q: the guide.
            input_shape: the shape of one u.
        """

    def begin_epoch(self, epoch: int, encodings: Encodings, known: Labels = None) -> bool:
        """Update the prior from encodings (N, size) of training data, at the start of an epoch.

        Arguments:
            epoch: the number of epochs done.
            encodings: a function that computes the encodings.
            known: a function that returns the known classes as one-hot rows (N, C), zeros where the
                label is unknown.

        Returns:
            Whether the distribution has changed, so that bounds of earlier epochs are not
            comparable.
        """
        return False

    def mixture(
        self, context: Tensor | None = None, known: Tensor | None = None
    ) -> dist.MixtureSameFamily | None:
        """The prior as a mixture of K components, event (D,); None if it is not a mixture."""
        return None

    def sites(
        self,
        context: Tensor | None = None,
        known: Tensor | None = None,
        *,
        observed: bool = True,
        enumerated: bool = True,
    ) -> Tensor:
        """Draw z in a Pyro program: the site "z", after the site "c" of a prior with classes.

        Arguments:
            context: (*, context_dim).
            known: one-hot classes (*, C), zeros where the label is unknown; only with `labels`.
            observed: whether data and labels are observed; otherwise the labels are the classes to
                draw from.
            enumerated: whether the class is summed out because the guide does not draw it.
        """
        if self.states is None:
            return pyro.sample("z", self(context))
        classes = ClassDistribution(self.class_logits(context), None if observed else known)
        c = pyro.sample("c", classes, infer={"enumerate": "parallel"} if enumerated else {})
        if known is not None and observed:
            pyro.sample("y", Label(c, classes.strata), obs=known)
        return self.joined(pyro.sample("z", self.given_class(c)), c)

    def class_logits(self, context: Tensor | None) -> Tensor:
        """The logits of the classes, (*, C), for a prior with `states`."""
        raise NotImplementedError

    def given_class(self, c: Tensor) -> dist.TorchDistribution:
        """p(z|c) for classes (*), for a prior with `states`."""
        raise NotImplementedError

    def joined(self, z: Tensor, c: Tensor) -> Tensor:
        """The decoder's input for z and a class."""
        return z

    @abstractmethod
    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        """The distribution p(z), or p(z|c) for a context (*, context_dim)."""


def context_map(context_dim: int, outputs: int) -> nn.Linear | None:
    """A linear map A of a context, without bias and initially zero; None without a context."""
    if not context_dim:
        return None
    linear = nn.Linear(context_dim, outputs, bias=False)
    nn.init.zeros_(linear.weight)
    return linear


def shifted(value: Tensor, linear: nn.Linear | None, context: Tensor | None) -> Tensor:
    """value + A c for a context c; `value` without a context."""
    return value if linear is None or context is None else value + linear(context)
