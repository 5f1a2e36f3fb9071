r"""The mixture to explore as arrays, p(z) = sum_k pi_k N(z; m_k, S_k).

This file has all its closed forms: log p(z), p(c|z), samples of one component, and E[z] if only a
projection U z is known,

    E[z | U z = u] = sum_k p(k|u) (m_k + S_k U' (U S_k U')^-1 (u - U m_k))

A program whose decoder reads a class, p(c) p(z) p(x|z, c), has K components at the same place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import whole
from pyrovae.distributions import Classed
from pyrovae.errors import InputError
from pyrovae.exploring.space import vae_of
from pyrovae.numerics import Array, as_array
from pyrovae.vae import VAE

__all__ = ["Mixture", "has_components", "mixture_of"]

CELLS = 2**22  # latents x components x dimensions that are evaluated at once


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of K Gaussians over D latents.

    Attributes:
        weight: (K,), with sum 1.
        mean: (K, D).
        covariance: (K, D, D).
        classed: whether the components are classes that the decoder reads, all with the same N(0,
            I).
    """

    weight: Array
    mean: Array
    covariance: Array
    classed: bool = False

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def dim(self) -> int:
        """D."""
        return self.mean.shape[1]

    def log_joint(self, z: Tensor) -> Tensor:
        """log pi_k + log N_k(z) in nats, differentiable in z: (..., D), double -> (..., K)."""
        return self.log_each(z) + self._log_weight

    def log_each(self, z: Tensor) -> Tensor:
        """log N_k(z), by one product with all inverse factors (faster than triangular solves)."""
        whiten, centre, constant = self._whitened
        if whiten.dim() == 2:
            apart = z.unsqueeze(-2) * whiten - centre
        else:
            apart = (z @ whiten.flatten(0, 1).mT).unflatten(-1, centre.shape) - centre
        return constant - apart.square().sum(-1) / 2

    @cached_property
    def _whitened(self) -> tuple[Tensor, Tensor, Tensor]:
        """Inverse factors (K, D, D) or diagonals (K, D), L^-1 m (K, D), and constants (K,)."""
        factor = np.linalg.cholesky(self.covariance)
        diagonal = np.diagonal(factor, axis1=1, axis2=2)
        constant = -np.log(diagonal).sum(1) - self.dim / 2 * math.log(2 * math.pi)
        if np.array_equal(self.covariance, self.covariance * np.eye(self.dim)):
            whiten, centre = 1 / diagonal, self.mean / diagonal
        else:
            whiten = np.linalg.inv(factor)
            centre = np.einsum("kij,kj->ki", whiten, self.mean)
        return torch.from_numpy(whiten), torch.from_numpy(centre), torch.from_numpy(constant)

    @cached_property
    def _log_weight(self) -> Tensor:
        return torch.from_numpy(self.weight).log()

    def log_density(self, z: Tensor) -> Tensor:
        """log p(z) in nats, differentiable in z: (M, D), double -> (M,)."""
        return self.log_joint(z).logsumexp(-1)

    def log_prob(self, z: Array) -> Array:
        """log p(z) in nats: z (M, D) -> (M,)."""
        return np.concatenate([self.log_density(some).numpy() for some in self._pieces(z)])

    def log_prob_of(self, z: Array) -> Array:
        """log N_k(z) in nats: z (M, D) -> (M, K)."""
        return np.concatenate([self.log_each(some).numpy() for some in self._pieces(z)])

    def responsibilities(self, z: Array) -> Array:
        """p(c|z): z (M, D) -> (M, K)."""
        return np.concatenate([self.log_joint(some).softmax(-1).numpy() for some in self._pieces(z)])

    def _pieces(self, z: Array) -> tuple[Tensor, ...]:
        """Split latents into pieces that fit into memory with all components."""
        return torch.from_numpy(z).split(max(1, CELLS // (len(self) * self.dim)))

    def draw(self, k: int, count: int, seed: int) -> Array:
        """Samples (count, D) of component k."""
        noise = np.random.default_rng(whole("seed", seed, 0)).standard_normal((count, self.dim))
        return self.mean[k] + noise @ np.linalg.cholesky(self.covariance[k]).T

    def projected(self, basis: Array) -> Mixture:
        """The mixture of U z: U (2, D)."""
        return Mixture(self.weight, self.mean @ basis.T, basis @ self.covariance @ basis.T)

    def mean_of(self, point: Array, basis: Array) -> Array:
        """E[z | U z = u]: points u (M, 2) and U (2, D) -> (M, D)."""
        plane = self.projected(basis)
        gain = np.linalg.solve(plane.covariance, basis @ self.covariance)  # (K, 2, D)
        apart = point[:, None, :] - plane.mean
        each = self.mean + np.einsum("mki,kid->mkd", apart, gain)
        return np.einsum("mk,mkd->md", plane.responsibilities(point), each)


def has_components(vae: VAE) -> bool:
    """Whether `mixture_of` has an answer."""
    if vae.context_shape is not None or vae.prior.waits_for:
        return False
    with torch.no_grad():
        return vae.prior.mixture() is not None or isinstance(vae.latents(), Classed)


@torch.no_grad()
def mixture_of(vae: Any, what: str = "explore") -> Mixture:  # noqa: ANN401
    """The mixture in a VAE's prior.

    Arguments:
        vae: the VAE.
        what: what needs it, in messages.

    Raises:
        InputError: if it is not a VAE, is conditional, or has no components.
    """
    vae = vae_of(vae, what)
    if vae.context_shape is not None:
        raise InputError(
            f"{what} describes one mixture, and a conditional VAE has another for each context: declare it "
            "without context_shape= (labels need none)"
        )
    if vae.prior.waits_for:
        raise InputError(
            f"{vae.prior!r} has no components before epoch {vae.prior.waits_for}: train it for longer"
        )
    distribution = vae.prior.mixture()
    if distribution is None:
        return _classes_of(vae)
    parts = distribution.component_distribution
    mean = as_array(parts.mean, float)
    full = getattr(parts, "covariance_matrix", None)
    covariance = torch.diag_embed(parts.variance) if full is None else full
    weight = as_array(distribution.mixture_distribution.probs, float)
    return Mixture(weight / weight.sum(), mean, as_array(covariance, float))


def _classes_of(vae: VAE) -> Mixture:
    distribution = vae.latents()
    if not isinstance(distribution, Classed):
        raise InputError(
            f"{vae.prior!r} has no components to explore: declare the VAE with "
            "prior=pv.priors.GaussianMixture(components=10)"
        )
    weight, dim = as_array(distribution.classes.probs, float).flatten(), distribution.dim
    place = np.zeros((len(weight), dim)), np.tile(np.eye(dim), (len(weight), 1, 1))
    return Mixture(weight / weight.sum(), *place, classed=True)
