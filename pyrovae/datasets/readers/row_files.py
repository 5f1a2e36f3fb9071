"""Arrays on disk whose rows are read a few at a time: .npy, and .npz that is not compressed.

A file is read with `seek` and `read`, and is not mapped into memory. If the file becomes shorter,
the error can then be explained, and pages of the file do not count as memory of the process.
"""

from __future__ import annotations

import os
import struct
import warnings
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, cast
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor
from torch.utils.data import Dataset

from pyrovae.datasets.readers.arrays import has_channels_last, has_test_set, labels_among, rows_among
from pyrovae.errors import InputError

__all__ = ["ArrayFile", "RowFile", "opened_rows", "state_of"]

CHUNK = 2**19  # bytes that are read from one place in the file


class RowFile(Dataset[Any]):
    """A file of rows.

    Attributes:
        path: the file.
        title: the name in messages.
        shape: the shape of all rows, (N, *event).
        dtype: the type of the rows in memory.
        starts: the first row of each chunk of rows that are read together, ascending from 0.
        state: the size of the file and the time of its last change.
        note: a remark for the user, or None.
    """

    path: Path
    title: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    starts: Tensor
    state: tuple[int, int]
    note: str | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, number: int) -> Tensor:
        """One row (*event)."""
        return self.read(torch.tensor([number]))[0]

    def read(self, numbers: Tensor) -> Tensor:
        """The rows with these numbers, (B, *event), in any order; fastest if in few chunks.

        Raises:
            InputError: if the file has changed.
        """
        x = torch.empty((len(numbers), *self.shape[1:]), dtype=self.dtype)
        self.fill(numbers, x)
        return x

    def fill(self, numbers: Tensor, x: Tensor) -> None:
        """Write the rows with these numbers into x, (B, *event), in the type of x.

        Raises:
            InputError: if the file has changed or cannot be read.
        """
        try:
            if state_of(self.path) != self.state:
                raise self.changed()
            self._fill(numbers, x)
        except OSError as error:
            raise InputError(
                f"{self.path} can no longer be read ({error.strerror or error}): start again when it can"
            ) from None

    def _fill(self, numbers: Tensor, x: Tensor) -> None:
        raise NotImplementedError

    def changed(self) -> InputError:
        """The error for a file that has changed since it was opened."""
        return InputError(
            f"{self.path} has changed since it was opened: start again with the file as it is now"
        )


@dataclass(frozen=True)
class Layout:
    """Where the rows of an array are in a file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, file: BinaryIO, end: int) -> Layout | None:
        """Read the header at the file's position; None if rows cannot be read separately."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns about files of old versions
            version = npy.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                return None
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, is_fortran, dtype = read(file)
        is_number = dtype.kind in "bif" or (dtype.kind == "u" and dtype.itemsize < 8)
        if not is_number or min(shape, default=0) <= 0 or (is_fortran and len(shape) > 1):
            return None
        layout = cls(file.tell(), shape, dtype)
        return layout if layout.offset + layout.row_bytes * shape[0] <= end else None

    @property
    def row_bytes(self) -> int:
        """The bytes of a row."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    @property
    def in_memory(self) -> torch.dtype:
        """The type of the rows in memory, the one that `source.as_rows` chooses."""
        kind, size = self.dtype.kind, self.dtype.itemsize
        if kind == "f":
            return torch.float32 if size <= 4 else torch.float64
        return torch.uint8 if size == 1 and kind != "i" else torch.int64


def opened_rows(path: Path) -> RowFile | None:
    """The rows of a file that is read a few rows at a time; None for other files."""
    ending = path.suffix.lower()
    try:
        if ending == ".npy" and path.is_file():
            with path.open("rb") as file:
                layout = Layout.of(file, path.stat().st_size)
            return None if layout is None else ArrayFile(path, layout)
        return _opened_npz(path) if ending == ".npz" and path.is_file() else None
    except (OSError, ValueError, SyntaxError, TokenError, BadZipFile, struct.error, NotImplementedError):
        return None  # the reader of whole files explains what is wrong


def _opened_npz(path: Path) -> RowFile | None:
    """The rows of an archive that is not compressed and has no test set."""
    with ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    name = rows_among(members)
    is_sparse = {"format", "shape", "data"} <= members.keys()
    if name is None or is_sparse or has_test_set(members):
        return None
    info = members[name]
    if info.compress_type != ZIP_STORED or info.flag_bits & 1 or not info.filename.endswith(".npy"):
        return None
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        extra = sum(struct.unpack("<HH", file.read(4)))
        start = file.tell() + extra
        file.seek(start)
        layout = Layout.of(file, start + info.file_size)
    label = labels_among(members)
    if label is None or layout is None:
        return None if layout is None else ArrayFile(path, layout)
    with path.open("rb") as file:
        return ArrayFile(path, layout, np.load(file, allow_pickle=False)[label])


class ArrayFile(RowFile):
    """An array on disk, (N, ...).

    Arguments:
        path: the file.
        layout: where the rows are.
        targets: labels, (N,), or None.
    """

    def __init__(self, path: Path, layout: Layout, targets: np.ndarray | None = None) -> None:
        self.path, self.layout, self.title, self.dtype = path, layout, path.name, layout.in_memory
        if targets is not None:
            self.targets = targets
        n, *event = layout.shape
        self.has_channels_last = has_channels_last(layout.shape, layout.dtype)
        self.shape = (n, *(event or [1]))
        if self.has_channels_last:
            self.shape = (n, event[2], *event[:2])
            self.note = f"images of shape {tuple(event)} with channels last, read with channels first"
        self.state = state_of(path)
        self.chunk = max(1, CHUNK // layout.row_bytes)
        self.starts = torch.arange(0, n, self.chunk)

    def _fill(self, numbers: Tensor, x: Tensor) -> None:
        target = (x.permute(0, 2, 3, 1) if self.has_channels_last else x).numpy()
        target = target[:, 0] if len(self.layout.shape) == 1 else target
        places = numbers.argsort().numpy()
        rows = numbers.numpy()[places]
        cuts = np.flatnonzero(np.diff(rows // self.chunk)) + 1
        with self.path.open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):  # chunks are far apart: reading beyond one is useless
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            for place, own in zip(np.split(places, cuts), np.split(rows, cuts), strict=True):
                if len(own):
                    some = self._neighbours(file, int(own[0]), int(own[-1]))
                    target[place] = some[own - own[0]]

    def _neighbours(self, file: FileIO, first: int, last: int) -> np.ndarray:
        """Rows `first` to `last`."""
        layout = self.layout
        some = np.empty((last + 1 - first, *layout.shape[1:]), layout.dtype)
        view = memoryview(cast(Any, some.reshape(-1).view(np.uint8)))
        file.seek(layout.offset + first * layout.row_bytes)
        while len(view):
            count = file.readinto(view)
            if not count:
                raise self.changed()
            view = view[count:]
        return some


def state_of(path: Path) -> tuple[int, int]:
    """The size of a file and the time of its last change."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns
