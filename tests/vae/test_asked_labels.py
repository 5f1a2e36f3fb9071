"""Labels by number or word: `vae.sample(5, context=7)` for a VAE that is conditioned on labels."""

import math

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae import datasets
from pyrovae.datasets.asked_labels import class_index, one_hot_of
from tests.support.parts import raises_one_sentence
from tests.support.same_runs import binary, small

QUIET = {"progress": False, "figures": False, "batch_size": 20, "epochs": 1, "compile": False}


def conditional(labels, **options):
    data = datasets.load(binary(60), labels=labels, context="labels")
    assert not data.has_labels  # the model is given them
    return pv.fit(small(data.event_shape, context_shape=data.context_shape), data, **QUIET, **options).program


@pytest.fixture
def numbered():
    """Classes 2, 5 and 9."""
    return conditional([(2, 5, 9)[i % 3] for i in range(60)])


@pytest.fixture
def worded():
    return conditional([("cat", "dog", "emu")[i % 3] for i in range(60)])


def one_hot(*places):
    return torch.eye(3)[list(places)]


def test_labels_by_number_are_one_hot_contexts(numbered):
    wanted = numbered.sample(4, one_hot(1, 1, 1, 1), seed=3)
    for label in (5, 5.0, np.int64(5), torch.tensor(5), "5", [5, 5, 5, 5], torch.full((4,), 5)):
        assert torch.equal(numbered.sample(4, context=label, seed=3), wanted)
    several = numbered.sample(4, one_hot(0, 2, 2, 1), seed=3)
    for labels in ([2, 9, 9, 5], np.array([2, 9, 9, 5]), ["2", "9", "9", "5"]):
        assert torch.equal(numbered.sample(4, context=labels, seed=3), several)
    rows = binary(4)
    torch.testing.assert_close(numbered.encode(rows, 9).mean, numbered.encode(rows, one_hot(2, 2, 2, 2)).mean)
    torch.testing.assert_close(
        numbered.decode(torch.zeros(2), 9).mean, numbered.decode(torch.zeros(2), one_hot(2)[0]).mean
    )
    torch.testing.assert_close(
        numbered.log_prob(rows, [2, 9, 9, 5]), numbered.log_prob(rows, one_hot(0, 2, 2, 1))
    )
    torch.testing.assert_close(
        numbered.reconstruct(rows, context=2, seed=1), numbered.reconstruct(rows, one_hot(0, 0, 0, 0), seed=1)
    )


def all_of(numbered, context):
    """What functions of a conditional VAE give for four rows."""
    x, options = binary(4), {"particles": 20, "seed": 1}
    rest = x.clone()
    rest[:, :, :2] = math.nan
    completion = pv.condition(numbered, rest, context, draws=3, seed=1)
    return {
        "log_evidence": pv.log_evidence(numbered, x, context, compile=False, **options).log_px,
        "iwae_bound": pv.evidence.iwae_bound(numbered, x, context, particles=(1, 5), seed=1).bound,
        "condition": completion.x.numpy(),
        "sandwich": pv.sandwich(numbered, count=4, context=context, temperatures=(3,), chains=2).lower,
        "diagnose": pv.diagnose(numbered, x, context, **options).rate,
        "traverse": pv.traverse(numbered, x, steps=2, context=context).x,
        "encode": numbered.encode(pv.Rows(x), context).mean.detach().numpy(),
        "rows": numbered.rows(x, context).context.numpy(),
    }


def test_functions_of_rows_take_labels(numbered):
    """One for each row, or one for all."""
    each = all_of(numbered, one_hot(0, 2, 2, 1))
    for labels in ([2, 9, 9, 5], np.array([2, 9, 9, 5]), ["2", "9", "9", "5"]):
        for name, found in all_of(numbered, labels).items():
            np.testing.assert_array_equal(found, each[name], err_msg=name)
    one = all_of(numbered, one_hot(1, 1, 1, 1))
    for label in (5, "5", np.int64(5)):
        for name, found in all_of(numbered, label).items():
            np.testing.assert_array_equal(found, one[name], err_msg=name)
    x = binary(4)
    wanted = pv.interpolate(numbered, x[0], x[1], 3, context=one_hot(1)[0]).x
    for label in (5, "5", [5], one_hot(1)):
        np.testing.assert_array_equal(pv.interpolate(numbered, x[0], x[1], 3, context=label).x, wanted)
        three = pv.analogy(numbered, x[0], x[1], x[2], context=label)
        np.testing.assert_array_equal(three, pv.analogy(numbered, x[0], x[1], x[2], context=one_hot(1)))
    raises_one_sentence(lambda: pv.log_evidence(numbered, x, 7), "there is no label 7", "2, 5, 9")
    raises_one_sentence(lambda: pv.condition(numbered, x, [2, 5]), "4 rows and context 2")
    raises_one_sentence(lambda: pv.interpolate(numbered, x[0], x[1], context=7), "there is no label 7")


