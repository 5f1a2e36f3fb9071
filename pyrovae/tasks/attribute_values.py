"""Attributes of rows, given as labels or as columns.

    labels (N,), words or whole numbers    one 0/1 attribute for each class
    bool (N,), real (N,)                   one attribute
    (N, A), DataFrame, dict of columns     0/1, true/false, yes/no: one 0/1 attribute
                                           other numbers: one real attribute
                                           other words: a 0/1 attribute "column=word" for each

Attributes of one label, or of the words of one column, form a group. NaN, None and the label -1 are
unknown values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pyrovae.checks import words_of
from pyrovae.datasets import Rows
from pyrovae.datasets.labelling import labels_of
from pyrovae.datasets.readers.cells import read_cells
from pyrovae.errors import InputError
from pyrovae.numerics import Array, as_array

__all__ = ["AttributeValues", "columns_of"]

MOST_CLASSES = 200


@dataclass(frozen=True, eq=False)
class AttributeValues:
    """Values of A attributes for N rows.

    Attributes:
        names: their names, (A,).
        values: (N, A); NaN where unknown.
        group: the number of the label or column from which each is, (A,).
    """

    names: tuple[str, ...]
    values: Array
    group: np.ndarray

    def take(self, indices: Sequence[int]) -> AttributeValues:
        """Some of the attributes, with their groups."""
        at = list(indices)
        return AttributeValues(tuple(self.names[i] for i in at), self.values[:, at], self.group[at])

    @property
    def is_binary(self) -> np.ndarray:
        """Which attributes are 0 or 1, (A,)."""
        return np.array([_is_binary(column) for column in self.values.T])


def columns_of(y: Any, rows: int, names: Sequence[str] | None = None) -> AttributeValues:  # noqa: ANN401
    """Read the attributes of a number of rows.

    Arguments:
        y: labels or columns.
        rows: N.
        names: the names of the classes in ascending order, or of the columns of an array.

    Raises:
        InputError: for another number of rows, or values that are neither numbers nor words.

    Example:
        >>> columns_of(["cat", "dog", None], 3).values.tolist()
        [[1.0, 0.0], [0.0, 1.0], [nan, nan]]
        >>> columns_of({"age": [7, 8], "sex": ["f", "m"]}, 2).names
        ('age', 'sex=f', 'sex=m')
    """
    if isinstance(y, AttributeValues):
        _check_rows(y.values[:, 0], rows, "y")
        return y
    parts = list(_parts(y, rows))
    if names is not None:
        _check_names(names := words_of("names", names), sum(len(own) for own, _ in parts))
    every = names or [name for own, _ in parts for name in own]
    if len(set(every)) < len(every):
        twice = next(name for name in every if every.count(name) > 1)
        raise InputError(f"the name {twice!r} stands for two attributes: give each a name of its own")
    group = np.repeat(np.arange(len(parts)), [len(own) for own, _ in parts])
    return AttributeValues(tuple(every), np.concatenate([values for _, values in parts], 1), group)


def _check_names(names: Sequence[str], count: int) -> None:
    if len(names) != count:
        raise InputError(f"there are {len(names)} names for {count} attributes: give one for each")


def _parts(y: Any, rows: int) -> Iterator[tuple[list[str], Array]]:  # noqa: ANN401
    """Names and values (N, n) of each label or column."""
    table = dict(y) if isinstance(y, Mapping) else _frame(y)
    if table is not None:
        if not table:
            raise InputError("y has no columns: give at least one attribute")
        for name, values in table.items():
            yield _column(str(name), values, rows)
        return
    array = as_array(y) if isinstance(y, Tensor) else np.asarray(y)
    if array.ndim == 2 and array.dtype.kind in "biuf":
        for i, column in enumerate(array.T):
            yield [str(i)], _numbers(column, rows, f"column {i} of y")[:, None]
    else:
        yield _labels(y, array, rows)


def _frame(y: Any) -> dict[Any, Any] | None:  # noqa: ANN401
    """The columns of a DataFrame by name; None for anything else.

    Raises:
        InputError: for two columns of one name.
    """
    if not hasattr(y, "columns") or not callable(getattr(y, "items", None)):
        return None
    names = list(y.columns)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"the attribute {twice[0]!r} has two columns: rename one of them, or leave one out")
    return {name: column.to_numpy() for name, column in y.items()}


def _labels(y: Any, array: np.ndarray, rows: int) -> tuple[list[str], Array]:  # noqa: ANN401
    if array.dtype.kind == "b" or array.dtype.kind == "f" and bool((array % 1 > 0).any()):
        return ["0"], _numbers(array, rows, "y")[:, None]
    _check_rows(array, rows, "y")
    return _classes(*labels_of(y, rows, "y"))


def _column(name: str, values: Any, rows: int) -> tuple[list[str], Array]:  # noqa: ANN401
    """A column as one attribute, or as one for each of its words."""
    import pandas

    what = f"the column {name!r}"
    array = as_array(values) if isinstance(values, (Tensor, Rows)) else values
    _check_rows(np.asarray(array), rows, what)
    cells = read_cells(pandas.Series(array, name=name))
    if cells.sort == "empty":
        raise InputError(f"{what} has no values: leave it out")
    if cells.values is not None:
        return [name], _numbers(cells.values, rows, what)[:, None]
    words, of_words = _classes(*labels_of(list(cells.words), rows, what))
    return [f"{name}={word}" for word in words], of_words


def _classes(numbers: Tensor, words: Sequence[str] | None) -> tuple[list[str], Array]:
    """A 0/1 attribute for each class; NaN in all where the class is unknown."""
    labels = as_array(numbers)
    classes = np.unique(labels[labels >= 0])
    if len(classes) > MOST_CLASSES:
        raise InputError(
            f"y has {len(classes):,} classes, and at most {MOST_CLASSES} can be told apart: give real values "
            "as a column by name, as in {'age': ages}"
        )
    if len(classes) < 2:
        raise InputError(f"y has {len(classes)} classes: give labels of at least 2, or 0/1 columns")
    values = np.where(labels[:, None] >= 0, labels[:, None] == classes, np.nan)
    return [words[c] if words else str(c) for c in classes], values


def _numbers(column: np.ndarray, rows: int, name: str) -> Array:
    _check_rows(column, rows, name)
    values = column.astype(np.float64)
    if np.isinf(values).any():
        raise InputError(f"{name} has infinite values: give NaN where it is not known")
    return values


def _check_rows(array: np.ndarray, rows: int, name: str) -> None:
    if array.shape[:1] != (rows,) or array.size != rows:
        raise InputError(
            f"{name} has shape {array.shape}, and there are {rows} rows: give one value for each"
        )


def _is_binary(column: Array) -> bool:
    known = column[~np.isnan(column)]
    return bool(np.isin(known, (0.0, 1.0)).all())
