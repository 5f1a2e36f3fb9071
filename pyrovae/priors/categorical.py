r"""Discrete priors: P(z) = prod_v pi_v,c(v), z the one-hot pieces of V variables in a row."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions.onehot import check_temperature, one_hot_pieces
from pyrovae.priors.base import Prior, context_map, shifted

__all__ = ["Categorical"]


class Categorical(Prior):
    r"""Independent categorical latents with learned weights, \(P(z) = \prod_{v=1}^{V} \pi_{v, c(v)}\).

    V is `latent_dim`; z is V one-hot pieces of C classes in a row, and the decoder reads all of it. A
    context c moves the logits by A c, with A zero at first. Its guide is `Categorical` with the same
    classes and temperature.

    Arguments:
        classes: C.
        temperature: None for one-hot z; a number for their relaxation on simplices (the Concrete
            distribution).

    Raises:
        InputError: when `classes` is below 2, or `temperature` below 0.3.

    Reference:
        Maddison, Mnih & Teh (2017), "The Concrete Distribution"; Jang, Gu & Poole (2017), "Categorical
        Reparameterization with Gumbel-Softmax".

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
