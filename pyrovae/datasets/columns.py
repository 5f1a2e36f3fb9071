"""Columns of a table: their names and kinds.

    words                        categorical:n    codes 0 .. n - 1, in alphabetical order
    0 and 1                      bernoulli
    whole numbers of 0 or more   poisson, or negativebinomial when the variance exceeds the mean
    other numbers                normal

The user can choose another kind: a zip code is a name (`kinds={"zip": "categorical"}`), an amount
may be "lognormal". An empty cell is a missing entry, NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyrovae.errors import InputError

if TYPE_CHECKING:
    import pandas

__all__ = ["KINDS", "Column", "coded", "is_number"]

KINDS = (
    "normal",
    "laplace",
    "studentt",
    "lognormal",
    "poisson",
    "negativebinomial",
    "zeroinflatednegativebinomial",
    "bernoulli",
    "categorical",
)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: its name in the table.
        kind: a word that `pyrovae.likelihoods.Mixed` knows.
        levels: the words that the codes 0, 1, ... stand for, or None.
    """

    name: str
    kind: str
    levels: tuple[str, ...] | None = None


def coded(
    table: pandas.DataFrame, kinds: Mapping[str, str] | None, where: object
) -> tuple[np.ndarray, tuple[Column, ...]]:
    """Encode a table as numbers (N, C), with NaN for empty cells; returns them and the columns.

    Arguments:
        table: a table with columns of numbers or words.
        kinds: the kinds that the user chose, by column.
        where: the name of the table in messages.

    Raises:
        InputError: for a column of neither numbers nor words, or a kind that does not fit its
            values.
    """
    kinds = dict(kinds or {})
    columns = [_column(table[name], kinds.pop(str(name), None), where) for name in table.columns]
    if kinds:
        raise InputError(
            f"kinds names a column {min(kinds)!r} that {where} does not have: its columns are "
            f"{', '.join(map(str, table.columns))}"
        )
    return np.stack([values for values, _ in columns], 1), tuple(column for _, column in columns)


def _column(cells: pandas.Series, kind: str | None, where: object) -> tuple[np.ndarray, Column]:
    name = str(cells.name)
    if kind is not None and kind not in KINDS:
        raise InputError(f"column {name!r} cannot be of the kind {kind!r}: use one of {', '.join(KINDS)}")
    if kind == "categorical" or (kind is None and cells.dtype.kind not in "biuf"):
        return _classes(cells, name, where, asked=kind is not None)
    if cells.dtype.kind not in "biuf":
        raise InputError(
            f"column {name!r} of {where} holds {_example(cells)} and not numbers, so it cannot be {kind}: "
            "leave its kind out"
        )
    values = cells.to_numpy(dtype=np.float32, na_value=np.nan)
    return values, Column(name, kind or _kind(values))


def _classes(cells: pandas.Series, name: str, where: object, *, asked: bool) -> tuple[np.ndarray, Column]:
    is_present = cells.notna().to_numpy()
    words = cells[is_present].map(_word)
    numbers = words.map(is_number)
    if not asked and (cells.dtype.kind != "O" or numbers.any() and not numbers.all()):
        raise InputError(
            f"column {name!r} of {where} holds {_example(cells)} next to numbers: turn it into numbers, "
            f"drop it, or declare its cells as names with kinds={{{name!r}: 'categorical'}}"
        )
    levels = sorted(set(words), key=lambda word: (not is_number(word), _number(word), word))
    code = {level: i for i, level in enumerate(levels)}
    values = np.full(len(cells), np.nan, dtype=np.float32)
    values[is_present] = words.map(code).to_numpy(dtype=np.float32)
    return values, Column(name, f"categorical:{max(2, len(levels))}", tuple(levels))


def _kind(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)].astype(np.float64)
    if len(finite) and np.isin(finite, (0, 1)).all():
        return "bernoulli"
    if len(finite) and (finite >= 0).all() and (finite % 1 == 0).all():
        return "negativebinomial" if finite.var() > finite.mean() else "poisson"
    return "normal"


def is_number(cell: str) -> bool:
    """Whether a cell is a number or empty."""
    try:
        float(cell.strip().strip('"') or "nan")
    except ValueError:
        return False
    return True


def _word(cell: object) -> str:
    """A cell as it was written: in a column with empty cells pandas turns 7 into 7.0."""
    return str(int(cell)) if isinstance(cell, float) and cell % 1 == 0 else str(cell)


def _number(word: str) -> float:
    return float(word) if is_number(word) and word.strip() else 0.0


def _example(cells: pandas.Series) -> str:
    """The first cell that is not a number, for a message."""
    texts = (str(cell) for cell in cells.dropna() if not is_number(str(cell)))
    return repr(next(texts, str(cells.dtype)))
