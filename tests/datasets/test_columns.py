"""Columns that are left out, condition the model or hold labels; other formats; what `describe` says."""

import json

import numpy as np
import pandas
import pytest
import torch

import pyrovae as pv
from pyrovae import datasets
from tests.support.parts import raises_one_sentence


def people(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    return pandas.DataFrame(
        {
            "id": np.arange(rows) + 1,
            "age": rng.integers(18, 80, rows),
            "sex": rng.choice(["f", "m"], rows),
            "size": rng.normal(170, 10, rows).round(3),
            "income": rng.lognormal(8, 1, rows).round(2),
            "species": rng.choice(["cat", "dog", "eel"], rows),
        }
    )


@pytest.fixture
def path(tmp_path):
    people().to_csv(tmp_path / "people.csv", index=False)
    return tmp_path / "people.csv"


def names_of(data):
    return [column.name for column in data.columns]


def test_columns_can_be_dropped(path):
    data = datasets.load(path, drop=["sex", "income"])
    assert names_of(data) == ["age", "size", "species"]
    assert data.declaration["drop"] == ["sex", "income"]
    assert data.schema.drop == ("id", "sex", "income")
    assert names_of(datasets.load(path, drop="sex")) == ["age", "size", "income", "species"]
    assert names_of(datasets.load(path, kinds={"id": "normal"}))[0] == "id"
    raises_one_sentence(lambda: datasets.load(path, drop="incom"), "'incom'", "did you mean 'income'?")
    raises_one_sentence(lambda: datasets.load(path, kinds={"Age": "normal"}), "did you mean 'age'?")
    raises_one_sentence(lambda: datasets.load(path, drop=3.5), "drop must be a word or a list")
    raises_one_sentence(lambda: datasets.load("digits", drop="a"), "drop", "digits is not a table")


def test_columns_can_condition_the_model(path):
    data = datasets.load(path, context=["age", "sex"], split_seed=3)
    assert names_of(data) == ["size", "income", "species"]
    assert data.context_shape == (3,)
    table = people()
    age = table["age"].to_numpy()[data.train.index]
    for rows in (data.train, data.validation, data.test):
        mine = table.iloc[rows.index.numpy()]
        standard = (mine["age"] - age.mean()) / age.std()
        wanted = np.stack([standard, mine["sex"] == "f", mine["sex"] == "m"], 1)
        np.testing.assert_allclose(rows.context, wanted, rtol=0, atol=1e-6)
    assert datasets.load(path, context="age").context_shape == (1,)
    raises_one_sentence(lambda: datasets.load(path, context="sexe"), "context", "did you mean 'sex'?")
    raises_one_sentence(lambda: datasets.load("digits", context=["a", "b"]), "context", "not a table")


def test_missing_contexts_have_a_flag(tmp_path):
    table = people().assign(
        age=lambda t: t["age"].where(t.index % 5 > 0), sex=lambda t: t["sex"].where(t.index % 7 > 0)
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    data = datasets.load(tmp_path / "t.csv", context=["age", "sex"])
    missing = data.train.index % 5 == 0
    assert torch.equal(data.train.context[:, 1], missing.float())
    assert (data.train.context[missing, 0] == 0).all()
    assert torch.equal(data.train.context[:, 2:].sum(1) == 0, data.train.index % 7 == 0)


def test_a_column_can_hold_the_labels(path):
    data = datasets.load(path, labels="species")
    assert names_of(data) == ["age", "sex", "size", "income"]
    assert data.schema.class_names == ("cat", "dog", "eel")
    species = people()["species"].to_numpy()
    assert [data.schema.class_names[k] for k in data.train.y] == species[data.train.index].tolist()
    assert data.validation.y is None
    known = datasets.load(path, labels="species", known=6)
    assert (known.train.y >= 0).sum() == 6
    both = datasets.load(path, labels="species", context="labels")
    assert both.context_shape == (3,)
    assert not both.has_labels  # the model is given them
    raises_one_sentence(lambda: datasets.load(path, labels="specie"), "labels", "did you mean 'species'")
    raises_one_sentence(lambda: datasets.load("digits", labels="species"), "labels", "not a table")
    raises_one_sentence(lambda: datasets.load(path, labels=True), "labels=True needs labels")


def test_a_target_of_many_numbers_is_data(tmp_path):
    rng = np.random.default_rng(0)
    pandas.DataFrame({"x": rng.normal(size=80), "target": rng.normal(size=80)}).to_csv(
        tmp_path / "a.csv", index=False
    )
    pandas.DataFrame({"x": rng.normal(size=80), "target": rng.integers(0, 3, 80)}).to_csv(
        tmp_path / "b.csv", index=False
    )
    assert names_of(datasets.load(tmp_path / "a.csv")) == ["x", "target"]
    assert names_of(datasets.load(tmp_path / "b.csv")) == ["x"]


def test_the_declaration_gives_the_same_data_again(path):
    options = {
        "drop": "income",
        "context": "age",
        "labels": "species",
        "na": "m",
        "kinds": {"size": "laplace"},
    }
    data = datasets.load(path, **options)
    declaration = json.loads(json.dumps(data.declaration))
    again = datasets.load(declaration.pop("data"), **declaration)
    assert again.record == data.record
    assert again.schema == data.schema
    assert json.loads(json.dumps(data.record["reading"])) == data.record["reading"]


# ---------------------------------------------------------------- formats


@pytest.mark.parametrize("kind", ["tsv", "parquet", "feather", "arrow", "json", "jsonl", "xlsx"])
def test_formats(tmp_path, kind):
    table = people().assign(day=pandas.date_range("2020-01-01", periods=60, freq="D").astype(str))
    file = tmp_path / f"t.{kind}"
    if kind == "xlsx":
        pytest.importorskip("openpyxl")
        table.to_excel(file, index=False)
    elif kind.startswith("json"):
        table.to_json(file, orient="records", lines=kind == "jsonl")
    elif kind == "tsv":
        table.to_csv(file, sep="\t", index=False)
    else:
        getattr(table, f"to_{kind.replace('arrow', 'feather')}")(file)
    data = datasets.load(file)
    table.to_csv(tmp_path / "t.csv", index=False)
    same = datasets.load(tmp_path / "t.csv")
    assert data.columns == same.columns
    torch.testing.assert_close(data.train.x, same.train.x)


def test_a_single_column_called_label_is_data(tmp_path):
    (tmp_path / "t.csv").write_text("label\n" + "CNS\nRENAL\nCNS\n" * 8)
    data = datasets.load(tmp_path / "t.csv")
    assert (names_of(data), data.columns[0].levels) == (["label"], ("CNS", "RENAL"))
    with_context = datasets.load(tmp_path / "t.csv", kinds={"label": "categorical"})
    assert with_context.columns == data.columns


def test_a_table_without_a_column_left_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "1.5,x\n2.5,y\n" * 8)
    for options in ({"drop": ["a", "b"]}, {"labels": "b", "drop": "a"}, {"context": ["a", "b"]}):
        raises_one_sentence(
            lambda options=options: datasets.load(tmp_path / "t.csv", **options), "no column left", "'a', 'b'"
        )


def test_files_of_no_table_are_refused(tmp_path):
    (tmp_path / "t.json").write_text("{")
    (tmp_path / "t.csv").write_bytes(b"\0\1\2\3" * 30)
    (tmp_path / "t.csv.gz").write_bytes(b"no gzip")
    raises_one_sentence(lambda: datasets.load(tmp_path / "t.json"), "cannot be read as .json")
    raises_one_sentence(lambda: datasets.load(tmp_path / "t.csv"), "NUL bytes")
    raises_one_sentence(lambda: datasets.load(tmp_path / "t.csv.gz"), "cannot be read as .csv.gz")


# ---------------------------------------------------------------- what is said


def test_describe_says_what_was_read(tmp_path):
    table = people(40).assign(day="2020-01-01", one=1)
    table.loc[20:, "day"] = "2021-05-05"
    table.loc[3, "size"] = np.nan
    table.to_csv(tmp_path / "t.csv", index=False)
    text = datasets.describe(datasets.load(tmp_path / "t.csv", context=["sex"], drop="income"))
    lines = text.splitlines()
    assert lines[0] == "t.csv: 40 rows (csv, separated by comma, with a header)"
    assert lines[1].startswith(
        "left out: 'id' (it numbers the rows); 'income' (as asked); 'one' (its only value is 1)"
    )
    assert lines[2].split() == ["column", "kind", "range", "or", "levels", "missing", "remark"]
    assert any(line.startswith("day ") and "2020-01-01 to 2021-05-05" in line for line in lines)
    assert any(line.startswith("size ") and line.split()[-1] == "1" for line in lines)
    assert any(line.startswith("sex ") and "context, categorical:2" in line for line in lines)
    assert lines[-1] == "28 rows for training, 4 for validation, 8 for testing"


def test_describe_is_short_when_asked(tmp_path):
    pandas.DataFrame(np.random.default_rng(0).normal(size=(20, 50))).to_csv(tmp_path / "t.csv", index=False)
    data = datasets.load(tmp_path / "t.csv")
    lines = datasets.describe(data, lines=12).splitlines()
    assert len(lines) == 12
    assert lines[-2] == "... and 42 more columns (pyrovae data shows all)"
    assert len(datasets.describe(data).splitlines()) == 53


def test_a_vae_is_trained_on_columns_that_condition_it(path):
    data = datasets.load(path, context=["age", "sex"])
    likelihood = pv.likelihoods.Mixed().suited(data)
    vae = pv.VAE(data.event_shape, 2, likelihood=likelihood, encoder=pv.networks.MLP(8), context_shape=(3,))
    pv.fit(vae, data, epochs=1, batch_size=20, progress=False)
    assert vae.schema.context_columns[1].column.levels == ("f", "m")
    rows = vae.schema.rows(people(5))
    assert np.isfinite(pv.log_evidence(vae, rows, particles=5, progress=False).log_px).all()


def test_a_value_outside_the_support_is_named_by_its_column(path):
    data = datasets.load(path, drop=["sex", "species"], kinds={"size": "poisson"})
    likelihood = pv.likelihoods.Mixed().suited(data)
    vae = pv.VAE(data.event_shape, 2, likelihood=likelihood, encoder=pv.networks.MLP(8))
    options = {"epochs": 1, "batch_size": 20, "progress": False}
    raises_one_sentence(lambda: pv.fit(vae, data, **options), "of column 'size'", "in row")
    beta = pv.VAE(data.event_shape, 2, likelihood=pv.likelihoods.Beta(), encoder=pv.networks.MLP(8))
    raises_one_sentence(lambda: pv.fit(beta, data, **options), "of column 'age'")
    raises_one_sentence(lambda: pv.fit(beta, data.train.x, **options), "at position 0")


def test_all_columns_that_cannot_be_read_are_named_at_once(tmp_path):
    names = [f"person {chr(97 + i)} {i}" for i in range(20)]
    table = pandas.DataFrame({"who": names, "x": np.arange(20) ** 2, "mail": [f"{n}@x" for n in names]})
    table.to_csv(tmp_path / "t.csv", index=False)
    raises_one_sentence(
        lambda: datasets.load(tmp_path / "t.csv"),
        "'who'",
        "1 more column cannot be read",
        "drop=['who', 'mail']",
    )
    assert names_of(datasets.load(tmp_path / "t.csv", drop=["who", "mail"])) == ["x"]
    table[["who", "mail"]].to_csv(tmp_path / "t.csv", index=False)
    raises_one_sentence(lambda: datasets.load(tmp_path / "t.csv"), "either ('mail')", "no column is left")
