r"""The latents of any VAE as arrays: encodings, log p(z) and decoded observations.

    encode     E[z|x] under q(z|x)
    sample     z ~ q(z|x)
    log_prob   log p(z), or log p(z|c) for a context
    decoded    E[x|z], the most probable row of a table, or a sample of x

All samples are drawn with a seed. The caller's random state, the training mode and Pyro's store do
not change. Of a program whose decoder reads a class, z is followed by the one-hot class, which is
the most probable class of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae.checks import whole
from pyrovae.datasets import Rows
from pyrovae.distributions import Classed, Columns
from pyrovae.errors import InputError, sizes
from pyrovae.evidence.marginals import kl_of_marginals
from pyrovae.evidence.run import evaluating, inputs
from pyrovae.measurements.families import elements_of
from pyrovae.measurements.moments import moments_of
from pyrovae.numerics import Array, as_array
from pyrovae.report import is_image
from pyrovae.terms import Runner
from pyrovae.vae import VAE

__all__ = ["ROWS", "Encoding", "Space", "vae_of"]

ROWS = 256  # rows read at once
POINTS = 1024  # latents whose log p(z) is computed at once
SAMPLES = 100  # for the mean of a q(z|x) without a known one


@dataclass(frozen=True, eq=False)
class Encoding:
    """q(z|x) of N rows, over the D real latents.

    Attributes:
        mean: (N, D); for classes with a context, that of the class in `tail`.
        sd: (N, D), of the same distribution.
        place: latents that stand for each row and that can be decoded, (N, D): the means or, for
            latents on a sphere or one-hot latents, values near them.
        tail: the one-hot class that the decoder reads, (N, C); C is 0 without classes.
    """

    mean: Array
    sd: Array
    place: Array
    tail: Array


class Space:
    """The latent space of a VAE, read without changing the VAE.

    Arguments:
        vae: the VAE.
        what: what needs the VAE, in messages.

    Raises:
        InputError: for another program.
    """

    encoding: type[Encoding] = Encoding

    def __init__(self, vae: Any, what: str = "this") -> None:  # noqa: ANN401
        self.vae = vae_of(vae, what)

    @contextmanager
    def quiet(self, seed: int) -> Iterator[None]:
        """Evaluate with the random numbers of a seed, and leave no trace."""
        with evaluating(Runner(self.vae)):
            torch.manual_seed(whole("seed", seed, 0))
            yield

    @property
    def dim(self) -> int:
        """The number of real entries of z, without a one-hot class."""
        return self.vae.prior.size - self.classes

    @property
    def classes(self) -> int:
        """The number of entries of the one-hot class that the decoder reads, or 0."""
        states = self.vae.prior.states
        return states if states and self.vae.prior.size > self.vae.latent_dim else 0

    # ---------------------------------------------------------------- encodings

    def rows(self, x: Any, context: Any = None) -> Rows:  # noqa: ANN401
        """Observations (N, *event), or a single one (*event), as checked rows without labels.

        Arguments:
            x: observations.
            context: the context or label of each row, or one for all.

        Raises:
            InputError: for observations that the VAE cannot take, or latents that are not real.
        """
        if not isinstance(x, Rows) and _shape_of(x) == self.vae.event_shape:
            x = as_array(x)[None]
        rows = inputs(Runner(self.vae), x, context).unlabelled()
        with self.quiet(0):
            self._check_real(self.vae.encode(rows[:2]))
        return rows

    def _check_real(self, q: dist.TorchDistribution) -> None:
        """Refuse latents that are not vectors of R^D: a step would leave their space."""
        if not self.is_real(q):
            raise InputError(
                f"the latents of {self.vae.prior!r} are not real vectors, so there are no directions among "
                "them: use a VAE with a prior on real vectors, such as StandardNormal or GaussianMixture"
            )

    def is_real(self, q: dist.TorchDistribution) -> bool:
        """Whether the samples of q(z|x) are any vectors of R^D, so that there are directions."""
        support = None if isinstance(q, Classed) else _support_of(q)
        points = torch.tensor([[-1.5], [0.0], [1.5]]).expand(3, self.vae.prior.size)
        return support is None or bool(support.check(points).all())

    def read(self, rows: Rows, particles: int, seed: int) -> Encoding:
        """Encode N rows, with this number of samples of z for each."""
        with self.quiet(seed):
            pieces = [self._piece(some, particles) for some in rows.batches(ROWS)]
        return self.encoding(*(np.concatenate(column) for column in zip(*pieces, strict=True)))

    def _piece(self, rows: Rows, particles: int) -> tuple[Array, ...]:
        q = self.vae.encode(rows)
        if isinstance(q, Classed):
            c, tail = _most_probable(q)
            mean, variance = self.moments(q.given(c), particles)
            return mean, np.sqrt(variance), mean, as_array(tail, float)
        mean, variance = self.moments(q, particles)
        return mean, np.sqrt(variance), self._place(q, mean, particles), np.zeros((len(rows), 0))

    def _place(self, q: dist.TorchDistribution, mean: Array, particles: int) -> Array:
        """Latents that stand for each row: the mean or, where it is no value of z, one near it."""
        support = _support_of(q)
        if support is None or bool(support.check(torch.as_tensor(mean)).all()):
            return mean
        unit = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-300)
        if bool(support.check(torch.as_tensor(unit)).all()):
            return unit
        z = as_array(q.sample((max(particles, SAMPLES),)), float)
        nearest = ((z - mean) ** 2).sum(-1).argmin(0)
        return z[nearest, np.arange(len(mean))]

    def divergence(self, rows: Rows, particles: int, seed: int) -> tuple[Array, Array]:
        """KL(q(z|x) || p(z)) of rows, (N,), from samples, and of the marginals, (N, size).

        The latter is nan where q(z|x) or p(z) has no known marginals.
        """
        parts = []
        with self.quiet(seed):
            for some in rows.batches(ROWS):
                q, prior = self.vae.encode(some), self.vae.latents(some.context)
                z = q.sample((particles,))
                kl = (q.log_prob(z).double() - prior.log_prob(z).double()).mean(0)
                parts.append((as_array(kl), as_array(kl_of_marginals(q, prior, z).kl)))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]

    def encode(self, rows: Rows, seed: int = 0) -> Array:
        """E[z|x] of rows, (N, size)."""
        return self._encoded(rows, seed, self._mean)

    def sample(self, rows: Rows, seed: int = 0) -> Array:
        """A sample z ~ q(z|x) of each row, (N, size)."""
        return self._encoded(rows, seed, lambda q: q.sample())

    def _encoded(self, rows: Rows, seed: int, of: Any) -> Array:  # noqa: ANN401
        with self.quiet(seed):
            pieces = [as_array(of(self.vae.encode(some)), float) for some in rows.batches(ROWS)]
        return np.concatenate(pieces)

    def _mean(self, q: dist.TorchDistribution) -> Tensor:
        """E[z|x], for a class that the decoder reads given the most probable class."""
        if isinstance(q, Classed):
            c, one_hot = _most_probable(q)
            mean = self._mean(q.given(c))
            return torch.cat([mean, one_hot.to(mean)], -1)
        return torch.as_tensor(self.moments(q, SAMPLES)[0])

    @staticmethod
    def moments(q: dist.TorchDistribution, particles: int) -> tuple[Array, Array]:
        """Mean and variance of q(z|x), (B, D), from samples if they are not known."""
        try:
            mean, variance = q.mean, q.variance
        except (NotImplementedError, AttributeError):
            z = q.sample((max(particles, 2),))
            mean, variance = z.mean(0), z.var(0)
        return as_array(mean, float), as_array(variance, float)

    # ---------------------------------------------------------------- densities

    def log_density(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(z) in nats, differentiable in z: (M, size), double -> (M,), double."""
        like = next(self.vae.parameters())
        return self.vae.latents(context).log_prob(z.to(like)).double()

    def log_prob(self, z: Array, context: Tensor | None = None) -> Array:
        """log p(z) in nats of latents (..., N, size), for rows with a context: (..., N)."""
        flat, given = self._flat(z, context)
        with self.quiet(0):
            done = [
                as_array(self.log_density(flat[at], None if given is None else given[at]))
                for at in _slices(len(flat), POINTS)
            ]
        return np.concatenate(done).reshape(z.shape[:-1])

    def decoded(self, z: Array, context: Tensor | None = None, seed: int | None = None) -> NDArray:
        """E[x|z] (..., N, *event), or samples of x if a seed is given.

        Columns of classes have no mean: a table has its most probable values.

        Arguments:
            z: latents (..., N, size), or those that the decoder reads.
            context: the context of the N rows, (N, *context_shape).
            seed: seed for samples instead of means.
        """
        flat, given = self._flat(z, context)
        with self.quiet(seed or 0):
            each = (
                self.vae.decode(
                    flat[at].to(next(self.vae.parameters())), None if given is None else given[at]
                )
                for at in _slices(len(flat), ROWS)
            )
            x = torch.cat([_expected(p, flat.device) if seed is None else p.sample() for p in each])
        return as_array(x).reshape(*z.shape[:-1], *self.vae.event_shape)

    def scale(self, rows: Rows) -> Array:
        """The unit of each element: its standard deviation in rows, or 1 for images, (*event)."""
        if is_image(self.vae.event_shape):
            return np.ones(self.vae.event_shape)
        x = as_array(rows.x, float)
        known = ~np.isnan(x)
        count = np.maximum(known.sum(0), 1)
        mean = np.nansum(x, 0) / count
        sd = np.sqrt((np.where(known, x - mean, 0.0) ** 2).sum(0) / count)
        return np.where(sd > 0, sd, 1.0)

    def _flat(self, z: Array, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Latents (M, size), and the context of each."""
        device = next(self.vae.parameters()).device
        flat = torch.as_tensor(z.reshape(-1, z.shape[-1]), device=device)
        if context is None:
            return flat, None
        if z.ndim < 2 or z.shape[-2] != len(context):
            raise InputError(
                f"z has shape {sizes(z.shape)}, and there are {len(context)} contexts: give one each"
            )
        rows = torch.arange(len(context), device=device).expand(z.shape[:-1]).flatten()
        return flat, context[rows]


def _most_probable(q: Classed) -> tuple[Tensor, Tensor]:
    """The most probable class of each row, (B,), and one-hot, (B, C)."""
    c = q.classes.logits.argmax(-1)
    return c, torch.nn.functional.one_hot(c, q.classes.strata)


def _support_of(q: dist.TorchDistribution) -> Any:  # noqa: ANN401
    try:
        return q.support
    except NotImplementedError:
        return None


def _expected(p: dist.TorchDistribution, device: torch.device) -> Tensor:
    """The mean; of columns without one the most probable values, and of others a sample."""
    try:
        return p.mean
    except NotImplementedError:
        elements, _ = elements_of(p)
    if not isinstance(elements, Columns):
        return p.sample()
    elements = elements.expand(torch.Size((1, *elements.batch_shape)))
    weight = torch.ones(elements.batch_shape[:2], device=device)
    return moments_of(elements, weight).mode


def vae_of(vae: Any, what: str) -> VAE:  # noqa: ANN401
    """The VAE itself.

    Raises:
        InputError: for another program.
    """
    if not isinstance(vae, VAE):
        raise InputError(
            f"{what} needs a VAE, not a {type(vae).__name__}: give the result of VAE(...) or load(...)"
        )
    return vae


def _shape_of(x: Any) -> tuple[int, ...] | None:  # noqa: ANN401
    """The shape of an array, a tensor or a list of numbers; None for anything else."""
    try:
        return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)
    except ValueError:  # lists of different lengths
        return None


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]
