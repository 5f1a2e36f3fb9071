r"""Likelihoods of real elements: a location from the decoder, and a scale.

    Normal     log p = -(x - mu)^2 / (2 sigma^2) - log sigma - log(2 pi) / 2
    Laplace    log p = -|x - mu| / b - log(2 b)
    StudentT   log p = -(nu + 1)/2 log(1 + (x - mu)^2 / (nu s^2)) - log s + const(nu)
    LogNormal  log p = log N(log x; mu, sigma^2) - log x          amounts, durations, concentrations

The scale is a fixed number, learned, a random variable that all rows share, predicted for each
element, or (Normal only) computed from the residuals. The tails become heavier from Normal to
Laplace to StudentT: the cost of an outlier grows with the square, the size, or the logarithm of its
distance from mu.

The networks work with standardised numbers u, x = m + s u, where m and s are the location and the
spread of the training data (of log x for LogNormal; see `units`). Only encoder and decoder use u.
Everything else is in the units of the data: log p(x) is the density of x, samples and means are
values of x, and a number given as `scale` is a scale of x. Data near a unit scale, such as images
in [0, 1], have m = 0 and s = 1. m and s are computed once, before the first step of a run, and
saved with the weights. If x is in float64, (x - m) / s keeps all digits.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, Self

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae import distributions
from pyrovae.distributions import CalibratedNormal, LogRescaled, Rescaled
from pyrovae.likelihoods.base import Likelihood, Shape
from pyrovae.likelihoods.random_scale import RandomScale
from pyrovae.likelihoods.units import FAR_IN_UNITS, limited, standard_units
from pyrovae.numerics import SCALE_FLOOR, inverse_positive, positive

__all__ = ["Laplace", "LogNormal", "Normal", "StudentT"]


class _Scaled(Likelihood):
    """A distribution with a location and a fixed, learned, random or predicted scale.

    A subclass gives the distribution of standardised elements, `standard`.
    """

    advice = "every value must be a finite number"
    missing_advice = "an optimal scale needs every value: use scale='learned', or fill in what is missing"
    words: tuple[str, ...] = ("learned", "predicted", "bayesian")
    takes_doubles = True
    added: tuple[str, ...] = ("shift", "spread")
    rescaled: type[Rescaled] = Rescaled
    has_units = True
    scale: float | str
    fixed_scale: Tensor
    shift: Tensor
    spread: Tensor

    @property
    def of_batch(self) -> bool:
        return self.scale == "optimal"

    @property
    def takes_missing(self) -> bool:  # type: ignore[override]
        """Whether NaN is a missing element; an optimal scale needs every element of a batch."""
        return not self.of_batch

    @property
    def fill(self) -> float | Tensor:
        return self.shift if self.has_units else 0.0

    def without_units(self) -> Self:
        """Do not standardise, since the enclosing likelihood does; call this before `attach`."""
        self.has_units = False
        return self

    def attach(self, event_shape: Shape) -> None:
        super().attach(event_shape)
        self.check_number("scale", self.words, above=0)
        if not isinstance(self.scale, str):
            self.register_buffer("fixed_scale", torch.tensor(self.scale), persistent=False)
        if self.scale == "learned":
            self.raw_scale = nn.Parameter(torch.tensor(inverse_positive(0.5)))
        if self.scale == "bayesian":
            self.random_scale = RandomScale()
        if self.has_units:
            self._register_units()

    def _register_units(self) -> None:
        is_vector = len(self.event_shape) == 1
        self.in_double = ("shift", "spread") if is_vector else ()
        dtype = torch.float64 if is_vector else None
        shape = self.event_shape if is_vector else ()
        self.register_buffer("shift", torch.zeros(shape, dtype=dtype))
        self.register_buffer("spread", torch.ones(shape, dtype=dtype))

    @property
    def param_shapes(self) -> dict[str, Shape]:
        shapes = {"loc": self.event_shape}
        return shapes | {"raw_scale": self.event_shape} if self.scale == "predicted" else shapes

    def positive_scale(self, raw_scale: Tensor | None) -> Tensor:
        """The scale of standardised elements, from the decoder's output if it predicts one."""
        if raw_scale is not None:
            return positive(raw_scale)
        if self.scale == "learned":
            return positive(self.raw_scale)
        if self.scale == "bayesian":
            return self.random_scale.for_elements(len(self.event_shape))
        return (self.fixed_scale / self.spread).to(self.fixed_scale) if self.has_units else self.fixed_scale

    @abstractmethod
    def standard(self, loc: Tensor, raw_scale: Tensor | None = None) -> Any:  # noqa: ANN401
        """The distribution of standardised elements, (*, *event)."""

    def forward(self, loc: Tensor, raw_scale: Tensor | None = None) -> dist.TorchDistribution:
        standard = self.standard(loc, raw_scale)
        return self.over_event(
            self.rescaled(standard, self.shift, self.spread) if self.has_units else standard
        )

    def inputs(self, x: Tensor) -> Tensor:
        """Standardised elements, limited far outside the training data."""
        return limited((x - self.shift) / self.spread, FAR_IN_UNITS) if self.has_units else x

    def read(self, x: Tensor) -> Tensor:
        """x, transformed to the scale on which it is standardised (log x for LogNormal)."""
        return x

    @torch.no_grad()
    def start_from(self, x: Tensor) -> None:
        """Compute m and s from training data, and initialise a common scale at the spread."""
        shift, spread, typical = standard_units(self.read(x.double()), len(self.event_shape))
        self.shift.copy_(shift)
        self.spread.copy_(spread)
        centre = max(typical.item(), 2 * SCALE_FLOOR)
        if self.scale == "learned":
            self.raw_scale.fill_(inverse_positive(centre))
        if self.scale == "bayesian":
            self.random_scale.start_at(centre, int((~x.isnan()).sum()))


