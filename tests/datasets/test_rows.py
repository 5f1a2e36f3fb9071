"""Rows: what makes them, how they are selected, and that every method of a VAE takes them."""

import importlib

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae.datasets.rows import class_indices
from pyrovae.errors import InputError
from tests.support.parts import raises_one_sentence, small_vae

INTEGERS = [np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]
FLOATS = [np.dtype(name) for name in ("float16", "float32", "float64", "longdouble", ">f4", ">f8")]
TENSORS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int16, torch.int64, torch.uint8]


@pytest.fixture
def rows():
    return pv.Rows(
        torch.arange(12.0).reshape(6, 2),
        torch.arange(6.0)[:, None] / 10,
        torch.tensor([0, 1, 2, -1, 1, 0]),
        torch.arange(100, 106),
    )


def numbers(rows):
    """Which of the six rows these are, by each of their four parts."""
    found = [
        (rows.x[:, 0] / 2).long(),
        (rows.context[:, 0] * 10).round().long(),
        rows.index - 100,
    ]
    assert all(torch.equal(part, found[0]) for part in found)
    assert torch.equal(rows.y, torch.tensor([0, 1, 2, -1, 1, 0])[found[0]])
    return found[0].tolist()


# ---------------------------------------------------------------- selecting


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (slice(None), [0, 1, 2, 3, 4, 5]),
        (slice(1, 5, 2), [1, 3]),
        (slice(None, None, -1), [5, 4, 3, 2, 1, 0]),
        (slice(4, 0, -2), [4, 2]),
        (slice(9, 20), []),
        (2, [2]),
        (-1, [5]),
        (np.int64(2), [2]),
        (np.uint8(2), [2]),
        (np.int64(-1), [5]),
        (torch.tensor(2), [2]),
        (torch.tensor(-2), [4]),
        ([4, 0, 0], [4, 0, 0]),
        ([], []),
        ((3, 1), [3, 1]),
        (range(1, 4), [1, 2, 3]),
        ([-1, 1], [5, 1]),
        (np.array([4, 0]), [4, 0]),
        (np.array([1, 0], dtype=np.uint8), [1, 0]),
        (np.array([4, 0], dtype=np.int16), [4, 0]),
        (np.array([], dtype=np.int64), []),
        (torch.tensor([4, 0], dtype=torch.int32), [4, 0]),
        (torch.tensor([1, 0], dtype=torch.uint8), [1, 0]),
        ([True, False, False, True, False, False], [0, 3]),
        (np.array([False, True] * 3), [1, 3, 5]),
        (torch.tensor([False] * 5 + [True]), [5]),
    ],
    ids=str,
)
def test_all_parts_are_selected_together(rows, selection, chosen):
    assert numbers(rows[selection]) == chosen


@pytest.mark.parametrize(
    "selection", [6, -7, [6], np.array([0.5]), [0.0], torch.tensor([1.0]), [True, False]]
)
def test_rows_that_do_not_exist_are_refused(rows, selection):
    with pytest.raises(IndexError):
        rows[selection]


def test_what_a_row_lacks_stays_lacking(rows):
    plain = pv.Rows(rows.x)[1:3]
    assert (plain.context, plain.y, plain.index) == (None, None, None)


def test_rows_are_not_iterated_by_accident(rows):
    with pytest.raises(TypeError, match="not iterable"):
        iter(rows)


@pytest.mark.parametrize("size", [1, 2, 4, 6, 7, np.int64(4), 4.0])
def test_batches_are_the_rows_in_order(rows, size):
    batches = list(rows.batches(size))
    assert [len(batch) for batch in batches[:-1]] == [int(size)] * (len(batches) - 1)
    assert sum((numbers(batch) for batch in batches), []) == list(range(6))
    assert list(rows[:0].batches(3)) == []


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "2"])
def test_batches_of_no_size_are_refused_at_once(rows, size):
    raises_one_sentence(lambda: rows.batches(size), "size of a batch", repr(size))


