"""Items of a torch `Dataset`, read one by one.

x                            a tensor, an array, a list of numbers or an image
(x, label)                   with its label
{"image": x, "label": 3}     the same by name
{"age": 31, "sex": "f"}      a row of a table, if all values are single

Images of PIL become bytes (channels, height, width). The type of the rows is one that holds the
values of all items.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from pyrovae.datasets.readers.memory import dense, stacked
from pyrovae.errors import InputError

__all__ = [
    "LABELS",
    "has_records",
    "is_large",
    "is_record",
    "item",
    "items_at",
    "length",
    "read_items",
    "records",
]

LARGE = 2 * 10**9
LABELS = ("label", "labels", "target", "targets", "y", "class", "fine_label")
_SHARED = ("float32", "float64", "int64", "uint8")  # numpy types that torch has too
_GREY = ("1", "L", "I;16", "I;16B", "I;16L", "I", "F")


def length(dataset: Dataset[Any], count: int | None = None) -> int:
    """The number of rows of a data set; `count` for one without a length.

    Raises:
        InputError: for an empty set, or one without a length.
    """
    is_iterable = isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__")
    if is_iterable and count is not None:
        return count
    if not isinstance(dataset, Sized) or (is_iterable and not hasattr(dataset, "__iter__")):
        cure = "give the number of rows with count=" if is_iterable else "give it a method __len__"
        raise InputError(f"{_name(dataset)} has no length: {cure}")
    if len(dataset) == 0:
        raise InputError(f"{_name(dataset)} is empty: give at least three rows of data")
    return len(dataset)


def is_large(dataset: Dataset[Any]) -> bool:
    """Whether all rows would take 2 GB or more as float32; rows of a table are not counted."""
    if isinstance(dataset, IterableDataset):
        return False
    rows = length(dataset)
    return not is_record(dataset[0]) and is_large_as_single(rows, item(dataset, 0)[0].numel())


def is_large_as_single(rows: int, values: int) -> bool:
    """Whether rows of this number of values would take 2 GB or more as float32."""
    return rows * values * 4 >= LARGE


def read_items(
    dataset: Dataset[Any], index: Tensor | None = None, *, count: int | None = None
) -> tuple[Tensor, list[Any] | None]:
    """Read rows into one tensor (N, *event), with their labels if all items have them.

    Arguments:
        dataset: the data set.
        index: the numbers of the rows; by default all.
        count: the number of rows of a set without a length.

    Raises:
        InputError: for items that are not numbers or that differ in shape.
    """
    rows: list[Tensor] = []
    labels: list[Any] = []
    for number, content in _contents(dataset, index, count):
        x, label = _parts(content, number, dataset)
        if rows:
            x = _of_shape(x, tuple(rows[0].shape), number, dataset)
        rows.append(x)
        labels.append(label)
    x = stacked(rows, _name(dataset))
    return x, None if any(label is None for label in labels) else labels


def has_records(dataset: Any) -> bool:  # noqa: ANN401
    """Whether the first item is a row of a table."""
    if hasattr(dataset, "__getitem__") and not isinstance(dataset, IterableDataset):
        return hasattr(dataset, "__len__") and len(dataset) > 0 and is_record(dataset[0])
    return hasattr(dataset, "__iter__") and is_record(next(iter(dataset), None))


def records(dataset: Dataset[Any], *, count: int | None = None) -> list[dict[str, Any]]:
    """The rows of a set whose items are rows of a table."""
    return [dict(content) for _, content in _contents(dataset, None, count)]


def item(dataset: Dataset[Any], number: int, shape: tuple[int, ...] | None = None) -> tuple[Tensor, Any]:
    """Read one row and its label (or None), and check them."""
    x, label = _parts(dataset[number], number, dataset)
    return x if shape is None else _of_shape(x, shape, number, dataset), label


def items_at(dataset: Dataset[Any], numbers: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Read the rows with these numbers, (B, *shape), without their labels.

    Raises:
        InputError: for an item that cannot be read, or that is not numbers of this shape.
    """
    rows = numbers.tolist()
    contents = _several(dataset, rows)
    stacked = _stacked([c[0] if type(c) is tuple and c else c for c in contents], shape)
    if stacked is not None:
        return stacked.to(dtype)
    pairs = zip(contents, rows, strict=True)
    each = [_of_shape(_parts(content, row, dataset)[0], shape, row, dataset) for content, row in pairs]
    return torch.stack([x.to(dtype) for x in each]) if each else torch.empty((0, *shape), dtype=dtype)


def _stacked(items: list[Any], shape: tuple[int, ...]) -> Tensor | None:
    """Stack tensors or arrays of one type and shape, as most items are; None for others."""
    first = items[0] if items else None
    if first is None or type(first) not in (Tensor, np.ndarray):
        return None
    kind, dtype = type(first), first.dtype
    if not all(type(x) is kind and x.dtype == dtype and tuple(x.shape) == shape for x in items):
        return None
    if isinstance(first, Tensor):
        return torch.stack(items).detach().cpu()
    return torch.from_numpy(np.stack(items)) if dtype.isnative and dtype.name in _SHARED else None


def _several(dataset: Any, numbers: list[int]) -> list[Any]:  # noqa: ANN401
    """Items of a data set, read together if it has torch's method `__getitems__`.

    Raises:
        InputError: for an item that cannot be read.
    """
    several = getattr(dataset, "__getitems__", None)
    if not callable(several):
        return [_one(dataset, number) for number in numbers]
    with _reading(f"one of {len(numbers)} items", dataset):
        return list(several(numbers))


