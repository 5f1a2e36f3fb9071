"""Drawn faces: the same bytes everywhere, and each factor changes its own pixels."""

import time

import numpy as np
import pytest
import torch
import yaml

from pyrovae import datasets
from pyrovae.cli import main
from pyrovae.datasets.drawn_faces import CAUSES, HAIR, _paint
from pyrovae.tasks.known_attributes import known_attributes
from tests.support.drawn import digest
from tests.support.parts import raises_one_sentence

NAMES = ("smile", "gaze", "brow", "width", "eyes", "hair", "glasses", "light")
PLAIN = {"hair": 1.0}  # the other factors are 0


def images(size=48, **columns):
    """Faces (N, H, W) of some values of factors, in [0, 1]."""
    count = max(np.size(values) for values in columns.values())
    values = np.zeros((count, len(NAMES)))
    for name, column in (PLAIN | columns).items():
        values[:, NAMES.index(name)] = column
    return _paint(values, size)[:, 0] / 255


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "d016e842c59fccbe"),
        ({"size": 37, "noise": 0.1, "seed": 7}, "28921862d89ec11a"),
        ({"size": 32, "grid": True, "fixed": {"hair": "long"}}, "a26507370411bb3f"),
    ],
)
def test_the_bytes_are_those_of_every_other_machine(options, expected):
    assert digest(datasets.faces(300, **options)) == expected


def test_a_hundred_thousand_images_take_seconds():
    start = time.process_time()
    datasets.faces(2000)
    assert (time.process_time() - start) * 50 < 20  # it takes about 6 seconds


def test_names_and_kinds():
    factors = datasets.faces(20_000, size=8).factors
    assert factors.names == NAMES
    assert factors.kinds == tuple("categorical" if n in ("hair", "glasses") else "continuous" for n in NAMES)
    assert factors.words[5] == HAIR
    assert factors.domains == tuple(cause.domain(None) for cause in CAUSES)
    assert (torch.corrcoef(factors.scaled().T) - torch.eye(8)).abs().max() < 0.04


@pytest.mark.parametrize("name", NAMES)
def test_every_step_of_a_factor_is_visible(name):
    steps = np.arange(4) if name == "hair" else np.arange(2) if name == "glasses" else np.linspace(-1, 1, 9)
    faces = images(**{name: steps})
    change = np.abs(np.diff(faces, axis=0))
    assert (change.max((1, 2)) > 0.05).all()
    assert (change.sum((1, 2)) > 1).all()


@pytest.mark.parametrize(
    ("name", "top", "bottom"),
    [("smile", 0.2, 0.75), ("gaze", -0.3, 0.15), ("brow", -0.5, -0.12), ("eyes", -0.3, 0.15)],
)
def test_a_factor_changes_only_its_part_of_the_face(name, top, bottom):
    change = np.abs(np.diff(images(**{name: [-1.0, 1.0]}), axis=0))[0]
    rows = (np.arange(48) + 0.5) / 24 - 1
    assert change[(rows < top) | (rows > bottom)].max() == 0
    assert change[:, [*range(8), *range(40, 48)]].max() == 0


def test_a_smile_lifts_the_corners_of_the_mouth():
    smiles = np.linspace(-1, 1, 9)
    dark = 0.74 - images(smile=smiles)[:, 30:42, :]
    rows = np.arange(30, 42)
    middle, corner = dark[:, :, 23:25].sum(2).clip(0), dark[:, :, 17:19].sum(2).clip(0)
    height = (middle @ rows / middle.sum(1)) - (corner @ rows / corner.sum(1))
    assert (np.diff(height) > 0).all()
    assert height[0] < -2 < 2 < height[-1]


def test_the_light_comes_from_its_side():
    faces = images(light=np.linspace(-1, 1, 5), hair=0.0)
    left, right = faces[:, 20:30, 14:18].mean((1, 2)), faces[:, 20:30, 30:34].mean((1, 2))
    assert (np.diff(right - left) > 0.05).all()
    assert abs(right[2] - left[2]) < 0.01


