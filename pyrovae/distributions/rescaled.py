r"""Distributions of standardised numbers u, expressed in the units of the data.

    x = m + s u                  log p(x) = log p_u((x - m) / s) - log s
    x = exp(m + s u)             log p(x) = log p_u((log x - m) / s) - log s - log x

m is the location (`shift`) and s the spread. x may be in float64 when the parameters of p_u are in
float32: x is standardised in float64, and log p_u is computed in float32.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from pyrovae.distributions.composed import Draw, alike

__all__ = ["LogRescaled", "Rescaled"]


class Rescaled(dist.TorchDistribution):
    """The distribution of x = shift + spread u.

    Arguments:
        base: the distribution of u, with `loc` and `scale`, batch (*, *event).
        shift, spread: location and spread of x, broadcastable to the batch, of any floating point
            type.

    Example:
        >>> shift, spread = torch.tensor(5.4e6, dtype=torch.float64), torch.tensor(0.2)
        >>> year = Rescaled(dist.Normal(torch.tensor(0.0), 1.0), shift, spread)
        >>> year.log_prob(torch.tensor(5.4e6 + 0.2, dtype=torch.float64))
        tensor(0.1905)
    """

    arg_constraints: dict[str, Any] = {}
    support: constraints.Constraint = constraints.real

    def __init__(self, base: Any, shift: Tensor, spread: Tensor) -> None:  # noqa: ANN401
        self.base, self.shift, self.spread = base, shift, spread
        super().__init__(base.batch_shape, validate_args=False)

    @property
    def loc(self) -> Tensor:
        """The location in the units of x."""
        return self.shift + self.spread * self.base.loc

    @property
    def scale(self) -> Tensor:
        """The scale in the units of x."""
        return self.spread * self.base.scale

    @property
    def mean(self) -> Tensor:
        return self.shift + self.spread * self.base.mean

    @property
    def variance(self) -> Tensor:
        return self.spread.square() * self.base.variance

    def standardised(self, value: Tensor) -> Tensor:
        """u = (x - shift) / spread, in the type of the base distribution."""
        return ((value - self.shift) / self.spread).to(self.base.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), elementwise, in nats."""
        log_spread = self.spread.log().to(self.base.loc.dtype)
        return self.base.log_prob(self.standardised(value)) - log_spread

    def compose(self, draw: Draw) -> Tensor:
        """One value for each entry of the batch, from a sample of the base distribution."""
        return self.shift + self.spread * draw(self.base)

    @torch.no_grad()
    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Samples in the units of x, in float64 if one of the types is float64."""
        return self.compose(lambda base: base.sample(sample_shape))

    def expand(self, batch_shape: _size, _instance: Any = None) -> Rescaled:  # noqa: ANN401
        return alike(type(self)(self.base.expand(torch.Size(batch_shape)), self.shift, self.spread), self)


class LogRescaled(Rescaled):
    """The distribution of x = exp(shift + spread u), u normal.

    Example:
        >>> one = torch.tensor(1.0)
        >>> LogRescaled(dist.Normal(torch.tensor(0.0), 1.0), 0 * one, one).log_prob(one)
        tensor(-0.9189)
    """

    support = constraints.positive

    @property
    def mean(self) -> Tensor:
        return (self.loc + 0.5 * self.scale.square()).exp()

    @property
    def variance(self) -> Tensor:
        square = self.scale.square()
        return square.expm1() * (2 * self.loc + square).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), elementwise, in nats."""
        log_x = value.log()
        return super().log_prob(log_x) - log_x.to(self.base.loc.dtype)

    def compose(self, draw: Draw) -> Tensor:
        """One value for each entry of the batch, from a sample of the base distribution."""
        return super().compose(draw).exp()
