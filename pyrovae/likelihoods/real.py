r"""Likelihoods of real elements: a place from the decoder, and a scale.

    Normal    log p = -(x - mu)^2 / (2 sigma^2) - log sigma - log(2 pi) / 2
    Laplace   log p = -|x - mu| / b - log(2 b)
    StudentT  log p = -(nu + 1)/2 log(1 + (x - mu)^2 / (nu s^2)) - log s + const(nu)

The scale is a number, learned, predicted for each element, or (Normal) what the data leave over. Tails grow
heavier down the list: a value far out costs its square, its size, or its logarithm.
"""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions import CalibratedNormal
from pyrovae.errors import InputError
from pyrovae.likelihoods.base import Likelihood, Shape
from pyrovae.numerics import inverse_positive, positive

__all__ = ["Laplace", "Normal", "Scaled", "StudentT"]


class Scaled(Likelihood):
    """Base class of laws with a place and a scale: a fixed, a learned or a predicted one."""

    advice = "every value must be a finite number: drop or fill the missing ones, or use Mixed"
    words: tuple[str, ...] = ("learned", "predicted")
    scale: float | str
    fixed_scale: Tensor

    @property
    def of_batch(self) -> bool:
        return self.scale == "optimal"

    def attach(self, event_shape: Shape) -> None:
        super().attach(event_shape)
        if isinstance(self.scale, str):
            if self.scale not in self.words:
                raise InputError(self._wrong())
        elif isinstance(self.scale, bool) or not 0 < self.scale < float("inf"):
            raise InputError(self._wrong())
        else:
            self.register_buffer("fixed_scale", torch.tensor(float(self.scale)), persistent=False)
        if self.scale == "learned":
            self.raw_scale = nn.Parameter(torch.tensor(inverse_positive(0.5)))

    @property
    def param_shapes(self) -> dict[str, Shape]:
        shapes = {"loc": self.event_shape}
        return shapes | {"raw_scale": self.event_shape} if self.scale == "predicted" else shapes

    def positive_scale(self, raw_scale: Tensor | None) -> Tensor:
        """The scale, of the decoder's number when there is one."""
        if raw_scale is not None:
            return positive(raw_scale)
        return positive(self.raw_scale) if self.scale == "learned" else self.fixed_scale

    def _wrong(self) -> str:
        *words, last = map(repr, self.words)
        return (
            f"{type(self).__name__} needs a scale above 0, {', '.join(words)} or {last}, not {self.scale!r}"
        )


class Normal(Scaled):
    r"""Independent real elements, \(p(x|z) = \prod_i \mathcal N(x_i; \mu_i, \sigma_i^2)\).

    With "optimal", \(\sigma^2\) is the mean of \((x - \mu)^2\) over the batch and all elements, which
    maximises the likelihood of the batch. So the rows of a batch see each other, but only while training; a
    running average is kept with the weights and stands for \(\sigma^2\) everywhere else,
    so that log p(x) is that of a fixed law.

    Arguments:
        scale: a number, the fixed \(\sigma\); "learned", one \(\sigma\) for all elements and data;
            "predicted", a \(\sigma_i\) from the decoder for each element; or "optimal", one \(\sigma\) by
            its closed form.

    Raises:
        InputError: when `scale` is neither a positive number nor one of the words.

    Reference:
        Rybkin et al. (2021), "Simple and effective VAE training with calibrated decoders".

    Example:
        >>> likelihood = Normal(scale=0.1)
        >>> likelihood.attach((4,))
        >>> likelihood(loc=torch.zeros(5, 4)).log_prob(torch.zeros(5, 4)).shape
        torch.Size([5])
    """

    words = ("learned", "predicted", "optimal")
    running_variance: Tensor
    batches_seen: Tensor

    def __init__(self, scale: float | Literal["learned", "predicted", "optimal"] = 0.1) -> None:
        super().__init__()
        self.scale = scale

    def attach(self, event_shape: Shape) -> None:
        super().attach(event_shape)
        if self.scale == "optimal":
            self.register_buffer("running_variance", torch.ones(()))
            self.register_buffer("batches_seen", torch.zeros(()))

    def forward(self, loc: Tensor, raw_scale: Tensor | None = None) -> dist.TorchDistribution:
        if self.scale == "optimal":
            kept = (self.running_variance, self.batches_seen)
            return self.over_event(CalibratedNormal(loc, *kept, learning=self.training))
        return self.over_event(dist.Normal(loc, self.positive_scale(raw_scale)))


class Laplace(Scaled):
    r"""Independent real elements with exponential tails, density \(e^{-|x_i - \mu_i| / b_i} / (2 b_i)\).

    Arguments:
        scale: a number, the fixed \(b\); "learned", one \(b\) for all elements and data; or "predicted", a
            \(b_i\) from the decoder for each element.

    Raises:
        InputError: when `scale` is neither a positive number nor one of the words.

    Reference:
        Laplace (1774), "Memoire sur la probabilite des causes par les evenements".

    Example:
        >>> likelihood = Laplace(scale=0.5)
        >>> likelihood.attach((4,))
        >>> likelihood(loc=torch.zeros(5, 4)).log_prob(torch.zeros(5, 4))
        tensor([0., 0., 0., 0., 0.])
    """

    def __init__(self, scale: float | Literal["learned", "predicted"] = 0.1) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, loc: Tensor, raw_scale: Tensor | None = None) -> dist.TorchDistribution:
        return self.over_event(dist.Laplace(loc, self.positive_scale(raw_scale)))


class StudentT(Scaled):
    r"""Independent real elements with power-law tails, \(x_i = \mu_i + s_i t\), \(t\) of \(\nu\) degrees.

    Arguments:
        df: the degrees of freedom \(\nu\), above 1 so that there is a mean; or "learned", one for all
            elements and data, which begins at 5.
        scale: a number, the fixed \(s\); "learned", one \(s\) for all elements and data; or "predicted", an
            \(s_i\) from the decoder for each element.

    Raises:
        InputError: when `df` or `scale` is out of range.

    Reference:
        Lange, Little & Taylor (1989), "Robust statistical modeling using the t distribution"; Takahashi et
        al. (2018), "Student-t variational autoencoder for robust density estimation".

    Example:
        >>> likelihood = StudentT(df=4.0)
        >>> likelihood.attach((4,))
        >>> likelihood(loc=torch.zeros(5, 4)).log_prob(torch.zeros(5, 4)).shape
        torch.Size([5])
    """

    fixed_df: Tensor

    def __init__(
        self,
        df: float | Literal["learned"] = "learned",
        scale: float | Literal["learned", "predicted"] = "learned",
    ) -> None:
        super().__init__()
        self.df = df
        self.scale = scale

    def attach(self, event_shape: Shape) -> None:
        super().attach(event_shape)
        if self.df == "learned":
            self.raw_df = nn.Parameter(torch.tensor(inverse_positive(4.0)))
            return
        if isinstance(self.df, (str, bool)) or not 1 < self.df < float("inf"):
            raise InputError(f"StudentT needs df above 1 or 'learned', not {self.df!r}")
        self.register_buffer("fixed_df", torch.tensor(float(self.df)), persistent=False)

    def forward(self, loc: Tensor, raw_scale: Tensor | None = None) -> dist.TorchDistribution:
        df = 1 + positive(self.raw_df) if self.df == "learned" else self.fixed_df
        return self.over_event(dist.StudentT(df, loc, self.positive_scale(raw_scale)))
