"""Data in memory of every kind: the right values, or one sentence that says what to do."""

from types import SimpleNamespace

import numpy as np
import pandas
import pytest
import torch
from scipy import sparse
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import pyrovae as pv
from pyrovae import datasets
from pyrovae.likelihoods import Mixed, Normal
from pyrovae.networks import MLP
from tests.support.items import Items
from tests.support.parts import raises_one_sentence

QUIET = {"progress": False, "figures": False}
X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)


class Iterated(IterableDataset):
    """The same without an index."""

    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


class Counted(Iterated):
    """The same with a length."""

    def __len__(self):
        return len(self.items)


def in_order(data):
    """All rows, (N, *event), in the order of the source."""
    parts = (data.train, data.validation, data.test)
    index = torch.cat([part.index for part in parts])
    return torch.cat([part.x for part in parts])[index.argsort()].numpy()


def labels_in_order(data):
    parts = (data.train, data.validation, data.test)
    index = torch.cat([part.index for part in parts])
    return torch.cat([data.labels.train, data.labels.validation, data.labels.test])[index.argsort()].tolist()


ARRAYS = {
    "array": X,
    "tensor": torch.from_numpy(X),
    "list": X.tolist(),
    "list of arrays": list(X),
    "list of tensors": list(torch.from_numpy(X)),
    "tuple of rows": tuple(X.tolist()),
    "sparse": sparse.csr_matrix(X),
    "sparse array": sparse.coo_array(X),
    "sparse tensor": torch.from_numpy(X).to_sparse(),
    "backwards": np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
    "read only": np.broadcast_to(X, X.shape),
    "big endian": X.astype(">f4"),
    "objects": X.astype(object),
    "masked, no mask": np.ma.masked_array(X),
    "gradient": torch.from_numpy(X).requires_grad_(),
    "items": Items(list(torch.from_numpy(X))),
    "items backwards": Items([row[::-1] for row in np.ascontiguousarray(X[:, ::-1])]),
    "items as lists": Items(X.tolist()),
    "items as tuples": Items([tuple(row) for row in X.tolist()]),
    "items as dicts": Items([{"x": row} for row in X]),
    "tensor data set": TensorDataset(torch.from_numpy(X)),
    "iterated": Counted(list(X)),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_every_kind_of_rows_has_the_same_values(kind):
    read = in_order(datasets.load(ARRAYS[kind]))
    assert read.shape == X.shape
    np.testing.assert_array_equal(read, X)
    if kind != "tuple of rows":
        np.testing.assert_array_equal(pv.Rows.of(ARRAYS[kind]).x.detach().numpy(), X)


PAIRS = {
    "pair": lambda x, y: (x, y),
    "pair of lists": lambda x, y: (x.tolist(), y.tolist()),
    "pair with a column": lambda x, y: (x, y[:, None]),
    "pair with a Series": lambda x, y: (x, pandas.Series(y, index=y + 100)),
    "tensor data set": lambda x, y: TensorDataset(torch.from_numpy(x), torch.from_numpy(y)),
    "items": lambda x, y: Items([*zip(x, y, strict=True)]),
    "items of lists": lambda x, y: Items([*zip(x.tolist(), y.tolist(), strict=True)]),
    "items as dicts": lambda x, y: Items([{"pixels": a, "Label": b} for a, b in zip(x, y, strict=True)]),
    "given": None,
}


@pytest.mark.parametrize("kind", PAIRS)
def test_every_kind_of_pair_has_the_same_labels(kind):
    y = np.arange(40) % 3 + 5
    if kind == "given":
        data = datasets.load(X, labels=y)
    else:
        data = datasets.load(PAIRS[kind](X, y), labels=True)
    np.testing.assert_array_equal(in_order(data), X)
    assert labels_in_order(data) == y.tolist()
    assert data.schema.classes == (5, 6, 7)
    assert torch.equal(data.train.y, data.labels.train - 5)


def test_labels_may_be_words_or_unknown():
    words = np.array(["b", "a"] * 20)
    for labels in (words, words.tolist(), pandas.Series(words), pandas.Series(words, dtype="category")):
        data = datasets.load(X, labels=labels)
        assert data.schema.class_names == ("a", "b")
        assert labels_in_order(data) == [1, 0] * 20
    for labels in ([2.0, np.nan] * 20, [2, None] * 20, np.ma.masked_equal([2, 9] * 20, 9)):
        data = datasets.load(X, labels=labels)
        assert data.schema.classes == (2,)
        assert torch.equal(data.train.y, torch.where(data.train.index % 2 == 0, 0, -1))
    minus = datasets.load((X, [-1, 1] * 20), labels=True)  # classes, and not unknown ones
    assert minus.schema.classes == (-1, 1)
    assert minus.train.y.min() == 0
    raises_one_sentence(lambda: datasets.load(X, labels=[0.5] * 40), "not whole numbers")
    raises_one_sentence(lambda: datasets.load((X, X[:, 0])), "pair (X, y)", "make y a column")
    raises_one_sentence(lambda: datasets.load((X, [0, 1])), "pair (X, y)", "labels of shape (2,)")


def test_words_among_the_targets_of_a_streamed_set():
    class Named(Items):
        targets = ("b", "a") * 20

    for stream in (True, False):
        data = datasets.load(Named([*zip(X, Named.targets, strict=True)]), stream=stream, labels=True)
        assert data.schema.class_names == ("a", "b")
        assert torch.equal(data.train.y, 1 - data.train.index % 2)


def test_fit_observes_the_labels_of_a_pair_if_the_prior_does():
    torch.manual_seed(0)
    prior = pv.priors.GaussianMixture(2, labels=True)
    vae = pv.VAE((4,), 2, prior=prior, likelihood=Normal(1.0), encoder=MLP(8), decoder=MLP(8))
    pv.fit(vae, (X, np.arange(40) % 2), epochs=1, **QUIET)
    raises_one_sentence(lambda: pv.fit(vae, X, epochs=1, **QUIET), "labels")
    other = pv.VAE((4,), 2, likelihood=Normal(1.0), encoder=MLP(8), decoder=MLP(8))
    pv.fit(other, (X, np.arange(40) % 2), epochs=1, **QUIET)


def test_contexts_may_be_values():
    c = np.random.default_rng(1).normal(size=(40, 3))
    data = datasets.load(X, context=c)
    np.testing.assert_allclose(data.train.context, c[data.train.index], rtol=1e-6)
    assert datasets.load(X, context=list(c)).context_shape == (3,)
    frame = pandas.DataFrame({"age": c[:, 0] + 9, "sex": ["f", "m"] * 20})
    data = datasets.load(X, context=frame)
    assert data.context_shape == (3,)
    assert abs(float(data.train.context[:, 0].mean())) < 1e-6
    assert torch.equal(data.train.context[:, 1], 1.0 - data.train.index % 2)
    assert datasets.load(X, context=frame["sex"]).context_shape == (2,)
    assert datasets.load(X, context=np.array(["f", "m"] * 20)).context_shape == (2,)
    other = datasets.load(X, context=c + 1)
    assert other.record["context"] != datasets.load(X, context=c).record["context"]
    vae = pv.VAE.suited(datasets.load(X, context=c), encoder=MLP(8), decoder=MLP(8))
    pv.fit(vae, datasets.load(X, context=c), epochs=1, **QUIET)
    raises_one_sentence(lambda: datasets.load(X, context=np.full((40, 1), np.nan)), "context has 40 values")


# ------------------------------------------------------------------ missing entries


@pytest.mark.parametrize(
    "data",
    [
        np.ma.masked_equal(np.array([[1, -9999], [2, 3], [4, 5]]), -9999),
        np.array([[1, np.nan], [2, 3], [4, 5]]),
        [[1, None], [2, 3], [4, 5]],
        [[1.0, float("nan")], [2, 3], [4, 5]],
        np.array([[1, None], [2, 3], [4, 5]]),
        [np.ma.masked_equal([1, -9999], -9999), np.ma.array([2, 3]), np.ma.array([4, 5])],
        Items([[1, None], [2, 3], [4, 5]]),
        Items([torch.tensor([1, np.nan]), torch.tensor([2, 3]), torch.tensor([4, 5])]),
    ],
)
def test_masked_entries_none_and_nan_are_missing(data):
    read = in_order(datasets.load(data))
    np.testing.assert_array_equal(read, [[1, np.nan], [2, 3], [4, 5]])


def test_a_mask_keeps_the_type_of_fractions():
    masked = np.ma.masked_greater(X, 1)
    np.testing.assert_array_equal(np.isnan(in_order(datasets.load(masked))), masked.mask)
    assert datasets.load(masked).train.x.dtype == torch.float32


def test_nan_in_memory_is_streamed_as_missing_but_not_binarised():
    items = Items([torch.tensor([0.5, np.nan])] * 30)
    assert datasets.load(items, stream=True).train[0].isnan().tolist() == [False, True]
    raises_one_sentence(lambda: datasets.load(items, binarize="dynamic"), "NaN")


# ------------------------------------------------------------------ types


def test_the_type_is_one_that_holds_all_items():
    items = [[1, 2, 3], [0.25, 0.5, 0.75], [1, 1, 1], [2, 3, 4]]
    np.testing.assert_array_equal(in_order(datasets.load(Items(items))), items)
    np.testing.assert_array_equal(in_order(datasets.load(items)), items)
    mixed = [torch.tensor([1, 2]), torch.tensor([0.5, 0.25]), torch.tensor([2**40 + 1, 3])]
    for data in (mixed, Items(mixed)):
        assert in_order(datasets.load(data))[2, 0] == 2**40 + 1
    row = [0.1, 2.0, 3.0]
    assert datasets.load(Items([row] * 5)).event_shape == (3,)
    assert datasets.load(Items([(0.1, 2)] * 5)).labels is not None  # a pair
    assert datasets.load(Items([[[1, 2], [3, 4]]] * 5)).event_shape == (2, 2)


# ------------------------------------------------------------------ tables

FRAME = pandas.DataFrame(
    {
        "size": np.random.default_rng(2).normal(size=30) * 9,
        "colour": ["red", "green", None] * 10,
        "visits": np.random.default_rng(3).negative_binomial(2, 0.3, 30),
        "species": ["cat", "dog"] * 15,
    }
)


class Polars(SimpleNamespace):
    """A stand-in for a DataFrame of polars."""

    def __init__(self, frame):
        super().__init__(columns=list(frame.columns), shape=frame.shape, frame=frame)

    def to_dict(self, *, as_series):
        assert not as_series
        return {
            name: [None if c is np.nan else c for c in self.frame[name].tolist()] for name in self.columns
        }


RECORDS = FRAME.to_dict("records")
TABLES = {
    "DataFrame": FRAME,
    "index": FRAME.set_index(np.arange(30) * 7),
    "dict of lists": FRAME.to_dict("list"),
    "dict of columns": {name: FRAME[name] for name in FRAME},
    "dict of arrays": {name: FRAME[name].to_numpy() for name in FRAME},
    "list of dicts": RECORDS,
    "items": Items(RECORDS),
    "iterated": Counted(RECORDS),
    "polars": Polars(FRAME),
    "Arrow types": FRAME.convert_dtypes(),
    "categories": FRAME.astype({"colour": "category", "species": "category"}),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_in_memory_is_read_like_its_csv_file(kind, tmp_path):
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    options = {"context": ["colour"], "labels": "species", "kinds": {"visits": "normal"}}
    for given in ({}, {"drop": "size"}, options):
        file, table = datasets.load(tmp_path / "t.csv", **given), datasets.load(TABLES[kind], **given)
        assert [(c.name, c.kind, c.levels) for c in table.columns] == [
            (c.name, c.kind, c.levels) for c in file.columns
        ]
        np.testing.assert_allclose(in_order(table), in_order(file), rtol=1e-12)
        assert table.context_shape == file.context_shape
        assert table.schema.class_names == file.schema.class_names
        if given is options:
            torch.testing.assert_close(table.train.context, file.train.context)
            assert torch.equal(table.train.y, file.train.y)


def test_a_pyarrow_table_is_read_too():
    arrow = pytest.importorskip("pyarrow")
    data = datasets.load(arrow.Table.from_pandas(FRAME))
    assert [c.name for c in data.columns] == list(FRAME)


def test_a_table_is_fitted_as_it_is():
    run = pv.fit(None, FRAME, epochs=1, **QUIET)
    assert isinstance(run.program.likelihood, Mixed)
    assert run.program.schema.columns[1].levels == ("green", "red")
    new = FRAME[::-1][["species", "visits", "colour", "size"]]  # in another order, of rows too
    vae = run.program
    assert torch.equal(vae.encode(new).mean, vae.encode(FRAME).mean.flip(0))
    found, turned = (pv.log_evidence(vae, table, particles=5).log_px for table in (FRAME, new))
    np.testing.assert_allclose(turned, found[::-1], rtol=1e-6)
    raises_one_sentence(lambda: vae.encode(FRAME.drop(columns="size")), "no column 'size'")
    raises_one_sentence(lambda: pv.log_evidence(vae, FRAME.assign(colour="blue")), "'blue'")
    suited = pv.VAE.suited(datasets.load(FRAME), encoder=MLP(8), decoder=MLP(8))
    assert np.isfinite(pv.fit(suited, FRAME, epochs=1, **QUIET).history["validation"]).all()
    numbers = FRAME[["size", "visits"]]
    vae = pv.VAE((2,), 2, likelihood=Normal("learned"), encoder=MLP(8), decoder=MLP(8))
    pv.fit(vae, numbers, epochs=1, **QUIET)
    assert vae.encode(numbers).mean.shape == (30, 2)
    assert np.isfinite(pv.log_evidence(vae, numbers, particles=5).log_px).all()


def test_tables_that_cannot_be_read():
    raises_one_sentence(lambda: datasets.load(FRAME, separator=";"), "separator describes a file")
    raises_one_sentence(lambda: datasets.load(FRAME, drop="sise"), "did you mean 'size'")
    raises_one_sentence(lambda: datasets.load({"a": [1, 2], "b": [1]}), "2 entries in column 'a'", "1 in")
    raises_one_sentence(lambda: datasets.load({"a": 1}), "entry 'a' is one value")
    raises_one_sentence(lambda: datasets.load({"x": X, "y": [1] * 40}), "shape (40, 4)", "(X, y)")
    infinite = FRAME.assign(size=FRAME["size"].where(FRAME.index != 7, np.inf))
    raises_one_sentence(lambda: datasets.load(infinite), "'size'", "infinite")
    raises_one_sentence(lambda: pv.Rows.of(FRAME), "column 'colour'", "pyrovae.datasets.load")
    raises_one_sentence(lambda: datasets.load(X, layer="counts"), "not an AnnData")
    raises_one_sentence(lambda: datasets.load([[1, "NA"], [2, 3]]), "'NA' in row 0", "None or NaN")
    raises_one_sentence(lambda: datasets.load([[1, "red"], [2, "blue"]]), "'red' in row 0", "DataFrame")
    raises_one_sentence(lambda: datasets.load([["1", "2"]] * 3), "written as text", "astype(float)")
    raises_one_sentence(lambda: datasets.load([[1, 2], [3]]), "differ in shape")
    raises_one_sentence(lambda: datasets.load([torch.ones(2), torch.ones(3)]), "row 1 of shape (3,)")
    raises_one_sentence(lambda: datasets.load(object()), "type object")


# ------------------------------------------------------------------ AnnData, Hugging Face, images


class OnDisk:
    """A matrix on disk, as a backed AnnData has it."""

    shape, dtype = X.shape, X.dtype

    def __init__(self, matrix):
        self.matrix = matrix

    def __getitem__(self, rows):
        return self.matrix[rows]


class SparseOnDisk(OnDisk):
    def to_memory(self):
        return self.matrix


@pytest.mark.parametrize(
    "wrap", [np.asarray, sparse.csr_matrix, OnDisk, lambda x: SparseOnDisk(sparse.csc_matrix(x))]
)
def test_annotated_data(wrap):
    """A stand-in for anndata.AnnData, with its attributes."""
    obs = pandas.DataFrame(
        {"batch": ["u", "v"] * 20, "age": np.arange(40.0), "type": ["T", "B", "B", "T"] * 10},
        index=[f"cell{i}" for i in range(40)],
    )
    data = SimpleNamespace(
        X=wrap(X), layers={"counts": wrap(np.round(X**2))}, obs=obs, var_names=list("abcd")
    )
    np.testing.assert_array_equal(in_order(datasets.load(data)), X)
    np.testing.assert_array_equal(in_order(datasets.load(data, layer="counts")), np.round(X**2))
    labelled = datasets.load(data, context=["batch", "age"], labels="type")
    assert labelled.context_shape == (3,)
    assert labelled.schema.class_names == ("B", "T")
    assert torch.equal(labelled.train.context[:, 0], 1.0 - labelled.train.index % 2)
    assert labels_in_order(labelled) == [1, 0, 0, 1] * 10
    raises_one_sentence(lambda: datasets.load(data, layer="raw"), "no layer 'raw'", "'counts'")
    raises_one_sentence(lambda: datasets.load(data, context="bach"), "did you mean 'batch'")
    vae = pv.VAE((4,), 2, likelihood=Normal(1.0), encoder=MLP(8), decoder=MLP(8))
    assert pv.log_evidence(vae, data, particles=2).log_px.shape == (40,)
    pv.fit(vae, data, epochs=1, **QUIET)


class HuggingFace(Items):
    """A stand-in for `datasets.Dataset`, whose torch format rounds to float32; not a torch `Dataset`."""

    def __init__(self, items, features, kind=None):
        super().__init__(items)
        self.features, self.format = features, {"type": kind}
        self.column_names = list(features)

    def with_format(self, kind):
        return HuggingFace(self.items, self.features, kind)

    def __getitem__(self, number):
        row = dict(self.items[number])
        if self.format["type"] == "torch":
            return {k: torch.tensor(v, dtype=torch.float32) for k, v in row.items()}
        if self.format["type"] == "numpy":
            return {k: np.asarray(v, dtype=np.float32) for k, v in row.items()}
        return row


@pytest.mark.parametrize("kind", [None, "torch", "numpy"])
def test_hugging_face_sets_are_read_without_rounding(kind):
    x = 5.4e6 + 0.01 * X.astype(np.float64)
    label = SimpleNamespace(names=["cat", "dog"])
    items = [{"values": row.tolist(), "label": i % 2} for i, row in enumerate(x)]
    data = datasets.load(HuggingFace(items, {"values": None, "label": label}, kind), labels=True)
    np.testing.assert_array_equal(in_order(data), x)
    assert data.schema.class_names == ("cat", "dog")
    assert labels_in_order(data) == [0, 1] * 20
    table = datasets.load(HuggingFace(RECORDS, dict.fromkeys(FRAME), kind) if kind is None else FRAME)
    assert [c.name for c in table.columns] == list(FRAME)
    raises_one_sentence(
        lambda: datasets.load({"train": HuggingFace(items, {}), "test": HuggingFace(items, {})}),
        "data['train']",
    )


def test_images_of_pil():
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3)).astype(np.uint8)
    coloured = datasets.load(Items([(image.fromarray(p), i % 2) for i, p in enumerate(pixels)]), labels=True)
    np.testing.assert_allclose(in_order(coloured), pixels.transpose(0, 3, 1, 2) / 255, rtol=1e-6)
    grey = datasets.load(Items([{"image": image.fromarray(p[..., 0]), "label": 1} for p in pixels]))
    assert grey.event_shape == (1, 6, 5)
    assert grey.levels == 256
    masks = datasets.load(Items([image.fromarray(p[..., 0] > 127) for p in pixels]))
    assert in_order(masks).max() == 1
    raises_one_sentence(
        lambda: datasets.load(Items([image.fromarray(p[: 4 + i % 2]) for i, p in enumerate(pixels)])),
        "item 1",
        "resize",
    )