def test_a_wide_face_is_wide():
    faces = images(width=np.linspace(-1, 1, 5), hair=0.0)
    inside = (faces[:, 34] > 0.3).sum(1)
    assert (np.diff(inside) > 0).all()


def test_faces_are_symmetric_but_for_gaze_nose_and_light():
    faces = images(smile=[0.7, -0.4], glasses=[0.0, 1.0], brow=[0.3, -1.0], hair=[3.0, 2.0])
    above = faces[:, :24]
    np.testing.assert_allclose(above, above[:, :, ::-1], atol=1 / 255)


@pytest.mark.parametrize("size", [8, 24, 49, 96])
def test_faces_of_every_size(size):
    some = datasets.faces(50, size=size)
    assert some.images.shape == (50, 1, size, size)
    coarse = torch.nn.functional.adaptive_avg_pool2d(some.images.float(), 8)
    other = torch.nn.functional.adaptive_avg_pool2d(datasets.faces(50, size=192).images.float(), 8)
    assert (coarse - other).abs().mean() < 10  # of 255


def test_loaded_faces_have_factors():
    data = datasets.load("faces", count=100)
    assert data.event_shape == (1, 48, 48)
    assert data.labels is None
    assert data.factors.train.names == NAMES
    assert "hair (categorical)" in datasets.describe(data)


def test_faces_have_no_classes_whatever_is_fixed():
    numbers = dict.fromkeys(NAMES[:5], 0.0)
    some = datasets.faces(10, size=8, fixed=numbers)
    assert some.factors.names[0] == "hair"
    assert some.targets is some.class_names is None


@pytest.mark.parametrize("option", ["binary", "colour"])
def test_faces_are_grey(option):
    raises_one_sentence(lambda: datasets.load(f"faces {option}", count=10), f"leave {option} out")


def test_a_word_that_is_unknown_is_refused():
    raises_one_sentence(lambda: datasets.faces(10, fixed={"hair": "curly"}), "none, short, fringe, long")
    raises_one_sentence(lambda: datasets.faces(10, fixed={"smlie": 1.0}), "did you mean smile")


# -------------------------------------------------------------------- from fit to edit


QUICK = "--figures false --latent_dim 3 --encoder MLP --encoder.sizes [8] --decoder MLP --decoder.sizes [8]"


def test_faces_on_the_command_line(tmp_path, monkeypatch, capsys):
    """A run says how its data were drawn, and its factors are attributes."""
    monkeypatch.chdir(tmp_path)
    words = "fit --data faces:size=16,dependent=smile/brow/.5,seed=2 --count 150 --epochs 1"
    assert main(f"{words} {QUICK} --likelihood Normal".split()) == 0
    config = yaml.safe_load((tmp_path / "runs/faces-1/config.yaml").read_text())
    assert config["data"] == "faces size 16, dependent smile brow 0.5, seed 2"
    assert main("evaluate runs/faces-1 --particles 2 --bounds [1]".split()) == 0
    words = "score runs/faces-1 --data faces:size=16,noise=.1 --out s.csv --particles 2"
    assert main(words.split()) == 0
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 1 + 20_000
    capsys.readouterr()
    assert main("edit runs/faces-1 --attribute smile hair=long --keep brow glasses --count 2".split()) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("2 directions (differences of means, 2 attributes held fixed) in 3 latents")
    assert main("fit --out runs/faces-1 --resume".split()) == 0


def test_factors_are_known_attributes():
    data = datasets.load("faces", count=60)
    known = known_attributes(data, data.train, factors=data.factors.train)
    assert known.names[:5] == NAMES[:5]
    assert {f"hair={word}" for word in HAIR} | {"glasses", "light"} < set(known.names)
    np.testing.assert_array_equal(known.values[:, 0], data.factors.train["smile"])
    hair = known.values[:, known.names.index("hair=long")]
    np.testing.assert_array_equal(hair, data.factors.train["hair"] == 3)
