"""Searches: trials, pruning, finalists, and searches that were stopped, killed or given nonsense."""

import dataclasses
import errno
import importlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from threading import Barrier, Thread

import numpy as np
import pytest
import torch
import yaml

import pyrovae as pv
from pyrovae.choices import OneOf, Real, Whole
from pyrovae.errors import InputError
from pyrovae.searching import Space
from pyrovae.searching.trial import Trained
from pyrovae.searching.trials import JOURNAL, Trials
from tests.support.parts import raises_one_sentence

optuna = pytest.importorskip("optuna")

SMALL = {"encoder": pv.networks.MLP(8), "decoder": pv.networks.MLP(8), "compile": False}
SPACE = SMALL | {"latent_dim": Whole(2, 6), "lr": Real(1e-4, 1e-1, log=True), "epochs": 3}
FEW = {"finalists": 0, "progress": False, "particles": 5, "pruner": "none"}


@pytest.fixture(scope="module")
def data():
    return pv.datasets.load("digits", binarize="threshold", count=120)


@pytest.fixture(scope="module")
def study(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("search") / "a"
    return pv.search(SPACE, data, trials=6, finalists=2, seeds=2, particles=5, out=out, progress=False)


def values(study):
    return [(trial.state, trial.value, trial.values) for trial in study.trials]


def test_a_trial_is_the_run_of_fit(study, data):
    """Its value is L_K of the weights that it keeps, on the validation rows."""
    trial = next(trial for trial in study.trials if trial.state == "complete")
    vae = pv.load(study.folder / "trials" / f"{trial.number:04d}")
    assert vae.latent_dim == trial.values["latent_dim"]
    bound = pv.log_evidence(vae.eval(), data.validation, particles=5).mean
    assert trial.value == pytest.approx(bound, abs=1e-4)
    assert list(trial.reports) == [1, 2, 3]


def test_finalists_have_other_seeds_and_the_test_set_is_used_once(study, data, monkeypatch):
    final = study.final
    best = sorted((t for t in study.trials if t.state == "complete"), key=lambda t: -t.value)[:2]
    assert set(final.ranking.names) == {f"trial {trial.number}" for trial in best}
    assert final.ranking.seeds.tolist() == [2, 2]
    vae = pv.load(study.best.folder).eval()
    log_px = pv.log_evidence(vae, data.test, method="laplace").log_px
    assert final.test == pytest.approx(log_px.mean(), abs=1e-3)
    assert study.best.folder.parent.name == f"{int(final.winner.split()[1]):04d}"
    (record,) = json.loads((study.folder / "test.json").read_text())
    runs = [study.folder / "trials" / path.name for path in study.folder.glob("finalists/*")]
    runs += study.folder.glob("finalists/*/seed-*")
    seeds = [yaml.safe_load((run / "config.yaml").read_text())["seed"] for run in runs]
    assert len(runs) == 2 + 2 * 2
    assert len(set(seeds)) == 2 + 2  # those of two trials, and two of the finalists
    # The same call trains nothing and scores nothing again.
    monkeypatch.setattr("pyrovae.searching.trial.fit", None)
    monkeypatch.setattr("pyrovae.searching.trial.log_evidence", None)
    again = pv.search(
        SPACE, data, trials=6, finalists=2, seeds=2, particles=5, out=study.folder, progress=False
    )
    assert values(again) == values(study)
    assert (again.final.test, again.final.tests) == (record["test"], 1)
    assert str(again) == str(study)


def test_the_table_has_a_row_for_each_trial(study):
    table = study.table
    assert table.index.tolist() == list(range(6))
    assert {"latent_dim", "lr", "state", "value", "epochs", "seconds", "parameters"} <= set(table.columns)
    assert "The winner is trial" in str(study)
    assert "log p(x) of the test set" in str(study)


@pytest.mark.parametrize("kind", ["history", "slices", "parallel", "curves", "contour"])
def test_figures(study, kind):
    options = {"x": "lr", "y": "latent_dim"} if kind == "contour" else {}
    assert study.plot(kind, **options) is not None


def test_scales_of_figures_are_those_of_the_space(study):
    panels = study.plot("slices").child_axes
    scales = {panel.get_title(loc="left"): panel.get_xscale() for panel in panels}
    assert scales == {"lr": "log", "latent_dim": "linear"}


def test_figures_that_there_are_not(study):
    raises_one_sentence(lambda: study.plot("pie"), "choose one of history")
    raises_one_sentence(lambda: study.plot("importance"), "importances need")


def test_optuna_reads_the_journal(study):
    """As optuna-dashboard does."""
    backend = optuna.storages.journal.JournalFileBackend(str(study.folder / JOURNAL))
    plain = optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))
    assert [trial.params for trial in plain.trials] == [trial.values for trial in study.trials]
    complete = [trial.value for trial in study.trials if trial.state == "complete"]
    assert plain.best_value == max(complete)
    assert plain.best_trial.user_attrs["epochs"] == 3


