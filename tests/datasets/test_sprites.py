"""Drawn sprites: the same bytes everywhere, factors that are those of the image, options in words."""

import math
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from pyrovae import datasets
from pyrovae.datasets import causes, drawn
from pyrovae.datasets.catalogue import canonical
from pyrovae.datasets.drawing import Drawing
from pyrovae.datasets.factor_values import Factors
from pyrovae.datasets.strokes import cos_sin
from tests.support.drawn import digest
from tests.support.parts import raises_one_sentence

SHAPES = ("square", "ellipse", "heart")


def moments(image):
    """The mass, and the centre of mass (right, down) in pixels, of an image (H, W)."""
    image = image.double() / 255
    places = torch.arange(len(image), dtype=torch.float64) + 0.5
    mass = image.sum()
    return mass.item(), (image.sum(0) @ places / mass).item(), (image.sum(1) @ places / mass).item()


# -------------------------------------------------------------------- the same bytes


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "6b200da57769e6a9"),
        ({"size": 33, "colour": True, "noise": 0.1, "seed": 7}, "ffa0beaab5ca3886"),
        ({"size": 32, "binary": True, "grid": True}, "eb073af005b89fc9"),
        ({"size": 16, "dependent": [("x", "y", -0.7), ("y", "shape", 0.5)]}, "33b4d1143a0cbb4d"),
    ],
)
def test_the_bytes_are_those_of_every_other_machine(options, expected):
    assert digest(datasets.sprites(300, **options)) == expected


def test_two_threads_draw_what_one_draws():
    options = [{"size": 24, "colour": True, "noise": 0.2}, {"size": 32, "dependent": ("x", "y", 0.5)}]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda some: digest(datasets.sprites(500, **some)), 4 * options))
    assert found == 4 * [digest(datasets.sprites(500, **some)) for some in options]


def test_bytes_do_not_depend_on_pieces_or_the_random_state(monkeypatch):
    before = torch.get_rng_state()
    one = datasets.sprites(100, size=24, colour=True, noise=0.2)
    assert torch.equal(before, torch.get_rng_state())
    monkeypatch.setattr(drawn, "PIECE", 24 * 24 * 7)
    torch.manual_seed(5)
    np.random.seed(5)
    assert digest(datasets.sprites(100, size=24, colour=True, noise=0.2)) == digest(one)


@pytest.mark.parametrize("options", [{}, {"grid": True}, {"noise": 0.1}, {"dependent": ("x", "y", 0.5)}])
def test_a_smaller_set_is_the_start_of_a_larger_one(options):
    few, many = datasets.sprites(10, size=16, **options), datasets.sprites(50, size=16, **options)
    assert torch.equal(few.images, many.images[:10])
    assert torch.equal(few.factors.values, many.first(10).factors.values)


def test_an_option_of_one_factor_changes_no_other():
    plain = datasets.sprites(50, size=16).factors
    other = datasets.sprites(50, size=16, colour=True, dependent=("x", "scale", 0.9)).factors
    for name in ("shape", "rotation", "x", "y"):
        assert torch.equal(plain[name], other[name])
    assert not torch.equal(plain["scale"], other["scale"])
    assert not torch.equal(plain.values, datasets.sprites(50, size=16, seed=1).factors.values)


def test_a_hundred_thousand_images_take_seconds():
    start = time.process_time()
    datasets.sprites(2000)
    assert (time.process_time() - start) * 50 < 20  # it takes about 3 seconds


def test_cosine_and_sine_are_right_to_the_last_digits():
    angle = np.linspace(-20, 20, 10_001)
    cos, sin = cos_sin(angle)
    np.testing.assert_allclose(cos, np.cos(angle), atol=4e-15)
    np.testing.assert_allclose(sin, np.sin(angle), atol=4e-15)


# -------------------------------------------------------------------- factors are those of the images


@pytest.mark.parametrize("shape", SHAPES)
def test_the_centre_of_mass_is_the_place(shape):
    some = datasets.sprites(200, fixed={"shape": shape})
    measured = torch.tensor([moments(image[0])[1:] for image in some.images])
    wanted = 16 + 32 * torch.stack([some.factors["x"], some.factors["y"]], 1)
    assert (measured - wanted).abs().max() < 0.07  # pixels


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mass_is_the_area(shape):
    some = datasets.sprites(200, fixed={"shape": shape})
    mass = torch.tensor([moments(image[0])[0] for image in some.images], dtype=torch.float64)
    radius = 0.22 * 64 * some.factors["scale"]
    heart = 1.05**2 * (1 + math.pi / 4)
    area = {"square": 2.0, "ellipse": 0.6 * math.pi, "heart": heart}[shape] * radius**2
    assert ((mass - area) / area).abs().max() < 0.015


