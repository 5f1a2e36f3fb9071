"""Metrics of codes and factors: known answers, invariances, and errors that are those of repetitions."""

import math

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from pyrovae.datasets.factor_values import Factors
from pyrovae.factors import (
    DCI,
    IRS,
    MIG,
    SAP,
    BetaVAEScore,
    Coded,
    Explicitness,
    FactorVAEScore,
    Metric,
    Modularity,
    mutual_information,
)
from pyrovae.factors.base import as_factors
from pyrovae.factors.measuring import standard_metrics
from pyrovae.names import named_classes
from tests.support.parts import raises_one_sentence

N = 3000
LEVELS = 5
QUICK = [
    MIG(),
    DCI("lasso"),
    SAP(),
    BetaVAEScore(votes=1000),
    FactorVAEScore(votes=1000),
    Modularity(),
    Explicitness(),
    IRS(),
]
each_quick = pytest.mark.parametrize("metric", QUICK, ids=lambda metric: type(metric).__name__)


def uniform(count=4, rows=N, seed=0):
    """Independent factors with five values each, (rows, count)."""
    return np.random.default_rng(seed).integers(0, LEVELS, (rows, count)).astype(float)


def noise(count, rows=N, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, count))


def turned(values):
    """Neighbouring columns as their sum and their difference, like a rotation by 45 degrees."""
    a, b = values[:, ::2], values[:, 1::2]
    return np.concatenate([a + b, a - b], 1)


def scores(codes, factors, metrics=None):
    found = {}
    for metric in metrics or [*QUICK, DCI(rows=2000)]:
        found |= metric(codes, factors)
    return found


# -------------------------------------------------------------------- known answers


def test_a_latent_for_each_factor_scores_one():
    factors = uniform()
    codes = factors[:, [2, 0, 3, 1]] * [1.0, -2.0, 0.1, 3.0] + [0.0, 5.0, 0.0, -1.0]
    found = scores(codes, factors)
    assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=0.01)


def test_a_latent_for_each_factor_scores_one_also_for_words_and_real_numbers():
    values = np.random.default_rng(0).uniform(size=(N, 2))
    shape = np.random.default_rng(1).integers(0, 3, N)
    columns = {"shape": np.array(["circle", "heart", "square"])[shape], "x": values[:, 0], "y": values[:, 1]}
    codes = np.stack([values[:, 1], shape, values[:, 0]], 1)
    found = scores(codes, columns, [metric for metric in QUICK if not isinstance(metric, (DCI, IRS))])
    found |= scores(codes, columns, [DCI(rows=2000)])
    assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=0.02)
    # A real factor moves a little within one of its 20 intervals: 1/20 of its whole range.
    assert IRS()(codes, columns)["IRS"] == pytest.approx(1 - 2 / 3 / 20, abs=0.03)


def test_an_angle_is_predicted_by_its_cosine_and_sine():
    turn = np.random.default_rng(0).uniform(0, 2 * np.pi, N)
    x = noise(1)
    factors = Factors(np.column_stack([turn, x]), ("turn", "x"), ("angle", "continuous"))
    codes = np.column_stack([np.cos(turn), np.sin(turn), x])
    for metric in (DCI(rows=2000), DCI("lasso")):
        disentangled, complete, informative = metric(codes, factors).values()
        assert disentangled == pytest.approx(1.0, abs=0.01)
        # The angle needs two of three latents, and the other factor one.
        assert complete == pytest.approx((1 + 1 - math.log(2) / math.log(3)) / 2, abs=0.02)
        assert informative > 0.98


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("metric", [*QUICK, DCI(rows=100)], ids=str)
def test_a_value_that_occurs_once_leaves_scores_and_errors_finite(metric):
    factors = uniform(2, 100)
    factors[:, 1] = np.where(np.arange(100) == 7, 0.7, 0.1)  # half of the replicates have a single value
    codes = factors + 0.5 * noise(2, 100)
    values = [*metric(codes, factors).values(), *metric.errors(codes, factors).values()]
    assert np.isfinite(values).all()


def test_codes_without_information_score_as_chance_does():
    codes, factors = noise(4), uniform()
    for metric in [*QUICK, DCI(rows=2000)]:
        for name, value in metric(codes, factors).items():
            assert value == pytest.approx(metric.chance(4), abs=0.06), name
    assert FactorVAEScore().chance(4) == 0.25


