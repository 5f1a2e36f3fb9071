"""`denoise`: images with noise, restored by samples."""

from __future__ import annotations

from pyrovae.checks import number, whole
from pyrovae.cli.restoring import images_of, posterior, write
from pyrovae.cli.runs import Split
from pyrovae.errors import InputError
from pyrovae.evidence import Method
from pyrovae.measurements import Flip, Measurement, Noise
from pyrovae.tasks.restoring import FEW, CoarseNoise, levels_of, median_of

__all__ = ["denoise"]


def denoise(
    run: str,
    *,
    noise: float | None = None,
    flip: float | None = None,
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
    """Add noise to images, and restore them by samples.

    Prints the errors of the posterior mean, of decode(encode(y)) for the noisy images y, of the
    noisy images themselves and of a median filter. Writes figures/denoise.png in the run folder:
    noisy images, five samples, the mean, and the truth.

    Arguments:
        run: the run folder of a model of images.
        noise: the standard deviation of normal noise, in units of the pixels; 0.3 by default.
        flip: the probability that a binary pixel is flipped, instead of normal noise.
        count: number of images.
        draws: number of samples of each image.
        split: the part of the data to use.
        data: name, file or folder, if the run's data came from memory or have moved.
        images: new images to use instead of the run's, in a .npy file or a folder.
        measured: noisy images to restore, in a .npy file; --noise or --flip describes the noise.
        array: also write the samples, as denoise.npy.
        particles: the number of weighted samples of each image; 1,000 by default.
        method: how the posterior is found; by default the cheapest whose diagnostics are good.
        seed: seed of the samples, and of the noise.
        device: the device to compute on; CUDA by default, if available.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae denoise runs/mnist --noise 0.5
        pyrovae denoise runs/mnist --measured noisy.npy --noise 0.2
    """
    whole("seed", seed, 0)
    if noise is not None and flip is not None:
        raise InputError("--noise and --flip exclude each other: give one of them")
    if flip is None:
        sd = number("noise", 0.3 if noise is None else noise, above=0)
        through: Measurement = Noise(sd)
    else:
        through = Flip(number("flip", flip, above=0, below=1))
    found = images_of(
        run,
        command="denoise",
        count=count,
        split=split,
        data=data,
        images=images,
        measured=measured,
        device=device,
        trust=trust,
    )
    x, levels = found.rows.x, levels_of(found.vae)
    if flip is None and levels > FEW:
        through = CoarseNoise(sd, levels)
    y = x if measured is not None else through.sample(x, seed=seed)
    completion = posterior(found, y, through, draws=draws, particles=particles, method=method, seed=seed)
    known = x[~x.isnan()]
    low, high = (float(known.min()), float(known.max())) if found.has_truth else (0.0, 1.0)
    others = {"noisy images": y.clamp(low, high), "median filter": median_of(y).clamp(low, high)}
    write(run, "denoise", found, completion, through, others, array=array)