def test_a_square_that_is_not_turned_is_covered_exactly():
    some = datasets.sprites(100, fixed={"shape": "square", "rotation": 0})
    mass = some.images.double().sum((1, 2, 3)) / 255
    side = 2 * 0.22 * 64 * some.factors["scale"] / math.sqrt(2)
    assert (mass - side**2).abs().max() < 0.4  # 8 bits of the pixels on its sides


def test_a_rotation_is_anticlockwise():
    some = datasets.sprites(300, fixed={"shape": "ellipse", "x": 0.5, "y": 0.5, "scale": 1})
    places = torch.arange(64, dtype=torch.float64) - 31.5
    up, right = torch.meshgrid(-places, places, indexing="ij")
    weights = some.images[:, 0].double()
    xx, yy, xy = ((weights * part).sum((1, 2)) for part in (right**2, up**2, right * up))
    angle = torch.atan2(2 * xy, xx - yy) / 2
    apart = (angle - some.factors["rotation"]) % math.pi
    assert torch.minimum(apart, math.pi - apart).max() < 0.01


@pytest.mark.parametrize(("shape", "turn"), [("square", 4), ("ellipse", 2), ("heart", 1)])
def test_shapes_have_their_symmetry_and_no_other(shape, turn):
    fixed = {"shape": shape, "scale": 1, "x": 0.5, "y": 0.5}
    some = datasets.sprites(grid=[4], fixed=fixed)
    images = dict(zip(some.factors["rotation"].tolist(), some.images.int(), strict=True))
    quarters = [images[k] for k in sorted(images)]
    same = [k for k in range(4) if (quarters[k] - quarters[0]).abs().max() <= 1]
    assert same == list(range(0, 4, 4 // turn))


def test_the_whole_sprite_is_inside_at_every_size():
    for size in (31, 64, 100):
        some = datasets.sprites(300, size=size, fixed={"scale": 1})
        border = torch.cat([some.images[..., [0, -1], :].flatten(1), some.images[..., [0, -1]].flatten(1)], 1)
        assert border.max() == 0
        assert (some.images.amax((1, 2, 3)) > 200).all()


def test_binary_pixels_are_covered_by_half_or_more():
    grey, binary = datasets.sprites(50), datasets.sprites(50, binary=True)
    inside, outside = grey.images > 128, grey.images < 127
    assert binary.images.unique().tolist() == [0, 1]
    assert bool(binary.images[inside].all())
    assert not bool(binary.images[outside].any())


def test_a_colour_is_the_hue():
    some = datasets.sprites(300, colour=True, fixed={"scale": 1})
    red, green, blue = some.images.amax((2, 3)).double().T / 255
    share = some.factors["hue"] / (2 * math.pi)
    for k, channel in enumerate((red, green, blue)):
        apart = (share - k / 3).abs()
        wanted = (2 - 6 * torch.minimum(apart, 1 - apart)).clamp(0, 1)
        assert (channel - wanted).abs().max() < 0.003
    assert some.factors.kinds[-1] == "angle"


def test_noise_has_its_standard_deviation_and_leaves_the_factors():
    plain, noisy = datasets.sprites(200, size=32), datasets.sprites(200, size=32, noise=0.05)
    assert torch.equal(plain.factors.values, noisy.factors.values)
    middle = (plain.images > 60) & (plain.images < 195)
    offset = noisy.images[middle].double() - plain.images[middle].double()
    assert abs(offset.std().item() / 255 - 0.05) < 0.002
    assert abs(offset.mean().item()) < 1
    again = datasets.sprites(200, size=32, noise=0.05, seed=1)
    assert not torch.equal(noisy.images, again.images)


# -------------------------------------------------------------------- samples and grids


def test_samples_are_uniform_and_independent():
    factors = datasets.sprites(20_000, size=8).factors
    assert factors.kinds == ("categorical", "continuous", "angle", "continuous", "continuous")
    assert (factors["shape"].long().bincount() / 20_000 - 1 / 3).abs().max() < 0.02
    shares = factors.scaled()[:, 1:]
    assert (shares.mean(0) - 0.5).abs().max() < 0.01
    assert (shares.var(0) - 1 / 12).abs().max() < 0.003
    assert (torch.corrcoef(factors.scaled().T) - torch.eye(5)).abs().max() < 0.04


def test_a_small_grid_is_drawn_whole_and_once():
    some = datasets.sprites(grid=[2, 3, 4, 5], size=8)
    assert len(some) == 3 * 2 * 3 * 4 * 5 == len(some.factors.values.unique(dim=0))
    assert some.factors.kinds == ("categorical", "ordinal", "angle", "ordinal", "ordinal")
    assert some.factors.domains[1] == (0.5, 1)
    assert some.factors["rotation"].unique().tolist() == pytest.approx([0, 2 * math.pi / 3, 4 * math.pi / 3])
    classes = some.factors.classes(bins=3)
    assert classes.max(0).values.tolist() == [2, 1, 2, 3, 4]


def test_the_grid_of_dsprites_is_sampled_without_repetition():
    some = datasets.sprites(2000, grid=True, size=8)
    assert len(some.factors.values.unique(dim=0)) == 2000
    assert [len(some.factors[name].unique()) for name in some.factors.names] == [3, 6, 40, 32, 32]


@pytest.mark.parametrize("correlation", [0.9, 0.3, -0.6])
def test_dependent_factors_have_the_correlation_and_stay_uniform(correlation):
    some = datasets.sprites(20_000, size=8, dependent=("x", "y", correlation)).factors
    pair = torch.stack([some["x"], some["y"]])
    assert abs(torch.corrcoef(pair)[0, 1] - correlation) < 0.02
    counts = torch.histc(some["y"], 10, 0, 1)
    assert (counts / 2000 - 1).abs().max() < 0.1


def test_extreme_correlations_are_functions():
    for correlation, other in ((1, lambda u: u), (-1, lambda u: 1 - u)):
        some = datasets.sprites(100, size=8, dependent=("x", "y", correlation)).factors
        torch.testing.assert_close(some["y"], other(some["x"]))


def test_a_shape_may_depend_on_a_colour():
    some = datasets.sprites(20_000, size=8, colour=True, dependent=("hue", "shape", 0.95)).factors
    third = (some["hue"] / (2 * math.pi) * 3).floor()
    assert (third == some["shape"]).double().mean() > 0.8


def test_dependent_factors_on_a_grid_stay_on_it():
    some = datasets.sprites(5000, size=8, grid=[2, 3, 4, 4], dependent=("x", "y", 0.9)).factors
    assert some["y"].unique().tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert torch.corrcoef(torch.stack([some["x"], some["y"]]))[0, 1] > 0.8


def test_a_fixed_factor_is_left_out():
    some = datasets.sprites(20, size=16, fixed={"shape": "heart", "scale": 1.0})
    assert some.factors.names == ("rotation", "x", "y")
    assert some.class_names is None
    assert str(some.title) == "sprites size 16, fixed shape heart, fixed scale 1.0"


# -------------------------------------------------------------------- loading


def test_loaded_parts_have_their_own_factors():
    data, every = datasets.load("sprites size 16", count=300), datasets.sprites(300, size=16)
    for part in ("train", "validation", "test"):
        rows, factors = getattr(data, part), getattr(data.factors, part)
        assert torch.equal(factors.values, every.factors.values[rows.index])
        torch.testing.assert_close(rows.x, every.images[rows.index] / 255)
        assert torch.equal(getattr(data.labels, part), factors["shape"].long())
    assert data.schema.class_names == SHAPES
    assert "factors: shape, scale, rotation, x, y" in repr(data)
    assert "rotation (angle)" in datasets.describe(data)


def test_the_default_has_20_000_rows():
    assert len(datasets.sprites(size=8)) == 20_000


@pytest.mark.parametrize(
    "name", ["sprites", "Sprites: size 16, noise .1, seed 3", "sprites size 16, colour, grid 2 3 4 5 6"]
)
def test_a_declaration_gives_the_same_data_again(name):
    data = datasets.load(name, count=60, split_seed=1)
    declared = dict(data.declaration)
    assert declared["data"] == data.name == canonical(name)
    again = datasets.load(declared.pop("data"), **declared)
    assert torch.equal(data.train.x, again.train.x)
    assert data.record == again.record
    assert torch.equal(data.factors.test.values, again.factors.test.values)


def test_sprites_in_memory_are_declared_by_their_options():
    data = datasets.load(datasets.sprites(60, size=16, fixed={"rotation": 0}))
    assert data.declaration["data"] == "sprites size 16, fixed rotation 0.0"
    named = datasets.load(data.declaration["data"], count=data.declaration["count"])
    assert torch.equal(data.train.x, named.train.x)
    few = datasets.load(datasets.sprites(60, size=16), count=40)
    assert torch.equal(few.train.x, datasets.load("sprites size 16", count=40).train.x)


def test_binary_sprites_are_zeros_and_ones():
    data = datasets.load("sprites binary, size 16", count=30)
    assert data.train.x.unique().tolist() == [0, 1]
    assert data.levels is None


def test_a_stream_has_factors():
    some = datasets.sprites(60, size=16)
    streamed, whole = datasets.load(some, stream=True), datasets.load(some)
    assert streamed.streams
    assert torch.equal(streamed.factors.train.values, whole.factors.train.values)
    assert torch.equal(streamed.labels.test, whole.labels.test)
    torch.testing.assert_close(streamed.train[3], whole.train.x[3])
    assert datasets.load("sprites size 16", count=60, stream=True).streams


@pytest.mark.parametrize("stream", [False, True])
def test_a_data_set_of_torch_may_bring_factors(stream):
    dataset = TensorDataset(torch.rand(30, 2))
    dataset.factors = Factors(dataset.tensors[0][:, :1], ["first"], ["continuous"])
    data = datasets.load(dataset, stream=stream)
    torch.testing.assert_close(data.factors.test["first"].float(), data.test.x[:, 0])
    dataset.factors = dataset.factors.take([0, 1])
    raises_one_sentence(lambda: datasets.load(dataset, stream=stream), "30 rows", "2")


# -------------------------------------------------------------------- options


def test_words_are_read_and_written():
    words = "size 32, noise 0.1, grid 4 8 10 10, dependent x y 0.8, fixed shape heart, seed 3"
    assert str(Drawing.of(words)) == words
    assert str(Drawing.of("binary,grid")) == "binary, grid"
    unquoted = "sprites:size=32,noise=.1,grid=4/8/10/10,dependent=x/y/.8,fixed=shape/heart,seed=3"
    assert canonical(unquoted) == f"sprites {words}"
    assert Drawing.of("dependent x y 1, dependent y scale -.5").dependent == (
        ("x", "y", 1.0),
        ("y", "scale", -0.5),
    )
    assert canonical("SPRITES, size 64") == "sprites"
    assert canonical("sprites.csv") is canonical("sprites/a.npy") is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sprites sise 32", ["did you mean size"]),
        ("sprites size", ["size takes one number"]),
        ("sprites size big", ["takes numbers", "'big'"]),
        ("sprites size 4", ["from 8 to 1024"]),
        ("sprites size 16, size 32", ["given twice"]),
        ("sprites binary yes", ["takes no value"]),
        ("sprites binary, noise .1", ["no noise"]),
        ("sprites binary, colour", ["no colour"]),
        ("sprites noise 2", ["noise"]),
        ("sprites grid 3", ["scale, rotation, x, y"]),
        ("sprites grid 1 2 3 4", ["from 2"]),
        ("sprites grid 1000 1000 1000 1000", ["cells", "fewer values"]),
        ("sprites dependent x y", ["two factors and a correlation"]),
        ("sprites dependent x y 2", ["correlation"]),
        ("sprites dependent x x 1", ["twice"]),
        ("sprites dependent x z 1", ["no factor 'z'", "shape, scale"]),
        ("sprites dependent x y 1, dependent scale x 1", ["x is named before"]),
        ("sprites dependent x y .5, dependent scale y .5", ["y is named before"]),
        ("sprites fixed x", ["fixed takes a factor and its value"]),
        ("sprites fixed z 1", ["no factor 'z'"]),
        ("sprites fixed x 3", ["from 0 to 1"]),
        ("sprites fixed shape star", ["square, ellipse, heart"]),
        ("sprites fixed shape 1.5", ["square, ellipse, heart"]),
        ("sprites fixed x 0, dependent x y 1", ["one is fixed"]),
        (
            "sprites fixed shape heart, fixed scale 1, fixed rotation 0, fixed x 0, fixed y 0",
            ["leave one free"],
        ),
        ("sprites seed -1", ["seed"]),
    ],
)
def test_faults_are_refused_in_one_sentence(name, words):
    raises_one_sentence(lambda: datasets.load(name, count=10), *words)


