"""Data sets: what is split, what is drawn, what is read back, what is refused."""

import math
import re
import urllib.error

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from pyrovae import datasets
from pyrovae.datasets import archive, toys
from pyrovae.datasets.preparation import Preparation, generator_of
from pyrovae.datasets.split import parts
from pyrovae.errors import InputError
from tests.support.image_sets import fake_cifar, fake_mnist


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """No test sees the user's folders or a network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PYROVAE_DATA", raising=False)

    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)


@pytest.fixture
def random_state():
    """Fails the test when the global random state was touched."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state())


def rows(count=60, *event, seed=0):
    return np.random.default_rng(seed).random((count, *event)).astype(np.float32)


def everything(data):
    """The x of all rows: training, validation, test."""
    return torch.cat([data.train.x, data.validation.x, data.test.x])


def same_rows(one, two):
    """Whether two rows hold the same tensors, or none, in each part."""
    pairs = zip(vars(one).values(), vars(two).values(), strict=True)
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


def refused(*args, match, **kwargs):
    """`load` refuses with one sentence that matches."""
    with pytest.raises(InputError, match=match) as caught:
        datasets.load(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert not re.search(r"[.!?] +[A-Z]", message), message
    assert not message.endswith(".")
    return message


# --- the split ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 4, 10, 97, 1797])
@pytest.mark.parametrize("seed", [0, 1])
def test_parts_are_disjoint_and_complete(count, seed):
    cut = parts(count, seed=seed)
    assert sorted(torch.cat(cut).tolist()) == list(range(count))
    assert len(cut.validation) == math.ceil(count / 10)
    assert len(cut.test) == math.ceil(count / 5)


def test_split_is_a_function_of_its_seed(random_state):
    x = np.arange(50, dtype=np.float32)
    one, again, other = (datasets.load(x, split_seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.train.x, again.train.x)
    assert not torch.equal(one.train.x, other.train.x)
    together = everything(one).flatten()
    assert torch.equal(together.sort().values, torch.from_numpy(x))
    index = torch.cat([part.index for part in (one.train, one.validation, one.test)])
    assert torch.equal(together, torch.from_numpy(x)[index])


def test_sizes_in_rows_and_shares():
    data = datasets.load(rows(100, 2), validation=7, test=0.07)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [86, 7, 7]
    data = datasets.load(rows(100, 2), count=20)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [14, 2, 4]


def test_labels_and_context_follow_their_rows():
    data = datasets.load("digits", context="labels")
    from sklearn.datasets import load_digits

    found = load_digits()
    lookup = {image.tobytes(): int(k) for image, k in zip(found.images / 16, found.target, strict=True)}
    for part in ("train", "validation", "test"):
        rows, classes = (getattr(holder, part) for holder in (data, data.labels))
        assert [lookup[row.double().numpy()[0].tobytes()] for row in rows.x] == classes.tolist()
        assert found.target[rows.index].tolist() == classes.tolist()
        assert torch.equal(rows.context, torch.nn.functional.one_hot(classes, 10).float())
        assert rows.y is None


def test_digits_are_scaled_and_counted():
    data = datasets.load("digits")
    assert data.event_shape == (1, 8, 8)
    assert (len(data.train), len(data.validation), len(data.test)) == (1257, 180, 360)
    assert data.levels == 17
    assert data.train.x.dtype == torch.float32
    assert (data.train.x * 16).unique().tolist() == list(range(17))


# --- preparation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [{"binarize": "dynamic"}, {"dequantize": True}])
def test_epochs_are_pure_functions_of_seed_and_number(kind, random_state):
    data = datasets.load("digits", **kind)
    before = data.validation.x.clone(), data.test.x.clone()
    first = data.epoch(0, 5)
    assert torch.equal(first.x, datasets.load("digits", **kind).epoch(0, 5).x)
    assert not torch.equal(first.x, data.epoch(1, 5).x)
    assert not torch.equal(first.x, data.epoch(0, 6).x)
    assert torch.equal(first.index, data.train.index)
    again = datasets.load("digits", **kind)
    for old, now, fresh in zip(
        before, (data.validation, data.test), (again.validation, again.test), strict=True
    ):
        assert torch.equal(old, now.x)
        assert torch.equal(old, fresh.x)
    other = datasets.load("digits", split_seed=1, **kind)
    assert not torch.equal(other.validation.x, data.validation.x)


def test_dynamic_epochs_average_to_the_grey_value():
    data = datasets.load("digits", binarize="dynamic", count=300)
    epochs = 200
    mean, grey = torch.stack([data.epoch(k, 0).x for k in range(epochs)]).mean(0), data.train.x
    assert torch.equal(mean[grey == 0], torch.zeros_like(mean[grey == 0]))
    assert torch.equal(mean[grey == 1], torch.ones_like(mean[grey == 1]))
    score = (mean - grey).sum() / (grey * (1 - grey) / epochs).sum().sqrt()
    assert abs(score) < 5
    spread = (mean - grey).square().sum() / (grey * (1 - grey) / epochs).sum()
    assert 0.9 < spread < 1.1  # a set drawn once would give 200


@pytest.mark.parametrize("kind", [None, "static", "threshold"])
def test_sets_prepared_once_are_not_copied(kind):
    data = datasets.load("digits", binarize=kind)
    assert data.epoch(0, 0) is data.train
    assert data.epoch(3, 9) is data.train
    if kind:
        for part in (data.train, data.validation, data.test):
            assert part.x.unique().tolist() == [0.0, 1.0]


def test_threshold_is_at_one_half():
    grey = datasets.load("digits")
    data = datasets.load("digits", binarize="threshold")
    assert torch.equal(data.test.x, (grey.test.x >= 0.5).float())


def test_dequantised_values_keep_their_level():
    grey, data = datasets.load("digits"), datasets.load("digits", dequantize=True)
    noise = data.epoch(0, 0).x * 17 - grey.train.x * 16
    assert noise.min() > -1e-5
    assert noise.max() < 1 + 1e-5
    assert abs(noise.mean() - 0.5) * math.sqrt(12 * noise.numel()) < 5
    assert data.test.x.max() < 1
    assert torch.equal((data.test.x * 17).floor(), (grey.test.x * 16).round())


def test_declaration_gives_the_same_data_again(tmp_path):
    np.save(tmp_path / "a.npy", rows(40, 3))
    for name in ("digits", "pinwheel", tmp_path / "a.npy"):
        data = datasets.load(name, split_seed=2, count=30, validation=5, test=0.3)
        declared = dict(data.declaration)
        again = datasets.load(declared.pop("data"), **declared)
        assert torch.equal(data.train.x, again.train.x)
        assert data.record == again.record
        assert data.declaration == again.declaration
        assert data.schema == again.schema
    assert datasets.load(rows(10)).declaration["data"] is None


def test_a_record_is_plain_and_differs_between_sets():
    import json

    one, two = (datasets.load("digits", split_seed=s) for s in (0, 1))
    assert json.loads(json.dumps(one.record)) == one.record
    assert json.loads(json.dumps(one.declaration)) == one.declaration
    assert one.record["fingerprint"] != two.record["fingerprint"]
    assert one.record["rows"] == {"train": 1257, "validation": 180, "test": 360}
    assert 3 <= len(repr(one).splitlines()) <= 5


def test_to_moves_everything():
    data = datasets.load("digits", context="labels", labels=True, count=20).to("meta")
    tensors = [value for part in (data.train, data.validation, data.test) for value in vars(part).values()]
    tensors = [*filter(lambda value: value is not None, tensors), *vars(data.labels).values()]
    assert len(tensors) == 4 + 3 + 3 + 3
    assert all(part.device.type == "meta" for part in tensors)


# --- labels that a program observes ------------------------------------------------------------------


def test_labels_are_given_in_training_only():
    data = datasets.load("digits", labels=True)
    assert data.has_labels
    assert data.train.y.dtype == torch.int64
    assert torch.equal(data.train.y, data.labels.train)
    assert data.validation.y is None
    assert data.test.y is None
    assert data.train.context is None
    assert not datasets.load("digits", context="labels").has_labels
    assert "all labels observed" in repr(data)


def test_few_labels_are_balanced_over_classes():
    data = datasets.load("digits", known=53)
    known = data.train.y >= 0
    assert int(known.sum()) == 53
    assert data.train.y[~known].unique().tolist() == [-1]
    assert torch.equal(data.train.y[known], data.labels.train[known])
    assert sorted(data.train.y[known].bincount().tolist()) == [5] * 7 + [6] * 3
    assert "53 labels observed" in repr(data)
    other = datasets.load("digits", known=53, split_seed=1)
    assert not torch.equal(other.train.index[other.train.y >= 0], data.train.index[known])


def test_classes_are_numbered_in_the_order_of_the_labels():
    x, labels = torch.arange(30.0)[:, None], torch.tensor([7, 3, 30]).repeat(10)
    data = datasets.load(TensorDataset(x, labels), labels=True)
    assert data.schema.classes == (3, 7, 30)
    assert torch.equal(torch.tensor(data.schema.classes)[data.train.y], data.labels.train)


def test_rows_with_a_known_label_are_repeated_behind_the_others():
    once, thrice = (datasets.load("digits", known=20, copies=copies) for copies in (1, 3))
    assert len(thrice.train) == len(once.train) + 40
    assert thrice.distinct == len(once.train)
    assert same_rows(thrice.train[: len(once.train)], once.train)
    known = once.train[once.train.y >= 0]
    assert same_rows(thrice.train[len(once.train) :][:20], known)
    assert same_rows(thrice.train[-20:], known)
    assert torch.equal(thrice.labels.train[-20:], known.y)


def test_labels_as_a_context_that_were_few_are_the_old_way_to_say_it():
    with pytest.warns(DeprecationWarning, match="labels=True with known="):
        old = datasets.load("digits", context="labels", known=50)
    new = datasets.load("digits", known=50)
    assert same_rows(old.train, new.train)
    assert old.declaration == new.declaration
    assert old.train.context is None


def test_the_context_of_all_parts_at_once_is_the_old_way_to_ask():
    data = datasets.load("digits", context="labels")
    with pytest.warns(DeprecationWarning, match="the context of data.train"):
        context = data.context
    assert context.test is data.test.context
    assert context.train is data.train.context
    with pytest.warns(DeprecationWarning, match="the context of data.train"):
        assert datasets.load("digits").context is None


def test_numbers_of_numpy_and_torch_are_options_and_are_stored_as_plain_ones():
    import yaml

    options = {
        "count": np.int64(300),
        "known": 20.0,
        "copies": torch.tensor(2),
        "split_seed": np.uint8(3),
        "validation": np.int32(40),
        "test": np.float32(0.25),
    }
    data = datasets.load("digits", **options)
    plain = datasets.load("digits", count=300, known=20, copies=2, split_seed=3, validation=40, test=0.25)
    assert same_rows(data.train, plain.train)
    assert yaml.safe_load(yaml.safe_dump(data.declaration)) == data.declaration == plain.declaration


# --- toys --------------------------------------------------------------------------------------------


def test_density_of_the_mixture_integrates_to_one():
    x = torch.linspace(-8, 8, 20001, dtype=torch.float64)
    total = torch.trapezoid(toys.log_prob("mixture_1d")(x[:, None]).exp(), x)
    assert total.item() == pytest.approx(1, abs=1e-9)


def test_density_of_the_ring_integrates_to_one():
    r = torch.linspace(1, 2.2, 4001, dtype=torch.float64)
    angle = torch.arange(16, dtype=torch.float64) * math.pi / 8
    x = torch.stack([r[:, None] * angle.cos(), r[:, None] * angle.sin()], dim=-1)
    total = torch.trapezoid((toys.log_prob("ring")(x).exp() * r[:, None]).mean(1) * 2 * math.pi, r)
    assert total.item() == pytest.approx(1, abs=1e-6)
    assert toys.log_prob("ring")(torch.tensor([0.5, 0.5])).item() == -math.inf


def test_density_of_the_linear_gaussian_integrates_to_one():
    toy = toys.linear_gaussian(10, dim=2, latent_dim=1)
    axis = torch.linspace(-15, 15, 601, dtype=torch.float64)
    x = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1) + toy.parameters["bias"]
    total = torch.trapezoid(torch.trapezoid(toy.log_prob(x).exp(), axis), axis)
    assert total.item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["mixture_1d", "ring", "linear_gaussian"])
