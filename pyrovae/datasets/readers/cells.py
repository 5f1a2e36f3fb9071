r"""What the cells of one column hold.

    numbers    1, -2.5, 1e39, "1,500", $1.50, 5%, 1.500,5 with a decimal comma
    dates      as days since 1970-01-01
    times      of a day, and durations, as hours: 13:30 is 13.5
    truth      two words of the pairs true/false, yes/no, t/f, y/n
    words      everything else

In a column of numbers, dates or truth values, the words NA, N/A, NaN, null, None, ?, - and . stand
for a missing entry. In a column of words, only empty cells, NA, N/A and NaN are missing. If all
other words are codes of two letters, NA is a word (Namibia).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pyrovae.datasets.readers.dates import DAYS, HOURS, AmbiguousDates, days_of, hours_of, plain_days
from pyrovae.datasets.readers.options import dropping
from pyrovae.errors import InputError

if TYPE_CHECKING:
    import pandas

__all__ = [
    "Cells",
    "are_hexadecimal",
    "is_missing",
    "number_of",
    "numbers_of",
    "plain_numbers",
    "plain_words",
    "read_cells",
]

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-", ".", "--", "#n/a", "n.a.", "<na>"})
MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "#n/a", "<na>"})
PAIRS = ({"false", "true"}, {"no", "yes"}, {"f", "t"}, {"n", "y"})
EXACT = 2**53  # float64 rounds larger whole numbers

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?"
_SIGNS = r"[$€£¥₹]"
_WITH_UNIT = re.compile(
    rf"([-+]?)\s*({_SIGNS}?)\s*([-+]?)({_NUMBER})\s*({_SIGNS}|[%‰°]?)",
)
_DIGITS = re.compile(r"[-+]?\d+")


@dataclass
class Cells:
    """The content of a column.

    Attributes:
        sort: "numbers", "dates", "truth", "words", "mixed" (numbers next to words), "identifiers"
            or "empty".
        values: numbers, (N,), with NaN where missing; None for words.
        written: the cells as words, (N,), with None where missing, or a function that returns them.
        unit: the unit of the numbers, or None.
        levels: the two words of truth values or ordered levels, or None.
        notes: remarks for the user.
        missing: the words that were read as missing entries.
    """

    sort: str
    values: np.ndarray | None
    written: np.ndarray | Callable[[], np.ndarray]
    unit: str | None = None
    levels: tuple[str, ...] | None = None
    notes: list[str] = field(default_factory=list)
    missing: tuple[str, ...] = ()

    @property
    def words(self) -> np.ndarray:
        """The cells as words, (N,), with None where missing; slow for a column of numbers."""
        if callable(self.written):
            self.written = self.written()
        return self.written


def read_cells(cells: pandas.Series, *, na: Collection[str] = (), decimal: str = ".") -> Cells:
    """Read the cells of a column.

    Arguments:
        cells: a column of any type.
        na: further words that stand for a missing entry.
        decimal: the decimal mark of cells of text.

    Raises:
        InputError: for cells that are neither numbers nor text, or dates that can be read in two
            ways.
    """
    import pandas

    name = str(cells.name)
    if isinstance(cells.dtype, pandas.CategoricalDtype):
        return _categories(cells, na, decimal)
    kind = cells.dtype.kind
    if kind == "b":
        values = cells.to_numpy(dtype=np.float64, na_value=np.nan)
        return Cells("truth", values, _words(cells), levels=("False", "True"))
    if kind in "iuf":
        return _of_numbers(cells, na)
    if kind == "M":
        return Cells("dates", plain_days(cells), _words(cells.astype(str)), unit=DAYS)
    if kind == "m":
        return Cells("numbers", cells.dt.total_seconds().to_numpy(), _words(cells), unit="seconds")
    if kind == "c":
        raise InputError(f"column {name!r} holds complex numbers: give their real and imaginary parts")
    return _of_texts(plain_words(cells), set(na), decimal, name)


def is_missing(word: str, na: Collection[str] = ()) -> bool:
    """Whether a word stands for a missing entry in a column of numbers."""
    return word.strip().lower() in MISSING or word.strip() in na


def number_of(word: str, decimal: str = ".") -> float | None:
    """The number that a cell holds, or None: "1,500" is 1500, "$1.50" is 1.5 and "5%" is 5.

    Example:
        >>> [number_of(word) for word in ("1e3", "1,500", "-$1.50", "5%", "12a", "1_0")]
        [1000.0, 1500.0, -1.5, 5.0, None, None]
    """
    numbers = numbers_of([word], decimal)
    return None if numbers is None else numbers[0][0]


def numbers_of(words: Sequence[str], decimal: str = ".") -> tuple[list[float], str | None] | None:
    """Read words as numbers with one unit; None if a word is not a number or the units differ."""
    if decimal == ",":
        words = [_with_point(word) for word in words]
    try:
        if not any("_" in word for word in words):
            return [float(word) for word in words], None
    except ValueError:
        words = [_typed(word) for word in words]
    numbers, units = [], set()
    for word in words:
        match = _WITH_UNIT.fullmatch(word)
        if match is None or (match[1] and match[3]) or (match[2] and match[5]):
            return None
        numbers.append(float(f"{match[1]}{match[3]}{match[4].replace(',', '')}"))
        units.add(match[2] or match[5])
    return (numbers, next(iter(units)) or None) if len(units) == 1 else None


# -------------------------------------------------------------------- columns of numbers


def _of_numbers(cells: pandas.Series, na: Collection[str]) -> Cells:
    values = cells.to_numpy(dtype=np.float64, na_value=np.nan)
    tokens = [number for number in (number_of(word) for word in na) if number is not None]
    values = np.where(np.isin(values, tokens), np.nan, values) if tokens else values
    result = Cells("numbers", values, lambda: _words(cells.mask(np.isnan(values))))
    largest = np.abs(cells.dropna()).max() if cells.dtype.kind in "iu" and cells.notna().any() else 0
    if largest > EXACT:
        result.sort = "identifiers"
        return result
    return _compact_dates(result)


def _compact_dates(cells: Cells) -> Cells:
    """Read whole numbers that are all dates, such as 19580329, as dates."""
    assert cells.values is not None
    present = cells.values[~np.isnan(cells.values)]
    if not len(present) or present.min() < 17_000_101 or present.max() > 22_001_231 or (present % 1).any():
        return cells
    distinct = np.unique(present)
    if len(distinct) < 3:
        return cells
    days = days_of([f"{value:.0f}" for value in distinct], compact=True)
    if days is None:
        return cells
    values = np.full(len(cells.values), np.nan)
    values[~np.isnan(cells.values)] = days[np.searchsorted(distinct, present)]
    cells.sort, cells.values, cells.unit = "dates", values, DAYS
    return cells


# -------------------------------------------------------------------- columns of text


def _of_texts(texts: np.ndarray, na: set[str], decimal: str, name: str) -> Cells:
    """Read cells of text; equal cells are read once."""
    import pandas

    codes, uniques = pandas.factorize(texts)
    different = [str(word) for word in uniques]
    asked = {word for word in different if word in na or word == ""}
    soft = {word for word in different if word.lower() in MISSING} | asked
    strong = [word for word in different if word not in soft]
    words = np.array([*different, None], dtype=object)

    def finish(sort: str, values: Sequence[float] | np.ndarray, missing: set[str], **more: object) -> Cells:
        lookup = dict(zip(strong, values, strict=True))
        table = np.array([*(lookup.get(word, np.nan) for word in different), np.nan])
        gone = np.array([*(word in missing for word in different), True])
        shown = _blanked(words, gone)
        return Cells(sort, table[codes], shown[codes], missing=_tokens(missing), **more)  # type: ignore[arg-type]

    if not strong:
        return finish("empty", [], soft)
    if _are_codes(strong):
        return _of_words(codes, words, different, strong, asked, ["its numbers begin with 0, as codes do"])
    numbers = numbers_of(strong, decimal)
    if numbers is not None:
        cells = finish("numbers", numbers[0], soft, unit=numbers[1])
        if any(_DIGITS.fullmatch(word) and abs(int(word)) > EXACT for word in strong if len(word) > 15):
            cells.sort = "identifiers"
            return cells
        return _compact_dates(cells) if numbers[1] is None else cells
    try:
        days = days_of(strong)
    except AmbiguousDates as problem:
        raise InputError(
            f"column {name!r} holds dates such as {problem.example!r} whose day and month cannot be told "
            f"apart: write them as 2024-12-31, or leave the column out with {dropping(name)}"
        ) from None
    if days is not None:
        return finish("dates", days, soft, unit=DAYS)
    hours = hours_of(strong)
    if hours is not None:
        return finish("numbers", hours, soft, unit=HOURS, notes=["times, read as hours"])
    pair = {word.lower() for word in strong}
    if pair in PAIRS and len(strong) == 2:
        levels = tuple(sorted(strong, key=str.lower))
        return finish("truth", [float(word == levels[1]) for word in strong], soft, levels=levels)
    return _of_words(codes, words, different, strong, asked, [])


def _of_words(
    codes: np.ndarray,
    words: np.ndarray,
    different: list[str],
    strong: list[str],
    asked: set[str],
    notes: list[str],
) -> Cells:
    two_letters = [word for word in strong if len(word) == 2 and word.isalpha() and word.isupper()]
    is_code = "NA" in different and "NA" not in asked and len(two_letters) >= max(3, len(strong) / 2)
    missing = {word for word in different if word.lower() in MISSING_WORDS} | asked
    if is_code:
        missing -= {"NA"}
        notes = [*notes, "NA is a level, as the other words have two letters too (na='NA' makes it missing)"]
    kept = [word for word in different if word.lower() in MISSING and word not in missing and word != "NA"]
    if kept:
        notes = [*notes, f"{kept[0]!r} is a level (na={kept[0]!r} makes it missing)"]
    gone = np.array([*(word in missing for word in different), True])
    shown = _blanked(words, gone)
    numbers = sum(numbers_of([word]) is not None for word in strong)
    is_mixed = numbers > 0 and not _are_codes(strong) and not are_hexadecimal(strong)
    return Cells("mixed" if is_mixed else "words", None, shown[codes], notes=notes, missing=_tokens(missing))


def are_hexadecimal(words: Sequence[str]) -> bool:
    """Whether all words are hexadecimal numbers of six digits or more, or begin with 0x."""
    plain = [word[2:] if word[:2].lower() == "0x" else word for word in words]
    is_hex = all(re.fullmatch(r"[0-9a-fA-F]+", word) for word in plain)
    prefixed = all(a != b for a, b in zip(plain, words, strict=True))
    letters = any(re.search(r"[a-dfA-DF]", word) for word in plain)
    digits = any(re.search(r"\d", word) for word in plain)
    return is_hex and (prefixed or letters and digits and min(map(len, plain)) >= 6)


def _are_codes(words: Sequence[str]) -> bool:
    """Whether words are strings of digits of one length, some with a leading 0."""
    lengths = {len(word) for word in words}
    zeros = any(word[0] == "0" for word in words)
    return len(lengths) == 1 and lengths != {1} and zeros and all(word.isdecimal() for word in words)


def _typed(word: str) -> str:
    """A number with a plain minus sign and without blanks between thousands."""
    plain = re.sub(r"^[\u2212\u2013](?=[\d.$€£])", "-", word)
    if re.fullmatch(r"\D{0,3}\d{1,3}([ \u00a0\u202f'\u2019]\d{3})+(\.\d+)?\D{0,3}", plain):
        return re.sub(r"(?<=\d)[ \u00a0\u202f'\u2019](?=\d)", "", plain)
    match = re.fullmatch(r"\((\D?[\d.,]+\D?)\)", plain)  # accountants write -5 as (5)
    return f"-{match[1]}" if match else plain


def _with_point(word: str) -> str:
    if re.fullmatch(r"[-+]?\s*\D?\s*[-+]?(\d{1,3}(\.\d{3})+|\d*)(,\d*)?([eE][-+]?\d+)?\s*\D?", word):
        return word.replace(".", "").replace(",", ".")
    return word


def _categories(cells: pandas.Series, na: Collection[str], decimal: str) -> Cells:
    """Read a column that is declared as categories in its file."""
    words = _words(cells.astype(object))
    levels = tuple(map(_word, cells.cat.categories)) if cells.cat.ordered else None
    present = {word for word in words if word is not None}
    if present & set(na):
        words = np.array([None if word in na else word for word in words], dtype=object)
    return Cells("words", None, words, levels=levels, notes=["its file declares categories"])


def plain_words(cells: pandas.Series) -> np.ndarray:
    """Cells as stripped text, with "" where they are missing."""
    name = str(cells.name)
    values = cells.to_numpy(dtype=object)
    gone = cells.isna().to_numpy()
    for value in values[~gone][:1000]:
        if isinstance(value, (list, tuple, dict, set, bytes, np.ndarray)):
            raise InputError(
                f"column {name!r} holds cells of type {type(value).__name__}: give one number or word in "
                f"each cell, or leave the column out with {dropping(name)}"
            )
    return np.array(["" if g else _word(v).strip() for v, g in zip(values, gone, strict=True)], dtype=object)


def _words(cells: pandas.Series) -> np.ndarray:
    gone = cells.isna().to_numpy()
    values = cells.to_numpy(dtype=object)
    return np.array([None if g else _word(v) for v, g in zip(values, gone, strict=True)], dtype=object)


def _word(cell: object) -> str:
    """A cell as it was written in the file: 7, which pandas turns into 7.0 next to empty cells."""
    return str(int(cell)) if isinstance(cell, float) and cell % 1 == 0 else str(cell)


def plain_numbers(values: np.ndarray) -> np.ndarray:
    """Numbers as words, whole ones without a point, with None for NaN."""
    return np.array([None if np.isnan(v) else _word(float(v)) for v in values], dtype=object)


def _blanked(words: np.ndarray, gone: np.ndarray) -> np.ndarray:
    shown = words.copy()
    shown[gone] = None
    return shown


def _tokens(missing: set[str]) -> tuple[str, ...]:
    return tuple(sorted(missing - {""}))
