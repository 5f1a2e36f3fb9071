"""Where imputed numbers go in a table, and how they are written there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.datasets import Schema
from pyrovae.datasets.columns import Column
from pyrovae.datasets.matching import Unknown, date_words, match, refuse_absent, stands_for_missing
from pyrovae.datasets.readers.cells import number_of, plain_words
from pyrovae.datasets.readers.dates import DAYS, as_dates
from pyrovae.datasets.readers.tables import Table
from pyrovae.datasets.writing import Style, style_of

if TYPE_CHECKING:
    import pandas

__all__ = ["Cells", "filled"]


class Cells:
    """The columns of a model in a table, and the formats of their cells.

    Arguments:
        schema: of the model.
        head: the first rows of the table.
        unknown: "missing" if unknown words are read as missing entries; their cells are kept.

    Raises:
        InputError: for a column of the model that the table does not have.

    Attributes:
        columns: the columns of the model.
        places: their positions in the table.
        styles: how a number is written in each of them as text.
    """

    def __init__(self, schema: Schema, head: Table, unknown: Unknown) -> None:
        self.columns: Sequence[Column] = schema.columns or ()
        self.na, self.unknown = schema.na, unknown
        refuse_absent(head, self.columns, "the table")
        names = list(map(str, head.frame.columns))
        self.places = [names.index(column.name) for column in self.columns]
        dates = date_words(head, self.columns)
        self.styles = [self._style(head, column, dates) for column in self.columns]

    def _style(self, head: Table, column: Column, dates: Any) -> Style:  # noqa: ANN401
        values = match(head, [column], "the table", na=self.na, unknown="missing", dates=dates)[:, 0]
        series = head.frame.iloc[:, self.places[list(self.columns).index(column)]]
        return style_of(column, list(plain_words(series.rename(column.name))), values, head.decimal)

    def empty(self, table: Table, missing: np.ndarray) -> np.ndarray:
        """The missing entries (N, C) whose cells are to be filled: not those of unknown words."""
        if self.unknown != "missing":
            return missing
        result = missing.copy()
        for i, (column, place) in enumerate(zip(self.columns, self.places, strict=True)):
            rows = missing[:, i].nonzero()[0]
            words = plain_words(table.frame.iloc[rows, place].rename(column.name))
            result[rows, i] = [stands_for_missing(word, column, self.na) for word in words]
        return result


def filled(series: pandas.Series, rows: np.ndarray, values: np.ndarray, column: Column, style: Style) -> Any:  # noqa: ANN401
    """A column of a DataFrame with imputed numbers in some rows, in its own type.

    Arguments:
        series: the column.
        rows: positions.
        values: the numbers, in the units of the model.
        column: its kind.
        style: how a number is written as text.
    """
    import pandas

    result = series.copy()
    if isinstance(series.dtype, pandas.CategoricalDtype):
        return _in_categories(result, rows, [style(value) for value in values])
    cells = _typed(series, values, column, style)
    if series.dtype.kind == "b" and series.dtype == np.bool_:
        result = result.astype(object)
    result.iloc[rows] = cells
    return result


def _typed(series: pandas.Series, values: np.ndarray, column: Column, style: Style) -> Any:  # noqa: ANN401
    kind = series.dtype.kind
    if kind == "M":
        times = as_dates(values)
        zone = getattr(series.dtype, "tz", None)
        times = times if zone is None else times.dt.tz_localize("UTC").dt.tz_convert(zone)
        return times.astype(series.dtype).array
    if kind == "m":
        import pandas

        return pandas.to_timedelta(values, unit="s")
    if kind == "b":
        return values != 0
    if kind in "iuf":
        numbers = np.array([_number(value, column, style) for value in values])
        return numbers if kind == "f" else numbers.round().astype(np.int64)
    return _objects(series, values, column, style)


def _objects(series: pandas.Series, values: np.ndarray, column: Column, style: Style) -> list[Any]:
    """Cells of a column of Python objects, of the type of its first one."""
    known = series.dropna()
    first = known.iloc[0] if len(known) else ""
    if isinstance(first, (bool, np.bool_)):
        return [bool(value) for value in values]
    if isinstance(first, (int, np.integer)) and all(isinstance(cell, (int, np.integer)) for cell in known):
        return [round(_number(value, column, style)) for value in values]
    if isinstance(first, (int, float, np.number)):
        return [_number(value, column, style) for value in values]
    if column.unit == DAYS and not isinstance(first, str):
        return list(as_dates(values))
    return [style(value) for value in values]


def _number(value: float, column: Column, style: Style) -> float:
    """A number of a column of numbers; the level 7 for its code."""
    if column.levels is None:
        return float(value)
    number = number_of(style(value))
    return float(value) if number is None else number


def _in_categories(series: pandas.Series, rows: np.ndarray, words: list[str]) -> pandas.Series:
    by_word = {str(category): category for category in series.cat.categories}
    cells = [by_word.get(word, word) for word in words]
    new = [word for word in dict.fromkeys(cells) if word not in series.cat.categories]
    series = series.cat.add_categories(new)
    series.iloc[rows] = cells
    return series
