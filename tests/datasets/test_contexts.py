"""Contexts that are computed from x: half an image, a noisy or small one, a function of x."""

import dataclasses
import math
from functools import partial

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae import datasets
from pyrovae.datasets.contexts import Given, Noisy, derived_of
from pyrovae.terms import Runner
from pyrovae.testing.attaching import perturb
from tests.support.parts import raises_one_sentence
from tests.support.same_runs import assert_same_runs, binary, small

QUIET = {"progress": False, "figures": False, "batch_size": 20, "compile": False, "lr_schedule": "constant"}

# What is given of images of 4 x 4: one letter for each pixel.
MASKS = {
    "left half": "xx.. xx.. xx.. xx..",
    "right half": "..xx ..xx ..xx ..xx",
    "top half": "xxxx xxxx .... ....",
    "bottom half": ".... .... xxxx xxxx",
    "centre": ".... .xx. .xx. ....",
    "quadrants 1": "xx.. xx.. .... ....",
    "quadrants 2 3": "..xx ..xx xx.. xx..",
    "quadrants 1 2 4": "xxxx xxxx ..xx ..xx",
}


def mask_of(words):
    return torch.tensor([[pixel == "x" for pixel in row] for row in MASKS[words].split()])


@pytest.fixture
def grey():
    """60 images of 4 x 4 with three levels."""
    levels = torch.randint(0, 3, (60, 1, 4, 4), generator=torch.Generator().manual_seed(3))
    return (levels * 100).to(torch.uint8)


# -------------------------------------------------------------------- what is given, and what is left


@pytest.mark.parametrize("words", MASKS)
@pytest.mark.parametrize("binarize", ["dynamic", "static", "threshold", None])
def test_the_given_pixels_and_the_others_are_one_draw_of_the_image(grey, words, binarize):
    mask, whole = mask_of(words), datasets.load(grey, binarize=binarize)
    data = datasets.load(grey, binarize=binarize, context=words)
    assert data.schema.context == data.declaration["context"] == data.record["context"] == words
    assert torch.equal(data.given, mask.expand(1, 4, 4))
    parts = [(data.epoch(e, 7), whole.epoch(e, 7)) for e in (0, 3)]
    for rows, image in [*parts, (data.validation, whole.validation), (data.test, whole.test)]:
        assert torch.equal(rows.index, image.index)
        assert torch.equal(rows.context, torch.where(mask, image.x, 0.0))
        assert rows.x[..., mask].isnan().all()
        assert torch.equal(rows.x[..., ~mask], image.x[..., ~mask])
        assert torch.equal(data.derived.completed(rows.x, rows.context), image.x)


def test_the_description_says_it():
    data = datasets.load("digits", binarize="dynamic", context="left half", jitter="shift 1")
    text = datasets.describe(data)
    assert "context of shape (1, 8, 8) computed from x: left half" in text
    assert "training images changed every epoch: shift 1" in text


def test_other_spellings_of_the_same_words():
    for words in ("left", "Left  half", ["left", "half"]):
        assert derived_of(words) == Given("left half")
    for words in ("quadrants 2,1", "quadrant 1 2", ["quadrants", "1", "2"], ["quadrants", 1, 2]):
        assert derived_of(words) == Given("quadrants 1 2")
    assert derived_of("center") == Given("centre")
    assert derived_of("noisy 0.30").words == "noisy 0.3"
    assert [derived_of(other) for other in (None, "labels", "age", ["age", "left"], 3)] == [None] * 5


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e6])
def test_a_function_that_uses_other_rows_is_found_in_any_unit(size):
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    load = lambda function: datasets.load(x, context=function)  # noqa: E731
    for of in (lambda x: x.mean() + x, lambda x: torch.rand(len(x)), lambda x: x[0].expand_as(x)):
        raises_one_sentence(lambda of=of: load(lambda x: size * of(x)), "use each row alone")
        raises_one_sentence(
            lambda of=of: load(lambda x: torch.stack([x[:, 0], size * of(x).reshape(len(x), -1)[:, 0]], 1)),
            "use each row alone",
        )
    x[1::2] = 0.0  # where only rounding is left, which may depend on the number of rows
    assert load(lambda x: size * (x.sum(1) + 1e-7 * len(x))).context_shape == (1,)


