"""Rows before any split: a checked tensor, its labels and its scaling.

Every reader (of a file, a folder, a known set, an array) returns a `Source`. The rules for all:

    values    finite numbers; NaN is a missing entry
    images    uint8 arrays of three or more dimensions, (N, ..., H, W), are divided by 255, unless
              all values are 0 or 1
    vectors   N numbers become (N, 1)
    levels    the number of integer levels v = 0 .. levels - 1 behind values x = v / (levels - 1)
    type      float32; float64 for tables, and for values that float32 would round (`fits_single`)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.datasets.columns import Column
from pyrovae.datasets.factor_values import Factors
from pyrovae.datasets.readers.memory import dense
from pyrovae.datasets.rows import SINGLE, needs_double
from pyrovae.errors import InputError

__all__ = ["Source", "as_labels", "as_rows", "as_source", "fits_single", "refuse_not_finite"]

# The number of rows in which rounding is checked, and the largest error relative to the spread.
SOME_ROWS = 10_000
HARMLESS = 1e-6


@dataclass(frozen=True, eq=False)
class Source:
    """Rows, labels and the scaling behind them, before any split.

    Attributes:
        name: the name of the set.
        x: rows, (N, *event), in float32 or float64.
        labels: int64, (N,), or None.
        classes: the values that labels may take, ascending, or None.
        test_x: rows of the set's own test set, or None.
        test_labels: the labels of the test rows, or None.
        levels: the number of integer levels behind the values, or None.
        scaling: the scaling in words.
        held_out: the largest default number of validation rows for a set with its own test set.
        columns: the columns of a table, in which NaN is a missing entry, or None.
        class_names: the words that `classes` stand for, or None.
        context: numbers and codes of the columns that condition a model, (N, C) float64, or None.
        context_columns: the columns of the context, or None.
        split: the part of each row ("train", "validation" or "test"), or None if the source has no
            split of its own.
        reading: what was read, in plain values, or None.
        factors: the known causes of each row, or None.
    """

    name: str
    x: Tensor
    labels: Tensor | None = None
    classes: tuple[int, ...] | None = None
    test_x: Tensor | None = None
    test_labels: Tensor | None = None
    levels: int | None = None
    scaling: str = "values as given"
    held_out: int = 10_000
    columns: tuple[Column, ...] | None = None
    class_names: tuple[str, ...] | None = None
    context: np.ndarray | None = None
    context_columns: tuple[Column, ...] | None = None
    split: np.ndarray | None = None
    reading: dict[str, Any] | None = None
    factors: Factors | None = None


def as_source(
    name: str,
    x: Any,  # noqa: ANN401
    labels: Any = None,  # noqa: ANN401
    *,
    test_x: Any = None,  # noqa: ANN401
    test_labels: Any = None,  # noqa: ANN401
    levels: int | None = None,
    held_out: int = 10_000,
    columns: tuple[Column, ...] | None = None,
) -> Source:
    """Check and scale rows; with `levels`, values 0 .. levels - 1 are divided by levels - 1.

    NaN is a missing entry. Tables, which have `columns`, are kept in float64, as are other rows
    that float32 would round.

    Raises:
        InputError: for rows that are empty, not numbers or infinite; for whole numbers beyond 2^53;
            for labels that do not fit.
    """
    x = as_rows(x, name)
    test_x = None if test_x is None else as_rows(test_x, f"the test set of {name}")
    if test_x is not None and test_x.shape[1:] != x.shape[1:]:
        raise InputError(
            f"{name} has training rows of shape {tuple(x.shape[1:])} and test rows of shape "
            f"{tuple(test_x.shape[1:])}: give both the same shape"
        )
    if levels is None and _is_image(x) and (test_x is None or test_x.dtype == torch.uint8):
        levels = 256
    labels = None if labels is None else as_labels(labels, len(x), name)
    test_labels = None if test_labels is None or test_x is None else as_labels(test_labels, len(test_x), name)
    if test_x is not None and test_labels is None:
        labels = None
    each = [rows for rows in (x, test_x) if rows is not None]
    is_single = columns is None and (levels is not None or all(fits_single(rows, name) for rows in each))
    dtype = torch.float32 if is_single else torch.float64
    return Source(
        name=name,
        x=_scaled(x.to(dtype), levels, name, columns),
        labels=labels,
        classes=_classes(labels, test_labels),
        test_x=None if test_x is None else _scaled(test_x.to(dtype), levels, f"the test set of {name}"),
        test_labels=test_labels if labels is not None else None,
        levels=levels,
        scaling=f"0..{levels - 1} divided by {levels - 1}" if levels else "values as given",
        held_out=held_out,
        columns=columns,
    )


def as_rows(values: Any, name: str) -> Tensor:  # noqa: ANN401
    """Convert values to a tensor of rows (N, *event), which keep their type.

    Raises:
        InputError: for values that are not numbers, a single number, or no values.
    """
    values = dense(values, name)
    if not isinstance(values, Tensor):
        if values.dtype.kind not in "biuf":
            raise InputError(
                f"{name} holds values of type {values.dtype} and not numbers: give integers or floats"
            )
        values = torch.from_numpy(np.array(values, dtype=_torch_type(values, name), order="C"))
    if values.is_complex():
        raise InputError(f"{name} holds complex numbers: give their real and imaginary parts as columns")
    if values.ndim == 0:
        raise InputError(f"{name} is a single number: give rows of data, of shape (N, ...)")
    if values.numel() == 0:
        raise InputError(f"{name} is empty (shape {tuple(values.shape)}): give at least three rows of data")
    values = values.detach().cpu()
    return values[:, None] if values.ndim == 1 else values


def _torch_type(values: np.ndarray, name: str) -> np.dtype:
    """A type of torch that holds the values of an array."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "f":
        return np.dtype(np.float32 if size <= 4 else np.float64)
    if kind == "u" and size == 8 and values.size and values.max() > np.iinfo(np.int64).max:
        return np.dtype(np.float64)  # refused later, with the other whole numbers beyond 2^53
    if kind == "i":
        return values.dtype.newbyteorder("=")
    return np.dtype(np.uint8 if size == 1 else np.int64)


