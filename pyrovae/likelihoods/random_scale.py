r"""A scale that is a random variable, one for all elements and rows.

    s ~ HalfNormal(1)                     p(s)
    s ~ LogNormal(m, w^2)                 q(s), with its median at exp(m)

    KL(q || p) = exp(2 m + 2 w^2) / 2 - m - log w - 1/2 - log 2

since E[s^2] = exp(2 m + 2 w^2). s is in units of each element's spread, so with s near 1 the
decoder explains nothing.

Reference:
    Gelman (2006), "Prior distributions for variance parameters in hierarchical models".
"""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.numerics import SCALE_FLOOR
from pyrovae.variables import Variable

__all__ = ["RandomScale"]

CENTRE = 0.5
WIDTH = 0.1


class RandomScale(Variable):
    """A positive number with a half-normal prior and a log-normal posterior.

    Example:
        >>> scale = RandomScale()
        >>> scale.centre(), scale.words()
        (tensor(0.5000, grad_fn=<ExpBackward0>), 'HalfNormal(1)')
    """

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(math.log(CENTRE)))
        self.log_width = nn.Parameter(torch.tensor(math.log(WIDTH)))

    def prior(self) -> dist.TorchDistribution:
        return dist.HalfNormal(torch.ones_like(self.loc))

    def posterior(self) -> dist.TorchDistribution:
        return dist.LogNormal(self.loc, self.log_width.exp())

    def centre(self) -> Tensor:
        return self.loc.exp()

    def words(self) -> str:
        return "HalfNormal(1)"

    def divergence(self) -> Tensor:
        square = (2 * (self.loc + (2 * self.log_width).exp())).exp()
        return 0.5 * square - self.loc - self.log_width - 0.5 - math.log(2)

    def for_elements(self, dims: int) -> Tensor:
        """The value, limited from below, with a dimension of size 1 for each of the event."""
        value = self.value
        return value.clamp_min(SCALE_FLOOR).reshape(*value.shape, *(1,) * dims)

    @torch.no_grad()
    def start_at(self, centre: float, elements: int) -> None:
        """Initialise q(s) at a centre, with the width for this number of elements.

        The standard deviation of log s for n normal elements with known means is 1 / sqrt(2 n).
        """
        self.loc.fill_(math.log(centre))
        self.log_width.fill_(math.log(min(WIDTH, 1 / math.sqrt(2 * max(elements, 1)))))