class Normal(_Scaled):
    r"""Independent real elements, \(p(x|z) = \prod_i \mathcal N(x_i; \mu_i, \sigma_i^2)\).

    With "optimal", \(\sigma^2\) is the mean of \((x - \mu)^2\) over the batch and all elements,
    which maximises the likelihood of the batch. The rows of a batch are then coupled, but only in
    training. A running average is stored with the weights and is used for \(\sigma^2\) in all other
    cases, so that log p(x) is that of a fixed distribution.

    Arguments:
        scale: a number, the fixed \(\sigma\) in the units of x; "learned", one \(\sigma\) for all
            elements and rows, in units of each element's spread; "bayesian", the same as a random
            variable with a half-normal prior; "predicted", a \(\sigma_i\) from
            the decoder for each element; or "optimal", one \(\sigma\) in closed form, in units of
            the spread.

    Raises:
        InputError: if `scale` is neither a positive number nor one of the words.

    Reference:
        Rybkin et al. (2021), "Simple and effective VAE training with calibrated decoders".

    Example:
        >>> likelihood = Normal(scale=0.1)
        >>> likelihood.attach((4,))
        >>> likelihood(loc=torch.zeros(5, 4)).log_prob(torch.zeros(5, 4)).shape
        torch.Size([5])
    """

    words = ("learned", "predicted", "optimal", "bayesian")
    running_variance: Tensor
    batches_seen: Tensor

    def __init__(self, scale: float | Literal["learned", "predicted", "optimal", "bayesian"] = 0.1) -> None:
        super().__init__()
        self.scale = scale

    def attach(self, event_shape: Shape) -> None:
        super().attach(event_shape)
        if self.scale == "optimal":
            self.register_buffer("running_variance", torch.ones(()))
            self.register_buffer("batches_seen", torch.zeros(()))

    def standard(self, loc: Tensor, raw_scale: Tensor | None = None) -> dist.TorchDistribution:
        if self.scale == "optimal":
            return CalibratedNormal(loc, self.running_variance, self.batches_seen, learning=self.training)
        return dist.Normal(loc, self.positive_scale(raw_scale))


class Laplace(_Scaled):
    r"""Independent real elements with exponential tails.

    \[p(x|z) = \prod_i e^{-|x_i - \mu_i| / b_i} / (2 b_i)\]

    Arguments:
        scale: a number, the fixed \(b\) in the units of x; "learned", one \(b\) for all elements
            and rows, in units of each element's spread; "bayesian", the same as a random variable
            with a half-normal prior; or "predicted", a \(b_i\) from the decoder for each element.

    Raises:
        InputError: if `scale` is neither a positive number nor one of the words.

    Reference:
        Laplace (1774), "Memoire sur la probabilite des causes par les evenements".

    Example:
        >>> likelihood = Laplace(scale=0.5)
        >>> likelihood.attach((4,))
        >>> likelihood(loc=torch.zeros(5, 4)).log_prob(torch.zeros(5, 4))
        tensor([0., 0., 0., 0., 0.])
    """

    def __init__(self, scale: float | Literal["learned", "predicted", "bayesian"] = 0.1) -> None:
        super().__init__()
        self.scale = scale

    def standard(self, loc: Tensor, raw_scale: Tensor | None = None) -> dist.TorchDistribution:
        return dist.Laplace(loc, self.positive_scale(raw_scale))


