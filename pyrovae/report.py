"""The figures of a run.

training         the bound, the reconstruction and the KL over the epochs, for every program
samples          samples from p(x), as images or next to the data; given an image, next to it
reconstructions  x and E[x|z], for images
latents          E[z|x] of the test set, coloured by label; two latents on the prior's density
manifold         the plane of two latents, decoded

All but the first need the methods of a `VAE`: `encode`, `decode`, `latents`, `sample` and
    `reconstruct`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyrovae import plots
from pyrovae.priors import StandardNormal
from pyrovae.seeds import random_kept
from pyrovae.threads import alone

if TYPE_CHECKING:
    import pyro.distributions as dist
    from matplotlib.axes import Axes

    from pyrovae.datasets import Data, Rows
    from pyrovae.datasets.contexts import Derived

__all__ = [
    "EACH",
    "conditional_figure",
    "figures",
    "given_images",
    "is_image",
    "original_images",
    "save_figures",
    "whole_rows",
]

ROWS = 2000
IMAGES = 100
DRAWS = 20
EACH = 10  # samples for each context that is an image
METHODS = ("encode", "decode", "latents", "sample", "reconstruct")


def is_image(event_shape: tuple[int, ...]) -> bool:
    """Whether events are images that can be drawn: (1 or 3, height, width)."""
    return len(event_shape) == 3 and event_shape[0] in (1, 3) and min(event_shape[1:]) > 1


def whole_rows(x: Tensor) -> Tensor:
    """The observations without missing entries."""
    return x[~x.flatten(1).isnan().any(1)]


def given_images(derived: Derived | None, rows: Rows) -> Tensor | None:
    """What the contexts of rows give, as images (N, *event), or None if they are not images."""
    event_shape = tuple(rows.x.shape[1:])
    if derived is None or rows.context is None or not is_image(event_shape):
        return None
    return derived.picture(rows.context, event_shape)


def original_images(derived: Derived | None, rows: Rows) -> Tensor:
    """The images x of rows, with the pixels that their contexts give."""
    return rows.x if derived is None or rows.context is None else derived.completed(rows.x, rows.context)


def conditional_figure(derived: Derived, rows: Rows, samples: Tensor, each: int = EACH) -> Axes:
    """What contexts give, next to `each` samples (rows * each, *event) and the originals."""
    given, original = given_images(derived, rows), original_images(derived, rows)
    assert given is not None
    parts = samples.reshape(len(rows), each, *samples.shape[1:])
    is_whole = not bool(original.isnan().any())
    return plots.conditional_samples(given, parts, original if is_whole else None)


def save_figures(
    program: Any,  # noqa: ANN401
    data: Data,
    folder: Path,
    *,
    history: Mapping[str, np.ndarray] | None = None,
    best: int | None = None,
    seed: int = 0,
) -> list[Path]:
    """Draw the figures that apply to a program and its data as png files; returns their paths.

    Arguments:
        program: the trained program.
        data: the data; its test set is shown.
        folder: the folder of the files; created if missing.
        history: the training history, for its curves.
        best: the epoch of the weights, to be marked there.
        seed: the seed of the samples; the caller's random state does not change.
    """
    folder.mkdir(parents=True, exist_ok=True)
    axes = figures(program, data, history=history, best=best, seed=seed)
    return [plots.save(ax, folder / f"{name}.png") for name, ax in axes.items()]


def figures(
    program: Any,  # noqa: ANN401
    data: Data,
    *,
    history: Mapping[str, np.ndarray] | None = None,
    best: int | None = None,
    seed: int = 0,
) -> dict[str, Axes]:
    """Draw the figures that apply to a program and its data, and return them by name."""
    axes = {} if history is None else {"training": plots.training_curves(history, best=best)}
    if not all(callable(getattr(program, name, None)) for name in METHODS):
        return axes
    device = next(program.parameters()).device
    rows = data.test[:ROWS].to(device)
    with alone, random_kept(), torch.no_grad():
        torch.manual_seed(seed)
        axes |= _of_data(program, rows, data.derived)
        axes["latents"] = _latents(program, data, rows)
        # The manifold is drawn over the quantiles of N(0, I), so it needs that prior.
        standard = isinstance(program.prior, StandardNormal) and program.context_shape is None
        if program.latent_size == 2 and is_image(program.event_shape) and standard:
            axes["manifold"] = plots.manifold(lambda z: _mean(program.decode(z)))
    return axes


def _of_data(vae: Any, rows: Rows, derived: Derived | None) -> dict[str, Axes]:  # noqa: ANN401
    if is_image(vae.event_shape):
        pairs = rows[:10]
        hats = pairs.of_values(vae.reconstruct(pairs))
        x, x_hat = original_images(derived, pairs), original_images(derived, hats)
        pictures = {"reconstructions": plots.reconstructions(x, x_hat)}
        some = rows[:IMAGES]
        if derived is None or given_images(derived, some[:1]) is None:
            samples = vae.sample(IMAGES if some.context is None else len(some), some.context, mean=True)
            return {"samples": plots.image_grid(samples)} | pictures
        some = rows[: IMAGES // EACH]
        each = some[torch.arange(EACH * len(some)) // EACH]
        samples = vae.sample(len(each), each.context, mean=True)
        figure = conditional_figure(derived, some, original_images(derived, each.of_values(samples)))
        return {"samples": figure} | pictures
    whole = whole_rows(rows.x)
    if len(whole) < 2:
        return {}
    samples = vae.sample(len(rows), rows.context)
    return {"samples": plots.compare(whole.flatten(1), samples.flatten(1))}


def _latents(vae: Any, data: Data, rows: Rows) -> Axes:  # noqa: ANN401
    labels = None if data.labels is None else data.labels.test[: len(rows)]
    z = _mean(vae.encode(rows))
    prior = vae.latents() if vae.latent_size == 2 and vae.context_shape is None else None
    density = None
    if prior is not None and _has_density_everywhere(prior):
        density = lambda at: prior.log_prob(torch.as_tensor(at).to(z))  # noqa: E731
    return plots.latent_scatter(z, labels, density=density)


def _has_density_everywhere(distribution: dist.TorchDistribution) -> bool:
    """Whether the support is all of R^n, unlike the sphere or one-hot vectors."""
    try:
        support = distribution.support
    except NotImplementedError:
        return True
    return support is None or bool(support.check(torch.zeros(1, *distribution.event_shape)).all())


def _mean(distribution: dist.TorchDistribution) -> Tensor:
    """The mean, or the mean of some samples when it is not known."""
    try:
        return distribution.mean
    except NotImplementedError:
        return distribution.sample((DRAWS,)).mean(0)