@pytest.mark.parametrize("sd", [1 / 3, 0.1 + 0.2, 1e-7, 12345678.5, 2.0])
def test_words_restore_the_same_noise(sd):
    assert derived_of(Noisy(sd).words) == Noisy(sd)


def test_images_of_an_odd_size_and_without_a_channel():
    assert Given("left half").given((1, 5)).tolist() == [[True, True, False, False, False]]
    assert Given("right half").given((1, 5)).tolist() == [[False, False, True, True, True]]
    data = datasets.load(torch.rand(20, 4, 6), context="right half")
    assert data.event_shape == data.context_shape == (4, 6)
    assert data.validation.x[..., 3:].isnan().all()
    assert not data.validation.x[..., :3].isnan().any()


def test_small_images_are_means(grey):
    data, whole = datasets.load(grey, context="small 2"), datasets.load(grey)
    wanted = whole.test.x.reshape(-1, 1, 2, 2, 2, 2).mean((3, 5))
    torch.testing.assert_close(data.test.context, wanted)
    assert torch.equal(data.test.x, whole.test.x)
    assert data.train.context.shape == (len(data.train), 1, 2, 2)


def test_noise_is_a_function_of_seed_and_epoch_and_fixed_for_the_test_set(grey):
    data = datasets.load(grey, binarize="dynamic", context="noisy .3")
    again = datasets.load(grey, binarize="dynamic", context="noisy .3")
    assert torch.equal(data.test.context, again.test.context)
    first, other, another = data.epoch(2, 5), data.epoch(3, 5), data.epoch(2, 6)
    assert torch.equal(first.context, again.epoch(2, 5).context)
    noise = [rows.context - rows.x for rows in (first, other, another, data.test)]
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise[2])
    for part in noise:
        count = part.numel()
        assert abs(float(part.std()) - 0.3) < 5 * 0.3 / (2 * count) ** 0.5
    # The pixels are those of the set without a context.
    assert torch.equal(first.x, datasets.load(grey, binarize="dynamic").epoch(2, 5).x)
    static = datasets.load(grey, binarize="static", context="noisy .3")
    assert torch.equal(static.epoch(0, 0).x, datasets.load(grey, binarize="static").train.x)


def test_missing_pixels_are_zeros_in_the_context_and_stay_missing_in_x():
    x = torch.rand(20, 4, 4)
    x[3, 0, 0] = x[3, 0, 3] = torch.nan
    data = datasets.load(x, context="left half", split_seed=1)
    rows = data.train if 3 in data.train.index else data.test
    row = int((rows.index == 3).nonzero())
    assert rows.context[row, 0, 0] == 0
    assert rows.x[row].isnan().sum() == 8 + 1
    raises_one_sentence(lambda: datasets.load(x, context="small 2"), "needs every pixel", "row")


# -------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("data", "context", "reason"),
    [
        ("digits", "quadrants 5", "one to three of the quadrants"),
        ("digits", "quadrants 1 2 3 4", "one to three of the quadrants"),
        ("digits", "quadrants", "one to three of the quadrants"),
        ("digits", "left third", "use one of 'left half'"),
        ("digits", "noisy", "a standard deviation above 0"),
        ("digits", "noisy -1", "a standard deviation above 0"),
        ("digits", "noisy nan", "a standard deviation above 0"),
        ("digits", "small 1", "a whole factor of 2 or more"),
        ("digits", "small 3", "use a divisor of 8"),
        ("digits", "upper half", "not a table"),
        ("ring", "left half", "computed from images"),
    ],
)
def test_words_that_cannot_be_used(data, context, reason):
    raises_one_sentence(lambda: datasets.load(data, context=context), reason)


def test_words_name_columns_of_a_table(tmp_path):
    table = {"left": [1.0, 2, 3, 4, 5] * 4, "half": [2.0, 1, 4, 3, 5] * 4, "y": list(range(20))}
    data = datasets.load(table, context=["left", "half"])
    assert data.context_shape == (2,)
    raises_one_sentence(lambda: datasets.load(table, context="left half"), "names a column 'left half'")


