"""`pyrovae edit` and `pyrovae traverse`: attributes by name, and what is written."""

from pathlib import Path

import numpy as np
import pandas
import pytest

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.tasks.known_attributes import chosen, known_attributes
from pyrovae.tasks.pixel_measures import measure_images

QUICK = "--figures false --latent_dim 3 --encoder MLP --encoder.sizes [32] --decoder MLP --decoder.sizes [32]"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with a run on digits, a run on a table, and a file of attributes."""
    folder = tmp_path_factory.mktemp("edits")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = "fit --data digits --likelihood ContinuousBernoulli --epochs 12 --batch_size 50 --lr 0.003"
        assert main(f"{words} {QUICK} --out digits".split()) == 0
        rng = np.random.default_rng(0)
        sex = rng.choice(["f", "m"], 400)
        height = 165 + 12 * (sex == "m") + 5 * rng.normal(size=400)
        table = {"sex": sex, "height": height, "weight": height - 100 + 8 * rng.normal(size=400)}
        pandas.DataFrame(table).to_csv("people.csv", index=False)
        assert main(f"fit --data people.csv --epochs 20 --batch_size 20 {QUICK} --out people".split()) == 0
        x = pv.datasets.load("digits").train
        bright = np.full(1797, np.nan)
        bright[x.index.numpy()] = x.x.flatten(1).mean(1)
        group = np.where(bright > 0.3, "dark", "light")
        ink = pandas.DataFrame({"ink": bright, "group": group, "id": np.arange(1797)})
        ink.to_csv("ink.csv", index=False)
    return folder


@pytest.fixture
def inside(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    return workplace


def test_a_measured_attribute_is_found_edited_and_measured_again(inside, capsys):
    words = "edit digits --attribute SLANT width --by 1 --steps 3 --count 40 --array"
    assert main(words.split()) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("2 directions (differences of means) in 3 latents from 943 rows")
    edited = np.load("digits/edited_slant.npy")
    assert edited.shape == (3, 40, 1, 8, 8)
    means = measure_images(edited.reshape(-1, 8, 8))["slant"].reshape(3, 40).mean(1)
    assert means[0] < means[1] < means[2]
    assert f"mean slant: {means[0]:.2f} at -1, {means[1]:.2f} at 0, {means[2]:.2f} at +1" in printed
    vae, data = pv.load("digits"), pv.datasets.load("digits")
    y = {name: measure_images(data.train.x)[name] for name in ("slant", "width")}
    again = pv.attributes(vae, data.train, y).apply(data.test[:40], "slant", [[-1.0], [0.0], [1.0]])
    assert np.allclose(again, edited, atol=1e-5)
    assert Path("digits/figures/edit_slant.png").stat().st_size > 1000


def test_classes_are_kept(inside, capsys):
    assert main("edit digits --attribute 3 --count 5".split()) == 0
    plain = capsys.readouterr().out
    assert main("edit digits --attribute slant --keep width --count 5".split()) == 0
    kept = capsys.readouterr().out
    assert "width held fixed" in kept
    assert "held fixed" not in plain
    assert kept.count("\n") == 5  # `width` is neither listed nor edited
    assert main("edit digits --attribute slant --keep class width --count 5".split()) == 0
    assert "11 attributes held fixed" in capsys.readouterr().out
    assert main("edit digits --attribute 3 --keep class --count 5".split()) == 2
    assert "'3' is determined by what is given" in capsys.readouterr().err


def test_the_classes_that_are_kept_are_all_of_them():
    data = pv.datasets.load("digits")
    known = known_attributes(data, data.train, data.labels.train)
    columns = chosen(known, ["class", "slant"])
    assert columns.names == (*"0123456789", "slant")
    assert len(set(columns.group[:10])) == 1
    assert np.array_equal(columns.values[:, :10].argmax(1), data.labels.train)


def test_columns_of_a_file_belong_to_the_rows_of_the_source(inside, capsys):
    assert main("edit digits --attribute ink --file ink.csv --count 3 --method logistic".split()) == 0
    assert "ink" in capsys.readouterr().out
    data = pv.datasets.load("digits")
    known = known_attributes(data, data.train, file="ink.csv")
    ink = known.values[:, known.names.index("ink")]
    assert np.allclose(ink, data.train.x.flatten(1).mean(1), atol=1e-6)
    assert {"group=dark", "group=light"} <= set(known.names)


def test_columns_of_a_table_are_attributes(inside, capsys):
    assert main("edit people --attribute sex=m height --count 50 --array".split()) == 0
    edited = np.load("people/edited_sex_m.npy")
    assert edited.shape == (5, 50, 3)
    assert edited[-1, :, 1].mean() > edited[0, :, 1].mean() + 5  # higher
    assert Path("people/figures/edit_sex_m.png").exists()


def test_a_traversal_is_drawn_and_written(inside, capsys):
    assert main("traverse digits --directions principal --steps 5 --row 2 --array".split()) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("3 directions, 5 steps from -3 to 3 sd")
    assert np.load("digits/traversal.npy").shape == (3, 5, 1, 8, 8)
    assert Path("digits/figures/traversal.png").stat().st_size > 1000
    assert main("traverse people --split train".split()) == 0


def test_fashion_has_names():
    pytest.importorskip("torchvision")
    from dataclasses import replace

    data = pv.datasets.load("digits")
    named = replace(data, name="fashion_mnist")
    names = known_attributes(named, data.train, data.labels.train).names
    assert {"Trouser", "Bag"} <= set(names)
    assert chosen(known_attributes(named, data.train, data.labels.train), ["trouser"]).names == ("Trouser",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("edit digits", "which attribute? name one or several by --attribute: thick, slant, width, 0, 1"),
        ("edit digits --attribute thik", "there is no attribute 'thik': did you mean thick?"),
        ("edit digits --attribute thick --keep thik", "there is no attribute 'thik'"),
        ("edit digits --attribute thick --by 0", "by must be a finite number, above 0"),
        ("edit digits --attribute thick --steps 1", "steps must be a whole number of 2 or more"),
        ("edit digits --attribute ink --file none.csv", "none.csv cannot be read"),
        ("edit digits --attribute ink --file people.csv", "people.csv has 400 rows, and the data have a row"),
        ("edit people --attribute sex=m --keep class", "the data have no classes"),
        ("edit nothing --attribute thick", "nothing"),
        ("traverse digits --row 400", "row must be a whole number from 0 to 359"),
        ("traverse digits --directions up", "directions"),
    ],
)
def test_refusals(inside, capsys, words, message):
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
