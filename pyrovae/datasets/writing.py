"""Cells of text from numbers, in the format of the other cells of a column.

words                the words of the file, "Yes" for the level "yes"
numbers              the same number of decimals, decimal mark, thousands, unit and sign
dates and times      the same format
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import numpy as np

from pyrovae.datasets.columns import Column
from pyrovae.datasets.readers.cells import number_of
from pyrovae.datasets.readers.dates import DAY_AND_MONTH, DAYS, FORMATS, HOURS, ORDINAL, days_in_format

__all__ = ["Style", "style_of"]

Style = Callable[[float], str]

SAMPLE = 1000
EPOCH = datetime(1970, 1, 1)
_DIGITS = r"\d(?:[\d.,' \u00a0\u202f\u2019]*\d)?[.,]?(?:[eE][-+]?\d+)?|[.,]\d+"
_PARTS = re.compile(rf"([-+]?)(\D*?)([-+]?)({_DIGITS})(\D*)")
_QUARTER = re.compile(r"\d{4}([-: ]?[qQ])[1-4]")
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:([T ])\d\d:\d\d(:\d\d)?(?:[.,]\d+)?\s?(Z|[+-]\d\d:?\d\d)?)?")


def style_of(column: Column, words: Sequence[str], values: np.ndarray, decimal: str = ".") -> Style:
    """How a number is written in a column.

    Arguments:
        column: the column.
        words: cells of text.
        values: the numbers that they stand for, (N,), with NaN for missing entries.
        decimal: the decimal mark.

    Example:
        >>> price = Column("price", "normal")
        >>> style = style_of(price, ["$1,500.5", "$2.25"], np.array([1500.5, 2.25]))
        >>> style(1234.5678), style(-3.0)
        ('$1,234.57', '-$3.00')
        >>> style_of(Column("day", "normal", unit=DAYS), ["31/12/1970"], np.array([364.0]))(0.2)
        '01/01/1970'
    """
    known = [(word, value) for word, value in zip(words, values, strict=True) if word and value == value]
    if column.levels is not None or column.kind == "bernoulli":
        return _style_of_words(column, known)
    known = known[:SAMPLE]
    if column.unit == DAYS:
        return _style_of_dates(known)
    if column.unit == HOURS and any(":" in word for word, _ in known):
        seconds = any(word.count(":") > 1 for word, _ in known)
        return partial(_clock, seconds=seconds)
    return _style_of_numbers([word for word, _ in known], decimal)


# -------------------------------------------------------------------- words


def _style_of_words(column: Column, known: Sequence[tuple[str, float]]) -> Style:
    """The most frequent word of the file for each code, and the level if there is none."""
    counts = Counter(known)
    words = {int(value): word for (word, value), _ in sorted(counts.items(), key=lambda item: item[1])}
    return partial(_word, words=words, levels=column.levels or ("0", "1"))


def _word(value: float, words: Mapping[int, str], levels: Sequence[str]) -> str:
    return words.get(int(value), levels[int(value)])


# -------------------------------------------------------------------- numbers


@dataclass(frozen=True)
class _Number:
    """A format of numbers.

    Attributes:
        before, after: the text before and after the digits.
        decimals: the number of decimals, or None for six digits in all.
        mark: the decimal mark.
        group: the character between thousands, or "".
    """

    before: str = ""
    after: str = ""
    decimals: int | None = None
    mark: str = "."
    group: str = ""

    def __call__(self, value: float) -> str:
        if self.decimals is None:
            text = f"{abs(value):.6g}"
        else:
            text = f"{abs(value):,.{self.decimals}f}".replace(",", "\0")
        text = text.replace(".", self.mark).replace("\0", self.group)
        sign = "-" if value < 0 and re.search("[1-9]", text) else ""
        return f"{sign}{self.before}{text}{self.after}"


def _style_of_numbers(words: Sequence[str], decimal: str) -> Style:
    matches = [match for match in map(_PARTS.fullmatch, words) if match]
    if not matches:
        return _Number(mark=decimal)
    (before, after), _ = Counter((match[2], match[5]) for match in matches).most_common(1)[0]
    digits = [match[4] for match in matches]
    is_long = any(re.search("[eE]", text) for text in digits)
    parts = [text.rpartition(decimal) if decimal in text else (text, "", "") for text in digits]
    marks = Counter(char for whole, _, _ in parts for char in set(re.sub(r"\d", "", whole)))
    others = {char: count for char, count in marks.items() if char != decimal}
    group = max(others, key=lambda char: others[char]) if others else ""
    style = _Number(before, after, None if is_long else max(len(end) for _, _, end in parts), decimal, group)
    return style if _can_be_read(style, decimal) else _Number("", "", style.decimals, decimal)


def _can_be_read(style: _Number, decimal: str) -> bool:
    """Whether the numbers that are written are read as the same numbers."""
    pairs = [(value, number_of(style(value), decimal)) for value in (1.0, -12.0, 123.0, 1234.0)]
    return all(number is not None and abs(number - value) < 1e-6 for value, number in pairs)


# -------------------------------------------------------------------- dates and times


def _style_of_dates(known: Sequence[tuple[str, float]]) -> Style:
    words = [ORDINAL.sub("", word) for word, _ in known]
    first = words[0] if words else ""
    quarter = _QUARTER.fullmatch(first)
    if quarter:
        return partial(_quarter, mark=quarter[1])
    if re.fullmatch(r"\d{4}M\d\d", first):
        return partial(_date, format_="%YM%m")
    if re.fullmatch(r"\d{8}", first):
        return partial(_date, format_="%Y%m%d")
    iso = [match for match in map(_ISO.fullmatch, words) if match]
    if len(iso) == len(words):
        format_ = _iso_format(iso)
    else:
        days = np.array([value for _, value in known])
        every = (*FORMATS, *(one for pair in DAY_AND_MONTH for one in pair))
        format_ = next((one for one in every if _fits(words, days, one)), "%Y-%m-%d")
    return partial(_date, format_=format_)


def _iso_format(matches: Sequence[re.Match[str]]) -> str:
    timed = [match for match in matches if match[1]]
    if len(timed) <= len(matches) / 2:
        return "%Y-%m-%d"
    zone = timed[0][3]
    end = "" if zone is None else "Z" if zone == "Z" else "+00:00"
    return f"%Y-%m-%d{timed[0][1]}%H:%M{':%S' if timed[0][2] else ''}{end}"


def _fits(words: Sequence[str], days: np.ndarray, format_: str) -> bool:
    parsed = days_in_format(words, format_)
    return parsed is not None and bool(np.allclose(parsed, days, atol=1e-6, rtol=0))


def _date(days: float, format_: str) -> str:
    has_time = "%H" in format_ or "%I" in format_
    step = 1 / 86400 if "%S" in format_ else 1 / 1440 if has_time else 1.0
    limits = (datetime(1678, 1, 1) - EPOCH).days, (datetime(2261, 12, 31) - EPOCH).days
    days = min(max(days, limits[0]), limits[1])
    return (EPOCH + timedelta(seconds=round(round(days / step) * step * 86400))).strftime(format_)


def _quarter(days: float, mark: str) -> str:
    date = EPOCH + timedelta(days=days)
    return f"{date.year}{mark}{(date.month - 1) // 3 + 1}"


def _clock(hours: float, *, seconds: bool) -> str:
    unit = 1 if seconds else 60
    total = max(0, round(hours * 3600 / unit)) * unit
    text = f"{total // 3600:02d}:{total // 60 % 60:02d}"
    return f"{text}:{total % 60:02d}" if seconds else text
