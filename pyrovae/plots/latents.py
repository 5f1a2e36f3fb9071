"""Figures of the latent space: the encoded data, in front of the prior.

Two-dimensional latents are drawn directly. More dimensions are reduced to two principal components,
with the explained variance on the axes. One dimension is drawn as a histogram.

A density is drawn as its highest-density regions: the region of mass m is the smallest set that
contains the share m of the mass inside the limits, {z : p(z) >= t} for some t. Unlike contours at
fixed values of p, these regions have the same meaning for a standard normal and for a peaked
mixture.

Reference:
    Hyndman, Computing and graphing highest density regions, 1996, https://doi.org/10.2307/2684423
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrovae.errors import InputError
from pyrovae.numerics import Array, as_array
from pyrovae.plots.style import (
    CLASSES,
    COLOURS,
    OUTSIDE,
    Axes,
    Square,
    canvas,
    dot_handles,
    dots,
    evaluate,
    matrix,
    square,
)

__all__ = ["GREYS", "LogDensity", "draw_density", "draw_plane", "latent_scatter", "prior_density"]

REGIONS = (0.99, 0.9, 0.7, 0.5, 0.3, 0.1)
# A colour map, and the part of it from the outermost to the innermost region.
Shades = tuple[str, float, float]
BLUES, GREYS = ("Blues", 0.08, 0.55), ("Greys", 0.05, 0.32)
LogDensity = Callable[[Array], ArrayLike]
Limits = tuple[float, float] | Square


def latent_scatter(
    z: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    density: LogDensity | None = None,
    explained: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Latents as a scatter plot, of two principal components if D > 2, or a histogram if D = 1.

    Args:
        z: latents, (N, D) or (N,).
        labels: one class or number for each, (N,); up to ten classes get a legend, more numbers a
            colour bar.
        density: log p(z) of points (M, 2), drawn in the background; used only if D = 2.
        explained: write each component's share of the variance on its axis, if D > 2.

    Raises:
        InputError: if z is not a matrix or contains NaN, or labels have another length.

    Example:
        >>> z = np.array([[3.0, 0.0, 0.0], [-3.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
        >>> latent_scatter(z, labels=[0, 0, 1, 1]).get_xlabel()
        'component 1 (90 % of variance)'
    """
    z = matrix(z, "z")
    groups = None if labels is None else _as_labels(labels, len(z))
    D = z.shape[1]
    if D == 1:
        return _histogram(z[:, 0], groups, ax)
    with canvas(ax, height=4.4, width=5.4) as ax:
        names = ["$z_1$", "$z_2$"]
        if D > 2:
            z, names = _principal(z, explained=explained)
        _scatter(ax, z, groups)
        limits = square(z.min(axis=0), z.max(axis=0), 0.55)
        if density is not None and D == 2:
            draw_density(ax, density, limits, shades=GREYS, line="#b0b0b0")
        draw_plane(ax, limits, names)
    return ax


def prior_density(log_prob: LogDensity, limits: Limits = (-4.0, 4.0), *, ax: Axes | None = None) -> Axes:
    """A two-dimensional density as its highest-density regions.

    Args:
        log_prob: log p(z) of points (M, 2), nats.
        limits: (low, high) for both coordinates, or one such pair for each.

    Raises:
        InputError: if limits do not ascend, or the log density has a wrong shape, NaN, or no mass
            inside the limits.

    Example:
        >>> ax = prior_density(lambda z: -0.5 * (z**2).sum(-1), limits=(-5, 5))
        >>> levels = ax.collections[0].levels  # of exp(-r^2 / 2): a region of mass m ends at 1 - m
        >>> bool(np.allclose(levels[:-1], 1 - np.array(REGIONS), atol=0.01))
        True
    """
    pairs = _as_limits(limits)
    with canvas(ax, height=3.9, width=5.2) as ax:
        filled = draw_density(ax, log_prob, pairs, shades=BLUES, line=COLOURS["data"])
        draw_plane(ax, pairs, ["$z_1$", "$z_2$"])
        _region_legend(ax, filled)
    return ax


def draw_density(
    ax: Axes,
    log_prob: LogDensity,
    limits: Square,
    *,
    shades: Shades,
    line: str | None = None,
    side: int = 201,
) -> list[tuple[float, str]]:
    """Fill the highest-density regions; returns (mass, colour) of each region drawn."""
    import matplotlib

    first, second = np.linspace(*limits[0], side), np.linspace(*limits[1], side)
    grid = np.stack(np.meshgrid(first, second), axis=-1)
    log_p = evaluate(log_prob, grid.reshape(-1, 2)).reshape(side, side)
    p = np.exp(log_p - log_p.max())
    levels, masses = _region_levels(p)
    colours = matplotlib.colormaps[shades[0]](np.linspace(*shades[1:], len(levels)))
    ax.contourf(first, second, p, levels=[*levels, 1.0 + 1e-9], colors=colours, zorder=0)
    if line is not None:
        ax.contour(first, second, p, levels=levels, colors=line, linewidths=0.4, zorder=0.5)
    return list(zip(masses, map(matplotlib.colors.to_hex, colours), strict=True))


