"""A sweep: ordinary runs, resumed where something is missing, and one table with errors."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas
import pytest
import torch

import pyrovae as pv
from pyrovae.choices import OneOf, Real
from pyrovae.errors import InputError
from pyrovae.evidence import PSIS, log_evidence
from pyrovae.likelihoods import Bernoulli, ContinuousBernoulli
from pyrovae.networks import MLP
from pyrovae.searching import Space, sweep_result
from pyrovae.searching.sweep import sweep
from pyrovae.searching.trial import Score

SMALL = {"encoder": MLP(8), "decoder": MLP(8), "epochs": 1, "compile": False}
QUICK = {"seeds": 2, "particles": 5, "progress": False}


@pytest.fixture(scope="module")
def data():
    return pv.datasets.load("digits", binarize="threshold", count=200)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A sweep of two sizes and two rates, two seeds each."""
    space = SMALL | {"latent_dim": OneOf(1, 3), "lr": OneOf(1e-3, 1e-2)}
    return sweep(space, data, out=tmp_path_factory.mktemp("sweep") / "a", **QUICK)


def stamps(folder, name="*.ckpt"):
    return {path: path.stat().st_mtime_ns for path in folder.rglob(name)}


def test_each_run_is_the_run_that_fit_makes(finished, data):
    torch.manual_seed(1)
    vae = pv.VAE.suited(data, latent_dim=3, encoder=MLP(8), decoder=MLP(8))
    pv.fit(vae, data, epochs=1, lr=1e-3, seed=1, compile=False, progress=False)
    run = pv.load(finished.folder / "latent_dim=3,lr=0.001" / "seed-1")
    assert all(torch.equal(a, b) for a, b in zip(run.parameters(), vae.parameters(), strict=True))
    right = log_evidence(vae, data.test, particles=5)
    own = finished.runs["latent_dim=3 lr=0.001"][1].scored
    np.testing.assert_allclose(own.log_px, right.log_px, atol=1e-4)


def test_a_run_of_the_sweep_is_as_from_fit(finished):
    run = finished.run("latent_dim=3 lr=0.001", seed=1)
    assert (run.program.latent_dim, run.best_epoch, len(run.history["train"])) == (3, 1, 1)
    with pytest.raises(InputError, match="did you mean 'latent_dim=1 lr=0.01' or"):
        finished.run("latent_dim=1 lr=0.02")
    with pytest.raises(InputError, match="with seed 7"):
        finished.run("latent_dim=1 lr=0.01", seed=7)


def test_the_table_has_the_mean_and_the_paired_error(finished):
    table, runs = finished.table, finished.runs
    assert list(table.index) == [
        "latent_dim=1 lr=0.001", "latent_dim=1 lr=0.01", "latent_dim=3 lr=0.001", "latent_dim=3 lr=0.01"
    ]  # fmt: skip
    arrays = {name: np.stack([runs[name][seed].scored.log_px for seed in (0, 1)]) for name in table.index}
    best = arrays[finished.best]
    for name, row in table.iterrows():
        own, difference = arrays[name], arrays[name] - best
        square = difference.mean(1).var(ddof=1) / 2 + difference.mean(0).var(ddof=1) / own.shape[1]
        assert row["mean"] == pytest.approx(own.mean())
        assert row["spread"] == pytest.approx(own.mean(1).std(ddof=1))
        assert row["difference"] == pytest.approx(difference.mean())
        assert row["difference_stderr"] == pytest.approx(square**0.5)
        assert row["validation"] == pytest.approx(np.mean([runs[name][s].value for s in (0, 1)]))
    assert table["mean"].idxmax() == finished.best
    assert table["latent_dim"].tolist() == [1, 1, 3, 3]
    assert table["failed"].tolist() == [0, 0, 0, 0]


def test_the_files_are_written(finished):
    stored = pandas.read_csv(finished.folder / "table.csv", index_col="name")
    np.testing.assert_allclose(stored["mean"], finished.table["mean"])
    assert (finished.folder / "sweep.png").stat().st_size > 1000
    assert str(finished).splitlines()[:2] == [
        "4 points with 2 seeds: nats per observation, 40 rows of the test set",
        "importance sampling with 5 particles, a lower bound",
    ]


def test_a_second_call_does_nothing_again(finished, data, capsys):
    before = stamps(finished.folder)
    space = SMALL | {"latent_dim": OneOf(1, 3), "lr": OneOf(1e-3, 1e-2)}
    again = sweep(space, data, out=finished.folder, **(QUICK | {"progress": True}))
    assert stamps(finished.folder) == before
    pandas.testing.assert_frame_equal(again.table, finished.table)
    assert capsys.readouterr().out == "8 of 8 runs are done\n"


