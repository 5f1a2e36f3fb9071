r"""Colours of components, and of observations that belong to several.

An observation has the colour sum_k p(c=k|x) colour_k, mixed in linear light. So the colour of a
doubtful observation lies between those of its components. Up to ten components have the colours of
`plots`. Further ones get hues in steps of the golden angle, so that successive colours differ most.
"""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.numerics import Array
from pyrovae.plots.style import CLASSES

__all__ = ["mixed", "of_classes"]

GOLDEN = 0.381966


def of_classes(count: int) -> list[str]:
    """A colour "#rrggbb" for each of `count` classes.

    Example:
        >>> of_classes(2), len(set(of_classes(50)))
        (['#3f90da', '#ffa90e'], 50)
    """
    if count <= len(CLASSES):
        return list(CLASSES[:count])
    turns = ((0.58 + GOLDEN * k) % 1.0 for k in range(count))
    shades = ((0.42, 0.62, 0.52)[k % 3] for k in range(count))
    return [_hex(colorsys.hls_to_rgb(h, s, 0.55)) for h, s in zip(turns, shades, strict=True)]


def mixed(colours: list[str], shares: ArrayLike) -> list[str]:
    """Mix the colours by shares (N, K); returns N colours.

    Example:
        >>> mixed(["#ff0000", "#0000ff"], [[1.0, 0.0], [0.5, 0.5]])
        ['#ff0000', '#ba00ba']
    """
    pure = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours])
    light = np.asarray(shares, dtype=float) @ pure**2.2
    return [_hex(row) for row in light.clip(0, 1) ** (1 / 2.2)]


def _hex(rgb: tuple[float, float, float] | Array) -> str:
    return "#" + "".join(f"{round(255 * float(value)):02x}" for value in rgb)
