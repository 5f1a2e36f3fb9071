"""Figures of mixtures: components, their samples, and the assignment of observations.

- `latent_map`: a plane of latent space, with data in the mean colours of their components, and an
  ellipse for each component
- `overlap`: how much components share, the Bhattacharyya coefficients
- `component_grid`: a row of samples for each component; `walks`: a row of steps for each walk
- `confusion`: components against labels, matched ones on the diagonal
- `doubt`: the number of components to which an observation could belong, exp of the entropy of
  p(c|x)

A component has the same colour in all figures. An observation has the mean of the components'
colours under p(c|x), so a doubtful one has a colour in between, which is greyer. No component is
grey. An ellipse of r standard deviations in the plane contains the share 1 - exp(-r^2 / 2) of its
component: 86 % for r = 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrovae.errors import InputError
from pyrovae.numerics import Array, as_array, numbers
from pyrovae.plots.images import as_images, mosaic_of
from pyrovae.plots.latents import GREYS, LogDensity, draw_density, draw_plane
from pyrovae.plots.style import CLASSES, COLOURS, WIDTH, Axes, Square, canvas, panels, square, style

__all__ = [
    "component_colours",
    "component_grid",
    "confusion",
    "doubt",
    "latent_map",
    "overlap",
    "two_digits",
    "walks",
    "write_cells",
    "write_ticks",
]

COMPONENTS = tuple({"#94a4a2": "#00906a", "#717581": "#e58cb5"}.get(colour, colour) for colour in CLASSES)
NUMBERED = 14  # the largest table in which the numbers are written


def component_colours(count: int) -> Array:
    """The colours (count, 3) of components: ten without grey, then lighter and darker versions.

    Example:
        >>> component_colours(12).shape
        (12, 3)
    """
    from matplotlib.colors import to_rgb

    base = np.array([to_rgb(colour) for colour in COMPONENTS])
    shades = [base, 0.55 * base + 0.45, 0.6 * base]
    return np.concatenate([shades[i % 3] for i in range(-(-count // len(base)))])[:count]


def latent_map(
    z: ArrayLike,
    responsibilities: ArrayLike,
    means: ArrayLike,
    covariances: ArrayLike,
    *,
    density: LogDensity | None = None,
    reach: float = 2.0,
    names: tuple[str, str] = ("$z_1$", "$z_2$"),
    numbering: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Data in a plane of latent space, coloured by p(c|x), and an ellipse for each component.

    Args:
        z: the data in the plane, (N, 2).
        responsibilities: p(c|x), (N, K).
        means: the means of the components in the plane, (K, 2).
        covariances: the covariances of the components in the plane, (K, 2, 2).
        density: log p(z) of points (M, 2), drawn in the background.
        reach: the radius of the ellipses, in standard deviations.
        names: the names of the axes.
        numbering: the labels at the means, (K,); 0, 1, ... by default.

    Raises:
        InputError: if shapes do not match, or a value is NaN.

    Example:
        >>> ax = latent_map(np.zeros((3, 2)), np.full((3, 2), 0.5), np.eye(2), [np.eye(2)] * 2)
        >>> len(ax.patches)
        2
    """
    means = numbers(means, "means", ("K", 2))
    count = len(means)
    z, covariances = numbers(z, "z", ("N", 2)), numbers(covariances, "covariances", (count, 2, 2))
    share = numbers(responsibilities, "responsibilities", (len(z), count))
    colours = component_colours(count)
    labels = map(str, range(count)) if numbering is None else numbering
    with canvas(ax, height=5.0, width=5.4) as ax:
        mixed = np.clip(share @ colours, 0, 1)
        ax.scatter(z[:, 0], z[:, 1], c=mixed, s=9.0, linewidths=0, alpha=0.85, zorder=2)
        limits = _around(z, means, covariances, reach)
        if density is not None:
            draw_density(ax, density, limits, shades=GREYS, line=None)
        width = 1.3 if count <= 15 else 0.7
        for mean, covariance, colour, label in zip(means, covariances, colours, labels, strict=True):
            _ellipse(ax, mean, covariance, reach, colour, label, width)
        draw_plane(ax, limits, names)
        ax.set_anchor("C")
    return ax


