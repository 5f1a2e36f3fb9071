"""The latent space: where the data lie in it, and the prior behind them.

Two-dimensional latents are drawn as they are. More dimensions go through principal components
(the axes say how much of the variance is seen), one dimension becomes a histogram.

A density is drawn as its highest-density regions: the region of level m is the smallest set that
holds the share m of the mass inside the limits, {z : p(z) >= t} with t chosen so. Unlike levels at
round values of p, these mean the same for a standard normal and for a peaked mixture.

Reference:
    Hyndman, Computing and graphing highest density regions, 1996, https://doi.org/10.2307/2684423
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrovae.errors import InputError
from pyrovae.plots.style import CLASSES, COLOURS, as_array, axes_or_new, evaluate, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["latent_scatter", "prior_density"]

REGIONS = (0.99, 0.9, 0.7, 0.5, 0.3, 0.1)
Shades = tuple[
    str, float, float
]  # a colour map, and the part of it for the outermost to the innermost region
BLUES, GREYS = ("Blues", 0.08, 0.55), ("Greys", 0.05, 0.32)
LogDensity = Callable[[NDArray[np.float64]], ArrayLike]
Square = tuple[tuple[float, float], tuple[float, float]]
Limits = tuple[float, float] | Square


def latent_scatter(
    z: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    density: LogDensity | None = None,
    explained: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Latent codes: a scatter plot, through two principal components when D > 2, a histogram when D = 1.

    Args:
        z: latents, (N, D) or (N,).
        labels: one class or number for each, (N,); up to ten classes get a legend, more numbers
            a colour bar.
        density: log p(z) of points (M, 2), drawn behind; used only when D = 2.
        explained: write each component's share of the variance on its axis, when D > 2.
        ax: axes to draw on; new ones otherwise.

    Raises:
        InputError: for a z that is no matrix or holds NaN, or labels of another length.

    Example:
        >>> z = np.array([[3.0, 0.0, 0.0], [-3.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
        >>> latent_scatter(z, labels=[0, 0, 1, 1]).get_xlabel()
        'component 1 (90 % of variance)'
    """
    z = _as_matrix(z)
    groups = None if labels is None else _as_labels(labels, len(z))
    D = z.shape[1]
    with style():
        if D == 1:
            return _histogram(z[:, 0], groups, axes_or_new(ax))
        ax = axes_or_new(ax, height=4.4, width=5.4)
        names = ["$z_1$", "$z_2$"]
        if D > 2:
            z, names = _principal(z, explained=explained)
        _scatter(ax, z, groups)
        limits = _square_around(z)
        if density is not None and D == 2:
            _draw_density(ax, density, limits, shades=GREYS, line="#b0b0b0")
        _plane(ax, limits, names)
    return ax


def prior_density(log_prob: LogDensity, limits: Limits = (-4.0, 4.0), *, ax: Axes | None = None) -> Axes:
    """A two-dimensional density as its highest-density regions.

    Args:
        log_prob: log p(z) of points (M, 2), nats.
        limits: (low, high) for both coordinates, or one such pair for each.
        ax: axes to draw on; new ones otherwise.

    Raises:
        InputError: for limits that do not ascend, a log density of another shape, with NaN, or
            without mass inside the limits.

    Example:
        >>> ax = prior_density(lambda z: -0.5 * (z**2).sum(-1), limits=(-5, 5))
        >>> levels = ax.collections[0].levels  # of exp(-r^2 / 2): a region of mass m ends at 1 - m
        >>> bool(np.allclose(levels[:-1], 1 - np.array(REGIONS), atol=0.01))
        True
    """
    pairs = _as_limits(limits)
    with style():
        ax = axes_or_new(ax, height=3.9, width=5.2)
        filled = _draw_density(ax, log_prob, pairs, shades=BLUES, line=COLOURS["data"])
        _plane(ax, pairs, ["$z_1$", "$z_2$"])
        _region_legend(ax, filled)
    return ax


