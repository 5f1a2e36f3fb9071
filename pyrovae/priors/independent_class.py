r"""A class next to the latents: p(z, c) = P(c) N(z; 0, I), both read by the decoder."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions import ClassDistribution, Classed
from pyrovae.distributions.class_distribution import with_one_hot
from pyrovae.priors.base import Prior, context_map, shifted

__all__ = ["Classes"]


class Classes(Prior):
    r"""A class c and a style z that do not depend on each other, \(p(z, c) = \pi_c\, \mathcal N(z; 0, I)\).

    The generative half of Kingma's M2: the decoder reads (z, one-hot c), in a row. The program has the sites
    "c" and "z"; its guide is `Classes` with the same number of classes. With `labels` the program observes
    the labels of the rows that have one. A context moves the logits of the classes by A c, with A zero at
    first.

    Arguments:
        classes: C.
        labels: whether the program observes labels y, each the index of a class.

    Raises:
        InputError: when `classes` is below 2.

    Reference:
        Kingma, Rezende, Mohamed & Welling (2014), "Semi-Supervised Learning with Deep Generative Models".

    Example:
        >>> prior = Classes(classes=10)
        >>> prior.attach(latent_dim=2)
        >>> prior.size, prior().sample()[2:].sum()
        (12, tensor(1.))
    """

    zero: Tensor

    def __init__(self, classes: int = 10, *, labels: bool = False) -> None:
        super().__init__()
        self.classes = classes
        self.labels = labels

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        self.check_whole("classes", least=2)
        self.logits = nn.Parameter(torch.zeros(self.classes))
        self.register_buffer("zero", torch.zeros(latent_dim), persistent=False)
        self.gate = context_map(context_dim, self.classes)

    @property
    def states(self) -> int:  # type: ignore[override]
        return self.classes

    @property
    def size(self) -> int:
        return self.latent_dim + self.classes

    @property
    def advice(self) -> str:  # type: ignore[override]
        """The guide to use instead."""
        return f"use the guide Classes(classes={self.classes})"

    def forward(self, context: Tensor | None = None, known: Tensor | None = None) -> dist.TorchDistribution:
        classes = ClassDistribution(self.class_logits(context), known)
        return Classed(classes, self.given_class, self.latent_dim)

    def class_logits(self, context: Tensor | None) -> Tensor:
        return shifted(self.logits, self.gate, context)

    def given_class(self, c: Tensor) -> dist.TorchDistribution:
        return dist.Normal(self.zero, torch.ones_like(self.zero)).to_event(1)

    def joined(self, z: Tensor, c: Tensor) -> Tensor:
        return with_one_hot(z, c, self.classes)
