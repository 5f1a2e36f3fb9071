"""Importances agree with the known shares of the variance."""

import numpy as np
import pytest

from pyrovae.plots.trials import columns_of
from pyrovae.searching.importance import LEAST, _moved, _parents, importance, predicted_ends
from tests.support.parts import raises_one_sentence


def uniform(count, *names, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, 1, count) for name in names}


def shares(result):
    return dict(zip(result.names, result.shares, strict=True))


def test_one_hyperparameter_explains_all():
    parameters = uniform(80, "a", "b", "c")
    result = importance(parameters, np.exp(2 * parameters["b"]))
    assert result.names[0] == "b"
    assert result.shares[0] > 0.98
    assert result.shares.sum() == pytest.approx(1)
    assert result.explained > 0.9
    assert (result.trials, result.note) == (80, None)


@pytest.mark.parametrize(
    ("count", "scale", "most"),
    [(40, lambda x: x, 0.08), (40, lambda x: 10 ** (3 * x), 0.08), (200, lambda x: x, 0.03)],
    ids=["40", "40, log", "200"],
)
def test_an_additive_function_has_the_shares_of_its_variance(count, scale, most):
    error = []
    for seed in range(2):
        x = uniform(count, "a", "b", "c", "d", seed=seed)
        result = importance({name: scale(value) for name, value in x.items()}, 2 * x["a"] + x["b"], seed=seed)
        variance = np.array([4 * x["a"].var(), x["b"].var(), 0, 0])  # 4 to 1 but for the sample
        error.append([shares(result)[name] for name in "abcd"] - variance / variance.sum())
    assert np.abs(np.mean(error, 0)).max() < most


def test_words_count_like_numbers():
    rng = np.random.default_rng(0)
    words, x = rng.choice(["p", "q"], 200), rng.uniform(-1, 1, 200)
    # variances: 1 of the words, 1/3 of the number
    result = importance({"x": x, "word": words}, np.where(words == "p", 1.0, -1.0) + x)
    assert result.names == ("word", "x")
    assert np.allclose(result.shares, [0.75, 0.25], atol=0.04)


def conditional(count=200, seed=0, shift=0.0):
    """An option h that exists and matters only with part B; u has no influence."""
    rng = np.random.default_rng(seed)
    part, h, u = rng.choice(["A", "B"], count), rng.uniform(-1, 1, count), rng.uniform(size=count)
    parameters = {"part": part, "h": np.where(part == "B", h, np.nan), "u": u}
    return parameters, np.where(part == "B", shift + h, 0.0)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_an_option_that_matters_only_when_its_part_is_chosen(shift):
    r"""T of h is P(B) Var(h), 1/6; T of part is 1/2 P(the parts differ) E[(shift + h)^2]."""
    wanted = np.array([0.25 * (shift**2 + 1 / 3), 1 / 6, 0.0])
    found = []
    for seed in range(2):
        parameters, values = conditional(seed=seed, shift=shift)
        found.append([shares(importance(parameters, values))[name] for name in ("part", "h", "u")])
    assert np.allclose(np.mean(found, 0), wanted / wanted.sum(), atol=0.06)


def test_the_shares_do_not_depend_on_a_value_that_stands_for_missing():
    parameters, values = conditional()
    result = importance(parameters, values)
    words = {**parameters, "h": [None if np.isnan(h) else h + 100 for h in parameters["h"]]}
    again = importance(words, values)
    assert again.names == result.names
    assert np.allclose(again.shares, result.shares)


def test_an_option_of_an_option_follows_its_choice():
    rng = np.random.default_rng(0)
    a = rng.choice(["A", "B"], 300)
    b = np.where(a == "B", rng.choice(["x", "y"], 300), None)
    c = np.where(b == "y", rng.uniform(size=300), np.nan)
    columns = columns_of({"c": c, "b": b, "a": a, "u": rng.uniform(size=300)}, 300)
    tree = _parents(columns)
    assert tree == [1, 2, None, None]
    exists = np.stack([column.exists for column in columns], 1)
    here, there = exists[rng.integers(0, 300, 500)], exists[rng.integers(0, 300, 500)]
    rows = here[:, 2] & there[:, 2]
    moved = _moved(2, tree, here, there)[rows]
    mixed = np.where(moved, there[rows], here[rows])
    assert moved[:, 2].all()
    assert not moved[:, 3].any()
    # b exists where a of the other trial has it, and c only where b exists
    assert np.array_equal(mixed[:, 1], there[rows][:, 1])
    assert not (mixed[:, 0] & ~mixed[:, 1]).any()
    both = here[rows][:, 1] & there[rows][:, 1]
    assert not moved[both][:, :2].any()


def test_numbers_that_all_differ_are_not_the_choice_of_an_option():
    rng = np.random.default_rng(0)
    parameters, _ = conditional(40)
    columns = columns_of({**parameters, "size": rng.integers(0, 3, 40)}, 40)
    assert _parents(columns) == [None, 0, None, None]