def test_a_likelihood_without_missing_entries_is_refused():
    data = datasets.load(torch.ones(40, 1, 4, 4), context="left half")
    vae = small((1, 4, 4), likelihood=pv.likelihoods.Multinomial(), context_shape=(1, 4, 4))
    raises_one_sentence(lambda: pv.fit(vae, data, epochs=1, **QUIET), "'left half'", "independent elements")


# -------------------------------------------------------------------- programs


def conditional(data, **declaration):
    return small(data.event_shape, context_shape=data.context_shape, **declaration)


@pytest.fixture
def half():
    return datasets.load(binary(60), context="left half")


def test_log_p_counts_only_what_is_left(half):
    """With decoder weights of zero each of the 8 other pixels has probability 1/2."""
    vae = conditional(half)
    with torch.no_grad():
        for p in vae.generation.parameters():
            p.zero_()
    terms = Runner(vae).terms(half.test, particles=3)
    torch.testing.assert_close(terms.log_px_z, torch.full((3, len(half.test)), -8 * math.log(2)))
    with torch.no_grad():
        for p in vae.recognition.parameters():
            p.zero_()
    evidence = pv.log_evidence(vae, half.test, particles=2000, compile=False)
    assert evidence.quantity == "log p(x | c)"
    assert abs(evidence.mean + 8 * math.log(2)) < 5 * evidence.mc_stderr.max() + 0.01
    assert evidence.bits_per_dim == pytest.approx(-evidence.mean / (8 * math.log(2)))


def test_the_other_pixels_have_probabilities_that_sum_to_one():
    """Over all 2^4 values of the pixels that are left, given each context."""
    data = datasets.load(binary(40, (1, 2, 4)), context="right half")
    vae = perturb(conditional(data)).double()
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).reshape(16, 1, 2, 2).double()
    for context in data.test.context[:2].double():
        x = torch.cat([every, torch.full_like(every, torch.nan)], -1)
        rows = pv.Rows(x, context.expand(16, 1, 2, 4))
        z = torch.randn(5, 1, 2, dtype=torch.float64).expand(5, 16, 2)
        log_p = Runner(vae).terms_at({"z": z}, rows, particles=5).log_px_z
        torch.testing.assert_close(log_p.logsumexp(1), torch.zeros(5, dtype=torch.float64))


def test_the_encoder_has_no_flags_for_pixels_that_are_given(half):
    assert pv.VAE.suited(half).missing == "zeros"
    x = binary(60).clone()
    x[::3, 0, 1, 3] = torch.nan  # not given
    assert pv.VAE.suited(datasets.load(x, context="left half")).missing == "flags"


def test_samples_and_reconstructions_have_the_given_pixels(half):
    vae = pv.fit(conditional(half), half, epochs=2, **QUIET).program
    rows, mask = half.test, half.given
    assert len(mask.nonzero()) == 8
    for x in (vae.sample(len(rows), rows.context, seed=1), vae.reconstruct(rows, seed=1)):
        assert torch.equal(x[:, mask], rows.context[:, mask])
        assert not x.isnan().any()
    one = vae.sample(3, rows.context[0], seed=1)
    assert torch.equal(one[:, mask], rows.context[:1, mask].expand(3, -1))


def test_what_is_simulated_misses_what_the_data_miss(half):
    """So that `sandwich` bounds log p of the same pixels."""
    vae = pv.fit(conditional(half), half, epochs=2, **QUIET).program
    x, _ = vae.simulate(10, half.test.context[:10])
    assert torch.equal(x.isnan(), half.test.x[:10].isnan())
    bounds = pv.sandwich(vae, count=10, context=half.test.context[:10], temperatures=(5, 50), chains=8)
    assert bounds.gap.mean() < 0.3
    assert bounds.lower.mean() > -8 * math.log(2) - 2