def test_numbers_of_rows_that_cannot_be_are_refused():
    raises_one_sentence(lambda: datasets.load("sprites", count=10**10), "10,000,000,000 drawn images")
    raises_one_sentence(lambda: datasets.sprites(2), "count")
    raises_one_sentence(
        lambda: datasets.sprites(100, grid=[2, 2, 2, 2], fixed={"shape": "heart"}), "16 cells"
    )
    raises_one_sentence(lambda: datasets.load(datasets.sprites(5, size=8), count=6), "5 images")
    raises_one_sentence(lambda: datasets.load("sprites", drop="x"), "not a table")


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_drawn(monkeypatch):
    monkeypatch.setattr("pyrovae.memory.available", lambda: 10 * 2**30)
    words = "20,000 drawn images of 1024 x 1024", "58.6 GiB", "10.0 GiB free"
    raises_one_sentence(lambda: datasets.load("sprites size 1024, colour"), *words)


def test_a_folder_of_this_name_is_read_as_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces of people").mkdir()
    assert canonical("faces of people") is None
    raises_one_sentence(lambda: canonical("faces of animals"), "no option 'of'")


def test_a_width_gives_its_correlation():
    for correlation in (0.0, 0.25, 0.9, 1.0):
        s = causes._width(correlation)
        assert 1 - 2 * s**2 + s**3 == pytest.approx(correlation, abs=1e-12)