def test_jobs_change_nothing_for_random_points(data, tmp_path):
    options = {"trials": 4, "sampler": "random", **FEW}
    one = pv.search(SPACE, data, **options)
    two = pv.search(SPACE, data, jobs=2, **options)
    assert [trial.values for trial in one.trials] == [trial.values for trial in two.trials]
    np.testing.assert_allclose(one.values, two.values, rtol=1e-4)
    assert one.folder is None
    assert one.best.program.latent_dim == max(one.trials, key=lambda t: t.value).values["latent_dim"]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cma", "random"])
def test_a_search_that_is_continued_suggests_what_it_would_have(data, sampler, tmp_path):
    whole = pv.search(SPACE, data, trials=10, sampler=sampler, **FEW)
    pv.search(SPACE, data, trials=9, sampler=sampler, out=tmp_path / "a", **FEW)
    parts = pv.search(SPACE, data, trials=10, sampler=sampler, out=tmp_path / "a", **FEW)
    assert [trial.values for trial in whole.trials] == [trial.values for trial in parts.trials]
    np.testing.assert_array_equal(whole.values, parts.values)


def test_a_grid_has_every_point_once(data):
    space = SMALL | {"latent_dim": OneOf(2, 3), "batch_size": OneOf(20, 40), "epochs": 1}
    study = pv.search(space, data, trials=50, sampler="grid", **FEW)
    points = [tuple(trial.values.values()) for trial in study.trials]
    assert sorted(points) == [(d, b) for d in (2, 3) for b in (20, 40)]
    refused = "no finite list of values"
    raises_one_sentence(lambda: pv.search(SPACE, data, trials=2, sampler="grid", **FEW), refused)


def test_no_trial_starts_after_the_time(data):
    assert len(pv.search(SPACE, data, trials=20, hours=1e-9, **FEW).trials) == 1


# -------------------------------------------------------------------- on exact values


class Exact:
    """Trials of a function, without any training."""

    def __init__(self, space, function, *, epochs=27, **options):
        self.trials = Trials(Space(space), epochs=epochs, **options)
        self.function, self.epochs, self.used = function, epochs, 0

    def run(self, count):
        for _ in range(count):
            trial = self.trials.next()
            options = self.trials.point(trial).options
            for epoch in range(1, self.epochs + 1):
                self.used += 1
                value = self.function(options, epoch)
                if not self.trials.report(trial, epoch, value) and epoch < self.epochs:
                    self.trials.tell(trial, value, pruned=True, about={})
                    break
            else:
                self.trials.tell(trial, value, pruned=False, about={})
        return self


def bowl(options, epoch):
    """Best at lr = 1e-2 and 10 latents; learning curves are parallel."""
    distance = (math.log10(options["lr"]) + 2) ** 2 + math.log(options["latent_dim"] / 10) ** 2
    return -distance - 1 / epoch


BOWL = {"lr": Real(1e-5, 1.0, log=True), "latent_dim": Whole(2, 50, log=True)}


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cma"])
def test_samplers_find_the_best_point_of_a_bowl(sampler):
    best = []
    for name in (sampler, "random"):
        found = [
            Exact(BOWL, bowl, epochs=1, sampler=name, pruner="none", seed=s).run(40).trials.complete[0]
            for s in range(3)
        ]
        best.append(np.median([trial.value + 1 for trial in found]))  # the curve ends at -1
    assert best[0] > -0.02
    assert best[0] > best[1]


