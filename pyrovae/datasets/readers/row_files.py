"""Arrays on disk whose rows are read a few at a time: .npy, and .npz that is not compressed.

A file is read with `seek` and `read`, and not mapped into memory: a file that becomes shorter is
then an error that can be explained, and what was read does not count as memory of the process.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor
from torch.utils.data import Dataset

from pyrovae.datasets.source import as_rows
from pyrovae.errors import InputError

__all__ = ["CHUNK", "ArrayFile", "RowFile"]

CHUNK = 2**19  # the bytes that are read from one place
SHARED = ("float32", "float64", "int64", "uint8")  # types of numpy that torch shares


class RowFile(Dataset[Any]):
    """A file of rows.

    Attributes:
        title: the name in messages.
        starts: the first rows of the chunks that are read together, ascending from 0.
        note: a remark for the user, or None.
    """

    title: str
    starts: Tensor
    note: str | None = None

    def __getitem__(self, number: int) -> Tensor:
        """One row (*event)."""
        return self.read(torch.tensor([number]))[0]

    def read(self, numbers: Tensor) -> Tensor:
        """The rows of these numbers, (B, *event), in any order; fastest for few chunks.

        Raises:
            InputError: if the file has changed.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Layout:
    """Where the rows of an array are in a file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    is_fortran: bool

    @classmethod
    def of(cls, file: BinaryIO, end: int) -> Layout | None:
        """Read the header at the place of the file; None if rows cannot be read one by one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns about files of old versions
            version = npy.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                return None
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, is_fortran, dtype = read(file)
        layout = cls(file.tell(), shape, dtype, is_fortran and len(shape) > 1)
        is_complete = layout.offset + layout.row_bytes * (shape or (1,))[0] <= end
        return layout if is_complete and dtype.kind in "biuf" and shape and math.prod(shape) else None

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])


class ArrayFile(RowFile):
    """An array on disk, (N, ...).

    Arguments:
        path: the file.
        layout: where the rows are.
        channels_last: whether the rows are images (H, W, C), which become (C, H, W).
    """

    def __init__(self, path: Path, layout: Layout, *, channels_last: bool = False) -> None:
        self.path, self.layout, self.title = path, layout, path.name
        self.channels_last = channels_last
        self.state = _state(path)
        self.chunk = max(1, CHUNK // max(1, layout.row_bytes))
        self.starts = torch.arange(0, len(self), self.chunk)
        if channels_last:
            self.note = f"images of shape {layout.shape[1:]} with channels last, read with channels first"

    def __len__(self) -> int:
        return self.layout.shape[0]

    def read(self, numbers: Tensor) -> Tensor:
        places = numbers.argsort().numpy()
        rows = numbers.numpy()[places]
        shape, dtype = self.layout.shape[1:], self.layout.dtype
        x = np.empty((len(rows), *shape), dtype.newbyteorder("="))
        cuts = np.flatnonzero(np.diff(rows // self.chunk)) + 1
        with self.path.open("rb", buffering=0) as file:
            self._check(file)
            for place, own in zip(np.split(places, cuts), np.split(rows, cuts), strict=True):
                if len(own):
                    first, some = int(own[0]), self._neighbours(file, int(own[0]), int(own[-1]))
                    x[place] = some[own - first]
        return _as_tensor(x.transpose(0, 3, 1, 2) if self.channels_last else x, self.title)

    def _neighbours(self, file: BinaryIO, first: int, last: int) -> np.ndarray:
        """Rows `first` to `last`."""
        layout = self.layout
        some = np.empty((last + 1 - first, *layout.shape[1:]), layout.dtype)
        view = memoryview(some.reshape(-1).view(np.uint8))
        file.seek(layout.offset + first * layout.row_bytes)
        while len(view):
            count = file.readinto(view)
            if not count:
                raise self._changed()
            view = view[count:]
        return some

    def _check(self, file: BinaryIO) -> None:
        if _state(file.fileno()) != self.state:
            raise self._changed()

    def _changed(self) -> InputError:
        return InputError(
            f"{self.path} has changed since it was opened: start again with the file as it is now"
        )


def _state(file: Path | int) -> tuple[int, int]:
    """The size of a file and the time of its last change."""
    state = os.stat(file)
    return state.st_size, state.st_mtime_ns


def _as_tensor(values: np.ndarray, name: str) -> Tensor:
    """Rows in a type that torch has, as `as_rows` gives them; without a copy if they have one."""
    if values.dtype.name not in SHARED:
        return as_rows(values, name)
    x = torch.from_numpy(np.ascontiguousarray(values))
    return x[:, None] if x.dim() == 1 else x