def test_samples_agree_with_the_density(name):
    """The mean of log p over samples is minus the entropy, found by another way."""
    toy = toys.TOYS[name](40_000, seed=1)
    values = toy.log_prob(toy.x.double())
    if name == "linear_gaussian":
        W, scale = toy.parameters["weight"], toy.parameters["scale"]
        covariance = W @ W.T + scale**2 * torch.eye(8, dtype=torch.float64)
        entropy = 0.5 * torch.logdet(2 * math.pi * math.e * covariance)
    elif name == "mixture_1d":
        x = torch.linspace(-8, 8, 20001, dtype=torch.float64)
        log_p = toy.log_prob(x[:, None])
        entropy = -torch.trapezoid(log_p.exp() * log_p, x)
    else:
        r = torch.linspace(1, 2.2, 8001, dtype=torch.float64)[1:]
        log_p = toy.log_prob(torch.stack([r, 0 * r], -1))
        entropy = -torch.trapezoid(log_p.exp() * log_p * 2 * math.pi * r, r)
    score = (values.mean() + entropy) / (values.std() / math.sqrt(len(values)))
    assert abs(score) < 5


def test_toys_are_functions_of_their_seed(random_state):
    for name, make in toys.TOYS.items():
        one, again, other = make(50, seed=1), make(50, seed=1), make(50, seed=2)
        assert torch.equal(one.x, again.x), name
        assert not torch.equal(one.x, other.x), name
    data = datasets.load("pinwheel", count=100)
    assert (len(data.train), len(data.validation), len(data.test)) == (70, 10, 20)
    assert data.record["classes"] == 5
    with pytest.raises(InputError, match="mixture_1d, ring"):
        toys.log_prob("pinwheel")


# --- files -------------------------------------------------------------------------------------------


def whole(data):
    """All rows, sorted by their first number, as they stood in the file."""
    x = everything(data)
    return x[x.flatten(1)[:, 0].argsort()]


def in_order(x):
    return torch.from_numpy(x[x.reshape(len(x), -1)[:, 0].argsort()])


def test_arrays_and_tensors_are_kept_exactly():
    x = rows(30, 2, 3)
    assert torch.equal(whole(datasets.load(x)), in_order(x))
    assert torch.equal(whole(datasets.load(torch.from_numpy(x).double())), in_order(x))
    x.setflags(write=False)
    assert datasets.load(x[:, :, ::-1]).event_shape == (2, 3)


@pytest.mark.parametrize("shape", [(6, 6), (3, 6, 6)])
def test_eight_bit_images_are_scaled(shape):
    x = np.random.default_rng(0).integers(0, 256, (40, *shape), dtype=np.uint8)
    data = datasets.load(x)
    assert data.levels == 256
    assert data.train.x.max() <= 1
    assert torch.equal(
        whole(data).mul(255).round().sort(0).values, torch.from_numpy(x).float().sort(0).values
    )
    assert datasets.load((x > 127).astype(np.uint8)).train.x.unique().tolist() == [0.0, 1.0]
    assert datasets.load(x.reshape(40, -1)).train.x.max() > 1  # counts, as far as anyone can tell


def test_npy_and_npz(tmp_path):
    x, y = rows(40, 5), np.arange(40) % 4
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "b.npz", x=x, y=y)
    np.savez(tmp_path / "c.npz", pixels=x)
    for name in ("a.npy", "b.npz", "c.npz"):
        data = datasets.load(tmp_path / name)
        assert torch.equal(whole(data), in_order(x))
        assert (data.labels is not None) == (name == "b.npz")
    table = {row.tobytes(): k for row, k in zip(x, y, strict=True)}
    data = datasets.load(str(tmp_path / "b.npz"))
    assert [table[row.numpy().tobytes()] for row in data.test.x] == data.labels.test.tolist()


def test_npz_with_its_own_test_set(tmp_path):
    x, t = rows(60, 2), rows(9, 2, seed=1)
    np.savez(tmp_path / "a.npz", x_train=x, x_test=t, y_train=np.arange(60), y_test=np.arange(9))
    data = datasets.load(tmp_path / "a.npz")
    assert torch.equal(data.test.x, torch.from_numpy(t))
    assert data.test.index.tolist() == list(range(9))  # in the set's own test set
    assert (len(data.train), len(data.validation)) == (50, 10)
    assert torch.equal(datasets.load(tmp_path / "a.npz", test=4).test.x, torch.from_numpy(t[:4]))
    assert [len(p) for p in vars(datasets.load(tmp_path / "a.npz", count=20).labels).values()] == [17, 3, 3]


@pytest.mark.parametrize("header", [True, False])
def test_csv(tmp_path, header):
    x = rows(40, 3)
    lines = ["a, b, c"] * header + [",".join(repr(float(v)) for v in row) for row in x]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    data = datasets.load(tmp_path / "a.csv")
    assert torch.equal(whole(data), in_order(x))
    assert data.event_shape == (3,)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_with_labels(tmp_path, kind):
    import pandas

    x = rows(40, 2)
    table = pandas.DataFrame(
        {"a": x[:, 0], "label": np.array(["dog", "cat"])[np.arange(40) % 2], "b": x[:, 1]}
    )
    path = tmp_path / f"t.{kind}"
    table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    data = datasets.load(path, context="labels")
    assert torch.equal(whole(data).float(), in_order(x))
    names = {np.float32(a): "cat dog".split().index(k) for a, k in zip(x[:, 0], table["label"], strict=True)}
    assert [names[np.float32(a)] for a in data.test.x[:, 0]] == data.labels.test.tolist()
    assert data.test.context.argmax(1).tolist() == data.labels.test.tolist()


def test_a_column_y_of_fractions_is_data(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n" + "\n".join(f"{k},{k + 0.5}" for k in range(9)))
    (tmp_path / "b.csv").write_text("x,y\n" + "\n".join(f"{k},{k % 2}" for k in range(9)))
    assert datasets.load(tmp_path / "a.csv").event_shape == (2,)
    assert datasets.load(tmp_path / "b.csv").labels.train.max() == 1


def save_image(path, pixels, mode=None):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)


@pytest.mark.parametrize("kind", ["png", "bmp", "gif", "webp", "jpg"])
def test_image_folders(tmp_path, kind):
    """Flat colours survive any format; of the lossless ones every pixel does."""
    shades = np.arange(12, dtype=np.uint8) * 20
    for row, shade in enumerate(shades):
        save_image(tmp_path / f"k{row % 2}" / f"{row:02d}.{kind}", np.full((5, 4, 3), shade, dtype=np.uint8))
    data = datasets.load(tmp_path)
    assert data.event_shape == (3, 5, 4)
    assert data.levels == 256
    assert (whole(data)[:, 0, 0, 0] * 255 - torch.from_numpy(shades)).abs().max() <= 2
    row = (data.test.x[:, 0, 0, 0] * 255 / 20).round().long()
    assert torch.equal(row % 2, data.labels.test)


def test_image_pixels_are_exact_and_channels_come_first(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
    pixels[:, 0, 0, 0] = np.arange(6)
    for row, image in enumerate(pixels):
        save_image(tmp_path / f"{row}.png", image)
    data = datasets.load(tmp_path)
    assert torch.equal((whole(data) * 255).round(), torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    assert data.labels is None


def test_black_and_white_images_are_grey(tmp_path):
    for row in range(5):
        save_image(tmp_path / f"{row}.png", np.eye(4, dtype=np.uint8) * 255, "1")
    assert datasets.load(tmp_path).train.x.unique().tolist() == [0.0, 1.0]


# --- torchvision's layout ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "qmnist"])
def test_idx_sets_are_read(tmp_path, monkeypatch, name):
    layout = archive.LAYOUTS[name]
    pixels = fake_mnist(tmp_path / "d", files=layout.files, name=layout.class_name)
    monkeypatch.setenv("PYROVAE_DATA", str(tmp_path / "d"))
    data = datasets.load(name)
    assert data.event_shape == (1, 28, 28)
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 4, 24)
    assert torch.equal((data.test.x * 255).round().to(torch.uint8)[:, 0], pixels[1])
    assert data.labels.test.tolist() == [k % 10 for k in range(24)]
    assert "on this disk" in datasets.known()[name]
    assert datasets.is_present(name)
    small = datasets.load(name, resize=32)
    assert small.event_shape == (1, 32, 32)
    assert small.levels == 256
    assert abs(small.train.x.mean() - data.train.x.mean()) < 0.02
    assert torch.equal(small.labels.test, data.labels.test)
    again = datasets.load(**{("name" if k == "data" else k): v for k, v in small.declaration.items()})
    assert torch.equal(again.test.x, small.test.x)


def test_digits_are_resized_within_their_levels():
    data = datasets.load("digits", resize=12)
    assert data.event_shape == (1, 12, 12)
    values = (data.train.x * 16).double()
    assert torch.equal(values, values.round())
    assert values.max() <= 16
    refused("sprites", resize=32, match="sprites is neither: leave resize out")


def test_packed_files_are_unpacked_in_place(tmp_path):
    pixels = fake_mnist(tmp_path / "d", packed=True)
    data = datasets.load("MNIST", root=tmp_path / "d", test=3)
    assert torch.equal((data.test.x * 255).round().to(torch.uint8)[:, 0], pixels[1, :3])
    assert (tmp_path / "d/MNIST/raw/train-images-idx3-ubyte").exists()
    assert not (tmp_path / "cache").exists()


def test_a_read_only_root_is_unpacked_into_the_cache_once(tmp_path, monkeypatch):
    root = tmp_path / "d"
    pixels = fake_mnist(root, packed=True)
    for folder in (root / "MNIST/raw", root / "MNIST", root):
        folder.chmod(0o555)
    before = sorted(root.rglob("*"))
    try:
        assert "on this disk" in datasets.known(root)["mnist"]
        data = datasets.load("mnist", root=root)
        assert torch.equal((data.test.x * 255).round().to(torch.uint8)[:, 0], pixels[1])
        assert sorted(root.rglob("*")) == before
        made = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
        assert len(made) == 4
        assert not [path for path in made if path.suffix == ".part"]
        monkeypatch.setattr(archive, "_unpack", None)  # a second time would now fail
        assert torch.equal(datasets.load("mnist", root=root).train.x, data.train.x)
    finally:
        for folder in (root, root / "MNIST", root / "MNIST/raw"):
            folder.chmod(0o755)


def test_an_interrupted_unpacking_leaves_nothing(tmp_path):
    fake_mnist(tmp_path / "d", packed=True)
    path = tmp_path / "d/MNIST/raw/train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    refused("mnist", root=tmp_path / "d", match="train-images-idx3-ubyte.gz is broken or cut off")
    assert sorted(p.suffix for p in path.parent.iterdir()) == [".gz"] * 4


def test_cifar_is_unpacked_and_read(tmp_path, monkeypatch):
    root = tmp_path / "d"
    image = fake_cifar(root, monkeypatch)
    data = datasets.load("cifar10", root=root)
    assert datasets.load("CIFAR-10", root=root, resize=8).event_shape == (3, 8, 8)
    assert data.event_shape == (3, 32, 32)
    assert (len(data.train), len(data.validation), len(data.test)) == (17, 3, 4)
    assert torch.equal((data.test.x[0] * 255).round().flatten(), torch.from_numpy(image).float())
    assert sorted(path.name for path in root.iterdir()) == [
        "cifar-10-batches-py",
        "cifar-10-python.tar.gz",
        "made",
    ]


@pytest.mark.parametrize("name", archive.LAYOUTS)
def test_without_a_network_the_sentence_says_where_to_put_what(tmp_path, name):
    layout = archive.LAYOUTS[name]
    message = refused(name, root=tmp_path, match="cannot be downloaded")
    assert all(packed in message for packed in layout.packed)
    assert str(tmp_path / layout.folder) in message
    assert "downloaded at first use" in datasets.known(tmp_path)[name]
    assert not datasets.is_present(name, tmp_path)


def test_a_download_that_is_not_the_file_is_refused(tmp_path, monkeypatch):
    import io

    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: io.BytesIO(b"<html>log in first</html>"))
    refused("mnist", root=tmp_path, match="the checksum of the file is wrong")
    assert list((tmp_path / "MNIST/raw").iterdir()) == []


# --- torch data sets ---------------------------------------------------------------------------------


class Images(Dataset):
    """Eight-bit images with labels, read one at a time."""

    def __init__(self, count=60, *, targets=True):
        draw = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (count, 1, 4, 4), dtype=torch.uint8, generator=draw)
        if targets:
            self.targets = torch.arange(count) % 3

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        return self.images[row], row % 3


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"binarize": "threshold"},
        {"context": "labels"},
        {"known": 9},
        {"context": "labels", "labels": True},
    ],
)
def test_a_stream_equals_the_set_held_in_memory(kind, random_state):
    held = datasets.load(Images(), stream=False, split_seed=3, **kind)
    flow = datasets.load(Images(), stream=True, split_seed=3, **kind)
    assert flow.streams
    assert not held.streams
    assert flow.event_shape == held.event_shape == (1, 4, 4)
    assert same_rows(flow.validation, held.validation)
    assert same_rows(flow.test, held.test)
    assert torch.equal(flow.labels.train, held.labels.train)
    assert flow.has_labels == held.has_labels == ("known" in kind or "labels" in kind)
    assert flow.schema == held.schema
    numbers = list(range(len(flow.train)))
    x = flow.collate(torch.stack([flow.train[k] for k in numbers]), generator_of("any"))
    assert same_rows(flow.train.rows(x, numbers), held.train)
    assert same_rows(flow.train.rows(x[5:9], numbers[5:9]), held.train[5:9])
    assert len(flow.train) == flow.record["rows"]["train"] == len(held.train)


@pytest.mark.parametrize("kind", [{"binarize": "dynamic"}, {"dequantize": True}, {"binarize": "static"}])
def test_random_preparation_of_a_stream(kind):
    grey = datasets.load(Images(), stream=False)
    flow, held = (datasets.load(Images(), stream=s, **kind) for s in (True, False))
    assert torch.equal(flow.validation.x, held.validation.x)
    batch = next(iter(DataLoader(flow.train, batch_size=len(flow.train))))
    again = next(iter(DataLoader(flow.train, batch_size=len(flow.train))))
    one, two, other = (
        flow.collate(b, generator_of(s)) for b, s in ((batch, "a"), (again, "a"), (batch, "b"))
    )
    assert torch.equal(one, two)
    assert torch.equal(one, other) == (kind.get("binarize") == "static")
    if "binarize" in kind:
        assert one.unique().tolist() == [0.0, 1.0]
        score = (one - grey.train.x).sum() / (grey.train.x * (1 - grey.train.x)).sum().sqrt()
        assert abs(score) < 5
    else:
        assert torch.equal((one * 256).floor(), (grey.train.x * 255).round())


def test_size_decides_what_streams(monkeypatch):
    assert not datasets.load(Images()).streams
    monkeypatch.setattr("pyrovae.datasets.readers.items.LARGE", 60 * 16 * 4)
    assert datasets.load(Images()).streams
    assert not datasets.load(Images(), stream=False).streams
    assert not datasets.load(Images(59)).streams


def test_items_may_be_tensors_or_pairs():
    x = torch.from_numpy(rows(30, 2))
    plain, pairs = TensorDataset(x), TensorDataset(x, torch.arange(30) % 2)
    assert datasets.load(plain).labels is None
    assert torch.equal(datasets.load(pairs).train.x, datasets.load(plain).train.x)
    assert datasets.load(pairs).labels.train.unique().tolist() == [0, 1]


def test_streamed_held_out_rows_are_limited(monkeypatch):
    monkeypatch.setattr("pyrovae.datasets.loader.STREAM_ROWS", 5)
    data = datasets.load(Images(), stream=True)
    assert (len(data.train), len(data.validation), len(data.test)) == (50, 5, 5)
    refused(Images(), stream=True, validation=6, match="use 5 or less")
    with pytest.raises(InputError, match="collate"):
        data.epoch(0, 0)


