"""Columns of a table: their names and kinds.

    words                        categorical:n    codes 0 .. n - 1, in alphabetical order
    0 and 1, yes and no          bernoulli
    whole numbers of 0 or more   poisson; negativebinomial when the variance exceeds the mean;
                                 normal when it is far below the mean (a year)
    other numbers, dates         normal           a date is the number of days since 1970-01-01
    the same with long tails     studentt         their excess kurtosis is above 10

The user can choose another kind: a zip code is a name (`kinds={"zip": "categorical"}`), an amount
may be "lognormal", and a grade "ordinal: low < middle < high". An empty cell is a missing entry,
NaN.

A column that never varies has no density. It is left out, and the record says so. A column in which
nearly every cell is unique, such as an identifier or free text, is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pyrovae.cures import cure, option
from pyrovae.datasets.readers import suspects
from pyrovae.datasets.readers.cells import Cells, number_of, plain_numbers, read_cells
from pyrovae.datasets.readers.dates import DAYS, example_of
from pyrovae.errors import InputError

if TYPE_CHECKING:
    import pandas

T = TypeVar("T")

__all__ = ["KINDS", "Column", "Encoded", "coded", "encode", "encode_columns"]

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
    "ordinal",
)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: the name in the table.
        kind: a word that `pyrovae.likelihoods.Mixed` knows.
        levels: the words that the codes 0, 1, ... stand for, or None.
        unit: the unit of the numbers ("%", "days since 1970-01-01"), or None.
        missing: the words that stand for a missing entry, in addition to empty cells.
        example: a date that shows the order of day and month in the training data, or None.
    """

    name: str
    kind: str
    levels: tuple[str, ...] | None = None
    unit: str | None = None
    missing: tuple[str, ...] = ()
    example: str | None = None


@dataclass
class Encoded:
    """A table as numbers.

    Attributes:
        values: float64, (N, C), with NaN for missing entries.
        columns: the columns that are kept.
        remarks: remarks on columns for the user, by name.
        dropped: the columns that are left out, each with the reason.
    """

    values: np.ndarray
    columns: tuple[Column, ...]
    remarks: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)


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
    unknown = set(kinds) - set(map(str, table.columns))
    if unknown:
        raise InputError(
            f"kinds names a column {min(unknown)!r} that {where} does not have: its columns are "
            f"{', '.join(map(str, table.columns))}"
        )
    encoded = encode(table, where, kinds=kinds)
    return encoded.values, encoded.columns


def encode(
    table: pandas.DataFrame,
    where: object,
    *,
    kinds: Mapping[str, str] | None = None,
    na: Collection[str] = (),
    decimal: str = ".",
    keep: bool = False,
) -> Encoded:
    """Encode the columns of a table as numbers.

    Arguments:
        table: a table with columns of numbers or words.
        where: the name of the table in messages.
        kinds: the kinds that the user chose, by column.
        na: further words that stand for a missing entry.
        decimal: the decimal mark of cells of text.
        keep: keep columns that never vary.

    Raises:
        InputError: for a column that cannot be read, or a kind that does not fit its values.
    """
    series = (table.iloc[:, place].rename(str(label)) for place, label in enumerate(table.columns))
    options: dict[str, Any] = {"kinds": kinds, "na": na, "decimal": decimal, "keep": keep}
    result, values = encode_columns(series, where, lambda _, numbers: numbers, **options)
    result.values = np.stack(values, 1)
    return result


def encode_columns(
    series: Iterable[pandas.Series],
    where: object,
    each: Callable[[Column, np.ndarray], T],
    *,
    kinds: Mapping[str, str] | None = None,
    na: Collection[str] = (),
    decimal: str = ".",
    keep: bool = False,
) -> tuple[Encoded, list[T]]:
    """Encode columns one at a time; returns all but the values, and a result for each column.

    Arguments:
        series: the columns; their names are strings.
        where: the name of the table in messages.
        each: a function of a column and its numbers (N,), which gives the result.
        kinds, na, decimal, keep: as for `encode`.

    Raises:
        InputError: as from `encode`.
    """
    kinds = kinds or {}
    result = Encoded(np.empty((0, 0)), ())
    results, columns, problems = [], [], {}
    for cells_of_column in series:
        name = str(cells_of_column.name)
        kind = kinds.get(name)
        cells = read_cells(cells_of_column, na=na, decimal=decimal)
        constant = None if keep or kind is not None else suspects.constant(cells)
        if constant is not None:
            result.dropped[name] = constant
            continue
        try:
            numbers, column, notes = _column(cells, name, kind, where)
        except InputError as problem:
            problems[name] = str(problem)
            continue
        results.append(each(column, numbers))
        columns.append(column)
        if remark := "; ".join(dict.fromkeys([*cells.notes, *notes])):
            result.remarks[name] = remark
    if problems:
        first, *others = problems
        raise InputError(problems[first] + _others(first, others, is_all=not columns))
    if not columns:
        reasons = "; ".join(f"{name!r}: {why}" for name, why in list(result.dropped.items())[:3])
        raise InputError(f"{where} has no column that varies ({reasons}): give at least one")
    result.columns = tuple(columns)
    return result, results


