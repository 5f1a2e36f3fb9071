"""`pyrovae data`, and the options of tables on the command line."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import yaml

import pyrovae as pv
from pyrovae.cli import main

SMALL = "--latent_dim 2 --encoder MLP --encoder.sizes [8] --decoder MLP --decoder.sizes [8]".split()
QUICK = "--epochs 1 --batch_size 20 --figures false --lr_schedule constant".split()
BOUND = "--bounds [1,5] --baseline false --method AIS --method.temperatures 5".split()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = pandas.DataFrame(
        {
            "": np.arange(80),
            "name": [f"person {i}" for i in range(80)],
            "age": rng.integers(18, 80, 80),
            "size": rng.normal(170, 10, 80).round(2),
            "colour": rng.choice(["red", "green"], 80),
            "species": rng.choice(["cat", "dog"], 80),
        }
    )
    table.to_csv("t.csv", index=False)


def test_data_shows_what_would_be_read(capsys):
    assert main(["data", "t.csv"]) == 2
    error = capsys.readouterr().err
    assert "'name'" in error
    assert "--drop name" in error
    assert error.count("\n") == 1
    assert main(["data", "t.csv", "--drop", "name", "age", "--labels", "species"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("t.csv: 80 rows (csv, separated by comma, with a header); labels from 'species'\n")
    assert "'column 1' (it numbers the rows); 'name' (as asked); 'age' (as asked)" in text
    assert "56 rows for training, 8 for validation, 16 for testing" in text
    assert not Path("runs").exists()


def test_data_as_json(capsys):
    assert main(["data", "t.csv", "--json", "--drop", "name"]) == 0
    record = json.loads(capsys.readouterr().out)
    kinds = {column["name"]: column["kind"] for column in record["reading"]["columns"]}
    assert kinds["colour"] == "categorical:2"
    assert record["reading"]["dropped"] == {"column 1": "it numbers the rows", "name": "as asked"}


def test_data_by_name_and_without_one(capsys):
    assert main(["data", "digits", "--binarize", "threshold"]) == 0
    assert "digits: 1,797 rows of shape (1, 8, 8)" in capsys.readouterr().out
    assert main(["data"]) == 2
    assert "which data?" in capsys.readouterr().err


def test_a_run_reproduces_its_table(capsys):
    words = ["--drop", "name", "species", "--context", "age", "colour", "--na", "-9"]
    words += ["--likelihood", "Normal", *SMALL, *QUICK]
    assert main(["fit", "--data", "t.csv", *words, "--out", "r"]) == 0
    assert "context, categorical:2" in capsys.readouterr().out
    config = yaml.safe_load(Path("r/config.yaml").read_text())
    assert config["drop"] == ["name", "species"]
    assert config["context"] == ["age", "colour"]
    assert config["na"] == ["-9"]
    assert main(["evaluate", "r", "--particles", "5", *BOUND]) == 0
    assert main(["fit", "--out", "r", "--resume", "--epochs", "2"]) == 0
    assert pv.load("r").schema.context_columns[1].column.levels == ("green", "red")


def test_another_file_is_read_in_the_columns_of_the_run(capsys):
    fit = ["fit", "--data", "t.csv", "--drop", "name", "--likelihood", "Mixed", *SMALL, *QUICK, "--out", "r"]
    assert main(fit) == 0
    table = pandas.read_csv("t.csv")
    turned = table[["species", "size", "colour", "age"]]
    turned.to_csv("turned.csv", index=False)
    scores = []
    for data in ("t.csv", "turned.csv"):
        evaluate = ["evaluate", "r", "--data", data, "--particles", "20", *BOUND]
        assert main(evaluate) == 0
        scores.append(pandas.read_csv("r/evidence.csv"))
    pandas.testing.assert_frame_equal(*scores)
    turned.assign(colour="blue").to_csv("blue.csv", index=False)
    capsys.readouterr()
    assert main(["evaluate", "r", "--data", "blue.csv"]) == 2
    assert "'colour' of blue.csv holds 'blue' in row 0 (line 2)" in capsys.readouterr().err