def test_labels_by_word(worded):
    wanted = worded.sample(2, one_hot(1, 2), seed=3)
    assert torch.equal(worded.sample(2, context=["dog", "emu"], seed=3), wanted)
    assert torch.equal(worded.sample(2, context=[1, 2], seed=3), wanted)
    assert torch.equal(worded.sample(2, "cat", seed=3), worded.sample(2, one_hot(0, 0), seed=3))


def test_vectors_stay_vectors(numbered):
    wanted = numbered.sample(3, one_hot(1)[0], seed=3)
    for vector in (
        [0.0, 1.0, 0.0],
        np.array([0.0, 1.0, 0.0]),
        one_hot(1, 1, 1).tolist(),
        one_hot(1, 1, 1).long(),
    ):
        assert torch.equal(numbered.sample(3, vector, seed=3), wanted)
    assert torch.equal(numbered.sample(2, [0, 1, 0], seed=3), numbered.sample(2, one_hot(1)[0], seed=3))


def test_whole_numbers_that_may_be_a_vector_or_labels_are_refused():
    vae = conditional([i % 2 for i in range(60)])
    raises_one_sentence(lambda: vae.sample(2, context=[0, 1]), "one vector or 2 labels", "['0', '1']")
    a, b = vae.sample(2, context=["0", "1"], seed=1), vae.sample(2, context=torch.eye(2), seed=1)
    assert torch.equal(a, b)
    assert torch.equal(vae.sample(2, context=[1, 1], seed=1), vae.sample(2, context=["1", "1"], seed=1))


def test_an_unknown_label_is_refused_with_the_known_ones(numbered, worded):
    raises_one_sentence(lambda: numbered.sample(2, context=7), "there is no label 7", "2, 5, 9")
    raises_one_sentence(lambda: numbered.sample(2, context=5.5), "there is no label 5.5", "2, 5, 9")
    raises_one_sentence(lambda: worded.sample(2, context="dgo"), "did you mean dog?", "cat, dog, emu")
    raises_one_sentence(lambda: worded.sample(2, context=["dog", "cow"]), "there is no label 'cow'")
    raises_one_sentence(lambda: numbered.sample(2, context=[2, 5, 9, 2]), "4 rows for 2 observations")


@pytest.mark.parametrize(
    "label", [math.nan, math.inf, "nan", "inf", "1e999", pytest.param(10**400, id="large")]
)
def test_a_number_that_no_label_can_be_is_refused_as_unknown(numbered, label):
    raises_one_sentence(lambda: numbered.sample(2, context=label), "there is no label", "2, 5, 9")
    raises_one_sentence(lambda: class_index(numbered.schema, label), "there is no label", "2, 5, 9")


def test_a_model_without_labels_takes_numbers_as_they_are():
    vae = small((1, 4, 4), context_shape=(1,))
    assert vae.sample(3, context=[7]).shape == (3, 1, 4, 4)
    assert one_hot_of(None, 7) == 7
    raises_one_sentence(lambda: class_index(None, 7), "does not know the labels")


def test_a_measurement_in_place_of_a_context_is_refused():
    """Its attribute `shape` is a method."""
    vae, y = small((1, 4, 4), context_shape=(1,)), torch.zeros(2, 1, 4, 4)
    refused = "context is not an array of numbers"
    raises_one_sentence(lambda: pv.condition(vae, y, pv.measurements.Noise(0.1)), refused)


def test_training_reads_no_labels(monkeypatch):
    """The step is compiled, and contexts are vectors there."""
    data = datasets.load("digits", binarize="threshold", context="labels", count=200)
    vae = small(data.event_shape, context_shape=data.context_shape)
    monkeypatch.setattr("pyrovae.datasets.asked_labels._labels", lambda context: pytest.fail("read"))
    pv.fit(vae, data, **QUIET)
