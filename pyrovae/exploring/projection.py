r"""A plane in latent space, and the map from it to latents.

With two latents, the plane is the latent space. With more, there are three kinds. The first two
principal components of the encodings show most of their variance. A pair of latents shows these two
as they are. The components of a mixture are separated best, relative to their widths, by Fisher's
directions v, with the mixture's weights,

    maximise  v'Bv / v'Wv,     W = sum pi_k S_k,    B = sum pi_k (m_k - m)(m_k - m)',

made orthonormal, so that an ellipse keeps its shape. If fewer than two directions separate
components, principal components of the encodings are added. A point u of the plane represents E[z |
the projection of z is u] under the mixture. On an ellipse this is a typical latent of its
component, and its projection is u. Without a mixture, one Gaussian with the moments of q(z), the
mean of q(z|x) over the rows, takes its place.

Reference:
    Fisher (1936), "The Use of Multiple Measurements in Taxonomic Problems"; Rao (1948), "The
    Utilization of Multiple Measurements in Problems of Biological Classification".
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.errors import InputError
from pyrovae.exploring.mixture import Mixture
from pyrovae.exploring.space import Encoding
from pyrovae.numerics import Array, numbers

__all__ = ["Projection", "gaussian_of", "pair_plane", "plane_of", "principal_directions", "principal_plane"]

LATENTS = ("$z_1$", "$z_2$")


@dataclass(frozen=True, eq=False)
class Projection:
    """A plane in latent space: u = basis (z - origin).

    Attributes:
        origin: (D,).
        basis: orthonormal rows, (2, D).
        mixture: the mixture, for the map from the plane to latents.
        names: what the two axes are, (2,).
    """

    origin: Array
    basis: Array
    mixture: Mixture = field(repr=False)
    names: tuple[str, str] = ("direction 1", "direction 2")

    @property
    def identity(self) -> bool:
        """Whether the plane is latent space itself."""
        return np.array_equal(self.basis, np.eye(2))

    def to_plane(self, z: ArrayLike) -> Array:
        """Map latents (..., D) to points of the plane (..., 2)."""
        return (_points(z, "z", len(self.origin)) - self.origin) @ self.basis.T

    def to_latent(self, point: ArrayLike) -> Array:
        """Map points of the plane (..., 2) to the latents that they represent, (..., D)."""
        point = _points(point, "point", 2)
        flat = point.reshape(-1, 2)
        if len(self.origin) > 2:
            z = self.mixture.mean_of(flat + self.basis @ self.origin, self.basis)
        else:
            z = self.origin + flat @ self.basis
        return z.reshape(*point.shape[:-1], len(self.origin))

    def ellipse(self, mean: ArrayLike, covariance: ArrayLike) -> tuple[Array, Array]:
        """Mean (2,) and covariance (2, 2) of a Gaussian of the latents, projected on the plane."""
        square = numbers(covariance, "covariance", (len(self.origin), len(self.origin)))
        return self.to_plane(mean), self.basis @ square @ self.basis.T


def _points(value: ArrayLike, name: str, size: int) -> Array:
    points = numbers(value, name)
    if points.shape[-1:] != (size,):
        raise InputError(f"{name} has shape {points.shape} where (..., {size}) was expected")
    return points


def plane_of(mixture: Mixture, z: Array) -> Projection:
    """The plane of a mixture; encodings (N, D) are used if the mixture does not determine it."""
    dim = mixture.dim
    if dim <= 2:
        return _whole(mixture)
    origin = mixture.weight @ mixture.mean
    apart = mixture.mean - origin
    between = np.einsum("k,ki,kj->ij", mixture.weight, apart, apart)
    within = np.einsum("k,kij->ij", mixture.weight, mixture.covariance)
    directions = [*_separating(between, within), *principal_directions(z)]
    basis = np.zeros((0, dim))
    for direction in directions:
        rest = direction - basis.T @ (basis @ direction)
        length = np.linalg.norm(rest)
        if length > 1e-6 and len(basis) < 2:
            basis = np.concatenate([basis, rest[None] / length])
    return Projection(origin, basis, mixture)


def _whole(mixture: Mixture) -> Projection:
    """Latent space itself, for one or two latents."""
    return Projection(np.zeros(mixture.dim), np.eye(2)[:, : mixture.dim], mixture, LATENTS)


def principal_plane(mixture: Mixture, z: Array, visible: int) -> Projection:
    """The first two principal components of encodings (N, D), or z0 and z1 if z0 alone is read.

    Arguments:
        mixture: what stands for p(z) in the map from the plane to latents.
        z: the encodings.
        visible: the number of latents, from the first, that the decoder reads.
    """
    if mixture.dim <= 2:
        return _whole(mixture)
    if visible < 2:  # one latent for the decoder, and others above it
        return pair_plane(mixture, (0, 1))
    basis = np.zeros((2, mixture.dim))
    for row, direction in zip(basis, principal_directions(z[:, :visible]), strict=False):
        row[: len(direction)] = direction
    return Projection(z.mean(0), basis, mixture, ("PC 0", "PC 1"))


def pair_plane(mixture: Mixture, pair: tuple[int, int]) -> Projection:
    """Two latents as they are."""
    names = (f"z{pair[0]}", f"z{pair[1]}")
    return Projection(np.zeros(mixture.dim), np.eye(mixture.dim)[list(pair)], mixture, names)


def gaussian_of(encoding: Encoding) -> Mixture:
    """One Gaussian with the moments of q(z) = mean of q(z|x) over the rows."""
    mean = encoding.mean.mean(0)
    apart = encoding.mean - mean
    covariance = apart.T @ apart / len(apart) + np.diag((encoding.sd**2).mean(0))
    covariance += np.eye(len(mean)) * max(1e-12, 1e-9 * float(np.trace(covariance)) / len(mean))
    return Mixture(np.ones(1), mean[None], covariance[None])


def _separating(between: Array, within: Array) -> list[Array]:
    """The directions that separate components, with unit length, in falling order of separation."""
    from scipy.linalg import eigh

    ratio, vectors = eigh(between, within)
    order = [i for i in np.argsort(-ratio) if ratio[i] > 1e-6]
    return [_pointing(vectors[:, i]) for i in order]


def principal_directions(z: Array) -> list[Array]:
    """Principal directions of the encodings (N, D), then the coordinate axes."""
    centred = z - z.mean(0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return [_pointing(v) for v in (*vectors.T[::-1], *np.eye(z.shape[1]))]


def _pointing(vector: Array) -> Array:
    """Scale to unit length, with a positive largest entry, so that figures are reproducible."""
    vector = vector / np.linalg.norm(vector)
    return vector * np.sign(vector[np.abs(vector).argmax()])