# ---------------------------------------------------------------- moving and changing


def test_a_type_is_of_x_and_context_alone(rows):
    double = rows.to(dtype=torch.float64)
    assert double.x.dtype == double.context.dtype == torch.float64
    assert double.y.dtype == double.index.dtype == torch.int64
    assert numbers(double) == list(range(6))
    meta = rows.to("meta", torch.float16)
    assert {part.device.type for part in vars(meta).values()} == {"meta"}
    assert meta.x.dtype == torch.float16
    assert rows.to().x is rows.x


def test_values_and_labels_are_replaced_and_the_others_stay(rows):
    other = rows.of_values(rows.x + 1)
    assert torch.equal(other.x, rows.x + 1)
    assert other.y is rows.y
    assert other.index is rows.index
    assert rows.unlabelled().y is None
    assert rows.unlabelled().context is rows.context
    assert torch.equal(rows.map(lambda part: part * 2).context, rows.context * 2)
    assert repr(pv.Rows(rows.x, y=rows.y)) == "Rows(x=(6, 2), y=(6,))"


def test_arguments_are_those_of_a_program(rows):
    x, context, y = rows.x, rows.context, rows.y
    assert pv.Rows(x).arguments == (x,)
    assert pv.Rows(x, index=rows.index).arguments == (x,)
    assert pv.Rows(x, context).arguments == (x, context)
    assert pv.Rows(x, context, y).arguments == (x, context, y)
    assert pv.Rows(x, y=y).arguments == (x, None, y)


@pytest.mark.parametrize("part", ["context", "y", "index"])
def test_parts_that_differ_in_length_are_refused(part):
    raises_one_sentence(
        lambda: pv.Rows(torch.zeros(3, 2), **{part: torch.zeros(2)}), "x has 3 rows", f"{part} 2"
    )


# ---------------------------------------------------------------- making


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, np.dtype(bool)], ids=str)
def test_arrays_of_any_number_type(dtype):
    array = np.array([[0, 1], [1, 1], [1, 0]]).astype(dtype)
    for given in (array, array[::-1, ::-1][::-1, ::-1], np.broadcast_to(array, array.shape), array.tolist()):
        rows = pv.Rows.of(given)
        assert rows.x.is_floating_point()
        assert rows.x.tolist() == [[0, 1], [1, 1], [1, 0]]
    kept = {2: torch.float16, 4: torch.float32}.get(dtype.itemsize, torch.float64)
    assert pv.Rows.of(array).x.dtype == (kept if dtype.kind == "f" else torch.float32)
    like = pv.Rows.of(array, array[:, :1], like=torch.zeros((), dtype=torch.float64))
    assert like.x.dtype == like.context.dtype == torch.float64


@pytest.mark.parametrize("dtype", [*TENSORS, torch.bool], ids=str)
def test_tensors_of_any_number_type(dtype):
    x = torch.tensor([[0, 1], [1, 1]]).to(dtype)
    assert pv.Rows.of(x).x.dtype == (dtype if dtype.is_floating_point else torch.float32)
    like = pv.Rows.of(x, like=torch.zeros((), dtype=torch.float64)).x
    assert like.tolist() == [[0, 1], [1, 1]]
    assert like.dtype == torch.float64


def test_memory_is_shared_where_it_can_be_and_never_written():
    array = np.zeros((2, 2), dtype=np.float32)
    assert pv.Rows.of(array).x.data_ptr() == array.ctypes.data
    array.setflags(write=False)
    pv.Rows.of(array).x.add_(1)
    assert not array.any()
    tensor = torch.zeros(2)
    assert pv.Rows.of(tensor).x is tensor


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ("word", "not an array of numbers"),
        ([["a", "b"]], "not an array of numbers"),
        ([[1.0], [1.0, 2.0]], "not an array of numbers"),
        (None, "not an array of numbers"),
        ({"a": 1}, "not an array of numbers"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "not an array of numbers"),
        (np.ones(2, dtype=complex), "complex"),
        (torch.ones(2, dtype=torch.complex64), "complex"),
    ],
    ids=str,
)
def test_what_is_not_numbers_is_refused(x, words):
    raises_one_sentence(lambda: pv.Rows.of(x), "x ", words)
    if x is not None:
        raises_one_sentence(lambda: pv.Rows.of(torch.zeros(2), x), "context ", words)


