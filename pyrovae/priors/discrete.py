r"""Priors with discrete latents.

Categorical   P(z) = prod_v pi_v,c(v), z the one-hot pieces of V variables
Classes       p(z, c) = P(c) N(z; 0, I), a class next to the latents, both read by the decoder
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions import ClassDistribution, Classed
from pyrovae.distributions.class_distribution import with_one_hot
from pyrovae.distributions.onehot import check_temperature, one_hot_pieces
from pyrovae.priors.base import Prior, context_map, shifted

__all__ = ["Categorical", "Classes"]


class Categorical(Prior):
    r"""Independent categorical latents with learned weights, \(P(z) = \prod_v \pi_{v, c(v)}\).

    V is `latent_dim`. z consists of V one-hot pieces of C classes, and the decoder reads all of it.
    A context c shifts the logits by A c, with A initially zero. Use the guide `Categorical` with
    the same classes and temperature.

    Arguments:
        classes: C.
        temperature: None for one-hot z, or the temperature of their relaxation on simplices (the
            Concrete distribution).

    Raises:
        InputError: if `classes` is below 2, or `temperature` is below 0.3.

    Reference:
        Maddison, Mnih & Teh (2017), "The Concrete Distribution"; Jang, Gu & Poole (2017),
        "Categorical Reparameterization with Gumbel-Softmax".

    Example:
        >>> prior = Categorical(classes=5)
        >>> prior.attach(latent_dim=3)
        >>> prior.size, prior().sample().reshape(3, 5).sum(-1)
        (15, tensor([1., 1., 1.]))
    """

    def __init__(self, classes: int = 10, temperature: float | None = None) -> None:
        super().__init__()
        self.classes = classes
        self.temperature = temperature

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        self.check_whole("classes", least=2)
        check_temperature(self)
        self.logits = nn.Parameter(torch.zeros(latent_dim, self.classes))
        self.shift = context_map(context_dim, self.size)

    @property
    def size(self) -> int:
        return self.latent_dim * self.classes

    @property
    def advice(self) -> str:  # type: ignore[override]
        """The guide to use instead."""
        return f"use the guide Categorical(classes={self.classes}, temperature={self.temperature})"

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        logits = shifted(self.logits.flatten(), self.shift, context).unflatten(-1, self.logits.shape)
        return one_hot_pieces(logits, self.temperature)


class Classes(Prior):
    r"""An independent class c and style z, \(p(z, c) = \pi_c\, \mathcal N(z; 0, I)\).

    This is the generative part of Kingma's M2: the decoder reads the vector (z, one-hot c). The
    program has the sites "c" and "z". Use the guide `Classes` with the same number of classes. With
    `labels`, the program observes the labels of the labelled rows. A context shifts the logits of
    the classes by a linear map that is initially zero.

    Arguments:
        classes: C.
        labels: whether the program observes labels y, each the index of a class.

    Raises:
        InputError: if `classes` is below 2.

    Reference:
        Kingma, Rezende, Mohamed & Welling (2014), "Semi-Supervised Learning with Deep Generative
        Models".

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