# -------------------------------------------------------------------- dSprites


@pytest.fixture
def dsprites(tmp_path):
    """A file with the layout of dSprites and 240 images."""
    grids = [[1], [1, 2, 3], [0.5, 1.0], np.linspace(0, 2 * np.pi, 4), np.linspace(0, 1, 5), [0.0, 1.0]]
    values = np.stack([part.ravel() for part in np.meshgrid(*grids, indexing="ij")], 1)
    images = np.random.RandomState(0).randint(0, 2, (len(values), 64, 64)).astype(np.uint8)
    meta = np.array({"title": "dSprites"}, dtype=object)
    path = tmp_path / "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
    np.savez_compressed(path, metadata=meta, imgs=images, latents_values=values, latents_classes=values)
    return path, images, values


def test_the_file_of_dsprites_is_read_with_its_factors(dsprites):
    path, images, values = dsprites
    data = datasets.load(path)
    train = data.factors.train
    assert train.names == ("shape", "scale", "rotation", "x", "y")
    assert train.kinds == ("categorical", "ordinal", "angle", "ordinal", "ordinal")
    assert train.domains[3] == (0, 0.25, 0.5, 0.75, 1)
    index = data.train.index.numpy()
    assert np.array_equal(data.train.x[:, 0].numpy(), images[index])
    assert np.array_equal(train.values.numpy(), values[index, 1:] - [1, 0, 0, 0, 0])
    assert data.schema.class_names == SHAPES
    assert data.train.x.unique().tolist() == [0, 1]


