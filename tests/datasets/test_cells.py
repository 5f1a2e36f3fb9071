"""Cells of a table: numbers as people write them, dates, yes and no, missing entries, and what is refused."""

import numpy as np
import pandas
import pytest

from pyrovae import datasets
from pyrovae.cures import typed
from pyrovae.datasets.columns import encode
from pyrovae.datasets.readers.dates import DAYS, as_dates, days_of
from pyrovae.datasets.readers.options import dropping
from pyrovae.errors import InputError
from tests.support.parts import raises_one_sentence

NAN = float("nan")


def column(values, name="a", **options):
    """The numbers of one column, and what it is."""
    encoded = encode(pandas.DataFrame({name: pandas.Series(values, dtype=object)}), "t.csv", **options)
    return encoded.values[:, 0].tolist(), encoded.columns[0], encoded.remarks.get(name, "")


NUMBERS = {
    "thousands": (["1,500", "20", "3,000,000.5"], [1500, 20, 3000000.5], None),
    "dollars": (["$1.50", "-$2", "$1,200.50"], [1.5, -2, 1200.5], "$"),
    "euros behind": (["1.50 €", "2€", "3 €"], [1.5, 2, 3], "€"),
    "per cent": (["5%", "7.5 %", "-1%"], [5, 7.5, -1], "%"),
    "large": (["1e39", "-2e300", "0"], [1e39, -2e300, 0], None),
    "signs": (["+1.5", "-2", "- 3"], [1.5, -2, -3], None),
    "typed minus signs": (["\u22121.5", "\u20132", "3"], [-1.5, -2, 3], None),
    "blanks between thousands": (["1 500", "2\u00a0000\u00a0000.5", "1'500"], [1500, 2000000.5, 1500], None),
    "accounts": (["(1,500)", "20.5", "(3)"], [-1500, 20.5, -3], None),
    "spaces": ([" 1.5", "2 ", "3"], [1.5, 2, 3], None),
    "gaps": (["1.5", "NA", "?", "-", ".", "null", "None", "nan", "n/a", "", "2"], [1.5, *[NAN] * 9, 2], None),
}


