"""CSV files: their structure is found or refused, whatever people write."""

import bz2
import gzip
import lzma
import zipfile

import numpy as np
import pandas
import pytest
import torch

from pyrovae import datasets
from pyrovae.datasets.columns import encode
from pyrovae.datasets.files import raw_table, table_of
from pyrovae.datasets.readers.header import has_header
from pyrovae.datasets.readers.options import ReadOptions
from tests.support.parts import raises_one_sentence


def file(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def cells(path, **options):
    """The names and cells of a file, as text."""
    frame = table_of(path, ReadOptions(**options)).frame
    return list(frame.columns), frame.astype(str).values.tolist()


def numbers(path, **options):
    """Columns of a file as numbers in the order of its rows, by name."""
    table = table_of(path, ReadOptions(**options))
    encoded = encode(table.frame, path, decimal=table.decimal, na=options.get("na", ()), keep=True)
    return {c.name: v.tolist() for c, v in zip(encoded.columns, encoded.values.T, strict=True)}


ROWS = [[1.5, 2.0], [2.5, 3.0], [3.5, 5.0]]
AB = {"a": [1.5, 2.5, 3.5], "b": [2.0, 3.0, 5.0]}
STRUCTURES = {
    "commas": "a,b\n1.5,2\n2.5,3\n3.5,5\n",
    "windows lines": "a,b\r\n1.5,2\r\n2.5,3\r\n3.5,5\r\n",
    "mac lines": "a,b\r1.5,2\r2.5,3\r3.5,5\r",
    "no last newline": "a,b\n1.5,2\n2.5,3\n3.5,5",
    "semicolons": "a;b\n1.5;2\n2.5;3\n3.5;5\n",
    "decimal commas": "a;b\n1,5;2\n2,5;3\n3,5;5\n",
    "decimal commas and tabs": "a\tb\n1,5\t2\n2,5\t3\n3,5\t5\n",
    "quoted decimal commas": 'a,b\n"1,5",2\n"2,5",3\n"3,5",5\n',
    "tabs": "a\tb\n1.5\t2\n2.5\t3\n3.5\t5\n",
    "bars": "a|b\n1.5|2\n2.5|3\n3.5|5\n",
    "spaces": "a b\n1.5 2\n2.5 3\n3.5 5\n",
    "many spaces": "  a    b\n1.5    2\n2.5    3 \n3.5  5\n",
    "spaces after commas": "a, b\n1.5, 2\n2.5, 3\n3.5, 5\n",
    "quoted names": '"a","b"\n1.5,2\n2.5,3\n3.5,5\n',
    "quoted cells": '"a","b"\n"1.5","2"\n"2.5","3"\n"3.5","5"\n',
    "blank first lines": "\n\n \na,b\n1.5,2\n2.5,3\n3.5,5\n",
    "blank lines between": "a,b\n\n1.5,2\n2.5,3\n\n3.5,5\n\n",
    "byte order mark": "\ufeffa,b\n1.5,2\n2.5,3\n3.5,5\n",
    "Excel's line": "sep=;\na;b\n1.5;2\n2.5;3\n3.5;5\n",
    "comments": "# made by a program\n# in 2024\na,b\n1.5,2\n2.5,3\n3.5,5\n",
    "a commented header": "# a,b\n1.5,2\n2.5,3\n3.5,5\n",
    "a title": "Two columns\na,b\n1.5,2\n2.5,3\n3.5,5\n",
    "a title in a wide line": "Two columns,\na,b\n1.5,2\n2.5,3\n3.5,5\n",
    "separators at the ends": "a,b,\n1.5,2,\n2.5,3,\n3.5,5,\n",
    "separators at the ends of rows": "a,b\n1.5,2,\n2.5,3,\n3.5,5,\n",
    "empty last rows": "a,b\n1.5,2\n2.5,3\n3.5,5\n,\n,\n",
    "row numbers without a name": ",a,b\n0,1.5,2\n1,2.5,3\n2,3.5,5\n",
    "row numbers of pandas": "Unnamed: 0,a,b\n0,1.5,2\n1,2.5,3\n2,3.5,5\n",
    "row numbers of R": '"rownames","a","b"\n1,1.5,2\n2,2.5,3\n3,3.5,5\n',
    "a header of R": '"a" "b"\n"1" 1.5 2\n"2" 2.5 3\n"3" 3.5 5\n',
    "row numbers called id": "id,a,b\n1,1.5,2\n2,2.5,3\n3,3.5,5\n",
    "row names": ",a,b\nx y,1.5,2\nz,2.5,3\nw,3.5,5\n",
    "row numbers of a part": ",a,b\n17,1.5,2\n3,2.5,3\n25,3.5,5\n",
    "row names of R": '"a" "b"\n"x y" 1.5 2\n"z" 2.5 3\n"w" 3.5 5\n',
    "row numbers twice": ",rownames,a,b\n0,1,1.5,2\n1,2,2.5,3\n2,3,3.5,5\n",
    "row numbers of pandas, twice": "Unnamed: 0.1,Unnamed: 0,a,b\n0,0,1.5,2\n1,1,2.5,3\n2,2,3.5,5\n",
    "names in single quotes": "'a' 'b'\n1.5 2\n2.5 3\n3.5 5\n",
    "exponents": "a,b\n15e-1,2E0\n2.5,3\n+3.5,5.\n",
}


@pytest.mark.parametrize("text", STRUCTURES.values(), ids=STRUCTURES)
def test_structures_are_found(tmp_path, text):
    assert numbers(file(tmp_path, text)) == AB


@pytest.mark.parametrize(
    "name", ["t.tsv", "t.txt", "t.csv.gz", "t.csv.bz2", "t.csv.xz", "t.csv.zip", "t.zip"]
)
def test_suffixes_and_packed_files(tmp_path, name):
    text = b"a\tb\n1.5\t2\n2.5\t3\n3.5\t5\n"
    packed = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    path = file(tmp_path, packed.get("." + name.split(".")[-1], bytes)(text), name)
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("__MACOSX/._t.csv", b"\0")
            archive.writestr("t.csv", text)
    assert numbers(path) == AB
    assert datasets.load(path).event_shape == (2,)


def test_the_name_inside_an_archive_may_be_odd(tmp_path):
    """river's solar-flare.csv.zip holds a text file called solar-flare.csv.zip."""
    for name in ("t.csv.zip", "data", "t.CSV"):
        with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
            archive.writestr(name, STRUCTURES["commas"])
        assert numbers(tmp_path / "t.csv.zip") == AB


def test_an_archive_of_two_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        archive.writestr("a.csv", "a\n1\n")
        archive.writestr("b.csv", "a\n1\n")
    raises_one_sentence(lambda: datasets.load(tmp_path / "t.csv.zip"), "2 files (a.csv, b.csv)", "unpack it")


def test_encodings_are_read_or_refused_with_the_command_that_converts(tmp_path):
    text = "a,b\n1.5,é\n2.5,è\n3.5,é\n"
    assert cells(file(tmp_path, text.encode("utf-16")))[1][0] == ["1.5", "é"]
    assert cells(file(tmp_path, text.encode("utf-8-sig")))[0] == ["a", "b"]
    latin, wide = (
        file(tmp_path, text.encode("latin-1"), "l.csv"),
        file(tmp_path, text.encode("utf-16-le"), "w.csv"),
    )
    raises_one_sentence(
        lambda: datasets.load(latin), "0xe9 in line 2", "iconv -f WINDOWS-1252 -t UTF-8 l.csv"
    )
    raises_one_sentence(lambda: datasets.load(wide), "NUL bytes", "iconv -f UTF-16LE -t UTF-8 w.csv")
    wide.write_bytes(b"\x89PNG" + bytes(200))
    raises_one_sentence(lambda: datasets.load(wide), "NUL bytes", "give a text file")


# ---------------------------------------------------------------- headers


CODES = "AO BJ BW BF ID CM CV CF TD KM".split()  # ID is Indonesia
HEADERS = {
    "words above numbers": ("a,b\n1,2\n2,3\n5,4\n", True),
    "words above dates": ("day,x\n2020-01-02,b\n2020-01-03,b\n2020-01-05,c\n", True),
    "numbers only": ("5.1,3\n4.9,2\n6.2,7\n", False),
    "a row above a column of words": ("5.1,setosa\n4.9,setosa\n6.2,virginica\n", False),
    "words that occur again": ("no,blue\nyes,red\nno,blue\nyes,blue\n", False),
    "words above words": ("answer,colour\nyes,red\nno,blue\nyes,blue\n", True),
    "a name that occurs once among codes": (
        "Group,ID\n" + "".join(f"{'ab'[i % 2]},{code}\n" for i, code in enumerate(CODES)),
        True,
    ),
    "row names and years": (",1940,1945\nfood,22.2,44.5\nhealth,3.5,5.7\nmedia,4.5,6.7\n", None),
    "row numbers and words": (",class,sex\n1,first,man\n2,third,woman\n3,first,man\n", None),
    "0, 1, 2 above fractions": ("0,1,2\n5.1,3.5,1.4\n4.9,3.0,1.3\n6.2,2.8,4.4\n", True),
    "0, 1 above fractions": ("0,1\n0.5,0.25\n0.0,0.75\n", True),
    "0 above fractions": ("0\n0.5\n0.25\n1.5\n", True),
    "1, 2, 3 above others": ("1,2,3\n50,60,70\n48,50,65\n", True),
    "years": ("1990,1991,1992\n5.1,3.5,1.4\n4.9,3.0,1.3\n", True),
    "a name and years": ("name,2019,2020\nBob,5,6\nAnn,7,3\nEve,7,4\n", True),
    "0 and 1 above 0 and 1": ("0,1\n1,0\n1,1\n0,0\n", False),
    "a missing cell in the first row": ("1.5,NA\n2.5,3\n3.5,4\n", False),
    "a name above numbers with a gap": ("a,b\n1,NA\n?,3\n2,4\n", True),
    "a running column and another": ("1,2\n2,5\n3,7\n4,9\n", False),
    "small numbers within range": ("1,2\n7,0\n0,9\n", False),
    "one column of numbers": ("3\n4\n9\n", False),
    "one column of numbers with a name": ("a\n3\n4\n9\n", True),
}


@pytest.mark.parametrize(("text", "wanted"), HEADERS.values(), ids=HEADERS)
def test_headers_are_told_from_rows(tmp_path, text, wanted):
    names, rows = cells(file(tmp_path, text))
    lines = text.splitlines()
    if wanted is None:  # a header, and row names that are left out
        assert names == lines[0].split(",")[1:]
        return
    assert len(rows) == len(lines) - wanted
    assert names == (lines[0].split(",") if wanted else [str(i) for i in range(len(names))])


def test_a_header_of_64_numbers_is_no_row(tmp_path):
    x = np.random.default_rng(0).integers(0, 17, (50, 64))
    pandas.DataFrame(x).to_csv(tmp_path / "t.csv", index=False)
    data = datasets.load(tmp_path / "t.csv")
    assert sum(data.record["rows"].values()) == 50
    assert data.train.x.max() <= 16
    assert [c.name for c in data.columns] == [str(i) for i in range(64)]


def test_a_header_that_cannot_be_told_is_asked_for(tmp_path):
    path = file(tmp_path, "1,2,3,4\n2,3,4,5\n3,4,5,6\n0,9,9,0\n")
    raises_one_sentence(
        lambda: datasets.load(path), "may be a header or a row", "header=True or header=False"
    )
    assert len(cells(path, header=True)[1]) == 3
    assert len(cells(path, header=False)[1]) == 4
    assert has_header(["a"], [], "t.csv")
    raises_one_sentence(
        lambda: datasets.load(file(tmp_path, "1,2\n4,5\n9,7\n8,2\n")), "may be a header or a row"
    )


def test_a_second_line_of_names_or_units_is_refused(tmp_path):
    rows = "".join(f"team {i % 3},{i},{i * i}\n" for i in range(6))
    for second in (",W,D", "name,kg,cm"):
        path = file(tmp_path, f"who,2021,2022\n{second}\n{rows}")
        raises_one_sentence(
            lambda path=path: datasets.load(path), "line 2", "second line of names", "remove it"
        )
    raises_one_sentence(lambda: datasets.load(path, header=True), "'kg' next to numbers")
    assert len(cells(file(tmp_path, f"who,2021,2022\nteam 1,NA,?\n{rows}"))[1]) == 7


def test_a_cell_of_punctuation_is_no_decimal_comma(tmp_path):
    rows = "".join(f"{i}.5;{mark};{i}\n" for i, mark in enumerate([",", ".", ","] * 3))
    data = datasets.load(file(tmp_path, f"x;mark;n\n{rows}"))
    assert data.columns[0].kind == "normal"
    assert data.record["reading"]["columns"][0]["high"] == 8.5
    assert data.record["reading"]["notes"] == []
    only = "".join(f"{i};{mark}\n" for i, mark in enumerate([",", "-", ","] * 3))
    assert datasets.load(file(tmp_path, f"n;mark\n{only}")).record["reading"]["notes"] == []


def test_duplicate_names_are_numbered(tmp_path):
    path = file(tmp_path, "a,b,a\n1,2,3\n4,5,7\n7,8,8\n")
    assert cells(path)[0] == ["a", "b", "a.2"]
    assert "the name 'a' occurs 2 times" in datasets.describe(datasets.load(path))


def test_columns_without_a_name_are_named_by_their_place(tmp_path):
    assert cells(file(tmp_path, "a,,c\n1,2,3\n4,5,7\n7,8,8\n"))[0] == ["a", "column 2", "c"]


# ---------------------------------------------------------------- lines that differ


def test_scikit_learns_line_of_counts_is_left_out(tmp_path):
    path = file(tmp_path, "4,2,setosa,virginica\n5.1,3.5,0\n4.9,3.0,1\n6.2,2.8,0\n6.3,2.0,1\n")
    names, rows = cells(path)
    assert (names, len(rows)) == (["0", "1", "2"], 4)
    path = file(tmp_path, "3,2,cat\n5.1,3.5,0\n4.9,3.0,1\n6.2,2.8,0\n")
    assert len(cells(path)[1]) == 3
    assert "line 1 left out (3,2,cat)" in datasets.describe(datasets.load(path))


@pytest.mark.parametrize("name", ["iris.csv", "wine_data.csv", "breast_cancer.csv"])
def test_files_of_scikit_learn(name):
    from importlib.resources import files

    from sklearn.datasets import load_breast_cancer, load_iris, load_wine

    load = {"iris.csv": load_iris, "wine_data.csv": load_wine, "breast_cancer.csv": load_breast_cancer}[name]
    bunch = load()
    found = np.stack(list(numbers(files("sklearn.datasets.data") / name).values()), 1)
    assert np.array_equal(found[:, :-1], bunch.data)
    assert np.array_equal(found[:, -1], bunch.target)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,c\n1,2,3\n1,2\n4,5,6\n7,8,9\n", ("line 3", "2 fields", "line 1 has 3", "comma")),
        ("a;b\n1;2\n1;2;3\n4;5\n4;5\n", ("line 3", "3 fields", "line 1 has 2", "semicolon")),
        ("a,b\n1,2,3\n4,5,6\n7,8,9\n", ("header", "2 fields and line 2 has 3")),
        ("\n\na,b,c\n1,2,3\n1,2\n4,5,6\n7,8,9\n", ("line 5", "line 3 has 3")),
        ('a,b\n1,2\n3,"x\n4,5\n6,7\n8,9\n', ("a quote opened in line 3", "is not closed")),
        ("name\nParis, France\nRome, Italy\nLima, Peru\n", ("header", "1 fields and line 2 has 2")),
        ("x\na,b,c\nd\ne,f\ng,h,i,j\nk,l,m\nn,o\n", ("separator=",)),
        ("", ("is empty",)),
        ("\n\n", ("is empty",)),
        ("a,b\n", ("is empty",)),
    ],
)
def test_lines_that_differ_are_refused_with_the_line(tmp_path, text, words):
    raises_one_sentence(lambda: datasets.load(file(tmp_path, text)), "t.csv", *words)


