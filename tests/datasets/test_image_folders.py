"""Folders of images: the split of their subfolders, hidden files, masks, 16 bits, sizes; arrays of images."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from pyrovae import datasets
from tests.support.parts import raises_one_sentence


def image(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def shades(folder, values, size=(4, 4), dtype=np.uint8):
    for value in values:
        image(folder / f"{value:05d}.png", np.full(size, value, dtype=dtype))


def values(rows):
    return sorted((rows.x[:, 0, 0, 0] * 255).round().int().tolist())


def test_folders_of_training_and_test_images_are_the_split(tmp_path):
    for part, start in (("train", 0), ("Valid", 100), ("test", 200)):
        shades(tmp_path / part / "cat", range(start, start + 4))
        shades(tmp_path / part / "dog", range(start + 10, start + 14))
    data = datasets.load(tmp_path)
    cats_and_dogs = [0, 1, 2, 3, 10, 11, 12, 13]
    assert values(data.train) == cats_and_dogs
    assert values(data.validation) == [100 + v for v in cats_and_dogs]
    assert values(data.test) == [200 + v for v in cats_and_dogs]
    for part in ("train", "validation", "test"):
        shade = (getattr(data, part).x[:, 0, 0, 0] * 255).round().int()
        assert torch.equal(getattr(data.labels, part), (shade % 100 >= 10).long())
    assert data.schema.class_names == ("cat", "dog")
    assert "the split is that of the folders Valid, test, train" in datasets.describe(data)
    few = datasets.load(tmp_path, validation=2, test=3)
    assert (len(few.train), len(few.validation), len(few.test)) == (8, 2, 3)


def test_a_part_without_a_folder_is_taken_from_the_training_images(tmp_path):
    shades(tmp_path / "train", range(20))
    shades(tmp_path / "test", range(200, 204))
    data = datasets.load(tmp_path)
    assert values(data.test) == [200, 201, 202, 203]
    assert sorted(values(data.train) + values(data.validation)) == list(range(20))
    assert data.labels is None
    assert len(data.validation) == 2
    assert len(datasets.load(tmp_path, count=12).train) < 12
    shades(tmp_path / "others", range(50, 53))
    raises_one_sentence(lambda: datasets.load(tmp_path), "others next to its folders", "move every image")


def test_classes_called_test_alone_are_classes(tmp_path):
    shades(tmp_path / "test", range(4))
    shades(tmp_path / "cat", range(4))
    assert datasets.load(tmp_path).schema.class_names == ("cat", "test")


def test_files_of_the_system_are_skipped(tmp_path):
    shades(tmp_path, range(6))
    for name in ("._1.png", ".DS_Store", "Thumbs.db", ".hidden/2.png", "__MACOSX/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\1")
    assert sum(datasets.load(tmp_path).record["rows"].values()) == 6


def test_masks_of_0_and_1_keep_their_values(tmp_path):
    for i in range(6):
        image(tmp_path / f"{i}.png", np.eye(4, k=i % 2, dtype=np.uint8))
    for options in ({}, {"binarize": "threshold"}):
        data = datasets.load(tmp_path, **options)
        assert data.train.x.unique().tolist() == [0.0, 1.0]
        assert data.levels is None
    assert "masks: pixels are 0 and 1" in datasets.describe(data)


def test_16_bit_images_have_65536_levels(tmp_path):
    shades(tmp_path, [0, 1, 1000, 30_000, 65_535, 7], dtype=np.uint16)
    data = datasets.load(tmp_path)
    assert data.levels == 65_536
    x = torch.cat([data.train.x, data.validation.x, data.test.x])[:, 0, 0, 0].double() * 65_535
    assert sorted(x.round().int().tolist()) == [0, 1, 7, 1000, 30_000, 65_535]
    assert datasets.load(tmp_path, resize=2).event_shape == (1, 2, 2)


def test_sizes_are_made_the_same_when_asked(tmp_path):
    shades(tmp_path, range(0, 30, 5), size=(6, 8))
    shades(tmp_path, range(100, 130, 5), size=(12, 4))
    raises_one_sentence(lambda: datasets.load(tmp_path), "8x6 L", "4x12 L", "resize=32")
    data = datasets.load(tmp_path, resize=5)
    assert data.event_shape == (1, 5, 5)
    assert sorted(v for part in (data.train, data.validation, data.test) for v in values(part)) == [
        *range(0, 30, 5),
        *range(100, 130, 5),
    ]
    assert data.declaration["resize"] == 5
    raises_one_sentence(lambda: datasets.load("ring", resize=5), "resize", "ring is neither")
    raises_one_sentence(lambda: datasets.load(tmp_path, drop="a"), "drop describes", "not a table")


def test_resizing_averages(tmp_path):
    """A checkerboard of single pixels is grey when it is made smaller, not black or white."""
    board = (np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)
    for i in range(3):
        image(tmp_path / f"{i}.png", board)
    x = datasets.load(tmp_path, resize=8).train.x
    assert (x - 0.5).abs().max() < 0.05


def test_bombs_and_strange_formats_are_refused(tmp_path, monkeypatch):
    shades(tmp_path, range(3))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raises_one_sentence(lambda: datasets.load(tmp_path), "more than 10 pixels", "smaller image")
    monkeypatch.undo()
    monkeypatch.setattr("subprocess.check_call", lambda *args, **options: pytest.fail("Ghostscript started"))
    for other in ("tga", "eps"):  # what is not among the formats is not opened, PostScript least of all
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"3.{other}")
        (tmp_path / f"3.{other}").rename(tmp_path / "00001.png")
        raises_one_sentence(lambda: datasets.load(tmp_path), "00001.png cannot be read as an image")


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_come_first(tmp_path, channels):
    x = np.random.default_rng(0).integers(0, 256, (12, 8, 8, channels), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", data=x)
    for name in ("x.npy", "x.npz"):
        data = datasets.load(tmp_path / name, split_seed=1)
        assert data.event_shape == (channels, 8, 8)
        wanted = torch.from_numpy(x)[data.test.index].permute(0, 3, 1, 2) / 255
        torch.testing.assert_close(data.test.x, wanted.float())
        assert "channels last, read with channels first" in datasets.describe(data)
    np.save(tmp_path / "y.npy", x.astype(np.float32))  # numbers are no images without doubt
    assert datasets.load(tmp_path / "y.npy").event_shape == (8, 8, channels)


def test_npz_of_other_names_and_with_names_of_classes(tmp_path):
    x, words = np.random.default_rng(0).normal(size=(30, 2)), np.array(["dog", "cat", "cat"] * 10)
    for rows, labels in (("X", "y"), ("data", "target"), ("x", "labels")):
        np.savez(tmp_path / "a.npz", **{rows: x, labels: words})
        data = datasets.load(tmp_path / "a.npz")
        assert data.schema.class_names == ("cat", "dog")
        assert data.labels.test.tolist() == [int(words[i] == "dog") for i in data.test.index]
    parts = {"X_train": x, "X_test": x[:6], "y_train": words, "y_test": words[:6]}
    np.savez(tmp_path / "b.npz", **parts)
    assert datasets.load(tmp_path / "b.npz").labels.test.tolist() == [1, 0, 0, 1, 0, 0]


def test_sparse_matrices_are_read_with_their_zeros(tmp_path):
    from scipy import sparse

    x = np.where(np.random.default_rng(0).random((30, 5)) < 0.7, 0, np.arange(150).reshape(30, 5))
    for kind in (sparse.csr_matrix, sparse.coo_matrix, sparse.csc_array):
        sparse.save_npz(tmp_path / "s.npz", kind(x))
        data = datasets.load(tmp_path / "s.npz")
        assert torch.equal(data.test.x, torch.from_numpy(x).float()[data.test.index])