@pytest.mark.parametrize(("words", "wanted", "unit"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_as_people_write_them(words, wanted, unit):
    values, what, _ = column(words)
    np.testing.assert_array_equal(values, wanted)
    assert what.unit == unit
    assert what.levels is None


def test_what_stands_for_a_missing_entry_can_be_named(tmp_path):
    values, what, _ = column(["1", "-9", "unknown", "5", "-999"], na=("-9", "unknown"))
    np.testing.assert_array_equal(values, [1, NAN, NAN, 5, -999])
    assert what.missing == ("-9", "unknown")
    frame = pandas.DataFrame({"a": [1, -9, 3, 5], "b": [1.5, -9.0, 3.0, 5.0]})
    assert np.isnan(encode(frame, "t", na=("-9",)).values[1]).all()
    (tmp_path / "t.csv").write_text("a,b\n1,x\n-9,y\n3,none\n4,x\n")
    data = datasets.load(tmp_path / "t.csv", na="-9,none")
    assert data.declaration["na"] == ["-9", "none"]
    assert data.columns[1].levels == ("x", "y")


def test_words_among_numbers_are_refused_with_the_cure():
    raises_one_sentence(
        lambda: column(["1", "2", "three", "4"]),
        "'a'",
        "'three' next to numbers",
        "na='three'",
        "drop='a'",
        "kinds",
    )
    raises_one_sentence(lambda: column(["5%", "6", "7%"]), "next to numbers")


def test_among_words_only_empty_cells_and_na_are_missing():
    values, what, remark = column(["red", "NA", "", "None", "?", "red", "None", "?", "nan"])
    assert what.levels == ("?", "None", "red")
    assert np.isnan(values).nonzero()[0].tolist() == [1, 2, 8]
    assert "'None' is a level" in remark or "'?' is a level" in remark


def test_namibia_is_a_country():
    values, what, remark = column(["DE", "NA", "FR", "US", "DE", "NA", ""])
    assert what.levels == ("DE", "FR", "NA", "US")
    assert "NA is a level" in remark
    assert np.isnan(values).sum() == 1
    assert column(["DE", "NA", "FR", "US"], na=("NA",))[1].levels == ("DE", "FR", "US")
    assert column(["male", "NA", "female"])[1].levels == ("female", "male")


# ---------------------------------------------------------------- dates


DATES = {
    "ISO": (["1970-01-02", "1970-01-03", "1969-12-31"], [1, 2, -1]),
    "ISO with a time": (["1970-01-02 12:00", "1970-01-03T06:00:00", "1970-01-01 00:00"], [1.5, 2.25, 0]),
    "ISO with a zone": (
        ["1970-01-02T00:00:00Z", "1970-01-02T01:00:00+01:00", "1970-01-03T00:00:00Z"],
        [1, 1, 2],
    ),
    "slashes": (["1970/01/02", "1970/01/03", "1970/01/05"], [1, 2, 4]),
    "day first": (["13/01/1970", "02/01/1970", "03/01/1970"], [12, 1, 2]),
    "month first": (["01/13/1970", "01/02/1970", "01/03/1970"], [12, 1, 2]),
    "points": (["13.01.1970", "02.01.1970", "03.01.1970"], [12, 1, 2]),
    "names of months": (["Jan 2 1970", "Jan 3 1970", "Feb 1 1970"], [1, 2, 31]),
    "day, month, year": (["2-Jan-1970", "3-Jan-1970", "1-Feb-1970"], [1, 2, 31]),
    "months": (["1970-01", "1970-02", "1970-03"], [0, 31, 59]),
    "quarters": (["1970Q1", "1970Q2", "1971q1"], [0, 90, 365]),
    "month first in words": (["Jan-2-1970", "Feb-1-1970"], [1, 31]),
    "digits": (["19700102", "19700103", "19700201"], [1, 2, 31]),
    "year and month in words": (["1970 Jan", "1970 Feb", "1970 Mar"], [0, 31, 59]),
    "year-month in words": (["1970-Jan", "1970-Feb", "1971-Jan"], [0, 31, 365]),
    "month-year in words": (["Jan-1970", "Feb-1970", "Jan-1971"], [0, 31, 365]),
    "months of statistical offices": (["1970M01", "1970M02", "1971M01"], [0, 31, 365]),
    "ordinals": (["January 2nd, 1970", "January 3rd, 1970", "January 11th, 1970"], [1, 2, 10]),
    "half days": (["01/13/1970 06:00:00 AM", "01/02/1970 12:00:00 PM"], [12.25, 1.5]),
}


@pytest.mark.parametrize(("words", "wanted"), DATES.values(), ids=DATES)
def test_dates_are_days_since_1970(words, wanted):
    values, what, remark = column([*words, "NA"])
    np.testing.assert_allclose(values, [*wanted, NAN], rtol=0, atol=1e-9)
    assert (what.kind, what.unit) == ("normal", DAYS)
    assert "dates, read as days since 1970-01-01" in remark


def test_dates_of_other_types():
    times = pandas.to_datetime(["1970-01-02", "1970-01-03", None])
    for values in (times, times.tz_localize("UTC")):
        encoded = encode(pandas.DataFrame({"a": values}), "t")
        np.testing.assert_array_equal(encoded.values[:, 0], [1, 2, NAN])
    whole = encode(pandas.DataFrame({"a": [19580329, 19610505, 20200131]}), "t")
    assert whole.columns[0].unit == DAYS
    assert str(as_dates(whole.values[:, 0])[0].date()) == "1958-03-29"
    assert encode(pandas.DataFrame({"a": [19580329, 19610505, 20201331]}), "t").columns[0].unit is None


TIMES = {
    "of a day": (["00:20", "13:30", "23:45"], [1 / 3, 13.5, 23.75]),
    "with one digit": (["9:15", "13:30"], [9.25, 13.5]),
    "with seconds": (["0:00:36", "1:30:00"], [0.01, 1.5]),
    "in half days": (["12:30 am", "1:15 PM", "12:00 p.m."], [0.5, 13.25, 12]),
    "durations": (["0 days 00:00:36", "1 days 06:00:00", "-1 days 12:00:00"], [0.01, 30, -12]),
}


@pytest.mark.parametrize(("words", "wanted"), TIMES.values(), ids=TIMES)
def test_times_are_hours(words, wanted):
    values, what, remark = column([*words, "NA"])
    np.testing.assert_allclose(values, [*wanted, NAN], rtol=0, atol=1e-9)
    assert (what.kind, what.unit) == ("normal", "hours")
    assert "times, read as hours" in remark


def test_a_ratio_is_no_time():
    assert column(["1:10", "1:20", "1:10", "1:40"])[1].levels == ("1:10", "1:20", "1:40")
    assert column(["12:75", "12:75", "13:10"])[1].levels == ("12:75", "13:10")


def test_a_run_reads_new_times_and_dates_one_at_a_time():
    frame = pandas.DataFrame(
        {"t": ["9:15", "13:30", "23:45"] * 9, "day": ["1970-01-02", "1970-01-05", "1970-01-04"] * 9}
    )
    schema = datasets.Schema((2,), encode(frame, "t").columns)
    new = {"t": ["8:30"], "day": ["1970-01-09"]}
    assert schema.rows(new).x.tolist() == [[8.5, 8.0]]


def test_dates_that_can_be_read_in_two_ways_are_refused():
    raises_one_sentence(
        lambda: column(["01/02/2020", "03/04/2020"]), "'a'", "day and month cannot be told apart", "drop='a'"
    )
    assert days_of(["01/01/2020", "02/02/2020"]) is not None
    assert days_of(["2020-13-01"]) is None
    assert days_of(["12:30", "13:40"]) is None


# ---------------------------------------------------------------- kinds


@pytest.mark.parametrize(
    "pair", [("False", "True"), ("no", "yes"), ("f", "t"), ("N", "Y"), ("FALSE", "TRUE")]
)
def test_yes_and_no_are_bernoulli_with_their_words(pair):
    values, what, _ = column([pair[1], pair[0], "", pair[1]])
    np.testing.assert_array_equal(values, [1, 0, NAN, 1])
    assert (what.kind, what.levels) == ("bernoulli", pair)


def test_a_year_is_no_count():
    rng = np.random.default_rng(0)
    _, what, remark = column(rng.integers(1950, 2020, 300).tolist())
    assert what.kind == "normal"
    assert "far from 0" in remark
    assert "vary less than counts" in column(rng.integers(3, 8, 300).tolist())[2]
    for mean in (0.5, 4, 40):
        assert column(rng.poisson(mean, 300).tolist())[1].kind in ("poisson", "negativebinomial")
    assert column(rng.negative_binomial(1, 0.1, 300).tolist())[1].kind == "negativebinomial"
    assert column(rng.integers(0, 2, 50).tolist())[1].kind == "bernoulli"
    assert column(["1", "2", "2", "1"])[1] == datasets.Column("a", "categorical:2", ("1", "2"))


UNLIKELY = {
    "identifiers": ([f"u{i}x" for i in range(30)], "identifiers"),
    "hexadecimal": ([f"{i * 7919 + 2**30:x}" for i in range(30)], "hexadecimal"),
    "hexadecimal with e": ([f"1{i:02d}e45a{i % 7}" for i in range(30)], "hexadecimal"),
    "names": ([f"{chr(65 + i % 26)}a {chr(97 + i // 26)}b" for i in range(40)], "names"),
    "free text": ([f"this is the long comment of row {chr(97 + i)}" for i in range(26)], "free text"),
    "units": ([f"{i} kg" for i in range(30)], "numbers with the unit 'kg'"),
    "codes": ([f"{i:03d}" for i in range(30)], "identifiers"),
    "20 digits": ([f"123456789012345678{i:02d}" for i in range(30)], "identifiers"),
    "17 digits": ([f"987654321098765{i:02d}" for i in range(30)], "identifiers"),
}


@pytest.mark.parametrize(("words", "likely"), UNLIKELY.values(), ids=UNLIKELY)
def test_a_column_whose_every_cell_is_its_own_level_is_no_category(words, likely):
    raises_one_sentence(
        lambda: column(words), "'a' of t.csv", likely, "drop='a'", "kinds={'a': 'categorical'}"
    )
    assert column(words, kinds={"a": "categorical"})[1].kind == f"categorical:{len(words)}"


def test_whole_numbers_without_a_float_of_their_own_are_refused():
    frame = pandas.DataFrame({"a": np.arange(20, dtype=np.int64) + 2**60})
    raises_one_sentence(lambda: encode(frame, "t.parquet"), "'a' of t.parquet", "19 digits", "identifiers")


def test_a_word_in_most_rows_is_a_category():
    words = ["a", "b", "c"] * 20 + [f"rare{i}" for i in range(20)]
    assert column(words)[1].kind == "categorical:23"


def test_whole_numbers_far_from_0_are_real_numbers():
    """1700 to 2008 varies more than Poisson counts, and the mass of a flipper's length is no count."""
    rng = np.random.default_rng(0)
    for values in (range(1700, 2009), rng.normal(200, 14, 300).round(), rng.normal(4200, 800, 300).round()):
        _, what, remark = column([float(value) for value in values])
        assert what.kind == "normal"
        assert "far from 0" in remark
    assert column(rng.negative_binomial(2, 0.001, 300).tolist())[1].kind == "negativebinomial"
    assert column([0, *range(5), 1], kinds={"a": "poisson"})[1].kind == "poisson"


def test_a_few_words_and_numbers_are_levels():
    """The drive of a car in ggplot2's mpg: 4, f, r; words that may be missing entries stay refused."""
    values, what, remark = column(["4", "f", "r", "f", "f"] * 6)
    assert (what.kind, what.levels, values[:3]) == ("categorical:3", ("4", "f", "r"), [0, 1, 2])
    assert "numbers and words, read as levels" in remark
    for words in (["4", "unknown", "r", "r"] * 6, ["0", "1", "2", "3+"] * 6, ["4", "5", "f", "r"] * 6):
        raises_one_sentence(lambda words=words: column(words), "next to numbers")


def test_all_words_among_numbers_are_named_at_once():
    values = ["0.5", "<0.01", "0.7", "<0.006", "0.2"] * 3
    raises_one_sentence(lambda: column(values), "'<0.01' next to numbers", "na='<0.01,<0.006'", "drop='a'")
    with typed(["fit"]):
        refused = ("--na='<0.01,<0.006'", "--drop a", """--kinds '{"a": "categorical"}'""")
        raises_one_sentence(lambda: column(values), *refused)
    assert np.isnan(column(values, na=("<0.01", "<0.006"))[0]).sum() == 6
    with pytest.raises(InputError) as caught:
        column([*map(str, range(40)), *(f"x{i}" for i in range(6))])
    assert "na=" not in str(caught.value)


def test_a_title_may_be_a_number():
    titles = [f"{chr(97 + i)} film" for i in range(26)] + ["300"]
    raises_one_sentence(lambda: column(titles), "27 different words in 27 rows", "names", "drop='a'")
    assert column(titles * 10)[1].kind == "categorical:27"


def test_levels_with_few_rows_each_are_names():
    many = [f"{chr(97 + i % 26)}{chr(97 + i // 26)} x" for i in range(600)]
    raises_one_sentence(lambda: column(many * 3), "600 different words in 1,800 rows", "names", "drop='a'")
    assert column(many * 10)[1].kind == "categorical:600"


def test_codes_with_leading_zeros_are_words():
    _, what, remark = column(["01001", "98105", "01001", "10001"])
    assert what.levels == ("01001", "10001", "98105")
    assert "begin with 0" in remark


def test_columns_that_never_vary_are_left_out_with_a_word():
    frame = pandas.DataFrame({"a": [1.5, 2.5, 3.5], "b": [7, 7, 7], "c": ["x", "x", None], "d": [None] * 3})
    encoded = encode(frame, "t.csv")
    assert [c.name for c in encoded.columns] == ["a"]
    assert encoded.dropped == {"b": "its only value is 7", "c": "its only value is x", "d": "it has no entry"}
    assert encode(frame, "t.csv", kinds={"b": "normal"}).columns[1].name == "b"
    raises_one_sentence(lambda: encode(frame[["b"]], "t.csv"), "no column that varies", "'b'")


def test_a_row_number_is_remarked_upon():
    assert "looks like a row number" in column([5, 6, 7, 8, 9])[2]
    assert "looks like an identifier" in column([52, 66, 17, 80, 95], name="person_id")[2]


def test_infinite_values_are_refused_by_their_column():
    raises_one_sentence(lambda: column(["1", "inf", "2"]), "'a'", "1 value", "first (inf) in row 1")
    both = ["1.5", "-inf", "inf", "2"]
    raises_one_sentence(lambda: column(both), "2 values", "(-inf) in row 1", "na='-inf,inf'", "drop='a'")
    with typed(["fit"]):
        raises_one_sentence(lambda: column(both), "with --na=-inf,inf, or", "with --drop a")
    for values in (both, [float(word) for word in both]):
        np.testing.assert_array_equal(column(values, na=("-inf", "inf"))[0], [1.5, NAN, NAN, 2])


def test_how_to_drop_columns_is_shown_for_a_shell():
    assert dropping("id") == "drop='id'"
    assert dropping("first name", "it's") == """drop=['first name', "it's"]"""
    with typed(["fit"]):
        assert dropping("id") == "--drop id"
        assert dropping("first name", "it's") == """--drop 'first name' 'it'"'"'s'"""
        assert dropping("-x") == "--drop=-x"
        assert dropping("null") == """--drop '["null"]'"""


def test_a_long_only_value_is_cut():
    frame = pandas.DataFrame({"a": [1.5, 2.5, 3.5], "b": ["one\nvery long text, " + "x" * 90] * 3})
    assert encode(frame, "t").dropped["b"] == f"its only value is one very long text, {'x' * 17}..."


def test_cells_that_hold_lists_are_refused():
    raises_one_sentence(lambda: column([[1], [2]]), "'a'", "type list")


# ---------------------------------------------------------------- kinds that the user names


def test_an_order_is_given_by_the_user_or_by_numbers():
    words = ["low", "high", "middle", "low", ""]
    values, what, _ = column(words, kinds={"a": "ordinal: low < middle < high"})
    np.testing.assert_array_equal(values, [0, 2, 1, 0, NAN])
    assert what == datasets.Column("a", "ordinal:3", ("low", "middle", "high"))
    values, what, _ = column([3, 1, 5, 3], kinds={"a": "ordinal"})
    assert (values, what.levels) == ([1, 0, 2, 1], ("1", "3", "5"))
    raises_one_sentence(
        lambda: column(words, kinds={"a": "ordinal"}), "order is not known", "ordinal: high < low"
    )
    raises_one_sentence(lambda: column(words, kinds={"a": "ordinal: low < high"}), "the word 'middle'")
    sizes = pandas.Categorical(["S", "L", "M"], categories=["S", "M", "L"], ordered=True)
    frame = pandas.DataFrame({"a": sizes})
    assert encode(frame, "t", kinds={"a": "ordinal"}).values[:, 0].tolist() == [0, 2, 1]
    assert encode(frame, "t").columns[0].levels == ("S", "M", "L")


def test_kinds_of_dates_and_words():
    assert column(["2020-01-01", "2020-01-02"], kinds={"a": "laplace"})[1].kind == "laplace"
    assert column(["2020-01-01", "2020-01-02"], kinds={"a": "categorical"})[1].kind == "categorical:2"
    values, what, _ = column(["off", "on", "off"], kinds={"a": "bernoulli"})
    assert (values, what.levels) == ([0, 1, 0], ("off", "on"))