def test_what_is_missing_is_done(data, tmp_path):
    space = SMALL | {"latent_dim": OneOf(1, 2)}
    first = sweep(space, data, out=tmp_path / "a", **QUICK)
    (tmp_path / "a/latent_dim=2/seed-1/trial.json").write_text("{")
    kept = first.folder / "latent_dim=1" / "seed-0" / "last.ckpt"
    before = kept.stat().st_mtime_ns
    more = sweep(space, data, out=tmp_path / "a", **(QUICK | {"seeds": 3}))
    assert more.table["seeds"].tolist() == [3, 3]
    assert kept.stat().st_mtime_ns == before
    for name, runs in first.runs.items():
        for seed, run in runs.items():
            np.testing.assert_array_equal(more.runs[name][seed].scored.log_px, run.scored.log_px)


def test_other_rows_or_another_method_are_scored_without_training(data, tmp_path):
    space = SMALL | {"latent_dim": OneOf(1, 2)}
    first = sweep(space, data, out=tmp_path / "a", **QUICK)
    before = stamps(tmp_path, "last.ckpt")
    second = sweep(space, data, out=tmp_path / "a", split="validation", method=PSIS(), rows=7, **QUICK)
    assert stamps(tmp_path, "last.ckpt") == before
    assert len(second.runs["latent_dim=1"][0].scored.log_px) == 7
    assert "7 rows of the validation set" in str(second)
    assert first.best in ("latent_dim=1", "latent_dim=2")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"latent_dim": OneOf(1, 4)}, r"space.latent_dim.choose was \[1, 2\] and is \[1, 4\]"),
        ({"epochs": 2}, "epochs was 1"),
    ],
)
def test_another_space_is_refused(change, words, data, tmp_path):
    space = SMALL | {"latent_dim": OneOf(1, 2)}
    sweep(space, data, out=tmp_path / "a", **QUICK)
    before = stamps(tmp_path)
    with pytest.raises(InputError, match=words):
        sweep(space | change, data, out=tmp_path / "a", **QUICK)
    other = pv.datasets.load("digits", binarize="threshold", count=199)
    with pytest.raises(InputError, match="data.declaration.count was 200 and is 199"):
        sweep(space, other, out=tmp_path / "a", **QUICK)
    assert stamps(tmp_path) == before


def test_options_that_change_no_result_may_change(data, tmp_path):
    space = SMALL | {"latent_dim": OneOf(1, 2)}
    sweep(space, data, out=tmp_path / "a", **QUICK)
    sweep(space | {"checkpoint_seconds": 5.0}, data, out=tmp_path / "a", **QUICK)


def test_a_point_that_fails_is_recorded_and_the_others_go_on(data, tmp_path):
    """A Gaussian mixture of 0 components is refused, and a rate of 1e9 gives a loss of NaN."""
    space = SMALL | {"latent_dim": 2, "lr": OneOf(1e-3, 1e9)}
    result = sweep(space, data, out=tmp_path / "a", **QUICK)
    assert list(result.runs) == ["lr=0.001"]
    assert {key[0] for key in result.failures} == {"lr=1e+09"}
    table = result.table
    assert table["failed"].tolist() == [0, 2]
    assert table["seeds"].tolist() == [2, 0]
    assert np.isnan(table.loc["lr=1e+09", "mean"])
    assert "\nlr=1e+09, seed" in str(result)
    assert (tmp_path / "a/sweep.png").exists()


def test_seeds_that_fail_alike_share_a_line(data, tmp_path):
    space = SMALL | {"latent_dim": 2, "batch_size": OneOf(16, 1000)}
    text = str(sweep(space, data, out=tmp_path / "a", **QUICK))
    assert "\nbatch_size=1000, seeds 0, 1: failed, batch_size 1000 is larger than the 140" in text


def test_if_all_fail_their_sentence_is_the_error(data, tmp_path):
    with pytest.raises(InputError, match=r"all 4 runs failed, the first \(lr=-1\) with: lr must be"):
        sweep(SMALL | {"lr": OneOf(-1, -2)}, data, out=tmp_path / "a", **QUICK)


