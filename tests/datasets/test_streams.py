"""Files and data sets that are read while training hold what they hold in memory, or say what is wrong."""

import os

import numpy as np
import pandas
import pytest
import torch
from torch.utils.data import IterableDataset, TensorDataset

from pyrovae import datasets
from pyrovae.datasets.readers.items import items_at
from pyrovae.datasets.shuffling import Chunks
from pyrovae.errors import InputError
from tests.support.items import Items
from tests.support.parts import raises_one_sentence

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Chunks and windows of a few rows."""
    monkeypatch.setattr("pyrovae.datasets.readers.row_files.CHUNK", 256)
    monkeypatch.setattr("pyrovae.datasets.streams.WINDOW", 2048)


def both(data, **options):
    """The same data in memory and streamed."""
    memory, stream = (datasets.load(data, stream=s, **options) for s in (False, True))
    assert stream.streams
    assert not memory.streams
    return memory, stream


def assert_same_data(memory, stream):
    assert stream.schema == memory.schema
    assert stream.schema.gaps == memory.schema.gaps
    assert stream.event_shape == memory.event_shape
    every = torch.randperm(len(stream.train), generator=torch.Generator().manual_seed(0))
    x = stream.train.read(every)
    assert x.dtype == memory.train.x.dtype
    np.testing.assert_array_equal(x, memory.train.x[every])
    np.testing.assert_array_equal(stream.train[3], memory.train.x[3])
    for part in ("validation", "test"):
        np.testing.assert_array_equal(getattr(stream, part).x, getattr(memory, part).x)
    for name in ("context", "y", "index"):
        one, two = getattr(memory.train, name), getattr(stream.train, name)
        assert (one is None) == (two is None)
        assert one is None or torch.equal(one, two)


# ---------------------------------------------------------------- arrays

ARRAYS = {
    "single": RNG.normal(size=(90, 7)).astype(np.float32),
    "double": 5e6 + RNG.normal(size=(90, 3)),
    "half": RNG.normal(size=(90, 3)).astype(np.float16),
    "big endian": RNG.normal(size=(90, 3)).astype(">f4"),
    "numbers": RNG.normal(size=90),
    "missing": np.where(RNG.random((90, 4)) < 0.3, np.nan, RNG.normal(size=(90, 4))),
    "bytes": RNG.integers(0, 256, (90, 4, 4)).astype(np.uint8),
    "zeros and ones": RNG.integers(0, 2, (90, 4, 4)).astype(np.uint8),
    "channels last": RNG.integers(0, 256, (90, 5, 6, 3)).astype(np.uint8),
    "truth": RNG.random((90, 5)) < 0.5,
    "short integers": RNG.integers(-9, 9, (90, 5)).astype(np.int16),
    "long integers": RNG.integers(2**30, 2**40, (90, 5)),
    "unsigned": RNG.integers(0, 9, (90, 5)).astype(np.uint32),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_a_file_has_the_rows_that_it_has_in_memory(kind, tmp_path):
    np.save(tmp_path / "x.npy", ARRAYS[kind])
    assert_same_data(*both(tmp_path / "x.npy"))
    np.savez(tmp_path / "x.npz", x=ARRAYS[kind], label=np.arange(90) % 3 + 5, other=np.zeros(4))
    assert_same_data(*both(tmp_path / "x.npz"))
    assert_same_data(*both(tmp_path / "x.npz", context="labels"))
    assert_same_data(*both(tmp_path / "x.npz", known=12))


@pytest.mark.parametrize(
    "kind", [{"binarize": "threshold"}, {"known": 9}, {"context": "left half"}, {"labels": True}]
)
def test_options_of_an_archive(kind, tmp_path):
    np.savez(tmp_path / "x.npz", ARRAYS["bytes"], labels=np.array(["b", "a", "c"] * 30))
    np.savez(tmp_path / "x.npz", x=ARRAYS["bytes"], labels=np.array(["b", "a", "c"] * 30))
    memory, stream = both(tmp_path / "x.npz", **kind)
    assert stream.schema == memory.schema
    assert torch.equal(stream.labels.train, memory.labels.train)
    assert torch.equal(stream.validation.x.nan_to_num(9.0), memory.validation.x.nan_to_num(9.0))


def test_a_large_file_is_a_stream_and_says_so(tmp_path, monkeypatch):
    x = ARRAYS["single"]
    np.save(tmp_path / "x.npy", x)
    assert not datasets.load(tmp_path / "x.npy").streams
    monkeypatch.setattr("pyrovae.datasets.readers.items.LARGE", x.size * 4)
    data = datasets.load(tmp_path / "x.npy")
    assert data.streams
    assert "read from disk while training, and shuffled in blocks of about 63 rows from" in datasets.describe(
        data
    )
    assert data.declaration["stream"] is None
    assert not datasets.load(tmp_path / "x.npy", stream=False).streams
    np.save(tmp_path / "columns.npy", np.asfortranarray(x))
    np.savez_compressed(tmp_path / "packed.npz", x=x)
    np.savez(tmp_path / "own.npz", x_train=x, x_test=x)
    for name in ("columns.npy", "packed.npz", "own.npz"):
        assert not datasets.load(tmp_path / name).streams
        raises_one_sentence(
            lambda name=name: datasets.load(tmp_path / name, stream=True), "stream=True", "neither"
        )
    raises_one_sentence(lambda: datasets.load(x, stream=True), "stream=True needs")


def test_a_file_that_changes_is_not_read_on(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, ARRAYS["single"])
    data = datasets.load(path, stream=True)
    os.truncate(path, path.stat().st_size - 1)
    raises_one_sentence(lambda: data.train.read(torch.arange(9)), "x.npy has changed", "start again")
    np.save(path, ARRAYS["single"])
    raises_one_sentence(lambda: data.train.read(torch.arange(9)), "x.npy has changed")
    path.unlink()
    raises_one_sentence(lambda: data.train.read(torch.arange(9)), "x.npy", "can no longer be read")


def test_rows_that_validation_rows_did_not_announce(tmp_path):
    x = ARRAYS["single"].copy()
    np.save(tmp_path / "x.npy", x)
    row = int(datasets.load(tmp_path / "x.npy", stream=True).train.index[5])
    x[row, 2] = np.inf
    np.save(tmp_path / "x.npy", x)
    data = datasets.load(tmp_path / "x.npy", stream=True)
    raises_one_sentence(lambda: data.train.read(torch.arange(50)), f"in row {row} at position 2")
    whole = np.ones((90, 2), np.int64)
    whole[row] = 2**24 + 1
    np.save(tmp_path / "x.npy", whole)
    data = datasets.load(tmp_path / "x.npy", stream=True)
    raises_one_sentence(lambda: data.train.read(torch.arange(50)), "single precision rounds", "float64")


# ---------------------------------------------------------------- the order


@pytest.mark.parametrize("rows", [1, 2, 57, 1000])
def test_windows_hold_every_row_once_and_read_few_chunks(rows):
    index = torch.randperm(2 * rows, generator=torch.Generator().manual_seed(rows))[:rows]
    starts = torch.arange(0, 2 * rows, 10)
    chunks = Chunks.of(index, starts)
    cuts = [*range(0, rows, 64), rows]

    def windows_of(seed, epoch):
        return [chunks.window(i, j, seed, epoch) for i, j in zip(cuts, cuts[1:], strict=False)]

    every = []
    for epoch in (0, 1):
        windows = windows_of(3, epoch)
        order = torch.cat(windows)
        assert torch.equal(order.sort().values, torch.arange(rows))
        assert torch.equal(order, torch.cat(windows_of(3, epoch)))
        touched = sum(len((index[window] // 10).unique()) for window in windows)
        assert touched <= len((index // 10).unique()) + len(windows)
        every.append(order)
    if rows > 2:
        assert not torch.equal(*every)
        assert not torch.equal(every[0], torch.cat(windows_of(4, 0)))


def test_a_window_mixes_its_chunks():
    chunks = Chunks.of(torch.arange(1000), torch.arange(0, 1000, 10))
    window = chunks.window(0, 500, 0, 0)
    score = (window.double().argsort().argsort() * torch.arange(500)).double()
    expected, spread = 249.5**2, 500 / 12 * 500 / np.sqrt(499)
    assert abs(float(score.mean()) - expected) < 5 * spread
    assert len((window // 10).unique()) == 50
    assert (window.diff() == 1).sum() < 10


# ---------------------------------------------------------------- tables

ROWS = 300
TABLE = pandas.DataFrame(
    {
        "id": np.arange(ROWS),
        "size": np.where(np.arange(ROWS) % 7 == 0, np.nan, RNG.normal(size=ROWS)),
        "single": RNG.normal(size=ROWS).astype(np.float32),
        "age": RNG.integers(0, 90, ROWS),
        "colour": np.where(np.arange(ROWS) % 5 == 0, None, RNG.choice(["red", "green", "blue"], ROWS)),
        "is_new": RNG.random(ROWS) < 0.5,
        "when": pandas.to_datetime("2020-01-01") + pandas.to_timedelta(RNG.integers(0, 999, ROWS), "D"),
        "day": [f"{i % 28 + 1:02}.{i % 12 + 1:02}.2020" for i in range(ROWS)],
        "grade": pandas.Categorical(RNG.choice(["low", "high"], ROWS)),
        "constant": 1.0,
        "visits": pandas.array(np.where(np.arange(ROWS) % 9, RNG.integers(0, 9, ROWS), 0), dtype="Int64"),
        "price": [f"{i % 13}.5 EUR" for i in range(ROWS)],
        "species": RNG.choice(["cat", "dog"], ROWS),
    }
)
TABLE.loc[::11, "visits"] = pandas.NA


def written(folder, ending, rows=32):
    """The table in a file of groups of a few rows."""
    pytest.importorskip("pyarrow")
    path = folder / f"table.{ending}"
    if ending == "parquet":
        TABLE.to_parquet(path, row_group_size=rows)
    else:
        TABLE.to_feather(path, chunksize=rows)
    return path


@pytest.mark.parametrize("ending", ["parquet", "feather"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"context": ["colour", "size"], "labels": "species"},
        {"drop": ["day", "colour"], "kinds": {"age": "normal"}, "na": "7"},
        {"kinds": {"age": "categorical", "grade": "ordinal: low < high"}},
    ],
)
def test_a_table_on_disk_has_the_schema_that_it_has_in_memory(tmp_path, ending, options):
    path = written(tmp_path, ending)
    memory, stream = both(path, **options)
    assert_same_data(memory, stream)
    one, two = memory.record["reading"], stream.record["reading"]
    assert one["columns"] == two["columns"]
    assert one["dropped"] == two["dropped"]
    assert one["rows"] == two["rows"] == ROWS
    assert repr(stream).splitlines()[3:-1] == repr(memory).splitlines()[3:-1]
    assert len(stream.train.dataset.kept) <= 2


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_a_stored_schema_reads_a_table_on_disk(tmp_path, ending):
    options = {"context": ["colour"], "labels": "species"}
    schema = datasets.load(written(tmp_path, ending), **options).schema
    other = TABLE[::-1].assign(extra=1)[["extra", *TABLE.columns[::-1]]].reset_index(drop=True)
    path = tmp_path / f"other.{ending}"
    (other.to_parquet if ending == "parquet" else other.to_feather)(path)
    memory, stream = (datasets.load(path, schema=schema, stream=s, **options) for s in (False, True))
    assert_same_data(memory, stream)
    other.drop(columns="size").to_parquet(tmp_path / "less.parquet")
    raises_one_sentence(
        lambda: datasets.load(tmp_path / "less.parquet", schema=schema, stream=True, **options),
        "no column 'size'",
    )


def test_a_large_table_is_a_stream_unless_its_groups_are_too_large(tmp_path, monkeypatch):
    path = written(tmp_path, "parquet")
    assert not datasets.load(path).streams
    monkeypatch.setattr("pyrovae.datasets.readers.items.LARGE", 1000)
    assert datasets.load(path).streams
    monkeypatch.setattr("pyrovae.datasets.streaming.GROUP", 1000)
    assert not datasets.load(path).streams
    raises_one_sentence(lambda: datasets.load(path, stream=True), "groups of 32 rows", "row_group_size")
    monkeypatch.setattr("pyrovae.memory.available", lambda: 0)
    monkeypatch.setattr("pyrovae.datasets.streaming.refuse_too_large", refuse_all)
    raises_one_sentence(lambda: datasets.load(path), "row_group_size")
    raises_one_sentence(lambda: datasets.load(path, stream=False, drop="sise"), "did you mean 'size'")


def refuse_all(what, size, cure):
    assert size == ROWS * len(TABLE.columns) * 8
    raise InputError(f"{what} are too many: {cure}")


def test_a_table_that_cannot_be_streamed_says_why(tmp_path):
    path = written(tmp_path, "parquet")
    raises_one_sentence(lambda: datasets.load(path, stream=True, drop="sise"), "did you mean 'size'")
    raises_one_sentence(lambda: datasets.load(path, stream=True, jitter="shift 1"), "streamed")
    raises_one_sentence(lambda: datasets.load(path, stream=True, resize=4), "resize")
    names = [name for name in TABLE.columns if name != "id"]
    raises_one_sentence(lambda: datasets.load(path, stream=True, drop=names), "no column left")
    TABLE.assign(note=[f"word {i}" for i in range(ROWS)]).to_parquet(path)
    raises_one_sentence(lambda: datasets.load(path, stream=True), "'note'")


# ---------------------------------------------------------------- data sets of torch


X = torch.randn(40, 2, 3, generator=torch.Generator().manual_seed(0))
KINDS = {
    "tensors": list(X),
    "arrays": list(X.numpy()),
    "pairs": [(x, 1) for x in X],
    "ones": [(x,) for x in X],
    "lists": X.tolist(),
    "dicts": [{"x": x, "y": 1} for x in X],
    "mixed": [x if i % 2 else x.double() for i, x in enumerate(X)],
    "big endian": list(X.numpy().astype(">f4")),
    "gradients": [x.clone().requires_grad_() for x in X],
}


@pytest.mark.parametrize("kind", KINDS)
def test_several_items_are_read_as_one_by_one(kind):
    numbers = torch.tensor([3, 0, 39, 3])
    for dataset in (Items(KINDS[kind]), torch.utils.data.Subset(Items(KINDS[kind]), range(40))):
        x = items_at(dataset, numbers, (2, 3), torch.float32)
        assert torch.equal(x, X[numbers])
        assert not x.requires_grad
        assert items_at(dataset, numbers[:0], (2, 3), torch.float32).shape == (0, 2, 3)


def test_a_data_set_may_be_read_in_chunks():
    class Chunked(Items):
        chunk = 5
        read: list[int] = []

        def __getitem__(self, number):
            self.read.append(number)
            return self.items[number]

    data = datasets.load(Chunked(list(X)), stream=True, validation=3, test=3)
    assert "from 8 of 8 places" in datasets.describe(data)
    Chunked.read.clear()
    window = data.train.chunks.window(0, 20, 0, 0)
    assert torch.equal(data.train.read(window), X[data.train.index[window]])
    assert Chunked.read == sorted(Chunked.read)
    assert len({number // 5 for number in Chunked.read}) <= 6
    Chunked.chunk = 0.5
    raises_one_sentence(lambda: datasets.load(Chunked(list(X)), stream=True), "`chunk`", "whole number")


def test_items_that_cannot_be_read_are_named():
    class Broken(Items):
        def __getitem__(self, number):
            if number == 17:
                raise KeyError("no such file")
            return self.items[number]

    def stream(items, kind=Items, seed=0):
        return datasets.load(kind(items), stream=True, validation=3, test=3, split_seed=seed)

    key = ("item 17 of Broken cannot be read (KeyError: 'no such file'", "leave the item out")
    shape = ("item 39 of Items has shape (2, 4)",)
    for row, kind, items, words in (
        (17, Broken, list(X), key),
        (39, Items, [*X[:39], torch.zeros(2, 4)], shape),
    ):
        seeds = {row in stream(list(X), seed=seed).train.index: seed for seed in range(40)}
        raises_one_sentence(lambda: stream(items, kind, seeds[False]), *words)  # noqa: B023
        data = stream(items, kind, seeds[True])
        raises_one_sentence(lambda: data.train.read(torch.arange(len(data.train))), *words)  # noqa: B023
        others = (data.train.index != row).nonzero().flatten()
        assert torch.equal(data.train.read(others), X[data.train.index[others]])


def test_what_cannot_be_streamed_or_read_by_workers(tmp_path):
    class Iterated(IterableDataset):
        def __iter__(self):
            return iter(list(X))

        def __len__(self):
            return len(X)

    np.save(tmp_path / "x.npy", X.numpy())
    raises_one_sentence(lambda: datasets.load(Iterated(), stream=True), "numbered items")
    raises_one_sentence(lambda: datasets.load(TensorDataset(X), workers=2), "in memory", "leave workers out")
    raises_one_sentence(lambda: datasets.load(tmp_path / "x.npy", stream=True, workers=2), "a thread reads")
    raises_one_sentence(lambda: datasets.load(TensorDataset(X), stream=True, workers=-1), "workers must be")
    assert datasets.load(TensorDataset(X), stream=True, workers=2).train.workers == 2


@pytest.mark.parametrize("draw", [lambda: torch.rand(()), lambda: np.random.rand(), lambda: None])
def test_a_data_set_that_draws_is_recognised(draw):
    class Noisy(Items):
        def __getitem__(self, number):
            draw()
            return self.items[number]

    data = datasets.load(Noisy(list(X)), stream=True)
    draws = draw() is not None
    assert data.train.draws == draws
    assert ("its items are random" in datasets.describe(data)) == draws
    assert data.train.batches_in_block(2) == (1 if draws else 14)