@pytest.mark.parametrize("context", ["left half", "noisy .3", "small 2", "function"])
@pytest.mark.parametrize("jitter", [None, "shift 1, noise .05"])
def test_a_resumed_run_is_the_uninterrupted_one(grey, context, jitter, tmp_path):
    context = (lambda x: x.mean((1, 2, 3))) if context == "function" else context
    data = datasets.load(grey, binarize="dynamic", context=context, jitter=jitter)
    once, twice = tmp_path / "once", tmp_path / "twice"
    pv.fit(conditional(data), data, epochs=3, out=once, **QUIET)
    pv.fit(conditional(data), data, epochs=1, out=twice, **QUIET)
    again = datasets.load(grey, binarize="dynamic", context=context, jitter=jitter)
    pv.fit(conditional(data), again, epochs=3, out=twice, resume=True, **QUIET)
    assert_same_runs(once, twice)


def test_a_run_with_another_context_or_jitter_is_not_resumed(grey, tmp_path):
    def fit(**options):
        data = datasets.load(grey, binarize="dynamic", **options)
        return pv.fit(conditional(data), data, epochs=2, out=tmp_path / "r", resume=True, **QUIET)

    fit(context="left half", jitter="shift 1")
    raises_one_sentence(lambda: fit(context="right half", jitter="shift 1"), "another data", "left half")
    raises_one_sentence(lambda: fit(context="left half", jitter="shift 2"), "another data", "shift 1")
    raises_one_sentence(lambda: fit(context="left half"), "another data", "shift 1")
    mean, top = (lambda x: x.mean((2, 3))), (lambda x: x[:, :, 0, 0])
    run = {"epochs": 1, "out": tmp_path / "f", "resume": True, **QUIET}
    data = datasets.load(grey, binarize="threshold", context=mean)
    pv.fit(conditional(data), data, **run)
    other = datasets.load(grey, binarize="threshold", context=top)
    raises_one_sentence(lambda: pv.fit(conditional(other), other, **run), "another data", "context")


@pytest.mark.parametrize("context", ["left half", "noisy .3", "small 2"])
def test_new_rows_get_their_context_from_the_schema(grey, context, tmp_path):
    data = datasets.load(grey, binarize="threshold", context=context)
    vae = pv.fit(conditional(data), data, epochs=2, out=tmp_path / "r", **QUIET).program
    new = grey[:9]
    scores = pv.score(vae, new, particles=20)
    x = (new > 127).float()
    rows = data.derived.of_new(pv.Rows(x), 0)
    wanted = pv.log_evidence(vae, rows, particles=20, method="importance", compile=False)
    order = np.argsort(scores.log_px)
    np.testing.assert_allclose(scores.log_px[order], np.sort(wanted.log_px), rtol=1e-4)
    assert scores.quantity == "log p(x | c)"
    from_disk = pv.score(tmp_path / "r", new, particles=20, percentiles=False)
    np.testing.assert_array_equal(from_disk.log_px, scores.log_px)
    single = [pv.score(vae, new[i : i + 1], particles=20).log_px[0] for i in range(3)]
    np.testing.assert_allclose(single, scores.log_px[:3], rtol=1e-5)
    # Rows of the data have their own context, and rows that lack it get one.
    if context != "noisy .3":
        whole = datasets.load(grey, binarize="threshold").test
        np.testing.assert_array_equal(
            pv.score(vae, whole, particles=5).log_px, pv.score(vae, data.test, particles=5).log_px
        )


def test_rows_without_the_given_pixels_and_without_a_context_are_refused(half):
    vae = pv.fit(conditional(half), half, epochs=1, **QUIET).program
    raises_one_sentence(lambda: pv.score(vae, half.test.x), "row 0 has no pixel in its context", "data.test")
    raises_one_sentence(lambda: vae.log_prob(half.test.x), "needs a context", "give context=")


# -------------------------------------------------------------------- functions of x


def thickness(x):
    return x.flatten(1).mean(1)


