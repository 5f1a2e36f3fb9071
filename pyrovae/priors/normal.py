r"""The standard normal prior.

StandardNormal   p(z) = N(z; 0, I)
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.priors.base import Prior

__all__ = ["StandardNormal"]


class StandardNormal(Prior):
    r"""The standard normal prior, \(p(z) = \mathcal N(z; 0, I)\), whatever the context.

    Reference:
        Kingma & Welling (2014), "Auto-Encoding Variational Bayes".

    Example:
        >>> prior = StandardNormal()
        >>> prior.attach(latent_dim=2)
        >>> prior().log_prob(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    zero: Tensor

    def __init__(self) -> None:
        super().__init__()

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        self.register_buffer("zero", torch.zeros(latent_dim), persistent=False)

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        return dist.Normal(self.zero, torch.ones_like(self.zero)).to_event(1)