# --- bad input ---------------------------------------------------------------------------------------


def test_names_that_lead_nowhere(tmp_path):
    message = refused("digit", match="did you mean 'digits'")
    assert all(name in message for name in (*datasets.known(), ".npy", ".npz", ".csv", ".parquet", "images"))
    assert "did you mean 'fashion_mnist'" in refused("fashion_mnits", match="not a known data set")
    refused(tmp_path / "none.npy", match="no file or folder has this name")
    (tmp_path / "a.doc").write_text("1 2 3")
    refused(tmp_path / "a.doc", match="unknown kind")
    refused(3, match="type int")


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (np.zeros((0, 3)), "is empty"),
        (np.zeros((5, 0)), "is empty"),
        (np.float32(3), "single number"),
        (np.array(3.0), "single number"),
        (torch.tensor(3.0), "single number"),
        (np.array(["a", "b", "c"]), "not numbers"),
        (np.ones(5, dtype=complex), "not numbers"),
        (torch.ones(5, dtype=torch.complex64), "complex"),
        (np.ones((1, 3)), "three parts"),
        (np.ones((2, 3)), "three parts"),
        (np.full((5, 2), np.inf), "10 values that are infinite, in 5 rows"),
        (np.full((5, 2), 2**53 + 2), "whole numbers up to 9007199254740994"),
    ],
)
def test_rows_that_cannot_be_used(x, match):
    refused(x, match=match)


def test_nan_is_counted_and_placed(tmp_path):
    x = rows(20, 2, 3)
    x[4, 1, 2], x[4, 0, 1], x[9, 0, 0] = np.nan, np.inf, np.nan
    refused(
        x,
        match=r"1 value that is infinite, in 1 row, the first \(inf\) in row 4 at \w+ \(0, 1\)",
    )
    np.save(tmp_path / "bad.npy", x)
    refused(tmp_path / "bad.npy", match="bad.npy has 1 value")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,\n5,6\n")
    assert datasets.load(tmp_path / "a.csv").record["rows"] == {"train": 1, "validation": 1, "test": 1}
    refused(tmp_path / "a.csv", binarize="threshold", match=r"1 value that is NaN or infinite, in 1 row")
    (tmp_path / "b.csv").write_text("a,b\n1,2\n3,inf\n5,6\n")
    refused(tmp_path / "b.csv", match=r"1 value that is infinite, the first \(inf\) in row 1: .*na='inf'")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"binarize": "dynamc"}, "binarize='dynamc'"),
        ({"binarize": "static", "dequantize": True}, "choose one"),
        ({"validation": 0}, "validation=0"),
        ({"validation": True}, "validation=True"),
        ({"test": 1.5}, "test=1.5"),
        ({"test": -1}, "test=-1"),
        ({"test": 5000}, "test=5000"),
        ({"test": 1.0}, "three parts"),
        ({"validation": 1000, "test": 797}, "three parts"),
        ({"count": 5000}, "count=5000"),
        ({"validation": "7"}, "validation='7'"),
        ({"test": float("nan")}, "test=nan"),
        ({"count": 0}, "count must be a whole number of 3 or more, not 0"),
        ({"split_seed": -1}, "split_seed must be a whole number of 0 or more, not -1"),
        ({"split_seed": 0.5}, "split_seed must be .* not 0.5"),
        ({"context": "label"}, "context must be 'labels' or None, not 'label'"),
        ({"labels": "all"}, "labels must be True or False, not 'all'"),
        ({"known": 0}, "known must be a whole number of 1 or more, not 0"),
        ({"known": 5000}, "known=5000 is more than the 1257 training rows"),
        ({"copies": 0, "known": 5}, "copies must be a whole number of 1 or more, not 0"),
        ({"copies": 2}, "give known= as well"),
        ({"stream": True}, "stream=True"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, match):
    refused("digits", match=match, **arguments)


def test_preparations_that_have_no_meaning():
    refused("ring", binarize="dynamic", match=r"are from -1\.\d+ to")
    refused("ring", dequantize=True, match="integer levels")
    refused("ring", context="labels", match="no labels")
    refused("ring", labels=True, match="no labels")
    refused("ring", known=3, match="no labels")
    refused(rows(9, 2) * 255, binarize="threshold", match="scale them first")


