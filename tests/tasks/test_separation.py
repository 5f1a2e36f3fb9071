"""The AUROC: the value of scikit-learn, DeLong's error against a bootstrap, intervals that cover."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

import pyrovae as pv
from tests.support.parts import raises_one_sentence
from tests.support.same_runs import binary, small


def groups(seed=0, normal=60, anomalous=40, shift=1.0, ties=False):
    rng = np.random.default_rng(seed)
    b, a = rng.normal(0, 1, normal), rng.normal(shift, 1.5, anomalous)
    return (b.round(), a.round()) if ties else (b, a)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shift", [-2.0, 0.0, 1.0, 9.0])
def test_the_value_is_that_of_scikit_learn(shift, ties):
    b, a = groups(shift=shift, ties=ties)
    expected = roc_auc_score(np.r_[np.zeros(60), np.ones(40)], np.r_[b, a])
    np.testing.assert_allclose(pv.auroc(b, a).value, expected, atol=1e-12)
    np.testing.assert_allclose(pv.auroc(-b, -a).value, 1 - expected, atol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_the_error_is_that_of_the_sums_over_pairs(ties):
    b, a = groups(ties=ties)
    wins = (a[None] > b[:, None]) + 0.5 * (a[None] == b[:, None])
    variance = wins.mean(1).var(ddof=1) / len(b) + wins.mean(0).var(ddof=1) / len(a)
    np.testing.assert_allclose(pv.auroc(b, a).stderr, np.sqrt(variance), rtol=1e-12)


def test_the_error_is_that_of_a_bootstrap():
    b, a = groups(normal=300, anomalous=200)
    rng = np.random.default_rng(1)
    again = [pv.auroc(rng.choice(b, 300), rng.choice(a, 200)).value for _ in range(2000)]
    np.testing.assert_allclose(pv.auroc(b, a).stderr, np.std(again), rtol=0.1)


@pytest.mark.parametrize(("shift", "rows"), [(0.0, 30), (1.0, 30), (2.0, 60), (3.0, 400)])
def test_the_interval_covers_the_exact_area(shift, rows):
    """a - b is normal with mean `shift` and variance 1 + 1.5^2."""
    exact = norm.cdf(shift / np.hypot(1, 1.5))
    areas = [pv.auroc(*groups(seed, rows, rows, shift)) for seed in range(600)]
    inside = np.mean([area.low <= exact <= area.high for area in areas])
    assert 0.92 <= inside <= 0.98
    errors = np.mean([area.stderr for area in areas]) / np.std([area.value for area in areas])
    assert 0.9 < errors < 1.1


@pytest.mark.parametrize("rows", [2, 10, 1000])
def test_separated_rows_have_an_interval_of_positive_length(rows):
    area = pv.auroc(np.zeros(rows), np.ones(rows))
    assert (area.value, area.stderr, area.high) == (1.0, 0.0, 1.0)
    assert 0 < area.low < 1 - 1 / rows**2 / 4
    other = pv.auroc(np.ones(rows), np.zeros(rows))
    np.testing.assert_allclose([other.value, other.low, other.high], [0, 0, 1 - area.low], atol=1e-9)
    chance = pv.auroc(np.zeros(rows), np.zeros(rows))
    assert chance.value == 0.5
    assert chance.low < 0.5 < chance.high


def test_a_higher_level_has_a_wider_interval():
    b, a = groups()
    areas = [pv.auroc(b, a, level=level) for level in (0.5, 0.9, 0.99)]
    assert [area.low for area in areas] == sorted([area.low for area in areas], reverse=True)
    assert "99 % interval" in str(areas[2])


def test_scores_of_rows_are_taken_as_they_are():
    vae, x, zeros = small(), binary(20), torch.zeros(20, 1, 4, 4)
    zeros[:, 0, 0, 0] = torch.arange(20) % 2
    quick = {"particles": 5, "compile": False}
    b, a = (pv.score(vae, rows, **quick) for rows in (x, zeros))
    area = pv.auroc(b, a)
    np.testing.assert_allclose(area.value, pv.auroc(-b.log_px, -a.log_px).value)
    assert (area.normal, area.anomalous) == (20, 20)
    typical = pv.score(vae, x, kind="typicality", reference=x, **quick)
    raises_one_sentence(lambda: pv.auroc(typical, a), "different kinds", "'typicality'")


def test_infinite_scores_are_the_highest():
    assert pv.auroc([0.0, 1.0], [np.inf, np.inf]).value == 1.0
    assert pv.auroc([np.inf, 1.0], [np.inf, np.inf]).value == 0.75


def test_what_has_no_area_is_refused():
    raises_one_sentence(lambda: pv.auroc([1.0], [1.0, 2.0]), "normal has 1 score", "more rows")
    raises_one_sentence(lambda: pv.auroc([1.0, 2.0], [1.0, np.nan]), "anomalous has NaN at row 1")
    raises_one_sentence(lambda: pv.auroc([1.0, 2.0], [[1.0, 2.0]]), "anomalous")
    raises_one_sentence(lambda: pv.auroc([1.0, 2.0], ["a", "b"]), "anomalous")
    raises_one_sentence(lambda: pv.auroc([1.0, 2.0], [1.0, 2.0], level=1), "level")
