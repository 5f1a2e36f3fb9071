"""Trackers, whose files are read back by the libraries themselves."""

import json
import logging
import math
import shutil
import sys
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae import cli
from pyrovae.callbacks import Images, MLflow, TensorBoard, Tracker, WandB, trackers
from pyrovae.callbacks.tracker import quiet
from pyrovae.cli.parsing import parse
from tests.support.interrupted import Crashed, crash_after, stop_after
from tests.support.parts import raises_one_sentence
from tests.support.same_runs import binary, small

QUIET = {"progress": False, "figures": False, "batch_size": 10, "epochs": 4, "compile": False}
STEPS = 4  # of an epoch


@pytest.fixture(scope="module")
def data():
    return pv.datasets.load(binary(58, (1, 8, 8)), validation=10, test=8)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """One database of MLflow; to create its tables takes seconds."""
    logging.getLogger("alembic").setLevel(logging.ERROR)
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/runs.db"


def vae():
    return small((1, 8, 8))


class Some(pv.Callback):
    """A metric of every other epoch."""

    def on_epoch(self, run):
        return {"some": run.metrics["train"] / 3} if run.epoch % 2 == 0 else None


def wanted(run):
    """The metrics of a run by name: (step, value), without what is not there."""
    return {
        name: [(e + 1, v) for e, v in enumerate(values.tolist()) if not math.isnan(v)]
        for name, values in run.history.items()
        if name != "epoch"
    }


def fit(data, out, tracker, **options):
    return pv.fit(
        vae(), data, out=out, callbacks=[tracker, Some(), Images(every=2, count=4)], **QUIET | options
    )


# ---------------------------------------------------------------- TensorBoard