def test_rows_of_rows_keep_or_replace_their_parts(rows):
    assert pv.Rows.of(rows) is rows
    assert torch.equal(pv.Rows.of(rows, y=[2, 2, 2, 2, 2, np.nan]).y, torch.tensor([2, 2, 2, 2, 2, -1]))
    other = pv.Rows.of(rows, np.zeros((6, 3)), like=torch.zeros(1))
    assert other.context.shape == (6, 3)
    assert other.context.dtype == torch.float32
    assert torch.equal(other.index, rows.index)
    raises_one_sentence(lambda: pv.Rows.of(rows, np.zeros((5, 3))), "6 rows", "context 5")


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    "given",
    [
        [0, 2, -1],
        np.array([0, 2, -1], dtype=np.int8),
        np.array([0.0, 2.0, np.nan]),
        np.array([0.0, 2.0, np.nan], dtype=np.float16),
        torch.tensor([0, 2, -1]),
        torch.tensor([0, 2, -1], dtype=torch.int32),
        torch.tensor([0, 2, float("nan")], dtype=torch.bfloat16),
        torch.tensor([0.0, 2.0, -5.0]),
    ],
    ids=str,
)
def test_labels_are_class_indices_and_what_is_not_known_is_minus_one(given):
    assert class_indices(given).dtype == torch.int64
    assert class_indices(given).tolist() == [0, 2, -1]
    assert pv.Rows.of(torch.zeros(3, 1), y=given).y.tolist() == [0, 2, -1]


def test_unsigned_and_boolean_labels_are_indices_too():
    assert class_indices(np.array([0, 2, 1], dtype=np.uint8)).tolist() == [0, 2, 1]
    assert class_indices(np.array([True, False])).tolist() == [1, 0]


@pytest.mark.parametrize(
    "given", [[0.5, 1.0], [np.inf, 0.0], [[0], [1]], torch.eye(2), [1 + 2j, 0], ["cat", "dog"]], ids=str
)
def test_labels_that_are_not_class_indices_are_refused(given):
    raises_one_sentence(lambda: class_indices(given), "y ")


# ---------------------------------------------------------------- the methods of a VAE


def mixture(**declaration):
    prior = pv.priors.GaussianMixture(3, labels=True)
    return small_vae((4,), prior=prior, **declaration)


def same(one, two):
    return torch.equal(one, two) and one.dtype == two.dtype


def drawn(call):
    torch.manual_seed(0)
    return call()


@pytest.mark.parametrize("context_shape", [None, (2,)], ids=["", "conditional"])
def test_every_method_takes_rows_tensors_and_arrays_of_any_type(context_shape):
    vae = mixture(context_shape=context_shape)
    x = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1]])
    context = None if context_shape is None else torch.tensor([[0, 1], [1, 0], [1, 1]])
    y = torch.tensor([0, -1, 2])
    floats = [None if part is None else part.float() for part in (x, context)]
    methods = {
        "encode": lambda *rows: vae.encode(*rows).mean,
        "reconstruct": vae.reconstruct,
        "responsibilities": lambda *rows: vae.responsibilities(*rows, particles=2),
    }
    for name, method in methods.items():
        expected = drawn(lambda method=method: method(*floats, y))
        assert expected.dtype == torch.float32
        for kind in (np.uint8, np.int64, np.float16, np.float64, bool):
            arrays = [None if part is None else part.numpy().astype(kind) for part in (x, context)]
            assert same(drawn(lambda m=method, a=arrays: m(*a, y.tolist())), expected), (name, kind)
        for kind in (torch.bfloat16, torch.float64, torch.int32):
            tensors = [None if part is None else part.to(kind) for part in (x, context)]
            assert same(drawn(lambda m=method, t=tensors: m(*t, y)), expected), (name, kind)
        rows = pv.Rows(x, context, y, torch.arange(3))
        assert same(drawn(lambda m=method, r=rows: m(r)), expected), name


