r"""Discrete priors: P(z) = prod_v pi_v,c(v), z the one-hot pieces of V variables in a row."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions import LOWEST, Concrete, OneHots, within_reach
from pyrovae.errors import InputError
from pyrovae.part import at_least
from pyrovae.priors.base import Prior

__all__ = ["Categorical"]


class Categorical(Prior):
    r"""Independent categorical latents with learned weights, \(P(z) = \prod_{v=1}^{V} \pi_{v, c(v)}\).

    V is `latent_dim`; z are V one-hot pieces of C classes in a row, and the decoder reads all of it. Given a
    context c the logits move by A c, with A zero at first. Its guide is `Categorical` with the same classes
    and temperature.

    Arguments:
        classes: C.
        temperature: None for one-hot z; a number for their relaxation on simplices (the Concrete law).

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
        at_least(self, 2, classes=self.classes)
        if self.temperature is not None and not self.temperature >= LOWEST:
            raise InputError(
                f"Categorical needs a temperature of {LOWEST} or more, or None, not {self.temperature}: "
                "below it single precision has no density"
            )
        self.logits = nn.Parameter(torch.zeros(latent_dim, self.classes))
        self.shift = nn.Linear(context_dim, self.size, bias=False) if context_dim else None
        if self.shift is not None:
            nn.init.zeros_(self.shift.weight)

    @property
    def size(self) -> int:
        return self.latent_dim * self.classes

    @property
    def advice(self) -> str:  # type: ignore[override]
        """The guide to take instead."""
        return f"use the guide Categorical(classes={self.classes}, temperature={self.temperature})"

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        logits = self.logits
        if self.shift is not None and context is not None:
            logits = logits + self.shift(context).unflatten(-1, (self.latent_dim, self.classes))
        if self.temperature is None:
            return OneHots(logits)
        return Concrete(self.temperature, within_reach(logits, self.temperature))