def test_a_function_of_x_is_a_context(grey, tmp_path):
    data = datasets.load(grey, binarize="dynamic", context=thickness)
    rows = data.epoch(4, 1)
    torch.testing.assert_close(rows.context, rows.x.flatten(1).mean(1, keepdim=True))
    torch.testing.assert_close(data.test.context[:, 0], data.test.x.flatten(1).mean(1))
    assert "function thickness" in repr(data)
    assert data.declaration["data"] is None
    vae = pv.fit(conditional(data), data, epochs=1, out=tmp_path / "r", **QUIET).program
    new = grey[:5] // 255
    scores = pv.score(vae, new, particles=5)
    assert scores.quantity == "log p(x | c)"
    loaded = pv.load(tmp_path / "r")
    assert loaded.schema.context == "function thickness"
    raises_one_sentence(lambda: pv.score(loaded, new), "function thickness of x", "not stored", "Rows with")
    rows = pv.Rows(new.float(), thickness(new.float())[:, None])
    np.testing.assert_allclose(pv.score(loaded, rows, particles=5).log_px, scores.log_px, rtol=1e-5)


def test_a_function_of_a_known_set_and_of_a_table():
    data = datasets.load("digits", context=thickness, count=100)
    assert data.context_shape == (1,)
    x = np.random.default_rng(0).normal(size=(40, 3))
    data = datasets.load({"a": x[:, 0], "b": x[:, 1]}, context=lambda x: x[:, :1] > 0)
    assert torch.equal(data.test.context, (data.test.x[:, :1] > 0).float())


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x.mean(), "one context of real numbers for each row"),
        (lambda x: x[:1], "one context of real numbers for each row"),
        (lambda x: x.flatten(1) / 0, "NaN or infinity"),
        (lambda x: x.flatten(1) - x.mean(), "each row alone"),
        (lambda x: torch.randn(len(x), 2), "each row alone"),
        (lambda x: x.nonsense(), "cannot take x of shape"),
        (lambda x: "word", "cannot take x of shape"),
        (lambda x: x @ torch.zeros(3, 3), "cannot take x of shape"),
    ],
)
def test_functions_that_cannot_be_used(function, reason):
    raises_one_sentence(lambda: datasets.load(torch.rand(30, 1, 4, 4), context=function), reason)


# -------------------------------------------------------------------- streams


class Images(torch.utils.data.Dataset):
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        return self.x[row]


@pytest.mark.parametrize("context", ["left half", "small 2", "function"])
def test_a_streamed_set_gives_the_contexts_of_one_in_memory(grey, context):
    context = thickness if context == "function" else context
    options = {"binarize": "threshold", "context": context}
    streamed = datasets.load(Images(grey), stream=True, **options)
    memory = datasets.load(Images(grey), stream=False, **options)
    run = {"epochs": 2, **QUIET}
    first = pv.fit(conditional(streamed), streamed, **run)
    second = pv.fit(conditional(memory), memory, **run)
    np.testing.assert_array_equal(first.history["train"], second.history["train"])
    assert streamed.test.context.shape == memory.test.context.shape


def test_a_streamed_set_with_noise_trains(grey):
    data = datasets.load(Images(grey), stream=True, binarize="dynamic", context="noisy .1")
    assert np.isfinite(pv.fit(conditional(data), data, epochs=1, **QUIET).history["train"]).all()
    raises_one_sentence(lambda: datasets.load(Images(grey), stream=True, jitter="shift 1"), "streamed")


def fitted(x, *, stream, context):
    """The weights after an epoch of 40 rows, whose last batch has one row for two processes."""
    options = {"context": context, "binarize": "dynamic", "validation": 10, "test": 10}
    data = datasets.load(Images(x), stream=stream, **options)
    run = pv.fit(conditional(data), data, **QUIET | {"epochs": 1, "batch_size": 13})
    return [p.detach() for p in run.program.parameters()]


@pytest.mark.parametrize("context", ["left half", "noisy .3"])
def test_two_processes_have_the_contexts_of_their_rows(pair, grey, context):
    for stream in (False, True):
        first, second = pair(partial(fitted, stream=stream, context=context), grey)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert all(p.isfinite().all() for p in first)


def test_what_is_saved_of_a_schema_gives_it_again(half):
    schema = half.schema
    assert datasets.Schema.from_dict(schema.to_dict()) == schema
    with_function = datasets.load(binary(30), context=thickness).schema
    assert "function" not in with_function.to_dict()
    assert dataclasses.replace(with_function, function=None) == with_function
