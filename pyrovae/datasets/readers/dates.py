"""Dates as days since 1970-01-01, in UTC where a time zone is given; times as hours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas

__all__ = [
    "DAYS",
    "DAY_AND_MONTH",
    "FORMATS",
    "HOURS",
    "ORDINAL",
    "AmbiguousDates",
    "as_dates",
    "days_in_format",
    "days_of",
    "example_of",
    "hours_of",
    "plain_days",
]

DAYS = "days since 1970-01-01"
HOURS = "hours"

_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?\s?(Z|[+-]\d\d:?\d\d)?)?")
_ORDER = re.compile(r"(\d\d?)[-/.](\d\d?)[-/.]\d")
_LIKE_A_DATE = re.compile(r"(?=.*\d)(?=.*[-/. ,:A-Za-z]).{6,40}")
ORDINAL = re.compile(r"(?<=\d)(st|nd|rd|th)\b", re.IGNORECASE)
_TIME = re.compile(
    r"(?:(-?\d+) days?,? )?(\d{1,3}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?(?:\s?([ap])\.?m\.?)?", re.IGNORECASE
)
FORMATS = (
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y-%m",
    "%Y.%m.%d",
    *(f"{month}-%d-%Y" for month in ("%b", "%B")),
    *(f"{month} {rest}" for month in ("%b", "%B") for rest in ("%d %Y", "%d, %Y", "%Y")),
    *(f"%d{gap}{month}{gap}{year}" for gap in "- " for month in ("%b", "%B") for year in ("%Y", "%y")),
    *(f"{month}-%{year}" for month in ("%b", "%B") for year in "yY"),
    *(f"%Y{gap}{month}" for gap in "- " for month in ("%b", "%B")),
    "%a, %d %b %Y %H:%M:%S GMT",
)
DAY_AND_MONTH = tuple(
    tuple(f"%{one}{gap}%{two}{gap}{year}{time}" for one, two in ("dm", "md"))
    for gap in "/-."
    for year in ("%Y", "%y")
    for time in ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
)


class AmbiguousDates(ValueError):
    """Raised for dates whose day and month cannot be told apart."""

    def __init__(self, example: str) -> None:
        super().__init__(example)
        self.example = example


def days_of(words: Sequence[str], *, compact: bool = False) -> np.ndarray | None:
    """Words as days since 1970-01-01, (N,); None if one of the words is not a date.

    Arguments:
        words: different words.
        compact: read only words of eight digits, such as 19580329.

    Raises:
        AmbiguousDates: if all dates can be read both as day/month and as month/day, with different
            results.

    Example:
        >>> days_of(["1970-01-02", "1970-01-03 12:00"]).tolist()
        [1.0, 2.5]
        >>> days_of(["13/01/1970"]).tolist(), days_of(["cat"])
        ([12.0], None)
    """
    if compact:
        return days_in_format(words, "%Y%m%d")
    if all(re.fullmatch(r"\d{4}[-: ]?[qQ][1-4]", word) for word in words):
        return days_in_format([f"{word[:4]}-{3 * int(word[-1]) - 2:02d}" for word in words], "%Y-%m")
    if all(re.fullmatch(r"\d{4}M(0[1-9]|1[0-2])", word) for word in words):
        return days_in_format([word.replace("M", "-") for word in words], "%Y-%m")
    if not all(_LIKE_A_DATE.fullmatch(word) for word in words[:20]):
        return None
    words = [ORDINAL.sub("", word) for word in words]
    if all(_ISO.fullmatch(word) for word in words):
        return days_in_format([word.replace(",", ".") for word in words], "ISO8601")
    for format_ in FORMATS:
        days = days_in_format(words, format_)
        if days is not None:
            return days
    for day_first, month_first in DAY_AND_MONTH:
        both = [days_in_format(words, day_first), days_in_format(words, month_first)]
        fitting = [days for days in both if days is not None]
        if len(fitting) == 2 and not np.array_equal(fitting[0], fitting[1]):
            raise AmbiguousDates(words[int((fitting[0] != fitting[1]).argmax())])
        if fitting:
            return fitting[0]
    return None


def example_of(words: Iterable[str | None]) -> str | None:
    """A date that shows the order of day and month, as 25/12/1980 does; None if no date needs it.

    Example:
        >>> example_of(["01/02/1980", None, "25/12/1980"]), example_of(["1980-12-25"])
        ('25/12/1980', None)
    """
    pairs = ((word, _ORDER.match(word)) for word in words if word is not None)
    return next((word for word, match in pairs if match and max(int(match[1]), int(match[2])) > 12), None)


def hours_of(words: Sequence[str], *, strict: bool = True) -> np.ndarray | None:
    """Times of a day and durations as hours, (N,); None if one of the words is not a time.

    Arguments:
        words: different words, such as 13:35, 1:35 pm, 13:35:20 and 0 days 13:35:20.
        strict: refuse words of the form 1:20 if all have one digit before the colon, as a ratio
            looks the same.

    Example:
        >>> hours_of(["13:30", "9:15"]).tolist(), hours_of(["1:10", "1:20"]), hours_of(["1:30 pm"])
        ([13.5, 9.25], None, array([13.5]))
    """
    matches = [_TIME.fullmatch(word) for word in words]
    if not all(m and (not m[5] or 1 <= int(m[2]) <= 12) for m in matches):
        return None
    times = [m.groups() for m in matches if m]
    if strict and all(len(hour) == 1 and not (d or s or half) for d, hour, _, s, half in times):
        return None
    return np.array(
        [
            24 * int(days or 0)
            + (int(hour) % 12 + 12 * (half.lower() == "p") if half else int(hour))
            + int(minute) / 60
            + float(second or 0) / 3600
            for days, hour, minute, second, half in times
        ]
    )


def plain_days(times: pandas.Series) -> np.ndarray:
    """A column of times as days since 1970-01-01, (N,), with NaN where missing."""
    import pandas

    start = pandas.Timestamp("1970-01-01", tz="UTC" if getattr(times.dt, "tz", None) else None)
    return ((times - start) / pandas.Timedelta(days=1)).to_numpy(dtype=np.float64)


def as_dates(days: np.ndarray) -> pandas.Series:
    """Days since 1970-01-01 as times, to the second."""
    import pandas

    return pandas.Series(pandas.to_datetime(np.round(days * 86_400), unit="s"))


def days_in_format(words: Sequence[str], format_: str) -> np.ndarray | None:
    """Days since 1970-01-01 of words in a format of `strftime`; None if one of them has another."""
    for some in (words[:10], words):
        times = _times(some, format_)
        if times is None:
            return None
    return plain_days(times)


def _times(words: Sequence[str], format_: str) -> pandas.Series | None:
    import pandas

    has_zone = format_ == "ISO8601" and any(re.search(r"(Z|[+-]\d\d:?\d\d)$", word[10:]) for word in words)
    try:
        return pandas.Series(pandas.to_datetime(list(words), format=format_, utc=has_zone))
    except (ValueError, OverflowError):  # OutOfBoundsDatetime is a ValueError
        return None
