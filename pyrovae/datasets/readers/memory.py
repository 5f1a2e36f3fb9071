"""Values in memory as plain arrays, and tables as DataFrames.

sparse (scipy, torch)       dense
masked arrays               NaN where masked
None in a list or column    NaN
Series and DataFrames       their numbers

Objects are recognised by their methods, so that no library is imported for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.datasets.readers.cells import MISSING, number_of
from pyrovae.errors import InputError
from pyrovae.memory import refuse_too_large

if TYPE_CHECKING:
    import pandas

__all__ = ["as_table", "dense", "is_array", "is_pair", "is_table", "refuse_dense", "stacked"]

_LISTS = (list, tuple)


def dense(values: Any, name: str) -> Tensor | np.ndarray:  # noqa: ANN401
    """Values as a dense tensor, or as an array that torch can hold; missing entries are NaN.

    Raises:
        InputError: for values that are not numbers, or rows of different shapes.

    Example:
        >>> dense(np.ma.masked_equal([[1.0, -9999.0]], -9999.0), "x")
        array([[ 1., nan]])
        >>> dense([[1, None], [2, 3]], "x")
        array([[ 1., nan],
               [ 2.,  3.]])
    """
    if isinstance(values, Tensor):
        if values.layout == torch.strided:
            return values
        refuse_dense(values.shape, values.element_size(), name)
        return values.to_dense()
    if isinstance(values, _LISTS) and any(isinstance(row, Tensor) for row in values):
        return stacked([torch.as_tensor(dense(row, name)) for row in values], name)
    return _native(_as_array(values, name), name)


def _as_array(values: Any, name: str) -> np.ndarray:  # noqa: ANN401
    if is_table(values) and not isinstance(values, Mapping):
        return _numbers_of(as_table(values), name)
    if callable(getattr(values, "toarray", None)):  # sparse
        refuse_dense(values.shape, values.dtype.itemsize, name)
        values = values.toarray()
    elif callable(getattr(values, "to_numpy", None)):
        values = values.to_numpy()
    try:
        if isinstance(values, np.ma.MaskedArray) or _has_masks(values):
            values = np.ma.asarray(values) if isinstance(values, np.ma.MaskedArray) else np.ma.stack(values)
            return _unmasked(values)
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} is not an array of numbers: its rows differ in shape") from None


def refuse_dense(shape: Sequence[int], width: int, name: str) -> None:
    """Refuse a sparse matrix whose dense form does not fit into memory.

    Raises:
        InputError: with its size.
    """
    refuse_too_large(
        f"all {' x '.join(f'{count:,}' for count in shape)} cells of the sparse matrix {name}",
        math.prod(map(int, shape)) * width,
        "give a part of it",
    )


def _has_masks(values: Any) -> bool:  # noqa: ANN401
    return isinstance(values, _LISTS) and any(isinstance(row, np.ma.MaskedArray) for row in values)


def _unmasked(values: np.ma.MaskedArray) -> np.ndarray:
    mask = np.ma.getmaskarray(values)
    if not mask.any() or values.dtype.kind not in "biuf":
        cells = np.asarray(values.data)
        return cells if not mask.any() else _with_none(cells, mask)
    kept = values.dtype if values.dtype.kind == "f" else np.float64
    return np.where(mask, np.array(np.nan, kept), values.data.astype(kept))


def _with_none(cells: np.ndarray, mask: np.ndarray) -> np.ndarray:
    objects = cells.astype(object)
    objects[mask] = None
    return objects


def _native(array: np.ndarray, name: str) -> np.ndarray:
    """The array in a type and memory order that torch takes."""
    if array.dtype.kind in "OSUT":
        array = _with_missing(array, name)
    if array.dtype.kind not in "biufc":
        raise InputError(f"{name} is not an array of numbers: it holds values of type {array.dtype}")
    native = array.dtype.newbyteorder("=")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # long double
        native = np.dtype(np.float64)
    return np.ascontiguousarray(array, dtype=native).reshape(array.shape)


def _with_missing(array: np.ndarray, name: str) -> np.ndarray:
    """Objects as numbers, with NaN for None.

    Raises:
        InputError: for words, with what to do.
    """
    cells = array.astype(object)
    flat = [None if _is_none(cell) else cell for cell in cells.ravel()]
    numbers = [cell for cell in flat if cell is not None and not isinstance(cell, str)]
    if any(isinstance(cell, str) for cell in flat):
        raise InputError(f"{name} is not an array of numbers: {_word_in(flat, cells)}")
    try:
        # An array without a type of its own finds the type that holds all numbers.
        kind = np.array(numbers).dtype if numbers else np.dtype(object)
    except ValueError:
        kind = np.dtype(object)
    if kind.kind not in "biuf":
        raise InputError(f"{name} is not an array of numbers: it holds values of type {array.dtype}")
    holes = np.array([cell is None for cell in flat]).reshape(cells.shape)
    if not holes.any():
        return cells.astype(kind)
    return np.where(holes, np.nan, np.where(holes, 0, cells).astype(np.float64))


def _word_in(flat: list[Any], cells: np.ndarray) -> str:
    """What is wrong with cells that hold words, as the end of a sentence."""
    words = [cell for cell in flat if isinstance(cell, str)]
    word = next((word for word in words if number_of(word) is None), None)
    if word is None:
        return "its numbers are written as text, not numbers: convert them with .astype(float)"
    row = flat.index(word) // max(1, cells.size // len(cells)) if cells.ndim else 0
    where = f"it holds the word {word!r} in row {row}, and words are not numbers"
    if word.strip().lower() in MISSING and len(flat) > 1:
        return f"{where}: leave the entry empty, with None or NaN"
    return f"{where}: give a DataFrame or a dict of columns for a table with words"


def _is_none(cell: object) -> bool:
    return cell is None or type(cell).__name__ in ("NAType", "NaTType", "MaskedConstant")


def stacked(rows: Sequence[Tensor], name: str) -> Tensor:
    """Rows (*event) as one tensor (N, *event), of a type that holds the values of all rows.

    Raises:
        InputError: for rows of different shapes.

    Example:
        >>> stacked([torch.tensor([1, 2]), torch.tensor([0.25, 0.5])], "x").tolist()
        [[1.0, 2.0], [0.25, 0.5]]
    """
    first = rows[0].shape
    other = next((i for i, row in enumerate(rows) if row.shape != first), None)
    if other is not None:
        raise InputError(
            f"{name} has a row 0 of shape {tuple(first)} and a row {other} of shape "
            f"{tuple(rows[other].shape)}: give all rows the same shape"
        )
    types = {row.dtype for row in rows}
    wide = reduce(torch.promote_types, types)
    if wide.is_floating_point and types & {torch.int64, torch.int32}:  # float32 might round these
        wide = torch.float64
    return torch.stack([row.detach().cpu().to(wide) for row in rows])


# ------------------------------------------------------------------ tables


def is_array(values: Any) -> bool:  # noqa: ANN401
    """Whether values are a tensor, an array, a sparse matrix or a Series."""
    return hasattr(values, "shape") and hasattr(values, "dtype")


def is_table(values: Any) -> bool:  # noqa: ANN401
    """Whether values are columns: a DataFrame of any library, a dict, or rows as dicts."""
    if isinstance(values, Mapping):
        return True
    if isinstance(values, _LISTS):
        return bool(values) and all(isinstance(row, Mapping) for row in values)
    return hasattr(values, "columns") and hasattr(values, "shape") and not hasattr(values, "obs")


def as_table(values: Any, name: str = "the data") -> pandas.DataFrame:  # noqa: ANN401
    """Columns as a DataFrame of pandas.

    Raises:
        InputError: for columns of different lengths.
    """
    import pandas

    if isinstance(values, pandas.DataFrame):
        return values
    if hasattr(values, "to_pydict"):  # pyarrow
        return pandas.DataFrame(values.to_pydict())
    if callable(getattr(values, "to_dict", None)):  # polars
        columns = values.to_dict(as_series=False)
        return pandas.DataFrame({column: _column(cells) for column, cells in columns.items()})
    if isinstance(values, Mapping):
        columns = {str(column): _cells(cells, str(column), name) for column, cells in values.items()}
        lengths = {column: len(cells) for column, cells in columns.items()}
        if len(set(lengths.values())) > 1:
            (one, first), (other, second) = next(
                (a, b) for a in lengths.items() for b in lengths.items() if a[1] != b[1]
            )
            raise InputError(
                f"{name} has {first} entries in column {one!r} and {second} in column {other!r}: give one "
                "for each row"
            )
        return pandas.DataFrame({column: _column(cells) for column, cells in columns.items()})
    return pandas.DataFrame(list(values))


def _column(cells: Any) -> Any:  # noqa: ANN401
    """A column of cells; whole numbers with gaps stay whole."""
    import pandas

    if isinstance(cells, list) and any(cell is None for cell in cells):
        return pandas.Series(cells, dtype=object).infer_objects()
    return cells


def _cells(cells: Any, column: str, name: str) -> Any:  # noqa: ANN401
    if isinstance(cells, (str, bytes)) or not hasattr(cells, "__len__"):
        raise InputError(
            f"{name} is a dict whose entry {column!r} is one value: give a dict of columns, with one value "
            "for each row"
        )
    if hasattr(cells, "to_list") or isinstance(cells, _LISTS):
        return cells
    array = cells
    if isinstance(cells, (Tensor, np.ma.MaskedArray)) or hasattr(cells, "toarray"):
        array = np.asarray(dense(cells, f"column {column!r} of {name}"))
    if isinstance(array, np.ndarray) and array.ndim != 1:
        raise InputError(
            f"{name} has an entry {column!r} of shape {array.shape}, and columns hold one value for each "
            "row: give the array itself, with the labels as (X, y)"
        )
    return array


def _numbers_of(frame: pandas.DataFrame, name: str) -> np.ndarray:
    """The numbers of a DataFrame, (N, C).

    Raises:
        InputError: for a column of words.
    """
    for column in frame.columns:
        kind = getattr(frame[column].dtype, "kind", "O")
        if kind not in "biuf":
            raise InputError(
                f"{name} is not an array of numbers: its column {column!r} holds values of type "
                f"{frame[column].dtype}; load it with pyrovae.datasets.load, which reads tables"
            )
    has_gaps = bool(frame.isna().any().any())
    return frame.to_numpy(dtype=np.float64, na_value=np.nan) if has_gaps else frame.to_numpy()


def is_pair(values: Any) -> bool:  # noqa: ANN401
    """Whether values are (X, y): rows and one label for each.

    Example:
        >>> is_pair((np.zeros((3, 2)), [0, 1, 0])), is_pair(([1.0, 2.0], [3.0, 4.0]))
        (True, False)
    """
    if not isinstance(values, tuple) or len(values) != 2:
        return False
    x, y = values
    is_nested = isinstance(x, _LISTS) and bool(x) and not np.isscalar(x[0])
    if not (is_array(x) or is_table(x) or is_nested):
        return False
    if isinstance(y, _LISTS):
        return all(np.isscalar(label) or label is None for label in y)
    shape = tuple(getattr(y, "shape", ()))
    return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)
