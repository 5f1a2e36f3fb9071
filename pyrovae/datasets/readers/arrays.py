"""Arrays on disk: .npy, .npz and sparse matrices of scipy.

    .npy    an array, (N, ...)
    .npz    rows "x", "X" or "data" (or the only array), and labels "y", "labels" or "target";
            or "x_train", "x_test", "y_train", "y_test"; or a sparse matrix of scipy

Labels may be words, which are numbered in alphabetical order.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile, is_zipfile

import numpy as np
from numpy.lib import format as npy

from pyrovae.datasets.readers.memory import refuse_dense
from pyrovae.datasets.source import Source, as_source
from pyrovae.errors import InputError
from pyrovae.memory import in_bytes, refuse_too_large

__all__ = ["ARRAYS", "class_numbers", "read_npy", "read_npz"]

ROWS = ("x", "X", "data")
LABELS = ("y", "Y", "labels", "label", "target", "targets")


def read_npy(path: Path) -> Source:
    """Read an array, (N, ...).

    Raises:
        InputError: if the file is truncated or the array does not fit into memory.
    """
    with path.open("rb") as file:
        if file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
            file.seek(0)
            _check_size(file, path.stat().st_size, path.name)
    x, note = channels_first(np.load(path, allow_pickle=False))
    return noted(as_source(path.name, x), note)


def read_npz(path: Path) -> Source:
    """Read rows and labels of an archive of arrays, or a sparse matrix.

    Raises:
        InputError: for an archive in which the rows cannot be found.
    """
    _check_members(path)
    with path.open("rb") as file:  # numpy leaves a broken archive open
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"{path} is a .npy file by its contents: rename it")
        arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
    if {"format", "shape", "data"} <= arrays.keys():
        return as_source(path.name, _dense(path))
    pairs = _pairs(arrays)
    train, test = pairs.get(("train", "x")), pairs.get(("test", "x"))
    if train and test:
        labels, tests = arrays.get(pairs.get(("train", "y"), "")), arrays.get(pairs.get(("test", "y"), ""))
        return _with_test_set(path, (arrays[train], labels), (arrays[test], tests))
    name = rows_among(arrays)
    if name is None:
        names = ", ".join(sorted(arrays)) or "nothing"
        raise InputError(
            f"{path} holds {names}: name its rows 'x' (and its labels 'y'), or 'x_train' and 'x_test'"
        )
    x, note = channels_first(arrays[name])
    label = labels_among(arrays)
    numbers, classes = class_numbers(None if label is None else arrays[label])
    return replace(noted(as_source(path.name, x, numbers), note), class_names=classes)


def rows_among(names: Collection[str]) -> str | None:
    """The name of an archive's array of rows: a known name, or that of its only array."""
    return next((name for name in ROWS if name in names), next(iter(names)) if len(names) == 1 else None)


def labels_among(names: Collection[str]) -> str | None:
    """The name of an archive's array of labels, if it has one."""
    return next((name for name in LABELS if name in names), None)


def has_test_set(names: Collection[str]) -> bool:
    """Whether an archive has separate training and test rows."""
    return {("train", "x"), ("test", "x")} <= _pairs(names).keys()


def _pairs(names: Collection[str]) -> dict[tuple[str, ...], str]:
    """The names by their words, which are in alphabetical order."""
    return {tuple(sorted(name.lower().split("_"))): name for name in names}


def class_numbers(labels: Any) -> tuple[Any, tuple[str, ...] | None]:  # noqa: ANN401
    """Labels as class numbers, and the names of the classes if the labels are words.

    Example:
        >>> class_numbers(np.array(["dog", "cat", "dog"]))
        (array([1, 0, 1]), ('cat', 'dog'))
    """
    array = None if labels is None else np.asarray(labels)
    if array is None or array.dtype.kind not in "USOT":
        return labels, None
    names, numbers = np.unique(array.astype(str), return_inverse=True)
    return numbers.reshape(array.shape), tuple(map(str, names))


def channels_first(x: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Move the channels of images of bytes to the front; returns (N, C, H, W) and a note.

    Only byte arrays of shape (N, H, W, 1), (N, H, W, 3) or (N, H, W, 4) are changed, and only if
    the second dimension is not 1, 3 or 4 too.
    """
    if not has_channels_last(x.shape, x.dtype):
        return x, None
    moved = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    return moved, f"images of shape {x.shape[1:]} with channels last, read with channels first"


def has_channels_last(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array holds byte images (N, H, W, C), which `channels_first` changes."""
    return dtype == np.uint8 and len(shape) == 4 and shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4)


def noted(source: Source, *notes: str | None) -> Source:
    """Add notes to the reading of a source."""
    texts = [note for note in notes if note]
    before = (source.reading or {}).get("notes", [])
    return (
        replace(source, reading={**(source.reading or {}), "notes": [*before, *texts]}) if texts else source
    )


def _with_test_set(path: Path, train: tuple[Any, Any], test: tuple[Any, Any]) -> Source:
    (x, note), (test_x, _) = channels_first(train[0]), channels_first(test[0])
    labels, tests, names = train[1], test[1], None
    if labels is not None and tests is not None:
        both, names = class_numbers(np.concatenate([np.ravel(labels), np.ravel(tests)]))
        labels, tests = (labels, tests) if names is None else np.split(both, [len(labels)])
    source = as_source(path.name, x, labels, test_x=test_x, test_labels=tests)
    return replace(noted(source, note), class_names=names)


def _dense(path: Path) -> np.ndarray:
    """A sparse matrix of scipy as a dense array."""
    from scipy import sparse

    matrix = sparse.load_npz(path)
    refuse_dense(matrix.shape, matrix.dtype.itemsize, path.name)
    return np.asarray(matrix.todense())


def _check_members(path: Path) -> None:
    """Refuse an archive that is encrypted, truncated or does not fit into memory."""
    if not is_zipfile(path):
        return  # numpy reports the reason
    with ZipFile(path) as archive:
        infos = archive.infolist()
        if any(info.flag_bits & 1 for info in infos):
            raise InputError(f"{path} is encrypted: save it again without a password")
        size = sum(info.file_size for info in infos)
        refuse_too_large(f"the arrays of {path.name}", size, "give a part of them")
        for info in infos:
            if info.filename.endswith(".npy"):
                with archive.open(info) as file:
                    _check_size(file, info.file_size, f"{info.filename} in {path.name}")


def _check_size(file: IO[bytes], stored: int, name: str) -> None:
    """Refuse an array whose header declares more than is stored, or more than fits into memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns about files of old versions
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            return  # field names, which are refused later
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
    if dtype.hasobject:
        return  # numpy refuses it
    size = math.prod(shape) * dtype.itemsize
    rest = stored - file.tell()
    if size > rest:
        raise InputError(
            f"{name} is cut off, as its header declares {in_bytes(size)} and only {in_bytes(rest)} follow: "
            "save it again"
        )
    refuse_too_large(f"the {' x '.join(map(str, shape)) or 1} values of {name}", size, "give a part of them")


ARRAYS = {".npy": read_npy, ".npz": read_npz}
