r"""A decoder as a map of the plane: z ~ N(0, I) becomes a ring under a simple g.

    g(z) = z / 10 + z / ||z||

A density that no formula for normal distributions has is one smooth map away from N(0, I).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import whole
from pyrovae.errors import InputError
from pyrovae.numerics import Array, as_array, numbers
from pyrovae.plots.style import Axes, canvas, dots, panels
from pyrovae.seeds import generator_of

__all__ = ["ring"]


def _onto_a_ring(z: Tensor) -> Tensor:
    return z / 10 + z / z.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def ring(
    g: Callable[[Tensor], Any] = _onto_a_ring, *, count: int = 1000, seed: int = 0, ax: Axes | None = None
) -> Axes:
    r"""Samples of N(0, I) in the plane, and where a map g sends them.

    \[z \sim \mathcal N(0, I), \qquad x = g(z) = \frac{z}{10} + \frac{z}{\lVert z \rVert}\]

    The colour of a point is the direction of its z.

    Args:
        g: a map of points: it takes a tensor (N, 2) and returns (N, 2). Also `oracle.mean`, or
            `lambda z: vae.decode(z).mean` for a VAE of the plane with two latents.
        count: the number of points.
        seed: their seed.

    Raises:
        InputError: if g returns another shape, or values that are not finite.

    Reference:
        Doersch (2016), "Tutorial on Variational Autoencoders", figure 2.

    Example:
        >>> ax = ring(count=100)
        >>> x = ax.child_axes[1].collections[0].get_offsets()
        >>> bool((np.linalg.norm(x, axis=1) > 1).all())
        True
    """
    if not callable(g) or hasattr(g, "decode"):
        raise InputError(f"g is a {type(g).__name__}; give a function of points (N, 2), as oracle.mean")
    z = torch.randn(whole("count", count, most=10**6), 2, generator=generator_of(seed))
    with torch.no_grad():
        x = numbers(g(z), "g(z)", finite=False)
    if x.shape != (count, 2) or not np.isfinite(x).all():
        raise InputError(f"g returned {x.shape} for {count} points of the plane: return finite ({count}, 2)")
    colours = _by_angle(as_array(z))
    with canvas(ax, width=6.0, height=2.9) as ax:
        left, right = panels(ax, (0.0, 0.0, 0.44, 0.92), (0.56, 0.0, 0.44, 0.92))
        for panel, points, title in ((left, as_array(z), "z ~ N(0, I)"), (right, x, "x = g(z)")):
            panel.scatter(points[:, 0], points[:, 1], c=colours, **dots(count, 9000, 2.0, 9.0))
            panel.set(title=title, aspect="equal", **_square(points))
    return ax


def _by_angle(z: Array) -> Array:
    """A colour for the direction of each point: a circle of twelve hues."""
    from matplotlib.colors import hsv_to_rgb

    hue = np.round(12 * np.arctan2(z[:, 1], z[:, 0]) / (2 * math.pi)) / 12 % 1
    return hsv_to_rgb(np.stack([hue, np.full(len(z), 0.65), np.full(len(z), 0.8)], -1))


def _square(points: Array) -> dict[str, tuple[float, float]]:
    """Limits of a square around points."""
    middle = (points.max(0) + points.min(0)) / 2
    half = 0.55 * float(np.ptp(points, axis=0).max()) or 1.0
    low, high = middle - half, middle + half
    return {"xlim": (float(low[0]), float(high[0])), "ylim": (float(low[1]), float(high[1]))}
