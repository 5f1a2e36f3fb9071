"""Small pictures inside HTML: images as PNG, curves as SVG. Nothing is imported to draw them.

Large images are averaged over squares of pixels, since HTML is stored in the notebook.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrovae.display.html import Html, escaped

__all__ = ["curves", "png", "thumbnail", "thumbnails"]

BYTES = 24_000  # of all pixels of some thumbnails
SIDE = 44  # the height of a thumbnail on the screen, in pixels
WIDTH, HEIGHT, POINTS = 460, 130, 200
MISSING = (0.35, 0.55, 0.85)  # the colour of pixels that are not known
# They can be read on white and on black.
COLOURS = {"train": "#8c8c8c", "validation": "#2f8fd0", "objective": "#e0761b"}


def thumbnails(images: ArrayLike, *, labels: Sequence[object] = ()) -> Html:
    """Images (N, C, H, W) next to each other; C is 1 or 3, intensities from 0 to 1.

    Values outside are scaled into this range, together; NaN is blue.
    """
    pixels = _scaled(np.asarray(images, dtype=float))
    each = BYTES // max(1, len(pixels))
    tags = [_image(_reduced(image, each)) for image in pixels]
    if labels:
        tags = [
            f'<span title="{escaped(label)}">{tag}</span>' for tag, label in zip(tags, labels, strict=True)
        ]
    return Html(f"<p>{' '.join(tags)}</p>" if tags else "")


def thumbnail(image: ArrayLike, *, share: int = 20) -> Html:
    """One image (C, H, W) for the cell of a table in which there are `share` of them."""
    (pixels,) = _scaled(np.asarray(image, dtype=float)[None])
    return Html(_image(_reduced(pixels, BYTES // share)))


def png(pixels: NDArray[np.uint8]) -> bytes:
    r"""Pixels (H, W, C), C 1 or 3, as a PNG file.

    Example:
        >>> png(np.zeros((2, 3, 1), np.uint8))[:8]
        b'\x89PNG\r\n\x1a\n'
    """
    height, width, channels = pixels.shape
    kind = 0 if channels == 1 else 2
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], 1)  # no filter
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def _scaled(images: NDArray) -> NDArray:
    """Images (N, H, W, C) in [0, 1], in colour if pixels are missing."""
    images = np.moveaxis(images, 1, -1)
    missing = np.isnan(images).any(-1)
    finite = images[np.isfinite(images)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low < 0 or high > 1:
        images = (images - low) / ((high - low) or 1.0)
    images = np.clip(np.nan_to_num(images, posinf=1.0), 0.0, 1.0)
    if missing.any():
        images = np.repeat(images, 3, -1) if images.shape[-1] == 1 else images.copy()
        images[missing] = MISSING
    return images


def _reduced(image: NDArray, most: int) -> NDArray[np.uint8]:
    """Pixels (H, W, C) as bytes, averaged over squares until there are at most `most`."""
    step = 1
    while image.size // step**2 > most and step < min(image.shape[:2]):
        step += 1
    height, width = (size // step for size in image.shape[:2])
    squares = image[: height * step, : width * step].reshape(height, step, width, step, -1)
    return (255 * squares.mean((1, 3))).round().astype(np.uint8)


def _image(pixels: NDArray[np.uint8]) -> str:
    data = base64.b64encode(png(pixels)).decode()
    return f'<img alt="" height="{SIDE}" src="data:image/png;base64,{data}">'


def curves(
    lines: Mapping[str, ArrayLike],
    x: ArrayLike,
    *,
    mark: tuple[float, str] | None = None,
    label: str = "epoch",
    is_log: bool = False,
) -> Html:
    """Curves over x (P,) as SVG, with their names and the ends of both axes.

    With ten points or more, the vertical range leaves out the first twentieth, as in
    `plots.training_curves`.

    Arguments:
        lines: name -> values (P,); those that are not finite are left out.
        x: the horizontal axis.
        mark: a place x to mark, and the name of its line.
        label: the name of the horizontal axis.
        is_log: whether that is logarithmic.
    """
    at = np.asarray(x, dtype=float)
    values = {name: np.asarray(line, dtype=float) for name, line in lines.items()}
    late = np.concatenate([v[len(at) // 20 if len(at) >= 10 else 0 :] for v in values.values()] or [at[:0]])
    late = late[np.isfinite(late)]
    if not len(late):
        return Html()
    place = np.log(at) if is_log else at
    frame = _Frame(float(place.min()), float(place.max()), float(late.min()), float(late.max()))
    parts = [frame.axes(f"{at.min():g}", f"{label} {at.max():g}")]
    for number, (name, line) in enumerate(values.items()):
        colour = COLOURS.get(name, "#2f8fd0")
        parts.append(frame.line(place, line, colour))
        parts.append(f'<text x="{WIDTH - 95}" y="{24 + 16 * number}" fill="{colour}">{escaped(name)}</text>')
        if mark is not None and mark[1] == name:
            parts.append(frame.dot(place[at == mark[0]], line[at == mark[0]], colour))
    return Html(
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="11" '
        f'fill="none" role="img">{"".join(parts)}</svg>'
    )


class _Frame:
    """The rectangle of curves, and what is drawn in it."""

    LEFT, RIGHT, TOP, BOTTOM = 62, WIDTH - 104, 8, HEIGHT - 22

    def __init__(self, first: float, last: float, low: float, high: float) -> None:
        self.first, self.last, self.low, self.high = first, last, low, high

    def x(self, value: NDArray) -> NDArray:
        share = (value - self.first) / ((self.last - self.first) or 1.0)
        return self.LEFT + share * (self.RIGHT - self.LEFT)

    def y(self, value: NDArray) -> NDArray:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        # Values below the range, such as those of the first epochs, end at its edge.
        return np.clip(self.BOTTOM - share * (self.BOTTOM - self.TOP), self.TOP, self.BOTTOM)

    def axes(self, first: str, last: str) -> str:
        left, right, top, bottom = self.LEFT, self.RIGHT, self.TOP, self.BOTTOM
        digits = 2 if self.high - self.low >= 0.1 else 4
        ends = ((self.high, top + 8), (self.low, bottom))
        heights = "".join(
            f'<text x="{left - 6}" y="{y}" text-anchor="end">{v:.{digits}f}</text>' for v, y in ends
        )
        return (
            f'<path d="M{left} {top}V{bottom}H{right}" stroke="currentColor" stroke-opacity=".4"/>'
            f'<g fill="currentColor" fill-opacity=".75">{heights}<text x="{left}" y="{HEIGHT - 8}">{first}'
            f'</text><text x="{right}" y="{HEIGHT - 8}" text-anchor="end">{escaped(last)}</text></g>'
        )

    def line(self, at: NDArray, values: NDArray, colour: str) -> str:
        known = np.isfinite(values)
        at, values = at[known], values[known]
        if len(at) > POINTS:
            some = np.unique(np.linspace(0, len(at) - 1, POINTS).round().astype(int))
            at, values = at[some], values[some]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(self.x(at), self.y(values), strict=True))
        if len(at) == 1:
            return self.dot(at, values, colour)
        return f'<polyline points="{points}" stroke="{colour}" stroke-width="1.6"/>'

    def dot(self, at: NDArray, value: NDArray, colour: str) -> str:
        if not len(at) or not np.isfinite(value[0]):
            return ""
        return f'<circle cx="{self.x(at)[0]:.1f}" cy="{self.y(value)[0]:.1f}" r="3.2" fill="{colour}"/>'
