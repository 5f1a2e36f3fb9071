"""The schema of a data set: what is in it, that it comes back whole, and other data that it refuses."""

import json

import numpy as np
import pandas
import pytest
import torch

import pyrovae as pv
from pyrovae.datasets import Column, Schema
from pyrovae.datasets.incoming import incoming
from tests.support.parts import raises_one_sentence
from tests.support.same_runs import binary, small


def table(path, **columns):
    pandas.DataFrame(columns).to_csv(path, index=False)
    return pv.datasets.load(path)


@pytest.fixture
def people(tmp_path):
    return table(
        tmp_path / "people.csv", size=np.arange(9) + 0.5, colour=list("rgb") * 3, member=[0, 1, 1] * 3
    )


def test_a_schema_says_what_was_read_scaled_and_encoded(people):
    digits = pv.datasets.load("digits", binarize="dynamic", context="labels").schema
    assert digits == Schema(
        event_shape=(1, 8, 8),
        levels=17,
        scaling="0..16 divided by 16",
        binarize="dynamic",
        classes=tuple(range(10)),
        context="labels",
    )
    assert pv.datasets.load("digits", dequantize=True).schema.dequantize
    assert pv.datasets.load(torch.randn(9, 2)).schema == Schema((2,))
    assert people.schema.columns == (
        Column("size", "normal"),
        Column("colour", "categorical:3", ("b", "g", "r")),
        Column("member", "bernoulli"),
    )


def schemas(people):
    yield people.schema
    yield pv.datasets.load("digits", known=20).schema
    yield pv.datasets.load(np.random.default_rng(0).random((20, 3))).schema
    yield Schema(())


def test_a_schema_comes_back_from_plain_values(people):
    """As a checkpoint keeps it, and through JSON, which has lists for tuples."""
    for schema in schemas(people):
        assert Schema.from_dict(schema.to_dict()) == schema
        assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


def test_a_run_keeps_the_schema_of_its_data(people, tmp_path):
    vae = pv.VAE((3,), 2, likelihood=pv.likelihoods.Mixed().suited(people), encoder=pv.networks.MLP(8))
    assert vae.schema is None
    pv.fit(vae, people, epochs=1, batch_size=3, out=tmp_path / "r", figures=False, progress=False)
    assert vae.schema == people.schema
    assert pv.load(tmp_path / "r").schema == people.schema
    grey = pv.datasets.load(binary(60), validation=10, test=10)
    pv.fit(small(), grey, epochs=1, batch_size=10, out=tmp_path / "g", figures=False, progress=False)
    assert pv.load(tmp_path / "g", which="last").schema == grey.schema


def test_the_same_columns_are_the_same_whatever_their_values(people, tmp_path):
    other = table(tmp_path / "o.csv", size=[1, 2, 3, 4, 5], colour=list("rgbrg"), member=[0, 1, 0, 1, 1])
    assert other.columns[0].kind != people.columns[0].kind
    people.schema.check_same(other.schema, "o.csv")
    Schema((1, 8, 8), levels=17).check_same(Schema((1, 8, 8)), "an array")


def test_other_columns_are_refused(people, tmp_path):
    size, colour, member = np.arange(6) + 0.5, list("rgb") * 2, [0, 1] * 3
    for columns, words in (
        ({"size": size, "member": member, "colour": colour}, "the columns size, member, colour"),
        ({"size": size, "colour": colour}, "trained on size, colour, member"),
        ({"size": size, "colour": colour, "age": member}, "the columns size, colour, age"),
        (
            {"size": size, "colour": list("rgy") * 2, "member": member},
            "column 'colour' of o.csv has the words g, r, y",
        ),
        ({"size": size, "colour": list("rg") * 3, "member": member}, "trained on b, g, r"),
        ({"size": size, "colour": range(6), "member": member}, "column 'colour' of o.csv has the words none"),
        ({"size": list("rgb") * 2, "colour": colour, "member": member}, "the model was trained on none"),
    ):
        other = table(tmp_path / "o.csv", **columns)
        raises_one_sentence(lambda other=other: people.schema.check_same(other.schema, "o.csv"), words)
    many = Column("word", "categorical:9", tuple("abcdefghi"))
    raises_one_sentence(
        lambda: Schema((1,), (many,)).check_same(Schema((1,), (Column("word", "normal"),)), "x"),
        "a, b, c, d, e, ...",
    )


