r"""What a VAE says of data and of latents, as arrays, with nothing of it changed by the reading.

    encode       q(z|x): its mean and, where it is normal, its covariance
    responsible  p(c|z) at draws z ~ q(z|x): the mean over the draws and their standard deviation
    divergences  KL(q(z|x) || N_k), in closed form between normals, else the mean of log q - log N_k at draws
    decode       E[x|z], or a draw of x where the likelihood knows no mean or one is wanted

All that is drawn comes from a seed. The caller's random state, the training mode and Pyro's store stay as
they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyro.distributions as dist
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pyrovae.distributions import Classed
from pyrovae.errors import InputError
from pyrovae.evidence.run import evaluating
from pyrovae.exploring.gaussians import divergences
from pyrovae.exploring.mixture import Mixture, mixture_of
from pyrovae.plots.style import as_array
from pyrovae.terms import Program
from pyrovae.vae import VAE

__all__ = ["Encoding", "Reader"]

Array = NDArray[np.float64]
ROWS = 256  # data that are read at once


@dataclass(frozen=True, eq=False)
class Encoding:
    """q(z|x) of N data.

    Attributes:
        mean: (N, D).
        sd: (N, D).
        kl: KL(q(z|x) || N_k) in nats, (N, K).
        responsibilities: p(c|z), the mean over draws of z, (N, K).
        responsibility_sd: over the draws, (N, K).
    """

    mean: Array
    sd: Array
    kl: Array
    responsibilities: Array
    responsibility_sd: Array


class Reader:
    """A VAE with a mixture in its prior, read without changing it.

    Raises:
        InputError: for a VAE without a mixture.
    """

    def __init__(self, vae: VAE) -> None:
        self.vae = vae
        self.mixture: Mixture = mixture_of(vae)

    @contextmanager
    def _quiet(self, seed: int) -> Iterator[None]:
        with evaluating(Program(self.vae)):
            torch.manual_seed(seed)
            yield

    def encode(self, x: Tensor, particles: int, seed: int) -> Encoding:
        """What q says of data (N, *event): draws of `particles` z each, from a seed."""
        with self._quiet(seed):
            pieces = [self._piece(rows, particles) for rows in x.split(ROWS)]
        return Encoding(*(np.concatenate(column) for column in zip(*pieces, strict=True)))

    def _piece(self, x: Tensor, particles: int) -> tuple[Array, ...]:
        law = self.vae.encode(x)
        share = self._responsibilities(x, law, particles)
        sd = share.std(0, ddof=1) if len(share) > 1 else np.zeros(share.shape[1:])
        mean, variance = self._moments(law, particles)
        return mean, np.sqrt(variance), self._divergences(law, particles), share.mean(0), sd

    def _responsibilities(self, x: Tensor, law: dist.TorchDistribution, particles: int) -> Array:
        """As `VAE.responsibilities` has them, (particles or 1, B, K)."""
        if self.vae.q.states is not None:
            return _array(self.vae.responsibilities(x))
        dim = self.mixture.dim
        return np.stack(
            [self.mixture.responsibilities(_array(law.sample())[:, :dim]) for _ in range(particles)]
        )

    def _moments(self, law: dist.TorchDistribution, particles: int) -> tuple[Array, Array]:
        """Mean and variance of q(z|x), (B, D), from draws where the law does not know them."""
        try:
            mean, variance = law.mean, law.variance
        except (NotImplementedError, AttributeError):
            draws = law.sample((max(particles, 2),))
            mean, variance = draws.mean(0), draws.var(0)
        return _array(mean)[:, : self.mixture.dim], _array(variance)[:, : self.mixture.dim]

    def _divergences(self, law: dist.TorchDistribution, particles: int) -> Array:
        """(B, K); where the guide draws the class, of q(z|x, c) for each class."""
        mixture = self.mixture
        if self.vae.q.states is not None:
            return np.stack([self._own(law, k) for k in range(len(mixture))], 1)
        normal = _normal(law)
        if normal is not None and normal[0].shape[1] == mixture.dim:
            return divergences(mixture.mean, mixture.covariance, *normal)
        z = law.sample((particles,))
        log_q, visible = _array(law.log_prob(z)), _array(z)[..., : mixture.dim]
        log_n = mixture.log_prob_of(visible.reshape(-1, mixture.dim)).reshape(*log_q.shape, len(mixture))
        return (log_q[..., None] - log_n).mean(0)

    def _own(self, law: dist.TorchDistribution, k: int) -> Array:
        """KL(q(z|x, c = k) || N_k), (B,)."""
        at = slice(k, k + 1)
        mean, covariance = self.mixture.mean[at], self.mixture.covariance[at]
        if isinstance(law, Classed):
            given = _normal(law.given(torch.full(law.batch_shape, k, device=law.classes.logits.device)))
        else:
            given = _array(law.loc[..., k, :]), _array(law.scale[..., k, :]) ** 2  # type: ignore[attr-defined]
        return divergences(mean, covariance, *given)[:, 0]  # type: ignore[misc]

    def decode(self, z: ArrayLike, *, k: int | None = None, seed: int | None = None) -> NDArray:
        """E[x|z] of latents (..., D), or with a seed draws of x: (..., *event).

        Arguments:
            z: in the latents of the mixture; for a program of classes with the class, one-hot, behind it.
            k: the class, where z does not hold it.
            seed: of draws, instead of means.
        """
        first = next(self.vae.parameters())
        flat = self._complete(as_array(z, "z"), k)
        points = torch.as_tensor(flat.reshape(-1, flat.shape[-1]), dtype=first.dtype, device=first.device)
        with self._quiet(seed or 0):
            pieces = [self._decoded(some, drawn=seed is not None) for some in points.split(ROWS)]
        x = torch.cat(pieces).cpu().numpy()
        return x.reshape(*flat.shape[:-1], *self.vae.event_shape)

    def _complete(self, z: Array, k: int | None) -> Array:
        dim, wanted = self.mixture.dim, self.vae.prior.visible
        if z.ndim and z.shape[-1] == wanted:
            return z
        if not z.ndim or z.shape[-1] != dim:
            raise InputError(f"z must have shape (..., {wanted}), not {z.shape}")
        if k is None:
            raise InputError("the decoder reads a class beside z: say which by k=")
        one_hot = np.broadcast_to(np.eye(len(self.mixture))[k], (*z.shape[:-1], len(self.mixture)))
        return np.concatenate([z, one_hot], -1)

    def _decoded(self, z: Tensor, *, drawn: bool) -> Tensor:
        law = self.vae.decode(z)
        if drawn:
            return law.sample()
        try:
            return law.mean
        except NotImplementedError:
            return law.sample()


def _normal(law: dist.TorchDistribution) -> tuple[Array, Array] | None:
    """Mean and covariance (or its diagonal) of a normal law; None for another."""
    inner = getattr(law, "base_dist", law)
    if isinstance(law, torch.distributions.Independent) and isinstance(inner, torch.distributions.Normal):
        return _array(inner.loc), _array(inner.scale) ** 2
    if isinstance(law, torch.distributions.MultivariateNormal):
        return _array(law.loc), _array(law.covariance_matrix)
    return None


def _array(tensor: Tensor) -> Array:
    return tensor.detach().double().cpu().numpy()
