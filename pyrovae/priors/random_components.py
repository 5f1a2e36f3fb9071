r"""Weights and means of a mixture as random variables.

    pi   ~ Dirichlet(a, ..., a)          q(pi)   = Dirichlet(a_1, ..., a_K)
    mu_k ~ N(0, r^2 I)                   q(mu_k) = N(m_k, diag s_k^2)

With a below 1, weights near 0 are likely a priori. A component that the data do not need loses its
weight, and the posterior of its mean returns to the prior.

Reference:
    Rousseau & Mengersen (2011), "Asymptotic Behaviour of the Posterior Distribution in Overfitted
    Mixture Models".
"""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from pyrovae.errors import Uncapturable
from pyrovae.variables import Variable

__all__ = ["RandomMeans", "RandomWeights"]

# The initial q(pi) and q(mu) are as wide as a posterior for this number of rows.
ROWS = 100.0
LEAST = 1e-4  # of a concentration; with much smaller ones, samples are 0 in single precision
TINY = 1e-30


class RandomWeights(Variable):
    """Weights (K,) with a symmetric Dirichlet prior and a Dirichlet posterior.

    Arguments:
        components: K.
        concentration: a.

    Example:
        >>> weights = RandomWeights(4, 0.5)
        >>> weights.words(), weights.centre().tolist()
        ('Dirichlet(0.5)', [0.25, 0.25, 0.25, 0.25])
    """

    def __init__(self, components: int, concentration: float) -> None:
        super().__init__()
        self.concentration = concentration
        self.log_concentration = nn.Parameter(torch.full((components,), math.log(ROWS / components)))

    def prior(self) -> dist.TorchDistribution:
        return dist.Dirichlet(torch.full_like(self.log_concentration, self.concentration))

    def posterior(self) -> dist.TorchDistribution:
        concentrations = self._concentrations()
        if isinstance(concentrations, FakeTensor) and not concentrations.is_cuda:
            raise Uncapturable("it samples a Dirichlet distribution, which cannot be compiled for a CPU")
        return dist.Dirichlet(concentrations)

    def centre(self) -> Tensor:
        return torch.softmax(self.log_concentration, -1)

    def words(self) -> str:
        return f"Dirichlet({self.concentration:g})"

    def logits(self) -> Tensor:
        """The logarithms of the weights, (*, K)."""
        return self.value.clamp_min(TINY).log()

    def _concentrations(self) -> Tensor:
        return self.log_concentration.exp().clamp_min(LEAST)

    @torch.no_grad()
    def put(self, weights: Tensor) -> None:
        """Set the mean of q(pi), (K,), without changing the sum of its concentrations."""
        total = self._concentrations().sum()
        shares = (weights / weights.sum()).to(total).clamp_min(TINY)
        self.log_concentration.copy_((total * shares).clamp_min(LEAST).log())


class RandomMeans(Variable):
    """Means (K, D) with normal priors and posteriors.

    Arguments:
        start: the initial means, (K, D).
        reach: r.

    Example:
        >>> RandomMeans(torch.zeros(4, 2), 3.0).words()
        'N(0, 3^2)'
    """

    def __init__(self, start: Tensor, reach: float) -> None:
        super().__init__()
        self.reach = reach
        self.loc = nn.Parameter(start.clone())
        width = (ROWS / len(start) + reach**-2) ** -0.5
        self.log_width = nn.Parameter(torch.full_like(start, math.log(width)))

    def prior(self) -> dist.TorchDistribution:
        return dist.Normal(torch.zeros_like(self.loc), self.reach).to_event(2)

    def posterior(self) -> dist.TorchDistribution:
        return dist.Normal(self.loc, self.log_width.exp()).to_event(2)

    def centre(self) -> Tensor:
        return self.loc

    def words(self) -> str:
        return f"N(0, {self.reach:g}^2)"

    @torch.no_grad()
    def put(self, loc: Tensor, variance: Tensor, weights: Tensor) -> None:
        """Set the means of q(mu), and its widths for components with these variances (K, D)."""
        shares = (weights / weights.sum()).unsqueeze(-1)
        precision = ROWS * shares / variance.clamp_min(TINY) + self.reach**-2
        self.loc.copy_(loc)
        self.log_width.copy_(-0.5 * precision.log())