def test_a_column_of_text_with_blanks_is_one_column(tmp_path):
    path = file(tmp_path, "who\nAnn Lee\nBo\nAnn Lee\nBo\nAnn Lee\nBo\n")
    assert cells(path) == (["who"], [["Ann Lee"], ["Bo"]] * 3)


def test_a_separator_can_be_named(tmp_path):
    path = file(tmp_path, "a~b\n1~2\n2~3\n3~5\n")
    assert numbers(path, separator="~") == {"a": [1, 2, 3], "b": [2, 3, 5]}
    assert datasets.load(path, separator="~").declaration["separator"] == "~"
    raises_one_sentence(lambda: datasets.load(path, separator="ab"), "separator", "one character")
    raises_one_sentence(lambda: datasets.load(path, decimal=";"), "decimal must be")


def test_a_comma_that_may_mean_two_things_is_asked_for(tmp_path):
    path = file(tmp_path, "a;b\n1,500;2\n2,500;3\n3,500;5\n")
    raises_one_sentence(
        lambda: datasets.load(path), "1,500", "decimal mark or group thousands", "decimal=','"
    )
    assert numbers(path, decimal=",")["a"] == [1.5, 2.5, 3.5]
    assert numbers(path, decimal=".")["a"] == [1500, 2500, 3500]
    assert numbers(file(tmp_path, "a;b\n1.500,5;2\n2.500;3\n12;5\n"))["a"] == [1500.5, 2500, 12]


def test_rows_know_their_lines(tmp_path):
    table = raw_table(file(tmp_path, "\na,b\n1,2\n\n2,3\n3,5\n"), ReadOptions())
    assert table.lines == [3, 5, 6]


def test_numbers_are_exact(tmp_path):
    x = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-100, 100)
    pandas.DataFrame({"x": x}).to_csv(tmp_path / "t.csv", index=False)
    assert numbers(tmp_path / "t.csv")["x"] == x.tolist()
    assert torch.isfinite(datasets.load(file(tmp_path, "x\n1e30\n2e30\n-3e30\n", "u.csv")).train.x).all()