def fits_single(x: Tensor, name: str = "the data") -> bool:
    """Whether float32 holds rows (N, *event) well enough.

    Whole numbers must not change. Other numbers may change by a millionth of their spread, taken
    over the column or, for an image, over all pixels.

    Raises:
        InputError: for whole numbers beyond 2^53, which float64 would change too.

    Example:
        >>> x = torch.randn(100, 1, dtype=torch.float64)
        >>> fits_single(x), fits_single(5.4e6 + 0.2 * x), fits_single(torch.tensor([[19580329]]))
        (True, False, False)
    """
    if not x.is_floating_point():
        return not needs_double(x, name)
    if x.dtype != torch.float64:
        return True
    finite = torch.where(x.isfinite(), x, 0.0)
    rounded = finite.float()
    if bool(rounded.isinf().any()):
        return False
    if bool(((finite.abs() > SINGLE) & (finite % 1 == 0) & (rounded != finite)).any()):
        return False
    some = finite[:: max(1, len(x) // SOME_ROWS)]
    columns = some.flatten(1) if some.dim() == 2 else some.reshape(-1, 1)
    error = (columns - columns.float()).abs().median(0).values
    apart = (columns - columns.median(0).values).abs()
    usual = apart.median(0).values
    usual = torch.where(usual > 0, usual, apart.mean(0))
    return bool(((error <= HARMLESS * usual) | (usual == 0)).all())


def as_labels(labels: Any, rows: int, name: str) -> Tensor:  # noqa: ANN401
    """Convert labels to int64, (N,).

    Raises:
        InputError: when there is not one whole number for each row.
    """
    labels = labels if isinstance(labels, Tensor) else torch.as_tensor(np.asarray(labels).astype(np.float64))
    labels = labels.detach().cpu()
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (rows,):
        raise InputError(
            f"{name} has {rows} rows and labels of shape {tuple(labels.shape)}: give one label for each row"
        )
    whole = labels.long()
    if not bool((whole == labels).all()):
        raise InputError(f"{name} has labels that are not whole numbers: give one class number for each row")
    return whole


def refuse_not_finite(
    x: Tensor,
    name: str,
    *,
    first_row: int = 0,
    missing: bool = False,
    columns: tuple[Column, ...] | None = None,
) -> None:
    """Raise InputError when rows (N, *event) contain infinity or, unless `missing`, NaN.

    The message says how many values are wrong and where.
    """
    bad = torch.isinf(x) if missing else ~torch.isfinite(x)
    if not bool(bad.any()):
        return
    place = bad.nonzero()[0].tolist()
    rows = int(bad.flatten(1).any(dim=1).sum())
    count = int(bad.sum())
    value = x[tuple(place)].item()
    inside = f"at position {place[1] if len(place) == 2 else tuple(place[1:])}"
    if columns is not None and len(place) == 2:
        inside = f"of column {columns[place[1]].name!r}"
    wrong = "infinite" if missing else "NaN or infinite"
    cure = "leave them empty (NaN)" if missing else "fill the values in"
    raise InputError(
        f"{name} has {count} value{'s' if count > 1 else ''} that {'are' if count > 1 else 'is'} {wrong}, "
        f"in {rows} row{'s' if rows > 1 else ''}, the first ({value}) in row "
        f"{place[0] + first_row} {inside}: remove such rows, or {cure}"
    )


def _is_image(x: Tensor) -> bool:
    return x.dtype == torch.uint8 and x.ndim >= 3 and int(x.max()) > 1


def _scaled(x: Tensor, levels: int | None, name: str, columns: tuple[Column, ...] | None = None) -> Tensor:
    refuse_not_finite(x, name, missing=True, columns=columns)
    return x / (levels - 1) if levels else x


def _classes(*labels: Tensor | None) -> tuple[int, ...] | None:
    present = [part for part in labels if part is not None]
    return tuple(torch.cat(present).unique().tolist()) if present else None
