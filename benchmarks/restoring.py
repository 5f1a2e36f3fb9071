"""Pictures restored from a part, with noise, or small: PSNR of several restorations.

    pyrovae fit --data fashion_mnist --likelihood Normal --likelihood.scale learned \
        --latent_dim 32 --epochs 20 --out runs/fashion
    python benchmarks/restoring.py runs/fashion --count 50 --out fashion.png

Each test image is measured (the left half removed, a square in the centre removed, noise of .3, half
the size) and restored by

    condition        the mean of p(x|y), from 100 samples
    decode(encode)   E[x|z] at the mean of q(z|y), where y is filled with zeros or enlarged
    input            y itself, filled with the mean of the known pixels, or enlarged
    filter           a median filter for noise; bicubic enlargement; the mean training image for
                     pixels that are missing

PSNR = -10 log10 of the mean squared error of the pixels in [0, 1], over all images; of the pixels
that are missing, if some are.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

import pyrovae as pv
from pyrovae import plots
from pyrovae.measurements import Downsample, Measurement, Missing, Noise

Case = tuple[str, Tensor, Measurement, Tensor]


def cases(x: Tensor) -> list[Case]:
    """The name, y, the measurement, and which pixels count."""
    rng = torch.Generator().manual_seed(0)
    left, centre = torch.zeros_like(x, dtype=torch.bool), torch.zeros_like(x, dtype=torch.bool)
    left[..., : x.shape[-1] // 2] = True
    centre[..., 8:20, 8:20] = True
    every = torch.ones_like(left)
    missing = [
        (name, x.masked_fill(m, math.nan), Missing(), m)
        for name, m in (("left half", left), ("centre", centre))
    ]
    noisy = x + 0.3 * torch.randn(x.shape, generator=rng)
    small = torch.nn.functional.avg_pool2d(x, 2)
    return [*missing, ("noise .3", noisy, Noise(0.3), every), ("half size", small, Downsample(2), every)]


def rough(y: Tensor, through: Measurement, size: int) -> Tensor:
    """y as an image that an encoder reads."""
    if isinstance(through, Downsample):
        return torch.nn.functional.interpolate(y, size=(size, size), mode="nearest")
    return y.nan_to_num(nan=0.0)


def filtered(y: Tensor, through: Measurement, size: int, usual: Tensor) -> Tensor:
    """The restoration without a model."""
    if isinstance(through, Missing):
        return torch.where(y.isnan(), usual, y)
    if isinstance(through, Noise):
        return torch.from_numpy(np.stack([ndimage.median_filter(one[0], 3)[None] for one in y.numpy()]))
    return torch.nn.functional.interpolate(y, size=(size, size), mode="bicubic", align_corners=False)


def filled(y: Tensor, through: Measurement, size: int) -> Tensor:
    """y itself."""
    means = y.flatten(1).nanmean(1).reshape(-1, 1, 1, 1)
    return rough(torch.where(y.isnan(), means, y), through, size)


def psnr(one: Tensor, other: Tensor, mask: Tensor) -> float:
    """-10 log10 of the mean squared error of some pixels."""
    return -10 * math.log10((one.clamp(0, 1) - other)[mask].double().square().mean().item())


@torch.no_grad()
def restore(vae: pv.VAE, x: Tensor, usual: Tensor, show: Callable[..., None]) -> None:
    """Print a line for each case."""
    size = x.shape[-1]
    print("| measured | condition | decode(encode) | input | filter | log p(y) | trusted | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for name, y, through, mask in cases(x):
        began = time.perf_counter()
        completion = pv.condition(vae, y, through=through)
        seconds = time.perf_counter() - began
        coded = vae.decode(vae.encode(rough(y, through, size)).mean).mean
        others = (coded, filled(y, through, size), filtered(y, through, size, usual))
        if isinstance(through, Missing):
            others = tuple(torch.where(y.isnan(), other, y) for other in others)
        numbers = [psnr(restored, x, mask) for restored in (completion.mean, *others)]
        text = " | ".join(f"{number:.2f}" for number in numbers)
        print(
            f"| {name} | {text} | {completion.log_py.mean():.1f} | {completion.trusted.mean():.0%} | "
            f"{seconds:.0f} |",
            flush=True,
        )
        show(name, rough(y, through, size), completion, others, x)


def main() -> None:
    """Read the options, and restore."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder of images with a Normal likelihood")
    parser.add_argument("--data", default=None, help="the data of the run, if they have moved")
    parser.add_argument("--count", type=int, default=50, help="test images")
    parser.add_argument("--out", default="restored.png", help="a picture with eight examples of each case")
    options = parser.parse_args()
    vae = pv.load(options.run).eval()
    data = pv.datasets.load(options.data or yaml_of(options.run)["data"])
    x, usual = data.test.x[: options.count], data.train.x.mean(0)
    pictures: list[Tensor] = []

    def show(
        name: str, y: Tensor, completion: pv.Completion, others: tuple[Tensor, ...], truth: Tensor
    ) -> None:
        rows = [y, completion.x[0], completion.x[1], completion.mean, others[0], others[2], truth]
        pictures.extend(row[:8].clamp(0, 1) for row in rows)

    restore(vae, x, usual, show)
    ax = plots.image_grid(torch.cat(pictures), columns=8)
    ax.set_title("of each case: y, two samples, mean, decode(encode), filter, truth", fontsize=8)
    print("written:", plots.save(ax, options.out))


def yaml_of(run: str) -> dict:
    """The options of a run."""
    import yaml

    with open(f"{run}/config.yaml", encoding="utf-8") as file:
        return yaml.safe_load(file)


if __name__ == "__main__":
    main()