@pytest.mark.parametrize("pruner", ["hyperband", "halving", "median"])
def test_pruning_saves_epochs_and_keeps_the_best_point(pruner):
    full = Exact(BOWL, bowl, sampler="random", pruner="none", seed=0).run(30)
    pruned = Exact(BOWL, bowl, sampler="random", pruner=pruner, seed=0).run(30)
    assert pruned.trials.complete[0].params == full.trials.complete[0].params
    assert pruned.used < 0.75 * full.used
    assert full.used == 30 * 27


def test_a_trial_that_ends_is_not_pruned(data, monkeypatch):
    """Also if its last value is far behind."""
    monkeypatch.setattr(Trials, "report", lambda self, trial, epoch, value: epoch < 3)
    study = pv.search(SPACE, data, trials=1, **FEW)
    assert study.states == ["complete"]
    monkeypatch.setattr(Trials, "report", lambda self, trial, epoch, value: epoch < 2)
    study = pv.search(SPACE, data, trials=1, **FEW)
    assert (study.states, study.trials[0].about["epochs"]) == (["pruned"], 2)


# -------------------------------------------------------------------- what fails


def test_failing_trials_are_recorded_and_the_search_goes_on(data):
    broken = {"class_path": "GaussianMixture", "init_args": {"components": -3}}
    space = SMALL | {"latent_dim": 2, "epochs": 1, "prior": OneOf("StandardNormal", broken)}
    study = pv.search(space, data, trials=8, sampler="random", **FEW)
    assert set(study.states) == {"complete", "failed"}
    for trial in study.trials:
        assert (trial.state == "failed") == (trial.values["prior"] != "StandardNormal")
    assert "components of GaussianMixture must be a whole number of 1 or more, not -3" in str(study)
    assert math.isnan(min(study.trials, key=lambda t: t.state == "complete").value)


def test_a_search_whose_trials_all_fail_ends_with_the_reason(data, tmp_path):
    space = SMALL | {"latent_dim": Whole(2, 5), "epochs": 1, "prior": pv.priors.GaussianMixture(-3)}
    said = "all 3 trials failed, the last with: components of GaussianMixture must be a whole number"
    raises_one_sentence(lambda: pv.search(space, data, trials=3, **FEW), said)
    said = "all 10 trials failed"  # and does not do the others
    raises_one_sentence(lambda: pv.search(space, data, trials=100, **FEW), said)


def test_bounds_of_other_measures_are_not_compared(data):
    x = pv.datasets.load("digits", dequantize=True, count=120)
    space = SMALL | {"latent_dim": 2, "epochs": 1}
    space["likelihood"] = OneOf(pv.likelihoods.Normal(1.0), pv.likelihoods.Bernoulli())
    study = pv.search(space, x, trials=6, sampler="random", **FEW)
    measures = {trial.values["likelihood"]: trial.state for trial in study.trials}
    assert sorted(measures.values()) == ["complete", "failed"]
    assert "cannot be compared" in str(study) or "Bernoulli" in str(study)


def test_what_cannot_be_searched_is_refused(data, tmp_path):
    raises_one_sentence(lambda: pv.search({"latent_dim": 2}, data), "the space has no choices")
    raises_one_sentence(lambda: pv.search(SPACE, data, trials=0), "trials")
    raises_one_sentence(lambda: pv.search(SPACE, data, hours=-1), "hours")
    raises_one_sentence(lambda: pv.search(SPACE, data, sampler="best"), "sampler")
    raises_one_sentence(lambda: pv.search(SPACE, data, pruner="best"), "pruner")
    assert not (tmp_path / "a").exists()


