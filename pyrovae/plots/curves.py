"""Training curves: the bound and its two terms over the epochs, in nats per observation.

    bound = reconstruction - KL,   E_q[log p(x|z)] - KL(q(z|x) || p(z))

An objective that is not a bound has its own curve, if it chooses the weights.
The reconstruction is above the bound in the same panel, and the gap between them is the KL. It is
small compared with either, so it has its own panel below.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.errors import InputError
from pyrovae.numerics import Array, numbers
from pyrovae.plots.style import COLOURS, Axes, canvas, label_ends, panels

__all__ = ["training_curves"]

Curves = dict[str, Array]

# name in the history -> colour and line style
_LINES = {
    "train": (COLOURS["data"], "-"),
    "validation": (COLOURS["model"], "-"),
    "objective": (COLOURS["model"], "--"),
    "reconstruction": (COLOURS["other"], "-"),
}
_DIVERGENCES = {"kl": ("KL", COLOURS["warning"]), "global_kl": ("global KL", COLOURS["data"])}


def training_curves(
    history: Mapping[str, ArrayLike], *, best: int | None = None, ax: Axes | None = None
) -> Axes:
    """The bound in training and validation, the reconstruction, and below them the KL.

    With ten epochs or more, the vertical range leaves out the first twentieth of the training,
    whose steep rise would flatten the rest. The curves themselves are complete.

    Args:
        history: name -> array (E,), nats per observation; "epoch" and "train" (the bound) are
            required; "validation", "objective" (on the validation set, if it is not the bound),
            "reconstruction" (log p(x|z)), "kl" and "global_kl" (of variables that all rows share)
            are optional. NaN marks a value that was not measured.
        best: the epoch of the kept weights, to mark; by default the one with the best objective on
            the validation set or, without it, the highest bound.

    Returns:
        The frame; its panels are `ax.child_axes` (bound, and KL if given).

    Raises:
        InputError: if "epoch" or "train" is missing, or arrays differ in length.

    Example:
        >>> history = {"epoch": [1, 2, 3], "train": [-30.0, -22.0, -21.0], "kl": [1.0, 3.0, 4.0]}
        >>> ax = training_curves(history)
        >>> [panel.get_ylabel() for panel in ax.child_axes]
        ['nats per observation', 'KL, nats']
    """
    curves = _as_curves(history)
    best = _best_epoch(curves) if best is None else best
    with canvas(ax, height=3.8) as ax:
        if "kl" in curves:
            bound, kl = panels(ax, (0.0, 0.38, 1.0, 0.62), (0.0, 0.0, 1.0, 0.3))
            _draw_kl(kl, curves, best)
            bound.tick_params(labelbottom=False)
        else:
            (bound,) = panels(ax, (0.0, 0.0, 1.0, 1.0))
            bound.set_xlabel("epoch")
        _draw_bound(bound, curves, best)
    return ax


def _draw_bound(ax: Axes, curves: Curves, best: int) -> None:
    ends = []
    for name, (colour, line) in _LINES.items():
        if name in curves:
            epoch, value = _measured(curves, name)
            ax.plot(epoch, value, line, color=colour, label=name, marker="o" if len(epoch) == 1 else "")
            ends.append((name, float(value[-1]), colour))
    # An objective may be far from the bound while a weight in it grows.
    _frame(ax, curves, [name for name in _LINES if name in curves and name != "objective"], tail="objective")
    ax.set_ylabel("nats per observation")
    label_ends(ax, ends)
    _mark_best(ax, curves, best)


def _draw_kl(ax: Axes, curves: Curves, best: int) -> None:
    ends, lowest, highest = [], 0.0, 0.0
    for name, (words, colour) in _DIVERGENCES.items():
        if name in curves:
            epoch, value = _measured(curves, name)
            ax.plot(epoch, value, color=colour, label=name, marker="o" if len(epoch) == 1 else "")
            ends.append((words, float(value[-1]), colour))
            lowest = min(lowest, float(value.min()))
            highest = max(highest, float(value.max() if name == "kl" else value[len(value) // 2 :].max()))
    ax.axvline(best, color=COLOURS["data"], linewidth=0.7, linestyle=":", zorder=0)
    _frame(ax, curves, ["kl"])
    ax.set_ylim(lowest, 1.12 * highest or 1.0)
    ax.set(xlabel="epoch", ylabel="KL, nats")
    label_ends(ax, ends)


def _mark_best(ax: Axes, curves: Curves, best: int) -> None:
    ax.axvline(best, color=COLOURS["data"], linewidth=0.7, linestyle=":", zorder=0)
    name = _chooser(curves)
    epoch, value = _measured(curves, name)
    here = value[epoch == best]
    what = "objective" if name == "objective" else "bound"
    note = f"best {what}, epoch {best}" if best == _best_epoch(curves) else f"kept epoch {best}"
    if len(here):
        ax.plot(best, here[-1], "o", color=_LINES[name][0], markersize=4.5, label="best")
        note += f": {here[-1]:.2f}"
    left, right = ax.get_xlim()
    late = best > (left + right) / 2
    ax.annotate(
        note.replace("-", "−"),
        (best, 0.03),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if late else 4, 0),
        textcoords="offset points",
        ha="right" if late else "left",
        va="bottom",
        fontsize=8.5,
    )


def _frame(ax: Axes, curves: Curves, names: list[str], tail: str = "") -> None:
    """Set the limits: all epochs; vertically, the values after the first rise.

    Of the curve `tail` only the second half must be inside.
    """
    from matplotlib.ticker import MaxNLocator

    epoch = curves["epoch"]
    ax.set_xlim(epoch.min() - 0.5, epoch.max() + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    skipped = max(1, len(epoch) // 20) if len(epoch) >= 10 else 0
    late = curves.get(tail, epoch[:0])
    shown = np.concatenate([*(curves[name][skipped:] for name in names), late[len(late) // 2 :]])
    shown = shown[np.isfinite(shown)]
    if len(shown):
        room = 0.08 * float(np.ptp(shown)) or 0.5
        # more room below, for the label of the best epoch
        ax.set_ylim(shown.min() - (2 * room if "train" in names else room), shown.max() + room)


def _as_curves(history: Mapping[str, ArrayLike]) -> Curves:
    """The known curves with at least one measured value, all of the length of "epoch"."""
    missing = [name for name in ("epoch", "train") if name not in history]
    if missing:
        raise InputError(
            f"the history has no {missing[0]!r} but {sorted(history)}; give at least 'epoch' and 'train'"
        )
    epoch = numbers(history["epoch"], "history['epoch']", ("E",))
    curves = {"epoch": epoch}
    for name in (*_LINES, *_DIVERGENCES):
        if name not in history:
            continue
        values = numbers(history[name], f"history[{name!r}]", epoch.shape, finite=False)
        if np.isfinite(values).any():
            curves[name] = values
    if "train" not in curves:
        raise InputError("history['train'] has no finite value; give the bound in nats per observation")
    return curves


def _measured(curves: Curves, name: str) -> tuple[Array, Array]:
    measured = np.isfinite(curves[name])
    return curves["epoch"][measured], curves[name][measured]


def _best_epoch(curves: Curves) -> int:
    epoch, value = _measured(curves, _chooser(curves))
    return int(epoch[value.argmax()])


def _chooser(curves: Curves) -> str:
    """The name of the curve that chooses the weights."""
    return next(name for name in ("objective", "validation", "train") if name in curves)
