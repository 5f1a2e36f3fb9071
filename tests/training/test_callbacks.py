"""Callbacks: what they see, what they add, and that they change nothing else."""

import math
import re

import numpy as np
import pytest
import torch

import pyrovae as pv
from tests.support.interrupted import stop_after
from tests.support.parts import raises_one_sentence

QUIET = {"progress": False, "figures": False, "compile": False, "lr_schedule": "constant", "kl_warmup": 0}


@pytest.fixture(scope="module")
def data():
    return pv.datasets.load("digits", binarize="dynamic", count=200)


def vae():
    return pv.VAE((1, 8, 8), latent_dim=2, encoder=pv.networks.MLP(8), decoder=pv.networks.MLP(8), seed=0)


class Recorder(pv.Callback):
    """Notes its calls, and draws random numbers."""

    def __init__(self):
        self.calls = []

    def on_start(self, run):
        self.calls.append(("start", run.epoch, run.epochs))

    def on_epoch(self, run):
        torch.rand(7)
        assert not run.program.training
        bound = pv.log_evidence(run.program, run.data.validation, particles=2).mean
        self.calls.append(("epoch", run.epoch, len(run.history.get("train", []))))
        return {"two": float(bound), "twice": 2 * run.metrics["validation"]}

    def on_end(self, run):
        self.calls.append(("end", run.epoch, run.folder))