def test_a_missing_factor_costs_its_share():
    factors = uniform(5)
    found = scores(factors[:, :4], factors)
    whole = {name: 1.0 for name in found if "disentanglement" in name or name == "modularity"}
    # The classifier of Higgins et al. takes the missing factor to be the one without any effect.
    whole |= {"beta-VAE score": 1.0, "IRS": 1.0}
    assert found == pytest.approx(dict.fromkeys(found, 0.8) | whole, abs=0.02)


def test_two_factors_mixed_in_two_latents():
    factors = uniform()
    found = scores(turned(factors), factors)
    assert found["MIG"] == pytest.approx(0.0, abs=0.02)
    assert found["SAP"] == pytest.approx(0.0, abs=0.06)
    # Each latent serves two factors alike: one of the three others is as informative as the first.
    assert found["modularity"] == pytest.approx(1 - 1 / 3, abs=0.03)
    for kind in ("", " (lasso)"):
        assert found[f"DCI disentanglement{kind}"] == pytest.approx(0.5, abs=0.05)
        assert found[f"DCI completeness{kind}"] == pytest.approx(0.5, abs=0.05)
    assert found["DCI informativeness (lasso)"] == pytest.approx(1.0, abs=0.01)
    assert found["explicitness"] == pytest.approx(1.0, abs=0.01)
    # Votes tell the pair of factors, and not which of the two; a sum moves by half given one of them.
    for name in ("beta-VAE score", "FactorVAE score", "IRS"):
        assert found[name] == pytest.approx(0.5, abs=0.06), name


def test_modularity_of_two_mixed_factors_is_zero():
    factors = uniform(2)
    assert Modularity()(turned(factors), factors)["modularity"] == pytest.approx(0.0, abs=0.06)


def test_irs_of_a_sum_is_a_half():
    factors = np.random.default_rng(0).choice([-1.0, 1.0], (4000, 2))
    codes = np.column_stack([factors.sum(1), factors[:, 0] - factors[:, 1]])
    # Given one factor, a latent moves by 1, and altogether by 2.
    assert IRS()(codes, factors)["IRS"] == pytest.approx(0.5, abs=0.02)


def test_irs_weighs_a_latent_by_how_far_it_moves():
    factors = uniform(2)
    codes = np.column_stack([factors[:, 0], factors[:, 1], 0.001 * noise(1), np.zeros(N)])
    assert IRS()(codes, factors)["IRS"] > 0.99


@pytest.mark.filterwarnings("error")
def test_irs_of_codes_that_do_not_move_is_zero():
    factors, codes = uniform(2), np.full((N, 2), 0.1)
    assert IRS()(codes, factors)["IRS"] == 0
    codes[:2] = [[0.2, 0.2], [0.0, 0.0]]  # two rows of 3,000: the quantile 0.99 does not see them
    assert IRS()(codes - 0.1, factors)["IRS"] == 0


def test_each_factor_in_two_latents():
    factors = uniform()
    found = scores(np.concatenate([factors, -2 * factors], 1), factors)
    assert (found["MIG"], found["SAP"]) == pytest.approx((0.0, 0.0), abs=1e-9)
    assert found["DCI completeness"] == pytest.approx(1 - math.log(2) / math.log(8), abs=0.1)
    votes = ("FactorVAE score", "beta-VAE score")
    for name in ("DCI disentanglement", "modularity", *votes, "explicitness", "IRS"):
        assert found[name] == pytest.approx(1.0, abs=0.01), name


def test_a_collapsed_latent_has_no_vote():
    factors = uniform(2)
    codes = np.column_stack([factors, 0.001 * noise(1)])
    codes[factors[:, 0] == 0, 2] = 0.0  # it varies least in some groups
    assert FactorVAEScore(votes=500)(codes, factors)["FactorVAE score"] == 1.0
    assert FactorVAEScore(votes=500)(0.001 * noise(3), factors)["FactorVAE score"] == 0.5
    table = FactorVAEScore(votes=500, least=0.0)(np.column_stack([factors, factors[:, 0]]), factors)
    assert table["FactorVAE score"] == 1.0


