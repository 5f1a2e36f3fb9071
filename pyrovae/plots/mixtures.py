"""Mixtures: which component a datum is in, how sure that is, and what the components look like.

- `latent_map`: a plane of latent space, data in the mixed colours of their components, an ellipse for each
- `overlap`: how much components share, the Bhattacharyya coefficients
- `component_grid`: a row of samples for each component; `walks`: a row of steps for each walk
- `confusion`: components against labels, matched ones on the diagonal
- `doubt`: how many components a datum could be in, exp of the entropy of p(c|x)

A component has one colour in all pictures. A datum's colour is the mean of its components' colours under
p(c|x), so that a doubtful one lies between them and turns grey; the greys of `CLASSES` are no component's.
An ellipse of r standard deviations in the plane holds the share 1 - exp(-r^2 / 2) of its component: 86 %
for r = 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrovae.errors import InputError
from pyrovae.plots.images import _as_images, _draw_mosaic
from pyrovae.plots.latents import GREYS, LogDensity, Square, _draw_density, _plane
from pyrovae.plots.style import CLASSES, COLOURS, WIDTH, as_array, axes_or_new, panels, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["component_colours", "component_grid", "confusion", "doubt", "latent_map", "overlap", "walks"]

Array = NDArray[np.float64]
COMPONENTS = tuple({"#94a4a2": "#00906a", "#717581": "#e58cb5"}.get(colour, colour) for colour in CLASSES)
NUMBERED = 14  # at most so many rows of a table get their numbers written in


def component_colours(count: int) -> Array:
    """The colours (count, 3) of components: ten without grey, then lighter and darker ones of them.

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
    numbers: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Data in a plane of latent space, coloured by p(c|x), and an ellipse for each component.

    Args:
        z: the data in the plane, (N, 2).
        responsibilities: p(c|x), (N, K).
        means: of the components in the plane, (K, 2).
        covariances: (K, 2, 2).
        density: log p(z) of points (M, 2), drawn behind.
        reach: of the ellipses, in standard deviations.
        names: of the axes.
        numbers: what is written at the means, (K,); 0, 1, ... unless given.
        ax: axes to draw on; new ones otherwise.

    Raises:
        InputError: for shapes that do not go together, or NaN.

    Example:
        >>> ax = latent_map(np.zeros((3, 2)), np.full((3, 2), 0.5), np.eye(2), [np.eye(2)] * 2)
        >>> len(ax.patches)
        2
    """
    z, share = as_array(z, "z"), as_array(responsibilities, "responsibilities")
    means, covariances = as_array(means, "means"), as_array(covariances, "covariances")
    count = len(means)
    wanted: dict[str, tuple[Array, tuple[int, ...]]] = {
        "z": (z, (len(z), 2)),
        "responsibilities": (share, (len(z), count)),
    }
    wanted |= {"means": (means, (count, 2)), "covariances": (covariances, (count, 2, 2))}
    for name, (array, shape) in wanted.items():
        if array.shape != shape:
            raise InputError(f"{name} has shape {array.shape} where {shape} was expected")
    colours = component_colours(count)
    with style():
        ax = axes_or_new(ax, height=5.0, width=5.4)
        mixed = np.clip(share @ colours, 0, 1)
        ax.scatter(z[:, 0], z[:, 1], c=mixed, s=9.0, linewidths=0, alpha=0.85, zorder=2)
        limits = _around(z, means, covariances, reach)
        if density is not None:
            _draw_density(ax, density, limits, shades=GREYS, line=None)
        for k in range(count):
            name = str(k) if numbers is None else numbers[k]
            _ellipse(ax, means[k], covariances[k], reach, colours[k], name, line=1.3 if count <= 15 else 0.7)
        _plane(ax, limits, list(names))
        ax.set_anchor("C")
    return ax


def overlap(coefficients: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """How much components overlap: 0 for separate ones, 1 for equal ones.

    Args:
        coefficients: Bhattacharyya coefficients, (K, K); the lower half is drawn.
        ax: axes to draw on; new ones otherwise.

    Raises:
        InputError: for what is no square table of numbers from 0 to 1.

    Example:
        >>> ax = overlap([[1.0, 0.3], [0.3, 1.0]])
        >>> [text.get_text() for text in ax.texts]
        ['.30']
    """
    table = as_array(coefficients, "coefficients")
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise InputError(f"coefficients have shape {table.shape} where (K, K) was expected")
    if table.min() < 0 or table.max() > 1 + 1e-6:
        raise InputError("coefficients lie outside 0 to 1: give Bhattacharyya coefficients")
    shown = np.where(np.tri(len(table), k=-1) > 0, table, np.nan)
    with style():
        ax = axes_or_new(ax, height=4.4, width=5.2)
        image = ax.imshow(shown, cmap="Blues", vmin=0.0, vmax=1.0)
        _numbers(ax, shown, lambda value: f"{value:.2f}".removeprefix("0") if value >= 0.005 else "", 1.0)
        _ticks(ax, [str(k) for k in range(len(table))], [str(k) for k in range(len(table))])
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
        weights: of the components, (K,).
        names: of the rows, instead of numbers.
        ax: axes to draw on; new ones otherwise.

    Raises:
        InputError: for what is no images, or weights of another length.

    Example:
        >>> ax = component_grid(np.zeros((2, 5, 8, 8)), [0.25, 0.75])
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['0   25 %', '1   75 %']
    """
    rows = as_array(images, "images")
    count = len(rows)
    names = [str(k) for k in range(count)] if names is None else list(names)
    if weights is not None:
        share = as_array(weights, "weights")
        if share.shape != (count,):
            raise InputError(f"weights have shape {share.shape}: give one for each of {count} rows of images")
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
    """A row of decoded steps for each walk through latent space, and how probable the steps are.

    Args:
        images: (W, S, C, H, W) or (W, S, H, W), intensities in [0, 1].
        names: of the walks.
        log_pz: log p(z) of the steps in nats, (W, S); drawn below.
        ax: axes to draw on; new ones otherwise.

    Returns:
        The axes; with `log_pz` the frame, whose panels are `ax.child_axes` (images, log p(z)).

    Raises:
        InputError: for what is no images, or names or log p(z) of another shape.

    Example:
        >>> ax = walks(np.zeros((2, 5, 8, 8)), ["straight", "density"], log_pz=-np.ones((2, 5)))
        >>> len(ax.child_axes)
        2
    """
    rows = as_array(images, "images")
    names = [str(k) for k in range(len(rows))] if names is None else list(names)
    if log_pz is None:
        with style():
            return _rows(rows, names, ax)
    heights = as_array(log_pz, "log_pz")
    if heights.shape != rows.shape[:2]:
        raise InputError(f"log_pz has shape {heights.shape} where {rows.shape[:2]} was expected: one a step")
    with style():
        wide = WIDTH - 0.35 - 0.065 * max(map(len, names))
        tall = wide * len(rows) * rows.shape[-2] / (rows.shape[1] * rows.shape[-1])
        ax = axes_or_new(ax, height=tall + 1.9)
        part = tall / (tall + 1.5)
        above, below = panels(ax, (0.0, 1 - part, 1.0, part), (0.0, 0.0, 1.0, 0.9 * (1 - part)))
        _rows(rows, names, above)
        above.set_aspect("auto")  # the steps stand above their heights
        _heights(below, heights, names)
    return ax


