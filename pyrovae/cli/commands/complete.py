"""`complete`: images of which a part is removed, completed by samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyrovae.checks import whole
from pyrovae.cli.restoring import Images, images_of, posterior, write
from pyrovae.cli.runs import Split
from pyrovae.datasets.images import IMAGE_SUFFIXES
from pyrovae.errors import InputError
from pyrovae.evidence import Method
from pyrovae.measurements import Missing
from pyrovae.numerics import stderr_of_mean
from pyrovae.sharing import print_first
from pyrovae.tasks import Completion
from pyrovae.tasks.restoring import mask_of, removed

__all__ = ["complete"]


def complete(
    run: str,
    *,
    mask: str = "left",
    count: int = 20,
    draws: int = 100,
    split: Split = "test",
    data: str | None = None,
    images: str | None = None,
    measured: str | None = None,
    array: bool = False,
    particles: int | None = None,
    method: Method | None = None,
    seed: int = 0,
    device: str | None = None,
    trust: str | None = None,
) -> None:
    """Remove a part of each image, and restore it by samples.

    --mask left, right, top or bottom removes this half, and centre the middle; quadrant:1 removes
    the upper left quarter (2 upper right, 3 lower left, 4 lower right); random:.5 half of the
    pixels of each image, chosen at random; and an image file the pixels that are white in it.
    Prints log p(removed | rest) and the error of the mean. Writes figures/complete-MASK.png in the
    run folder: what is given, five samples, the mean, and the truth.

    Arguments:
        run: the run folder of a model of images.
        mask: the part to remove.
        count: number of images.
        draws: number of samples of each image.
        split: the part of the data to use.
        data: name, file or folder, if the run's data came from memory or have moved.
        images: new images to use instead of the run's, in a .npy file or a folder.
        measured: incomplete images to restore, in a .npy file with NaN for missing pixels.
        array: also write the samples, as complete-MASK.npy.
        particles: the number of weighted samples of each image; 1,000 by default.
        method: how the posterior is found; by default the cheapest whose diagnostics are good.
        seed: seed of the samples, and of a random mask.
        device: the device to compute on; CUDA by default, if available.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae complete runs/mnist --mask left
        pyrovae complete runs/mnist --mask random:.5 --count 5
    """
    whole("seed", seed, 0)
    found = images_of(
        run,
        command="complete",
        count=count,
        split=split,
        data=data,
        images=images,
        measured=measured,
        device=device,
        trust=trust,
    )
    options: dict[str, Any] = {"particles": particles, "method": method, "seed": seed}
    if measured is None:
        pixels = mask_of(mask, found.event, len(found.rows), seed) & ~found.rows.x.isnan()
        if not pixels.any():
            raise InputError(f"--mask {mask} removes no pixel that the run models: give another mask")
        y = removed(found.rows.x, pixels)
        name = Path(mask).stem if Path(mask).suffix.lower() in IMAGE_SUFFIXES else mask
    else:
        y, pixels, name = found.rows.x, found.rows.x.isnan(), Path(measured).stem
        if not pixels.any():
            raise InputError(f"{measured} has no missing pixel: write NaN where a pixel is not known")
    completion = posterior(found, y, Missing(), draws=draws, **options)
    name = f"complete-{name.replace(':', '-')}"
    write(run, name, found, completion, Missing(), {}, where=pixels, array=array)
    if found.has_truth:
        _say_likelihood(found, completion, pixels, **options)


def _say_likelihood(
    found: Images,
    completion: Completion,
    pixels: torch.Tensor,
    *,
    particles: int | None,
    method: Method | None,
    seed: int,
) -> None:
    """Print log p(removed | rest) = log p(x) - log p(rest), by the same method."""
    options: dict[str, Any] = {"particles": particles, "method": method, "seed": seed}
    full = posterior(found, found.rows.x, Missing(), draws=1, **options)
    difference = full.log_py - completion.log_py
    finite = np.isfinite(difference)
    if not finite.any():
        print_first("log p(removed | rest) is not finite for any image")
        return
    errors = np.hypot(full.mc_stderr, completion.mc_stderr)[finite]
    mean, count = difference[finite].mean(), int(finite.sum())
    spread = f" (standard error over images {stderr_of_mean(difference[finite]):.2f}" if count > 1 else " ("
    error = np.sqrt((errors**2).sum()) / count
    print_first(
        f"log p(removed | rest) {mean:.2f} nats per image of {pixels.flatten(1).sum(1).double().mean():.0f} "
        f"removed pixels{spread}{', ' if count > 1 else ''}Monte Carlo error {error:.2f})"
    )
