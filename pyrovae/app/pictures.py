"""Observations as pictures for a page, each an `<img>` with the bytes in its address.

    images (1 or 3, H, W)   a PNG of the same number of pixels, magnified by the browser
    points (2,)             a scatter plot: the data grey, the point on top
    rows of a table         the columns with their values, in the user's words and units; small
                            pictures, and those of many columns, have a bar for each column
    other events            a bar for each number, or a line where there are many

All pictures of a data set have the same scale. For a file, images are magnified without smoothing,
and the others are SVG.
"""

from __future__ import annotations

import base64
import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.numerics import Array
from pyrovae.report import is_image

if TYPE_CHECKING:
    from PIL.Image import Image

    from pyrovae.datasets import Schema
    from pyrovae.datasets.columns import Column

__all__ = ["Pictures", "cells", "file_of", "img", "pictures_of"]

ACCENT, PALE, DARK, MUTED = "#0072b2", "#cfcfcb", "#262626", "#73736f"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
BARS = 32
BEHIND = 500
LISTED = 12  # columns with names and words
SIDE = 320  # the least width of an image in a file, in pixels
MAGNIFIED = 4


def img(source: str, size: tuple[int, int], name: str = "", tip: str = "") -> str:
    """An `<img>` element of a size (width, height) in pixels.

    Example:
        >>> img("data:,", (10, 20), "decoded")
        '<img class="decoded" src="data:," width="10" height="20" alt="">'
    """
    title = f' title="{escape(tip)}"' if tip else ""
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


def file_of(source: str, scale: int | None = None) -> tuple[str, bytes]:
    r"""A picture as the content of a file, with its ending: ".png" or ".svg".

    Arguments:
        source: the address of a picture, from `Pictures.source`.
        scale: the magnification of an image, at least 1; by default 4, or more for small images.

    Example:
        >>> pictures = pictures_of(np.zeros((1, 1, 10, 20)))
        >>> ending, content = file_of(pictures.source(np.zeros((1, 10, 20))))
        >>> ending, content[:4]
        ('.png', b'\x89PNG')
    """
    head, _, body = source.partition(",")
    if not head.startswith("data:image/png"):
        return ".svg", unquote(body).encode()
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(body)))
    scale = max(MAGNIFIED, -(-SIDE // image.width)) if scale is None else scale
    size = image.width * scale, image.height * scale
    return ".png", _png(image.resize(size, Image.Resampling.NEAREST))


def pictures_of(x: ArrayLike, schema: Schema | None = None) -> Pictures:
    """The pictures for this kind of data, on the scale of the data (N, *event).

    Arguments:
        x: the data.
        schema: the meaning of the columns, if the data are a table.

    Example:
        >>> [type(pictures_of(np.zeros(shape))).__name__ for shape in ((5, 1, 8, 8), (5, 2))]
        ['Images', 'Points']
    """
    if schema is not None and schema.columns is not None:
        return Table(np.asarray(x, dtype=float), schema.columns)
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
        content = _png(Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)))
        return "data:image/png;base64," + base64.b64encode(content).decode()


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


class Table(Pictures):
    """Rows of a table: names and words of few columns, else a bar for each column.

    A picture that is shown small has bars too, on the scale of each column in the data.

    Arguments:
        x: the data, (N, C).
        columns: the C columns.
    """

    def __init__(self, x: Array, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        known = np.where(np.isfinite(x).any(0), x, 0.0)
        low, high = np.nanquantile(known, [0.005, 0.995], axis=0)
        self.low = np.where([c.levels is None for c in columns], low, 0.0)
        most = np.array([len(c.levels or ()) - 1.0 for c in columns])
        self.high = np.maximum(np.where(most < 0, high, most), self.low + 1e-9)
        self.is_list = len(columns) <= LISTED
        self.shape = (240, 20 * len(columns) + 4) if self.is_list else (150, 100)

    def source(self, x: ArrayLike) -> str:
        values = np.asarray(x, dtype=float).reshape(-1)
        bars = self._bars(values)
        if not self.is_list:
            return _svg(self.shape, bars)
        style = (
            f"<style>text{{font:12px {FONT};fill:{DARK}}}.n{{fill:{MUTED}}}.v{{text-anchor:end}}"
            "@media (max-width:119px){.list{display:none}}@media (min-width:120px){.bars{display:none}}"
            "</style>"
        )
        return _svg(self.shape, f'{style}<g class="bars">{bars}</g><g class="list">{self._list(values)}</g>')

    def _bars(self, values: Array) -> str:
        share = ((values - self.low) / (self.high - self.low)).clip(0, 1)
        (width, height), step = self.shape, (self.shape[0] - 4) / len(values)
        path = "".join(
            f"M{2 + step * (i + 0.5):.1f} {height - 2}v{-1 - (height - 8) * part:.1f}"
            for i, part in enumerate(share)
            if np.isfinite(part)
        )
        base = f'<path d="M2 {height - 2}H{width - 2}" stroke="{PALE}"/>'
        return base + f'<path d="{path}" stroke="{ACCENT}" stroke-width="{0.7 * step:.1f}"/>'

    def _list(self, values: Array) -> str:
        lines = []
        for i, (column, text) in enumerate(zip(self.columns, cells(values, self.columns), strict=True)):
            name, y = _cut(column.name, 16), 20 * i + 16
            lines.append(
                f'<text class="n" x="2" y="{y}">{escape(name)}</text>'
                f'<text class="v" x="238" y="{y}">{escape(_cut(text, 33 - len(name)))}</text>'
            )
        return "".join(lines)


def cells(x: ArrayLike, columns: Sequence[Column]) -> list[str]:
    """The values of one row (C,) in the user's words and units, with "–" for a missing one.

    Example:
        >>> from pyrovae.datasets import Column
        >>> columns = Column("size", "normal", unit="cm"), Column("new", "bernoulli", ("no", "yes"))
        >>> cells([1.5, 1.0], columns)
        ['1.5 cm', 'yes']
    """
    from torch import as_tensor

    from pyrovae.datasets.frames import as_frame

    values = np.array(x, dtype=float)
    for i, column in enumerate(columns):
        if column.levels is not None:
            values[i] = np.clip(values[i], 0, len(column.levels) - 1)
    frame = as_frame(as_tensor(values)[None], columns)
    each = zip(frame.iloc[0].tolist(), columns, strict=True)
    return [_cell(value, column) for value, column in each]


def _cell(value: object, column: Column) -> str:
    """One cell of a table as text."""
    from pandas import isna

    if value is None or isna(value):  # type: ignore[call-overload]
        return "–"
    if isinstance(value, float):
        text = f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
        return text.replace("-", "−") + ("" if column.unit is None else f" {column.unit}")
    if hasattr(value, "strftime"):
        return value.strftime("%Y-%m-%d")
    return str(value) if column.unit is None else f"{value} {column.unit}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _png(image: Image) -> bytes:
    """The bytes of an image as a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _dots(places: Array, colour: str, width: float) -> str:
    path = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in places)
    return f'<path d="{path}" stroke="{colour}" stroke-width="{width}" stroke-linecap="round"/>'


def _svg(shape: tuple[int, int], inside: str) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {shape[0]} {shape[1]}">'
    return "data:image/svg+xml," + quote(f"{head}{inside}</svg>", safe=" /:=")