def test_another_shape_or_no_table_is_refused(people):
    images = Schema((1, 8, 8))
    raises_one_sentence(
        lambda: images.check_same(Schema((1, 28, 28)), "mnist"), "mnist", "(1, 28, 28)", "(1, 8, 8)"
    )
    raises_one_sentence(lambda: images.check_same(people.schema, "people.csv"), "rows of shape (3,)")
    raises_one_sentence(lambda: people.schema.check_same(images, "digits"), "columns of no table")
    raises_one_sentence(lambda: Schema((3,)).check_same(people.schema, "people.csv"), "trained on no table")


# ---------------------------------------------------------------- new data


@pytest.fixture
def messy(tmp_path):
    """A schema of numbers, dates, truth values, words, an order, a context and labels."""
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {
            "id": np.arange(40),
            "price": [f"${v:.2f}" for v in rng.normal(10, 2, 40)],
            "day": pandas.date_range("2020-01-01", periods=40).astype(str),
            "paid": rng.choice(["yes", "no"], 40),
            "grade": rng.choice(["low", "high"], 40),
            "colour": rng.choice(["red", "green", "?"], 40),
            "clicks": rng.poisson(3, 40),
            "age": rng.integers(18, 80, 40),
            "species": rng.choice(["cat", "dog"], 40),
        }
    )
    frame.to_csv(tmp_path / "messy.csv", index=False)
    kinds = {"grade": "ordinal: low < high"}
    data = pv.datasets.load(tmp_path / "messy.csv", context="age", labels="species", kinds=kinds)
    return data, frame, tmp_path / "messy.csv"


def in_order(data):
    rows = [data.train, data.validation, data.test]
    order = torch.cat([part.index for part in rows]).argsort()
    return torch.cat([part.x for part in rows])[order], torch.cat([part.context for part in rows])[order]


def test_new_rows_are_matched_by_name(messy):
    data, frame, path = messy
    x, context = in_order(data)
    shuffled = frame[["age", "colour", "clicks", "paid", "grade", "day", "price"]]
    for given in (path, frame, shuffled, shuffled.to_dict("list")):
        rows = data.schema.rows(given)
        assert torch.equal(rows.x, x)
        assert torch.equal(rows.context, context)
        assert rows.index.tolist() == list(range(40))
    notes = data.schema.read(frame.assign(extra=1), "new.csv")[1]
    assert notes == ["new.csv has columns that the model does not use: extra"]
    assert data.schema.read(frame)[1] == []


def test_a_saved_schema_reads_the_same_rows(messy):
    data, frame, _ = messy
    schema = Schema.from_dict(json.loads(json.dumps(data.schema.to_dict())))
    assert schema == data.schema
    assert torch.equal(schema.rows(frame).x, data.schema.rows(frame).x)


def test_rows_of_an_old_schema():
    """As it was stored before columns had units and words of truth values."""
    column = {"name": "a", "kind": "bernoulli", "levels": None}
    saved = {"event_shape": (1,), "columns": [column], "levels": None, "scaling": "values as given"}
    saved |= {"binarize": None, "dequantize": False, "classes": None, "context": None}
    schema = Schema.from_dict(saved)
    assert schema.rows({"a": [True, False, None]}).x.nan_to_num(9).flatten().tolist() == [1, 0, 9]
    now = Schema((1,), (Column("a", "bernoulli", ("False", "True")),))
    schema.check_same(now, "t.csv")


