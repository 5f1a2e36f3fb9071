"""Callbacks: what they see, what they add, and that they change nothing else."""

import math

import numpy as np
import pytest
import torch

import pyrovae as pv
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