def _others(first: str, others: list[str], *, is_all: bool) -> str:
    """The other columns that cannot be read, and how to leave all of them out."""
    if not others:
        return ""
    count = f"{len(others)} more column{'s' * (len(others) > 1)}"
    if is_all:
        names = ", ".join(map(repr, others[:9]))
        return f"; {count} cannot be read either ({names}), and no column is left"
    return f"; {count} cannot be read, and all are left out with {suspects.dropping(first, *others)}"


def _column(
    cells: Cells, name: str, asked: str | None, where: object
) -> tuple[np.ndarray, Column, list[str]]:
    word, _, order = (asked or "").partition(":")
    kind = word.strip() or None
    if kind is not None and (kind not in KINDS or (order and kind not in ("ordinal", "categorical"))):
        raise InputError(f"column {name!r} cannot be of the kind {asked!r}: use one of {', '.join(KINDS)}")
    if kind == "ordinal":
        return *_ordered(cells, name, order, where), []
    if kind == "categorical" or (kind is None and cells.sort in ("words", "mixed", "identifiers")):
        if kind is None:
            suspects.refuse_unlikely(cells, name, where)
        return *_classes(cells, name), suspects.remarks_on_words(cells)
    if cells.values is None and kind == "bernoulli" and len(_different(cells)) == 2:
        return *_classes(cells, name, kind), []
    if cells.values is None:
        raise InputError(
            f"column {name!r} of {where} holds {_example(cells)} and not numbers, so it cannot be {asked}: "
            "leave its kind out"
        )
    return _numbers(cells, name, kind, where)


def _numbers(
    cells: Cells, name: str, kind: str | None, where: object
) -> tuple[np.ndarray, Column, list[str]]:
    assert cells.values is not None
    _refuse_infinite(cells, name, where)
    notes = suspects.remarks_on_numbers(cells, name)
    if cells.sort == "truth":
        kind = kind or "bernoulli"
    elif kind is None:
        kind, why = suspects.kind_of_numbers(cells)
        notes += why
    if kind == "categorical":
        return *_classes(cells, name), notes
    levels = cells.levels if kind == "bernoulli" else None
    example = example_of(cells.words) if cells.unit == DAYS else None
    return cells.values, Column(name, kind, levels, cells.unit, cells.missing, example), notes


def _classes(cells: Cells, name: str, kind: str | None = None) -> tuple[np.ndarray, Column]:
    if cells.sort == "numbers" and cells.unit is None and cells.values is not None:  # 7.0 is 7
        cells = replace(cells, written=plain_numbers(cells.values))
    levels = cells.levels if cells.sort == "words" and cells.levels else _different(cells)
    kind = kind or f"categorical:{max(2, len(levels))}"
    return codes_of(cells.words, levels), Column(name, kind, tuple(levels), missing=cells.missing)


def _ordered(cells: Cells, name: str, order: str, where: object) -> tuple[np.ndarray, Column]:
    """Codes in the order given by the user or the file, or in numerical order."""
    if cells.sort == "numbers" and cells.unit is None and cells.values is not None:
        cells = replace(cells, written=plain_numbers(cells.values))
    levels = tuple(level.strip() for level in order.split("<")) if order.strip() else cells.levels
    present = _different(cells)
    if levels is None and cells.values is None:
        in_order = " < ".join(present[:3])
        raise InputError(
            f"column {name!r} of {where} holds words, whose order is not known: give it, as in "
            f"{option('kinds', {name: f'ordinal: {in_order}'})}"
        )
    levels = levels or present
    unknown = [word for word in present if word not in levels]
    if unknown or len(levels) < 2:
        words = f"the word {unknown[0]!r}" if unknown else "one level only"
        raise InputError(
            f"column {name!r} of {where} has {words}, next to the order {' < '.join(levels)}: name all levels"
        )
    column = Column(name, f"ordinal:{len(levels)}", tuple(levels), missing=cells.missing)
    return codes_of(cells.words, levels), column


def codes_of(words: np.ndarray, levels: Collection[str]) -> np.ndarray:
    """The positions of words (N,) in `levels`, float64, with NaN for None and unknown words."""
    places: dict[Any, float] = {level: float(i) for i, level in enumerate(levels)}
    return np.array([places.get(word, np.nan) for word in words])


def _different(cells: Cells) -> tuple[str, ...]:
    """The different words of a column: numbers ascending, then words in alphabetical order."""
    words = {word for word in cells.words if word is not None}
    return tuple(sorted(words, key=lambda word: (number_of(word) is None, number_of(word) or 0.0, word)))


def _refuse_infinite(cells: Cells, name: str, where: object) -> None:
    assert cells.values is not None
    places = np.isinf(cells.values).nonzero()[0]
    if len(places):
        one = len(places) == 1
        words = ",".join(sorted({str(cells.words[place]) for place in places})[:3])
        missing = cure(f"na={words!r}", f"--na={words}")
        raise InputError(
            f"column {name!r} of {where} has {len(places)} value{'s' * (not one)} that "
            f"{'is' if one else 'are'} infinite, the first ({cells.words[places[0]]}) in row {places[0]}: "
            f"read {'it' if one else 'them'} as missing with {missing}, or leave the "
            f"column out with {suspects.dropping(name)}"
        )


def _example(cells: Cells) -> str:
    """The first cell that is not a number, for a message."""
    return suspects.example(cells)
