"""Figures of completed images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.checks import whole
from pyrovae.errors import InputError
from pyrovae.numerics import as_array, numbers
from pyrovae.plots.images import mosaic_of
from pyrovae.plots.style import style
from pyrovae.report import is_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["as_images", "completions"]

MISSING = (0.35, 0.55, 0.85)  # the colour of pixels that are not known


def completions(
    completion: Any,  # noqa: ANN401
    truth: Any = None,  # noqa: ANN401
    rows: int = 8,
    draws: int = 5,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw measurements, samples, means, and the truth if it is given, a column for each image.

    Missing pixels of the measurement are blue. Values outside [0, 1] are clipped.

    Arguments:
        completion: a `Completion` of images.
        truth: the true x (N, *event).
        rows: the number of images, from the first on.
        draws: the number of samples of each, at most those that were drawn.
        ax: axes to draw on.

    Raises:
        InputError: for observations that are not images, or a truth of another shape.
    """
    event = tuple(completion.mean.shape[1:])
    if not is_image(event):
        raise InputError(
            f"only images can be drawn, and x has the shape {event}: use .to_frame() for a table, and .x for "
            "the samples"
        )
    rows = min(whole("rows", rows), len(completion))
    draws = min(whole("draws", draws, 0), len(completion.x))
    lines = [("given", as_images(as_array(completion.y, float), event)[:rows])]
    names = ["samples", *[""] * (draws - 1)]
    lines += [(names[s], completion.x[s, :rows].numpy()) for s in range(draws)]
    lines.append(("mean", completion.mean[:rows].numpy()))
    if truth is not None:
        given = numbers(truth, "truth")
        if given.shape[1:] != event or len(given) < rows:
            raise InputError(
                f"truth has the shape {given.shape}, and the samples are of {len(completion)} images "
                f"{event}: give one image for each"
            )
        lines.append(("truth", given[:rows]))
    images = np.concatenate([_coloured(line) for _, line in lines])
    with style():
        ax, places, _ = mosaic_of(images, rows, ax, label_width=0.7)
        named = [(place, name) for place, (name, _) in zip(places, lines, strict=True) if name]
        ax.set_yticks([place for place, _ in named], [name for _, name in named])
    return ax


def as_images(y: np.ndarray, event: tuple[int, ...]) -> np.ndarray:
    """Measurements as images of the size of x: small ones magnified, or in the middle."""
    if y.ndim != 4 or y.shape[1] != event[0]:
        return np.full((len(y), *event), np.nan)
    height, width = event[1] // y.shape[2], event[2] // y.shape[3]
    y = y.repeat(max(1, height), 2).repeat(max(1, width), 3)[:, :, : event[1], : event[2]]
    whole_y = np.full((len(y), *event), np.nan)
    top, left = (event[1] - y.shape[2]) // 2, (event[2] - y.shape[3]) // 2
    whole_y[:, :, top : top + y.shape[2], left : left + y.shape[3]] = y
    return whole_y


def _coloured(images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) as (N, H, W, 3) in [0, 1], with NaN in the colour of missing pixels."""
    missing = np.isnan(images).any(1)
    rgb = np.clip(np.nan_to_num(images), 0, 1).transpose(0, 2, 3, 1)
    rgb = np.broadcast_to(rgb, (*rgb.shape[:3], 3)).copy()
    rgb[missing] = MISSING
    return rgb
