"""Jitter: training images that are moved, turned, bent and made noisy again every epoch.

    shift 2       moved by -2 .. 2 whole pixels, in each direction
    rotate 10     turned about the centre by -10 .. 10 degrees
    elastic 1     bent by a smooth random field, whose nodes are moved by N(0, 1) pixels
    noise .05     each pixel x + .05 e, e ~ N(0, 1)

A small set then gives more examples. Every image has its own jitter, which is uniform in the range
for shifts and angles. One bilinear interpolation does all moves; pixels beyond the border repeat
the border. Values stay in the range of the training pixels, and integer levels stay levels.
Binarisation and dequantisation come afterwards. The jitter of an epoch is a function of
(seed, epoch). Validation and test rows have none.

Reference:
    Simard, Steinkraus & Platt (2003), "Best Practices for Convolutional Neural Networks Applied to
    Visual Document Analysis".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pyrovae.checks import exact, number, shown, whole
from pyrovae.cures import option
from pyrovae.datasets.contexts import is_image_shape
from pyrovae.errors import InputError
from pyrovae.names import meant_by

__all__ = ["Jitter"]

NODES = 5  # of the elastic field, along each side
PIECE = 2**21  # pixels that are moved at once


@dataclass(frozen=True)
class Jitter:
    """Random changes of images.

    Attributes:
        shift: the largest shift in whole pixels.
        rotate: the largest angle in degrees.
        elastic: the standard deviation of the moves of the elastic field's nodes, in pixels.
        noise: the standard deviation of the noise of a pixel.

    Example:
        >>> Jitter.of("rotate 10, shift 2")
        Jitter(shift=2, rotate=10.0, elastic=0.0, noise=0.0)
        >>> str(Jitter.of({"shift": 2, "noise": 0.05}))
        'shift 2, noise 0.05'
    """

    shift: int = 0
    rotate: float = 0.0
    elastic: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Check the sizes."""
        object.__setattr__(self, "shift", whole("the shift of jitter", self.shift, 0))
        for name in ("rotate", "elastic", "noise"):
            object.__setattr__(self, name, number(f"{name} of jitter", getattr(self, name), least=0.0))
        if not any(vars(self).values()):
            raise InputError(f"jitter changes nothing: give a size, as in {EXAMPLE!r}, or leave it out")

    @classmethod
    def of(cls, option: Any) -> Jitter | None:  # noqa: ANN401
        """The jitter of an option: words, a dict of sizes, or None.

        Raises:
            InputError: for an unknown change, or a size that cannot be used.
        """
        if option is None or isinstance(option, Jitter):
            return option
        pairs = option.items() if isinstance(option, Mapping) else _pairs(option)
        sizes: dict[str, Any] = {}
        for name, size in pairs:
            known = [field.name for field in fields(cls)]
            if name not in known:
                meant = meant_by(str(name), known)
                raise InputError(f"jitter has no {shown(name)}: {meant}it has {', '.join(known)}")
            if name in sizes:
                raise InputError(f"jitter names {name} twice: give one size")
            sizes[name] = size
        return cls(**sizes)

    def __str__(self) -> str:
        return ", ".join(f"{name} {exact(size)}" for name, size in vars(self).items() if size)

    def check(self, x: Tensor, name: str, *, binarize: str | None) -> None:
        """Refuse training rows (N, *event) that cannot be changed in this way.

        Raises:
            InputError: for rows that are not images, have missing entries, or are binary already.
        """
        if not is_image_shape(tuple(x.shape[1:])):
            raise InputError(
                f"jitter moves the pixels of images, and rows of {name} have the shape {tuple(x.shape[1:])}: "
                "leave jitter out"
            )
        if binarize == "static":
            raise InputError(
                f"jitter changes the images every epoch, and {option('binarize', 'static')} binarises them "
                "once: use 'dynamic' or 'threshold'"
            )
        if bool(x.isnan().any()):
            raise InputError(f"jitter needs every pixel, and {name} has missing entries: fill them in")
        if binarize is None and bool(((x == 0) | (x == 1)).all()):
            raise InputError(
                f"jitter gives grey values, and {name} is binary: binarise afterwards, with "
                f"{option('binarize', 'dynamic')} or 'threshold'"
            )

    def apply(self, x: Tensor, generator: torch.Generator, *, levels: int | None = None) -> Tensor:
        """Changed images, of the same shape.

        Arguments:
            x: images (N, H, W) or (N, C, H, W), on the CPU.
            generator: the generator of all random numbers, on the CPU.
            levels: round to this number of integer levels in [0, 1].
        """
        low, high = x.aminmax()
        changed = torch.empty_like(x)
        size = max(1, PIECE // max(1, x[:1].numel()))
        for start in range(0, len(x), size):  # memory does not grow with N
            piece = slice(start, start + size)
            changed[piece] = self._moved(x[piece], generator)
            if self.noise:
                noise = torch.randn(changed[piece].shape, generator=generator, dtype=x.dtype)
                changed[piece] += self.noise * noise
        changed.clamp_(low, high)
        return changed if levels is None else changed.mul_(levels - 1).round_().div_(levels - 1)

    def _moved(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if not (self.shift or self.rotate or self.elastic):
            return x
        images = x.float().reshape(len(x), -1, *x.shape[-2:])
        grid = self._places(len(x), images.shape[-2], images.shape[-1], generator)
        moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=True)
        return moved.reshape(x.shape).to(x.dtype)

    def _places(self, count: int, H: int, W: int, generator: torch.Generator) -> Tensor:
        """The places, in [-1, 1], from which the pixels of each image are read, (N, H, W, 2)."""
        u = torch.rand(3, count, 1, 1, generator=generator) * 2 - 1
        down, right = torch.meshgrid(
            torch.arange(H) - (H - 1) / 2, torch.arange(W) - (W - 1) / 2, indexing="ij"
        )
        angle = u[0] * math.radians(self.rotate)
        cos, sin = angle.cos(), angle.sin()
        dx, dy = (_whole_steps(part, self.shift) for part in u[1:])
        x, y = cos * right - sin * down - dx, sin * right + cos * down - dy
        if self.elastic:
            nodes = self.elastic * torch.randn(count, 2, NODES, NODES, generator=generator)
            field = functional.interpolate(nodes, (H, W), mode="bicubic", align_corners=True)
            x, y = x + field[:, 0], y + field[:, 1]
        return torch.stack([2 * x / (W - 1), 2 * y / (H - 1)], -1)


EXAMPLE = "shift 2, rotate 10, elastic 1, noise .05"
PAIR = r"([A-Za-z]+)[\s=:]+([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"


def _whole_steps(u: Tensor, most: int) -> Tensor:
    """Whole numbers from -most to most, each with the same probability, from u in [-1, 1)."""
    return ((u + 1) / 2 * (2 * most + 1)).floor().clamp(max=2 * most) - most


def _pairs(words: Any) -> list[tuple[str, float]]:  # noqa: ANN401
    """The names and sizes in words such as "shift 2, rotate 10"."""
    parts = [words] if isinstance(words, str) else words
    if not isinstance(parts, Sequence) or not all(isinstance(part, (str, int, float)) for part in parts):
        raise InputError(f"jitter must be words, as in {EXAMPLE!r}, not {shown(words)}")
    text = " ".join(map(str, parts))
    if re.fullmatch(rf"\s*{PAIR}(?:[\s,]+{PAIR})*[\s,]*", text) is None:
        raise InputError(f"jitter cannot read {shown(text)}: give names and sizes, as in {EXAMPLE!r}")
    sizes = [(name.lower(), float(size)) for name, size in re.findall(PAIR, text)]
    return [(name, int(size) if size.is_integer() else size) for name, size in sizes]