def events(folder):
    """What TensorBoard reads."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with quiet():
        accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
        accumulator.Reload()
    return accumulator


def scalars(folder):
    read = events(folder)
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def in_single(metrics):
    return {name: [(step, float(np.float32(v))) for step, v in values] for name, values in metrics.items()}


def test_tensorboard_reads_the_metrics_of_a_run(data, tmp_path):
    run = fit(data, tmp_path / "a", TensorBoard(), figures=True)
    folder = run.folder / "tensorboard"
    assert scalars(folder) == in_single(wanted(run))
    read = events(folder)
    assert [e.step for e in read.Images("samples")] == [2, 4]
    assert {"samples", "figures/training", "figures/samples"} <= set(read.Tags()["images"])
    text = read.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "latent_dim: 2" in text
    assert (run.folder / "config.yaml").read_text().splitlines()[-1] == "track: [tensorboard]"


def test_tensorboard_shows_hyperparameters(data, tmp_path):
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    run = fit(data, None, TensorBoard(tmp_path / "events"), epochs=1)
    assert run.folder is None
    content = events(tmp_path / "events").SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["latent_dim"].number_value == 2
    assert start.hparams["prior"].string_value == "StandardNormal"
    assert start.hparams["encoder"].string_value == "MLP"


def killed(data, out, tracker):
    """A run that is killed in epoch 4, with a last checkpoint after epoch 1."""

    class Copy(pv.Callback):
        def on_checkpoint(self, run, path):
            if run.epoch == 1:
                shutil.copy(path, path.with_suffix(".kept"))

    with crash_after(3 * STEPS), pytest.raises(Crashed):
        pv.fit(vae(), data, out=out, callbacks=[tracker, Some(), Copy()], **QUIET)
    for path in out.glob("*.kept"):
        path.rename(path.with_suffix(".ckpt"))


def test_a_run_that_was_killed_goes_on_in_tensorboard_without_doubled_steps(data, tmp_path):
    killed(data, tmp_path / "a", TensorBoard())
    assert [step for step, _ in scalars(tmp_path / "a/tensorboard")["train"]] == [1, 2, 3]
    run = fit(data, tmp_path / "a", TensorBoard(), resume=True)
    assert scalars(run.folder / "tensorboard") == in_single(wanted(run))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_tensorboard_goes_on_when_the_disk_is_no_longer_full(data, tmp_path, monkeypatch):
    from tensorboard.summary.writer.record_writer import RecordWriter

    class Full(pv.Callback):
        def on_epoch(self, run):
            monkeypatch.setattr(RecordWriter, "write", write_part if run.epoch == 2 else write)

    def write_part(self, data):
        self._writer.write(data[:3])
        raise OSError("no space left on device")

    write = RecordWriter.write
    monkeypatch.setattr("pyrovae.callbacks.tracker.LEAST", 0.0)
    monkeypatch.setattr("pyrovae.callbacks.tracker.PATIENCE", 0.0)
    with pytest.warns(RuntimeWarning, match="TensorBoard has failed"):
        run = pv.fit(vae(), data, callbacks=[TensorBoard(tmp_path / "events"), Full()], **QUIET)
    assert scalars(tmp_path / "events")["train"] == in_single(wanted(run))["train"]


def test_tensorboard_needs_a_folder(data):
    raises_one_sentence(lambda: fit(data, None, TensorBoard()), "give folder=, or fit(out=)")


def test_a_run_that_cannot_start_leaves_no_run(data, tmp_path):
    class Refuse(pv.Callback):
        def on_start(self, run):
            raise pv.InputError("there is no server")

    raises_one_sentence(lambda: fit(data, tmp_path / "a", Refuse()), "there is no server")
    assert not list((tmp_path / "a").glob("[!.]*.*"))
    assert fit(data, tmp_path / "a", pv.Callback(), epochs=1).best_epoch == 1


# ---------------------------------------------------------------- MLflow


def mlflow_run(tracker):
    """What MLflow reads: the run, and (step, value) by the name of the metric."""
    with quiet():
        client, number = tracker.client, tracker.run_id
        read = client.get_run(number)
        history = {name: client.get_metric_history(number, name) for name in read.data.metrics}
        files = {file.path for file in client.list_artifacts(number)}
    found = {name: sorted((m.step, m.value) for m in values) for name, values in history.items()}
    return SimpleNamespace(info=read.info, params=read.data.params, metrics=found, files=files)


def test_mlflow_reads_the_metrics_options_and_files_of_a_run(data, database, tmp_path):
    tracker = MLflow(uri=database)
    run = fit(data, tmp_path / "first", tracker, figures=True)
    read = mlflow_run(tracker)
    assert read.metrics == wanted(run)  # all digits
    assert (read.info.status, read.info.run_name) == ("FINISHED", "first")
    assert {"latent_dim": "2", "prior": "StandardNormal", "lr": "0.002"}.items() <= read.params.items()
    assert read.params["encoder.sizes"] == "[8]"
    assert read.files == {"config.yaml", "metrics.csv", "figures", "samples"}
    with quiet():
        figures = tracker.client.list_artifacts(tracker.run_id, "figures")
    assert {f"figures/{path.name}" for path in (run.folder / "figures").iterdir()} == {
        f.path for f in figures
    }


def test_a_stopped_run_is_killed_in_mlflow_and_goes_on_in_the_same_run(data, database, tmp_path):
    first, second = MLflow("stops", database), MLflow("stops")  # the address is in the checkpoint
    with stop_after(2 * STEPS + 1), pytest.raises(KeyboardInterrupt):
        fit(data, tmp_path / "a", first)
    assert mlflow_run(first).info.status == "KILLED"
    assert [step for step, _ in mlflow_run(first).metrics["train"]] == [1, 2]
    run = fit(data, tmp_path / "a", second, resume=True)
    assert second.run_id == first.run_id
    assert mlflow_run(second).metrics == wanted(run)
    assert mlflow_run(second).info.status == "FINISHED"


def test_a_run_that_was_killed_repeats_no_step_in_mlflow(data, database, tmp_path):
    first, second = MLflow("kills", database), MLflow("kills", database)
    killed(data, tmp_path / "a", first)
    assert mlflow_run(first).info.status == "FAILED"
    run = fit(data, tmp_path / "a", second, resume=True)
    assert second.run_id == first.run_id
    read = mlflow_run(second).metrics
    for name in ("train", "validation", "kl", "some"):
        assert read[name] == wanted(run)[name]


def test_a_tracker_that_comes_later_gets_the_earlier_epochs(data, database, tmp_path):
    constant = {"lr_schedule": "constant", "kl_warmup": 0}
    fit(data, tmp_path / "a", pv.Callback(), **constant | {"epochs": 2})
    tracker = MLflow("late", database)
    run = fit(data, tmp_path / "a", tracker, resume=True, **constant)
    assert mlflow_run(tracker).metrics == wanted(run)
    assert len(run.history["train"]) == 4


# ---------------------------------------------------------------- Weights & Biases


def records(path):
    """The records of an offline run, from the log that `wandb sync` sends: blocks of 32 KiB of pieces."""
    from wandb.proto import wandb_internal_pb2

    log, at, record = path.read_bytes(), 7, b""
    while at < len(log):
        if 2**15 - at % 2**15 < 7:
            at += 2**15 - at % 2**15
            continue
        size, kind = int.from_bytes(log[at + 4 : at + 6], "little"), log[at + 6]
        record += log[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last piece
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def written(folder):
    """All records; the process of wandb may write the last of them a moment after the run."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    until = time.monotonic() + 30
    while True:
        found = list(records(path))
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        assert time.monotonic() < until
        time.sleep(0.1)


