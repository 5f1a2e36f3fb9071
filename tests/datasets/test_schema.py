"""The schema of a data set: what is in it, that it comes back whole, and other data that it refuses."""

import json

import numpy as np
import pandas
import pytest
import torch

import pyrovae as pv
from pyrovae.datasets import Column, Schema
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
