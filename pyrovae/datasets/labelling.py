"""Labels and contexts given as values: one for each row, as an array, a list, a Series or columns.

labels    whole numbers or words; None and NaN are labels that are not known, and become -1
context   numbers are used as given; words, Series and DataFrames are columns: numbers are
          standardised, words become one-hot vectors
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.datasets.columns import encode
from pyrovae.datasets.readers.arrays import class_numbers
from pyrovae.datasets.readers.memory import as_table, dense, is_array, is_table
from pyrovae.datasets.source import Source, as_labels, as_rows, refuse_not_finite
from pyrovae.errors import InputError

__all__ = ["labels_of", "values_of", "with_context", "with_labels"]

UNKNOWN = -1


def values_of(**options: Any) -> dict[str, Any]:  # noqa: ANN401
    """Those of the options `labels` and `context` that are values.

    Example:
        >>> list(values_of(context=["age", "sex"], labels=["a", "b", "a"]))
        ['labels']
    """
    return {name: option for name, option in options.items() if _are_values(name, option)}


def _are_values(name: str, option: Any) -> bool:  # noqa: ANN401
    """Whether the option `labels` or `context` is values and not a name, names, or yes or no."""
    if is_array(option) or is_table(option) or (name == "labels" and isinstance(option, (list, tuple))):
        return True
    if not isinstance(option, (list, tuple)) or not option:
        return False
    return not all(isinstance(column, str) for column in option)


def labels_of(labels: Any, rows: int, name: str) -> tuple[Tensor, tuple[str, ...] | None]:  # noqa: ANN401
    """Labels as int64 (N,), and the names of the classes if the labels are words.

    Raises:
        InputError: when there is not one word or whole number for each row.

    Example:
        >>> labels_of(["dog", None, "cat"], 3, "the array")
        (tensor([ 1, -1,  0]), ('cat', 'dog'))
    """
    if isinstance(labels, Tensor) and not labels.is_floating_point():
        return as_labels(labels, rows, name), None
    flat = _flat(labels)
    unknown = np.array([cell is None or cell != cell for cell in flat], dtype=bool)  # noqa: PLR0124 - NaN
    if len(flat) and any(isinstance(cell, str) for cell in flat[~unknown]):
        words = np.array([str(cell).strip() for cell in flat], dtype=object)
        known, names = class_numbers(words[~unknown].astype(str))
        numbers = np.full(len(flat), UNKNOWN)
        numbers[~unknown] = known
        return as_labels(numbers, rows, name), names
    try:
        numbers = np.where(unknown, UNKNOWN, flat).astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} has labels that are not single numbers or words: {ONE_EACH}") from None
    return as_labels(numbers, rows, name), None


ONE_EACH = "give one class number or word for each row"


def _flat(labels: Any) -> np.ndarray:  # noqa: ANN401
    """Labels as objects, (N,), with None where masked."""
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    elif isinstance(labels, np.ma.MaskedArray):
        labels = [
            None if hidden else cell
            for cell, hidden in zip(labels.data, np.ma.getmaskarray(labels), strict=True)
        ]
    elif is_table(labels):
        labels = as_table(labels).to_numpy(dtype=object)
    elif callable(getattr(labels, "to_numpy", None)):
        labels = labels.to_numpy()
    cells: Any
    if isinstance(labels, (list, tuple)):
        cells = np.empty(len(labels), dtype=object)
        cells[:] = [
            cell.item() if isinstance(cell, Tensor) and cell.numel() == 1 else cell for cell in labels
        ]
    else:
        cells = np.asarray(labels).astype(object)
    if cells.ndim == 2 and cells.size == len(cells):
        cells = cells.ravel()
    if cells.ndim != 1:
        raise InputError(f"labels of shape {cells.shape} are not one for each row: {ONE_EACH}")
    return np.array([None if type(cell).__name__ == "NAType" else cell for cell in cells], dtype=object)


def with_labels(source: Source, labels: Any) -> Source:  # noqa: ANN401
    """The source with given labels in place of its own.

    Raises:
        InputError: when there is not one label for each row.
    """
    _refuse_own_test_set(source, "labels")
    numbers, names = labels_of(labels, len(source.x), source.name)
    classes = tuple(numbers.unique().tolist())
    if bool((numbers == UNKNOWN).any()) and names is None and not _has_minus_one(labels):
        classes = tuple(c for c in classes if c != UNKNOWN)
    if names is not None:
        classes = tuple(range(len(names)))
    return replace(source, labels=numbers, classes=classes, class_names=names)


def _has_minus_one(labels: Any) -> bool:  # noqa: ANN401
    """Whether -1 is a class of its own and not the mark of an unknown label."""
    cells = _flat(labels)
    return any(cell == UNKNOWN for cell in cells) and all(cell is not None and cell == cell for cell in cells)  # noqa: PLR0124


def with_context(source: Source, context: Any) -> Source:  # noqa: ANN401
    """The source with a given context.

    Raises:
        InputError: when there is not one for each row, and for missing numbers in an array.
    """
    _refuse_own_test_set(source, "context")
    if is_table(context) or _is_column(context):
        frame = as_table(context) if is_table(context) else _as_frame(context)
        encoded = encode(frame.set_axis([str(name) for name in frame.columns], axis=1), "context", keep=True)
        _refuse_other_length(len(frame), source, "context")
        return replace(source, context=encoded.values, context_columns=encoded.columns)
    values = as_rows(dense(context, "context"), "context").to(torch.float32)
    _refuse_other_length(len(values), source, "context")
    refuse_not_finite(values, "context")
    return replace(source, context=values.numpy(), context_columns=None)


def _is_column(context: Any) -> bool:  # noqa: ANN401
    """Whether values are a Series, or an array of words."""
    if not isinstance(context, (np.ndarray, Tensor)) and hasattr(context, "to_numpy"):
        return True
    return isinstance(context, np.ndarray) and context.ndim == 1 and context.dtype.kind in "OSUT"


def _as_frame(context: Any) -> Any:  # noqa: ANN401
    import pandas

    name = str(getattr(context, "name", None) or "context")
    return pandas.DataFrame({name: list(context)})


def _refuse_other_length(length: int, source: Source, option: str) -> None:
    if length != len(source.x):
        raise InputError(
            f"{source.name} has {len(source.x)} rows and {option} {length}: give one for each row"
        )


def _refuse_own_test_set(source: Source, option: str) -> None:
    if source.test_x is not None:
        raise InputError(
            f"{source.name} comes with a test set of its own, and {option} is given for one set of rows: "
            f"name {option} by a word, or leave it out"
        )
