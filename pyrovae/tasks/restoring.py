r"""Images that are measured in part, with noise or coarsely, and simple ways to restore them.

    mask        left right top bottom centre quadrant:1 random:.5, or an image file; True is removed
    rivals      decode(encode(y)), the measurement itself, a median filter, bicubic interpolation

The error of a restored image is the mean square over its pixels; the signal-to-noise ratio is

    PSNR = 10 log10(peak^2 / MSE)  dB,        peak = largest minus smallest pixel of the true images
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional

from pyrovae.checks import number
from pyrovae.datasets import Rows
from pyrovae.datasets.contexts import Given
from pyrovae.datasets.images import IMAGE_SUFFIXES
from pyrovae.datasets.preparation import generator_of
from pyrovae.distributions import DiscretizedLogistic
from pyrovae.errors import InputError
from pyrovae.evidence.run import evaluating
from pyrovae.exploring.space import Space
from pyrovae.measurements import Downsample, Measurement, Noise
from pyrovae.measurements.families import Finite, as_finite, elements_of
from pyrovae.tasks.kinds import of_likelihood
from pyrovae.tasks.measured import Measured
from pyrovae.terms import Runner

__all__ = [
    "FEW",
    "CoarseDownsample",
    "CoarseNoise",
    "bicubic",
    "error_line",
    "has_density",
    "levels_of",
    "mask_of",
    "median_of",
    "on_levels",
    "reconstructed",
    "removed",
]

FEW = 32  # levels of which a sum and a mean are computed exactly
REGIONS = {word: f"{word} half" for word in ("left", "right", "top", "bottom")} | {"centre": "centre"}
QUADRANTS = "1 upper left, 2 upper right, 3 lower left, 4 lower right"


def mask_of(word: str, event: tuple[int, ...], count: int, seed: int = 0) -> Tensor:
    """The pixels that a mask removes, (N, C, H, W), True where removed.

    Arguments:
        word: "left", "right", "top", "bottom" or "centre" (half the height and width), which are
            removed; "quadrant:1" to "quadrant:4"; "random:0.5", a share of the pixels of each
            image; or an image file of the size of the images, white where pixels are removed.
        event: (C, H, W).
        count: N.
        seed: of a random mask.

    Raises:
        InputError: for an unknown mask.

    Example:
        >>> mask_of("left", (1, 2, 4), 1)[0, 0].int().tolist()
        [[1, 1, 0, 0], [1, 1, 0, 0]]
    """
    kind, _, value = word.partition(":")
    if Path(word).suffix.lower() in IMAGE_SUFFIXES:
        one = _mask_of_file(Path(word), event[1:])
    elif kind == "random":
        return _random(value, event, count, seed)
    else:
        one = _region(word, kind, value, event)
    return one.expand(count, *event).clone()


def _region(word: str, kind: str, value: str, event: tuple[int, ...]) -> Tensor:
    if kind == "quadrant" and value in ("1", "2", "3", "4"):
        return Given(f"quadrants {value}").given(event)
    if word not in REGIONS:
        raise InputError(
            f"there is no mask {word!r}: choose {', '.join(REGIONS)}, quadrant:1 ({QUADRANTS}), "
            "random:0.5, or an image file"
        )
    return Given(REGIONS[word]).given(event)


def _random(value: str, event: tuple[int, ...], count: int, seed: int) -> Tensor:
    try:
        share = number("the share of random", float(value or 0.5), above=0, below=1)
    except ValueError:
        raise InputError(f"random takes a share between 0 and 1, as in random:0.5, not {value!r}") from None
    noise = torch.rand(count, 1, *event[1:], generator=generator_of("mask", seed))
    return (noise < share).expand(count, *event).clone()


def _mask_of_file(path: Path, size: tuple[int, ...]) -> Tensor:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"))
    except (OSError, ValueError) as error:
        raise InputError(f"the mask {path} cannot be read ({error}): give an image file") from None
    if pixels.shape != tuple(size):
        raise InputError(
            f"the mask {path} has {pixels.shape[0]} x {pixels.shape[1]} pixels, and the images have "
            f"{size[0]} x {size[1]}: give a mask of this size"
        )
    mask = torch.from_numpy(pixels > 127)
    if not mask.any():
        raise InputError(f"the mask {path} has no white pixel: paint what is removed white")
    return mask


def removed(x: Tensor, mask: Tensor) -> Tensor:
    """Images with NaN in place of removed pixels."""
    return torch.where(mask, torch.nan, x)


# -------------------------------------------------------------------- grey levels


def levels_of(vae: Any) -> int:  # noqa: ANN401
    """The number n of grey levels 0, 1/(n-1), ..., 1 of the likelihood, or 0 for other numbers."""
    count = of_likelihood(vae, "levels", "classes")
    return count if isinstance(count, int) and of_likelihood(vae, "grey") is not False else 0


class CoarseDownsample(Downsample):
    r"""Means of blocks of many-valued grey levels, whose distribution is taken as normal.

    \[y \approx \mathcal N(m, s^2), \quad m = \frac1n \sum_i E[x_i|z], \quad
    s^2 = \frac1{n^2} \sum_i \mathrm{Var}[x_i|z]\]

    The exact distribution of the mean of n pixels with 256 levels has 255 n + 1 values, and costs a
    convolution for each block. Mean and variance are those of 32 levels. Samples of x are numbers
    between the levels: round them.

    Arguments:
        factor: the height and width of a block.
    """

    def marginal(self, p: Any) -> Any:  # noqa: ANN401
        return super().marginal(_matched(p))

    def back(self, p: Any, y: Tensor, draw: Any) -> Tensor:  # noqa: ANN401
        return super().back(_matched(p), y, draw)

    def moments(self, p: Any, y: Tensor) -> tuple[Tensor, Tensor] | None:  # noqa: ANN401
        return super().moments(_matched(p), y)


def _matched(p: Any) -> Any:  # noqa: ANN401
    """A normal distribution with the mean and the variance of levels, rounded to fewer ones."""
    finite = as_finite(_fewer(p, FEW))
    if finite is None:
        return p
    step = float(finite.values.diff().abs().min())
    variance = finite.variance.clamp(min=step**2 / 12)  # that of rounding
    return dist.Normal(finite.mean, variance.sqrt(), validate_args=False)


class CoarseNoise(Noise):
    r"""Noise of many-valued grey levels, which are rounded to fewer levels.

    The steps between the fewer levels are at most sd / 8, so rounding adds less than 0.2 percent to
    the variance of the noise. Samples of x have the fewer levels.

    Arguments:
        sd: the standard deviation of the noise.
        levels: the number of levels of x.
    """

    def __init__(self, sd: float, levels: int) -> None:
        super().__init__(sd)
        self.levels = levels

    def marginal(self, p: Any) -> Any:  # noqa: ANN401
        return super().marginal(_fewer(p, self._count))

    def back(self, p: Any, y: Tensor, draw: Any) -> Tensor:  # noqa: ANN401
        return super().back(_fewer(p, self._count), y, draw)

    def moments(self, p: Any, y: Tensor) -> tuple[Tensor, Tensor] | None:  # noqa: ANN401
        return super().moments(_fewer(p, self._count), y)

    @property
    def _count(self) -> int:
        return min(self.levels, max(8, math.ceil(8 / self.sd) + 1))


def _fewer(p: Any, count: int) -> Any:  # noqa: ANN401
    """The distribution of grey levels rounded to fewer levels."""
    if isinstance(p, DiscretizedLogistic):
        return DiscretizedLogistic(p.loc, p.scale, p.logits, min(count, p.levels))
    finite = as_finite(p)
    if finite is None or len(finite.values) <= count:
        return p
    places = (finite.values * (count - 1)).round().long()
    sums = functional.one_hot(places, count).to(finite.logits)
    values = torch.linspace(0, 1, count, dtype=finite.values.dtype, device=finite.values.device)
    tiny = torch.finfo(sums.dtype).tiny
    return Finite(values, (finite.logits.exp() @ sums).clamp(min=tiny).log())


def has_density(vae: Any, measurement: Measurement, rows: Rows) -> bool:  # noqa: ANN401
    """Whether p(y|z) of a measurement by itself has a closed form.

    Arguments:
        vae: the VAE.
        measurement: one measurement that is attached.
        rows: rows with a context, of which the first is used, if the VAE has one.
    """
    like = next(vae.parameters())
    z = torch.zeros(1, vae.prior.size, dtype=like.dtype, device=like.device)
    with evaluating(Runner(vae)):
        p, _ = elements_of(vae.decode(z, rows[:1].context))
        return measurement.marginal(p) is not None


def on_levels(x: Tensor, levels: int) -> Tensor:
    """Numbers rounded to the levels 0, 1/(n-1), ..., 1."""
    return (x.clamp(0, 1) * (levels - 1)).round() / (levels - 1)


# -------------------------------------------------------------------- rivals


def reconstructed(vae: Any, rows: Rows, measurement: Measurement, seed: int = 0) -> Tensor:  # noqa: ANN401
    """decode(encode(y)): the means of p(x|z) at the mean of q(z|y), (N, *event).

    Arguments:
        vae: the VAE.
        rows: measurements y (N, *shape), with the context of each.
        measurement: how y comes from x.
        seed: seed of the samples, if q(z|y) has no known mean.
    """
    space, measured = Space(vae, "decode(encode(y))"), Measured(vae, measurement, tuple(vae.event_shape))
    rows = Rows.of(rows, like=measured.runner.parameter)
    rough = Rows(measured.inner.readable(measured.steps.guess(rows.x)), rows.context)
    return torch.as_tensor(space.decoded(space.encode(rough, seed), rows.context))


def median_of(y: Tensor) -> Tensor:
    """Each pixel replaced by the median of its 3 x 3 neighbours; the border is mirrored."""
    padded = functional.pad(y, (1, 1, 1, 1), mode="reflect" if min(y.shape[-2:]) > 1 else "replicate")
    return padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2).median(-1).values


def bicubic(y: Tensor, size: tuple[int, ...]) -> Tensor:
    """Images interpolated to a size, by cubic functions."""
    return functional.interpolate(y.float(), tuple(size), mode="bicubic", align_corners=False)


def error_line(x: Tensor, estimate: Tensor, where: Tensor | None = None) -> str:
    """MSE and PSNR of restored images, over some pixels.

    Example:
        >>> error_line(torch.tensor([0.0, 1.0]), torch.tensor([0.1, 0.9]))
        'MSE 0.0100, PSNR 20.0 dB'
    """
    known = ~x.isnan() if where is None else where & ~x.isnan()
    mse = float((estimate.double() - x.double()).square()[known].mean())
    peak = float(x[~x.isnan()].max() - x[~x.isnan()].min()) or 1.0
    psnr = math.inf if mse == 0 else 10 * math.log10(peak**2 / mse)
    return f"MSE {mse:.4f}, PSNR {psnr:.1f} dB"
