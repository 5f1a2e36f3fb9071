"""Figures of a search: the value of each trial over time, its learning curve, and importances.

- `search_history`: the value of each trial and the best so far
- `search_curves`: the value of each trial over its epochs
- `search_importance`: the share of each hyperparameter in the variance of the value

Values are in nats per observation and larger is better. Complete trials are blue, pruned trials
grey, failed trials vermilion crosses, and the best trial is green. A trial that is far worse than
the others is a triangle at the lower edge; the legend counts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.errors import InputError
from pyrovae.numerics import Array, numbers
from pyrovae.plots.style import COLOURS, WIDTH, Axes, canvas
from pyrovae.plots.trials import STATES, Trials, low_fence, shorten, trials_of

__all__ = [
    "BEST",
    "PRUNED",
    "VALUE",
    "above_legend",
    "frame_of",
    "scatter_trials",
    "search_curves",
    "search_history",
    "search_importance",
]

BEST, PRUNED = COLOURS["other"], "#a6a6a6"
VALUE = "validation bound, nats per observation"  # the default label


def search_history(
    values: ArrayLike, states: Sequence[str] | None = None, *, label: str = VALUE, ax: Axes | None = None
) -> Axes:
    """The value of each trial in the order of the search, and the best complete trial so far.

    Args:
        values: the value of each trial, (N,), nats per observation; NaN for none. The value of a
            pruned trial is its last.
        states: "complete", "pruned", "failed" or "running" for each trial; without them, trials
            with a value are complete.
        label: what the value is.

    Raises:
        InputError: if lengths differ, or no trial has a value.

    Example:
        >>> ax = search_history([-21.0, -19.5, -20.0])
        >>> ax.lines[0].get_ydata().tolist()
        [-21.0, -19.5, -19.5]
    """
    trials = trials_of(values, states)
    at = np.arange(len(trials.values), dtype=float)
    with canvas(ax) as ax:
        ax.set(xlabel="trial", ylabel=label, ylim=frame_of(trials), xlim=_room(at))
        if trials.best is not None:
            so_far = np.maximum.accumulate(np.where(trials.complete, trials.values, -np.inf))
            so_far = np.where(np.isfinite(so_far), so_far, np.nan)
            ax.plot(
                at, so_far, color=BEST, drawstyle="steps-post", linewidth=1.2, label="best so far", zorder=1
            )
        scatter_trials(ax, at, trials)
        _whole_ticks(ax)
        above_legend(ax)
    return ax


def search_curves(
    curves: Mapping[Any, Mapping[int, float] | ArrayLike],
    states: Sequence[str] | None = None,
    *,
    best: object = None,
    label: str = VALUE,
    ax: Axes | None = None,
) -> Axes:
    """The value of each trial over its epochs; pruned trials end early.

    The vertical range leaves out the first, steep part of the curves.

    Args:
        curves: trial -> values after epochs 1, 2, ..., (E,), or a mapping from the epoch to the
            value, nats per observation. Trials without a value are left out.
        states: "complete", "pruned", "failed" or "running" for each trial; complete by default.
        best: the trial to highlight, by default the complete one with the largest last value.
        label: what the value is.

    Raises:
        InputError: if lengths differ, `best` is not a trial with values, or no trial has a value.

    Example:
        >>> ax = search_curves({0: [-30.0, -21.0], 1: {1: -40.0}}, ["complete", "pruned"])
        >>> [len(line.get_xdata()) for line in ax.lines]
        [1, 2]
    """
    paths = {name: _path(name, curve) for name, curve in curves.items()}
    last = [path[-1, 1] if len(path) else np.nan for path in paths.values()]
    if states is None:
        states = ["complete" if len(path) else "failed" for path in paths.values()]
    # a trial that failed or is running has a curve
    words = [word if word in ("complete", "pruned") or word not in STATES else "pruned" for word in states]
    trials = trials_of(np.array(last), words)
    names = list(paths)
    if best is not None and (best not in paths or not len(paths[best])):
        raise InputError(f"best is {best!r}, which is not a trial with values: give a key of curves")
    first = names.index(best) if best is not None else trials.best
    with canvas(ax) as ax:
        ax.set(xlabel="epoch", ylabel=label, ylim=_curve_limits(list(paths.values()), list(states), trials))
        _draw_curves(ax, list(paths.values()), list(states), first)
        _whole_ticks(ax)
        if first is not None:
            name = f"best (trial {shorten(str(names[first]), 20)})"
            epochs, value = paths[names[first]].T
            ax.plot(epochs, value, color=BEST, linewidth=1.8, zorder=3, label=name)
            ax.scatter(epochs[-1], value[-1], s=20, color=BEST, linewidths=0, zorder=4)
        above_legend(ax, columns=2)
    return ax


def search_importance(
    names: Sequence[str],
    shares: ArrayLike,
    errors: ArrayLike | None = None,
    *,
    label: str = "share of the variance of the value",
    ax: Axes | None = None,
) -> Axes:
    """The importance of each hyperparameter as a bar, the largest on top.

    Args:
        names: the hyperparameters, (P,).
        shares: their shares, (P,), from 0 to 1.
        errors: standard errors of the shares, (P,).
        label: what the shares are of.

    Raises:
        InputError: if lengths differ, or a share is NaN or below 0.

    Example:
        >>> ax = search_importance(["lr", "prior"], [0.2, 0.8])
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['prior', 'lr']
    """
    share = numbers(shares, "shares", (len(names),))
    if share.min() < 0:
        raise InputError(f"a share is {share.min():.3g}: give shares of 0 or above")
    error = None if errors is None else numbers(errors, "errors", (len(names),))
    order = np.argsort(-share, kind="stable")
    at = np.arange(len(names))
    with canvas(ax, height=0.9 + 0.24 * len(names), width=WIDTH) as ax:
        ax.barh(at, share[order], height=0.7, color=COLOURS["model"])
        ends = share[order] if error is None else share[order] + error[order]
        if error is not None:
            look: dict[str, Any] = {"color": COLOURS["data"], "linewidth": 1.0, "zorder": 3}
            ax.hlines(at, np.maximum(share[order] - error[order], 0), ends, **look)
        for place, value, end in zip(at, share[order], ends, strict=True):
            ax.annotate(
                f"{value:.2f}", (end, place), (3, 0), textcoords="offset points", va="center", fontsize=8
            )
        ax.set_yticks(at, [shorten(str(names[j]), 40) for j in order])
        ax.tick_params(axis="y", length=0)
        ax.set(xlabel=label, xlim=(0, 1.15 * max(float(ends.max()), 1e-3)), ylim=(len(names) - 0.4, -0.6))
    return ax


def frame_of(trials: Trials) -> tuple[float, float]:
    """The limits of the values: from the worst trial that is not far below, to the best one.

    Complete trials have at least a third of the height, since pruned trials end early and are often
    much lower.

    Example:
        >>> frame_of(trials_of([-20.0, -19.0, -18.0, -17.0, -4000.0]))
        (-20.45, -16.85)
    """
    values = trials.values[~np.isnan(trials.values)]
    high, low = float(values.max()), _low_of(values)
    if trials.complete.any():
        least = _low_of(trials.values[trials.complete])
        low = min(least, max(low, high - 3 * (high - least)))
    span = (high - low) or 1.0
    return low - 0.15 * span, high + 0.05 * span


def scatter_trials(ax: Axes, at: Array, trials: Trials) -> None:
    """Draw the trials at horizontal places; those below the frame are at its lower edge.

    The limits of the values must be final. A trial whose place is NaN is not drawn.
    """
    low = ax.get_ylim()[0]
    size = float(np.clip(2400 / len(at), 6.0, 18.0))
    is_shown, is_below = trials.values >= low, trials.values < low
    here = ~np.isnan(at)
    edge: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False, "s": 1.2 * size}

    def draw(mask: np.ndarray, name: str, heights: Array | float, **look: Any) -> None:  # noqa: ANN401
        mask = mask & here
        if mask.any():
            y = np.broadcast_to(heights, mask.shape)[mask]
            ax.scatter(at[mask], y, label=f"{name} ({int(mask.sum())})", **look)

    filled: dict[str, Any] = {"s": size, "color": COLOURS["model"], "linewidths": 0, "zorder": 2.5}
    hollow: dict[str, Any] = {
        "s": size,
        "facecolors": "none",
        "edgecolors": PRUNED,
        "linewidths": 0.8,
        "zorder": 2,
    }
    draw(trials.complete & is_shown, "complete", trials.values, **filled)
    draw(trials.pruned & ~is_below, "pruned", np.where(is_shown, trials.values, low), **hollow)
    below: dict[str, Any] = {"marker": "v", "linewidths": 0, **edge}
    draw(trials.failed, "failed", 0.055, color=COLOURS["warning"], marker="x", linewidths=0.9, **edge)
    draw(trials.complete & is_below, "far below", 0.015, color=COLOURS["data"], zorder=2.2, **below)
    draw(trials.pruned & is_below, "pruned far below", 0.015, color=PRUNED, **below)
    if trials.best is not None and here[trials.best]:
        best = trials.best
        look: dict[str, Any] = {"s": max(2.2 * size, 20.0), "color": BEST, "linewidths": 0, "zorder": 3}
        ax.scatter(at[best], trials.values[best], label=f"best (trial {best})", **look)


def above_legend(ax: Axes, columns: int = 3, handles: Sequence[Any] | None = None) -> None:
    """A legend above the axes in rows, so that it does not cover trials."""
    given: dict[str, Any] = {} if handles is None else {"handles": list(handles)}
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.3, columnspacing=1.2,
        handletextpad=0.4, borderpad=0, handlelength=1.4, **given,
    )  # fmt: skip


def _low_of(values: Array) -> float:
    """The smallest value that is not far below the others."""
    return float(values[values >= low_fence(values)].min())


def _whole_ticks(ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _room(at: Array) -> tuple[float, float]:
    room = max(0.03 * float(at[-1]), 0.6)
    return -room, float(at[-1]) + room


def _path(name: object, curve: Mapping[int, float] | ArrayLike) -> Array:
    """Epochs and finite values of one trial, (E, 2), in the order of the epochs."""
    if isinstance(curve, Mapping):
        rows = sorted(curve.items())
        path = np.array(rows, dtype=float).reshape(-1, 2)
    else:
        values = np.asarray(curve, dtype=float)
        if values.ndim != 1:
            raise InputError(f"the curve of trial {name} has shape {values.shape}: give one value an epoch")
        path = np.stack([np.arange(1.0, len(values) + 1), values], 1)
    return path[np.isfinite(path[:, 1])]


def _draw_curves(ax: Axes, paths: list[Array], states: list[str], best: int | None) -> None:
    """The curves of all trials but the best; the legend counts those below the frame."""
    low = ax.get_ylim()[0]
    width = float(np.clip(27 / len(paths), 0.4, 0.9))
    looks: dict[str, dict[str, Any]] = {
        "complete": {"color": COLOURS["model"], "alpha": 0.6, "zorder": 2},
        "pruned": {"color": PRUNED, "alpha": 0.8, "zorder": 1.4},
        "failed": {"color": COLOURS["warning"], "zorder": 1.5},
        "running": {"color": COLOURS["model"], "linestyle": ":", "zorder": 1.6},
    }
    for state in STATES:
        here = [i for i, word in enumerate(states) if word == state and len(paths[i])]
        below = sum(bool(paths[i][:, 1].max() < low) for i in here)
        name = f"{state} ({len(here)}{f', {below} below' if below else ''})"
        for i in [i for i in here if i != best]:
            dot: dict[str, Any] = {"marker": "o" if len(paths[i]) == 1 else "", "markersize": 2.5}
            ax.plot(*paths[i].T, label=name, linewidth=width, **dot, **looks[state])
            name = "_"


def _curve_limits(paths: list[Array], states: list[str], trials: Trials) -> tuple[float, float]:
    """The frame of the last values, extended to the last three quarters of the complete curves."""
    low, high = frame_of(trials)
    every = np.concatenate([path[:, 1] for path in paths])
    top = max(high, float(every.max()) + 0.03 * (high - low))
    of = [path for path, state in zip(paths, states, strict=True) if len(path) and state == "complete"]
    late = np.concatenate([path[len(path) // 4 :, 1] for path in of or paths])
    reach = max(low_fence(late), float(late.min()))
    return min(low, reach - 0.03 * (top - reach)), top
