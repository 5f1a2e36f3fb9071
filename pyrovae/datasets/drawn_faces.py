"""Faces: simple drawings whose features are all known.

    smile      -1 (corners of the mouth down) to 1 (up)
    gaze       -1 to 1, the pupils from left to right
    brow       -1 (low, and lowest at the nose) to 1 (high)
    width      -1 to 1, a narrow to a wide face
    eyes       -1 to 1, small to large eyes
    hair       none, short, fringe or long
    glasses    no or yes
    light      -1 to 1, light from the left to light from the right

Each feature changes pixels of its own as far as possible, so that "add a smile" can be measured:
the other features should stay. Without noise, the factors determine the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyrovae.datasets.causes import Cause
from pyrovae.datasets.drawing import DRAWN, Drawing
from pyrovae.datasets.drawn import Drawn, drawn
from pyrovae.datasets.strokes import cover, ellipse, over, segment

__all__ = ["HAIR", "faces"]

HAIR = ("none", "short", "fringe", "long")

CAUSES = (
    Cause("smile", "continuous", -1.0, 1.0, 7),
    Cause("gaze", "continuous", -1.0, 1.0, 5),
    Cause("brow", "continuous", -1.0, 1.0, 5),
    Cause("width", "continuous", -1.0, 1.0, 5),
    Cause("eyes", "continuous", -1.0, 1.0, 5),
    Cause("hair", "categorical", 0, 3, 4, HAIR),
    Cause("glasses", "categorical", 0, 1, 2, ("no", "yes")),
    Cause("light", "continuous", -1.0, 1.0, 5),
)

# Grey values. Places are in units of half the image, from its centre, with y downwards.
BACK, SKIN, DARK, WHITE, LIPS, BLACK = 0.0, 0.74, 0.3, 0.98, 0.2, 0.05
EYE = (0.25, -0.08)
LINE = 0.032  # half the thickness of a line


def faces(
    count: int | None = None,
    *,
    size: int = DRAWN["faces"],
    noise: float = 0.0,
    grid: bool | Sequence[int] = False,
    dependent: Sequence[Any] = (),
    fixed: Mapping[str, float | str] | Sequence[Any] = (),
    seed: int = 0,
) -> Drawn:
    """Draw faces whose factors are all known; images are grey bytes, (N, 1, H, W).

    Arguments:
        count: the number of images; by default 20,000.
        size: height and width in pixels; lines vanish below about 32.
        noise: the standard deviation of noise in every pixel, whose range is 0 to 1.
        grid: take the factors from a grid (7 smiles, and 5 values of each other number), or from
            one of the given numbers of values. The rows are different cells of the grid.
        dependent: pairs of factors that depend on each other with a correlation, as in
            ("smile", "eyes", 0.8).
        fixed: factors that are the same in all images, as in {"hair": "short", "light": 0.0}.
        seed: the seed of all random numbers.

    The same arguments give the same bytes on every machine.

    Raises:
        InputError: for options that do not fit.

    Example:
        >>> some = faces(100, fixed={"hair": "none", "glasses": "no"})
        >>> tuple(some.images.shape), some.factors.names
        ((100, 1, 48, 48), ('smile', 'gaze', 'brow', 'width', 'eyes', 'light'))
    """
    options: dict[str, Any] = {"dependent": dependent, "fixed": fixed, "grid": grid, "seed": seed}
    drawing = Drawing(size=size, noise=noise, **options)
    return drawn("faces", CAUSES, _paint, count, drawing)


def _paint(values: np.ndarray, size: int) -> np.ndarray:
    """Images of bytes for values of the causes, (N, 8)."""
    face = _Face(values, size)
    face.back_hair()
    face.head()
    face.front_hair()
    face.shade()
    face.eyes()
    face.brows()
    face.nose_and_mouth()
    face.glasses()
    return np.rint(255 * face.canvas).astype(np.uint8)[:, None]


class _Face:
    """Canvases (N, H, W), on which the parts of faces are painted."""

    def __init__(self, values: np.ndarray, size: int) -> None:
        columns = values.T[:, :, None, None]
        self.smile, self.gaze, self.brow, self.width, self.size, self.hair, self.has_glasses, self.light = (
            columns
        )
        self.unit = size / 2  # pixels
        self.pixels = (np.arange(size) + 0.5) / self.unit - 1
        self.canvas = np.full((len(values), size, size), BACK)
        self.half = 0.58 + 0.1 * self.width  # of the head
        self.x, self.y = self.pixels[None, None, :], self.pixels[None, :, None]
        self._all = slice(None)

    def back_hair(self) -> None:
        """Hair behind the head: to the ears, or long."""
        for styles, bottom, band in (((1.0, 2.0), -0.02, self._band(-1.0, 0.1)), ((3.0,), 0.74, self._all)):
            rows = self._rows(np.isin(self.hair, styles))
            y = self.y[:, band]
            lower = 0.1 * np.clip(y, 0.0, 1.0)  # long hair is wider below
            outline = ellipse(self.x, np.minimum(y + 0.08, 0.0), self.half[rows] + 0.1 + lower, 0.86)
            self._paint(rows, np.maximum(outline, y - bottom), DARK, band)

    def head(self) -> None:
        """The head and the ears."""
        rows, band = self._rows(self.hair >= 0), self._band(-0.24, 0.2)
        self._paint(rows, ellipse(np.abs(self.x) - self.half, self.y[:, band] + 0.02, 0.09, 0.15), SKIN, band)
        self._paint(rows, ellipse(self.x, self.y - 0.02, self.half, 0.84), SKIN)

    def front_hair(self) -> None:
        """Hair on the forehead, above a line."""
        top = self._band(-1.0, -0.2)
        for style, line, bow in ((1.0, -0.6, 0.25), (2.0, -0.44, -0.12), (3.0, -0.72, 0.9)):
            rows = self._rows(self.hair == style)
            edge = line + bow * self.x * self.x
            outline = ellipse(self.x, self.y[:, top] + 0.08, self.half[rows] + 0.1, 0.86)
            self._paint(rows, np.maximum(outline, self.y[:, top] - edge), DARK, top)

    def shade(self) -> None:
        """Light from one side, on head and hair."""
        side = np.clip(self.x / (self.half + 0.1), -1.0, 1.0)
        self.canvas *= 1 + 0.28 * self.light * side

    def eyes(self) -> None:
        """Two white ellipses with a dark iris, which is cut off by the lids."""
        band = self._band(-0.32, 0.16)
        y = self.y[:, band] - EYE[1]
        a, b = 0.14 + 0.03 * self.size, 0.09 + 0.035 * self.size
        white = cover(ellipse(np.abs(self.x) - EYE[0], y, a, b) * self.unit)
        over(self.canvas[:, band], white, WHITE)
        at = 0.075 * self.gaze
        x = np.where(self.x < 0, self.x + EYE[0], self.x - EYE[0]) - at
        radius = 0.07 + 0.012 * self.size
        iris = cover((np.sqrt(x * x + y * y) - radius) * self.unit)
        over(self.canvas[:, band], iris * white, BLACK)

    def brows(self) -> None:
        """Two lines, which rise and turn."""
        band = self._band(-0.5, -0.12)
        height = -0.3 - 0.08 * self.brow
        start, end = (0.13, height - 0.05 * self.brow + 0.02), (0.38, height + 0.03 * self.brow)
        line = segment(np.abs(self.x), self.y[:, band], start, end)  # type: ignore[arg-type]
        over(self.canvas[:, band], cover((line - LINE) * self.unit), BLACK)

    def nose_and_mouth(self) -> None:
        """A short line, and a parabola whose ends rise with the smile."""
        band = self._band(0.0, 0.3)
        nose = segment(self.x, self.y[:, band], (0.02, 0.08), (-0.03, 0.2))  # type: ignore[arg-type]
        over(self.canvas[:, band], 0.5 * cover((nose - LINE) * self.unit), LIPS)
        band = self._band(0.22, 0.72)
        half = 0.27 + 0.03 * self.smile
        x = np.clip(np.abs(self.x), 0.0, half)
        bow = 0.2 * self.smile
        curve = 0.46 + bow * (0.5 - (x / half) * (x / half))
        slope = 2 * bow * x / (half * half)
        down = (self.y[:, band] - curve) / np.sqrt(1 + slope * slope)
        aside = np.abs(self.x) - x
        line = np.sqrt(down * down + aside * aside)
        over(self.canvas[:, band], cover((line - 1.3 * LINE) * self.unit), LIPS)

    def glasses(self) -> None:
        """Two rings, a bridge, and temples to the sides."""
        rows = self._rows(self.has_glasses == 1)
        band = self._band(-0.36, 0.2)
        y = self.y[:, band] - EYE[1]
        x = np.abs(self.x) - EYE[0]
        ring = np.abs(np.sqrt(x * x + y * y) - 0.205)
        bar = np.abs(y) + np.clip(0.205 - np.abs(x), 0.0, 1.0)  # outside the rings
        aside = np.clip(np.abs(self.x) - self.half[rows], 0.0, 2.0)
        line = np.minimum(ring, np.maximum(bar, aside))
        self._paint(rows, line - 0.8 * LINE, BLACK, band)

    def _rows(self, condition: np.ndarray) -> np.ndarray:
        return np.flatnonzero(condition[:, 0, 0])

    def _row(self, y: float) -> int:
        """The number of the first row of pixels below a height."""
        return min(len(self.pixels), max(0, int(np.searchsorted(self.pixels, y))))

    def _band(self, top: float, bottom: float) -> slice:
        return slice(self._row(top), self._row(bottom))

    def _paint(self, rows: np.ndarray, distance: np.ndarray, grey: float, band: slice = slice(None)) -> None:
        """Paint inside of a distance in units, for some of the faces."""
        if len(rows) == len(self.canvas):
            over(self.canvas[:, band], cover(distance * self.unit), grey)
        elif len(rows):
            some = self.canvas[rows, band]
            over(some, cover(distance * self.unit), grey)
            self.canvas[rows, band] = some
