r"""A discrete guide: Q(z|x) = prod_v pi_v,c(v)(x), z the one-hot pieces of V variables in a row."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions.onehot import check_temperature, one_hot_pieces
from pyrovae.errors import InputError
from pyrovae.guides.base import Guide, Shape

__all__ = ["Categorical"]


class Categorical(Guide):
    r"""Independent categorical latents, \(Q(z|x) = \prod_{v} \pi_{v, c(v)}(x)\), or their relaxation.

    One-hot samples have no gradient: with a multiple of C^V particles all states are summed over exactly;
    with fewer, an objective with the score function is needed. The relaxation (the Concrete distribution)
    is differentiable.

    Arguments:
        classes: C, as in the prior.
        temperature: None for one-hot z; a number for their relaxation on simplices.

    Raises:
        InputError: when `classes` is below 2 or does not divide the size of z, or `temperature` below 0.3.

    Reference:
        Maddison, Mnih & Teh (2017), "The Concrete Distribution"; Jang, Gu & Poole (2017), "Categorical
        Reparameterization with Gumbel-Softmax".

    Example:
        >>> import torch
        >>> guide = Categorical(classes=5)
        >>> guide.attach(latent_dim=15)
        >>> guide(logits=torch.zeros(4, 3, 5)).sample().sum(-1)
        tensor([3., 3., 3., 3.])
    """

    def __init__(self, classes: int = 10, temperature: float | None = None) -> None:
        super().__init__()
        self.classes = classes
        self.temperature = temperature

    def attach(self, latent_dim: int, feature_dim: int = 0) -> None:
        super().attach(latent_dim, feature_dim)
        self.check_whole("classes", least=2)
        check_temperature(self)
        if latent_dim % self.classes:
            raise InputError(
                f"{latent_dim} latents cannot be cut into one-hot pieces of {self.classes} classes: use the "
                f"prior Categorical(classes={self.classes})"
            )

    @property
    def param_shapes(self) -> dict[str, Shape]:
        return {"logits": (self.latent_dim // self.classes, self.classes)}

    def forward(self, logits: Tensor) -> dist.TorchDistribution:
        return one_hot_pieces(logits, self.temperature)
