"""`enlarge`: small images, enlarged by samples."""

from __future__ import annotations

from dataclasses import replace

from pyrovae.checks import number, whole
from pyrovae.cli.restoring import images_of, posterior, write
from pyrovae.cli.runs import Split
from pyrovae.errors import InputError
from pyrovae.evidence import Method
from pyrovae.measurements import Downsample, Measurement, Noise
from pyrovae.tasks.restoring import FEW, CoarseDownsample, bicubic, has_density, levels_of, on_levels

__all__ = ["enlarge"]


def enlarge(
    run: str,
    *,
    factor: int = 2,
    noise: float | None = None,
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
    """Make images small, and restore them by samples.

    A pixel of a small image is the mean of a block of FACTOR x FACTOR pixels. Prints the errors of
    the posterior mean, of decode(encode(y)) for the small images y, and of nearest-neighbour and
    bicubic interpolation. Writes figures/enlarge-FACTOR.png in the run folder: small images, five
    samples, the mean, and the truth.

    Arguments:
        run: the run folder of a model of images.
        factor: the height and width of a block.
        noise: the standard deviation of normal noise in the small images; no noise by default.
        count: number of images.
        draws: number of samples of each image.
        split: the part of the data to use.
        data: name, file or folder, if the run's data came from memory or have moved.
        images: new images to use instead of the run's, in a .npy file or a folder.
        measured: small images to enlarge, in a .npy file (N, channels, height, width).
        array: also write the samples, as enlarge-FACTOR.npy.
        particles: the number of weighted samples of each image; 1,000 by default.
        method: how the posterior is found; by default the cheapest whose diagnostics are good.
        seed: seed of the samples, and of the noise.
        device: the device to compute on; CUDA by default, if available.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae enlarge runs/mnist --factor 4
        pyrovae enlarge runs/mnist --measured small.npy --noise 0.05
    """
    whole("seed", seed, 0)
    found = images_of(
        run,
        command="enlarge",
        count=count,
        split=split,
        data=data,
        images=images,
        measured=measured,
        device=device,
        trust=trust,
    )
    levels = levels_of(found.vae)
    coarse = (CoarseDownsample if levels > FEW else Downsample)(factor).attached(found.event)
    through: Measurement = coarse
    if noise is not None:
        through = coarse >> Noise(number("noise", noise, above=0))
    elif not has_density(found.vae, coarse, found.rows):
        raise InputError(
            "small images are a function of the large ones and have no density under this likelihood: add "
            "noise, as in --noise 0.05"
        )
    x = found.rows.x
    y = x if measured is not None else through.sample(x, seed=seed)
    completion = posterior(found, y, through, draws=draws, particles=particles, method=method, seed=seed)
    if levels > FEW:
        completion = replace(completion, x=on_levels(completion.x, levels))
    large = y.clamp(0, 1)
    others = {
        "nearest neighbour": coarse.guess(large),
        "bicubic": bicubic(large, found.event[1:]).clamp(0, 1),
    }
    write(run, f"enlarge-{factor}", found, completion, through, others, array=array)
