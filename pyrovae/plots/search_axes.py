"""The axes of hyperparameters: ticks, places of words, and intervals of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyrovae.numerics import Array
from pyrovae.plots.style import Axes
from pyrovae.plots.trials import Column, shorten

__all__ = ["at_unit", "intervals", "limits", "plain", "set_axis", "ticks", "words_shown"]

WORDS = 12  # of an axis, beyond which not every word is written
BINS = 6  # intervals of numbers in a table


def set_axis(ax: Axes, which: str, column: Column, most: int) -> None:
    """Set the scale, limits and ticks of axis "x" or "y" to a hyperparameter of numbers."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    if column.is_log:
        (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    (ax.set_xlim if which == "x" else ax.set_ylim)(*limits(column))
    axis.set_ticks([])
    axis.set_ticks([], minor=True)
    axis.set_ticks(*ticks(column, most))


def limits(column: Column) -> tuple[float, float]:
    """The limits of the axis, with room around the values."""
    at = column.scaled[column.exists]
    low, high = float(at.min()), float(at.max())
    room = 0.06 * (high - low) or (0.2 if column.is_log else 0.5 * abs(low) or 0.5)
    return (10 ** (low - room), 10 ** (high + room)) if column.is_log else (low - room, high + room)


def ticks(column: Column, most: int) -> tuple[list[float], list[str]]:
    """At most `most` round numbers within the axis, or the values themselves if they are few.

    Example:
        >>> ticks(Column("batch_size", np.array([32.0, 64.0, 128.0, 32.0])), 4)
        ([32.0, 64.0, 128.0], ['32', '64', '128'])
        >>> ticks(Column("lr", np.geomspace(1.2e-4, 9e-3, 20), is_log=True), 4)[1]
        ['1e−4', '1e−3', '0.01']
    """
    present = np.unique(column.values[column.exists])
    texts = [plain(value) for value in present]
    places = np.unique(column.unit[column.exists])
    is_wide = len(places) < 2 or np.diff(places).min() >= 0.9 / most
    if len(present) <= most and is_wide and (len(present) == 1 or max(map(len, texts)) <= 5):
        return present.tolist(), texts
    at = (_log_ticks if column.is_log else _linear_ticks)(*limits(column), most)
    return at.tolist(), [plain(value) for value in at]


def plain(number: float) -> str:
    """A number as short text.

    Example:
        >>> plain(0.5), plain(1e-05), plain(2048.0)
        ('0.5', '1e−5', '2048')
    """
    if 0 < abs(number) < 0.01 or abs(number) >= 1e5:
        mantissa, _, power = f"{number:.2e}".partition("e")
        text = f"{float(mantissa):g}e{int(power)}"
    else:
        text = f"{number:.0f}" if abs(number) >= 1000 else f"{number:.3g}"
    return text.replace("-", "−")


def words_shown(column: Column, most: int) -> tuple[list[int], list[str]]:
    """The indices of the words that are written, and the words in at most `most` characters."""
    at = list(range(0, len(column.words), max(1, -(-len(column.words) // WORDS))))
    return at, [shorten(column.words[i], most) for i in at]


def at_unit(column: Column, unit: Array) -> Array:
    """The values at places from 0 to 1, the inverse of `Column.unit`."""
    at = column.scaled[column.exists]
    place = at.min() + unit * (at.max() - at.min())
    return 10**place if column.is_log else place


def intervals(column: Column) -> tuple[np.ndarray, list[str]]:
    """The index of each trial in a table, (N,), and the names of the indices.

    They are the words, the different numbers, or the smallest and largest number in each of at most
    six parts of the axis.

    Example:
        >>> intervals(Column("a", np.arange(12.0)))[1]
        ['0 to 1', '2 to 3', '4 to 5', '6 to 7', '8 to 9', '10 to 11']
    """
    different, index = np.unique(column.values, return_inverse=True)
    if column.words:
        return index.ravel(), [shorten(column.words[int(i)], 24) for i in different]
    if len(different) <= BINS:
        return index.ravel(), [plain(value) for value in different]
    part, index = np.unique(np.minimum((column.unit * BINS).astype(int), BINS - 1), return_inverse=True)
    members = [column.values[index.ravel() == i] for i in range(len(part))]
    return index.ravel(), [_from_to(float(m.min()), float(m.max())) for m in members]


def _from_to(low: float, high: float) -> str:
    return plain(low) if low == high else f"{plain(low)} to {plain(high)}"


def _linear_ticks(low: float, high: float, most: int) -> Array:
    from matplotlib.ticker import MaxNLocator

    at = np.asarray(MaxNLocator(most - 1, steps=[1, 2, 5, 10]).tick_values(low, high))
    return _thinned(at[(at >= low) & (at <= high)], most)


def _log_ticks(low: float, high: float, most: int) -> Array:
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    at = np.array([])
    for steps in ((1,), (1, 3), (1, 2, 5)):
        at = np.sort(np.multiply.outer(powers, steps).ravel())
        at = at[(at >= low) & (at <= high)]
        if len(at) >= min(3, most):
            return _thinned(at, most)
    return at if len(at) > 1 else _linear_ticks(low, high, most)


def _thinned(at: Any, most: int) -> Array:  # noqa: ANN401
    return np.asarray(at[:: -(-len(at) // most)], dtype=float)