@pytest.mark.parametrize(
    ("space", "options", "words"),
    [
        ({"latent_dim": 2}, {}, "no choices"),
        ({"lr": Real(0.1, 0.2)}, {}, "no finite list"),
        ({"latent_dim": OneOf(1, 2)}, {"seeds": 0}, "seeds must be"),
        ({"latent_dim": OneOf(1, 2)}, {"seeds": [1, 1]}, "different whole numbers"),
        ({"latent_dim": OneOf(1, 2)}, {"jobs": 0}, "jobs must be"),
        ({"latent_dim": OneOf(1, 2)}, {"split": "train"}, "split must be"),
        ({"binarize": OneOf("dynamic", "static")}, {}, "changes the data"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_a_folder_is_made(space, options, words, data, tmp_path):
    with pytest.raises(InputError, match=words):
        sweep(SMALL | space, data, out=tmp_path / "a", **(QUICK | options))
    assert not (tmp_path / "a").exists()


def test_two_kinds_of_log_px_get_two_rankings(tmp_path):
    data = pv.datasets.load("digits", count=200)
    space = SMALL | {"likelihood": OneOf(ContinuousBernoulli(), pv.likelihoods.DiscretizedLogistic(17))}
    result = sweep(space, data, out=tmp_path / "a", **(QUICK | {"seeds": 1}))
    assert len(result.rankings) == 2
    assert result.table["units"].nunique() == 2
    assert "the probability of discrete values" in str(result)
    with pytest.raises(InputError, match="no single best point"):
        _ = result.best


def test_two_processes_give_the_table_of_one(data, finished, tmp_path):
    space = SMALL | {"latent_dim": OneOf(1, 3), "lr": OneOf(1e-3, 1e-2)}
    two = sweep(space, data, out=tmp_path / "a", jobs=2, **QUICK)
    columns = ["mean", "stderr", "spread", "difference", "difference_stderr"]
    pandas.testing.assert_frame_equal(two.table[columns], finished.table[columns], atol=1e-3)


def test_rows_in_memory_can_be_swept(tmp_path):
    x = torch.rand(60, 3, generator=torch.Generator().manual_seed(0)).round()
    space = SMALL | {"latent_dim": OneOf(1, 2), "likelihood": Bernoulli()}
    result = sweep(space, x, out=tmp_path / "a", split="validation", **QUICK)
    assert result.table["seeds"].tolist() == [2, 2]


# ---------------------------------------------------------------- the figure


def panel(points, seeds=(0, 1), **values):
    """A sweep whose runs have given means: name -> means over seeds."""

    class Run:
        def __init__(self, mean):
            self.scored = type("Scored", (), {"log_px": np.array([mean, mean])})

    result = object.__new__(sweep_result.Sweep)
    for name, value in {"points": points, "seeds": seeds, "score": Score("test")}.items():
        object.__setattr__(result, name, value)
    runs = {
        p.name: {s: Run(v) for s, v in zip(seeds, means, strict=True)}
        for p, means in zip(points, values["means"], strict=True)
    }
    result.__dict__["runs"] = runs
    result.__dict__["rankings"] = [type("Ranking", (), {"quantity": "log p(x)"})]
    return result.plot()


def test_the_figure_of_numbers_has_a_curve_with_a_band_for_each_other_choice():
    space = Space({"latent_dim": OneOf(1, 2, 5, 10, 20, 50), "prior": OneOf("StandardNormal", "VampPrior")})
    ax = panel(space.grid(), means=[(-n, -n - 1.0) for n in range(12)])
    assert [line.get_label() for line in ax.lines] == ["prior=StandardNormal", "prior=VampPrior"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [-2 * n - 0.5 for n in range(6)])
    assert ax.get_xscale() == "log"
    assert len(ax.collections) == 2
    assert "one standard deviation over seeds" in ax.get_xlabel()


def test_the_figure_of_words_has_points_with_bars():
    space = Space({"prior": OneOf("StandardNormal", "VampPrior", "GaussianMixture")})
    ax = panel(space.grid(), means=[(-1.0, -2.0), (-3.0, -3.0), (-4.0, -5.0)])
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "StandardNormal",
        "VampPrior",
        "GaussianMixture",
    ]
    assert len(ax.containers) == 1


# ---------------------------------------------------------------- stops

SCRIPT = """
import sys
import pyrovae as pv
from pyrovae.choices import OneOf
from pyrovae.networks import MLP
from pyrovae.searching.sweep import sweep

if __name__ == "__main__":
    data = pv.datasets.load("digits", binarize="threshold", count=200)
    space = {"encoder": MLP(8), "decoder": MLP(8), "compile": False, "epochs": 25, "patience": None,
             "latent_dim": OneOf(1, 2), "checkpoint_seconds": 0.2}
    print(sweep(space, data, out=sys.argv[1], jobs=2, seeds=2, particles=5))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_is_stopped_or_killed_goes_on(number, tmp_path):
    command = [sys.executable, "-u", "-c", SCRIPT, str(tmp_path / "a")]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, start_new_session=True) as first:
        assert first.stdout.readline().startswith("1/4  ")
        time.sleep(0.2)
        os.killpg(first.pid, number)
        out, errors = first.communicate(timeout=60)
    if number == signal.SIGINT:
        assert "runs (stopped early)" in out, errors
    done = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("trial.json")}
    assert 1 <= len(done) < 4
    second = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert second.stdout.startswith(f"{len(done)} of 4 runs are done\n"), second.stderr
    assert "2 points with 2 seeds" in second.stdout
    assert len(list(tmp_path.rglob("trial.json"))) == 4
    assert {path: path.stat().st_mtime_ns for path in done} == done
