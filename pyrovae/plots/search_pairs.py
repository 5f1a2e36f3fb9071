"""The value of the trials of a search over two hyperparameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.errors import InputError
from pyrovae.numerics import Array
from pyrovae.plots.search import VALUE
from pyrovae.plots.search_axes import at_unit, intervals, plain, set_axis
from pyrovae.plots.search_space import SHADES
from pyrovae.plots.style import Axes, canvas
from pyrovae.plots.trials import Column, columns_of, low_fence, shorten, trials_of

__all__ = ["search_contour"]


def search_contour(
    parameters: Mapping[str, Sequence[Any]],
    values: ArrayLike,
    x: str,
    y: str,
    states: Sequence[str] | None = None,
    *,
    log: Collection[str] | None = None,
    label: str = VALUE,
    ax: Axes | None = None,
) -> Axes:
    """The value of the complete trials over two hyperparameters.

    Over two numbers the values are interpolated linearly between the trials, on axes scaled to the
    same length, and not beyond them. The other hyperparameters differ between trials, so the
    surface is not smooth. If one has words, a table has the mean value of each pair and the number
    of its trials. Trials far below the others count as the value that the title says.

    Args:
        parameters: path -> numbers or words, (N,); None or NaN where it does not exist.
        values: the value of each trial, (N,), nats per observation; NaN for none.
        x, y: the paths of the two.
        states: "complete", "pruned", "failed" or "running" for each trial; without them, trials
            with a value are complete.
        log: the paths with a logarithmic axis; by default as the values suggest.
        label: what the value is.

    Raises:
        InputError: if lengths differ, `x` or `y` is unknown or the same, no complete trial has
            both, or as for `search_slices`.

    Example:
        >>> parameters = {"lr": [0.1, 0.2, 0.3], "prior": ["a", "b", "a"]}
        >>> ax = search_contour(parameters, [-3.0, -1.0, -2.0], "lr", "prior")
        >>> ax.images[0].get_array().tolist()
        [[-3.0, None, -2.0], [None, -1.0, None]]
    """
    across, up, value = _pair(parameters, values, x, y, states, log)
    low = low_fence(value)
    below, value = int((value < low).sum()), np.maximum(value, low)
    with canvas(ax, height=4.0, width=5.4) as ax:
        draw = _table if across.words or up.words else _surface
        image = draw(ax, across, up, value)
        ax.set(xlabel=shorten(x, 60, 4), ylabel=shorten(y, 40, 4))
        bar = ax.figure.colorbar(image, ax=ax, label=label)
        bar.outline.set_visible(False)  # type: ignore[operator]
        if below:
            _note(ax, f"{_trials(below)} far below, counted as {plain(low)}")
    return ax


def _pair(
    parameters: Mapping[str, Sequence[Any]],
    values: ArrayLike,
    x: str,
    y: str,
    states: Sequence[str] | None,
    log: Collection[str] | None,
) -> tuple[Column, Column, Array]:
    """The two hyperparameters and the values of the complete trials that have both."""
    for name in (x, y):
        if name not in parameters:
            raise InputError(
                f"{name!r} is not a hyperparameter: give one of {', '.join(map(str, parameters))}"
            )
    if x == y:
        raise InputError(f"x and y are both {x!r}: give two hyperparameters")
    trials = trials_of(values, states)
    columns = [c for c in columns_of(parameters, len(trials.values), log) if c.name in (str(x), str(y))]
    use = trials.complete & np.all([column.exists for column in columns], axis=0)
    if len(columns) < 2 or not use.any():
        raise InputError(f"no complete trial has both {x} and {y}: give two that occur together")
    by_name = {c.name: Column(c.name, c.values[use], c.words, c.is_log) for c in columns}
    return by_name[str(x)], by_name[str(y)], trials.values[use]


def _surface(ax: Axes, across: Column, up: Column, value: Array) -> Any:  # noqa: ANN401
    """Filled contours between the trials, the trials, and the best one as a star."""
    from matplotlib.ticker import MaxNLocator

    low, high = _range(value)
    levels = MaxNLocator(9).tick_values(low, high)
    shades: dict[str, Any] = {"cmap": SHADES, "vmin": levels[0], "vmax": levels[-1]}
    set_axis(ax, "x", across, 6)
    set_axis(ax, "y", up, 6)
    surface = _triangles(across, up, value)
    if surface is None:
        _note(ax, "too few different places to interpolate")
    else:
        ax.tricontourf(*surface, levels=levels, **shades)
    size = float(np.clip(900 / len(value), 4.0, 18.0))
    look: dict[str, Any] = {"s": size, "edgecolors": "white", "linewidths": 0.1 * size**0.5 + 0.15}
    points = ax.scatter(across.values, up.values, c=value, label="_trials", **look, **shades)
    best = int(value.argmax())
    star: dict[str, Any] = {
        "marker": "*",
        "s": 110,
        "color": "white",
        "edgecolors": "black",
        "linewidths": 0.7,
    }
    ax.scatter(across.values[best], up.values[best], label="best", zorder=3, **star)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), borderpad=0, handletextpad=0.2)
    return points


def _range(value: Array) -> tuple[float, float]:
    low, high = float(value.min()), float(value.max())
    return (low, high) if high > low else (high - 1.0, high)


def _triangles(across: Column, up: Column, value: Array) -> tuple[Any, Array] | None:
    """A fine triangulation with interpolated values; None if the trials lie on a line.

    Trials at the same place have their mean value. The triangles are those of the scaled axes.
    """
    from matplotlib.tri import LinearTriInterpolator, Triangulation, UniformTriRefiner

    unit, where = np.unique(np.stack([across.unit, up.unit], 1).round(9), axis=0, return_inverse=True)
    where = where.ravel()
    mean = np.bincount(where, value) / np.bincount(where)
    if len(unit) < 3 or np.linalg.matrix_rank(unit - unit.mean(0), tol=1e-6) < 2:
        return None
    coarse = Triangulation(*unit.T)
    fine, inside = UniformTriRefiner(coarse).refine_field(mean, LinearTriInterpolator(coarse, mean), subdiv=2)
    xs, ys = (at_unit(column, at) for column, at in ((across, fine.x), (up, fine.y)))
    # rounding may leave a corner outside all triangles
    inside = np.ma.filled(inside, np.nan)
    inside = np.where(np.isnan(inside), np.nanmin(inside), inside)
    return Triangulation(xs, ys, triangles=fine.triangles), inside


def _table(ax: Axes, across: Column, up: Column, value: Array) -> Any:  # noqa: ANN401
    """The mean value of each pair of words, or of words and intervals of numbers."""
    (column, columns), (row, rows) = intervals(across), intervals(up)
    shape = (len(rows), len(columns))
    cell = row * shape[1] + column
    count = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    total = np.bincount(cell, value, minlength=shape[0] * shape[1]).reshape(shape)
    mean = np.ma.masked_where(count == 0, total / np.maximum(count, 1))
    low, high = _range(mean.compressed())
    image = ax.imshow(mean, cmap=SHADES, vmin=low, vmax=high, aspect="auto", origin="lower")
    is_tight = max(map(len, columns)) > 40 / len(columns)
    turn: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if is_tight else {}
    every = [-(-size // 20) for size in shape]
    ax.set_xticks(range(0, shape[1], every[1]), columns[:: every[1]], **turn)
    ax.set_yticks(range(0, shape[0], every[0]), rows[:: every[0]])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if max(shape) <= 8:
        _write_cells(ax, mean, count, (low + high) / 2)
    return image


def _write_cells(ax: Axes, mean: Any, count: np.ndarray, middle: float) -> None:  # noqa: ANN401
    for (i, j), number in np.ndenumerate(count):
        if number:
            colour = "white" if mean[i, j] > middle else "#262626"
            text = f"{mean[i, j]:.2f}\n{_trials(int(number))}".replace("-", "−")
            ax.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)


def _note(ax: Axes, text: str) -> None:
    """Add a line above the axes, on the right."""
    ax.set_title(f"{ax.get_title(loc='right')}\n{text}".strip(), loc="right", fontsize=8.5)


def _trials(number: int) -> str:
    return f"{number} trial{'s' if number != 1 else ''}"