def overlap(coefficients: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """The overlap of components: 0 for separate ones, 1 for equal ones.

    Args:
        coefficients: Bhattacharyya coefficients, (K, K); the lower half is drawn.

    Raises:
        InputError: if it is not a square table of numbers from 0 to 1.

    Example:
        >>> ax = overlap([[1.0, 0.3], [0.3, 1.0]])
        >>> [text.get_text() for text in ax.texts]
        ['.30']
    """
    table = numbers(coefficients, "coefficients", ("K", "K"))
    if table.min() < 0 or table.max() > 1 + 1e-6:
        raise InputError("coefficients lie outside 0 to 1: give Bhattacharyya coefficients")
    shown = np.where(np.tri(len(table), k=-1) > 0, table, np.nan)
    names = [str(k) for k in range(len(table))]
    with canvas(ax, height=4.4, width=5.2) as ax:
        image = ax.imshow(shown, cmap="Blues", vmin=0.0, vmax=1.0)
        write_cells(ax, shown, two_digits, shown)
        write_ticks(ax, names, names)
        ax.set(xlabel="component", ylabel="component")
        bar = ax.figure.colorbar(image, ax=ax, label="overlap", shrink=0.8)
        bar.outline.set_visible(False)  # type: ignore[operator]
    return ax


def component_grid(
    images: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A row of samples for each component, with its number and its weight.

    Args:
        images: (K, S, C, H, W) or (K, S, H, W), intensities in [0, 1].
        weights: the weights of the components, (K,).
        names: the names of the rows, instead of numbers.

    Raises:
        InputError: if `images` are not images, or weights have another length.

    Example:
        >>> ax = component_grid(np.zeros((2, 5, 8, 8)), [0.25, 0.75])
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['0   25 %', '1   75 %']
    """
    rows = numbers(images, "images")
    names = [str(k) for k in range(len(rows))] if names is None else list(names)
    if weights is not None:
        share = numbers(weights, "weights", (len(rows),))
        names = [f"{name}   {100 * value:.0f} %" for name, value in zip(names, share, strict=True)]
    with style():
        return _rows(rows, names, ax)


def walks(
    images: ArrayLike,
    names: Sequence[str] | None = None,
    *,
    log_pz: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A row of decoded steps for each path through latent space, and log p(z) of the steps.

    Args:
        images: (W, S, C, H, W) or (W, S, H, W), intensities in [0, 1].
        names: the names of the paths.
        log_pz: log p(z) of the steps in nats, (W, S); drawn below.

    Returns:
        The axes; with `log_pz` the frame, whose panels are `ax.child_axes` (images, log p(z)).

    Raises:
        InputError: if `images` are not images, or names or log p(z) have a wrong shape.

    Example:
        >>> ax = walks(np.zeros((2, 5, 8, 8)), ["straight", "density"], log_pz=-np.ones((2, 5)))
        >>> len(ax.child_axes)
        2
    """
    rows = numbers(images, "images")
    names = [str(k) for k in range(len(rows))] if names is None else list(names)
    if log_pz is None:
        with style():
            return _rows(rows, names, ax)
    heights = numbers(log_pz, "log_pz", rows.shape[:2])
    wide = WIDTH - 0.35 - 0.065 * max(map(len, names))
    tall = wide * len(rows) * rows.shape[-2] / (rows.shape[1] * rows.shape[-1])
    part = tall / (tall + 1.5)
    with canvas(ax, height=tall + 1.9) as ax:
        above, below = panels(ax, (0.0, 1 - part, 1.0, part), (0.0, 0.0, 1.0, 0.9 * (1 - part)))
        _rows(rows, names, above)
        above.set_aspect("auto")  # the images are above the values of their steps
        _heights(below, heights, names)
    return ax


def confusion(
    table: ArrayLike,
    matching: ArrayLike | None = None,
    classes: Sequence[object] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Components against labels: a row shows the labels of the data in a component.

    Args:
        table: counts, (K, classes).
        matching: the label matched with each component, (K,), -1 for none; matches are put on the
            diagonal.
        classes: the names of the labels, (classes,); 0, 1, ... by default.

    Raises:
        InputError: if it is not a table of counts, or lengths differ.

    Example:
        >>> ax = confusion([[0, 9], [8, 1]], matching=[1, 0])
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['1', '0']
    """
    counts = numbers(table, "table", ("components", "labels"))
    if (counts < 0).any():
        raise InputError("table has negative values; give counts, with a row for each component")
    names = [str(c) for c in (range(counts.shape[1]) if classes is None else classes)]
    if len(names) != counts.shape[1]:
        raise InputError(f"there are {len(names)} names for {counts.shape[1]} labels: give one for each")
    order = np.arange(len(counts)) if matching is None else _by_match(counts, matching, names)
    shown = counts[order]
    share = shown / np.maximum(shown.sum(1, keepdims=True), 1)
    size = {"height": min(9.0, 1.1 + 0.33 * len(counts)), "width": 1.3 + 0.42 * max(8, len(names))}
    with canvas(ax, **size) as ax:
        ax.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
        write_cells(ax, np.where(shown > 0, shown, np.nan), lambda value: f"{value:.0f}", share)
        write_ticks(ax, names, [str(k) for k in order], most=40)
        ax.set(xlabel="label", ylabel="component")
    return ax


def doubt(entropies: ArrayLike, components: int, *, ax: Axes | None = None) -> Axes:
    """The number of components of each observation: exp of the entropy of p(c|x).

    Args:
        entropies: the entropies of p(c|x) in nats, (N,).
        components: K.

    Raises:
        InputError: if entropies are below 0 or above log K.

    Example:
        >>> doubt([0.0, 0.0, np.log(2)], components=3).get_title(loc="left")
        '67 % of the data are in one component'
    """
    values = numbers(entropies, "entropies", ("N",))
    if values.min() < -1e-6 or values.max() > np.log(components) + 1e-6:
        raise InputError(
            f"entropies must lie between 0 and log {components}, and these run from {values.min():.3g} to "
            f"{values.max():.3g}: give entropies in nats"
        )
    size = np.exp(np.maximum(values, 0.0))
    sure = float((size < 1.1).mean())
    top = max(2.0, float(np.ceil(size.max())))
    with canvas(ax, height=2.8) as ax:
        ax.hist(size, list(np.linspace(1, top, 41)), color=COLOURS["model"])
        ax.set(xlabel="components an observation could be in", ylabel="observations", xlim=(1, top))
        ax.set_title(f"{100 * sure:.0f} % of the data are in one component", loc="left")
    return ax


def _ellipse(
    ax: Axes, mean: Array, covariance: Array, reach: float, colour: Array, name: str, line: float
) -> None:
    from matplotlib.patches import Ellipse
    from matplotlib.patheffects import withStroke

    variance, vectors = np.linalg.eigh(covariance)
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    long, short = 2 * reach * np.sqrt(np.maximum(variance[::-1], 0.0))
    tone = 0.8 * colour  # lines are thin: a little darker than the points
    ax.add_patch(
        Ellipse((mean[0], mean[1]), long, short, angle=angle, fill=False, ec=tone, lw=line, zorder=3)
    )
    text = ax.text(mean[0], mean[1], name, color=0.6 * colour, weight="bold", ha="center", va="center")
    text.set(fontsize=6.0 + 2.5 * line, zorder=4)
    text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _around(z: Array, means: Array, covariances: Array, reach: float) -> Square:
    """The smallest square around nearly all points and all ellipses, with a margin."""
    spread = reach * np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    inner = np.quantile(z, [0.002, 0.998], axis=0)  # one outlier would make everything else small
    low = np.minimum(inner[0], (means - spread).min(0))
    high = np.maximum(inner[1], (means + spread).max(0))
    return square(low, high, 0.53)


def _rows(rows: Array, names: Sequence[str], ax: Axes | None) -> Axes:
    """A mosaic with a row of images for each name."""
    if rows.ndim not in (4, 5):
        raise InputError(
            f"images have shape {rows.shape}: give (rows, images, H, W) or (rows, images, C, H, W)"
        )
    if len(names) != len(rows):
        raise InputError(f"there are {len(names)} names for {len(rows)} rows of images: give one for each")
    images = as_images(rows.reshape(-1, *rows.shape[2:]), "images")
    wide = 0.25 + 0.065 * max(map(len, names))
    ax, centres, _ = mosaic_of(images, rows.shape[1], ax, label_width=wide)
    ax.set_yticks(centres, list(names))
    return ax


def _heights(ax: Axes, heights: Array, names: Sequence[str]) -> None:
    steps = np.arange(heights.shape[1])
    tones = [COLOURS[name] for name in ("model", "other", "data", "warning")]
    for i, (values, name) in enumerate(zip(heights, names, strict=True)):
        ax.plot(steps, values, "o-", color=tones[i % len(tones)], markersize=3, label=name)
    ticks = steps[:: -(-len(steps) // 15)]
    ax.set(xlabel="step", ylabel="log p(z), nats", xlim=(-0.5, len(steps) - 0.5), xticks=ticks)
    ax.margins(y=0.15)
    if len(names) > 1:
        ax.legend(loc="best")


def two_digits(value: float) -> str:
    """A share with two digits, and nothing for a small one."""
    return f"{value:.2f}".removeprefix("0") if value >= 0.005 else ""


def write_cells(ax: Axes, values: Array, text: Callable[[float], str], darkness: Array) -> None:
    """Write the numbers of a table into its cells, white on dark cells."""
    if max(values.shape) > NUMBERED:
        return
    for (i, j), value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "white" if darkness[i, j] > 0.55 else "#262626"
            ax.text(j, i, text(value), ha="center", va="center", fontsize=7.5, color=colour)


def write_ticks(ax: Axes, columns: list[str], rows: list[str], most: int = 25) -> None:
    """Name the columns and rows of a table, at most 25 and `most` of them, without a frame."""
    wide, tall = -(-len(columns) // 25), -(-len(rows) // most)
    ax.set_xticks(np.arange(0, len(columns), wide), columns[::wide])
    ax.set_yticks(np.arange(0, len(rows), tall), rows[::tall])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _by_match(counts: Array, matching: ArrayLike, names: list[str]) -> NDArray[np.int64]:
    """Components in the order of their labels; those without one follow, by most frequent label."""
    matched = [str(int(label)) for label in as_array(matching)]
    if len(matched) != len(counts):
        raise InputError(
            f"matching has {len(matched)} entries: give one for each of {len(counts)} components"
        )
    place = {name: i for i, name in enumerate(names)}
    frequent = len(names) + counts.argmax(1)
    keys = [place.get(label, int(frequent[k])) for k, label in enumerate(matched)]
    return np.argsort(keys, kind="stable")