def test_files_that_cannot_be_used(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,hello\n5,6\n7,8\n")
    refused(tmp_path / "a.csv", match="column 'b' of .* holds 'hello'")
    (tmp_path / "b.csv").write_text("")
    refused(tmp_path / "b.csv", match="is empty")
    (tmp_path / "c.csv").write_text("a,b\n")
    refused(tmp_path / "c.csv", match="is empty")
    (tmp_path / "d.csv").write_text("label,a\n1,2\n,3\n2,3\n")
    refused(tmp_path / "d.csv", match="1 empty cells")
    (tmp_path / "e.csv").write_text("label,a\n1.5,2\n2,3\n2,3\n")
    refused(tmp_path / "e.csv", match="not whole numbers")
    for kind in ("npy", "npz", "parquet"):
        (tmp_path / f"broken.{kind}").write_bytes(b"not at all what it says")
        refused(tmp_path / f"broken.{kind}", match="cannot be read")
    np.savez(tmp_path / "f.npz", a=rows(5, 2), b=rows(5, 2))
    refused(tmp_path / "f.npz", match="name its rows 'x'")
    np.savez(tmp_path / "g.npz", x=rows(5, 2), y=np.arange(4))
    refused(tmp_path / "g.npz", match="one label for each row")
    np.savez(tmp_path / "h.npz", x_train=rows(9, 2), x_test=rows(5, 3))
    refused(tmp_path / "h.npz", match="same shape")
    np.save(tmp_path / "i.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    refused(tmp_path / "i.npy", match="cannot be read")


def test_image_folders_that_cannot_be_used(tmp_path):
    refused(tmp_path, match="holds no images")
    for row in range(3):
        save_image(tmp_path / f"{row}.png", np.zeros((4, 4), dtype=np.uint8))
    save_image(tmp_path / "3.png", np.zeros((4, 5), dtype=np.uint8))
    refused(tmp_path, match="0.png is 4x4 L and 3.png is 5x4 L")
    save_image(tmp_path / "3.png", np.zeros((4, 4, 3), dtype=np.uint8))
    refused(tmp_path, match="0.png is 4x4 L and 3.png is 4x4 RGB")
    (tmp_path / "3.png").write_bytes((tmp_path / "2.png").read_bytes()[:-30])
    refused(tmp_path, match="3.png cannot be read as an image")
    (tmp_path / "3.png").write_bytes(b"")
    refused(tmp_path, match="3.png cannot be read as an image")
    save_image(tmp_path / "3.png", np.zeros((4, 4), dtype=np.uint16))
    refused(tmp_path, match="3.png is 4x4 I;16")


def test_broken_raw_files_are_named(tmp_path):
    fake_mnist(tmp_path)
    path = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-5])
    refused("mnist", root=tmp_path, match="broken or cut off")


def test_torch_data_sets_that_cannot_be_used():
    class Endless(IterableDataset):
        def __iter__(self):
            return iter(range(3))

    class Ragged(Images):
        def __getitem__(self, row):
            return torch.zeros(3 + row % 2)

    class Words(Images):
        def __getitem__(self, row):
            return "word"

    class Holes(Images):
        def __getitem__(self, row):
            return torch.full((2,), float("inf") if row in (5, 6) else 0.0)

    refused(Endless(), match="no length")
    refused(Images(0), match="is empty")
    refused(Ragged(), match="item 1 of Ragged")
    refused(Words(), match="is of type str")
    refused(Holes(), match="4 values that are infinite, in 2 rows")
    for asked in ({"context": "labels"}, {"labels": True}, {"known": 3}):
        refused(Images(targets=False), stream=True, match="`targets`", **asked)
    refused(Images(), stream=True, known=3, copies=2, match="leave copies out")
    refused(Holes(10), stream=True, test=5, split_seed=0, match="in row [56] at")
    seed = next(s for s in range(99) if {5, 6} <= set(parts(40, seed=s).train.tolist()))
    data = datasets.load(Holes(40), stream=True, split_seed=seed)
    bad = [k for k, number in enumerate(data.train.index.tolist()) if number in (5, 6)]
    assert bad
    with pytest.raises(InputError, match="in row [56] at"):
        data.train[bad[0]]


def test_known_lists_every_name():
    assert list(datasets.known()) == [
        "digits",
        "mnist",
        "fashion_mnist",
        "qmnist",
        "cifar10",
        "sprites",
        "faces",
        "mixture_1d",
        "ring",
        "pinwheel",
        "linear_gaussian",
    ]


def test_whether_a_set_is_present_is_known_for_known_names_only():
    assert all(datasets.is_present(name) for name in ("digits", "ring", "sprites"))
    with pytest.raises(InputError, match="'numbers' is not a known data set: use one of digits"):
        datasets.is_present("numbers")
    with pytest.raises(InputError, match="3 is not a known data set"):
        datasets.is_present(3)
    with pytest.raises(InputError, match="root must be a path, not 3"):
        datasets.is_present("mnist", 3)


def test_dequantised_values_stay_below_one():
    assert (torch.ones(1) * 255 + torch.tensor([1 - 2**-24])) / 256 == 1  # rounding does carry
    grey = torch.ones(100_000)
    assert Preparation(dequantize=True, levels=256).apply(grey, generator_of(0)).max() < 1