def test_given_parents():
    parameters, values = conditional(60)
    result, given = importance(parameters, values), importance(parameters, values, parents={"h": "part"})
    assert np.array_equal(result.shares, given.shares)
    raises_one_sentence(lambda: importance(parameters, values, parents={"h": "prior"}), "'prior'")
    loop = {"h": "part", "part": "h"}
    raises_one_sentence(lambda: importance(parameters, values, parents=loop), "back to it")


def test_one_diverged_trial_does_not_decide():
    x = uniform(100, "a", "b")
    values = 2 * x["a"] + x["b"]
    result = importance(x, values)
    diverged = np.where(np.arange(100) == 7, -1e6, values)
    assert np.allclose(shares(importance(x, diverged))["a"], shares(result)["a"], atol=0.1)


def test_only_finished_trials_are_used_unless_pruned_ones_are_asked_for():
    x = uniform(60, "a", "b")
    values = x["a"].copy()
    states = np.array(["complete", "pruned", "failed"] * 20)
    values[states == "failed"] = np.nan
    assert importance(x, values, states).trials == 20
    assert importance(x, values, states, pruned=True).trials == 40


def test_predicted_ends_of_parallel_curves_are_their_ends():
    ends = np.random.default_rng(0).normal(-20, 1, 12)
    curves = [{e: end - 9 * np.exp(-e / 3) for e in range(1, 10)} for end in ends]
    states = ["complete"] * 5 + ["pruned"] * 7
    wanted = [curve[9] for curve in curves]
    stopped = [curve if i < 5 else dict(list(curve.items())[: 1 + i % 4]) for i, curve in enumerate(curves)]
    assert np.allclose(predicted_ends(stopped, states), wanted)


def test_ends_that_cannot_be_predicted_are_nan():
    curves = [{2: -20.0, 3: -19.0}, {1: -30.0}, {}, {2: -21.0}, {1: -25.0}]
    ends = predicted_ends(curves, ["complete", "pruned", "pruned", "pruned", "failed"])
    assert np.array_equal(ends, [-19.0, np.nan, np.nan, -20.0, np.nan], equal_nan=True)
    raises_one_sentence(lambda: predicted_ends([{}], ["failed"]), "none of the 1 trials has a value")


def test_with_pruning_the_predicted_ends_show_what_mattered():
    x = uniform(60, "a", "b")
    ends = -20 + 2 * x["a"] + x["b"]
    order = np.argsort(-ends)
    states = np.where(np.isin(np.arange(60), order[:15]), "complete", "pruned")
    curves = [
        {e: v - 9 * np.exp(-e / 3) for e in range(1, 10 if state == "complete" else 3)}
        for v, state in zip(ends, states, strict=True)
    ]
    assert importance(x, ends, states).note is not None
    result = importance(x, predicted_ends(curves, states), states, pruned=True)
    assert result.trials == 60
    assert shares(result)["a"] == pytest.approx(0.8, abs=0.1)


def test_the_error_covers_the_spread_over_studies():
    found = []
    for seed in range(8):
        x = uniform(60, "a", "b", seed=seed)
        result = importance(x, 2 * x["a"] + x["b"])
        found.append((shares(result)["a"], result.errors[0]))
    spread, error = np.std([a for a, _ in found], ddof=1), np.mean([e for _, e in found])
    assert 0.6 < spread / error < 1.7


def test_the_same_seed_gives_the_same_shares():
    x = uniform(40, "a", "b")
    first, second = (importance(x, x["a"] + x["b"], seed=3) for _ in range(2))
    assert np.array_equal(first.shares, second.shares)
    frame = first.frame()
    assert list(frame.columns) == ["hyperparameter", "share", "error"]
    assert frame["share"].sum() == pytest.approx(1)


def test_a_constant_hyperparameter_has_no_share():
    x = uniform(40, "a")
    result = importance({**x, "fixed": ["Normal"] * 40, "never": [None] * 40}, x["a"])
    assert shares(result) == {"a": 1.0, "fixed": 0.0}


@pytest.mark.parametrize(
    ("parameters", "values", "note"),
    [
        (uniform(LEAST - 1, "a"), np.arange(LEAST - 1.0), f"{LEAST - 1} trials are finished"),
        (uniform(40, "a"), np.full(40, -20.0), "have the same value"),
        ({"a": [1] * 40}, np.arange(40.0), "no hyperparameter differs"),
        (uniform(60, "a", "b"), np.random.default_rng(1).normal(size=60), "explain 0% of the variance"),
    ],
)
def test_what_cannot_be_measured_is_nan_with_a_sentence(parameters, values, note):
    result = importance(parameters, values)
    assert np.isnan(result.shares).all()
    assert np.isnan(result.errors).all()
    assert note in result.note
    assert not result.note.endswith(".")
    assert ": " in result.note


def test_refusals():
    raises_one_sentence(lambda: importance({"a": [1.0]}, [-1.0, -2.0]), "a has 1 entries")
    raises_one_sentence(lambda: importance({"a": [1.0]}, [np.nan]), "none of the 1 trials has a value")
