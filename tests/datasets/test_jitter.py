"""Jitter: shifts, rotations, elastic deformation and noise of training images, again every epoch."""

import math

import pytest
import torch

from pyrovae import datasets
from pyrovae.datasets.jitter import Jitter
from pyrovae.datasets.preparation import generator_of
from tests.support.parts import raises_one_sentence

EVERYTHING = "shift 2, rotate 10, elastic 1, noise .05"


@pytest.fixture
def images():
    """80 grey images of 12 x 12 with 256 levels."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(80, 1, 4, 4, generator=draw)
    smooth = torch.nn.functional.interpolate(coarse, (12, 12), mode="bilinear")
    return (smooth * 255).to(torch.uint8)


def jittered(x, words, seed=0):
    return Jitter.of(words).apply(x, generator_of("any", seed))


def test_an_epoch_is_a_function_of_its_seed_and_number(images):
    data = datasets.load(images, jitter=EVERYTHING)
    first = data.epoch(1, 5).x
    assert torch.equal(first, datasets.load(images, jitter=EVERYTHING).epoch(1, 5).x)
    assert not torch.equal(first, data.epoch(2, 5).x)
    assert not torch.equal(first, data.epoch(1, 6).x)


def test_only_training_images_change(images):
    data, plain = datasets.load(images, jitter=EVERYTHING), datasets.load(images)
    for part in ("validation", "test"):
        assert torch.equal(getattr(data, part).x, getattr(plain, part).x)
    assert torch.equal(data.train.x, plain.train.x)  # before an epoch
    assert data.record["fingerprint"] == plain.record["fingerprint"]
    state = torch.get_rng_state()
    data.epoch(0, 0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "options", [{}, {"binarize": "dynamic"}, {"binarize": "threshold"}, {"dequantize": True}]
)
def test_training_rows_to_evaluate_have_none(images, options):
    data, plain = datasets.load(images, jitter=EVERYTHING, **options), datasets.load(images, **options)
    assert torch.equal(data.without_jitter(3).x, plain.epoch(0, 3).x)
    assert torch.equal(data.without_jitter().x, plain.epoch(0, 0).x)
    context = (
        datasets.load(images, jitter=EVERYTHING, context="noisy .1", **options).without_jitter(3).context
    )
    assert torch.equal(context, datasets.load(images, context="noisy .1", **options).epoch(0, 3).context)


def test_it_is_recorded(images):
    data = datasets.load(images, jitter={"noise": 0.05, "shift": 2})
    assert data.declaration["jitter"] == "shift 2, noise 0.05"
    assert "changed every epoch (shift 2, noise 0.05)" in data.record["preparation"]
    assert "shift 2, noise 0.05" in repr(data)
    assert datasets.load(images).declaration["jitter"] is None
    for words in ("noise=.05 shift=2", ["noise", ".05,", "shift", "2"], ["noise .05", "shift 2"]):
        assert datasets.load(images, jitter=words).declaration["jitter"] == "shift 2, noise 0.05"
    again = datasets.load(images, jitter=data.declaration["jitter"])
    assert torch.equal(again.epoch(0, 0).x, data.epoch(0, 0).x)


@pytest.mark.parametrize("size", [1 / 3, 0.1 + 0.2, 1e-7, 12345678.5, 10.0, 5e-324])
def test_words_restore_the_same_sizes(size):
    jitter = Jitter(2, rotate=size, noise=size)
    assert Jitter.of(str(jitter)) == jitter


def test_shifts_are_whole_pixels_each_with_the_same_probability():
    count, x = 20_000, torch.zeros(20_000, 9, 9)
    x[:, 4, 4] = 1.0
    moved = jittered(x, "shift 2")
    assert set(moved.flatten(1).sum(1).round(decimals=4).tolist()) == {1.0}
    places = moved.flatten(1).argmax(1)
    down, right = places // 9 - 4, places % 9 - 4
    counts = torch.stack([down + 2, right + 2]).mul(torch.tensor([[5], [1]])).sum(0).bincount()
    assert counts.shape == (25,)
    assert (counts / count - 1 / 25).abs().max() < 5 * (1 / 25 / count) ** 0.5
    # Beyond the border the border goes on.
    edge = torch.zeros(200, 5, 5)
    edge[:, :, 0] = 1.0
    assert set(jittered(edge, "shift 2").sum((1, 2)).round(decimals=3).tolist()) == {0.0, 5.0, 10.0, 15.0}


def test_rotations_are_uniform_between_the_angles():
    """A ramp that grows to the right grows along the angle afterwards."""
    H = 21
    ramp = torch.linspace(0, 1, H).expand(4000, H, H).contiguous()
    moved = jittered(ramp, "rotate 10")
    centre = H // 2
    right = moved[:, centre, centre + 2] - moved[:, centre, centre - 2]
    down = moved[:, centre + 2, centre] - moved[:, centre - 2, centre]
    degrees = torch.rad2deg(torch.atan2(down, right))
    assert 9.9 < degrees.max() < 10.01
    assert -10.01 < degrees.min() < -9.9
    assert abs(degrees.mean()) < 5 * 10 / 3**0.5 / 4000**0.5
    assert abs(degrees.std() - 10 / 3**0.5) < 0.3
    # The centre does not move.
    torch.testing.assert_close(moved[:, centre, centre], ramp[:, centre, centre], atol=1e-5, rtol=0)


def test_elastic_moves_are_smooth_with_the_given_size():
    """The value of a ramp says from where a pixel was read."""
    H = 25
    ramp = torch.linspace(0, 1, H).expand(3000, H, H).contiguous()
    moved = (jittered(ramp, "elastic 1") - ramp) * (H - 1)
    node = moved[:, 12, 12]  # the middle node of five
    assert abs(float(node.std()) - 1) < 0.06
    assert abs(float(node.mean())) < 5 / 3000**0.5
    inner = moved[:, 6:19, 6:19]
    assert (inner[:, :, 1:] - inner[:, :, :-1]).abs().mean() < 0.25  # neighbours move together


def test_noise_has_its_standard_deviation_and_stays_in_the_range():
    x = torch.full((500, 6, 6), 0.5)
    x[0, 0, 0], x[0, 0, 1] = 0.0, 1.0
    noisy = jittered(x, "noise .05")
    assert abs(float((noisy - x)[1:].std()) - 0.05) < 0.001
    strong = jittered(x, "noise 3")
    assert (float(strong.min()), float(strong.max())) == (0.0, 1.0)
    real = torch.randn(100, 6, 6) * 10
    moved = jittered(real, EVERYTHING)
    assert real.min() <= moved.min()
    assert moved.max() <= real.max()


def test_all_channels_move_together():
    grey = torch.rand(20, 1, 8, 8)
    colour = jittered(grey.expand(20, 3, 8, 8).contiguous(), "shift 1, rotate 20, elastic 1")
    assert torch.equal(colour[:, 0], colour[:, 2])
    assert not torch.equal(colour[:, :1], grey)


def test_large_sets_are_changed_in_pieces(monkeypatch):
    x = torch.rand(10, 8, 8)
    whole = jittered(x, "shift 1")
    monkeypatch.setattr("pyrovae.datasets.jitter.PIECE", 200)  # three images
    pieces = jittered(x, "shift 1")
    assert pieces.shape == whole.shape
    assert torch.equal(pieces[:3], jittered(x[:3], "shift 1"))


@pytest.mark.parametrize("options", [{}, {"dequantize": True}])
def test_integer_levels_stay_levels(options):
    data = datasets.load("digits", jitter="shift 1, rotate 20, noise .1", **options)
    x = data.epoch(0, 0).x
    levels = x * 17 if options else x * 16
    if options:
        assert ((levels >= 0) & (levels < 17)).all()
        levels = levels.floor()
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert len(levels.round().unique()) == 17


@pytest.mark.parametrize("binarize", ["dynamic", "threshold"])
def test_binarisation_comes_afterwards(binarize):
    data = datasets.load("digits", binarize=binarize, jitter="shift 1")
    first, second = data.epoch(0, 0).x, data.epoch(1, 0).x
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(first, second)
    if binarize == "threshold":
        grey = Jitter.of("shift 1").apply(data.train.x, generator_of("jitter", 0, 0))
        assert torch.equal(first, (grey >= 0.5).float())


def test_copies_of_labelled_rows_have_a_jitter_each():
    data = datasets.load("digits", known=20, copies=3, jitter="noise .2", count=200)
    x, y = data.epoch(0, 0).x, data.train.y
    first = int((y >= 0).nonzero()[0])
    same = (data.train.x[first] == data.train.x).flatten(1).all(1).nonzero().squeeze(1)
    assert len(same) == 3
    assert len(x[same].unique(dim=0)) == 3


@pytest.mark.parametrize(
    ("jitter", "reason"),
    [
        ("shfit 2", "did you mean shift?"),
        ("shift", "cannot read 'shift'"),
        ("shift 1 2", "cannot read 'shift 1 2'"),
        ("shift 1; rotate 2", "cannot read"),
        ("shift two", "cannot read"),
        ("shift 2, shift 3", "twice"),
        ("shift 1.5", "whole number"),
        ("shift -1", "the shift of jitter"),
        ("rotate -5", "rotate of jitter"),
        ("rotate nan", "cannot read"),
        ("rotate 1e999", "rotate of jitter"),
        ("shift 1e999", "the shift of jitter"),
        ("shift 0", "changes nothing"),
        ("", "cannot read"),
        (3, "must be words"),
        ({"blur": 1}, "jitter has no 'blur'"),
        ({"rotate": math.inf}, "rotate of jitter"),
    ],
)
def test_words_that_cannot_be_used(jitter, reason):
    raises_one_sentence(lambda: datasets.load("digits", jitter=jitter), reason)


def test_data_that_cannot_be_used(images):
    raises_one_sentence(
        lambda: datasets.load("ring", jitter="shift 1"), "pixels of images", "leave jitter out"
    )
    table = {"a": list(range(30)), "b": [0.5 * i for i in range(30)]}
    raises_one_sentence(lambda: datasets.load(table, jitter="noise 1"), "pixels of images")
    raises_one_sentence(
        lambda: datasets.load(images, binarize="static", jitter="shift 1"), "'dynamic' or 'threshold'"
    )
    raises_one_sentence(
        lambda: datasets.load((images > 127).float(), jitter="shift 1"), "binary", "binarize='dynamic'"
    )
    missing = torch.rand(30, 4, 4)
    missing[0, 0, 0] = torch.nan
    raises_one_sentence(lambda: datasets.load(missing, jitter="shift 1"), "missing entries")
