"""Rankings: the error of a difference over seeds and rows, and what is not ranked."""

from dataclasses import replace

import numpy as np
import pytest

from pyrovae.errors import InputError
from pyrovae.evidence import log_evidence
from pyrovae.evidence.units import Units
from pyrovae.oracles import LinearGaussian
from pyrovae.searching.ranking import alike, rank, rank_scored
from pyrovae.searching.trial import Scored

D = 4


def scores(rng, tau, seeds, x):
    """log p(x) of N(m_s, I), whose mean m_s ~ N(0, tau^2 I) is what training with a seed gave."""
    means = tau * rng.standard_normal((seeds, 1, D))
    return -0.5 * ((x - means) ** 2).sum(-1) - D / 2 * np.log(2 * np.pi)


@pytest.mark.parametrize(("seeds", "others"), [(12, 12), (12, 16)])
def test_the_error_covers_the_known_difference(seeds, others):
    """x ~ N(0, I), so E log p = c - D (1 + tau^2) / 2 exactly; two errors cover it in 95 % of 400."""
    rng, covered, by_rows = np.random.default_rng(0), 0, 0
    right = D * (0.1**2 - 0.25**2) / 2
    for _ in range(400):
        x = rng.standard_normal((1, 300, D))
        a, b = scores(rng, 0.25, seeds, x), scores(rng, 0.1, others, x)
        ranking = rank({"a": a, "b": b})
        wrong = abs(ranking.difference[1] - (right if ranking.names[1] == "a" else -right))
        covered += wrong < 2 * ranking.difference_stderr[1]
        only_rows = (a.mean(0) - b.mean(0)).std(ddof=1) / 300**0.5
        by_rows += wrong < 2 * only_rows
    assert 0.90 < covered / 400 < 0.985  # a t-distribution with 11 degrees of freedom has 0.93
    assert by_rows / 400 < 0.75  # the seeds matter


def test_one_seed_has_the_error_over_rows():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 50))
    ranking = rank({"a": a - 3, "b": b})
    assert ranking.names == ("b", "a")
    assert ranking.difference_stderr[1] == pytest.approx((a - b).std(ddof=1) / 50**0.5)
    assert np.isnan(ranking.spread).all()
    assert "spread" not in str(ranking)


def test_the_formula():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((2, 3, 7))
    a = a - 2
    ranking, d = rank({"a": a, "b": b}), a - b
    square = d.mean(1).var(ddof=1) / 3 + d.mean(0).var(ddof=1) / 7
    assert ranking.difference_stderr[1] == pytest.approx(square**0.5)
    assert ranking.spread[1] == pytest.approx(a.mean(1).std(ddof=1))
    assert ranking.difference[1] == pytest.approx(d.mean())
    assert (ranking.difference[0], ranking.difference_stderr[0]) == (0, 0)


def test_a_shared_row_effect_cancels():
    rng = np.random.default_rng(3)
    hard = 100 * rng.standard_normal(400)
    ranking = rank({"a": hard + 0.01 * rng.standard_normal((2, 400)), "b": np.stack([hard, hard]) + 1})
    assert ranking.stderr.min() > 3
    assert ranking.difference_stderr[1] < 0.01


def test_the_table_has_what_is_printed():
    ranking = rank({"a": [[-2.0, -4.0], [-3.0, -5.0]], "b": [[-1.0, -3.5], [-1.5, -3.0]]})
    table = ranking.table
    assert list(table.index) == ["b", "a"]
    assert table.loc["a", "difference"] == -1.25
    assert str(ranking).splitlines()[2].split()[:2] == ["a", "-3.500"]


@pytest.mark.parametrize(
    ("log_px", "word"),
    [
        ({}, "nothing to rank"),
        ({"a": [[1.0]], "b": [[1.0, 2.0]]}, "same rows"),
        ({"a": [[1.0, np.nan]]}, "NaN"),
        ({"a": [[[1.0]]]}, r"\(seeds, rows\)"),
    ],
)
def test_what_cannot_be_ranked_is_refused(log_px, word):
    with pytest.raises(InputError, match=word):
        rank(log_px)


def scored(seed=0, rows=6, **changes):
    oracle = LinearGaussian.random(event_dim=3, latent_dim=1, seed=0)
    evidence = log_evidence(oracle, oracle.sample(rows), particles=3, seed=seed)
    return Scored(evidence.log_px, np.arange(rows), evidence.units, "log p(x)", "")._replace(**changes)


def test_trials_of_the_same_rows_are_ranked():
    ranking = rank_scored({"a": [scored(0), scored(1)], "b": [scored(2), scored(3)]})
    assert ranking.seeds.tolist() == [2, 2]
    assert ranking.units == str(scored().units)


def test_trials_of_other_rows_units_or_quantities_are_not():
    one = scored()
    mass = one._replace(units=replace(one.units, measure="mass"))
    cases = {
        "rank them separately": [mass, one._replace(quantity="log p(x | c)")],
        "same rows": [scored(rows=5), one._replace(index=np.arange(1, 7))],
    }
    for sentence, others in cases.items():
        for other in others:
            with pytest.raises(InputError, match=sentence):
                rank_scored({"a": [one], "b": [other]})
    with pytest.raises(InputError, match="nothing to rank"):
        rank_scored({"a": [one], "b": []})


def test_groups_of_the_same_units():
    one = scored()
    mass = one._replace(units=Units(measure="mass"))
    groups = alike({"a": [one], "b": [mass], "c": [one]})
    assert [list(group) for group in groups] == [["a", "c"], ["b"]]
