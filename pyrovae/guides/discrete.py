r"""Guides with discrete latents.

Categorical   Q(z|x) = prod_v pi_v,c(v)(x), z the one-hot pieces of V variables
Classes       q(z, c|x) = q(c|x) N(z; mu_c(x), diag sigma_c(x)^2)
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions import ClassDistribution, Classed
from pyrovae.distributions.class_distribution import pick, with_one_hot
from pyrovae.distributions.onehot import check_temperature, one_hot_pieces
from pyrovae.errors import InputError
from pyrovae.guides.base import Guide, Shape
from pyrovae.numerics import positive

__all__ = ["Categorical", "Classes", "style_of_class"]


class Categorical(Guide):
    r"""Independent categorical latents, or their relaxation.

    \[Q(z|x) = \prod_{v} \pi_{v, c(v)}(x)\]

    One-hot samples have no gradient. If the number of particles is a multiple of C^V, all states
    are summed over exactly; otherwise an objective with the score function is needed. The
    relaxation (the Concrete distribution) is differentiable.

    Arguments:
        classes: C, as in the prior.
        temperature: None for one-hot z, or the temperature of their relaxation on simplices.

    Raises:
        InputError: if `classes` is below 2 or does not divide the size of z, or `temperature` is
            below 0.3.

    Reference:
        Maddison, Mnih & Teh (2017), "The Concrete Distribution"; Jang, Gu & Poole (2017),
        "Categorical Reparameterization with Gumbel-Softmax".

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


class Classes(Guide):
    r"""A class and its style, \(q(c|x)\, \mathcal N(z; \mu_c(x), \mathrm{diag}\,\sigma_c(x)^2)\).

    The guide for the prior `Classes`. If the number of particles is a multiple of C, as in `fit`,
    all classes are summed over. If the class is known, q(c|x) puts all its mass on it.

    Arguments:
        classes: C, as in the prior.

    Raises:
        InputError: if `classes` is below 2, or they leave no latent for the style.

    Reference:
        Kingma, Rezende, Mohamed & Welling (2014), "Semi-Supervised Learning with Deep Generative
        Models".

    Example:
        >>> import torch
        >>> guide = Classes(classes=3)
        >>> guide.attach(latent_dim=5)
        >>> guide(torch.zeros(4, 3), torch.zeros(4, 3, 2), torch.zeros(4, 3, 2)).sample().shape
        torch.Size([4, 5])
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.classes = classes

    def attach(self, latent_dim: int, feature_dim: int = 0) -> None:
        super().attach(latent_dim, feature_dim)
        self.check_whole("classes", least=2)
        if latent_dim <= self.classes:
            raise InputError(
                f"{latent_dim} latents leave none next to {self.classes} classes: use the prior "
                f"Classes(classes={self.classes})"
            )

    @property
    def states(self) -> int:  # type: ignore[override]
        return self.classes

    @property
    def style_dim(self) -> int:
        """D, the number of latents besides the class."""
        return self.latent_dim - self.classes

    @property
    def param_shapes(self) -> dict[str, Shape]:
        each = (self.classes, self.style_dim)
        return {"logits": (self.classes,), "loc": each, "raw_scale": each}

    def forward(
        self, logits: Tensor, loc: Tensor, raw_scale: Tensor, known: Tensor | None = None
    ) -> dist.TorchDistribution:
        scale = positive(raw_scale)
        style = lambda c: style_of_class(loc, scale, c)  # noqa: E731
        return Classed(ClassDistribution(logits, known), style, self.style_dim)

    def sites(self, logits: Tensor, loc: Tensor, raw_scale: Tensor, known: Tensor | None = None) -> Tensor:
        c = pyro.sample("c", ClassDistribution(logits, known))
        z = pyro.sample("z", style_of_class(loc, positive(raw_scale), c))
        return with_one_hot(z, c, self.classes)


def style_of_class(loc: Tensor, scale: Tensor, c: Tensor) -> dist.TorchDistribution:
    """q(z|x, c) for classes c, from the parameters of all classes (*, C, D)."""
    return dist.Normal(pick(loc, c), pick(scale, c)).to_event(1)
