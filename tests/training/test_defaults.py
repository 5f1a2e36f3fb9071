"""The settings that a user leaves open: chosen by the size of the data, or those of a run that is resumed."""

import numpy as np
import pytest
import torch
import yaml

import pyrovae as pv
from pyrovae.training.defaults import Facts, chosen
from tests.support.parts import raises_one_sentence

OPEN = dict.fromkeys(("batch_size", "epochs", "lr", "lr_schedule", "kl_warmup", "keep")) | {
    "patience": "auto"
}
QUIET = {"progress": False, "figures": False, "compile": False}


def small():
    torch.manual_seed(0)
    net = pv.networks.MLP(4)
    return pv.VAE(3, latent_dim=1, encoder=net, decoder=net, likelihood=pv.likelihoods.Normal("learned"))


@pytest.fixture(scope="module")
def data():
    return pv.datasets.load(torch.randn(60, 3, generator=torch.Generator().manual_seed(1)))


def config(folder):
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return {name: settings[name] for name in OPEN}


@pytest.mark.parametrize(
    ("rows", "batch_size", "epochs", "patience"),
    [
        (1, 1, 200, 100),
        (10, 10, 200, 100),
        (100, 16, 200, 100),
        (1_257, 62, 200, 100),
        (12_000, 100, 125, 62),
        (54_000, 100, 28, 20),
        (10**6, 100, 25, 20),
    ],
)
def test_they_follow_the_number_of_rows(rows, batch_size, epochs, patience):
    settings = chosen(OPEN, Facts(rows))
    assert settings == {
        "batch_size": batch_size,
        "epochs": epochs,
        "lr": 0.003 if rows >= 10_000 else 0.002,
        "lr_schedule": "cosine",
        "kl_warmup": epochs / 10,
        "keep": "objective",
        "patience": patience,
    }


def test_those_given_are_kept_and_the_others_follow_them():
    settings = chosen(OPEN | {"epochs": 70, "lr": 0.1, "patience": None}, Facts(1000, anneals=False))
    assert (settings["epochs"], settings["lr"], settings["patience"], settings["kl_warmup"]) == (
        70,
        0.1,
        None,
        0.0,
    )
    assert chosen(OPEN | {"batch_size": 500}, Facts(54_000))["epochs"] == 139
    assert chosen(OPEN | {"epochs": 100}, Facts(1000))["kl_warmup"] == 10


def test_the_rate_stays_for_components_that_start_late():
    assert chosen(OPEN, Facts(1000, late=True))["lr_schedule"] == "constant"


def test_fit_uses_and_stores_them(data, tmp_path):
    run = pv.fit(small(), data, epochs=20, out=tmp_path / "r", **QUIET)
    expected = chosen(OPEN | {"epochs": 20}, Facts(len(data.train)))
    assert config(tmp_path / "r") == expected
    assert run.history["lr"][0] == pytest.approx(0.002, rel=0.05)
    assert run.history["lr"][-1] < 1e-4


def test_an_objective_without_kl_is_not_warmed_up(data, tmp_path):
    pv.fit(small(), data, pv.objectives.ScoreFunction(), epochs=1, out=tmp_path / "a", **QUIET)
    objective = pv.objectives.ReweightedWakeSleep(particles=2)
    assert not objective.anneals
    pv.fit(small(), data, objective, epochs=1, out=tmp_path / "b", **QUIET)
    assert config(tmp_path / "b")["kl_warmup"] == 0


def test_a_resumed_run_keeps_its_own(data, tmp_path):
    """Also one that an older version began: it stored all its settings."""
    own = {"lr": 1e-3, "lr_schedule": "constant", "kl_warmup": 0.0, "patience": None, "batch_size": 30}
    pv.fit(small(), data, epochs=2, out=tmp_path / "r", **own, **QUIET)
    whole = pv.fit(small(), data, epochs=4, **own, **QUIET)
    run = pv.fit(small(), data, epochs=4, out=tmp_path / "r", resume=True, **QUIET)
    assert config(tmp_path / "r") == own | {"epochs": 4, "keep": "objective"}
    np.testing.assert_array_equal(run.history["validation"], whole.history["validation"])
    again = pv.fit(small(), data, out=tmp_path / "r", resume=True, **QUIET)  # epochs of the run: it is over
    assert len(again.history["epoch"]) == 4


def test_epochs_cannot_change_under_a_schedule_that_ends(data, tmp_path):
    pv.fit(small(), data, epochs=1, out=tmp_path / "r", **QUIET)
    raises_one_sentence(
        lambda: pv.fit(small(), data, epochs=2, out=tmp_path / "r", resume=True, **QUIET),
        "another epochs (was 1 and is 2), at which its cosine schedule ends: resume with the same, or",
    )


def test_a_run_stops_when_its_bound_no_longer_improves(data):
    """Three parameters too many: 60 rows of noise are soon learned by heart."""
    run = pv.fit(None, data, **QUIET)
    assert len(run.history["epoch"]) == run.best_epoch + 100 < 200


@pytest.mark.parametrize("setting", ["lr", "epochs", "batch_size", "patience", "kl_warmup", "lr_schedule"])
def test_bad_ones_are_refused_by_name(data, setting):
    raises_one_sentence(lambda: pv.fit(small(), data, **{setting: "x"}, **QUIET), setting)


def test_they_are_printed(data, capsys):
    pv.fit(small(), data, epochs=20, patience=9, figures=False, compile=False)
    assert capsys.readouterr().out.startswith(
        "20 epochs in batches of 16, adam, cosine learning rate 0.002, the KL divergence grows over 2 "
        "epochs, ends after 9 without a better objective\n"
    )
    quiet = {"kl_warmup": 0, "patience": None, "lr_schedule": "constant"}
    pv.fit(small(), data, epochs=1, figures=False, compile=False, **quiet)
    assert capsys.readouterr().out.startswith(
        "1 epochs in batches of 16, adam, constant learning rate 0.002\n"
    )
