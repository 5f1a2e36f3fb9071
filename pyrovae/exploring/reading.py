r"""Results of a VAE on data and latents, as arrays, without changing the VAE.

    encode       q(z|x): its mean and, where it is normal, its covariance
    responsible  p(c|z) at samples z ~ q(z|x): mean and standard deviation over the samples
    divergences  KL(q(z|x) || N_k), in closed form between normals, else the mean of log q - log N_k
    decode       E[x|z], or a sample of x if requested or the likelihood has no known mean

All samples are drawn with a seed. The caller's random state, the training mode and Pyro's store do
not change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyro.distributions as dist
import torch
from numpy.typing import ArrayLike, NDArray

from pyrovae.datasets import Rows
from pyrovae.distributions import Classed
from pyrovae.errors import InputError
from pyrovae.exploring.gaussians import divergences
from pyrovae.exploring.mixture import Mixture, mixture_of
from pyrovae.exploring.space import Encoding, Space
from pyrovae.numerics import Array, as_array, numbers
from pyrovae.vae import VAE

__all__ = ["ByComponent", "Reader"]


@dataclass(frozen=True, eq=False)
class ByComponent(Encoding):
    """q(z|x) of N rows, with the K components to which they may belong.

    Attributes:
        kl: KL(q(z|x) || N_k) in nats, (N, K).
        responsibilities: p(c|z), the mean over samples of z, (N, K).
        responsibility_sd: over the samples, (N, K).
    """

    kl: Array
    responsibilities: Array
    responsibility_sd: Array


class Reader(Space):
    """Reads a VAE with a mixture in its prior, without changing it.

    Raises:
        InputError: for a VAE without a mixture.
    """

    encoding = ByComponent

    def __init__(self, vae: VAE) -> None:
        self.mixture: Mixture = mixture_of(vae)
        super().__init__(vae)

    def _piece(self, rows: Rows, particles: int) -> tuple[Array, ...]:
        q = self.vae.encode(rows)
        share = self._responsibilities(rows, q, particles)
        sd = share.std(0, ddof=1) if len(share) > 1 else np.zeros(share.shape[1:])
        mean, variance = (part[:, : self.mixture.dim] for part in self.moments(q, particles))
        tail = np.eye(self.classes)[share.mean(0).argmax(1)] if self.classes else np.zeros((len(mean), 0))
        kl = self._divergences(q, particles)
        return mean, np.sqrt(variance), mean, tail, kl, share.mean(0), sd

    def _responsibilities(self, rows: Rows, q: dist.TorchDistribution, particles: int) -> Array:
        """The result of `VAE.responsibilities`, (particles or 1, B, K)."""
        if self.vae.q.states is not None:
            return as_array(self.vae.responsibilities(rows), float)
        dim, responsibilities = self.mixture.dim, self.mixture.responsibilities
        return np.stack([responsibilities(as_array(q.sample(), float)[:, :dim]) for _ in range(particles)])

    def _divergences(self, q: dist.TorchDistribution, particles: int) -> Array:
        """KL(q(z|x) || N_k), (B, K); for each class, of q(z|x, c), if the guide draws the class."""
        mixture = self.mixture
        if self.vae.q.states is not None:
            return np.stack([self._divergence_of_class(q, k) for k in range(len(mixture))], 1)
        normal = _normal(q)
        if normal is not None and normal[0].shape[1] == mixture.dim:
            return divergences(mixture.mean, mixture.covariance, *normal)
        z = q.sample((particles,))
        log_q, visible = as_array(q.log_prob(z), float), as_array(z, float)[..., : mixture.dim]
        log_n = mixture.log_prob_of(visible.reshape(-1, mixture.dim)).reshape(*log_q.shape, len(mixture))
        return (log_q[..., None] - log_n).mean(0)

    def _divergence_of_class(self, q: dist.TorchDistribution, k: int) -> Array:
        """KL(q(z|x, c = k) || N_k), (B,)."""
        at = slice(k, k + 1)
        mean, covariance = self.mixture.mean[at], self.mixture.covariance[at]
        if isinstance(q, Classed):
            normal = _normal(q.given(torch.full(q.batch_shape, k, device=q.classes.logits.device)))
        else:
            loc, scale = q.loc[..., k, :], q.scale[..., k, :]  # type: ignore[attr-defined]
            normal = as_array(loc, float), as_array(scale, float) ** 2
        return divergences(mean, covariance, *normal)[:, 0]  # type: ignore[misc]

    def decode(self, z: ArrayLike, *, k: int | None = None, seed: int | None = None) -> NDArray:
        """E[x|z], (..., *event), at latents (..., D), or samples of x if a seed is given.

        Arguments:
            z: latents of the mixture; for a program with classes they may end with the one-hot
                class.
            k: the class, if z does not contain it.
            seed: seed for samples instead of means.
        """
        return self.decoded(self._with_class(numbers(z, "z"), k), seed=seed)

    def _with_class(self, z: Array, k: int | None) -> Array:
        dim, size = self.mixture.dim, self.vae.prior.visible
        if z.ndim and z.shape[-1] == size:
            return z
        if not z.ndim or z.shape[-1] != dim:
            raise InputError(f"z must have shape (..., {size}), not {z.shape}")
        if k is None:
            raise InputError("the decoder reads a class as well as z: say which by k=")
        one_hot = np.broadcast_to(np.eye(len(self.mixture))[k], (*z.shape[:-1], len(self.mixture)))
        return np.concatenate([z, one_hot], -1)


def _normal(q: dist.TorchDistribution) -> tuple[Array, Array] | None:
    """Mean and covariance (or its diagonal) of a normal distribution; None for others."""
    inner = getattr(q, "base_dist", q)
    if isinstance(q, torch.distributions.Independent) and isinstance(inner, torch.distributions.Normal):
        return as_array(inner.loc, float), as_array(inner.scale, float) ** 2
    if isinstance(q, torch.distributions.MultivariateNormal):
        return as_array(q.loc, float), as_array(q.covariance_matrix, float)
    return None
