"""Figures of a search against its hyperparameters.

- `search_slices`: the value against each hyperparameter, in small panels
- `search_parallel`: each trial as a line through the axes of its hyperparameters

Names and words that do not fit are written with their middle left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.numerics import Array
from pyrovae.plots.search import PRUNED, VALUE, above_legend, frame_of, scatter_trials
from pyrovae.plots.search_axes import set_axis, ticks, words_shown
from pyrovae.plots.style import COLOURS, WIDTH, Axes, canvas, panels
from pyrovae.plots.trials import Column, Trials, columns_of, shorten, trials_of

__all__ = ["SHADES", "search_parallel", "search_slices"]

Parameters = Mapping[str, Sequence[Any]]

SHADES = "viridis_r"  # dark for good trials
ROW = 4  # panels


def search_slices(
    parameters: Parameters,
    values: ArrayLike,
    states: Sequence[str] | None = None,
    *,
    log: Collection[str] | None = None,
    label: str = VALUE,
    ax: Axes | None = None,
) -> Axes:
    """The value against each hyperparameter, a panel for each, first those with numbers.

    A trial is in the panels of the hyperparameters that it has. Points of a word are spread
    sideways, so that they do not cover each other.

    Args:
        parameters: path -> numbers or words, (N,); None or NaN where it does not exist.
        values: the value of each trial, (N,), nats per observation; NaN for none.
        states: "complete", "pruned", "failed" or "running" for each trial; without them, trials
            with a value are complete.
        log: the paths with a logarithmic axis; by default as the values suggest.
        label: what the value is.

    Returns:
        The frame, whose panels are `ax.child_axes`.

    Raises:
        InputError: if lengths differ, no trial or hyperparameter has a value, or `log` names a
            path with words or values that are not positive.

    Example:
        >>> parameters = {"lr": [1e-4, 1e-3, 1e-2], "prior": ["VampPrior", None, "Normal"]}
        >>> ax = search_slices(parameters, [-21.0, -19.0, -20.0])
        >>> [panel.get_xscale() for panel in ax.child_axes]
        ['log', 'linear']
    """
    trials = trials_of(values, states)
    columns = sorted(columns_of(parameters, len(trials.values), log), key=lambda column: bool(column.words))
    places, height = _grid(columns)
    with canvas(ax, height=height, width=WIDTH) as ax:
        limits = frame_of(trials)
        for k, (panel, column) in enumerate(zip(panels(ax, *places), columns, strict=True)):
            panel.set_ylim(limits)
            if column.words:
                _words_axis(panel, column)
            else:
                set_axis(panel, "x", column, most=3 if column.is_log else 4)
            scatter_trials(panel, _spread(column), trials)
            panel.set_title(shorten(column.name, 17, 4), loc="left", fontsize=8.0)
            panel.locator_params(axis="y", nbins=4)
            panel.tick_params(labelleft=k % ROW == 0, labelsize=7.5)
        side: dict[str, Any] = {"rotation": 90, "ha": "right", "va": "center", "transform": ax.transAxes}
        ax.text(-0.1, 0.5, label, **side)
        above_legend(ax, 6, _handles(ax.child_axes))
    return ax


def search_parallel(
    parameters: Parameters,
    values: ArrayLike,
    states: Sequence[str] | None = None,
    *,
    log: Collection[str] | None = None,
    label: str = VALUE,
    ax: Axes | None = None,
) -> Axes:
    """Each trial as a line through the axes of its hyperparameters, which ends at its value.

    Lines have gaps where a hyperparameter does not exist, and those of a word are spread a little.
    Complete trials are coloured by value, the best one is the thickest, and pruned trials are grey.
    Failed trials are left out.

    Args:
        parameters: path -> numbers or words, (N,); None or NaN where it does not exist.
        values: the value of each trial, (N,), nats per observation; NaN for none.
        states: "complete", "pruned", "failed" or "running" for each trial; without them, trials
            with a value are complete.
        log: the paths with a logarithmic axis; by default as the values suggest.
        label: what the value is.

    Returns:
        The axes, whose child is the colour bar, the axis of the values.

    Raises:
        InputError: if lengths differ, no trial or hyperparameter has a value, or `log` names a
            path with words or values that are not positive.

    Example:
        >>> ax = search_parallel({"lr": [1e-4, 1e-3], "epochs": [5, 10]}, [-21.0, -19.0])
        >>> [text.get_text() for text in ax.get_xticklabels()]
        ['lr', 'epochs']
    """
    trials = trials_of(values, states)
    columns = columns_of(parameters, len(trials.values), log)
    count = len(columns)
    size = {"height": 3.8, "width": float(np.clip(1.8 + 0.85 * count, WIDTH, 24.0))}
    with canvas(ax, **size) as ax:
        ax.set(xlim=(-0.25, count + 0.2), ylim=(-0.06, 1.06), yticks=[])
        ax.spines[:].set_visible(False)
        low, high = frame_of(trials)
        _draw_lines(ax, columns, trials, (low, high))
        for j, column in enumerate(columns):
            _upright(ax, j, column, 14 if count <= 12 else 9)
        turn: dict[str, Any] = {} if count < 5 else {"rotation": 30, "ha": "left", "rotation_mode": "anchor"}
        ax.set_xticks(range(count), [shorten(column.name, 20, 4) for column in columns], **turn)
        ax.tick_params(axis="x", top=False, bottom=False, labeltop=True, labelbottom=False)
        ax.set_xlabel(_counts(trials), loc="left")
        _value_axis(ax, count, (low, high), label)
    return ax


# Slices


def _grid(columns: list[Column]) -> tuple[list[tuple[float, float, float, float]], float]:
    """Places of the panels as fractions of the frame, and the height of the figure in inches."""
    rows = [columns[i : i + ROW] for i in range(0, len(columns), ROW)]
    below = [0.3 + (0.7 if any(_is_upright(column) for column in row) else 0.0) for row in rows]
    panel, title = 1.05, 0.25
    total = sum(below) + len(rows) * (panel + title) - below[-1]
    across = min(ROW, len(columns))
    places, top = [], total
    for row, room in zip(rows, below, strict=True):
        bottom = top - title - panel
        for k in range(len(row)):
            places.append((k / across, bottom / total, 0.86 / across, panel / total))
        top = bottom - room
    return places, total + below[-1] + 0.4


def _words_axis(ax: Axes, column: Column) -> None:
    at, words = words_shown(column, 14)
    ax.set_xticks(at, words, rotation=90 if _is_upright(column) else 0)
    ax.set_xlim(-0.6, len(column.words) - 0.4)


def _is_upright(column: Column) -> bool:
    """Whether the words do not fit side by side below a panel."""
    words = words_shown(column, 14)[1]
    return len(words) * (1 + max(map(len, words), default=0)) > 18


def _spread(column: Column) -> Array:
    """The places of the trials; those with the same word lie up to 0.25 to its left or right."""
    if not column.words:
        return column.values
    return column.values + 0.5 * _jitter(len(column.values))


def _jitter(count: int) -> Array:
    """Offsets from -0.5 to 0.5, spread evenly also over each part of the trials."""
    return np.asarray((np.arange(count) * 0.6180339887) % 1 - 0.5, dtype=np.float64)


def _handles(every: Sequence[Any]) -> list[Any]:
    """The entries of the legends of all panels, one for each kind of trial, without counts."""
    kinds: dict[str, Any] = {}
    for panel in every:
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            kind = name.partition(" (")[0]
            handle.set_label(kind)
            kinds.setdefault(kind, handle)
    return list(kinds.values())


# Parallel coordinates


def _draw_lines(ax: Axes, columns: list[Column], trials: Trials, limits: tuple[float, float]) -> None:
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize

    # a last place for the value, on the scale of the colour bar
    ends = np.clip((trials.values - limits[0]) / (limits[1] - limits[0]), 0, 1)
    places = [column.unit + (0.06 * _jitter(len(ends)) if column.words else 0) for column in columns]
    heights = np.stack([*places, np.where(trials.complete, ends, np.nan)], 1)
    norm, shades = Normalize(*limits), colormaps[SHADES]
    thin = float(np.clip(40 / len(heights), 0.4, 1.1))
    for kind, mask in (("pruned", trials.pruned), ("complete", trials.complete)):
        rows = np.flatnonzero(mask)
        rows = rows[np.argsort(trials.values[rows], kind="stable")]  # the best on top
        for i in rows:
            runs = _runs(heights[i])
            colour = PRUNED if kind == "pruned" else shades(norm(trials.values[i]))
            width = 2.4 if i == trials.best else thin
            look: dict[str, Any] = {
                "colors": [colour],
                "linewidths": width,
                "alpha": 0.35 if kind == "pruned" else 0.8,
            }
            lines: list[Any] = [np.stack([run, heights[i][run]], 1) for run in runs if len(run) > 1]
            ax.add_collection(LineCollection(lines, label=f"_{kind} {i}", rasterized=True, **look))
            alone = [int(run[0]) for run in runs if len(run) == 1]
            if alone:
                ax.scatter(alone, heights[i][alone], s=6, color=colour, alpha=look["alpha"], linewidths=0)


def _runs(heights: Array) -> list[np.ndarray]:
    """The places without gaps between them."""
    there = np.flatnonzero(~np.isnan(heights))
    return [run for run in np.split(there, np.flatnonzero(np.diff(there) > 1) + 1) if len(run)]


def _upright(ax: Axes, j: int, column: Column, most: int) -> None:
    """The axis of one hyperparameter, with its ticks on the right."""
    ax.axvline(j, color=COLOURS["data"], linewidth=0.7, zorder=2.5)
    if column.words:
        at, labels = words_shown(column, most)
        places = np.array(at) / (len(column.words) - 1) if len(column.words) > 1 else np.array([0.5])
    else:
        numbers, labels = ticks(column, 6)
        scale = np.log10 if column.is_log else np.asarray
        low, high = (float(end(column.scaled[column.exists])) for end in (np.min, np.max))
        places = (scale(numbers) - low) / (high - low) if high > low else np.array([0.5])
    box = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.8}
    for place, text in zip(places, labels, strict=True):
        ax.plot([j, j + 0.03], [place, place], color=COLOURS["data"], linewidth=0.7, zorder=2.6)
        ax.text(j + 0.05, place, text, fontsize=7.5, va="center", zorder=4, bbox=box)


def _value_axis(ax: Axes, j: int, limits: tuple[float, float], label: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = ax.inset_axes((j, 0.0, 0.1, 1.0), transform=ax.transData)
    image = ScalarMappable(Normalize(*limits), SHADES)
    ax.figure.colorbar(image, cax=bar, label=label).outline.set_visible(False)  # type: ignore[operator]


def _counts(trials: Trials) -> str:
    """What is drawn, in words."""
    parts = [f"{int(trials.complete.sum())} complete trials"]
    if trials.pruned.any():
        parts.append(f"{int(trials.pruned.sum())} pruned (grey)")
    if trials.failed.any():
        parts.append(f"{int(trials.failed.sum())} failed (not drawn)")
    return ", ".join(parts)
