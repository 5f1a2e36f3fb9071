"""Figures of bandits: pulls of each arm, rewards over time, reconstructions, regret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.errors import InputError
from pyrovae.numerics import numbers
from pyrovae.plots.images import as_images, mosaic_of
from pyrovae.plots.style import CLASSES, COLOURS, Axes, canvas, label_ends, style

__all__ = ["arm_images", "arm_pulls", "arm_rewards", "regret_curve"]


def arm_pulls(names: Sequence[str], arm: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """The number of pulls of each arm, as bars.

    Args:
        names: the names of K arms.
        arm: the arm of each pull, (t,), from 0 to K - 1.

    Example:
        >>> ax = arm_pulls(["dense", "convolutions"], [0, 1, 1])
        >>> [int(bar.get_width()) for bar in ax.patches]
        [1, 2]
    """
    from matplotlib.ticker import MaxNLocator

    counts = np.bincount(_arms(names, arm), minlength=len(names))
    with canvas(ax, height=0.6 + 0.28 * len(names)) as ax:
        bars = ax.barh(range(len(names)), counts, color=_colours(names), height=0.7)
        ax.bar_label(bars, padding=3)
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
        ax.set_xlabel("pulls")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def arm_rewards(
    names: Sequence[str],
    arm: ArrayLike,
    reward: ArrayLike,
    *,
    unit: str = "reward",
    ax: Axes | None = None,
) -> Axes:
    """The reward of each pull over the number of the pull, a line for each arm.

    The vertical range leaves out the first pull of each arm, if there are three or more, whose
    steep rise would flatten the rest.

    Args:
        names: the names of K arms.
        arm: the arm of each pull, (t,), from 0 to K - 1.
        reward: the reward of each pull, (t,); one that is not finite is marked with a cross.
        unit: the label of the vertical axis.

    Example:
        >>> ax = arm_rewards(["dense", "convolutions"], [0, 1, 1], [-9.0, -12.0, -8.0])
        >>> [line.get_label() for line in ax.lines[:2]]
        ['dense', 'convolutions']
    """
    arm, reward = _arms(names, arm), numbers(reward, "reward", ("t",), finite=False)
    pull, ends, late = np.arange(1, len(arm) + 1), [], []
    with canvas(ax, height=3.4) as ax:
        for number, (name, colour) in enumerate(zip(names, _colours(names), strict=True)):
            mine = (arm == number) & np.isfinite(reward)
            if mine.any():
                ax.plot(pull[mine], reward[mine], "o-", color=colour, label=name, markersize=3.5)
                late += list(reward[mine][1:] if mine.sum() > 2 else reward[mine])
                ends.append((f"{name} ({mine.sum()})", float(reward[mine][-1]), colour))
        if late:
            room = 0.06 * float(np.ptp(late)) or 0.5
            ax.set_ylim(min(late) - room, max(late) + room)
        ax.set_xlim(0.5, max(len(arm), 1) + 0.5)
        failed = pull[~np.isfinite(reward)]
        ax.plot(
            failed, [0.03] * len(failed), "x", color=COLOURS["warning"], transform=ax.get_xaxis_transform()
        )
        ax.set(xlabel="pull", ylabel=unit)
        label_ends(ax, ends, gap=0.07)
    return ax


def arm_images(x: ArrayLike, images: Mapping[str, ArrayLike], *, ax: Axes | None = None) -> Axes:
    """Images in the first row, and their reconstructions by each arm below.

    Args:
        x: the images, (N, C, H, W) or (N, H, W).
        images: name -> reconstructions, the same shape.

    Raises:
        InputError: if shapes differ or are not those of images.

    Example:
        >>> x = np.zeros((3, 8, 8))
        >>> ax = arm_images(x, {"dense": x, "convolutions": x})
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['original', 'dense', 'convolutions']
    """
    rows = {"original": as_images(x, "x")}
    for name, value in images.items():
        rows[name] = as_images(value, name)
        if rows[name].shape != rows["original"].shape:
            raise InputError(
                f"{name} has images of shape {rows[name].shape}, x of {rows['original'].shape}: give one "
                "reconstruction for each image"
            )
    with style():
        width = 0.2 + 0.1 * max(map(len, rows))
        ax, centres, _ = mosaic_of(
            np.concatenate(list(rows.values())), len(rows["original"]), ax, label_width=width
        )
        ax.set_yticks(centres, list(rows))
    return ax


def regret_curve(
    pull: ArrayLike,
    regret: Mapping[str, ArrayLike],
    *,
    marks: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The regret after each pull: the mean over repetitions.

    Of one or two policies, each repetition is a thin line.

    Args:
        pull: the numbers of the pulls, (t,).
        regret: name of a policy -> regret of R repetitions, (R, t), in nats.
        marks: label -> number of pulls, drawn as vertical lines.

    Example:
        >>> ax = regret_curve([1, 2, 3], {"ucb": [[3.0, 1.0, 0.0], [4.0, 2.0, 0.0]]})
        >>> ax.lines[-1].get_ydata().tolist()
        [3.5, 1.5, 0.0]
    """
    pull = numbers(pull, "pull", ("t",))
    colours = [COLOURS[name] for name in ("model", "warning", "other", "data")]
    with canvas(ax, height=3.2) as ax:
        for name, colour in zip(regret, colours * len(regret), strict=False):
            values = numbers(regret[name], f"the regret of {name}", ("R", len(pull)), finite=False)
            for own in values if 1 < len(values) and len(regret) < 3 else ():
                ax.plot(pull, own, color=colour, linewidth=0.6, alpha=0.35)
            ax.plot(pull, np.nanmean(values, 0), color=colour, label=name)
        for label, where in (marks or {}).items():
            ax.axvline(where, color=COLOURS["data"], linewidth=0.7, linestyle=":")
            ax.text(where, 0.98, f" {label}", transform=ax.get_xaxis_transform(), va="top", fontsize=8.5)
        ax.set_ylim(bottom=0.0)
        ax.set(xlabel="pull", ylabel="regret of the chosen arm, nats")
        if any(regret):
            ax.legend()
    return ax


def _arms(names: Sequence[str], arm: ArrayLike) -> np.ndarray:
    arms = np.asarray(arm, dtype=int)
    if arms.ndim != 1 or (len(arms) and not 0 <= arms.min() <= arms.max() < len(names)):
        raise InputError(f"arm must be numbers from 0 to {len(names) - 1}, one for each pull")
    return arms


def _colours(names: Sequence[str]) -> list[str]:
    return [CLASSES[number % len(CLASSES)] for number in range(len(names))]