class StudentT(_Scaled):
    r"""Independent real elements with heavy tails.

    \[x_i = \mu_i + s_i t_i, \qquad t_i \sim t_\nu\]

    Arguments:
        df: the degrees of freedom \(\nu\), above 1 so that the mean exists; or "learned", one
            for all elements and rows, initialised at 5.
        scale: a number, the fixed \(s\) in the units of x; "learned", one \(s\) for all elements
            and rows, in units of each element's spread; "bayesian", the same as a random variable
            with a half-normal prior; or "predicted", an \(s_i\) from the decoder for each element.

    Raises:
        InputError: if `df` or `scale` is out of range.

    Reference:
        Lange, Little & Taylor (1989), "Robust statistical modeling using the t distribution";
        Takahashi et al. (2018), "Student-t variational autoencoder for robust density estimation".

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
        scale: float | Literal["learned", "predicted", "bayesian"] = "learned",
    ) -> None:
        super().__init__()
        self.df = df
        self.scale = scale

    def attach(self, event_shape: Shape) -> None:
        super().attach(event_shape)
        self.check_number("df", ("learned",), above=1)
        if self.df == "learned":
            self.raw_df = nn.Parameter(torch.tensor(inverse_positive(4.0)))
        else:
            self.register_buffer("fixed_df", torch.tensor(self.df), persistent=False)

    def standard(self, loc: Tensor, raw_scale: Tensor | None = None) -> dist.TorchDistribution:
        df = 1 + positive(self.raw_df) if self.df == "learned" else self.fixed_df
        return distributions.StudentT(df, loc, self.positive_scale(raw_scale))


class LogNormal(_Scaled):
    r"""Independent positive elements, \(\log x_i \sim \mathcal N(\mu_i, \sigma_i^2)\).

    The density is that of x, not of its logarithm.

    Arguments:
        scale: a number, the fixed \(\sigma\) of the logarithm; "learned", one \(\sigma\) for all
            elements and rows; "bayesian", the same as a random variable with a half-normal prior;
            or "predicted", a \(\sigma_i\) from the decoder for each element.

    Raises:
        InputError: if `scale` is neither a positive number nor one of the words.

    Reference:
        Aitchison & Brown (1957), "The Lognormal Distribution".

    Example:
        >>> likelihood = LogNormal()
        >>> likelihood.attach((4,))
        >>> likelihood(loc=torch.zeros(5, 4)).log_prob(torch.ones(5, 4)).shape
        torch.Size([5])
    """

    advice = "every value must be a number above 0: shift the data, or use Normal"
    rescaled = LogRescaled
    added = ("shift", "spread", "reads_log")
    reads_log: Tensor

    def __init__(self, scale: float | Literal["learned", "predicted", "bayesian"] = "learned") -> None:
        super().__init__()
        self.scale = scale

    def standard(self, loc: Tensor, raw_scale: Tensor | None = None) -> dist.TorchDistribution:
        return dist.Normal(loc, self.positive_scale(raw_scale))

    @property
    def fill(self) -> float | Tensor:
        return self.shift.exp() if self.has_units else 1.0

    def read(self, x: Tensor) -> Tensor:
        return x.log()

    def _register_units(self) -> None:
        super()._register_units()
        self.register_buffer("reads_log", torch.tensor(False))  # noqa: FBT003

    @torch.no_grad()
    def start_from(self, x: Tensor) -> None:
        super().start_from(x)
        self.reads_log.copy_((self.shift != 0).any() | (self.spread != 1).any())

    def inputs(self, x: Tensor) -> Tensor:
        """Standardised logarithms, or x itself if the logarithms are near a unit scale."""
        return torch.where(self.reads_log, super().inputs(x.log()), x)