def test_new_rows_that_do_not_fit_are_refused(messy):
    data, frame, _ = messy
    rows = data.schema.rows

    def cell(name, value):
        changed = frame.astype(object).copy()
        changed.loc[3, name] = value
        return changed

    raises_one_sentence(
        lambda: rows(frame.drop(columns=["day", "paid"]), "n"), "n has no column 'day', 'paid'"
    )
    raises_one_sentence(lambda: rows(frame.rename(columns={"day": "Day"}), "n"), "'day' (it has 'Day')")
    raises_one_sentence(
        lambda: rows(cell("colour", "blue"), "n"),
        "'colour' of n holds 'blue' in row 3",
        "?, green, red",
        "unknown=",
    )
    raises_one_sentence(
        lambda: rows(cell("price", "cheap"), "n"), "'price' of n holds 'cheap' in row 3", "numbers"
    )
    raises_one_sentence(lambda: rows(cell("day", "soon"), "n"), "'day' of n holds 'soon' in row 3", "dates")
    raises_one_sentence(lambda: rows(cell("grade", "middle"), "n"), "'grade'", "low, high")
    raises_one_sentence(lambda: rows(cell("paid", "maybe"), "n"), "'paid'", "no, yes")
    raises_one_sentence(lambda: rows(cell("age", None), "n"), "'age' of n has no entry in row 3")
    raises_one_sentence(lambda: rows(frame.assign(price="5%"), "n"), "'price' of n is given in %")
    raises_one_sentence(lambda: rows(frame, unknown="guess"), "unknown must be")
    raises_one_sentence(lambda: rows(3, "n"), "n is a int")
    raises_one_sentence(lambda: rows("nowhere.csv"), "nowhere.csv is not a table")
    for name in ("colour", "price", "grade", "paid"):
        lenient = rows(cell(name, "word"), unknown="missing").x
        place = [column.name for column in data.columns].index(name)
        assert lenient.isnan().nonzero().tolist() == [[3, place]]


def test_a_line_of_the_file_is_named(messy, tmp_path):
    data, frame, _ = messy
    frame.assign(colour=["blue", *frame["colour"][1:]]).to_csv(tmp_path / "new.csv", index=False)
    raises_one_sentence(
        lambda: data.schema.rows(tmp_path / "new.csv"), "'colour' of new.csv", "row 0 (line 2)"
    )


def test_rows_go_back_to_the_users_columns(messy):
    data, frame, _ = messy
    x, _ = in_order(data)
    x[5, 0] = x[6, 3] = float("nan")
    back = data.schema.frame(x)
    assert list(back.columns) == ["price", "day", "paid", "grade", "colour", "clicks"]
    for name in ("grade", "colour", "clicks", "paid"):
        same = back[name] == frame[name]
        assert same.drop(index=6).all()
    assert back.loc[6, "grade"] is None
    assert np.isnan(back.loc[5, "price"])
    assert back["day"].dt.strftime("%Y-%m-%d").tolist() == frame["day"].tolist()
    again = data.schema.rows(back.assign(age=frame["age"]))
    torch.testing.assert_close(again.x, x, equal_nan=True)
    raises_one_sentence(lambda: data.schema.frame(x[:, :2]), "6 columns")
    raises_one_sentence(lambda: Schema((2,)).frame(torch.zeros(3, 2)), "no columns")


def test_rows_of_arrays():
    digits = pv.datasets.load("digits")
    from sklearn.datasets import load_digits

    images = load_digits().images[:, None]
    rows = digits.schema.rows(images)
    assert torch.equal(rows.x[digits.test.index], digits.test.x)
    raises_one_sentence(lambda: digits.schema.rows(np.zeros((5, 3)), "n"), "n has rows of shape (3,)")


