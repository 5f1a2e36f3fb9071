"""The figure of a sweep: log p(x) against the values of a choice, with the spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.errors import InputError
from pyrovae.numerics import Array, numbers
from pyrovae.plots.style import CLASSES, COLOURS, OUTSIDE, Axes, canvas

__all__ = ["sweep_curves"]

BY_RATIO = 4.0  # the largest gap of values, in smallest gaps, on a linear axis


def sweep_curves(
    at: Sequence[Any],
    curves: Mapping[str, ArrayLike] | ArrayLike,
    *,
    name: str = "value",
    quantity: str = "log p(x)",
    ax: Axes | None = None,
) -> Axes:
    """The mean over seeds at each value of a choice, and one standard deviation over seeds.

    Numbers have curves with bands, on a logarithmic axis if their gaps grow. Words have points with
    bars.

    Args:
        at: the values of the choice, (P,), numbers or words.
        curves: label -> mean over rows with each seed, (S, P) or (P,), in nats per observation; NaN
            where there is none. An array is a single curve without a label.
        name: the name of the choice.
        quantity: what the values are, for the vertical axis.

    Raises:
        InputError: if there are no values, or lengths differ.

    Example:
        >>> ax = sweep_curves([2, 5, 10], [[-21.0, -20.0, -19.5], [-21.2, -20.1, -19.8]])
        >>> ax.lines[0].get_ydata().round(2).tolist()
        [-21.1, -20.05, -19.65]
    """
    lines = _matrices(curves if isinstance(curves, Mapping) else {"": curves}, len(at))
    is_numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in at)
    places = np.array(at, dtype=float) if is_numeric else np.arange(len(at), dtype=float)
    order = np.argsort(places)
    has_seeds = any(len(values) > 1 for values in lines.values())
    what = "; the band" if is_numeric else "; the bar"
    spread = f"{what} is one standard deviation over seeds" if has_seeds else ""
    with canvas(ax) as ax:
        for number, (label, values) in enumerate(lines.items()):
            colour = COLOURS["model"] if len(lines) == 1 else CLASSES[number % len(CLASSES)]
            mean, deviation = _moments(values[:, order])
            if is_numeric:
                _curve(ax, places[order], mean, deviation, colour, label)
            else:
                shift = 0.5 * ((number + 0.5) / len(lines) - 0.5)
                look: dict[str, Any] = {
                    "linestyle": "",
                    "marker": "o",
                    "markersize": 5,
                    "color": colour,
                    "capsize": 3,
                }
                ax.errorbar(places + shift, mean, yerr=np.nan_to_num(deviation), label=label, **look)
        _axis(ax, at, places[order], is_numeric=is_numeric)
        ax.set(xlabel=f"{name}{spread}", ylabel=f"{quantity}, nats per observation")
        if len(lines) > 1:
            ax.legend(**OUTSIDE)
    return ax


def _curve(ax: Axes, at: Array, mean: Array, deviation: Array, colour: str, label: str) -> None:
    known = np.isfinite(mean)
    ax.plot(at[known], mean[known], color=colour, marker="o", markersize=4, label=label)
    band = known & np.isfinite(deviation)
    if band.any():
        low, high = mean - deviation, mean + deviation
        ax.fill_between(at[band], low[band], high[band], color=colour, alpha=0.2, linewidth=0)


def _axis(ax: Axes, at: Sequence[Any], places: Array, *, is_numeric: bool) -> None:
    """A logarithmic axis for numbers whose gaps grow; the values themselves as ticks."""
    if not is_numeric:
        ax.set_xticks(np.arange(len(at)), [str(value) for value in at])
        ax.set_xlim(-0.5, len(at) - 0.5)
        return
    if _is_by_ratio(places):
        from matplotlib.ticker import NullFormatter

        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(NullFormatter())
    if len(places) <= 10:
        ax.set_xticks(places, [f"{place:g}" for place in places])


def _is_by_ratio(places: Array) -> bool:
    distinct = np.unique(places)
    if len(distinct) < 2 or distinct[0] <= 0:
        return False
    if len(distinct) == 2:
        return bool(distinct[1] >= 10 * distinct[0])
    gaps = np.diff(distinct)
    return bool(gaps.max() > BY_RATIO * gaps.min() and gaps[-1] > gaps[0])


def _moments(values: Array) -> tuple[Array, Array]:
    """The mean and the standard deviation over the seeds that there are; NaN for too few."""
    counts = np.isfinite(values).sum(0)
    total = np.where(np.isfinite(values), values, 0.0)
    mean = np.where(counts > 0, total.sum(0) / np.maximum(counts, 1), np.nan)
    square = np.where(np.isfinite(values), (values - mean) ** 2, 0.0).sum(0)
    return mean, np.where(counts > 1, np.sqrt(square / np.maximum(counts - 1, 1)), np.nan)


def _matrices(curves: Mapping[str, ArrayLike], length: int) -> dict[str, Array]:
    if not curves or not length:
        raise InputError("there is nothing to draw: give at least one value and one curve")
    lines = {}
    for label, values in curves.items():
        array = numbers(values, label or "the curve", finite=False)
        array = array[None] if array.ndim == 1 else array
        if array.ndim != 2 or array.shape[1] != length:
            raise InputError(
                f"{label or 'the curve'} has shape {array.shape}: give an array (seeds, {length}), one "
                "column for each value"
            )
        lines[label] = array
    return lines
