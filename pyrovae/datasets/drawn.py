"""A drawn data set: images of bytes with the factors that they were drawn from.

    values (N, F')  ->  pieces of images in float64  ->  uint8 (N, C, H, W)

It is a torch `Dataset`, so `load` streams it when it is large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pyrovae.checks import whole
from pyrovae.datasets.causes import Cause, sampled, stream
from pyrovae.datasets.drawing import DRAWN, Drawing, titled
from pyrovae.datasets.factor_values import Factors
from pyrovae.datasets.source import Source, as_source
from pyrovae.errors import InputError
from pyrovae.memory import refuse_too_large

__all__ = ["Drawn", "Painter", "drawn"]

EACH = 4  # copies of the values while they are sampled
PIECE = 2**16  # pixels that are drawn at once: their arrays stay in the cache

Painter = Callable[[np.ndarray, int], np.ndarray]  # of values (N, F') and a size


class Drawn(Dataset[Any]):
    """Images with the factors that they were drawn from.

    Arguments:
        name: the name of the set, with its options.
        images: uint8 images, (N, C, H, W).
        factors: the factors of each image.
        labels: int64 classes, (N,), or None.
        class_names: the words for the classes, or None.

    Example:
        >>> from pyrovae import datasets
        >>> sprites = datasets.sprites(100, size=32)
        >>> len(sprites), tuple(sprites.images.shape), sprites.factors.names
        (100, (100, 1, 32, 32), ('shape', 'scale', 'rotation', 'x', 'y'))
    """

    def __init__(
        self,
        name: str,
        images: Tensor,
        factors: Factors,
        labels: Tensor | None = None,
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        self.title = name
        self.images, self.factors = images, factors
        self.targets, self.class_names = labels, class_names

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Any:  # noqa: ANN401
        """One image, or an image with its class."""
        return self.images[row] if self.targets is None else (self.images[row], int(self.targets[row]))

    def first(self, count: int) -> Drawn:
        """The first images, which are those of a smaller set with the same options.

        Raises:
            InputError: if there are fewer.
        """
        count = whole("count", count, 3)
        if count > len(self):
            raise InputError(f"count={count} is more than the {len(self)} images of {self.title}: use fewer")
        labels = None if self.targets is None else self.targets[:count]
        factors = self.factors.take(slice(count))
        return Drawn(self.title, self.images[:count], factors, labels, self.class_names)

    def source(self) -> Source:
        """The images as rows before any split."""
        source = as_source(self.title, self.images, self.targets)
        if self.class_names is not None:
            source = replace(source, classes=tuple(range(len(self.class_names))))
        return replace(source, factors=self.factors, class_names=self.class_names)

    def __repr__(self) -> str:
        return f"Drawn({self.title}): {len(self):,} images {tuple(self.images.shape[1:])}, {self.factors!r}"


def drawn(name: str, causes: Sequence[Cause], paint: Painter, count: int | None, drawing: Drawing) -> Drawn:
    """Sample the causes of images, and draw the images; a first cause with words is their class.

    Raises:
        InputError: for options that do not fit, and images that do not fit into memory.
    """
    size, channels = drawing.size or DRAWN[name], 3 if drawing.colour else 1
    each = channels * size * size + 8 * EACH * len(causes)
    if count is not None:
        count = whole("count", count, 3)
        _refuse_too_many(count, size, each)
    values, factors = sampled(causes, count, drawing, name)
    if count is None:
        _refuse_too_many(len(values), size, each)
    images = np.empty((len(values), channels, size, size), dtype=np.uint8)
    piece = max(1, PIECE // size**2)
    noise = stream(name, drawing.seed, "noise")
    for start in range(0, len(values), piece):
        part = paint(values[start : start + piece], size)
        images[start : start + piece] = _noisy(part, drawing.noise, noise)
    has_classes = causes[0].words is not None and causes[0].name in factors.names
    labels, words = (factors.values[:, 0].long(), causes[0].words) if has_classes else (None, None)
    return Drawn(titled(name, drawing), torch.from_numpy(images), factors, labels, words)


def _refuse_too_many(count: int, size: int, each: int) -> None:
    refuse_too_large(f"{count:,} drawn images of {size} x {size}", count * each)


def _noisy(images: np.ndarray, noise: float, bits: np.random.Philox) -> np.ndarray:
    """Images (N, C, H, W) with uniform noise in 256 steps, cut off at 0 and 255.

    The standard deviation of 0 .. 255 with equal probability is sqrt((256^2 - 1) / 12).
    """
    if not noise:
        return images
    words = -(-images[0].size // 8)  # eight bytes each, so the noise of an image is its own
    raw = bits.random_raw(len(images) * words).astype("<u8").view(np.uint8)
    u = raw.reshape(len(images), -1)[:, : images[0].size].reshape(images.shape)
    scale = 255 * noise / np.sqrt((256 * 256 - 1) / 12)
    return np.rint(np.clip(images + (u - 127.5) * scale, 0, 255)).astype(np.uint8)
