"""Figures of data that are not images, next to samples of the model.

In one dimension, there are two histograms with the same bins, as densities, and the exact density
if it is known. In two dimensions, data and samples are drawn side by side with the same limits. In
more dimensions, the first few are drawn in pairs, with histograms on the diagonal. `compare`
chooses between these figures. Data are grey and samples blue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.checks import whole
from pyrovae.errors import InputError
from pyrovae.numerics import Array
from pyrovae.plots.style import (
    COLOURS,
    OUTSIDE,
    WIDTH,
    Axes,
    canvas,
    dot_handles,
    dots,
    evaluate,
    matrix,
    panels,
)

__all__ = ["compare", "samples_1d", "scatter_2d"]

LIGHT = "#b8b8b8"  # data behind samples
NAMES = {"data": LIGHT, "samples": COLOURS["model"]}


def samples_1d(
    x: ArrayLike,
    samples: ArrayLike,
    density: Callable[[Array], ArrayLike] | None = None,
    *,
    bins: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Histograms of data and samples on common bins, each of area one.

    Args:
        x: data, (N,) or (N, 1).
        samples: samples of the model, (M,) or (M, 1).
        density: the exact log density at points (G, 1), nats, drawn as a curve.
        bins: the number of bins; by default about the square root of the smaller count, from 10 to
            80.

    Raises:
        InputError: for more than one dimension, NaN, or a density that returns a wrong shape.

    Example:
        >>> ax = samples_1d([0.0, 1.0, 2.0], [0.0, 1.0, 1.0], bins=2)
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['data', 'samples']
    """
    x, samples = matrix(x, "x", 1), matrix(samples, "samples", 1)
    with canvas(ax) as ax:
        edges = _histograms(ax, x[:, 0], samples[:, 0], bins)
        if density is not None:
            grid = np.linspace(edges[0], edges[-1], 501)
            p = np.exp(evaluate(density, grid[:, None]))
            ax.plot(grid, p, color=COLOURS["warning"], linewidth=1.1, label="exact density")
        ax.set(xlabel="$x$", ylabel="density")
        ax.legend(**OUTSIDE)
    return ax


def scatter_2d(x: ArrayLike, samples: ArrayLike, *, overlay: bool = False, ax: Axes | None = None) -> Axes:
    """Data and samples in the plane, with the same limits.

    Args:
        x: data, (N, 2).
        samples: samples of the model, (M, 2).
        overlay: draw the samples over the data in one panel, instead of side by side.

    Returns:
        The axes; side by side, a frame whose panels are `ax.child_axes` (data, samples).

    Raises:
        InputError: if there are not two dimensions, or a value is NaN.

    Example:
        >>> ax = scatter_2d([[0, 0], [1, 1]], [[0, 1], [1, 0]])
        >>> [panel.get_title() for panel in ax.child_axes]
        ['data', 'samples']
    """
    x, samples = matrix(x, "x", 2), matrix(samples, "samples", 2)
    if overlay:
        with canvas(ax, height=4.2, width=5.2) as ax:
            _both_clouds(ax, x, samples)
            _set_limits([ax], x, samples)
            ax.legend(handles=dot_handles(NAMES, 4.5), handletextpad=0.1, **OUTSIDE)
            ax.set_ylabel("$x_2$")
        return ax
    with canvas(ax, height=3.2) as ax:
        left, right = panels(ax, (0.0, 0.0, 0.48, 1.0), (0.52, 0.0, 0.48, 1.0))
        for panel, points, name, colour in ((left, x, "data", "data"), (right, samples, "samples", "model")):
            panel.scatter(*points.T, color=COLOURS[colour], alpha=0.5, **_look(len(points)))
            panel.set_title(name)
        _set_limits([left, right], x, samples)
        left.set_ylabel("$x_2$")
        right.tick_params(labelleft=False)
    return ax