def test_some_of_dsprites_are_chosen_at_random(dsprites, monkeypatch):
    path, images, _ = dsprites
    monkeypatch.setattr("pyrovae.datasets.readers.dsprites.PIECE", 64 * 64 * 7)
    data = datasets.load(path, count=60)
    assert sum(data.record["rows"].values()) == 60
    assert "60 of 240 images" in datasets.describe(data)
    every = {image.tobytes() for image in images}
    assert all(image.astype(np.uint8).tobytes() in every for image in data.test.x[:, 0].numpy())
    assert len(data.factors.train["shape"].unique()) == 3
    assert torch.equal(data.train.x, datasets.load(path, count=60).train.x)
    raises_one_sentence(lambda: datasets.load(path, count=241), "240")


def test_a_broken_file_of_dsprites_is_refused(dsprites, tmp_path):
    path, images, values = dsprites
    np.savez(tmp_path / "short.npz", imgs=images[:, :, :, None], latents_values=values)
    raises_one_sentence(lambda: datasets.load(tmp_path / "short.npz"), "dSprites")
    np.savez(tmp_path / "factors.npz", imgs=images, latents_values=values[:, :3])
    raises_one_sentence(lambda: datasets.load(tmp_path / "factors.npz"), "(N, 6)")
    data = path.read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    raises_one_sentence(lambda: datasets.load(tmp_path / "cut.npz"))
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "few.npz", "w") as few:
        few.writestr("latents_values.npy", archive.read("latents_values.npy"))
        few.writestr("imgs.npy", archive.read("imgs.npy")[:-5000])
    raises_one_sentence(lambda: datasets.load(tmp_path / "few.npz"), "cut off")
