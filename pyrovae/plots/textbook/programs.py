r"""Trained programs next to each other: their reconstructions, samples and latent spaces.

The programs are VAEs, or runs of `pv.fit`, by name. Each may have its own prior, likelihood,
objective and latent size, as long as all model images of one shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pyrovae.checks import number, whole
from pyrovae.errors import InputError
from pyrovae.networks.modes import in_mode
from pyrovae.numerics import Array, as_array
from pyrovae.plots.images import as_images, mosaic_of
from pyrovae.plots.latents import latent_scatter
from pyrovae.plots.style import COLOURS, Axes, canvas, panels, style
from pyrovae.seeds import random_kept

__all__ = ["latent_spaces", "models_side_by_side"]

Programs = Mapping[str, Any]
NEEDED = ("encode", "decode", "sample", "event_shape")


def models_side_by_side(
    programs: Programs,
    x: Any = None,  # noqa: ANN401
    *,
    count: int = 6,
    seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    r"""Reconstructions and samples of several programs, one row for each.

    \[\hat x = \mathrm E[x \mid z = \mathrm E_q[z]], \qquad x^* = \mathrm E[x \mid z^*], \quad z^*
    \sim p(z)\]

    Args:
        programs: name -> a VAE of images, or a run of `pv.fit`.
        x: images, as rows or a tensor, whose reconstructions are drawn on the left; the first row
            has the originals. None draws samples only.
        count: the number of reconstructions and of samples, at most that of the images.
        seed: the seed of the samples, which is the same for all programs.

    Raises:
        InputError: for a program without these methods, or images of different shapes.

    Example:
        >>> from pyrovae import VAE, networks
        >>> vae = VAE((1, 4, 4), 2, encoder=networks.MLP(8), decoder=networks.MLP(8))
        >>> ax = models_side_by_side({"a": vae, "b": vae}, torch.ones(6, 1, 4, 4))
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['original', 'a', 'b']
    """
    vaes, count, seed = _vaes(programs), whole("count", count, most=1000), whole("seed", seed, 0)
    if x is not None:
        x = _images(x)
        count = min(count, len(x))
    rows = {name: _samples(vae, count, seed) for name, vae in vaes.items()}
    if x is not None:
        originals = as_images(as_array(x[:count]), "x")
        rows = {name: np.concatenate([_recon(vaes[name], x, count), part]) for name, part in rows.items()}
        rows = {"original": np.concatenate([originals, np.ones_like(originals)]), **rows}
    if len({part.shape for part in rows.values()}) > 1:
        shapes = ", ".join(f"{name} {part.shape[1:3]}" for name, part in rows.items())
        raise InputError(f"the programs have images of different shapes: {shapes}")
    with style():
        width = 0.2 + 0.08 * max(map(len, rows))
        columns = len(next(iter(rows.values())))
        ax, centres, places = mosaic_of(np.concatenate(list(rows.values())), columns, ax, label_width=width)
        ax.set_yticks(centres, list(rows))
        names = ["reconstructions", "samples"] if x is not None else ["samples"]
        ax.set_xticks([block.mean() for block in np.split(places, len(names))], names)
        ax.xaxis.tick_top()
        if x is not None:  # between the two blocks
            middle = places[columns // 2 - 1 : columns // 2 + 1].mean()
            ax.axvline(middle, color=COLOURS["warning"], linewidth=1.2)
    return ax


def latent_spaces(
    programs: Programs,
    x: Any,  # noqa: ANN401
    labels: ArrayLike | None = None,
    *,
    steps: int = 9,
    reach: float = 2.0,
    ax: Axes | None = None,
) -> Axes:
    r"""Latent spaces of several programs, with images decoded between two codes and outside.

    \[z(t) = z_1 + t\, (z_2 - z_1), \qquad t \in [0, r]\]

    z_1 and z_2 are the codes of the first two rows. For t between 0 and 1 the points are between
    them, and beyond 1 they leave the data. The circles contain 50 and 95 % of N(0, I).

    Args:
        programs: name -> a VAE of images with two latents, or a run of `pv.fit`.
        x: images, as rows or a tensor; all are drawn as codes, the first two are the ends of the
            line.
        labels: a class for each row, for the colours.
        steps: the number of decoded points.
        reach: r, the last t.

    Raises:
        InputError: for programs without two latents, fewer than two rows, or a reach of 0 or less.

    Example:
        >>> from pyrovae import VAE, networks
        >>> vae = VAE((1, 4, 4), 2, encoder=networks.MLP(8), decoder=networks.MLP(8))
        >>> ax = latent_spaces({"one": vae}, torch.ones(6, 1, 4, 4), steps=3)
        >>> ax.child_axes[0].get_title()
        'one'
    """
    vaes, steps, reach = _vaes(programs), whole("steps", steps, 2, 1000), number("reach", reach, above=0)
    x = _images(x)
    width, share = 1 / len(vaes), 0.85 / len(vaes)
    with canvas(ax, width=min(9.0, 3.6 * len(vaes)), height=4.0) as ax:
        upper = [(k * width, 0.28, share, 0.68) for k in range(len(vaes))]
        lower = [(k * width, 0.0, share, 0.16) for k in range(len(vaes))]
        places = panels(ax, *upper, *lower)
        for k, (name, vae) in enumerate(vaes.items()):
            codes, line, images = _line(vae, x, steps, reach)
            latent_scatter(codes, labels, ax=places[k])
            _draw_line(places[k], line, name)
            _draw_images(places[len(vaes) + k], images, reach)
            if (legend := places[k].get_legend()) and k < len(vaes) - 1:
                legend.remove()
    return ax


def _vaes(programs: Programs) -> dict[str, Any]:
    """The programs themselves, in place of runs.

    Raises:
        InputError: if there are none, or one lacks a method.
    """
    if not isinstance(programs, Mapping) or not programs:
        raise InputError("give the programs by name, as {'a': vae, 'b': other}")
    vaes = {str(name): getattr(value, "program", value) for name, value in programs.items()}
    for name, vae in vaes.items():
        lacking = [need for need in NEEDED if not hasattr(vae, need)]
        if lacking:
            raise InputError(f"{name!r} is a {type(vae).__name__}, which has no {lacking[0]}; give a VAE")
    return vaes


def _images(x: Any) -> Any:  # noqa: ANN401
    """The images as they were given.

    Raises:
        InputError: if they are not rows of numbers.
    """
    array = as_array(x)
    if array.dtype.kind not in "biuf" or array.ndim < 2 or not len(array):
        raise InputError(f"x has shape {array.shape} and type {array.dtype}; give images (N, ...) of numbers")
    return x if hasattr(x, "x") else array


@contextmanager
def _quiet(vae: Any) -> Iterator[None]:  # noqa: ANN401
    """Evaluate without gradients, and leave the mode and the random state as they were."""
    with random_kept(), torch.no_grad(), in_mode(vae, training=False):
        yield


def _samples(vae: Any, count: int, seed: int) -> Array:  # noqa: ANN401
    with _quiet(vae):
        torch.manual_seed(seed)
        return as_images(as_array(vae.sample(count, mean=True)), "the samples")


def _recon(vae: Any, x: Any, count: int) -> Array:  # noqa: ANN401
    with _quiet(vae):
        torch.manual_seed(0)  # for means of samples
        return as_images(as_array(_means(vae, _codes(vae, x)[:count])), "the reconstructions")


def _codes(vae: Any, x: Any) -> Tensor:  # noqa: ANN401
    """E_q[z|x], (N, D)."""
    images = x if hasattr(x, "x") else torch.as_tensor(as_array(x), dtype=torch.get_default_dtype())
    return _mean(vae.encode(images))


def _means(vae: Any, z: Tensor) -> Tensor:  # noqa: ANN401
    """E[x|z], (N, *event)."""
    return _mean(vae.decode(z))


def _mean(distribution: Any) -> Tensor:  # noqa: ANN401
    """The mean, or the mean of 20 samples where it is not known."""
    try:
        return distribution.mean
    except NotImplementedError:
        return distribution.sample((20,)).mean(0)


def _line(vae: Any, x: Any, steps: int, reach: float) -> tuple[Array, Array, Array]:  # noqa: ANN401
    """The codes (N, 2), the points of the line (S, 2), and the images decoded there."""
    with _quiet(vae):
        codes = _codes(vae, x)
        if codes.shape[1] != 2 or len(codes) < 2:
            raise InputError(
                f"the codes have shape {tuple(codes.shape)}; two latents and two rows are needed"
            )
        t = torch.linspace(0, float(reach), steps).unsqueeze(1).to(codes)
        line = codes[0] + t * (codes[1] - codes[0])
        return as_array(codes), as_array(line), as_images(as_array(_means(vae, line)), "the images")


def _draw_line(ax: Axes, line: Array, name: str) -> None:
    angle = np.linspace(0, 2 * np.pi, 200)
    for radius in (1.1774, 2.4477):  # which contain 50 and 95 %
        ax.plot(radius * np.cos(angle), radius * np.sin(angle), color=COLOURS["data"], linewidth=0.7)
    ax.plot(*line.T, "o-", color=COLOURS["data"], markersize=3.5, linewidth=1.0, zorder=5)
    low, high = line.min(0), line.max(0)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    room = 0.04 * np.array([right - left, top - bottom])
    ax.set_xlim(min(left, low[0] - room[0]), max(right, high[0] + room[0]))
    ax.set_ylim(min(bottom, low[1] - room[1]), max(top, high[1] + room[1]))
    ax.set(title=name, aspect="auto")


def _draw_images(ax: Axes, images: Array, reach: float) -> None:
    """The images in a row, with t below the first, that at t = 1, and the last."""
    strip = np.concatenate(
        [np.pad(image, ((0, 0), (0, 1), (0, 0)), constant_values=1) for image in images], 1
    )
    ax.imshow(strip[..., 0] if strip.shape[-1] == 1 else strip, cmap="gray", vmin=0.0, vmax=1.0)
    width = images.shape[2] + 1
    places = {0.0: 0, float(reach): len(images) - 1}
    if 1 < reach and (at := (len(images) - 1) / reach) == int(at):
        places[1.0] = int(at)
    ax.set_xticks([width * (k + 0.5) for k in places.values()], [f"t = {t:g}" for t in places])
    ax.set_yticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
