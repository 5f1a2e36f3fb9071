"""Figures in a notebook: twice as many pixels as the page shows, for sharp lines and text.

A notebook stores its pictures. So they have a palette of 256 colours, if that changes them less
than the eye can see. The user's settings of matplotlib are neither read nor changed.
"""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["displayed"]

DPI, SHARPNESS = 100, 2  # pixels of the page in an inch, and pixels of the picture in one of these
CHANGE = 0.5  # of the mean pixel, whose range is 255


def displayed(figure: Any, *others: Any) -> None:  # noqa: ANN401
    """Let a notebook display a figure, and other objects as this figure.

    pyplot would normally do this.
    """
    png, bundle = partial(_png, figure), partial(_bundle, figure)
    for shown in (figure, *others):
        shown._repr_png_, shown._repr_mimebundle_ = png, bundle


def _bundle(figure: Figure, **_: object) -> tuple[dict[str, bytes], dict[str, dict[str, int]]]:
    """A picture, and the size at which it is shown."""
    width, height = (round(DPI * inches) for inches in figure.get_size_inches())
    return {"image/png": _png(figure, SHARPNESS)}, {"image/png": {"width": width, "height": height}}


def _png(figure: Figure, sharpness: int = 1) -> bytes:
    from PIL import Image

    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=sharpness * DPI)
    picture = Image.open(buffer).convert("RGB")
    reduced = picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    change = np.abs(np.asarray(reduced.convert("RGB"), float) - np.asarray(picture, float)).mean()
    smaller = BytesIO()
    (reduced if change < CHANGE else picture).save(smaller, "png", optimize=True)
    return smaller.getvalue()
