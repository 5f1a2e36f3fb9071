r"""Priors p(z), and p(z|c) where there is a context c.

A prior is a module whose forward returns a distribution over latents with event shape (D,):

    prior = GaussianMixture(components=10)      # declare
    prior.attach(latent_dim=2)                  # create parameters; a VAE does this
    prior().log_prob(z)                         # z (*, D) -> (*)

To write one, subclass `Prior`: hyperparameters in `__init__`, parameters in `attach`, a Pyro distribution
from `forward`. It can then be named in Python, in YAML and on the command line.
"""

from __future__ import annotations

from abc import abstractmethod

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.errors import InputError
from pyrovae.numerics import inverse_positive, positive
from pyrovae.part import Part

__all__ = ["GaussianMixture", "Prior", "StandardNormal"]


class Prior(Part):
    """Base class of priors: `forward(context=None)` gives a distribution with event shape (D,)."""

    latent_dim: int

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        """Create parameters and buffers for latents of size `latent_dim`; extend it in a subclass."""
        self.latent_dim = latent_dim

    @abstractmethod
    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        """The distribution p(z), or p(z|c) for a context (*, context_dim)."""


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


class GaussianMixture(Prior):
    r"""A mixture of diagonal Gaussians with learned weights, means and scales, marginalised over components.

    \[p(z) = \sum_{k=1}^{K} \pi_k \, \mathcal N(z; \mu_k, \mathrm{diag}\, \sigma_k^2)\]

    Given a context c the weights depend on it, \(\pi(c) = \mathrm{softmax}(b + A c)\), with A zero at first.

    Arguments:
        components: the number K of components.

    Raises:
        InputError: when `components` is below 1.

    Reference:
        Dilokthanakul et al. (2016), "Deep Unsupervised Clustering with Gaussian Mixture VAEs".

    Example:
        >>> prior = GaussianMixture(components=10)
        >>> prior.attach(latent_dim=2)
        >>> prior().log_prob(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    def __init__(self, components: int = 10) -> None:
        super().__init__()
        self.components = components

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        if self.components < 1:
            raise InputError(f"GaussianMixture needs components of 1 or more, not {self.components}")
        self.logits = nn.Parameter(torch.zeros(self.components))
        self.loc = nn.Parameter(torch.randn(self.components, latent_dim))
        self.raw_scale = nn.Parameter(torch.full((self.components, latent_dim), inverse_positive(1.0)))
        self.gate = nn.Linear(context_dim, self.components, bias=False) if context_dim else None
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        logits = self.logits if self.gate is None or context is None else self.logits + self.gate(context)
        shape = (*logits.shape, self.latent_dim)
        components = dist.Normal(self.loc, positive(self.raw_scale)).expand(shape).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), components)
