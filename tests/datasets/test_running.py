"""Tables in pieces are read as the whole file is."""

import gzip
import zipfile

import numpy as np
import pandas
import pytest
import torch

import pyrovae as pv
from pyrovae.datasets import matching
from pyrovae.datasets.files import raw_table
from pyrovae.datasets.incoming import Asked, incoming
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.datasets.readers.running import feed_of
from tests.support.parts import raises_one_sentence
from tests.support.people import people

ROWS = 5000


def written(frame: pandas.DataFrame, **options) -> str:
    return frame.to_csv(index=False, **options)


def tricky(frame: pandas.DataFrame) -> str:
    """Quotes, separators and line ends inside cells, and empty rows at the end and in between."""
    text = written(frame.assign(note=["a, b", 'say "no"', "two\nlines", "", "x"] * (ROWS // 5)))
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:3000], "\n", *lines[3000:], ",,,,,,\n", ",,,,,,\n"])


FILES = {
    "plain": written,
    "semicolon and comma": lambda f: written(f, sep=";", decimal=","),
    "tab": lambda f: written(f, sep="\t"),
    "comments above": lambda f: "# from a survey\n# of people\n" + written(f),
    "a title above": lambda f: "People of 2024,,,,,\n" + written(f),
    "windows lines": lambda f: written(f).replace("\n", "\r\n"),
    "a mark in front": lambda f: "\ufeff" + written(f),
    "an empty last column": lambda f: written(f).replace("\n", ",\n"),
    "an empty last column below": lambda f: written(f).replace("\n", ",\n").replace(",\n", "\n", 1),
    "row numbers": lambda f: f.to_csv(),
    "words for missing cells": lambda f: written(f, na_rep="NA"),
    "tricky": tricky,
    "no line end": lambda f: written(f).rstrip("\n"),
}


def same_tables(path, size=611, skip=0):
    """Check that the pieces of a file are the rows of the whole file."""
    whole = raw_table(path, ReadOptions())
    feed = feed_of(path, ReadOptions(), [])
    assert feed is not None
    pieces = list(feed.tables(size, skip))
    frame = pandas.concat([piece.frame for piece in pieces], ignore_index=True)
    pandas.testing.assert_frame_equal(
        frame, whole.frame.iloc[skip:].reset_index(drop=True)[list(frame.columns)], check_dtype=False
    )
    assert set(whole.frame.columns) >= set(frame.columns)
    assert pieces[0].first == skip
    if whole.lines is not None:
        assert sum((piece.lines for piece in pieces), []) == whole.lines[skip:]
        assert {piece.decimal for piece in pieces} == {whole.decimal}
        assert list(frame.columns) == list(whole.frame.columns)


