r"""Colours of components, labels and numbers, and of rows that belong to several components.

An observation has the colour sum_k p(c=k|x) colour_k, mixed in linear light. So the colour of a
doubtful observation lies between those of its components. Up to ten components have the colours of
`plots`. Further ones get hues in steps of the golden angle, so that successive colours differ most.
Labels have other colours, Okabe & Ito's, so that none is taken for a component. Numbers go from
dark blue to yellow.
"""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.numerics import Array
from pyrovae.plots.style import CLASSES

__all__ = ["RAMP", "mixed", "of_classes", "of_labels", "of_numbers"]

GOLDEN = 0.381966
LABELS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#f0e442",
    "#56b4e9", "#e69f00", "#000000", "#8c6d31", "#7f3c8d",
)  # fmt: skip
RAMP = ("#fde725", "#5ec962", "#21918c", "#3b528b", "#440154")  # viridis, from high to low
GREY = "#9a9a96"


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


def of_labels(count: int) -> list[str]:
    """A colour for each of `count` labels, none of which is a colour of `of_classes`.

    Example:
        >>> set(of_labels(40)) & set(of_classes(40)), len(set(of_labels(40)))
        (set(), 40)
    """
    if count <= len(LABELS):
        return list(LABELS[:count])
    turns = ((0.08 + GOLDEN * k) % 1.0 for k in range(count))
    shades = ((0.34, 0.7, 0.48)[k % 3] for k in range(count))
    return [_hex(colorsys.hls_to_rgb(h, s, 0.7)) for h, s in zip(turns, shades, strict=True)]


def of_numbers(values: ArrayLike, low: float, high: float) -> list[str]:
    """A colour for each number (N,), from low to high; grey for one that is not finite.

    Example:
        >>> of_numbers([0.0, 1.0, float("nan")], 0, 1)
        ['#440154', '#fde725', '#9a9a96']
    """
    array = np.asarray(values, dtype=float)
    share = np.clip((array - low) / max(high - low, 1e-12), 0, 1)
    ramp = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in RAMP[::-1]])
    at = np.nan_to_num(share) * (len(ramp) - 1)
    rgb = np.stack([np.interp(at, np.arange(len(ramp)), channel) for channel in ramp.T], 1)
    return [_hex(row) if ok else GREY for row, ok in zip(rgb, np.isfinite(array), strict=True)]


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