def test_another_search_in_the_folder_is_refused(study, data):
    out = study.folder
    other = SPACE | {"epochs": 4}
    raises_one_sentence(lambda: pv.search(other, data, out=out, **FEW), "holds another search (space.epochs")
    fewer = pv.datasets.load("digits", binarize="threshold", count=119)
    options = {"particles": 5, "progress": False, "out": out}
    raises_one_sentence(lambda: pv.search(SPACE, fewer, **options), "holds another search (data")
    raises_one_sentence(lambda: pv.fit(pv.VAE(64, 2), data, out=out), "")


# -------------------------------------------------------------------- stopped and killed

SCRIPT = """
import sys
import pyrovae as pv
from pyrovae.choices import Real, Whole
data = pv.datasets.load("digits", binarize="threshold", count=120)
small = {"encoder": pv.networks.MLP(8), "decoder": pv.networks.MLP(8), "compile": False}
space = small | {"latent_dim": Whole(2, 6), "lr": Real(1e-4, 1e-1, log=True), "epochs": 20}
study = pv.search(space, data, trials=5, finalists=0, particles=5, jobs=int(sys.argv[2]), out=sys.argv[1])
print(study)
"""


def started(out, jobs):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(out), str(jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for_trials(out, count):
    """Wait until this number of trials has begun to train."""
    until = time.monotonic() + 120
    while len(list(out.glob("trials/*/last.ckpt"))) < count:
        assert time.monotonic() < until
        time.sleep(0.01)


def in_journal(out):
    """The trials with a result, by number, and how often each got one."""
    finished = {}
    for line in (out / JOURNAL).read_text().splitlines():
        entry = json.loads(line)
        if entry["op_code"] == 6 and entry.get("state", 0) in (1, 2, 3):
            finished.setdefault(entry["trial_id"], []).append(entry.get("values"))
    return finished


def test_a_killed_search_is_continued(tmp_path):
    """No finished trial is lost or trained again, and the others go on from their checkpoints."""
    out = tmp_path / "a"
    before = {}
    for count in (2, 4):
        process = started(out, 2)
        wait_for_trials(out, count)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close(), process.stderr.close()
        now = in_journal(out)
        assert {n: v for n, v in now.items() if n in before} == before
        before = now
    process = started(out, 2)
    printed, error = process.communicate(timeout=240)
    assert process.returncode == 0, error
    finished = in_journal(out)
    assert sorted(finished) == list(range(5))
    assert all(len(told) == 1 for told in finished.values())
    assert "5 trials: " in printed


def test_what_a_killed_process_leaves_in_the_journal(data, tmp_path):
    """A lock, and half a line."""
    out = tmp_path / "a"
    one = pv.search(SPACE, data, trials=2, out=out, **FEW)
    with (out / JOURNAL).open("ab") as file:
        file.write(b'{"op_code":4,"worker')
    (out / f"{JOURNAL}.lock").symlink_to(out / JOURNAL)
    two = pv.search(SPACE, data, trials=3, out=out, **FEW)
    assert values(two)[:2] == values(one)
    assert two.states == 3 * ["complete"]


def test_a_damaged_journal_is_refused(data, tmp_path):
    out = tmp_path / "a"
    pv.search(SPACE, data, trials=2, out=out, **FEW)
    lines = (out / JOURNAL).read_text().splitlines(keepends=True)
    (out / JOURNAL).write_text("".join([*lines[:3], "nonsense\n", *lines[3:]]))
    refused = f"{out / JOURNAL} is damaged"
    raises_one_sentence(lambda: pv.search(SPACE, data, trials=3, out=out, **FEW), refused)


def test_ctrl_c_gives_what_there_is(tmp_path):
    out = tmp_path / "a"
    process = started(out, 1)
    wait_for_trials(out, 3)
    process.send_signal(signal.SIGINT)
    printed, error = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "trials: " in printed
    assert " running" in printed
    assert f"of 5 trials; go on with the same search with the folder {out}" in error


def test_two_threads_search_as_one_does(data, capfd):
    """And optuna says nothing, whichever thread is the first to restore its settings."""
    both, studies, verbosity = Barrier(2), {}, optuna.logging.get_verbosity()

    def run(seed):
        both.wait()
        studies[seed] = pv.search(SPACE, data, trials=3, seed=seed, **FEW)

    threads = [Thread(target=run, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == verbosity
    for seed, study in studies.items():
        assert values(study) == values(pv.search(SPACE, data, trials=3, seed=seed, **FEW))


def test_two_searches_in_one_folder_are_refused(tmp_path, data):
    out = tmp_path / "a"
    process = started(out, 1)
    try:
        wait_for_trials(out, 1)
        raises_one_sentence(lambda: pv.search(SPACE, data, out=out, **FEW), "another process is working in")
    finally:
        process.kill()
        process.communicate()


# -------------------------------------------------------------------- faults of users and disks


def point_names(seed, sampler="random"):
    trials = Trials(Space(SPACE), sampler=sampler, pruner="none", epochs=3, seed=seed)
    return [trials.point(trials.next()).name for _ in range(6)]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_searches_with_other_seeds_share_no_points(sampler):
    """Not even with adjacent seeds, over which a user takes a median."""
    assert not set(point_names(0, sampler)) & set(point_names(1, sampler))


def test_a_point_of_a_grid_that_was_not_begun_is_not_lost(tmp_path):
    """A search that is killed between two lines of the journal leaves a trial that waits."""
    space = Space({"latent_dim": OneOf(2, 3)})
    options = {"sampler": "grid", "pruner": "none", "epochs": 1, "seed": 0, "folder": tmp_path}
    before = Trials(space, **options)
    before.study.enqueue_trial(before.points[0].values)
    trials = Trials(space, **options)
    assert trials.all == trials.running() == []
    for _ in range(2):
        trial = trials.next()
        trials.tell(trial, float(trials.point(trial).options["latent_dim"]), pruned=False, about={})
    assert sorted(trial.value for trial in trials.all) == [2, 3]


def test_a_method_is_checked_at_the_start(data):
    raises_one_sentence(lambda: pv.search(SPACE, data, method="laplce"), "there is no method 'laplce'")
    study = pv.search(SPACE, data, trials=1, seeds=1, particles=5, method="importance", progress=False)
    assert study.final.method.startswith("Importance(")


def test_epochs_may_be_nested_choices_or_the_default(data):
    space = SMALL | {"epochs": OneOf(Whole(1, 2), 3, None), "latent_dim": OneOf(2, 3)}
    study = pv.search(space, data, trials=1, **FEW)
    assert study.table["epochs"][0] == space["epochs"].options[1] or study.states == ["complete"]


def test_the_table_has_the_epochs_that_were_chosen_and_done(data):
    space = SMALL | {"epochs": OneOf(2, 3)}
    study = pv.search(space, data, trials=2, sampler="grid", **FEW)
    stopped = dataclasses.replace(study.trials[0], state="pruned", about={"epochs": 1})
    table = dataclasses.replace(study, trials=(stopped, study.trials[1])).table
    assert table["epochs"].tolist() == [trial.values["epochs"] for trial in study.trials]
    assert table["epochs_done"].tolist() == [1, study.trials[1].values["epochs"]]


def test_other_units_fail_before_they_are_compared(data):
    """The report of a density would end trials whose bound is a probability."""
    space = SMALL | {"likelihood": OneOf("Bernoulli", "Normal"), "epochs": 3}
    study = pv.search(space, data, trials=2, sampler="grid", **FEW)
    assert sorted(study.states) == ["complete", "failed"]
    failed = study.trials[study.states.index("failed")]
    assert failed.number == 1
    assert failed.reports == {}
    assert "cannot be compared: search these likelihoods in separate searches" in failed.about["reason"]


def test_a_bound_that_is_not_finite_is_a_failure(data, monkeypatch):
    result = Trained(math.nan, False, 1, 1, 0.1, 10, "units")  # noqa: FBT003
    module = importlib.import_module("pyrovae.searching.search")  # pv.search is the function
    monkeypatch.setattr(module, "trained", lambda *_, **__: result)
    raises_one_sentence(lambda: pv.search(SPACE, data, trials=2, **FEW), "all 2 trials failed, the last")


def test_finalists_that_all_fail_are_mentioned(data, monkeypatch):
    def refused(*_, **__):
        raise InputError("no memory is left: use fewer jobs")

    monkeypatch.setattr("pyrovae.searching.finalists.trained", refused)
    study = pv.search(SPACE, data, trials=1, finalists=1, seeds=1, particles=5, progress=False)
    assert study.final is None
    assert study.best is not None
    assert "No finalist could be refitted" in str(study)
    assert "the first failed with: no memory is left" in str(study)


def copied(study, tmp_path):
    return shutil.copytree(study.folder, tmp_path / "copy")


def continued(folder, data, **options):
    options = {"trials": 6, "finalists": 2, "seeds": 2, "particles": 5, "progress": False} | options
    return pv.search(SPACE, data, out=folder, **options)


@pytest.mark.parametrize("text", ["[", "[5]", "5", '[{"folder": "a", "method": "Laplace(rounds=3)"}]'])
def test_a_damaged_record_of_the_test_set_is_refused(study, data, tmp_path, text):
    """It would say that the test set was used once when it was used twice."""
    folder = copied(study, tmp_path)
    (folder / "test.json").write_text(text)
    raises_one_sentence(lambda: continued(folder, data), "test.json is damaged")


@pytest.mark.parametrize("line", ["5", "[]", "oo", '{"op_code": 99}'])
def test_every_damage_of_a_journal_is_refused(study, data, tmp_path, line):
    folder = copied(study, tmp_path)
    journal = folder / JOURNAL
    journal.write_text("\n".join([line, *journal.read_text().split("\n")[1:]]))
    raises_one_sentence(lambda: continued(folder, data), "journal.log is damaged")


def test_a_journal_that_is_a_folder_is_refused(tmp_path, data):
    (tmp_path / JOURNAL).mkdir()
    raises_one_sentence(lambda: pv.search(SPACE, data, out=tmp_path, **FEW), "journal.log is damaged")


def test_a_damaged_array_of_a_finalist_is_estimated_again(study, data, tmp_path):
    folder = copied(study, tmp_path)
    for path in folder.glob("finalists/*/*/log_px.npz"):
        path.write_bytes(b"PK\x03\x04oo")
    again = continued(folder, data)
    np.testing.assert_allclose(again.final.ranking.mean, study.final.ranking.mean)


def test_a_full_disk_ends_the_search_with_a_sentence(data, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(optuna.trial.Trial, "report", full)
    raises_one_sentence(lambda: pv.search(SPACE, data, trials=2, **FEW), "cannot be written to journal.log")


def test_the_best_run_without_a_folder_is_in_memory(data):
    """The temporary folder is gone."""
    best = pv.search(SPACE, data, trials=1, **FEW).best
    assert best.folder is None
    assert len(best.history["train"]) == 3


def test_a_deleted_run_of_the_best_trial_is_trained_again_on_demand(study, data, tmp_path):
    folder = copied(study, tmp_path)
    shutil.rmtree(folder / "trials")
    said = "restore it, or use finalists=1, which trains it again"
    raises_one_sentence(lambda: continued(folder, data, finalists=0), said)
    assert continued(folder, data).final.winner == study.final.winner


def test_trials_do_not_train_each_others_parts(data):
    """A part object of the space is declared once and used by all trials."""
    prior = pv.priors.GaussianMixture(3)
    space = SMALL | {"prior": prior, "lr": OneOf(0.01, 0.02), "epochs": 2}
    study = pv.search(space, data, trials=2, sampler="grid", **FEW)
    last = study.trials[1]
    torch.manual_seed(last.number)
    vae = pv.VAE.suited(
        data, prior=pv.priors.GaussianMixture(3), **{k: SMALL[k] for k in ("encoder", "decoder")}
    )
    pv.fit(vae, data, epochs=2, lr=last.values["lr"], seed=last.number, progress=False, compile=False)
    bound = pv.log_evidence(vae.eval(), data.validation, particles=5).mean
    assert last.value == pytest.approx(bound, abs=1e-4)