def test_a_constant_latent_changes_nothing():
    factors = uniform(3)
    codes = factors + 0.5 * noise(3)
    more = np.column_stack([codes, np.full(N, 0.3)])  # the mean of these rounds to another number
    for metric in [*QUICK, FactorVAEScore(votes=1000, least=0.0)]:
        if isinstance(metric, DCI):  # completeness counts the latents
            continue
        first, second = metric(codes, factors), metric(more, factors)
        assert second == pytest.approx(first, abs=0.01), metric


def test_rotation_lowers_what_asks_for_axes_and_not_what_asks_for_information():
    factors = uniform()
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 4)))[0]
    before, after = scores(factors, factors, QUICK), scores(factors @ turn, factors, QUICK)
    for name in ("MIG", "SAP", "DCI disentanglement (lasso)", "DCI completeness (lasso)", "IRS"):
        assert after[name] < before[name] - 0.3, name
    for name in ("explicitness", "DCI informativeness (lasso)"):
        assert after[name] == pytest.approx(before[name], abs=0.01)


# -------------------------------------------------------------------- information


def test_information_is_that_of_scikit_learn_and_of_closed_forms():
    codes, classes = noise(2), uniform(3).astype(int)
    codes[:, 0] += classes[:, 1]
    found = mutual_information(codes, classes)
    for j, code in enumerate(codes.T):
        edges = np.histogram_bin_edges(code, 20)
        cell = np.digitize(code, edges[1:-1])
        for k, value in enumerate(classes.T):
            assert found[j, k] == pytest.approx(mutual_info_score(value, cell), abs=1e-9)
    same = np.arange(1000)[:, None] % 4
    assert mutual_information(same, same)[0, 0] == pytest.approx(math.log(4))
    pair = np.column_stack([np.arange(1600) % 4, np.arange(1600) // 400])
    np.testing.assert_allclose(
        mutual_information(pair, pair[:, ::-1]), math.log(4) * np.eye(2)[::-1], atol=1e-9
    )


def test_modularity_leaves_latents_without_information_out():
    factors = uniform(3)
    codes = np.column_stack([factors, noise(4)])
    assert Modularity()(codes, factors)["modularity"] == pytest.approx(1.0, abs=0.01)
    # Independent codes pass the test in at most one of a thousand data sets; 200 find no latent.
    small = [Modularity()(noise(3, 500, seed), uniform(3, 500, seed)) for seed in range(200)]
    assert sum(found["modularity"] > 0 for found in small) <= 3


# -------------------------------------------------------------------- invariances


@each_quick
def test_order_and_scale_of_latents_and_order_of_factors_do_not_matter(metric):
    factors = uniform(3)
    codes = np.column_stack([factors @ [[2.0, 0.3, 0.0], [0.0, 1.0, 0.2], [0.4, 0.0, 1.0]], noise(1)])
    codes += 0.5 * noise(4, seed=5)
    other = codes[:, [3, 1, 0, 2]] * [0.7, 3.0, 10.0, 1.5] + [1.0, 0.0, -4.0, 2.0]
    same = scores(codes, factors, [metric])
    if not isinstance(metric, IRS):  # it weighs latents by their size
        assert scores(other, factors[:, [1, 2, 0]], [metric]) == pytest.approx(same, abs=0.03)
    assert scores(5 * codes, factors[:, [1, 2, 0]], [metric]) == pytest.approx(same, abs=0.03)


@each_quick
def test_the_seed_determines_the_scores_and_the_errors(metric):
    factors = uniform(3, 600)
    codes = factors + noise(3, 600)
    first, again, other = (metric(codes, factors, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert other == pytest.approx(first, abs=0.1)
    assert metric.errors(codes, factors, seed=1) == metric.errors(codes, factors, seed=1)


@pytest.mark.parametrize("metric", [MIG(), SAP(), IRS(), FactorVAEScore(votes=500), Modularity()], ids=str)
def test_errors_are_the_standard_deviation_over_data_sets(metric):
    mixing = np.array([[1.0, 0.6, 0.0], [0.0, 1.0, 0.0], [0.3, 0.0, 1.0]])

    def data(seed):
        factors = uniform(3, 1000, seed)
        return factors @ mixing + 2.0 * noise(3, 1000, seed + 1000), factors

    repeated = [metric(*data(seed), seed=seed) for seed in range(60)]
    estimated = [metric.errors(*data(seed), seed=seed) for seed in range(6)]
    for name in repeated[0]:
        truth = np.std([found[name] for found in repeated], ddof=1)
        assert 0.6 < np.mean([found[name] for found in estimated]) / truth < 2.0, name


class Mean(Metric):
    def scores(self, rows, rng):
        return {"mean": rows.codes.mean()}


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_the_error_of_a_mean_is_its_standard_error(monkeypatch, share):
    monkeypatch.setattr(Mean, "share", share)
    monkeypatch.setattr(Mean, "replicates", 1000)
    codes = np.repeat(noise(1, 400), 2, 1)
    found = Mean().errors(codes, uniform(2, 400))["mean"]
    assert found == pytest.approx(codes[:, 0].std() / math.sqrt(400), rel=0.12)


def test_no_row_of_a_replicate_is_in_both_halves():
    rows = Coded.of(np.arange(101)[:, None] * [1.0, 2.0], uniform(2, 101))
    rng = np.random.default_rng(0)
    for _ in range(20):
        part = MIG()._part(101, rng)
        assert len(set(part)) == len(part)
        assert len(part) in (50, 51)
        train, test = rows.take(part).halves
        assert train.codes[:, 0].max() < 50 <= test.codes[:, 0].min()


# -------------------------------------------------------------------- what is read and refused


def test_every_metric_has_a_source_and_says_its_choices():
    for metric in standard_metrics():
        assert metric.source
        assert all(f"{name}={value!r}" in metric.choices for name, value in metric.hyperparameters().items())
    classes = [cls for cls in named_classes(Metric).values() if cls.__module__.startswith("pyrovae")]
    assert {type(metric) for metric in standard_metrics()} == set(classes)


def test_kinds_of_factors_are_found_from_the_values():
    import pandas

    columns = {"word": ["a", "b", "a"], "level": [1, 2, 5], "real": [0.5, 0.25, 1]}
    frame = pandas.DataFrame(columns | {"on": [True, False, True]})
    factors = as_factors(frame)
    assert factors.names == ("word", "level", "real", "on")
    assert factors.kinds == ("categorical", "ordinal", "continuous", "categorical")
    assert factors.words[0] == ("a", "b")
    assert factors.values[:, 0].tolist() == [0, 1, 0]
    assert as_factors(np.arange(25.0)).kinds == ("continuous",)
    assert as_factors(factors) is factors


@pytest.mark.parametrize(
    ("codes", "factors", "words"),
    [
        (np.zeros((30, 2)), uniform(2, 31), "codes of 30 rows and factors of 31"),
        (np.zeros((10, 2)), uniform(2, 10), "10 rows: give at least 20"),
        (np.zeros((30, 1)), uniform(2, 30), "one latent"),
        (np.zeros((30, 2)), uniform(1, 30), "one factor"),
        (np.full((30, 2), np.nan), uniform(2, 30), "NaN"),
        (np.zeros(30), uniform(2, 30), "codes"),
        (np.zeros((30, 2)), uniform(2, 30) * [0, 1], "'factor 0' is the same in all rows: leave it out"),
        (np.zeros((30, 2)), {"a": [1, 2] * 15, "b": [1] * 29}, "numbers of rows"),
        (np.zeros((30, 2)), {"a": [1, 2] * 15, "b": [None, 2] * 15}, "the factor 'b'"),
        (np.zeros((30, 2)), None, "factors are None: give an array (N, F)"),
    ],
)
def test_codes_and_factors_that_cannot_be_compared_are_refused(codes, factors, words):
    raises_one_sentence(lambda: MIG()(codes, factors), words)


def test_options_are_checked():
    raises_one_sentence(lambda: DCI("forest"), "kind must be 'boosting' or 'lasso'")
    raises_one_sentence(lambda: MIG(bins=1), "bins")
    raises_one_sentence(lambda: IRS(quantile=2), "quantile")
    raises_one_sentence(lambda: FactorVAEScore(group=1), "group")
    raises_one_sentence(lambda: BetaVAEScore(votes=1), "votes")
    alone = Factors(np.arange(60.0).reshape(30, 2), ("a", "b"), ("ordinal", "ordinal"))
    raises_one_sentence(lambda: BetaVAEScore()(noise(2, 30), alone), "no two of 15 rows agree", "'a'")