def _one(dataset: Any, number: int) -> Any:  # noqa: ANN401
    """An item of a data set.

    Raises:
        InputError: if it cannot be read.
    """
    try:  # entering a context here would double the time of a fast item
        return dataset[number]
    except Exception as error:
        with _reading(f"item {number}", dataset):
            raise error


@contextmanager
def _reading(what: str, dataset: object) -> Iterator[None]:
    """Turn an error of a data set into a one-sentence InputError."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0].rstrip(". ")
        raise InputError(
            f"{what} of {_name(dataset)} cannot be read ({type(error).__name__}: {reason}): correct the "
            "data set, or leave the item out"
        ) from error


def is_record(content: Any) -> bool:  # noqa: ANN401
    """Whether an item is a row of a table: a dict of single values."""
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(_is_single(value) for value in content.values())
    )


def _contents(dataset: Any, index: Tensor | None, count: int | None) -> Iterator[tuple[int, Any]]:  # noqa: ANN401
    rows = length(dataset, count)
    if index is not None:
        return ((number, _one(dataset, number)) for number in index.tolist())
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        return _first(dataset, rows)
    return ((number, _one(dataset, number)) for number in range(rows))


def _first(dataset: Any, rows: int) -> Iterator[tuple[int, Any]]:  # noqa: ANN401
    """The first items of an iterable set.

    Raises:
        InputError: if there are fewer.
    """
    number = -1
    for number, content in enumerate(itertools.islice(iter(dataset), rows)):
        yield number, content
    if number + 1 < rows:
        raise InputError(f"{_name(dataset)} ends after {number + 1} of {rows} rows: give a smaller count")


def _parts(content: Any, number: int, dataset: object) -> tuple[Tensor, Any]:  # noqa: ANN401
    """The row and the label of an item."""
    where = f"item {number} of {_name(dataset)}"
    if isinstance(content, Mapping):
        content = _named(content, where)
    is_row = isinstance(content, (list, tuple)) and all(isinstance(value, Number) for value in content)
    if isinstance(content, list) and not is_row:
        is_row = all(value is None or isinstance(value, Number) for value in content)
        is_row = is_row or (len(content) > 2 and all(map(_is_single, content)))
    is_pair = isinstance(content, tuple) and len(content) == 2
    if isinstance(content, (list, tuple)) and content and (is_pair or not is_row):
        x, label = (*content, None)[:2]
        if _is_nested(content):
            x, label = content, None
    else:
        x, label = content, None
    return _tensor(x, where), label


def _is_nested(content: Sequence[Any]) -> bool:
    """Whether a list is a row of lists of numbers, such as [[1, 2], [3, 4]]."""
    return isinstance(content, list) and all(isinstance(value, list) for value in content)


def _named(content: Mapping[str, Any], where: str) -> tuple[Any, Any]:
    """The values and the label of a dict.

    Raises:
        InputError: if not exactly one entry has values.
    """
    labels = {str(key).lower(): key for key in content}
    label = next((labels[name] for name in LABELS if name in labels), None)
    if label is not None and not _is_single(content[label]):
        label = None
    values = [key for key, value in content.items() if not _is_single(value)]
    if len(values) != 1:
        what = "no entry with several values" if not values else f"the entries {', '.join(map(repr, values))}"
        raise InputError(
            f"{where} is a dict with {what}: let it have one array or image, next to its label, or only "
            "single values"
        )
    return content[values[0]], None if label is None else content[label]


def _is_single(value: Any) -> bool:  # noqa: ANN401
    """Whether a value is one number, word or gap."""
    if isinstance(value, (Tensor, np.ndarray)):
        return value.ndim == 0
    return value is None or isinstance(value, (Number, str, bytes, np.generic)) or hasattr(value, "isoformat")


def _tensor(x: Any, where: str) -> Tensor:  # noqa: ANN401
    if hasattr(x, "getbands"):  # an image of PIL
        x = _pixels(x)
    if isinstance(x, Number) or (isinstance(x, (list, tuple)) and x) or hasattr(x, "__array__"):
        x = dense(x, where)
        x = x if isinstance(x, Tensor) else torch.as_tensor(_owned(x))
    if not isinstance(x, Tensor):
        raise InputError(
            f"{where} is of type {type(x).__name__}: give tensors, arrays, images, (x, label) pairs, or "
            "dicts of these"
        )
    return x.detach().cpu()


def _owned(array: np.ndarray) -> np.ndarray:
    """An array that torch can share: writeable, and of a type that torch has."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        return array.astype(np.int64)
    return array if array.flags.writeable else array.copy()


def _pixels(image: Any) -> np.ndarray:  # noqa: ANN401
    """The pixels of an image of PIL, (channels, height, width)."""
    if image.mode in _GREY:
        pixels = np.asarray(image)
        return (pixels.astype(np.uint8) if pixels.dtype == bool else pixels)[None]
    if image.mode not in ("RGB", "RGBA", "LA"):
        image = image.convert("RGB")
    return np.asarray(image).transpose(2, 0, 1)


def _of_shape(x: Tensor, shape: tuple[int, ...], number: int, dataset: object) -> Tensor:
    """The row in the shape of the first one.

    Raises:
        InputError: for another shape.
    """
    if tuple(x.shape) == shape or (shape == (1,) and x.dim() == 0):
        return x.reshape(shape)
    cure = "give all items the same shape" if x.dim() < 3 else "resize them to one shape"
    raise InputError(
        f"item {number} of {_name(dataset)} has shape {tuple(x.shape)} and the first has {shape}: {cure}"
    )


def _name(dataset: object) -> str:
    return getattr(dataset, "title", None) or type(dataset).__name__