def test_a_data_loader_is_taken_for_its_dataset():
    loader = DataLoader(TensorDataset(torch.from_numpy(X), torch.arange(40) % 2), batch_size=7, shuffle=True)
    data = datasets.load(loader)
    np.testing.assert_array_equal(in_order(data), X)
    assert "the dataset TensorDataset of a DataLoader" in datasets.describe(data)
    np.testing.assert_array_equal(pv.Rows.of(loader).x, X)


def test_sets_that_can_only_be_iterated():
    class Endless(IterableDataset):
        def __iter__(self):
            return iter(list(X))

    np.testing.assert_array_equal(in_order(datasets.load(Endless(), count=40)), X)
    assert len(in_order(datasets.load(Endless(), count=10))) == 10
    raises_one_sentence(lambda: datasets.load(Endless()), "no length", "count=")
    raises_one_sentence(lambda: datasets.load(Endless(), count=41), "ends after 40 of 41 rows")


def test_items_that_cannot_be_read():
    raises_one_sentence(lambda: datasets.load(Items([{"a": X[0], "b": X[1]}] * 5)), "'a', 'b'", "one array")
    raises_one_sentence(lambda: datasets.load(Items([object()] * 5)), "item 0 of Items is of type object")
    raises_one_sentence(lambda: datasets.load(Items(["a"] * 5)), "item 0 of Items is of type str")
