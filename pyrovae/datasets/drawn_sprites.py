"""Sprites: a square, an ellipse or a heart, of any scale, rotation and place.

    shape      square, ellipse, heart
    scale      0.5 to 1
    rotation   0 to 2 pi, anticlockwise
    x, y       0 to 1, the centre of mass from left to right and from top to bottom; the sprite
               stays inside the image
    hue        0 to 2 pi, with colour

The three shapes have about the same area, so the shape is not a size. Without noise, the values of
the factors determine the image. A square looks the same after a quarter of a turn and an ellipse
after half a turn, as in dSprites, so no code can hold the rotation of these shapes alone.

Reference:
    Matthey, Higgins, Hassabis & Lerchner (2017), "dSprites: Disentanglement testing Sprites
    dataset", https://github.com/deepmind/dsprites-dataset/.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from pyrovae.datasets.causes import Cause
from pyrovae.datasets.drawing import DRAWN, Drawing
from pyrovae.datasets.drawn import Drawn, drawn
from pyrovae.datasets.strokes import cos_sin, cover, ellipse

__all__ = ["SHAPES", "sprites"]

SHAPES = ("square", "ellipse", "heart")
REACH = 0.22  # the largest distance from the centre, as a share of the size of the image
MARGIN = 0.25  # the smallest distance of the centre from the border

# The centre of mass of a heart above the centre of its square, as a share of the square's side:
# half discs of area pi / 4 in all, with their centre of mass 2 / (3 pi) beyond the sides.
HEART = (math.pi / 4) / (1 + math.pi / 4) * math.sqrt(0.5) * (0.5 + 2 / (3 * math.pi))

CAUSES = (
    Cause("shape", "categorical", 0, 2, 3, SHAPES),
    Cause("scale", "continuous", 0.5, 1.0, 6),
    Cause("rotation", "angle", 0.0, 2 * math.pi, 40),
    Cause("x", "continuous", 0.0, 1.0, 32),
    Cause("y", "continuous", 0.0, 1.0, 32),
)
HUE = Cause("hue", "angle", 0.0, 2 * math.pi, 12)


def sprites(
    count: int | None = None,
    *,
    size: int = DRAWN["sprites"],
    binary: bool = False,
    colour: bool = False,
    noise: float = 0.0,
    grid: bool | Sequence[int] = False,
    dependent: Sequence[Any] = (),
    fixed: Mapping[str, float | str] | Sequence[Any] = (),
    seed: int = 0,
) -> Drawn:
    """Draw sprites whose factors are all known; images are (N, 1, H, W), or (N, 3, H, W).

    Arguments:
        count: the number of images; by default 20,000, or the whole grid if it is smaller.
        size: height and width in pixels.
        binary: draw pixels of 0 and 1, where a pixel is 1 if at least half of it is covered.
        colour: draw each sprite in a colour, whose hue is a further factor.
        noise: the standard deviation of noise in every pixel, whose range is 0 to 1.
        grid: take the factors from a grid: 3 shapes, 6 scales, 40 rotations, 32 x and 32 y (and 12
            hues), or the given numbers of values. The rows are different cells of the grid.
        dependent: pairs of factors that depend on each other with a correlation, as in
            ("x", "y", 0.8). With a grid, rows are then drawn with replacement.
        fixed: factors that are the same in all images, as in {"shape": "heart", "rotation": 0.0}.
        seed: the seed of all random numbers.

    The same arguments give the same bytes on every machine.

    Raises:
        InputError: for options that do not fit.

    Example:
        >>> import torch
        >>> fixed = {"shape": "heart", "rotation": 0}
        >>> hearts = sprites(100, fixed=fixed, dependent=("x", "y", 1))
        >>> hearts.factors.names, torch.allclose(hearts.factors["x"], hearts.factors["y"])
        (('scale', 'x', 'y'), True)
    """
    options: dict[str, Any] = {"dependent": dependent, "fixed": fixed, "grid": grid, "seed": seed}
    drawing = Drawing(size=size, binary=binary, colour=colour, noise=noise, **options)
    causes = (*CAUSES, HUE) if colour else CAUSES
    return drawn("sprites", causes, partial(_paint, binary=binary, colour=colour), count, drawing)


def _paint(values: np.ndarray, size: int, *, binary: bool = False, colour: bool = False) -> np.ndarray:
    """Images of bytes for values of the causes, (N, 5), or (N, 6) with a hue."""
    mask = _masks(values, size)
    if binary:
        return (mask >= 0.5).astype(np.uint8)[:, None]
    if not colour:
        return np.rint(255 * mask).astype(np.uint8)[:, None]
    colours = _colours(values[:, 5] / (2 * math.pi))
    return np.rint(255 * (colours[:, :, None, None] * mask[:, None])).astype(np.uint8)


def _masks(values: np.ndarray, size: int) -> np.ndarray:
    """The coverage of each pixel by the sprite, (N, H, W)."""
    shape, scale, rotation, x, y = values.T[:5]
    radius = REACH * size * scale
    cx, cy = (size * (MARGIN + (1 - 2 * MARGIN) * share) for share in (x, y))
    cos, sin = cos_sin(rotation)
    masks = np.zeros((len(values), size, size))
    side = min(size, 2 * (math.floor(REACH * size) + 2))  # of a window around the sprite
    windows = np.lib.stride_tricks.sliding_window_view(masks, (side, side), axis=(1, 2), writeable=True)  # type: ignore[call-overload]
    left, top = (np.clip(np.floor(c - side / 2 + 0.5), 0, size - side).astype(np.int64) for c in (cx, cy))
    pixel = np.arange(side) + 0.5
    for number, cover_shape in enumerate((_square, _ellipse, _heart)):
        rows = np.flatnonzero(shape == number)
        if not len(rows):
            continue
        dx = (left[rows, None] + pixel - cx[rows, None])[:, None, :]
        dy = (cy[rows, None] - top[rows, None] - pixel)[:, :, None]
        c, s, r = (part[rows, None, None] for part in (cos, sin, radius))
        windows[rows, top[rows], left[rows]] = cover_shape(c * dx + s * dy, c * dy - s * dx, r)
    return masks


def _square(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The coverage by a square whose corners are at `radius`, exact without rotation."""
    half = radius * math.sqrt(0.5)
    return cover(np.abs(u) - half) * cover(np.abs(v) - half)


def _ellipse(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return cover(ellipse(u, v, radius, 0.6 * radius))


def _heart(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """A square on its corner, with half a disc on each of its two upper sides."""
    side = 1.05 * radius
    u, v = np.abs(u), v + HEART * side
    root = math.sqrt(0.5)
    along, across = (u + v) * root, (u - v) * root
    square = cover(np.abs(along) - side / 2) * cover(np.abs(across) - side / 2)
    du, dv = u - side * (root / 2), v - side * (root / 2)
    return np.maximum(square, cover(np.sqrt(du * du + dv * dv) - side / 2))


def _colours(hue: np.ndarray) -> np.ndarray:
    """Pure colours (N, 3) for hues in [0, 1]: red, yellow, green, cyan, blue, magenta, red."""
    offsets = np.array([0.0, 2.0, 4.0])
    wheel = 6 * hue[:, None] - offsets
    distance = np.abs(wheel - 6 * np.rint(wheel / 6))  # from the hue of the channel, 0 to 3
    return np.clip(2 - distance, 0.0, 1.0)