def confusion(
    table: ArrayLike,
    matching: ArrayLike | None = None,
    classes: Sequence[object] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Components against labels: a row shows where a component's data come from.

    Args:
        table: counts, (K, classes).
        matching: the label matched with each component, (K,), -1 for none; puts these on the diagonal.
        classes: the labels' names, (classes,); 0, 1, ... unless given.
        ax: axes to draw on; new ones otherwise.

    Raises:
        InputError: for what is no table of counts, or lengths that differ.

    Example:
        >>> ax = confusion([[0, 9], [8, 1]], matching=[1, 0])
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['1', '0']
    """
    counts = as_array(table, "table")
    if counts.ndim != 2 or (counts < 0).any():
        raise InputError(f"table has shape {counts.shape}: give counts from 0, components by labels")
    names = [str(c) for c in (range(counts.shape[1]) if classes is None else classes)]
    if len(names) != counts.shape[1]:
        raise InputError(f"there are {len(names)} names of {counts.shape[1]} labels: give one for each")
    order = np.arange(len(counts)) if matching is None else _by_match(counts, matching, names)
    shown = counts[order]
    with style():
        ax = axes_or_new(ax, height=min(9.0, 1.1 + 0.33 * len(counts)), width=1.3 + 0.42 * max(8, len(names)))
        share = shown / np.maximum(shown.sum(1, keepdims=True), 1)
        ax.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
        _numbers(ax, np.where(shown > 0, shown, np.nan), lambda value: f"{value:.0f}", share)
        _ticks(ax, names, [str(k) for k in order], most=40)
        ax.set(xlabel="label", ylabel="component")
    return ax


def doubt(entropies: ArrayLike, components: int, *, ax: Axes | None = None) -> Axes:
    """How many components a datum could be in: exp of the entropy of its p(c|x).

    Args:
        entropies: of p(c|x) in nats, (N,).
        components: K.
        ax: axes to draw on; new ones otherwise.

    Raises:
        InputError: for entropies below 0 or above log K.

    Example:
        >>> doubt([0.0, 0.0, np.log(2)], components=3).get_title(loc="left")
        '67 % of the data are in one component'
    """
    values = as_array(entropies, "entropies")
    if values.ndim != 1 or values.min() < -1e-6 or values.max() > np.log(components) + 1e-6:
        raise InputError(f"entropies must be (N,), from 0 to log {components}, not {values.shape}")
    size = np.exp(np.maximum(values, 0.0))
    sure = float((size < 1.1).mean())
    top = max(2.0, float(np.ceil(size.max())))
    with style():
        ax = axes_or_new(ax, height=2.8)
        ax.hist(size, list(np.linspace(1, top, 41)), color=COLOURS["model"])
        ax.set(xlabel="components that a datum could be in", ylabel="data", xlim=(1, top))
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
    """The smallest square around nearly all points and all ellipses, and a little more."""
    spread = reach * np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    inner = np.quantile(z, [0.002, 0.998], axis=0)  # one datum far away would shrink all others
    low = np.minimum(inner[0], (means - spread).min(0))
    high = np.maximum(inner[1], (means + spread).max(0))
    middle, half = (low + high) / 2, 0.53 * float((high - low).max()) or 1.0
    return (middle[0] - half, middle[0] + half), (middle[1] - half, middle[1] + half)


def _rows(rows: Array, names: Sequence[str], ax: Axes | None) -> Axes:
    """A mosaic of one row of images a name."""
    if rows.ndim not in (4, 5):
        raise InputError(
            f"images have shape {rows.shape}: give (rows, images, H, W) or (rows, images, C, H, W)"
        )
    if len(names) != len(rows):
        raise InputError(f"there are {len(names)} names of {len(rows)} rows of images: give one for each")
    images = _as_images(rows.reshape(-1, *rows.shape[2:]), "images")
    wide = 0.25 + 0.065 * max(map(len, names))
    ax, centres, _ = _draw_mosaic(images, rows.shape[1], ax, label_width=wide)
    ax.set_yticks(centres, list(names))
    return ax


def _heights(ax: Axes, heights: Array, names: Sequence[str]) -> None:
    steps = np.arange(heights.shape[1])
    tones = [COLOURS["model"], COLOURS["other"], COLOURS["data"], COLOURS["warning"]]
    colours = [tones[i % len(tones)] for i in range(len(names))]
    for values, colour, name in zip(heights, colours, names, strict=True):
        ax.plot(steps, values, "o-", color=colour, markersize=3, label=name)
    last = heights.shape[1] - 1
    ax.set(
        xlabel="step", ylabel="log p(z), nats", xlim=(-0.5, last + 0.5), xticks=steps[:: -(-len(steps) // 15)]
    )
    ax.margins(y=0.15)
    if len(names) > 1:
        ax.legend(loc="best")


def _numbers(ax: Axes, values: Array, write: object, darkness: float | Array) -> None:
    """The numbers of a table on its cells, white on dark ones."""
    if max(values.shape) > NUMBERED:
        return
    dark = np.broadcast_to(darkness if isinstance(darkness, np.ndarray) else values, values.shape)
    for (i, j), value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "white" if dark[i, j] > 0.55 else "#262626"
            ax.text(j, i, write(value), ha="center", va="center", fontsize=7.5, color=colour)  # type: ignore[operator]


def _ticks(ax: Axes, columns: list[str], rows: list[str], most: int = 25) -> None:
    wide, tall = -(-len(columns) // 25), -(-len(rows) // most)
    ax.set_xticks(np.arange(0, len(columns), wide), columns[::wide])
    ax.set_yticks(np.arange(0, len(rows), tall), rows[::tall])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _by_match(counts: Array, matching: ArrayLike, names: list[str]) -> NDArray[np.int64]:
    """Components in the order of their labels; those without one follow, by their most frequent label."""
    matched = [str(int(label)) for label in np.asarray(matching)]
    if len(matched) != len(counts):
        raise InputError(
            f"matching has {len(matched)} entries: give one for each of {len(counts)} components"
        )
    place = {name: i for i, name in enumerate(names)}
    frequent = len(names) + counts.argmax(1)
    keys = [place.get(label, int(frequent[k])) for k, label in enumerate(matched)]
    return np.argsort(keys, kind="stable")