@pytest.mark.parametrize("kind", FILES)
def test_a_csv_file_in_pieces_is_the_whole_file(kind, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(FILES[kind](people(ROWS)).encode())
    same_tables(path)
    same_tables(path, size=10_000, skip=4321)


def test_packed_and_wide_text(tmp_path):
    text = written(people(ROWS))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        archive.writestr("t.csv", text)
    (tmp_path / "wide.csv").write_text(text, encoding="utf-16")
    for name in ("t.csv.gz", "t.csv.zip", "wide.csv"):
        same_tables(tmp_path / name)


def test_a_file_without_a_header(tmp_path):
    np.savetxt(tmp_path / "t.csv", np.random.default_rng(0).normal(size=(ROWS, 3)), delimiter=",")
    same_tables(tmp_path / "t.csv")


def test_a_short_file_and_a_file_of_counts_are_read_whole(tmp_path):
    people(50).to_csv(tmp_path / "t.csv", index=False)
    assert feed_of(tmp_path / "t.csv", ReadOptions(), []) is None
    rows = "\n".join(f"{i / 7:.3f},{i % 5},{i % 3}" for i in range(ROWS))
    (tmp_path / "counts.csv").write_text(f"{ROWS},2,a,b,c\n{rows}\n")
    assert feed_of(tmp_path / "counts.csv", ReadOptions(), []) is None
    assert len(raw_table(tmp_path / "counts.csv", ReadOptions()).frame) == ROWS


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_arrow_files_in_pieces(ending, tmp_path):
    pytest.importorskip("pyarrow")
    frame = people(ROWS).assign(when=pandas.date_range("2000-01-01", periods=ROWS))
    frame["grade"] = pandas.Categorical(["a"] * ROWS)
    path = tmp_path / f"t.{ending}"
    options = {"row_group_size": 700} if ending == "parquet" else {"chunksize": 700}
    getattr(frame, f"to_{ending}")(path, **options)
    same_tables_of_arrow(path, frame)


def same_tables_of_arrow(path, frame):
    feed = feed_of(path, ReadOptions(), list(frame.columns))
    assert feed.rows == ROWS
    for size, skip in ((611, 0), (10_000, 0), (64, 1555)):
        pieces = list(feed.tables(size, skip))
        assert max(len(piece.frame) for piece in pieces) <= size
        assert pieces[0].first == skip
        rows = pandas.concat([piece.frame for piece in pieces], ignore_index=True)
        expected = frame.iloc[skip:].reset_index(drop=True)
        pandas.testing.assert_frame_equal(rows.astype(str), expected.astype(str))


def damaged(tmp_path, line: int, change) -> object:
    lines = written(people(ROWS)).splitlines(keepends=True)
    lines[line - 1] = change(lines[line - 1])
    path = tmp_path / "t.csv"
    path.write_text("".join(lines))
    return path


def test_a_fault_deep_in_a_file_is_refused_with_its_line(tmp_path):
    def read(path):
        return list(feed_of(path, ReadOptions(), []).tables(100, 0))

    path = damaged(tmp_path, 4001, lambda line: line.rstrip("\n") + ",1\n")
    raises_one_sentence(lambda: read(path), "line 4001", "7 fields", "has 6", "separator=")
    path = damaged(tmp_path, 4001, lambda line: '"' + line)
    raises_one_sentence(lambda: read(path), "quote opened in line 4001")
    path = damaged(tmp_path, 4001, lambda line: line)
    content = path.read_bytes().splitlines(keepends=True)
    content[4000] = content[4000].replace(b"n3999", b"n\xe93999")
    path.write_bytes(b"".join(content))
    raises_one_sentence(lambda: read(path), "not in UTF-8 (byte 0xe9 in line 4001)")


def test_the_rows_before_a_fault_are_given(tmp_path):
    path = damaged(tmp_path, 4001, lambda line: "1,2\n")
    tables = feed_of(path, ReadOptions(), []).tables(100, 0)
    assert sum(len(next(tables).frame) for _ in range(39)) == 3900
    raises_one_sentence(lambda: list(tables), "line 4001")


@pytest.fixture
def schema(tmp_path):
    people(ROWS).to_csv(tmp_path / "train.csv", index=False)
    return pv.datasets.load(tmp_path / "train.csv", drop="name").schema


@pytest.mark.parametrize("kind", ["plain", "semicolon and comma", "tricky", "words for missing cells"])
def test_rows_in_pieces_are_the_rows_of_the_whole(schema, kind, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text(FILES[kind](people(ROWS, seed=3)))
    whole = schema.rows(path)
    pieces = list(incoming(schema, path, Asked(id="name")).pieces(997, 0))
    assert torch.equal(torch.cat([piece.rows.x for piece in pieces]).nan_to_num(-1), whole.x.nan_to_num(-1))
    assert torch.cat([piece.rows.index for piece in pieces]).tolist() == list(range(ROWS))
    assert sum((piece.ids.tolist() for piece in pieces), []) == [f"n{i}" for i in range(ROWS)]


def test_a_date_has_one_meaning_in_all_pieces(schema, tmp_path):
    """Rows whose day and month could be exchanged are read as the first rows are."""
    frame = people(ROWS, seed=3)
    frame.loc[4000:, "born"] = "03/04/1980"
    frame.to_csv(tmp_path / "new.csv", index=False)
    last = list(incoming(schema, tmp_path / "new.csv").pieces(100, 4500))[-1].rows.x[-1]
    column = [c.name for c in schema.columns].index("born")
    assert last[column] == (np.datetime64("1980-04-03") - np.datetime64("1970-01-01")).astype(int)


def test_a_wrong_cell_deep_in_a_file_has_its_row_and_line(schema, tmp_path):
    frame = people(ROWS, seed=3)
    frame["size"] = frame["size"].astype(object)
    frame.loc[4000, "size"] = "tall"
    frame.to_csv(tmp_path / "new.csv", index=False)
    raises_one_sentence(
        lambda: list(incoming(schema, tmp_path / "new.csv").pieces(100, 0)), "'tall' in row 4000 (line 4002)"
    )


def test_dates_of_one_format_are_parsed_as_a_column(schema, tmp_path, monkeypatch):
    """Not one by one, which takes milliseconds for each."""
    people(ROWS, seed=3).to_csv(tmp_path / "new.csv", index=False)
    alone = []
    monkeypatch.setattr(matching, "_day", lambda word: alone.append(word))
    assert (
        schema.rows(tmp_path / "new.csv")
        .x[:, [c.name for c in schema.columns].index("born")]
        .isfinite()
        .any()
    )
    assert alone == []