def named(items):
    return {item.key or item.nested_key[0]: json.loads(item.value_json) for item in items}


def test_wandb_has_the_metrics_of_a_run(data, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    tracker = WandB(mode="offline")
    run = fit(data, tmp_path / "a", tracker)
    rows, summary, metrics = {}, {}, wanted(run)
    for record in written(run.folder):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            for name, value in named(record.history.item).items():
                if name in metrics:
                    rows.setdefault(name, []).append((record.history.step.num, value))
        elif kind == "summary":
            summary |= named(record.summary.update)
        elif kind == "run":
            assert named(record.run.config.update)["latent_dim"] == 2
            assert (record.run.run_id, record.run.display_name) == (tracker.run_id, "a")
        elif kind == "exit":
            assert record.exit.exit_code == 0
    assert rows == metrics
    assert (summary["best_epoch"], summary["status"]) == (run.best_epoch, "finished")


def test_wandb_goes_on_with_the_same_id(data, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    ids = []
    for epochs in (1, 2):
        tracker = WandB(mode="disabled")
        fit(data, tmp_path / "a", tracker, epochs=epochs, resume=True, lr_schedule="constant", kl_warmup=0)
        ids.append(tracker.run_id)
    assert ids[0] == ids[1]
    raises_one_sentence(lambda: WandB(mode="nowhere"), "mode of WandB")


# ---------------------------------------------------------------- what all have in common


class Frail(Tracker):
    """A tracker without a server in some epochs."""

    def __init__(self, down=()):
        super().__init__()
        self.down, self.rows, self.tries, self.status = down, {}, [], None

    def open(self, run):
        self.run = run

    def log(self, metrics, epoch):
        self.tries.append(epoch)
        if self.run.epoch in self.down and self.run.status == "running":
            raise ConnectionError("no route to host")
        self.rows[epoch] = dict(metrics)

    def show(self, name, picture, epoch):
        pass

    def close(self, run):
        self.status = run.status


@pytest.mark.parametrize("wait", [0.0, 1e6])
def test_a_tracker_that_loses_its_server_warns_once_and_loses_no_epoch(data, wait, tmp_path, monkeypatch):
    monkeypatch.setattr("pyrovae.callbacks.tracker.LEAST", wait)
    tracker = Frail(down=(2, 3))
    with pytest.warns(RuntimeWarning, match="Frail has failed, and the run goes on") as said:
        run = fit(data, tmp_path / "a", tracker)
    assert len(said) == 1
    assert tracker.tries == ([1, 2, 2, 2, 3, 4] if wait == 0 else [1, 2, 2, 3, 4])
    assert {name: [tracker.rows[e][name] for e in (1, 2, 3, 4)] for name in ("train", "validation")} == {
        name: run.history[name].tolist() for name in ("train", "validation")
    }
    assert sorted(tracker.rows[2]) == sorted(wanted(run))
    assert tracker.status == "finished"


def test_a_tracker_that_cannot_be_opened_is_a_sentence_and_closes_the_others(data, tmp_path):
    class Broken(Frail):
        def open(self, run):
            raise ConnectionError("there is no key. Log in.")

    first = Frail()
    raises_one_sentence(
        lambda: pv.fit(vae(), data, out=tmp_path / "a", callbacks=[first, Broken()], **QUIET),
        "Broken cannot be opened: there is no key",
    )
    assert first.status == "failed"
    assert not (tmp_path / "a/config.yaml").exists()


def test_a_study_that_minimises_does_not_prune_by_a_bound():
    optuna = pytest.importorskip("optuna")
    trial = optuna.create_study(direction="minimize").ask()
    raises_one_sentence(lambda: pv.callbacks.Pruning(trial), "create the study with direction='maximize'")
    assert pv.callbacks.Pruning(trial, metric="kl").metric == "kl"


def test_trackers_see_the_metrics_of_all_other_callbacks(data):
    tracker = Frail()
    fit(data, None, tracker)  # which is first in the list
    assert "some" in tracker.rows[2]
    assert "some" not in tracker.rows[1]


def test_a_tracker_closes_when_the_run_fails(data):
    class Fail(pv.Callback):
        def on_epoch(self, run):
            raise ZeroDivisionError("my own mistake")

    tracker = Frail()
    with pytest.raises(ZeroDivisionError, match="raised by on_epoch of the callback Fail"):
        pv.fit(vae(), data, callbacks=[tracker, Fail()], **QUIET)
    assert tracker.status == "failed"
    assert list(tracker.rows) == [1]  # the epoch was done


# ---------------------------------------------------------------- the command line


def test_the_command_line_tracks_and_tracks_again_when_it_resumes(tmp_path, monkeypatch, database, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    words = [
        "fit",
        "--data",
        "digits",
        "--count",
        "200",
        "--decoder",
        "MLP",
        "--encoder",
        "MLP",
        "--epochs",
        "2",
    ]
    words += ["--out", "runs/cli", "--figures", "false", "--track", "tensorboard", "mlflow"]
    with stop_after(12):
        assert cli.main(words) == 130
    assert cli.main(["fit", "--out", "runs/cli", "--resume"]) == 0
    read = scalars("runs/cli/tensorboard")
    assert [step for step, _ in read["validation"]] == [1, 2]
    with quiet():
        client = MLflow(uri=database).client
        experiment = client.get_experiment_by_name("pyrovae").experiment_id
        (read,) = client.search_runs([experiment], "run_name = 'cli'")
        assert [m.step for m in client.get_metric_history(read.info.run_id, "validation")] == [1, 2]
    assert read.info.status == "FINISHED"
    assert "track: [tensorboard, mlflow]" in (tmp_path / "runs/cli/config.yaml").read_text()
    parse(["sweep", "--config", "runs/cli/config.yaml", "--grid", "latent_dim=2,3"])  # without them
    capsys.readouterr()
    assert cli.main(["fit", "--data", "digits", "--track", "tensorbord"]) == 2
    assert "there is no tracker 'tensorbord': did you mean tensorboard? " in capsys.readouterr().err


def test_a_tracker_without_its_extra_is_refused_before_the_data_are_read(monkeypatch):
    for name, module, extra in (
        ("tensorboard", "torch.utils.tensorboard", "tensorboard"),
        ("mlflow", "mlflow", "mlflow"),
        ("wandb", "wandb", "wandb"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        raises_one_sentence(lambda name=name: trackers(name), f"pip install 'pyrovae[{extra}]'")


def test_pictures_are_of_the_samples(data, tmp_path):
    from PIL import Image

    run = pv.fit(
        vae(), data, out=tmp_path / "a", callbacks=[Images(every=1, count=1)], **QUIET | {"epochs": 1}
    )
    with Image.open(run.folder / "samples/epoch_0001.png") as image:
        picture = np.asarray(image)[..., 0] / 255
    sample = run.program.sample(1, mean=True, seed=0)[0, 0]
    scale = picture.shape[0] // 8
    torch.testing.assert_close(torch.tensor(picture[::scale, ::scale]).float(), sample, atol=0.003, rtol=0)
    rows = torch.rand(30, 3)
    raises_one_sentence(
        lambda: pv.fit(None, rows, callbacks=[Images()], **QUIET), "Images shows events of a shape"
    )


def test_nothing_warns(data, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(data, tmp_path / "a", TensorBoard(), epochs=1)
