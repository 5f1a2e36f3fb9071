"""One restrained look for all figures, and the few helpers that they share.

The style holds inside `with style():` and nowhere else; the user's `rcParams` are never changed.
Colours are chosen for readers who do not see all of them: the four of `COLOURS` are Okabe & Ito's
(2008, "Color Universal Design"), the ten of `CLASSES` are Petroff's (2021, "Accessible Color
Sequences for Data Visualization", https://arxiv.org/abs/2107.02270).

Everywhere the data are dark grey and the model is blue; warnings are vermilion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrovae.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "CLASSES",
    "COLOURS",
    "as_array",
    "as_vectors",
    "axes_or_new",
    "evaluate",
    "label_ends",
    "panels",
    "style",
]

COLOURS = {"data": "#4d4d4d", "model": "#0072b2", "other": "#009e73", "warning": "#d55e00"}
CLASSES = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
    "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip

WIDTH = 6.0  # inches: 600 pixels at a notebook's 100 dpi

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
    """The common look, for the artists created inside the block only.

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


def axes_or_new(ax: Axes | None, *, height: float = 3.4, width: float = WIDTH) -> Axes:
    """The caller's axes, or new ones on a figure of their own, which a notebook can show.

    A plot must never choose the user's backend, so it stays away from pyplot: the new figure belongs
    to whoever holds it and is freed with it. In a window, bring axes: `figure, ax = plt.subplots()`.

    Args:
        ax: axes to draw on, or None.
        height: of a new figure, inches.
        width: of a new figure, inches.
    """
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(width, height), layout="constrained")
    panel = figure.add_subplot()
    # What a notebook asks for; pyplot, which this figure does not know, would have answered for it.
    figure._repr_png_ = panel._repr_png_ = partial(_as_png, figure)
    return panel


def panels(ax: Axes, *bounds: tuple[float, float, float, float]) -> list[Axes]:
    """Turn `ax` into an empty frame that holds several panels, found later in `ax.child_axes`.

    Args:
        ax: the axes whose place the panels take.
        bounds: of each panel (left, bottom, width, height), as fractions of the frame.
    """
    ax.set_axis_off()
    return [ax.inset_axes(place) for place in bounds]


def as_array(value: ArrayLike, name: str, *, finite: bool = True) -> NDArray[np.float64]:
    """A float64 copy of an array, a list or a torch tensor on any device.

    Args:
        value: numbers of any shape.
        name: what the caller calls them, for the message.
        finite: refuse NaN and infinite values.

    Raises:
        InputError: for what is not numeric, is empty, or (with `finite`) holds NaN or infinity.

    Example:
        >>> as_array([1, 2], "x")
        array([1., 2.])
    """
    try:
        array = np.array(_on_host(value), dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"{name} is no array of numbers (it is a {type(value).__name__}); give a numpy array or a tensor"
        ) from None
    if array.size == 0:
        raise InputError(f"{name} is empty (shape {array.shape}); give at least one value to draw")
    wrong = int(np.count_nonzero(~np.isfinite(array))) if finite else 0
    if wrong:
        raise InputError(f"{name} has {wrong} values that are NaN or infinite; remove them before drawing")
    return array


def as_vectors(*values: ArrayLike, names: Sequence[str], finite: bool = True) -> list[NDArray[np.float64]]:
    """Several arrays as 1-D float64 arrays of one common length.

    Raises:
        InputError: when one is not 1-D or has another length than the first, or as `as_array`.
    """
    arrays = [as_array(value, name, finite=finite) for value, name in zip(values, names, strict=True)]
    for array, name in zip(arrays, names, strict=True):
        if array.ndim != 1:
            raise InputError(f"{name} has shape {array.shape} where one value a point, (N,), was expected")
        if len(array) != len(arrays[0]):
            raise InputError(
                f"{name} has {len(array)} values but {names[0]} has {len(arrays[0])}; give one for each"
            )
    return arrays


def evaluate(log_prob: Callable[..., ArrayLike], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A caller's log density at `points`, checked.

    Args:
        log_prob: takes points (M, D), returns log densities (M,) in nats; -inf is allowed.
        points: where, (M, D).

    Raises:
        InputError: for another shape, NaN or +inf, or a density that is zero at all points.
    """
    values = as_array(log_prob(points), "the log density", finite=False)
    if values.shape != (len(points),):
        raise InputError(
            f"the log density of points {points.shape} came back with shape {values.shape}; "
            f"return one value a point, ({len(points)},)"
        )
    if np.isnan(values).any() or np.isposinf(values).any():
        raise InputError("the log density has values that are NaN or +inf; return finite values or -inf")
    if np.isneginf(values).all():
        raise InputError("the log density is -inf all over the limits; choose limits where it has mass")
    return values


def label_ends(ax: Axes, ends: Sequence[tuple[str, float, str]], *, gap: float = 0.085) -> None:
    """Write names at the right edge, at the height where their lines end, pushed apart where they meet.

    Limits must be final, since the heights are fixed as fractions of the axes.

    Args:
        ax: the axes.
        ends: (name, last value in data units, colour) of each line.
        gap: the least distance between two names, as a fraction of the axes' height.
    """
    to_fraction = ax.transData + ax.transAxes.inverted()
    x = ax.get_xlim()[1]
    placed = sorted((float(to_fraction.transform((x, y))[1]), name, colour) for name, y, colour in ends)
    heights = _spread([height for height, _, _ in placed], gap)
    for height, (_, name, colour) in zip(heights, placed, strict=True):
        ax.text(1.015, height, name, color=colour, transform=ax.transAxes, ha="left", va="center")


def _as_png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _spread(heights: list[float], gap: float) -> list[float]:
    """Ascending heights moved as little as a pass up and a pass down allow, at least `gap` apart."""
    wanted = np.clip(heights, 0.0, 1.0)
    steps = gap * np.arange(len(wanted))
    up = np.maximum.accumulate(wanted - steps) + steps
    down = np.minimum.accumulate((wanted - steps)[::-1])[::-1] + steps
    middle = (up + down) / 2
    return list(middle - max(0.0, middle[-1] - 1.0))


def _on_host(value: Any) -> Any:  # noqa: ANN401
    """A torch tensor brought to the CPU as numpy (without importing torch), anything else as it is."""
    if not hasattr(value, "detach"):
        return value
    value = value.detach().cpu()
    # numpy has no bfloat16
    return value.double().numpy() if value.is_floating_point() else value.numpy()