def _draw_density(
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


def _plane(ax: Axes, limits: Square, names: list[str]) -> None:
    ax.set(xlim=limits[0], ylim=limits[1], xlabel=names[0], ylabel=names[1], aspect="equal")
    # Centred, a narrowed plane moves its labels out of the figure once a legend stands beside it.
    ax.set_anchor("W")


def _square_around(z: NDArray[np.float64]) -> Square:
    """The smallest square around all points, and a tenth more."""
    middle = (z.min(axis=0) + z.max(axis=0)) / 2
    half = 0.55 * float(np.ptp(z, axis=0).max()) or 1.0
    return (middle[0] - half, middle[0] + half), (middle[1] - half, middle[1] + half)


def _region_levels(p: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[float]]:
    """Ascending thresholds of p whose regions hold REGIONS of the mass, those that differ."""
    descending = np.sort(p, axis=None)[::-1]
    share = np.cumsum(descending) / descending.sum()
    found: dict[float, float] = {}
    for mass in REGIONS:
        # a plateau belongs to the largest region that it reaches
        found.setdefault(float(descending[np.searchsorted(share, mass)]), mass)
    levels = np.array(sorted(found))
    return levels, [found[level] for level in levels]


def _region_legend(ax: Axes, filled: list[tuple[float, str]]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, label=f"{mass:.0%}".replace("%", " %")) for mass, colour in filled]
    ax.legend(handles=handles[::-1], title="share of mass", loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _scatter(ax: Axes, z: NDArray[np.float64], groups: NDArray | None) -> None:
    from matplotlib.cm import ScalarMappable

    look: dict[str, Any] = {
        "s": float(np.clip(12000 / len(z), 3, 18)),
        "alpha": 0.75,
        "linewidths": 0,
        "rasterized": True,
    }
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
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=5, color=colour, label=str(name))
        for name, colour in zip(classes, CLASSES, strict=False)
    ]
    ax.legend(handles=handles, title="label", loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.1)


def _histogram(z: NDArray[np.float64], groups: NDArray | None, ax: Axes) -> Axes:
    edges = list(np.histogram_bin_edges(z, bins=min(60, max(10, int(np.sqrt(len(z)))))))
    classes = np.unique([] if groups is None else groups)
    if 0 < len(classes) <= len(CLASSES):
        for name, colour in zip(classes, CLASSES, strict=False):
            ax.hist(z[groups == name], edges, histtype="step", color=colour, linewidth=1.4)
        _class_legend(ax, classes)
    else:
        ax.hist(z, edges, color=COLOURS["model"])
    ax.set(xlabel="$z$", ylabel="data in each bin")
    return ax


def _principal(z: NDArray[np.float64], *, explained: bool) -> tuple[NDArray[np.float64], list[str]]:
    """The latents on their first two principal components, and the names of these."""
    if len(z) < 2:
        raise InputError(f"z has 1 row of dimension {z.shape[1]}; principal components need at least 2 rows")
    if not np.ptp(z, axis=0).any():
        # a collapsed posterior: sklearn would divide by a variance of zero
        shares, z = np.zeros(2), np.zeros((len(z), 2))
    else:
        from sklearn.decomposition import PCA

        pca = PCA(n_components=2, svd_solver="full").fit(z)
        shares, z = pca.explained_variance_ratio_, pca.transform(z)
    notes = [f" ({100 * share:.0f} % of variance)" if explained else "" for share in shares]
    return z, [f"component {i}{note}" for i, note in enumerate(notes, 1)]


def _as_matrix(value: ArrayLike) -> NDArray[np.float64]:
    z = as_array(value, "z")
    if z.ndim == 1:
        z = z[:, None]
    if z.ndim != 2:
        raise InputError(f"z has shape {z.shape} where (N, D) was expected; give one latent vector a row")
    return z


def _as_labels(value: ArrayLike, count: int) -> NDArray:
    labels = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if labels.shape != (count,):
        raise InputError(f"labels have shape {labels.shape} where z has {count} rows; give one label a row")
    if labels.dtype.kind not in "biuf" and len(np.unique(labels)) > len(CLASSES):
        raise InputError(f"labels have {len(np.unique(labels))} named classes; give at most 10, or numbers")
    return labels


def _as_limits(limits: Limits) -> tuple[tuple[float, float], tuple[float, float]]:
    both = np.asarray(limits, dtype=float)
    if both.shape == (2,):
        both = np.stack([both, both])
    if both.shape != (2, 2) or not (both[:, 0] < both[:, 1]).all() or not np.isfinite(both).all():
        raise InputError(f"limits are {limits}; give (low, high) with low < high, or two such pairs")
    return (float(both[0, 0]), float(both[0, 1])), (float(both[1, 0]), float(both[1, 1]))
