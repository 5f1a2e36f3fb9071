"""Observations as pictures for a page, each an `<img>` with the bytes in its address.

    images (1 or 3, H, W)   a PNG of the same number of pixels, magnified by the browser
    points (2,)             a scatter plot: the data grey, the point on top
    other events            a bar for each number, or a line where there are many

All pictures of a data set have the same scale.
"""

from __future__ import annotations

import base64
import io
from abc import ABC, abstractmethod
from urllib.parse import quote

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.numerics import Array
from pyrovae.report import is_image

__all__ = ["Pictures", "img", "pictures_of"]

ACCENT, PALE = "#0072b2", "#cfcfcb"
BARS = 32
BEHIND = 500


def img(source: str, size: tuple[int, int], name: str = "", tip: str = "") -> str:
    """An `<img>` element of a size (width, height) in pixels.

    Example:
        >>> img("data:,", (10, 20), "decoded")
        '<img class="decoded" src="data:," width="10" height="20" alt="">'
    """
    title = f' title="{tip}"' if tip else ""
    return f'<img class="{name}" src="{source}" width="{size[0]}" height="{size[1]}" alt=""{title}>'


class Pictures(ABC):
    """Pictures of one kind of data.

    Attributes:
        shape: width and height of a picture, of which only the ratio matters.
        together: whether several observations are shown in one picture.
    """

    shape: tuple[int, int]
    together = False

    @abstractmethod
    def source(self, x: ArrayLike) -> str:
        """The address of a picture of one observation (*event)."""

    def sources(self, x: ArrayLike) -> list[str]:
        """The addresses of pictures of several (N, *event)."""
        return [self.source(one) for one in np.asarray(x)]

    def size(self, width: int, height: int | None = None) -> tuple[int, int]:
        """The largest size that fits into a box.

        Example:
            >>> Images(np.zeros((1, 1, 10, 20))).size(100)
            (100, 50)
        """
        scale = min(width / self.shape[0], (height or width) / self.shape[1])
        return max(1, round(self.shape[0] * scale)), max(1, round(self.shape[1] * scale))


def pictures_of(x: ArrayLike) -> Pictures:
    """The pictures for this kind of data, on the scale of the data (N, *event).

    Example:
        >>> [type(pictures_of(np.zeros(shape))).__name__ for shape in ((5, 1, 8, 8), (5, 2))]
        ['Images', 'Points']
    """
    data = np.nan_to_num(np.asarray(x, dtype=float))
    if is_image(data.shape[1:]):
        return Images(data)
    return Points(data) if data.shape[1:] == (2,) else Numbers(data.reshape(len(data), -1))


class Images(Pictures):
    """Grey or coloured images, from the smallest to the largest value, at least from 0 to 1."""

    def __init__(self, x: Array) -> None:
        self.low, self.high = min(0.0, float(x.min())), max(1.0, float(x.max()))
        self.shape = (x.shape[-1], x.shape[-2])

    def source(self, x: ArrayLike) -> str:
        from PIL import Image

        share = (np.nan_to_num(np.asarray(x, dtype=float)) - self.low) / (self.high - self.low)
        pixels = (255 * share.clip(0, 1)).round().astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(file, "PNG")
        return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


class Points(Pictures):
    """Points of the plane, in front of some of the data."""

    shape = (100, 100)
    together = True

    def __init__(self, x: Array) -> None:
        low, high = x.min(0), x.max(0)
        self.middle, self.half = (low + high) / 2, 0.55 * max(float((high - low).max()), 1e-9)
        self.behind = _dots(self._place(x[:BEHIND]), PALE, 1.6)

    def source(self, x: ArrayLike) -> str:
        place = self._place(np.asarray(x, dtype=float)[None])
        return _svg(self.shape, self.behind + _dots(place, ACCENT, 6.0))

    def sources(self, x: ArrayLike) -> list[str]:
        return [_svg(self.shape, self.behind + _dots(self._place(np.asarray(x, dtype=float)), ACCENT, 2.6))]

    def _place(self, x: Array) -> Array:
        share = (np.nan_to_num(x) - self.middle) / self.half
        return 50 + 50 * share.clip(-1.05, 1.05) * [1, -1]


class Numbers(Pictures):
    """Rows of numbers: a bar for each, or a line through many."""

    shape = (150, 100)

    def __init__(self, x: Array) -> None:
        low, high = np.quantile(x, [0.005, 0.995])
        self.low, self.high = min(0.0, float(low)), max(float(high), float(low) + 1e-9)

    def source(self, x: ArrayLike) -> str:
        values = np.nan_to_num(np.asarray(x, dtype=float)).reshape(-1)
        share = (values - self.low) / (self.high - self.low)
        heights = 96 - 92 * share.clip(-0.05, 1.05)
        zero = 96 + 92 * self.low / (self.high - self.low)
        base = f'<path d="M2 {zero:.1f}H148" stroke="{PALE}" stroke-width=".6"/>'
        return _svg(self.shape, base + (self._bars if len(values) <= BARS else self._line)(heights, zero))

    def _bars(self, heights: Array, zero: float) -> str:
        step = 146 / len(heights)
        path = "".join(f"M{2 + step * (i + 0.5):.1f} {zero:.1f}V{y:.1f}" for i, y in enumerate(heights))
        return f'<path d="{path}" stroke="{ACCENT}" stroke-width="{0.7 * min(step, 24):.1f}"/>'

    def _line(self, heights: Array, zero: float) -> str:
        places = np.linspace(2, 148, len(heights))
        path = "M" + "L".join(f"{a:.1f} {y:.1f}" for a, y in zip(places, heights, strict=True))
        return f'<path d="{path}" stroke="{ACCENT}" fill="none" stroke-width="1.2" stroke-linejoin="round"/>'


def _dots(places: Array, colour: str, width: float) -> str:
    path = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in places)
    return f'<path d="{path}" stroke="{colour}" stroke-width="{width}" stroke-linecap="round"/>'


def _svg(shape: tuple[int, int], inside: str) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {shape[0]} {shape[1]}">'
    return "data:image/svg+xml," + quote(f"{head}{inside}</svg>", safe=" /:=")
