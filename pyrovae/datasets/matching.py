"""Match new data to the columns of earlier data by name, and words to the stored levels.

The order of columns does not matter, and unneeded columns are ignored. A missing column is refused.
So are an unknown word and a word among numbers; `unknown="missing"` reads them as missing entries.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pyrovae.datasets.columns import Column
from pyrovae.datasets.files import is_readable, raw_table
from pyrovae.datasets.readers.cells import MISSING_WORDS, Cells, number_of, plain_words, read_cells
from pyrovae.datasets.readers.dates import DAYS, HOURS, AmbiguousDates, days_of, hours_of
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.datasets.readers.tables import Table
from pyrovae.errors import InputError
from pyrovae.names import near_names

if TYPE_CHECKING:
    import pandas

__all__ = ["Unknown", "match", "opened"]

Unknown = Literal["refuse", "missing"]


def opened(data: Any, name: str, options: ReadOptions) -> Table:  # noqa: ANN401
    """A DataFrame, a dict of columns or a file as a table of cells.

    Raises:
        InputError: for anything else, or a file that cannot be read.
    """
    if isinstance(data, (str, os.PathLike)):
        path = Path(data).expanduser()
        if not path.is_file() or not is_readable(path):
            raise InputError(f"{os.fspath(data)} is not a table: give a file of columns, as a .csv file")
        return raw_table(path, options)
    import pandas

    if isinstance(data, dict):
        data = pandas.DataFrame(data)
    if not isinstance(data, pandas.DataFrame):
        raise InputError(f"{name} is a {type(data).__name__}: give a DataFrame or the name of a file")
    names = [str(column) for column in data.columns]
    return Table(data.set_axis(names, axis=1), {"format": "DataFrame"})


def match(
    table: Table,
    columns: Sequence[Column],
    where: object,
    *,
    na: Collection[str] = (),
    unknown: Unknown = "refuse",
) -> np.ndarray:
    """The numbers of some columns of a table, (N, C) float64, with NaN for missing entries.

    Arguments:
        table: new data.
        columns: the columns that are needed.
        where: the name of the data in messages.
        na: further words that stand for a missing entry.
        unknown: "refuse" or "missing", for words that have no number or level.

    Raises:
        InputError: for a column that is missing, or a word without a number or level.
    """
    names = [str(name) for name in table.frame.columns]
    absent = [column.name for column in columns if column.name not in names]
    if absent:
        near = near_names(absent[0], names)
        meant = f" (it has {near[0]!r})" if near else ""
        raise InputError(
            f"{where} has no column {', '.join(map(repr, absent[:5]))}{meant}, which the model was trained "
            f"on, only {', '.join(names[:20])}: add it, with empty cells if its values are missing"
        )
    parts = [_numbers(table, column, where, set(na) | set(column.missing), unknown) for column in columns]
    return np.stack(parts, 1)


def _numbers(table: Table, column: Column, where: object, na: set[str], unknown: Unknown) -> np.ndarray:
    series = table.frame.iloc[:, list(table.frame.columns).index(column.name)].rename(column.name)
    if column.levels is not None:
        return _codes(series, column, table, where, na, unknown)
    cells = read_cells(series, na=na, decimal=table.decimal)
    if cells.values is None or (cells.sort == "dates") != (column.unit == DAYS):
        cells = _as_numbers(cells, column, table, where, unknown)
    assert cells.values is not None
    if cells.unit != column.unit and cells.unit is not None:
        raise InputError(
            f"column {column.name!r} of {where} is given in {cells.unit}, and the model was trained on "
            f"{column.unit or 'plain numbers'}: give it in the same unit"
        )
    wrong = np.isinf(cells.values)
    if column.kind == "bernoulli":
        wrong |= ~np.isin(cells.values, (0, 1)) & ~np.isnan(cells.values)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"column {column.name!r} of {where} holds {cells.values[row]:g} in {_place(table, row)}, which "
            "its "
            f"kind {column.kind} does not have: correct the cell or leave it empty"
        )
    return cells.values


def _as_numbers(cells: Cells, column: Column, table: Table, where: object, unknown: Unknown) -> Cells:
    """Convert cells one by one, when the new column is not of the same sort."""
    dates = column.unit == DAYS
    numbers = [None if w is None else _number(w, column, table) for w in cells.words]
    values = np.array([np.nan if number is None else number for number in numbers])
    wrong = [i for i, word in enumerate(cells.words) if word is not None and numbers[i] is None]
    if wrong and unknown == "refuse":
        raise InputError(
            f"column {column.name!r} of {where} holds {cells.words[wrong[0]]!r} in "
            f"{_place(table, wrong[0])}, and "
            f"the model was trained on {'dates' if dates else 'numbers'}: correct the cell, leave it "
            "empty, or "
            "give unknown='missing'"
        )
    return replace(cells, sort="numbers", values=values, unit=DAYS if dates else None)


def _number(word: str, column: Column, table: Table) -> float | None:
    if column.unit == DAYS:
        return _day(word)
    hours = hours_of([word], strict=False) if column.unit == HOURS else None
    return number_of(word, table.decimal) if hours is None else float(hours[0])


def _day(word: str) -> float | None:
    try:
        days = days_of([word])
    except AmbiguousDates:
        return None
    return None if days is None else float(days[0])


def _codes(
    series: pandas.Series, column: Column, table: Table, where: object, na: set[str], unknown: Unknown
) -> np.ndarray:
    levels = column.levels or ()
    places: dict[str, float] = {level: float(i) for i, level in enumerate(levels)}
    if column.kind == "bernoulli":
        places = {level.lower(): place for level, place in places.items()} | places
    words = plain_words(series)
    result = np.full(len(words), np.nan)
    for row, text in enumerate(words):
        word = _level(text, places)
        if word in places or (column.kind == "bernoulli" and word.lower() in places):
            result[row] = places.get(word, places.get(word.lower(), np.nan))
        elif word in na or word.lower() in MISSING_WORDS or unknown == "missing":
            continue
        else:
            shown = ", ".join(levels[:5]) + (", ..." if len(levels) > 5 else "")
            raise InputError(
                f"column {column.name!r} of {where} holds {word!r} in {_place(table, row)}, and the model "
                "was "
                f"trained on the words {shown}: correct the cell, leave it empty, or give unknown='missing'"
            )
    return result


def _level(text: str, places: dict[str, float]) -> str:
    """The level that a cell stands for, such as 7 for 7.0."""
    number = None if text in places else number_of(text)
    return text if number is None or number % 1 else str(int(number)) if str(int(number)) in places else text


def _place(table: Table, row: int) -> str:
    return f"row {row}" if table.lines is None else f"row {row} (line {table.lines[row]})"
