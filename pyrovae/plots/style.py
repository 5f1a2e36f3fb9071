"""The common style of all figures, and helpers.

The style applies inside `with style():` only, and the user's `rcParams` do not change. The colours
suit readers with colour vision deficiency: the four of `COLOURS` are Okabe & Ito's (2008, "Color
Universal Design"), the ten of `CLASSES` are Petroff's (2021, "Accessible Color Sequences for Data
Visualization", https://arxiv.org/abs/2107.02270).

In all figures the data are dark grey, the model is blue, and warnings are vermilion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.checks import shown
from pyrovae.errors import InputError
from pyrovae.numerics import Array, numbers
from pyrovae.plots.notebook import displayed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
else:
    Axes = Any  # so that a module can use the name without importing matplotlib

__all__ = [
    "CLASSES",
    "COLOURS",
    "OUTSIDE",
    "WIDTH",
    "Axes",
    "Square",
    "canvas",
    "dot_handles",
    "dots",
    "evaluate",
    "label_ends",
    "matrix",
    "panels",
    "square",
    "style",
    "vectors",
]

COLOURS = {"data": "#4d4d4d", "model": "#0072b2", "other": "#009e73", "warning": "#d55e00"}
CLASSES = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
    "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip

OUTSIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}  # of a legend

Square = tuple[tuple[float, float], tuple[float, float]]
WIDTH = 6.0  # inches

_RC: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.0,
    "axes.titleweight": "normal",
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#4d4d4d",
    "axes.labelcolor": "#262626",
    "axes.facecolor": "white",
    "axes.grid": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "image.interpolation": "antialiased",
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "text.color": "#262626",
    "xtick.color": "#4d4d4d",
    "ytick.color": "#4d4d4d",
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
}


@contextmanager
def style() -> Iterator[None]:
    """Use the common style for artists created inside the block.

    Example:
        >>> import matplotlib
        >>> before = matplotlib.rcParams["font.size"]
        >>> with style():
        ...     matplotlib.rcParams["font.size"]
        9.0
        >>> matplotlib.rcParams["font.size"] == before
        True
    """
    import matplotlib

    with matplotlib.rc_context(_RC):
        yield


@contextmanager
def canvas(ax: Axes | None, *, height: float = 3.4, width: float = WIDTH) -> Iterator[Axes]:
    """The caller's axes, or new axes on a new figure, in the common style.

    Figures are created without pyplot, so that the user's backend does not change. A new figure is
    freed when it is no longer referenced, and a notebook displays it. For a window, pass axes:
    `figure, ax = plt.subplots()`.

    Args:
        ax: axes to draw on, or None.
        height, width: the size of a new figure in inches.

    Raises:
        InputError: if `ax` is something else.
    """
    with style():
        yield _new_axes(height, width) if ax is None else _checked(ax)


def _checked(ax: object) -> Axes:
    from matplotlib.axes import Axes as Known

    if not isinstance(ax, Known):
        raise InputError(f"ax must be one Axes of matplotlib, not {shown(ax)}: `plt.subplots()` makes one")
    return ax


def _new_axes(height: float, width: float) -> Axes:
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(width, height), layout="constrained")
    panel = figure.add_subplot()
    displayed(figure, panel)
    return panel


def panels(ax: Axes, *bounds: tuple[float, float, float, float]) -> list[Axes]:
    """Turn `ax` into an empty frame with several panels, its `child_axes`.

    Args:
        ax: the axes to replace by the panels.
        bounds: (left, bottom, width, height) of each panel, as fractions of the frame.
    """
    ax.set_axis_off()
    return [ax.inset_axes(place) for place in bounds]


def vectors(*values: ArrayLike, names: Sequence[str], finite: bool = True) -> list[Array]:
    """Several arrays as 1-D float64 arrays of one common length.

    Raises:
        InputError: if one is not 1-D or has another length than the first, or as for `numbers`.
    """
    first = numbers(values[0], names[0], ("N",), finite=finite)
    shape = (len(first),)
    rest = zip(values[1:], names[1:], strict=True)
    return [first, *(numbers(value, name, shape, finite=finite) for value, name in rest)]


def matrix(value: ArrayLike, name: str, columns: int | str = "D") -> Array:
    """Convert rows (N, D) to a float64 array; rows of one number may have shape (N,).

    Raises:
        InputError: for a wrong shape, or as for `numbers`.
    """
    array = numbers(value, name)
    return numbers(array[:, None] if array.ndim == 1 else array, name, ("N", columns))


def dots(count: int, ink: float, smallest: float, largest: float) -> dict[str, Any]:
    """Options of `scatter` for many points: their total area is `ink`, within limits."""
    return {"s": float(np.clip(ink / count, smallest, largest)), "linewidths": 0, "rasterized": True}


def dot_handles(colours: Mapping[str, str], size: float) -> list[Line2D]:
    """Legend entries: a dot in its colour for each name."""
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": size}
    return [Line2D([], [], color=colour, label=name, **look) for name, colour in colours.items()]


def square(low: Array, high: Array, half: float) -> Square:
    """The square around the middle of two corners, with half side `half` times their distance."""
    middle, reach = (low + high) / 2, half * float((high - low).max()) or 1.0
    return (middle[0] - reach, middle[0] + reach), (middle[1] - reach, middle[1] + reach)


def evaluate(log_prob: Callable[..., ArrayLike], points: Array) -> Array:
    """Evaluate and check a caller's log density at points (M, D).

    Raises:
        InputError: if its shape is not (M,), a value is NaN or +inf, or the density is zero at all
            points.
    """
    values = numbers(log_prob(points), "the log density", (len(points),), finite=False)
    if np.isnan(values).any() or np.isposinf(values).any():
        raise InputError("the log density has values that are NaN or +inf; return finite values or -inf")
    if np.isneginf(values).all():
        raise InputError(
            "the log density is -inf everywhere within the limits; choose limits where it has mass"
        )
    return values


def label_ends(ax: Axes, ends: Sequence[tuple[str, float, str]], *, gap: float = 0.085) -> None:
    """Write names at the right edge where their lines end, moved apart if they overlap.

    The limits of the axes must be final, since the heights are fixed as fractions of the axes.

    Args:
        ax: the axes.
        ends: (name, last value in data units, colour) of each line.
        gap: the smallest distance between two names, as a fraction of the axes' height.
    """
    to_fraction = ax.transData + ax.transAxes.inverted()
    x = ax.get_xlim()[1]
    placed = sorted((float(to_fraction.transform((x, y))[1]), name, colour) for name, y, colour in ends)
    heights = _spread([height for height, _, _ in placed], gap)
    for height, (_, name, colour) in zip(heights, placed, strict=True):
        ax.text(1.015, height, name, color=colour, transform=ax.transAxes, ha="left", va="center")


def _spread(heights: list[float], gap: float) -> list[float]:
    """Move ascending heights to be at least `gap` apart, in one pass up and one pass down."""
    wanted = np.clip(heights, 0.0, 1.0)
    steps = gap * np.arange(len(wanted))
    up = np.maximum.accumulate(wanted - steps) + steps
    down = np.minimum.accumulate((wanted - steps)[::-1])[::-1] + steps
    middle = (up + down) / 2
    return list(middle - max(0.0, middle[-1] - 1.0))
