"""Match new data to the columns of earlier data by name, and words to the stored levels.

The order of columns does not matter, and unneeded columns are ignored. A missing column is refused.
So are an unknown word and a word among numbers; `unknown="missing"` reads them as missing entries.

Each cell is read by itself, so a table gives the same numbers whole, in pieces and row by row. Only
the order of day and month in a date is found from all dates of a column (or from its first rows,
for a file that is read in pieces).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pyrovae.datasets.columns import Column
from pyrovae.datasets.files import is_readable, raw_table
from pyrovae.datasets.readers.cells import (
    MISSING_WORDS,
    is_missing,
    number_of,
    numbers_of,
    plain_words,
)
from pyrovae.datasets.readers.dates import DAYS, HOURS, AmbiguousDates, days_of, hours_of, plain_days
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.datasets.readers.tables import Table
from pyrovae.errors import InputError
from pyrovae.names import near_names

if TYPE_CHECKING:
    import pandas

__all__ = ["Unknown", "date_words", "match", "opened", "refuse_absent", "stands_for_missing"]

Unknown = Literal["refuse", "missing"]

TRUTH = {"true": 1.0, "yes": 1.0, "t": 1.0, "y": 1.0, "false": 0.0, "no": 0.0, "f": 0.0, "n": 0.0}
COMPACT = (17_000_101, 22_001_231)  # dates such as 19580329


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


def refuse_absent(table: Table, columns: Sequence[Column], where: object) -> None:
    """Check that a table has some columns.

    Raises:
        InputError: for the first columns that it does not have.
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


def match(
    table: Table,
    columns: Sequence[Column],
    where: object,
    *,
    na: Collection[str] = (),
    unknown: Unknown = "refuse",
    dates: Mapping[str, Sequence[str]] | None = None,
) -> np.ndarray:
    """The numbers of some columns of a table, (N, C) float64, with NaN for missing entries.

    Arguments:
        table: new data.
        columns: the columns that are needed.
        where: the name of the data in messages.
        na: further words that stand for a missing entry.
        unknown: "refuse" or "missing", for words that have no number or level.
        dates: other dates of the columns of dates, in the same format (`date_words`).

    Raises:
        InputError: for a column that is missing, or a word without a number or level.
    """
    refuse_absent(table, columns, where)
    parts = []
    for column in columns:
        cells = _NewCells(table, column, where, frozenset({*na, *column.missing}), unknown)
        parts.append(cells.codes() if column.levels is not None else cells.numbers(dates or {}))
    return np.stack(parts, 1)


def date_words(table: Table, columns: Sequence[Column]) -> dict[str, list[str]]:
    """The different words in columns of dates, from which the order of day and month is found."""
    names = set(map(str, table.frame.columns))
    return {
        column.name: [word for word in dict.fromkeys(plain_words(series)) if not is_missing(word)]
        for column in columns
        if column.unit == DAYS and column.name in names
        for series in [_series(table, column.name)]
        if series.dtype.kind not in "biufmMc"
    }


def stands_for_missing(word: str, column: Column, na: Collection[str] = ()) -> bool:
    """Whether a cell of text of a column stands for a missing entry.

    Example:
        >>> column = Column("size", "normal", missing=("unknown",))
        >>> [stands_for_missing(word, column, ["-9"]) for word in ("", "?", "-9", "unknown", "big")]
        [True, True, True, True, False]
    """
    every = {*na, *column.missing}
    if column.levels is not None:
        return word in every or word.lower() in MISSING_WORDS
    return is_missing(word, every)


def _series(table: Table, name: str) -> pandas.Series:
    return table.frame.iloc[:, list(map(str, table.frame.columns)).index(name)].rename(name)


