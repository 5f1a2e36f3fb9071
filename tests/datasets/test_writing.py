"""Cells are written in the format of their column, and are read as the same values."""

import pickle

import numpy as np
import pandas
import pytest

from pyrovae.datasets import Column
from pyrovae.datasets.matching import match
from pyrovae.datasets.readers.dates import DAYS, HOURS
from pyrovae.datasets.readers.tables import Table
from pyrovae.datasets.writing import style_of

NUMBERS = {
    "decimals": (["1.50", "2.25"], ".", 1234.5678, "1234.57"),
    "whole": (["15", "-2"], ".", -7.4, "-7"),
    "no negative zero": (["15", "-2"], ".", -0.2, "0"),
    "decimal comma": (["1,5", "2,25"], ",", 3.14159, "3,14"),
    "thousands": (["1,500.5", "2,000.0"], ".", 12345.67, "12,345.7"),
    "points between thousands": (["1.500,5", "2.000,0"], ",", 12345.67, "12.345,7"),
    "dollars": (["$1.50", "-$2"], ".", -3.456, "-$3.46"),
    "percent": (["5 %", "12.5 %"], ".", 33.333, "33.3 %"),
    "long tails": (["1e-5", "2.5e3"], ".", 123456.789, "123457"),
    "nothing known": ([], ".", 1.23456789, "1.23457"),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_are_written_as_the_others_are(case):
    words, decimal, value, text = NUMBERS[case]
    unit = "$" if "$" in "".join(words) else "%" if "%" in "".join(words) else None
    column = Column("a", "normal", unit=unit)
    table = Table(pandas.DataFrame({"a": pandas.Series(words, dtype=object)}), {}, decimal=decimal)
    style = style_of(column, words, match(table, [column], "t")[:, 0], decimal)
    assert style(value) == text
    again = Table(pandas.DataFrame({"a": pandas.Series([text], dtype=object)}), {}, decimal=decimal)
    assert abs(match(again, [column], "t").item() - value) < 0.51


DATES = {
    "ISO": (["1970-01-11", "1970-02-01"], "1970-01-21"),
    "day first": (["11/01/1970", "31/01/1970"], "21/01/1970"),
    "month first": (["01/11/1970", "01/31/1970"], "01/21/1970"),
    "short years": (["11.01.70", "31.01.70"], "21.01.70"),
    "with a time": (["1970-01-11 12:00", "1970-01-12 13:30"], "1970-01-21 06:00"),
    "in UTC": (["1970-01-11T12:00:00Z", "1970-01-12T13:30:00Z"], "1970-01-21T06:00:00Z"),
    "compact": (["19700111", "19700201"], "19700121"),
    "months in words": (["11 Jan 1970", "1 Feb 1970"], "21 Jan 1970"),
    "quarters": (["1970Q1", "1971Q3"], "1970Q1"),
}


@pytest.mark.parametrize("case", DATES)
def test_dates_are_written_as_the_others_are(case):
    words, text = DATES[case]
    column = Column("a", "normal", unit=DAYS, example=words[-1] if "/" in words[0] else None)
    table = Table(pandas.DataFrame({"a": pandas.Series(words, dtype=object)}), {})
    style = style_of(column, words, match(table, [column], "t")[:, 0])
    assert style(20.25) == pickle.loads(pickle.dumps(style))(20.25) == text
    assert match(Table(pandas.DataFrame({"a": [*words, text]}), {}), [column], "t").shape == (3, 1)


def test_times_and_words_are_written_as_the_others_are():
    clock = style_of(Column("a", "normal", unit=HOURS), ["13:35", "9:15"], np.array([13.583, 9.25]))
    assert clock(7.51) == "07:31"
    truth = Column("a", "bernoulli", ("no", "yes"))
    style = style_of(truth, ["YES", "No", "No"], np.array([1.0, 0.0, 0.0]))
    assert (style(1.0), style(0.0)) == ("YES", "No")
    for one in (clock, style):
        assert pickle.loads(pickle.dumps(one))(1.0) == one(1.0)
    colours = style_of(Column("a", "categorical:3", ("blue", "red", "7")), ["7.0"], np.array([2.0]))
    assert (colours(0.0), colours(2.0)) == ("blue", "7.0")
