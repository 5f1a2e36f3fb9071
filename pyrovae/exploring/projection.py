r"""A plane in latent space that separates the components, and the map from it to latents.

With two latents, the plane is the latent space. With more, it is spanned by the directions v that
separate the components best relative to their widths (Fisher's directions, with the mixture's
weights),

    maximise  v'Bv / v'Wv,     W = sum pi_k S_k,    B = sum pi_k (m_k - m)(m_k - m)',

made orthonormal, so that an ellipse keeps its shape. If fewer than two directions separate
components, principal components of the encodings are added. A point u of the plane represents E[z |
the projection of z is u] under the mixture. On an ellipse this is a typical latent of its
component, and its projection is u.

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
from pyrovae.numerics import Array, numbers

__all__ = ["Projection", "plane_of"]


@dataclass(frozen=True, eq=False)
class Projection:
    """A plane in latent space: u = basis (z - origin).

    Attributes:
        origin: (D,).
        basis: orthonormal rows, (2, D).
        mixture: the mixture, for the map from the plane to latents.
    """

    origin: Array
    basis: Array
    mixture: Mixture = field(repr=False)

    @property
    def identity(self) -> bool:
        """Whether the plane is latent space itself."""
        return self.basis.shape == (2, 2)

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
        return self.to_plane(mean), self.basis @ numbers(covariance, "covariance") @ self.basis.T


def _points(value: ArrayLike, name: str, size: int) -> Array:
    points = numbers(value, name)
    if points.shape[-1:] != (size,):
        raise InputError(f"{name} has shape {points.shape} where (..., {size}) was expected")
    return points


def plane_of(mixture: Mixture, z: Array) -> Projection:
    """The plane of a mixture; encodings (N, D) are used if the mixture does not determine it."""
    dim = mixture.dim
    if dim <= 2:
        return Projection(np.zeros(dim), np.eye(2)[:, :dim], mixture)
    origin = mixture.weight @ mixture.mean
    apart = mixture.mean - origin
    between = np.einsum("k,ki,kj->ij", mixture.weight, apart, apart)
    within = np.einsum("k,kij->ij", mixture.weight, mixture.covariance)
    directions = [*_separating(between, within), *_principal(z)]
    basis = np.zeros((0, dim))
    for direction in directions:
        rest = direction - basis.T @ (basis @ direction)
        length = np.linalg.norm(rest)
        if length > 1e-6 and len(basis) < 2:
            basis = np.concatenate([basis, rest[None] / length])
    return Projection(origin, basis, mixture)


def _separating(between: Array, within: Array) -> list[Array]:
    """The directions that separate components, with unit length, in falling order of separation."""
    from scipy.linalg import eigh

    ratio, vectors = eigh(between, within)
    order = [i for i in np.argsort(-ratio) if ratio[i] > 1e-6]
    return [_pointing(vectors[:, i]) for i in order]


def _principal(z: Array) -> list[Array]:
    """Principal directions of the encodings, then the coordinate axes."""
    centred = z - z.mean(0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return [_pointing(v) for v in (*vectors.T[::-1], *np.eye(z.shape[1]))]


def _pointing(vector: Array) -> Array:
    """Scale to unit length, with a positive largest entry, so that figures are reproducible."""
    vector = vector / np.linalg.norm(vector)
    return vector * np.sign(vector[np.abs(vector).argmax()])