def test_a_file_is_read_again_in_the_columns_of_a_run(messy, tmp_path):
    data, frame, _ = messy
    columns = ["species", "clicks", "colour", "grade", "paid", "day", "price", "age"]
    few = frame[frame["colour"] != "green"][columns]  # another order, fewer words
    few.to_csv(tmp_path / "few.csv", index=False)
    again = pv.datasets.load(tmp_path / "few.csv", context="age", labels="species", schema=data.schema)
    data.schema.check_same(again.schema, "few.csv")
    assert again.columns == data.columns
    x, context = in_order(again)
    np.testing.assert_array_equal(x, data.schema.rows(few).x)
    np.testing.assert_array_equal(context, data.schema.rows(few).context)
    assert again.schema.class_names == data.schema.class_names
    few.assign(species="eel").to_csv(tmp_path / "few.csv", index=False)
    raises_one_sentence(
        lambda: pv.datasets.load(tmp_path / "few.csv", labels="species", context="age", schema=data.schema),
        "'eel'",
    )


def test_a_run_without_a_column_of_its_table_is_refused_with_the_cure(tmp_path):
    table = pandas.DataFrame(
        {"size": np.random.default_rng(0).normal(size=40), "visits": np.random.default_rng(1).poisson(9, 40)}
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    schema = pv.datasets.load(tmp_path / "t.csv").schema
    with pytest.raises(pv.InputError, match="no column 'size', .*: add it, with empty cells"):
        schema.rows(table[["visits"]])
    assert schema.rows(table.assign(size=np.nan)).x[:, 0].isnan().all()


@pytest.mark.parametrize("binarize", ["threshold", "dynamic", "static"])
def test_a_missing_pixel_of_new_data_is_not_binarised(binarize):
    grey = torch.rand(9, 4, 4, generator=torch.Generator().manual_seed(0))
    schema = pv.datasets.load(grey, binarize=binarize).schema
    known, gone = grey[:2].clone(), grey[:2].clone()
    known[:, 0, 0], gone[:, 0, 0] = 0.0, torch.nan
    new = incoming(schema, gone.numpy()).all_rows().x
    assert new[:, 0, 0].isnan().all()
    assert set(new[~new.isnan()].tolist()) == {0.0, 1.0}
    if binarize == "threshold":
        assert torch.equal(new.nan_to_num(0.0), (known >= 0.5).float())
    vae = small((4, 4), likelihood=pv.likelihoods.Bernoulli())
    vae.schema = schema
    expected = pv.log_evidence(vae, new, particles=20)
    score = pv.score(vae, gone.numpy(), particles=20)
    np.testing.assert_allclose(score.log_px, expected.log_px, rtol=1e-6)
    gone[0, 1, 1] = 7.0
    raises_one_sentence(lambda: incoming(schema, gone.numpy()).all_rows(), "to 7")


@pytest.mark.parametrize("kind", [{"dequantize": True}, {"binarize": "threshold"}, {}])
def test_a_missing_pixel_leaves_levels_levels(kind):
    levels = torch.randint(0, 256, (9, 4, 4), generator=torch.Generator().manual_seed(0))
    schema = pv.datasets.load(levels.to(torch.uint8), **kind).schema
    gone = levels[:2].double()
    gone[:, 0, 0] = torch.nan
    for given in (gone, gone.numpy(), gone / 255):
        new = incoming(schema, given).all_rows().x
        assert new[:, 0, 0].isnan().all()
        right = (gone >= 127.5).double() if "binarize" in kind else gone / 255
        rest = ~gone.isnan()
        assert (new[rest] - right[rest]).abs().max() <= (1 / 128 if "dequantize" in kind else 1e-6)
    gone[0, 1, 1] = 999.0
    raises_one_sentence(lambda: incoming(schema, gone).all_rows(), "values up to 999")
    gone[0, 1, 1] = -5.0
    raises_one_sentence(lambda: incoming(schema, gone).all_rows(), "values down to -5")
