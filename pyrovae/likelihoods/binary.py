"""Likelihoods of binary elements."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from pyrovae import distributions
from pyrovae.likelihoods.base import Likelihood, Shape

__all__ = ["Bernoulli"]


class Bernoulli(Likelihood):
    r"""Independent binary elements, \(p(x|z) = \prod_i p_i^{x_i} (1 - p_i)^{1 - x_i}\).

    Arguments: none. The decoder gives the logits of \(p_i\).

    Reference:
        Kingma & Welling (2014), "Auto-Encoding Variational Bayes", appendix C.1.

    Example:
        >>> import torch
        >>> likelihood = Bernoulli()
        >>> likelihood.attach((1, 8, 8))
        >>> likelihood(logits=torch.zeros(5, 1, 8, 8)).log_prob(torch.ones(5, 1, 8, 8)).shape
        torch.Size([5])
    """

    advice = "every value must be 0 or 1: binarise them (binarize='threshold') or use ContinuousBernoulli"

    def __init__(self) -> None:
        super().__init__()

    @property
    def param_shapes(self) -> dict[str, Shape]:
        return {"logits": self.event_shape}

    def forward(self, logits: Tensor) -> dist.TorchDistribution:
        return self.over_event(distributions.Bernoulli(logits=logits))
