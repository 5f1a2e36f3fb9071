"""Weights of rows: integer weights count as repeated rows in expectation, and zero as no row."""

import numpy as np
import pytest
import torch

import pyrovae
from pyrovae import datasets
from pyrovae.networks import MLP
from pyrovae.sklearn import VAEDensity, VAEOutlierDetector
from pyrovae.sklearn.outliers import offset_of
from pyrovae.sklearn.weights import systematic, weighted

FAST = {"encoder": MLP(8), "decoder": MLP(8), "epochs": 2, "compile": False, "random_state": 0}


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(60, 2))


def test_rows_of_epochs_are_in_proportion_to_weights():
    weights = torch.tensor([2.0, 0.0, 0.3, 1.0, 1.7])
    data = weighted(datasets.load(np.arange(100.0)[:, None], validation=0.1, test=1), weights.repeat(20))
    values = torch.cat([data.epoch(number, 0).x.flatten() for number in range(400)]).long()
    assert len(values) == 400 * len(data.train)
    counts = torch.bincount(values, minlength=100)[data.train.index] / 400
    expected = data.weights / data.weights.mean()
    assert bool((counts[data.weights == 0] == 0).all())
    assert (counts - expected).abs().max() < 0.15
    each = torch.bincount(data.epoch(1, 0).x.flatten().long(), minlength=100)[data.train.index]
    assert bool(((each - expected).abs() < 1).all())
    assert bool((data.epoch(7, 1).x == data.epoch(7, 1).x).all())


def test_components_start_from_rows_that_are_chosen_by_their_weights(monkeypatch):
    x = np.concatenate([np.full((40, 1), 7.0), np.zeros((40, 1))]) + np.arange(80.0)[:, None] / 1e3
    seen = []
    begin = pyrovae.VAE.begin_epoch

    def noted(self, epoch, some):
        seen.append(some().x[:, 0])
        return begin(self, epoch, some)

    monkeypatch.setattr(pyrovae.VAE, "begin_epoch", noted)
    VAEDensity(1, **FAST).fit(x, sample_weight=np.repeat([3.0, 1.0], 40))
    assert len(seen[0]) == 72  # without the validation rows
    assert float((seen[0] > 5).double().mean()) == pytest.approx(0.75, abs=0.05)


def test_equal_weights_use_each_row_once():
    assert systematic(torch.full((7,), 0.3), torch.Generator().manual_seed(1)).tolist() == list(range(7))


def test_equal_weights_change_nothing(x):
    plain = VAEDensity(1, **FAST).fit(x).score_samples(x)
    assert (VAEDensity(1, **FAST).fit(x, sample_weight=np.full(60, 0.2)).score_samples(x) == plain).all()
    assert (VAEDensity(1, **FAST).fit(x, sample_weight=np.arange(60)).score_samples(x) != plain).all()


def test_rows_without_weight_are_as_if_they_were_not_there(x):
    weights = np.where(np.arange(60) < 20, 0.0, np.arange(60) % 3 + 1.0)
    far = np.where(weights[:, None] == 0, 1e3, x)
    some = VAEDensity(1, **FAST).fit(far, sample_weight=weights)
    alone = VAEDensity(1, **FAST).fit(x[20:], sample_weight=weights[20:])
    assert (some.score_samples(x) == alone.score_samples(x)).all()


def test_the_density_is_that_of_the_weighted_rows():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (100, 1)), rng.normal(20, 1, (100, 1))])
    weights = np.repeat([9.0, 1.0], 100)
    model = VAEDensity(1, **FAST | {"epochs": 30, "lr": 0.04}).fit(x, sample_weight=weights)
    assert (model.sample(2000, random_state=0) > 10).mean() == pytest.approx(0.1, abs=0.06)


def test_the_offset_is_that_of_repeated_rows(x):
    scores, weights = x[:, 0], np.arange(60) % 4
    assert offset_of(scores, 0.2, weights) == offset_of(np.repeat(scores, weights), 0.2)
    assert VAEOutlierDetector(1, **FAST).fit(x, sample_weight=weights).offset_ < 0


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.full(60, -1.0), "0 or more"),
        (np.zeros(60), "zero"),
        (np.ones(59), "inconsistent|shape"),
        (np.eye(60)[0], "n_samples = 1"),
        (np.full(60, np.nan), "NaN"),
    ],
)
def test_wrong_weights_are_refused(x, weights, message):
    with pytest.raises(ValueError, match=message):
        VAEDensity(1, **FAST).fit(x, sample_weight=weights)