def compare(
    x: ArrayLike,
    samples: ArrayLike,
    density: Callable[[Array], ArrayLike] | None = None,
    *,
    dims: int = 4,
    ax: Axes | None = None,
) -> Axes:
    """Data and samples of any dimension: `samples_1d`, `scatter_2d`, or pairs of the first `dims`.

    Args:
        x: data, (N,) or (N, D).
        samples: samples of the model, (M,) or (M, D).
        density: the exact log density at points (G, 1); used only if D = 1.
        dims: the number of first dimensions to draw in pairs if D > 2.

    Returns:
        The axes; with several panels, a frame that has them in `ax.child_axes`.

    Raises:
        InputError: for images (see `image_grid`) or NaN, if dimensions differ, or dims is below 2.

    Example:
        >>> x = np.arange(30.0).reshape(10, 3)
        >>> len(compare(x, x).child_axes)  # three histograms and three pairs
        6
    """
    x, samples = matrix(x, "x"), matrix(samples, "samples")
    if x.shape[1] != samples.shape[1]:
        raise InputError(f"samples have {samples.shape[1]} dimensions but x has {x.shape[1]}; give the same")
    dims = whole("dims", dims, 2)
    if x.shape[1] == 1:
        return samples_1d(x, samples, density, ax=ax)
    if x.shape[1] == 2:
        return scatter_2d(x, samples, ax=ax)
    return _pairs(x[:, :dims], samples[:, :dims], ax)


def _pairs(x: Array, samples: Array, ax: Axes | None) -> Axes:
    D = x.shape[1]
    size = 1.0 / D
    ranges = _ranges(x, samples)
    with canvas(ax, height=1.4 * D, width=min(WIDTH, 1.5 * D + 0.6)) as ax:
        for row in range(D):
            for column in range(row + 1):
                (panel,) = panels(ax, (column * size, 1 - (row + 1) * size, 0.88 * size, 0.88 * size))
                if row == column:
                    _histograms(panel, x[:, row], samples[:, row], None)
                    panel.set_yticks([])
                else:
                    _both_clouds(panel, x[:, [column, row]], samples[:, [column, row]])
                    panel.set_ylim(ranges[row])
                panel.set_xlim(ranges[column])
                _outer_labels(panel, row, column, D)
        ax.legend(handles=dot_handles(NAMES, 4.5), loc="upper right", handletextpad=0.1)
    return ax


def _outer_labels(panel: Axes, row: int, column: int, D: int) -> None:
    """Draw ticks and names only at the left and at the bottom of the matrix."""
    from matplotlib.ticker import MaxNLocator

    for axis in (panel.xaxis, panel.yaxis) if row != column else (panel.xaxis,):
        axis.set_major_locator(MaxNLocator(3))
    panel.tick_params(labelsize=7.5, labelbottom=row == D - 1, labelleft=column == 0 and row > 0)
    if row == D - 1:
        panel.set_xlabel(f"$x_{{{column + 1}}}$")
    if column == 0 and row > 0:
        panel.set_ylabel(f"$x_{{{row + 1}}}$")


def _histograms(ax: Axes, x: Array, samples: Array, bins: int | None) -> Array:
    """Draw both histograms with common edges; returns the edges."""
    if bins is None:
        bins = int(np.clip(np.sqrt(min(len(x), len(samples))), 10, 80))
    edges = np.histogram_bin_edges(np.concatenate([x, samples]), bins=bins)
    ax.hist(x, list(edges), density=True, color=LIGHT, label="data")
    look: dict[str, Any] = {"histtype": "step", "color": COLOURS["model"], "linewidth": 1.4}
    ax.hist(samples, list(edges), density=True, label="samples", **look)
    return edges


def _both_clouds(ax: Axes, x: Array, samples: Array) -> None:
    """Draw both clouds in random order; otherwise the second would hide the first."""
    points = np.concatenate([x, samples])
    colours = np.array([LIGHT] * len(x) + [COLOURS["model"]] * len(samples))
    order = np.random.default_rng(0).permutation(len(points))
    ax.scatter(points[order, 0], points[order, 1], c=colours[order], alpha=0.7, **_look(len(points)))


def _look(count: int) -> dict[str, Any]:
    return dots(count, 6000, 1.5, 14)


def _ranges(x: Array, samples: Array) -> list[tuple[float, float]]:
    """The common limits of each dimension."""
    low = np.minimum(x.min(axis=0), samples.min(axis=0))
    high = np.maximum(x.max(axis=0), samples.max(axis=0))
    room = np.where(high > low, 0.04 * (high - low), 0.5)
    return list(zip(low - room, high + room, strict=True))


def _set_limits(axes: list[Axes], x: Array, samples: Array) -> None:
    first, second = _ranges(x, samples)
    for ax in axes:
        ax.set(xlim=first, ylim=second, xlabel="$x_1$")
