"""Figures of steps in latent space: rows of images, changes of columns, and lines.

- `step_grid`: a row of images for each direction or observation, a column for each step
- `change_table`: how much each element changes along each direction
- `step_lines`: the elements of an observation as a line, one for each step
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.errors import InputError
from pyrovae.numerics import numbers
from pyrovae.plots.images import as_images, mosaic_of
from pyrovae.plots.style import WIDTH, Axes, canvas, panels, style

__all__ = ["FEW", "change_table", "step_grid", "step_lines"]

FEW = 40  # the largest number of elements in a table
NUMBERED = 12  # the largest table in which the numbers are written


def step_grid(
    images: ArrayLike,
    names: Sequence[str],
    steps: Sequence[str],
    *,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A row of images for each name and a column for each step.

    Args:
        images: (R, S, C, H, W) or (R, S, H, W), intensities in [0, 1].
        names: the names of the rows, (R,).
        steps: the names of the columns, (S,).
        label: what the steps are, below the images.

    Raises:
        InputError: if `images` are not images, or names or steps have another length.

    Example:
        >>> ax = step_grid(np.zeros((2, 3, 8, 8)), ["z0", "z1"], ["-1", "0", "+1"])
        >>> [text.get_text() for text in ax.get_xticklabels()]
        ['−1', '0', '+1']
    """
    rows = numbers(images, "images")
    _check(rows, names, steps)
    flat = as_images(rows.reshape(-1, *rows.shape[2:]), "images")
    with style():
        ax, centres, places = mosaic_of(
            flat, rows.shape[1], ax, label_width=0.25 + 0.065 * max(map(len, names))
        )
        ax.set_yticks(centres, list(names))
        ax.set_xticks(places, [step.replace("-", "−") if step[1:2].isdigit() else step for step in steps])
        if label is not None:
            ax.set_xlabel(label)
    return ax


def change_table(
    change: ArrayLike,
    names: Sequence[str],
    columns: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """How much each element changes along each direction, in standard deviations of the element.

    Args:
        change: (R, E).
        names: the names of the directions, (R,).
        columns: the names of the elements, (E,); 0, 1, ... by default.

    Raises:
        InputError: if names or columns have another length.

    Example:
        >>> ax = change_table([[1.0, -2.0]], ["z0"], ["age", "height"])
        >>> [text.get_text() for text in ax.texts]
        ['+1.0', '−2.0']
    """
    table = numbers(change, "change", ("directions", "elements"))
    columns = [str(i) for i in range(table.shape[1])] if columns is None else list(columns)
    _check(table, names, columns)
    most = max(float(np.abs(table).max()), 1e-12)
    with canvas(ax, height=1.4 + 0.3 * len(table), width=WIDTH) as ax:
        image = ax.imshow(table, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
        ax.set_yticks(np.arange(len(table)), list(names))
        slanted: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        is_tight = max(map(len, columns)) > 40 / len(columns)
        every = 1 if is_tight and not columns[0].isdigit() else -(-len(columns) // 20)
        turn = slanted if is_tight and every == 1 else {}
        ax.set_xticks(np.arange(0, len(columns), every), columns[::every], **turn)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        if table.shape[1] <= NUMBERED:
            for (i, j), value in np.ndenumerate(table):
                colour = "white" if abs(value) > 0.6 * most else "#262626"
                text = f"{value:+.1f}".replace("-", "−")
                ax.text(j, i, text, ha="center", va="center", fontsize=7.5, color=colour)
        bar = ax.figure.colorbar(image, ax=ax, label="change, sd")
        bar.outline.set_visible(False)  # type: ignore[operator]
    return ax


def step_lines(values: ArrayLike, names: Sequence[str], by: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """The elements of an observation as a line for each step, and a panel for each direction.

    Args:
        values: (R, S, E).
        names: the names of the directions, (R,).
        by: the steps, (S,), for the colours.

    Returns:
        The frame, whose panels are `ax.child_axes`.

    Raises:
        InputError: if names or steps have another length.

    Example:
        >>> ax = step_lines(np.zeros((2, 3, 50)), ["z0", "z1"], [-1.0, 0.0, 1.0])
        >>> len(ax.child_axes), len(ax.child_axes[0].lines)
        (2, 3)
    """
    import matplotlib

    lines, strengths = (
        numbers(values, "values", ("directions", "steps", "elements")),
        numbers(by, "by", ("S",)),
    )
    _check(lines, names, [str(b) for b in strengths])
    colours = matplotlib.colormaps["coolwarm"](np.linspace(0, 1, len(strengths)))
    tall = 1 / len(lines)
    with canvas(ax, height=0.6 + 1.1 * len(lines)) as ax:
        places = [(0.0, 1 - (i + 1) * tall, 1.0, 0.85 * tall) for i in range(len(lines))]
        every = panels(ax, *places)
        for panel, name, of_steps in zip(every, names, lines, strict=True):
            for line, colour, strength in zip(of_steps, colours, strengths, strict=True):
                panel.plot(line, color=colour, linewidth=1.0, label=f"{strength:+g} sd")
            panel.set_ylabel(name, rotation=0, ha="right")
            panel.set_xticks([])
        every[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        every[-1].set_xlabel("element")
    return ax


def _check(table: np.ndarray, names: Sequence[str], steps: Sequence[str]) -> None:
    if table.shape[:2] != (len(names), len(steps)):
        raise InputError(
            f"there are {len(names)} names and {len(steps)} steps for an array of shape {table.shape}: give "
            "one for each row and one for each column"
        )