class _NewCells:
    """The cells of one column of new data.

    Arguments:
        table: the new data.
        column: the column that the model was trained on.
        where: the name of the data in messages.
        na: words that stand for a missing entry, next to the usual ones.
        unknown: "refuse" or "missing".
    """

    def __init__(
        self, table: Table, column: Column, where: object, na: frozenset[str], unknown: Unknown
    ) -> None:
        self.table, self.column, self.where, self.na, self.unknown = table, column, where, na, unknown
        self.series = _series(table, column.name)

    # ---------------------------------------------------------------- words with codes

    def codes(self) -> np.ndarray:
        """The positions of words among the stored levels, with NaN for missing entries."""
        levels, folds = self.column.levels or (), self.column.kind == "bernoulli"
        places: dict[str, float] = {level: float(i) for i, level in enumerate(levels)}
        if folds:
            places = {level.lower(): place for level, place in places.items()} | places

        def code(text: str) -> float | None:
            word = _level(text, places)
            place = places.get(word, places.get(word.lower()) if folds else None)
            is_gone = word in self.na or word.lower() in MISSING_WORDS
            return place if place is not None else np.nan if is_gone else None

        shown = ", ".join(levels[:5]) + (", ..." if len(levels) > 5 else "")
        return self._each(plain_words(self.series), code, f"the words {shown}")

    def _each(self, texts: np.ndarray, value: Any, trained_on: str) -> np.ndarray:  # noqa: ANN401
        """The value of each word; equal words are read once.

        Raises:
            InputError: for a word without a value, unless it is read as missing.
        """
        import pandas

        places, words = pandas.factorize(texts)
        values = [value(word) for word in words]
        wrong = [i for i, one in enumerate(values) if one is None]
        if wrong and self.unknown == "refuse":
            row = int(np.isin(places, wrong).argmax())
            raise InputError(
                f"column {self.column.name!r} of {self.where} holds {texts[row]!r} in {self._place(row)}, "
                f"and the model was trained on {trained_on}: correct the cell, leave it empty, or give "
                "unknown='missing'"
            )
        return np.array([np.nan if one is None else one for one in values], dtype=np.float64)[places]

    def _place(self, row: int) -> str:
        lines, number = self.table.lines, self.table.first + row
        return f"row {number}" if lines is None else f"row {number} (line {lines[row]})"

    # ---------------------------------------------------------------- numbers and dates

    def numbers(self, dates: Mapping[str, Sequence[str]]) -> np.ndarray:
        """Numbers, with NaN for missing entries; dates as days."""
        series, column = self.series, self.column
        kind = series.dtype.kind
        if kind == "c":
            raise InputError(f"column {column.name!r} holds complex numbers: give their real parts")
        if kind == "M" and column.unit == DAYS:
            values = plain_days(series)
        elif kind == "m":
            self._check_unit("seconds", 0)
            values = series.dt.total_seconds().to_numpy()
        elif kind in "iuf" or kind == "b" and column.unit != DAYS:
            values = self._typed()
        else:
            texts = plain_words(series)
            values = (
                self._days(texts, dates.get(column.name, ())) if column.unit == DAYS else self._read(texts)
            )
        return self._checked(values)

    def _typed(self) -> np.ndarray:
        values = self.series.to_numpy(dtype=np.float64, na_value=np.nan)
        tokens = [number for number in map(number_of, self.na) if number is not None]
        values = np.where(np.isin(values, tokens), np.nan, values) if tokens else values
        if self.column.unit != DAYS:
            return values
        words = np.array(["" if np.isnan(value) else f"{value:.15g}" for value in values], dtype=object)
        return self._days(words, ())

    def _read(self, texts: np.ndarray) -> np.ndarray:
        """Numbers of cells of text, each by itself."""
        if self.table.decimal == "." and not self.na:
            with_gaps = np.where(texts == "", "nan", texts)
            try:  # most columns have plain numbers only
                if not any("_" in word for word in with_gaps):
                    return with_gaps.astype(np.float64)
            except ValueError:
                pass
        is_truth = self.column.kind == "bernoulli"

        def value(word: str) -> float | None:
            if is_missing(word, self.na):
                return np.nan
            hours = hours_of([word], strict=False) if self.column.unit == HOURS else None
            if hours is not None:
                return float(hours[0])
            found = numbers_of([word], self.table.decimal)
            if found is None:
                return TRUTH.get(word.lower()) if is_truth else None
            if found[1] is not None:
                self._check_unit(found[1], int((texts == word).argmax()))
            return found[0][0]

        return self._each(texts, value, "numbers")

    def _days(self, texts: np.ndarray, others: Sequence[str]) -> np.ndarray:
        """Days of dates, whose day and month are in the same order in all of them."""
        plain = [word for word in dict.fromkeys(texts) if not is_missing(word, self.na)]
        days = self._in_one_format(plain, others)
        if days is None:  # some of them are not dates
            plain = [word for word in plain if _is_date(word)]
            days = self._in_one_format(plain, list(filter(_is_date, others)))
        known = {} if days is None else dict(zip(plain, days, strict=False))

        def value(word: str) -> float | None:
            if is_missing(word, self.na):
                return np.nan
            return known[word] if word in known else _day(word)

        return self._each(texts, value, "dates")

    def _in_one_format(self, words: Sequence[str], others: Sequence[str]) -> np.ndarray | None:
        """Days of words; a date of the training data decides if they can be read in two ways."""
        if not words:
            return None
        try:
            return days_of([*words, *others])
        except AmbiguousDates as problem:
            example = self.column.example
            days = None if example is None else days_of([*words, *others, example])
            if days is not None:
                return days
            raise InputError(
                f"column {self.column.name!r} of {self.where} holds dates such as {problem.example!r} whose "
                "day and month cannot be told apart: write them as 2024-12-31"
            ) from None

    def _check_unit(self, unit: str, row: int) -> None:
        if unit != self.column.unit:
            raise InputError(
                f"column {self.column.name!r} of {self.where} is given in {unit} in {self._place(row)}, and "
                f"the model was trained on {self.column.unit or 'plain numbers'}: give it in the same unit"
            )

    def _checked(self, values: np.ndarray) -> np.ndarray:
        wrong = np.isinf(values)
        if self.column.kind == "bernoulli":
            wrong |= ~np.isin(values, (0, 1)) & ~np.isnan(values)
        if wrong.any():
            row = int(wrong.argmax())
            raise InputError(
                f"column {self.column.name!r} of {self.where} holds {values[row]:g} in {self._place(row)}, "
                f"which its kind {self.column.kind} does not have: correct the cell or leave it empty"
            )
        return values


def _is_date(word: str) -> bool:
    """Whether a word is a date, even if its day and month cannot be told apart."""
    try:
        return days_of([word]) is not None
    except AmbiguousDates:
        return True


def _number(word: str, column: Column, table: Table) -> float | None:
    if column.unit == DAYS:
        return _day(word)
    hours = hours_of([word], strict=False) if column.unit == HOURS else None
    return number_of(word, table.decimal) if hours is None else float(hours[0])


def _day(word: str) -> float | None:
    """A date in a format of its own, or one of eight digits such as 19580329."""
    is_compact = re.fullmatch(r"\d{8}", word) is not None and COMPACT[0] <= int(word) <= COMPACT[1]
    try:
        days = days_of([word], compact=is_compact)
    except AmbiguousDates:
        return None
    return None if days is None else float(days[0])


def _level(text: str, places: Mapping[str, float]) -> str:
    """The level that a cell stands for, such as 7 for 7.0."""
    number = None if text in places else number_of(text)
    return text if number is None or number % 1 else str(int(number)) if str(int(number)) in places else text
