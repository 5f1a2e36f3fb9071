r"""Counts with more zeros than their distribution has.

    p(0) = g + (1 - g) p_0(0),    p(x) = (1 - g) p_0(x)  for x > 0          g = sigma(l)

Pyro's distribution, once it was asked for a sample or its mean, stores g next to l; then it cannot be
expanded, and takes the logarithm of g where l was exact.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

__all__ = ["ZeroInflated"]


class ZeroInflated(dist.ZeroInflatedDistribution):
    """A distribution of counts with further zeros, from the logits of their probability.

    Example:
        >>> counts = ZeroInflated(dist.Poisson(torch.tensor(1.0)), gate_logits=torch.tensor(0.0))
        >>> counts.mean, counts.expand((2,)).mean
        (tensor(0.5000), tensor([0.5000, 0.5000]))
    """

    arg_constraints = {"gate_logits": constraints.real}

    @property
    def gate(self) -> Tensor:
        """The probability of a further zero, (*)."""
        return torch.sigmoid(self.gate_logits)
