"""The file of dSprites: binary images of 64x64 pixels, and the factors that they were drawn from.

    imgs              uint8 (737280, 64, 64), 0 and 1
    latents_values    (737280, 6): colour, shape, scale, orientation, x and y

The colour is the same in all images, so it is not one of the factors. Rows are read one after
another, and only those that are kept stay in memory.

Reference:
    Matthey, Higgins, Hassabis & Lerchner (2017), "dSprites: Disentanglement testing Sprites
    dataset", https://github.com/deepmind/dsprites-dataset/.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import IO
from zipfile import ZipFile, is_zipfile

import numpy as np
import torch
from numpy.lib import format as npy

from pyrovae.checks import whole
from pyrovae.datasets.causes import stream
from pyrovae.datasets.factor_values import Factors, Kind
from pyrovae.datasets.readers.arrays import noted
from pyrovae.datasets.source import Source, as_source
from pyrovae.errors import InputError
from pyrovae.memory import refuse_too_large

__all__ = ["is_dsprites", "read_dsprites"]

NAMES = ("shape", "scale", "rotation", "x", "y")
KINDS: tuple[Kind, ...] = ("categorical", "ordinal", "angle", "ordinal", "ordinal")
SHAPES = ("square", "ellipse", "heart")
PIECE = 2**22  # bytes that are read at once


def is_dsprites(path: Path) -> bool:
    """Whether an archive has the arrays of dSprites."""
    if not is_zipfile(path):
        return False
    with ZipFile(path) as archive:
        return {"imgs.npy", "latents_values.npy"} <= set(archive.namelist())


def read_dsprites(path: Path, count: int | None = None) -> Source:
    """Read all images, or `count` of them, chosen at random but the same in every call.

    Raises:
        InputError: for arrays of another shape, or more rows than fit into memory.
    """
    with ZipFile(path) as archive:
        with archive.open("latents_values.npy") as file:
            shape, dtype = _header(file, path)
            values = np.frombuffer(file.read(), dtype).reshape(shape).astype(np.float64)
        if values.ndim != 2 or values.shape[1] != len(NAMES) + 1:
            raise InputError(f"{path} has factors of shape {values.shape}, not (N, 6): give that of dSprites")
        rows = _chosen(len(values), count)
        with archive.open("imgs.npy") as file:
            images = _rows_of(file, rows, path, len(values))
    factors = _factors(values)
    labels = factors.values[rows, 0].long()
    source = as_source(path.name, torch.from_numpy(images)[:, None], labels)
    note = f"dSprites: {len(rows):,} of {len(values):,} images, chosen at random"
    source = noted(source, note if len(rows) < len(values) else None)
    classes = tuple(range(len(SHAPES)))
    return replace(source, factors=factors.take(rows), classes=classes, class_names=SHAPES)


def _factors(values: np.ndarray) -> Factors:
    """The factors, whose domains are those of the whole set; shapes are numbered from 0."""
    own = values[:, 1:].copy()
    own[:, 0] -= 1
    own[:, 2] = np.clip(own[:, 2], 0.0, 2 * np.pi)  # the last angle is 2 pi
    return Factors(torch.from_numpy(own), NAMES, KINDS, words=(SHAPES, None, None, None, None))


def _chosen(total: int, count: int | None) -> np.ndarray:
    """The row numbers, ascending."""
    if count is None:
        return np.arange(total)
    if whole("count", count, 3) > total:
        raise InputError(f"count={count} is more than the {total:,} images that there are: use fewer")
    order = np.argsort(stream("dsprites").random_raw(total), kind="stable")
    return np.sort(order[:count])


def _rows_of(file: IO[bytes], rows: np.ndarray, path: Path, total: int) -> np.ndarray:
    """The images (N, H, W) with some numbers, of an array of bytes, read piece by piece."""
    shape, dtype = _header(file, path)
    if dtype != np.uint8 or len(shape) != 3 or shape[0] != total:
        raise InputError(
            f"{path} has images of shape {shape} and type {dtype}, not uint8 ({total}, 64, 64): give that of "
            "dSprites"
        )
    each = shape[1] * shape[2]
    what = f"{len(rows):,} images of {shape[1]} x {shape[2]} in single precision"
    refuse_too_large(what, 4 * 2 * len(rows) * each, "give a smaller number by count=")
    images = np.empty((len(rows), *shape[1:]), dtype=np.uint8)
    size = max(1, PIECE // each)
    for start in range(0, total, size):
        many = min(size, total - start)
        block = file.read(many * each)
        if len(block) < many * each:
            raise InputError(f"{path} is cut off: copy or download it again")
        low, high = np.searchsorted(rows, [start, start + many])
        if high > low:
            images[low:high] = np.frombuffer(block, np.uint8).reshape(many, *shape[1:])[
                rows[low:high] - start
            ]
    return images


def _header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array, whose values follow."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    if is_fortran or dtype.hasobject:
        raise InputError(f"{path} has arrays in an order that is not read: give the file of dSprites")
    return shape, dtype
