"""Printed text shows control characters, wherever a name comes from."""

import os
import pickle

import numpy as np
import pandas
import pytest

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.errors import InputError, Lost, NumericalError, Uncapturable, visible

CLEAR = "\x1b[2J\x1b]0;owned\x07"  # clears a terminal and renames it
ODD = {
    "\x1b[31mred": r"\x1b[31mred",
    "a\x9b2Jb": r"a\x9b2Jb",
    "one\rtwo\n": r"one\rtwo\n",
    "gpj.\u202eexe": r"gpj.\u202eexe",
    "caf\u00e9 \u4e2d\u6587 \U0001f600 \\x1b": "caf\u00e9 \u4e2d\u6587 \U0001f600 \\x1b",
    os.fsdecode(b"caf\xe9.npy"): r"caf\udce9.npy",
}


@pytest.mark.parametrize("name", ODD)
def test_control_characters_are_shown_and_nothing_else_changes(name):
    assert visible(name) == ODD[name]
    assert visible(visible(name)) == visible(name)
    visible(name).encode()


def test_lines_of_a_table_stay_lines():
    assert visible("a\n\tb\x1b", lines=True) == "a\n\\tb\\x1b"


@pytest.mark.parametrize("kind", [InputError, Lost, NumericalError, Uncapturable])
def test_no_message_controls_the_terminal(kind):
    error = kind(f"{CLEAR}.csv has no rows: give one")
    assert str(error) == r"\x1b[2J\x1b]0;owned\x07.csv has no rows: give one"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def printed(capsys):
    """The output of a command, which must not contain control characters."""
    out, errors = capsys.readouterr()
    for text in (out, errors):
        assert text == visible(text, lines=True)
    return out + errors


def test_names_of_files_columns_levels_and_rows_are_shown(folder, capsys):
    name = f"{CLEAR}.csv"
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame({f"x{CLEAR}": rng.normal(size=60), "kind": rng.choice([f"a{CLEAR}", "b"], 60)})
    frame["id"] = [f"{CLEAR}{n}" for n in range(60)]
    frame.to_csv(name, index=False)
    assert main(["data", name, "--drop", "id"]) == 0
    assert printed(capsys).count(r"\x1b") >= 3
    words = ["--drop", "id", "--epochs", "1", "--figures", "false", "--batch_size", "20"]
    assert main(["fit", "--data", name, *words]) == 0
    assert r"runs/\x1b[2J" in printed(capsys)
    (run,) = os.listdir("runs")
    quick = ["--particles", "5", "--compile", "false"]
    assert main(["score", f"runs/{run}", name, "--out", f"{CLEAR}.scores.csv", "--id", "id", *quick]) == 0
    assert r"lowest: id \x1b" in printed(capsys)
    words = ["--particles", "5", "--method", "importance", "--bounds", "[1]"]
    assert main(["evaluate", f"runs/{run}", *words]) == 0
    assert main(["sample", f"runs/{run}", "--out", f"{CLEAR}new.csv"]) == 0
    assert main(["score", f"runs/{run}", f"none{CLEAR}.csv", "--out", "s.csv"]) == 2
    assert main(["fit", "--data", f"none{CLEAR}.npy"]) == 2
    assert main(["fit", f"--none{CLEAR}", "1"]) == 2
    assert main([f"none{CLEAR}"]) == 2
    printed(capsys)
    assert "\x1b" not in repr(pv.datasets.load(name, drop=["id"]))


def test_a_name_that_is_not_utf_8_is_shown(folder, capsys):
    name = os.fsdecode(b"caf\xe9.npy")
    np.save(name, np.random.default_rng(0).normal(size=(60, 3)).astype("float32"))
    assert main(["fit", "--data", name, "--epochs", "1", "--figures", "false", "--batch_size", "20"]) == 0
    assert r"Data(caf\udce9.npy)" in printed(capsys)
