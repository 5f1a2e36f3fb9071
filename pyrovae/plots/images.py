"""Figures of images: mosaics of samples, reconstructions, and the decoded latent plane.

A mosaic is one array, with images in reading order and thin grey separators. Values are intensities
in [0, 1]. Values outside, for example from a Normal likelihood, are clipped.

The manifold of a two-dimensional latent is decoded at z = (Phi^-1(u1), Phi^-1(u2)) for a regular
grid of u, so that each image represents the same mass of the prior N(0, I).

Reference:
    Kingma & Welling, Auto-Encoding Variational Bayes, 2014, figure 4,
    https://arxiv.org/abs/1312.6114
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.checks import whole
from pyrovae.errors import InputError
from pyrovae.numerics import Array, as_array, numbers
from pyrovae.plots.style import COLOURS, WIDTH, Axes, canvas, style

__all__ = ["as_images", "conditional_samples", "image_grid", "manifold", "mosaic_of", "reconstructions"]

SEPARATOR = 0.55  # a grey that is visible on black and on white images


def image_grid(
    images: ArrayLike, columns: int | None = None, *, title: str | None = None, ax: Axes | None = None
) -> Axes:
    """Images as one mosaic, in reading order; small ones are magnified by a whole number.

    Args:
        images: (N, C, H, W) or (N, H, W) with C 1 or 3, intensities in [0, 1]; clipped outside.
        columns: images per row; by default about the number of rows, and at most 20.
        title: the title above the images.

    Raises:
        InputError: for a wrong shape, an empty set, NaN, or columns below 1.

    Example:
        >>> ax = image_grid(np.zeros((6, 1, 200, 200)), columns=3)
        >>> ax.images[0].get_array().shape  # 2 rows and 3 columns of 200 pixels, separators of 1
        (401, 602)
    """
    images = as_images(images, "images")
    columns = min(20, int(np.ceil(np.sqrt(len(images))))) if columns is None else whole("columns", columns)
    with style():
        ax, _, _ = mosaic_of(images, min(columns, len(images)), ax)
        if title is not None:
            ax.set_title(title)
    return ax


def reconstructions(x: ArrayLike, x_hat: ArrayLike, pairs: int = 10, *, ax: Axes | None = None) -> Axes:
    """Originals in the upper row, their reconstructions below.

    Args:
        x: originals, (N, C, H, W) or (N, H, W).
        x_hat: reconstructions, the same shape.
        pairs: the number of pairs to draw, from the first on.

    Raises:
        InputError: if shapes differ or are not those of images, or pairs are below 1.

    Example:
        >>> x = np.zeros((3, 1, 28, 28))
        >>> ax = reconstructions(x, 1 - x)
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['original', 'reconstruction']
    """
    x, x_hat, pairs = as_images(x, "x"), as_images(x_hat, "x_hat"), whole("pairs", pairs)
    if x.shape != x_hat.shape:
        raise InputError(
            f"x_hat has {len(x_hat)} images of (H, W, C) {x_hat.shape[1:]}, x has {len(x)} of {x.shape[1:]}; "
            "give one reconstruction for each original"
        )
    both = np.concatenate([x[:pairs], x_hat[:pairs]])
    with style():
        ax, (upper, lower), _ = mosaic_of(both, len(both) // 2, ax, label_width=0.9)
        ax.set_yticks([upper, lower], ["original", "reconstruction"])
    return ax


def conditional_samples(
    given: ArrayLike, samples: ArrayLike, original: ArrayLike | None = None, *, ax: Axes | None = None
) -> Axes:
    """What is given in each row of images, followed by samples of the whole and by the original.

    Args:
        given: images of what is given, (N, C, H, W) or (N, H, W).
        samples: S samples for each, (N, S, C, H, W) or (N, S, H, W).
        original: the originals, as `given`.

    Raises:
        InputError: if shapes differ or are not those of images.

    Example:
        >>> x = np.zeros((3, 8, 8))
        >>> ax = conditional_samples(x, np.ones((3, 5, 8, 8)), x)
        >>> [text.get_text() for text in ax.get_xticklabels()]
        ['given', 'samples', 'original']
    """
    samples = as_array(samples)
    if samples.ndim < 4:
        raise InputError(f"samples have shape {samples.shape}: give some for each image, (N, S, C, H, W)")
    N, S = samples.shape[:2]
    parts = [as_images(given, "given"), as_images(samples.reshape(N * S, *samples.shape[2:]), "samples")]
    parts += [] if original is None else [as_images(original, "original")]
    if any(len(part) != N for part in (parts[0], *parts[2:])) or len({part.shape[1:] for part in parts}) > 1:
        shapes = ", ".join(str(part.shape) for part in parts)
        raise InputError(f"the images have shapes {shapes}: give one given image and original for each row")
    rows = [part.reshape(N, -1, *part.shape[1:]) for part in parts]
    every = np.concatenate(rows, axis=1)
    columns = every.shape[1]
    with style():
        ax, _, centres = mosaic_of(every.reshape(-1, *every.shape[2:]), columns, ax)
        places = [centres[0], centres[1 : S + 1].mean(), *centres[S + 1 :]]
        ax.set_xticks(places, ["given", "samples", "original"][: len(places)])
        ax.xaxis.tick_top()
        for place in (1, *([S + 1] if len(places) > 2 else [])):  # between the three parts
            ax.axvline((centres[place - 1] + centres[place]) / 2, color=COLOURS["warning"], linewidth=1.2)
    return ax


def manifold(
    decode: Callable[[Array], ArrayLike],
    side: int = 20,
    limits: tuple[float, float] = (0.02, 0.98),
    *,
    ax: Axes | None = None,
) -> Axes:
    """The plane of a two-dimensional latent, decoded at the quantiles of N(0, I).

    The first coordinate grows to the right, the second upwards.

    Args:
        decode: takes latent points (M, 2) as float64, returns images (M, C, H, W) or (M, H, W).
        side: points along each coordinate.
        limits: the lowest and the highest quantile, probabilities inside (0, 1).

    Raises:
        InputError: if limits are not ascending probabilities, side is below 2, or decode does not
            return one image per point.

    Example:
        >>> ax = manifold(lambda z: np.ones((len(z), 8, 8)) * (z[:, :1, None] > 0), side=4)
        >>> [text.get_text() for text in ax.get_xticklabels()]
        ['−2.1', '−0.4', '0.4', '2.1']
    """
    low, high = limits
    if not 0.0 < low < high < 1.0:
        raise InputError(f"limits are {limits}; give two ascending probabilities between 0 and 1")
    side = whole("side", side, 2)
    z = np.array([NormalDist().inv_cdf(u) for u in np.linspace(low, high, side)])
    first, second = np.meshgrid(z, z[::-1])
    points = np.stack([first.ravel(), second.ravel()], axis=1)
    images = as_images(decode(points), "the result of decode")
    if len(images) != len(points):
        raise InputError(
            f"decode returned {len(images)} images for {len(points)} points; return one per point"
        )
    shown = np.linspace(0, side - 1, min(side, 4)).round().astype(int)
    names = [f"{value:.1f}".replace("-", "−") for value in z[shown]]
    with style():
        ax, rows, centres = mosaic_of(images, side, ax)
        ax.set_xticks(centres[shown], names)
        ax.set_yticks(rows[::-1][shown], names)
        ax.set(xlabel="$z_1$", ylabel="$z_2$")
    return ax


def as_images(value: ArrayLike, name: str) -> Array:
    """(N, H, W) or (N, C, H, W) as (N, H, W, C), clipped to [0, 1].

    Raises:
        InputError: for a wrong shape, an empty set or NaN.
    """
    images = numbers(value, name)
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise InputError(
            f"{name} has shape {as_array(value).shape}, which is not a shape of images; give (N, H, W),  "
            "(N, 1, H, W) or (N, 3, H, W)"
        )
    return np.clip(images.transpose(0, 2, 3, 1), 0.0, 1.0)


def _mosaic(images: Array, columns: int) -> Array:
    """Join images (N, H, W, C) into one, with separators of one pixel; missing images are white."""
    N, H, W, C = images.shape
    rows = -(-N // columns)
    cells = np.ones((rows * columns, H + 1, W + 1, C))
    cells[:N, :H, :W] = images
    cells[: N - 1, :H, W] = SEPARATOR
    cells[: max(N - columns, 0), H, :] = SEPARATOR
    grid = cells.reshape(rows, columns, H + 1, W + 1, C).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * (H + 1), columns * (W + 1), C)[:-1, :-1]


def mosaic_of(
    images: Array, columns: int, ax: Axes | None, *, label_width: float = 0.0
) -> tuple[Axes, Array, Array]:
    """Draw images (N, H, W, C) as a mosaic; returns axes and the centres of rows and columns."""
    # The images are magnified, so that a separator of one pixel stays thin.
    scale = -(-400 // (columns * images.shape[2]))
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    mosaic = _mosaic(images, columns)
    height, width, channels = mosaic.shape
    wide = min(WIDTH, max(2.4, 0.75 * columns + label_width))
    with canvas(ax, width=wide, height=(wide - label_width) * height / width + 0.1) as ax:
        ax.imshow(mosaic[..., 0] if channels == 1 else mosaic, cmap="gray", vmin=0.0, vmax=1.0)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
    H, W = images.shape[1:3]
    rows = np.arange(-(-len(images) // columns)) * (H + 1.0) + (H - 1) / 2
    return ax, rows, np.arange(columns) * (W + 1.0) + (W - 1) / 2
