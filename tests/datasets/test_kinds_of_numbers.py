"""Kinds of columns of numbers that follow their values."""

import numpy as np
import pytest
from scipy.stats import kurtosis

import pyrovae as pv
from pyrovae.datasets.readers.suspects import _excess_kurtosis

RNG = np.random.default_rng(3)
VALUES = {
    "normal": RNG.normal(1e6, 1e-3, 500),
    "skewed": RNG.exponential(2.0, 500),
    "cauchy": RNG.standard_cauchy(500),
    "outlier": np.append(RNG.normal(size=499), 1e200),
}


@pytest.mark.parametrize("name", VALUES)
def test_the_excess_kurtosis_is_that_of_scipy(name):
    with np.errstate(over="ignore", invalid="ignore"):
        theirs = kurtosis(VALUES[name] / np.abs(VALUES[name]).max())
    assert _excess_kurtosis(VALUES[name]) == pytest.approx(theirs, rel=1e-3, abs=1e-3)


def test_long_tails_are_students(tmp_path):
    table = {name: values for name, values in VALUES.items() if name != "outlier"}
    rows = "\n".join(",".join(map(repr, map(float, row))) for row in zip(*table.values(), strict=True))
    (tmp_path / "t.csv").write_text(",".join(table) + "\n" + rows)
    data = pv.datasets.load(str(tmp_path / "t.csv"))
    assert {column.name: column.kind for column in data.columns} == {
        "normal": "normal",
        "skewed": "normal",
        "cauchy": "studentt",
    }
    [line] = [line for line in pv.datasets.describe(data).splitlines() if line.startswith("cauchy")]
    assert line.split()[1] == "studentt"
    assert line.endswith("long tails")
    kept = pv.datasets.load(str(tmp_path / "t.csv"), kinds={"cauchy": "normal"})
    assert kept.columns[2].kind == "normal"