class Stop(pv.Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch(self, run):
        if run.epoch == self.epoch:
            run.stop()


def test_calls_and_metrics(data, tmp_path):
    recorder = Recorder()
    run = pv.fit(vae(), data, epochs=3, out=tmp_path / "a", callbacks=[recorder], **QUIET)
    epochs = [("epoch", e + 1, e) for e in range(3)]
    assert recorder.calls == [("start", 0, 3), *epochs, ("end", 3, tmp_path / "a")]
    np.testing.assert_array_equal(run.history["twice"], 2 * run.history["validation"])
    assert (run.history["two"] > run.history["validation"]).all()  # two particles, and one
    assert "twice" in (tmp_path / "a/metrics.csv").read_text().splitlines()[0]


def test_a_callback_changes_no_other_number(data):
    plain = pv.fit(vae(), data, epochs=3, **QUIET)
    called = pv.fit(vae(), data, epochs=3, callbacks=Recorder(), **QUIET)
    for name in ("train", "validation", "kl"):
        np.testing.assert_array_equal(plain.history[name], called.history[name])


def test_a_stopped_run_resumes_to_the_same_weights(data, tmp_path):
    whole = pv.fit(vae(), data, epochs=4, **QUIET)
    out = tmp_path / "a"
    first = pv.fit(vae(), data, epochs=4, out=out, callbacks=[Stop(2)], **QUIET)
    assert first.history["epoch"].tolist() == [1, 2]
    second = pv.fit(vae(), data, epochs=4, out=out, resume=True, callbacks=[Recorder()], **QUIET)
    np.testing.assert_array_equal(second.history["validation"], whole.history["validation"])
    assert [math.isnan(value) for value in second.history["two"]] == [True, True, False, False]
    third = pv.fit(vae(), data, epochs=5, out=out, resume=True, **QUIET)
    assert math.isnan(third.history["two"][-1])
    for one, other in zip(whole.program.parameters(), second.program.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_not_a_callback_is_refused(data):
    class Text(pv.Callback):
        def on_epoch(self, run):
            return self.value

    for value, said in (
        ({"kl": 1.0}, "returns 'kl', which exists"),
        ({"a": "word"}, "'a' of Text must be a number"),
        (3, "must return metrics by name"),
    ):
        bad = Text()
        bad.value = value
        raises_one_sentence(lambda bad=bad: pv.fit(vae(), data, epochs=1, callbacks=[bad], **QUIET), said)
    raises_one_sentence(
        lambda: pv.fit(vae(), data, callbacks=[print], **QUIET), "subclasses of pyrovae.Callback"
    )
    raises_one_sentence(lambda: pv.fit(vae(), data, callbacks=3, **QUIET), "subclasses of pyrovae.Callback")


class All(pv.Callback):
    """Notes every call, and counts the steps of all parts of a run."""

    def __init__(self, fails=""):
        self.fails, self.calls, self.steps = fails, [], 0

    def note(self, what, *rest):
        self.calls.append((what, *rest))
        if what == self.fails:
            raise ZeroDivisionError("my own mistake")

    def on_start(self, run):
        self.note("start", run.status)

    def on_step(self, run):
        torch.rand(3)
        self.steps += 1
        if run.step in (1, 5):
            self.note("step", run.step)

    def on_epoch(self, run):
        self.note("epoch", run.epoch)

    def on_checkpoint(self, run, path):
        assert path.is_file()
        self.note("checkpoint", path.name)

    def on_end(self, run):
        self.note("end", run.status)

    def state(self):
        return {"steps": self.steps, "nested": {"tensors": [torch.ones(2)]}}

    def load_state(self, state):
        self.steps = state.get("steps", 0)


def test_the_order_of_all_calls(data, tmp_path):
    called = All()
    run = pv.fit(vae(), data, epochs=1, batch_size=20, out=tmp_path / "a", callbacks=[called], **QUIET)
    both = [("checkpoint", "best.ckpt"), ("checkpoint", "last.ckpt")]
    started = [("start", "running"), ("checkpoint", "last.ckpt")]  # with its state
    steps = [("step", 1), ("step", 5), ("epoch", 1)]
    assert called.calls == [*started, *steps, *both, *both, ("end", "finished")]
    plain = pv.fit(vae(), data, epochs=1, batch_size=20, **QUIET)
    np.testing.assert_array_equal(run.history["train"], plain.history["train"])


def test_the_end_has_the_weights_that_are_kept_and_the_figures(data, tmp_path):
    found = {}

    class End(pv.Callback):
        def on_end(self, run):
            found["weights"] = {name: w.clone() for name, w in run.program.state_dict().items()}
            found["figures"] = {path.name for path in (run.folder / "figures").iterdir()}

    options = QUIET | {"figures": True, "epochs": 4, "lr": 1.0, "clip": 1.0}
    run = pv.fit(vae(), data, out=tmp_path / "a", callbacks=[End()], **options)
    assert run.best_epoch < 4
    kept = torch.load(tmp_path / "a/best.ckpt", weights_only=True)["weights"]
    assert all(torch.equal(kept[name], weight) for name, weight in found["weights"].items())
    assert "training.png" in found["figures"]


@pytest.mark.parametrize("stop", ["callback", "ctrl-c"])
def test_a_state_is_resumed(data, tmp_path, stop):
    out, options = tmp_path / "a", {"epochs": 3, "batch_size": 20, **QUIET}
    first, second = All(), All()
    if stop == "callback":
        pv.fit(vae(), data, out=out, callbacks=[first, Stop(1)], **options)
        assert first.calls[-1] == ("end", "stopped")
    else:
        with stop_after(9), pytest.raises(KeyboardInterrupt):
            pv.fit(vae(), data, out=out, callbacks=[first], **options)
        assert first.calls[-1] == ("end", "interrupted")
    with stop_after(15), pytest.raises(KeyboardInterrupt):  # without it, the state is kept
        pv.fit(vae(), data, out=out, resume=True, **options)
    pv.fit(vae(), data, out=out, resume=True, callbacks=[second], **options)
    assert second.steps == first.steps + 6
    third = All()
    pv.fit(vae(), data, callbacks=[third], **options)
    assert third.steps == 21


@pytest.mark.parametrize("method", ["step", "epoch", "checkpoint", "end"])
def test_an_error_of_a_callback_says_whose_it_is_and_loses_no_work(data, tmp_path, method):
    out, options = tmp_path / "a", {"epochs": 2, "batch_size": 20, "checkpoint_seconds": 1e6, **QUIET}
    whole = pv.fit(vae(), data, **options)
    failing, other = All(method), All()
    said = re.escape(f"raised by on_{method} of the callback All")
    with pytest.raises(ZeroDivisionError, match=said):
        pv.fit(vae(), data, out=out, callbacks=[failing, other], **options)
    assert other.calls[-1] == ("end", "finished" if method == "end" else "failed")
    saved = torch.load(out / "last.ckpt", weights_only=True)["state"]["position"]["step"]
    assert saved == {"step": 1, "epoch": 7, "checkpoint": 0, "end": 14}[method]
    resumed = pv.fit(vae(), data, out=out, resume=True, **options)
    np.testing.assert_array_equal(resumed.history["validation"], whole.history["validation"])


def test_what_a_checkpoint_cannot_hold_is_refused_at_once(data, tmp_path):
    class Odd(pv.Callback):
        def state(self):
            return {"run": object()}

        def load_state(self, state):
            assert not state

    raises_one_sentence(
        lambda: pv.fit(vae(), data, out=tmp_path / "a", callbacks=[Odd()], **QUIET),
        "state of Odd has an object that a checkpoint cannot hold",
    )
    pv.fit(vae(), data, epochs=1, out=tmp_path / "b", callbacks=[All()], **QUIET)

    class Other(pv.Callback):
        def load_state(self, state):
            state["nothing"]

    Other.__name__ = "All"
    raises_one_sentence(
        lambda: pv.fit(vae(), data, epochs=1, out=tmp_path / "b", resume=True, callbacks=[Other()], **QUIET),
        "the state of All in the checkpoint does not match",
    )


def test_one_object_is_given_once(data):
    stop = Stop(1)
    raises_one_sentence(lambda: pv.fit(vae(), data, callbacks=[stop, stop], **QUIET), "one object twice")


@pytest.mark.parametrize("name", ["validation", "objective", "global_kl"])
def test_metrics_that_fit_has_are_not_replaced(name, data):
    class Own(pv.Callback):
        def on_epoch(self, run):
            return {name: -float(run.epoch)}  # as the objective, it would choose the weights

    raises_one_sentence(lambda: pv.fit(vae(), data, callbacks=[Own()], **QUIET), f"{name!r}, which exists")


def test_one_object_is_in_one_fit_at_a_time(data):
    average = pv.callbacks.ExponentialAverage(0.9)

    class Nested(pv.Callback):
        def on_epoch(self, run):
            pv.fit(vae(), data, epochs=1, callbacks=[average], **QUIET)

    fails = lambda: pv.fit(vae(), data, epochs=1, callbacks=[average, Nested()], **QUIET)  # noqa: E731
    raises_one_sentence(fails, "another fit uses one of these callbacks", "give each fit its own")
    assert average.count
    pv.fit(vae(), data, epochs=1, callbacks=[average], **QUIET)
