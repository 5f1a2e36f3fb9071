r"""The length of rows after lossless compression, an estimate of their complexity in bits.

A code of L(x) bits is a model with \(\log p(x) = -L(x) \log 2\). A general compressor knows that
neighbours are alike, and nothing about the training data.

    images of up to 256 levels     PNG, one byte a pixel and channel (one bit for two levels)
    other rows                     zlib, one or two bytes an element (one bit for two levels)

The length includes a constant for the header of the format. Another version of the library may give
lengths that differ by a few bytes.
"""

from __future__ import annotations

import io
import zlib

import numpy as np

__all__ = ["compressed_bits"]

CHANNELS = (1, 3)


def compressed_bits(levels: np.ndarray, count: int) -> np.ndarray:
    """The number of bits of each row after lossless compression, (N,).

    Arguments:
        levels: whole numbers from 0 to `count` - 1, (N, *event); an event (H, W), or (C, H, W)
            with one or three channels, is an image.
        count: the number of levels, at most 65,536.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rows = np.stack([np.zeros((1, 28, 28), int), rng.integers(0, 256, (1, 28, 28))])
        >>> plain, noise = compressed_bits(rows, 256)
        >>> bool(plain < 800), bool(noise > 28 * 28 * 8)
        (True, True)
    """
    levels = levels[:, None] if levels.ndim == 3 else levels
    is_image = levels.ndim == 4 and levels.shape[1] in CHANNELS and count <= 256
    length = _png if is_image else _zlib
    return np.array([8.0 * length(row, count) for row in levels])


def _png(row: np.ndarray, count: int) -> int:
    """The bytes of an image (C, H, W) as PNG."""
    from PIL import Image

    pixels = row.astype(np.uint8).transpose(1, 2, 0)
    if count == 2 and len(row) == 1:
        image = Image.fromarray(pixels[..., 0] * np.uint8(255)).convert("1")
    else:
        image = Image.fromarray(pixels[..., 0] if len(row) == 1 else pixels)
    file = io.BytesIO()
    image.save(file, "png", optimize=True)
    return len(file.getvalue())


def _zlib(row: np.ndarray, count: int) -> int:
    """The bytes of the elements, compressed by zlib."""
    if count == 2:
        return len(zlib.compress(np.packbits(row.astype(bool).reshape(-1)).tobytes(), 9))
    return len(zlib.compress(row.astype("u1" if count <= 256 else "<u2").tobytes(), 9))
