"""A trial: an ordinary run that is reported, stopped when told to, resumed, and scored."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae.errors import InputError
from pyrovae.evidence import log_evidence
from pyrovae.networks import MLP
from pyrovae.objectives import IWAE
from pyrovae.priors import GaussianMixture
from pyrovae.searching.trial import Score, scored, trained
from pyrovae.searching.workers import Pool, Task
from tests.support.interrupted import Crashed, crash_after

SMALL = {"latent_dim": 2, "encoder": MLP(8), "decoder": MLP(8), "epochs": 3, "compile": False}


@pytest.fixture(scope="module")
def data():
    return pv.datasets.load("digits", binarize="dynamic", count=200)


def go_on(step, value):
    return True


def test_a_trial_is_the_run_that_fit_makes(data, tmp_path):
    torch.manual_seed(4)
    vae = pv.VAE.suited(data, latent_dim=2, encoder=MLP(8), decoder=MLP(8))
    run = pv.fit(vae, data, epochs=3, seed=4, compile=False, progress=False)
    reports = []
    trial = trained(
        data,
        lambda step, value: reports.append((step, value)) or True,
        options=SMALL,
        folder=tmp_path / "run",
        seed=4,
        particles=7,
    )
    assert [step for step, _ in reports] == [1, 2, 3]
    assert (trial.epochs, trial.best_epoch, trial.stopped) == (3, run.best_epoch, False)
    found = pv.load(tmp_path / "run")
    for name, weight in vae.state_dict().items():
        assert torch.equal(found.state_dict()[name], weight), name
    bound = log_evidence(vae, data.validation, particles=7).mean
    assert trial.value == pytest.approx(bound, abs=1e-4)
    assert trial.value == pytest.approx(dict(reports)[run.best_epoch], abs=1e-4)
    assert trial.parameters == sum(p.numel() for p in vae.parameters())
    assert trial.seconds > 0


def test_the_bound_is_in_the_history_of_the_run(data, tmp_path):
    trained(data, go_on, options=SMALL, folder=tmp_path / "run", particles=5)
    head, *rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert head.split(",")[-1] == "L_5"
    assert len(rows) == 3


def test_a_trial_stops_when_told_to(data, tmp_path):
    trial = trained(data, lambda step, _: step < 2, options=SMALL, folder=tmp_path / "run", particles=5)
    assert (trial.stopped, trial.epochs) == (True, 2)
    assert (tmp_path / "run" / "best.ckpt").exists()


def test_labels_do_not_make_the_bound_that_of_x_and_y(tmp_path):
    """A program that observes labels in training is compared by log p(x), also on training rows."""
    data = pv.datasets.load("digits", binarize="threshold", count=200, labels=True)
    options = SMALL | {"prior": GaussianMixture(10, labels=True)}
    score = Score("train", particles=5, rows=50)
    trial = trained(data, go_on, options=options, folder=tmp_path / "run", particles=5, score=score)
    assert data.train.y is not None
    assert trial.scored.quantity == "log p(x)"


@pytest.mark.parametrize("step", [4, 9])
def test_a_trial_that_was_killed_ends_as_one_that_was_not(step, data, tmp_path):
    options = SMALL | {"checkpoint_seconds": 0}
    whole = trained(data, go_on, options=options, folder=tmp_path / "whole", score=Score(particles=20))
    with crash_after(step), pytest.raises(Crashed):
        trained(data, go_on, options=options, folder=tmp_path / "run")
    again = trained(data, go_on, options=options, folder=tmp_path / "run", score=Score(particles=20))
    assert (again.value, again.epochs, again.best_epoch) == (whole.value, whole.epochs, whole.best_epoch)
    assert np.array_equal(again.scored.log_px, whole.scored.log_px)


def test_a_trial_that_is_done_is_not_trained_again(data, tmp_path):
    first = trained(data, go_on, options=SMALL, folder=tmp_path / "run")
    before = (tmp_path / "run" / "last.ckpt").stat().st_mtime_ns
    reports = []
    again = trained(data, lambda *r: reports.append(r) or True, options=SMALL, folder=tmp_path / "run")
    assert again[:4] == first[:4]
    assert reports == []
    assert (tmp_path / "run" / "last.ckpt").stat().st_mtime_ns == before


def test_a_trial_waits_for_a_process_that_writes_its_last_checkpoint(data, tmp_path):
    """After kill -9 of a search, its processes stop some seconds later."""
    options = SMALL | {"epochs": 1}
    trained(data, go_on, options=options, folder=tmp_path / "run")
    code = "import sys, time; from pathlib import Path; from pyrovae.files import locked\n"
    code += "with locked(Path(sys.argv[1]), ''): print('locked', flush=True); time.sleep(1)"
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        assert trained(data, go_on, options=options, folder=tmp_path / "run").epochs == 1


def test_another_declaration_in_the_folder_is_refused(data, tmp_path):
    trained(data, go_on, options=SMALL, folder=tmp_path / "run")
    with pytest.raises(InputError, match="another declaration"):
        trained(data, go_on, options=SMALL | {"latent_dim": 3}, folder=tmp_path / "run")


def test_rows_are_scored_as_asked(data, tmp_path):
    score = Score("test", particles=6, rows=11, seed=3)
    trial = trained(data, go_on, options=SMALL, folder=tmp_path / "run", score=score)
    right = log_evidence(pv.load(tmp_path / "run"), data.test[:11], particles=6, seed=3)
    np.testing.assert_allclose(trial.scored.log_px, right.log_px, atol=1e-4)
    assert np.array_equal(trial.scored.index, right.index)
    assert trial.scored.units.is_like(right.units)
    later = scored(data, go_on, folder=tmp_path / "run", score=score)
    np.testing.assert_allclose(later.log_px, right.log_px, atol=1e-4)


def test_objectives_are_compared_by_the_same_bound(data, tmp_path):
    options = SMALL | {"objective": IWAE(5)}
    trial = trained(data, go_on, options=options, folder=tmp_path / "run", particles=30)
    right = log_evidence(pv.load(tmp_path / "run"), data.validation, particles=30).mean
    assert trial.value == pytest.approx(right, abs=1e-4)


def test_trials_in_two_processes_are_those_in_one(data, tmp_path):
    found = {}
    for jobs in (1, 2):
        folders = [tmp_path / f"{jobs}-{seed}" for seed in range(3)]
        tasks = iter(
            (seed, Task(trained, {"options": SMALL, "folder": folder, "seed": seed, "score": Score()}))
            for seed, folder in enumerate(folders)
        )
        with Pool(jobs, data) as pool:
            outcomes = list(pool.run(lambda tasks=tasks: next(tasks, None), lambda *_: True))
        found[jobs] = {outcome.key: outcome.value for outcome in outcomes}
    for seed in range(3):
        one, two = found[1][seed], found[2][seed]
        assert one.value == pytest.approx(two.value, abs=1e-3)
        np.testing.assert_allclose(one.scored.log_px, two.scored.log_px, atol=1e-2)


def test_a_bad_option_is_a_sentence(data, tmp_path):
    tasks = iter([("a", Task(trained, {"options": SMALL | {"lr": -1.0}, "folder": tmp_path / "run"}))])
    with Pool(1, data) as pool:
        (failed,) = pool.run(lambda: next(tasks, None))
    assert failed.kind == "input"
    assert "lr" in failed.sentence
    assert not (tmp_path / "run" / "last.ckpt").exists()
