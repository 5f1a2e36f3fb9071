r"""Attributes of images that are measured from the pixels: thickness, slant and width.

    thick    2 sum x / sum |grad x|                 pixels: area over half the length of the outline
    slant    -m_cr / m_rr                           columns to the right for each row upwards
    width    sqrt(1 + 12 (m_cc - m_cr^2 / m_rr))    pixels, of the shape without its slant

x is the brightness of a pixel, and m are its second central moments over columns c and rows r. The
sum of |grad x| is the length of the outline times the contrast, so a long stroke of length L and
width w has 2 L w / (2 L) = w, whatever its contrast. A bar of width w has the variance w^2 / 12, of
which the pixels themselves have 1 / 12. The slant is the regression of the columns on the rows.

References:
    Castro, Tan, Kainz, Konukoglu & Glocker (2019), "Morpho-MNIST: Quantitative Assessment and
    Diagnostics for Representation Learning", which measures the same three by other formulas.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyrovae.errors import InputError
from pyrovae.numerics import Array, numbers

__all__ = ["MEASURES", "measure_images"]

MEASURES = ("thick", "slant", "width")


def measure_images(images: Any) -> dict[str, Array]:  # noqa: ANN401
    """Measure thickness, slant and width of bright shapes on a dark ground, (N,) each.

    Thickness and width are in pixels. The slant is the number of columns to the right for each row
    upwards: 0 is upright, 1 leans by 45 degrees. An image without brightness has NaN.

    Arguments:
        images: (N, C, H, W) or (N, H, W); channels are averaged and values below 0 count as 0.

    Raises:
        InputError: for another shape.

    Example:
        >>> bar = np.zeros((1, 20, 20))
        >>> bar[:, 2:18, 8:12] = 1.0
        >>> {name: round(float(value[0]), 2) for name, value in measure_images(bar).items()}
        {'thick': 3.3, 'slant': -0.0, 'width': 4.0}
    """
    array = numbers(images, "images", finite=False)
    if array.ndim not in (3, 4):
        raise InputError(f"images have shape {array.shape}: give (N, H, W) or (N, C, H, W)")
    x = np.maximum(array if array.ndim == 3 else array.mean(1), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = x.sum((1, 2))
        thick = 2 * total / _outline(x)
        rows, columns = (np.arange(size, dtype=float) for size in x.shape[1:])
        r, c = ((x.sum(axis) @ at / total) for axis, at in ((2, rows), (1, columns)))
        apart_r, apart_c = rows - r[:, None], columns - c[:, None]
        m_rr = np.einsum("nrc,nr->n", x, apart_r**2) / total
        m_cc = np.einsum("nrc,nc->n", x, apart_c**2) / total
        m_cr = np.einsum("nrc,nr,nc->n", x, apart_r, apart_c, optimize=True) / total
        across = np.maximum(m_cc - m_cr**2 / m_rr, 0.0)
        return {"thick": thick, "slant": -m_cr / m_rr, "width": np.sqrt(1 + 12 * across)}


def _outline(x: Array) -> Array:
    """The sum of |grad x| over 2x2 blocks, with a dark border, (N,)."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    down, right = np.diff(padded, axis=1), np.diff(padded, axis=2)
    return np.hypot((down[:, :, 1:] + down[:, :, :-1]) / 2, (right[:, 1:] + right[:, :-1]) / 2).sum((1, 2))