def test_latents_are_decoded_and_drawn_from_in_any_type():
    vae = mixture(context_shape=(2,))
    z, context = torch.tensor([[1.0, -2.0], [0.0, 3.0]]), torch.tensor([[1, 0], [0, 1]])
    expected = vae.decode(z, context).mean
    for kind in (np.float64, np.int16):
        assert same(vae.decode(z.numpy().astype(kind), context.numpy().astype(kind)).mean, expected)
    expected = drawn(lambda: vae.sample(2, context, [2, np.nan]))
    assert same(drawn(lambda: vae.sample(np.int64(2), context.numpy(), torch.tensor([2, -1]))), expected)
    assert expected.shape == (2, 4)
    assert vae.sample(0, context[:1]).shape == (0, 4)
    raises_one_sentence(lambda: vae.sample(-1, context), "count", "-1")


def test_labels_to_draw_from_choose_the_component():
    vae = mixture()
    with torch.no_grad():
        vae.prior.loc.copy_(torch.tensor([[-9.0, 0.0], [0.0, 9.0], [9.0, 0.0]]))
        vae.prior.raw_scale.fill_(-3.0)
    known = vae.latents(y=[0, 2, 1]).sample()
    assert torch.allclose(known, vae.prior.loc[[0, 2, 1]], atol=1.0)
    free = vae.latents(y=[-1] * 500).sample()
    assert len(free.round().sign().unique(dim=0)) >= 3


@pytest.mark.parametrize("call", ["encode", "responsibilities", "reconstruct"])
def test_a_class_that_the_prior_does_not_have_is_refused_by_every_method(call):
    vae = mixture()
    rows = pv.Rows(torch.ones(2, 4), y=torch.tensor([0, 3]))
    raises_one_sentence(lambda: getattr(vae, call)(rows), "the class 3", "classes 0 to 2")
    raises_one_sentence(lambda: vae.latents(y=[3, 0]), "the class 3")
    raises_one_sentence(lambda: vae.sample(2, y=[3, 0]), "the class 3")


def test_labels_for_a_prior_that_observes_none_are_refused_where_they_would_count():
    vae = small_vae((4,), prior=pv.priors.GaussianMixture(3))
    labelled = pv.Rows(torch.ones(2, 4), y=torch.tensor([0, 1]))
    raises_one_sentence(lambda: vae.latents(y=[0, 1]), "labels=True", "rows.unlabelled()")
    raises_one_sentence(lambda: vae.responsibilities(labelled), "labels=True")
    raises_one_sentence(lambda: vae.model(*labelled.arguments), "labels=True")
    with pytest.raises(InputError):
        pv.fit(vae, labelled[[0, 1] * 20], epochs=1, batch_size=5, progress=False)


def test_fit_takes_rows():
    """Split as a tensor is, with their context; labels are given in training only."""
    x = torch.bernoulli(torch.full((40, 4), 0.5))
    y, context = torch.arange(40) % 4 - 1, torch.randn(40, 2)
    seen = []

    class Spy(pv.objectives.ELBO):
        def check(self, pair):
            seen.append("y" in pair.model.nodes)

    vae = mixture(context_shape=(2,))
    run = pv.fit(vae, pv.Rows(x, context, y), Spy(), epochs=2, batch_size=9, progress=False)
    assert seen == [True]
    assert np.isfinite(run.history["validation"]).all()
    plain = [small_vae((4,)) for _ in range(2)]
    for one, given in zip(plain, (x, pv.Rows(x)), strict=True):
        pv.fit(one, given, epochs=1, batch_size=9, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(*(one.parameters() for one in plain), strict=True))


