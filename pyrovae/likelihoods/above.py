r"""Likelihoods of elements above zero: amounts, durations, concentrations.

LogNormal   log x ~ N(mu, sigma^2),   log p(x) = log N(log x; mu, sigma^2) - log x
"""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
from torch import Tensor

from pyrovae.likelihoods.real import Scaled

__all__ = ["LogNormal"]


class LogNormal(Scaled):
    r"""Independent positive elements, \(\log x_i \sim \mathcal N(\mu_i, \sigma_i^2)\).

    The density is that of x, not of its logarithm.

    Arguments:
        scale: a number, the fixed \(\sigma\) of the logarithm; "learned", one \(\sigma\) for all elements and
            data; or "predicted", a \(\sigma_i\) from the decoder for each element.

    Raises:
        InputError: when `scale` is neither a positive number nor one of the words.

    Reference:
        Aitchison & Brown (1957), "The Lognormal Distribution".

    Example:
        >>> import torch
        >>> likelihood = LogNormal()
        >>> likelihood.attach((4,))
        >>> likelihood(loc=torch.zeros(5, 4)).log_prob(torch.ones(5, 4)).shape
        torch.Size([5])
    """

    advice = "every value must be a number above 0: shift the data, or use Normal"

    def __init__(self, scale: float | Literal["learned", "predicted"] = "learned") -> None:
        super().__init__()
        self.scale = scale

    def forward(self, loc: Tensor, raw_scale: Tensor | None = None) -> dist.TorchDistribution:
        return self.over_event(dist.LogNormal(loc, self.positive_scale(raw_scale)))
