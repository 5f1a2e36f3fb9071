r"""Directions of latent space with their units, for sliders and traversals.

    place of z along v    t = (v.z - m) / s,      z(t) = z + (m + t s - v.z) v

v is a coordinate of the latents or a principal direction of the encodings, and m and s are the mean
and the standard deviation of the encodings along it. For the principal axes of a component, m is
its mean and s^2 the variance along the axis. A step along one direction changes no other, since the
directions are orthogonal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyrovae.checks import whole
from pyrovae.exploring.gaussians import principal
from pyrovae.exploring.mixture import Mixture
from pyrovae.exploring.projection import principal_directions
from pyrovae.numerics import Array, numbers

__all__ = ["Directions", "along_latents", "along_principal", "axes_of"]

LEAST = 1e-6  # of a standard deviation: a latent that the encoder does not use still moves


@dataclass(frozen=True, eq=False)
class Directions:
    """R orthonormal directions of D latents.

    Attributes:
        names: (R,).
        unit: (R, D).
        mean: (R,).
        sd: (R,).
    """

    names: tuple[str, ...]
    unit: Array
    mean: Array
    sd: Array

    def __len__(self) -> int:
        return len(self.names)

    def place(self, z: Array) -> Array:
        """The place of latents (D,) along each direction, in standard deviations, (R,)."""
        return (self.unit @ self._latents(z) - self.mean) / self.sd

    def put(self, z: Array, i: int, t: Array | float) -> Array:
        """Latents z (D,) moved along direction i to the places t (*): (*, D)."""
        z, i = self._latents(z), whole("direction", i, 0, len(self) - 1)
        step = self.mean[i] + numbers(t, "t") * self.sd[i] - self.unit[i] @ z
        return z + step[..., None] * self.unit[i]

    def largest(self, count: int) -> Directions:
        """The directions with the largest standard deviations, in their order."""
        chosen = np.sort(np.argsort(-self.sd, kind="stable")[: whole("count", count)])
        names = tuple(self.names[i] for i in chosen)
        return Directions(names, self.unit[chosen], self.mean[chosen], self.sd[chosen])

    def _latents(self, z: Array) -> Array:
        return numbers(z, "z", (self.unit.shape[1],))


def along_latents(z: Array, visible: int) -> Directions:
    """Each of the latents that the decoder reads; encodings z (N, D)."""
    return _measured(z, np.eye(z.shape[1])[:visible], [f"z{i}" for i in range(visible)])


def along_principal(z: Array, visible: int) -> Directions:
    """The principal directions of encodings z (N, D), over the latents that the decoder reads."""
    unit = np.zeros((visible, z.shape[1]))
    unit[:, :visible] = principal_directions(z[:, :visible])[:visible]
    return _measured(z, unit, [f"PC {i}" for i in range(visible)])


def axes_of(mixture: Mixture, k: int) -> Directions:
    """The principal axes of component k."""
    variance, unit = principal(mixture.covariance[k])
    names = tuple(f"axis {i + 1}" for i in range(len(unit)))
    return Directions(names, unit, unit @ mixture.mean[k], np.sqrt(variance))


def _measured(z: Array, unit: Array, names: list[str]) -> Directions:
    place = z @ unit.T
    return Directions(tuple(names), unit, place.mean(0), np.maximum(place.std(0), LEAST))
