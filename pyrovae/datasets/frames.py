"""Rows of a table as a DataFrame, in the user's columns, words and units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pyrovae.datasets.columns import Column
from pyrovae.datasets.readers.dates import DAYS, as_dates
from pyrovae.errors import InputError

if TYPE_CHECKING:
    import pandas

__all__ = ["as_frame"]

COUNTS = ("poisson", "negativebinomial", "zeroinflatednegativebinomial", "bernoulli")


def as_frame(x: Tensor, columns: Sequence[Column]) -> pandas.DataFrame:
    """Rows (N, C) as a table: words for codes, times for days, whole numbers for counts.

    Raises:
        InputError: for another number of columns, or a code without a word.
    """
    import pandas

    values = x.detach().cpu().double().numpy()
    if values.ndim != 2 or values.shape[1] != len(columns):
        raise InputError(f"x has shape {values.shape}: give rows of {len(columns)} columns")
    frame = {i: _cells(values[:, i], column) for i, column in enumerate(columns)}
    return pandas.DataFrame(frame).set_axis([column.name for column in columns], axis=1)


def _cells(values: np.ndarray, column: Column) -> pandas.Series:
    import pandas

    missing = np.isnan(values)
    if column.levels is not None:
        codes = np.where(missing, 0, values).round().astype(int)
        if ((codes < 0) | (codes >= len(column.levels))).any():
            raise InputError(f"column {column.name!r} has codes beyond its {len(column.levels)} words")
        words = np.array([*column.levels], dtype=object)[codes]
        return pandas.Series(np.where(missing, None, words), dtype=object)
    if column.unit == DAYS:
        return as_dates(values)
    whole = column.kind in COUNTS and not (values[~missing] % 1).any()
    if whole and np.abs(values[~missing]).max(initial=0) < 2**62:
        return (
            pandas.Series(values).astype("Int64") if missing.any() else pandas.Series(values).astype("int64")
        )
    return pandas.Series(values)