def draw_plane(ax: Axes, limits: Square, names: Sequence[str]) -> None:
    """Set limits and names of two axes with the same scale."""
    ax.set(xlim=limits[0], ylim=limits[1], xlabel=names[0], ylabel=names[1], aspect="equal")
    # If the plane were centred, a legend on its right would move the labels out of the figure.
    ax.set_anchor("W")


def _region_levels(p: Array) -> tuple[Array, list[float]]:
    """Ascending, distinct thresholds of p whose regions have the shares REGIONS of the mass."""
    descending = np.sort(p, axis=None)[::-1]
    share = np.cumsum(descending) / descending.sum()
    mass_of: dict[float, float] = {}
    for mass in REGIONS:
        # a plateau belongs to the largest region that it reaches
        mass_of.setdefault(float(descending[np.searchsorted(share, mass)]), mass)
    levels = np.array(sorted(mass_of))
    return levels, [mass_of[level] for level in levels]


def _region_legend(ax: Axes, filled: list[tuple[float, str]]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, label=f"{100 * mass:.0f} %") for mass, colour in filled]
    ax.legend(handles=handles[::-1], title="share of mass", **OUTSIDE)


def _scatter(ax: Axes, z: Array, groups: NDArray | None) -> None:
    from matplotlib.cm import ScalarMappable

    look: dict[str, Any] = dots(len(z), 12000, 3, 18) | {"alpha": 0.75}
    if groups is None:
        ax.scatter(z[:, 0], z[:, 1], color=COLOURS["model"], **look)
        return
    classes, index = np.unique(groups, return_inverse=True)
    if len(classes) <= len(CLASSES):
        ax.scatter(z[:, 0], z[:, 1], c=[CLASSES[i] for i in index], **look)
        _class_legend(ax, classes)
    else:
        points = ax.scatter(z[:, 0], z[:, 1], c=groups.astype(float), cmap="viridis", **look)
        opaque = ScalarMappable(points.norm, points.cmap)
        bar = ax.figure.colorbar(opaque, ax=ax, label="label", shrink=0.8)
        bar.outline.set_visible(False)


def _class_legend(ax: Axes, classes: NDArray) -> None:
    colours = dict(zip(map(str, classes), CLASSES, strict=False))
    ax.legend(handles=dot_handles(colours, 5), title="label", handletextpad=0.1, **OUTSIDE)


def _histogram(z: Array, groups: NDArray | None, ax: Axes | None) -> Axes:
    edges = list(np.histogram_bin_edges(z, bins=min(60, max(10, int(np.sqrt(len(z)))))))
    classes = np.unique([] if groups is None else groups)
    with canvas(ax) as ax:
        if 0 < len(classes) <= len(CLASSES):
            for name, colour in zip(classes, CLASSES, strict=False):
                ax.hist(z[groups == name], edges, histtype="step", color=colour, linewidth=1.4)
            _class_legend(ax, classes)
        else:
            ax.hist(z, edges, color=COLOURS["model"])
        ax.set(xlabel="$z$", ylabel="observations per bin")
    return ax


def _principal(z: Array, *, explained: bool) -> tuple[Array, list[str]]:
    """The first two principal components of the latents, and their names."""
    if len(z) < 2:
        raise InputError(f"z has 1 row of dimension {z.shape[1]}; principal components need at least 2 rows")
    if not np.ptp(z, axis=0).any():
        # for a collapsed posterior, sklearn would divide by a variance of zero
        shares, z = np.zeros(2), np.zeros((len(z), 2))
    else:
        from sklearn.decomposition import PCA

        pca = PCA(n_components=2, svd_solver="full").fit(z)
        shares, z = pca.explained_variance_ratio_, pca.transform(z)
    notes = [f" ({100 * share:.0f} % of variance)" if explained else "" for share in shares]
    return z, [f"component {i}{note}" for i, note in enumerate(notes, 1)]


def _as_labels(value: ArrayLike, count: int) -> NDArray:
    labels = as_array(value)
    if labels.shape != (count,):
        raise InputError(f"labels have shape {labels.shape} where z has {count} rows; give one label a row")
    if labels.dtype.kind not in "biuf" and len(np.unique(labels)) > len(CLASSES):
        count = len(np.unique(labels))
        raise InputError(f"labels have {count} named classes; give at most 10 classes, or numeric labels")
    return labels


def _as_limits(limits: Limits) -> Square:
    both = np.asarray(limits, dtype=float)
    if both.shape == (2,):
        both = np.stack([both, both])
    if both.shape != (2, 2) or not (both[:, 0] < both[:, 1]).all() or not np.isfinite(both).all():
        raise InputError(f"limits are {limits}; give (low, high) with low < high, or two such pairs")
    return (float(both[0, 0]), float(both[0, 1])), (float(both[1, 0]), float(both[1, 1]))