def test_a_run_of_rows_is_not_resumed_with_other_labels_or_another_context(tmp_path):
    x = torch.bernoulli(torch.full((40, 4), 0.5))
    y, context = torch.arange(40) % 4 - 1, torch.randn(40, 2)
    settings = {
        "lr_schedule": "constant",
        "batch_size": 9,
        "progress": False,
        "figures": False,
        "out": tmp_path / "r",
        "resume": True,
    }
    pv.fit(mixture(context_shape=(2,)), pv.Rows(x, context, y), epochs=1, **settings)
    pv.fit(mixture(context_shape=(2,)), pv.Rows(x, context, y), epochs=2, **settings)
    for rows, said in ((pv.Rows(x, context, -y), "labels was"), (pv.Rows(x, context + 1, y), "context was")):
        raises_one_sentence(
            lambda rows=rows: pv.fit(mixture(context_shape=(2,)), rows, epochs=3, **settings),
            "another data",
            said,
        )


def test_parts_start_from_rows_as_from_their_values():
    rows = pv.Rows(torch.randn(30, 4) * 3 + 7)
    weights = []
    for given in (rows, rows.x):
        vae = small_vae((4,), likelihood=pv.likelihoods.Mixed(["normal"] * 4))
        vae.start_from(given)
        weights.append(vae.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_each_training_row_keeps_its_own_context_and_label():
    from pyrovae.terms import Runner
    from pyrovae.training.preparing import as_data

    rows = pv.Rows(torch.arange(50.0)[:, None], torch.arange(50.0)[:, None] * 2, torch.arange(50))
    data = as_data(rows, Runner(small_vae((1,))))
    for part in (data.train, data.validation, data.test):
        assert torch.equal(part.context, 2 * part.x)
        assert torch.equal(part.index, part.x[:, 0].long())
    assert torch.equal(data.train.y, data.train.index)
    assert data.validation.y is None
    assert data.test.y is None


# ---------------------------------------------------------------- made by hand


def test_rows_made_by_hand_of_arrays_and_labels_of_any_type():
    y = np.array([2.0, np.nan, -5.0])
    rows = pv.Rows(np.eye(3), [[0.5], [0.6], [0.7]], y, np.array([7, 8, 9], dtype=np.int32))
    assert rows.y.dtype == torch.int64
    assert rows[1:].y.tolist() == [-1, -1]
    assert (rows[1].context.item(), rows[-1].index.item()) == (0.6, 9)
    assert pv.Rows(torch.eye(3), y=torch.from_numpy(y)).y.tolist() == [2, -1, -1]
    raises_one_sentence(
        lambda: pv.Rows(torch.eye(3), y=torch.tensor([0.5, 1.0, 2.0])), "one class index for each"
    )


def test_encodings_of_several_batch_dimensions_share_a_context():
    """x (*, *event) and a context broadcast, as z and a context do; rows have one context each."""
    vae = small_vae((4,), 2, context_shape=(2,))
    x, context = torch.rand(7, 5, 4).round(), torch.randn(5, 2)
    q = vae.encode(x, context)
    assert q.batch_shape == (7, 5)
    assert torch.allclose(q.mean[3], vae.encode(x[3], context).mean)
    one = vae.encode(x[0], context[0])
    assert torch.allclose(one.mean[2], vae.encode(x[0, 2:3], context[:1]).mean[0])
    assert vae.reconstruct(x, context).shape == x.shape


@pytest.mark.parametrize(
    ("package", "old", "new"),
    [
        ("distributions", "Classes", "ClassDistribution"),
        ("exploring", "Datum", "Observation"),
        ("terms", "law_of", "distribution_name"),
    ],
)
def test_names_that_changed_warn_and_still_work(package, old, new):
    module = importlib.import_module(f"pyrovae.{package}")
    with pytest.warns(DeprecationWarning, match=new):
        assert getattr(module, old) is getattr(module, new)
    with pytest.raises(AttributeError, match="no attribute 'never'"):
        _ = module.never
