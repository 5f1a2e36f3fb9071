"""Factors of data: values, names, kinds and classes, through every operation on the data."""

import math
from dataclasses import replace

import pytest
import torch

from pyrovae import datasets
from pyrovae.datasets.copies import repeated
from pyrovae.datasets.factor_values import Factors, FactorSplits
from tests.support.parts import raises_one_sentence

SHAPES = ("square", "ellipse", "heart")
NAMES, KINDS = ("shape", "size", "x", "turn"), ("categorical", "ordinal", "continuous", "angle")
DOMAINS = ((0, 1, 2), (0.5, 0.75, 1), (-1, 1), (0, 2 * math.pi))


def factors(rows=4):
    values = torch.tensor(
        [[0, 0.5, -1, 0], [2, 1, 1, 2 * math.pi], [1, 0.75, 0, math.pi], [1, 0.5, -0.1, 0.1]]
    )
    return Factors(values[:rows].double().clamp(max=2 * math.pi), NAMES, KINDS, DOMAINS)


def test_a_factor_is_a_column():
    assert factors().values.shape == (len(factors()), len(NAMES)) == (4, 4)
    assert factors()["size"].tolist() == [0.5, 1, 0.75, 0.5]
    assert factors().values.dtype == torch.float64
    assert "4 rows: shape (categorical), size (ordinal)" in repr(factors())


@pytest.mark.parametrize("rows", [[3, 1], slice(0, 2), torch.tensor([True, False, True, False])])
def test_rows_are_taken_with_the_same_domains(rows):
    some = factors().take(rows)
    assert some.values.tolist() == factors().values[rows].tolist()
    assert some.domains == factors().domains == tuple(tuple(map(float, d)) for d in DOMAINS)


def test_classes_depend_on_the_domain_and_not_on_the_rows():
    assert factors().classes(bins=4).tolist() == [[0, 0, 0, 0], [2, 2, 3, 3], [1, 1, 2, 2], [1, 0, 1, 0]]
    assert factors().take([2]).classes(bins=4).tolist() == [[1, 1, 2, 2]]
    assert factors().classes().max(0).values.tolist() == [2, 2, 19, 19]
    assert factors().classes().dtype == torch.int64


def test_a_value_on_an_edge_is_in_the_upper_bin_whatever_the_rounding():
    for steps in (20, 40):
        grid = torch.arange(steps, dtype=torch.float64) * (2 * math.pi / steps)
        classes = Factors(grid[:, None], ["turn"], ["angle"]).classes(bins=20)
        assert classes[:, 0].bincount().tolist() == [steps // 20] * 20


def test_scaled_values_are_shares_of_the_range():
    assert factors().scaled()[:2].tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert Factors([[3.0], [3.0]], ["x"], ["continuous"]).scaled().tolist() == [[0], [0]]


def test_domains_come_from_the_values_by_default():
    own = Factors([[2, 0.5, 3], [7, 1, 1]], ["a", "b", "c"], ["ordinal", "continuous", "angle"])
    assert own.domains == ((2, 7), (0.5, 1), (0, 2 * math.pi))


@pytest.mark.parametrize(
    ("values", "names", "kinds", "domains", "word"),
    [
        ([[1.0]], ["a", "b"], ["ordinal"], (), "2 names"),
        ([1.0], ["a"], ["ordinal"], (), "shape"),
        ([[1.0]], ["a"], ["nominal"], (), "categorical, ordinal"),
        ([[1.0, 2]], ["a", "a"], ["ordinal"] * 2, (), "different names"),
        ([[math.nan]], ["a"], ["ordinal"], (), "not finite"),
        ([["red"]], ["a"], ["categorical"], (), "numbers"),
        ([[3.0]], ["a"], ["ordinal"], ((1, 2),), "value 3 outside"),
        ([[3.0]], ["a"], ["continuous"], ((1, 2),), "value 3 outside"),
        ([[7.0]], ["a"], ["angle"], (), "value 7 outside"),
        ([[1.0]], ["a"], ["ordinal"], ((2, 1),), "ascending"),
        ([[1.0]], ["a"], ["continuous"], ((0, 1, 2),), "two bounds"),
        ([[1.0]], ["a"], ["continuous"], ((0, 1), (0, 1)), "one domain"),
    ],
)
def test_faults_are_refused_in_one_sentence(values, names, kinds, domains, word):
    raises_one_sentence(lambda: Factors(values, names, kinds, domains), word)


def test_words_stand_for_the_values_of_the_domain():
    some = Factors([[1], [2]], ["shape"], ["categorical"], words=[SHAPES])
    assert some.domains == ((0, 1, 2),)
    assert [some.words[0][k] for k in some.classes()[:, 0]] == ["ellipse", "heart"]
    few = {"domains": [(1, 2)], "words": [SHAPES]}
    raises_one_sentence(lambda: Factors([[1], [2]], ["shape"], ["categorical"], **few), "'shape' has 3 words")
    raises_one_sentence(
        lambda: Factors([[0.5]], ["x"], ["continuous"], words=[("low", "high")]), "'x' has 2 words"
    )
    raises_one_sentence(lambda: Factors([[3]], ["shape"], ["ordinal"], words=[SHAPES]), "value 3 outside")


def test_an_unknown_factor_is_refused_with_the_known_ones():
    raises_one_sentence(lambda: factors()["sise"], "did you mean 'size'")
    raises_one_sentence(lambda: factors().classes(bins=0), "bins")


def test_data_without_factors_have_none():
    assert datasets.load("digits").factors is None


def test_copied_rows_keep_their_factors():
    data = datasets.load("digits", labels=True, known=20)
    values = {part: getattr(data, part).index[:, None].double() for part in ("train", "validation", "test")}
    splits = FactorSplits(**{part: Factors(v, ["row"], ["ordinal"]) for part, v in values.items()})
    data = repeated(replace(data, factors=splits), 3)
    assert data.factors.train["row"].tolist() == data.train.index.tolist()
