"""An interrupt leaves the best weights; in IPython the run is returned, elsewhere the script ends."""

import os
import signal
import sys
import time
from types import SimpleNamespace

import pytest

import pyrovae as pv
from pyrovae import interrupts
from pyrovae.training import fit_to_end
from pyrovae.training.steps import Steps
from pyrovae.training.stopping import stop_requests
from tests.support.interrupted import stop_after
from tests.support.parts import raises_one_sentence
from tests.support.same_runs import assert_same_runs, binary, checkpoint, same, small

QUIET = {"progress": False, "figures": True, "batch_size": 8, "epochs": 4, "compile": False}
QUIET |= {"lr": 0.3, "lr_schedule": "constant", "kl_warmup": 0}  # the first epoch is the best
STEPS_AN_EPOCH = 5


@pytest.fixture
def data():
    return pv.datasets.load(binary(58), validation=10, test=10)


@pytest.fixture
def shell(monkeypatch):
    """As in IPython, in the cell number 1."""
    running = SimpleNamespace(execution_count=1)
    monkeypatch.setattr(interrupts, "shell", lambda: running)
    monkeypatch.setattr(interrupts.Cell, "_stopped", None)
    return running


@pytest.fixture
def best(data, tmp_path):
    """The weights after one epoch, and after two, of which the first are better."""
    for epochs in (1, 2):
        pv.fit(small(), data, out=tmp_path / str(epochs), **(QUIET | {"epochs": epochs, "figures": False}))
    first, last = (checkpoint(tmp_path / str(epochs))["weights"] for epochs in (1, 2))
    assert not same(first, last)
    assert same(checkpoint(tmp_path / "2", "best")["weights"], first)
    return first


# -------------------------------------------------------------------- in a script


def test_a_script_ends_and_its_program_has_the_best_weights(data, best):
    vae = small()
    with stop_after(2 * STEPS_AN_EPOCH + 2), pytest.raises(KeyboardInterrupt, match="stopped after 12 steps"):
        pv.fit(vae, data, **QUIET)
    assert same(vae.state_dict(), best)


def test_so_it_has_after_an_interrupt_at_once(data, best):
    class Impatient(pv.Callback):
        def on_epoch(self, run):
            if run.epoch == 2:
                raise KeyboardInterrupt

    vae = small()
    with pytest.raises(KeyboardInterrupt):
        pv.fit(vae, data, callbacks=[Impatient()], **QUIET)
    assert same(vae.state_dict(), best)


# -------------------------------------------------------------------- in IPython


def test_a_callback_learns_that_a_returned_run_was_interrupted(shell, data):
    class Ending(pv.Callback):
        def on_end(self, run):
            self.status = run.status

    ending = Ending()
    with stop_after(STEPS_AN_EPOCH + 2):
        run = pv.fit(small(), data, callbacks=[ending], **QUIET)
    assert run.stopped
    assert ending.status == "interrupted"


def test_in_ipython_the_run_is_returned_with_its_best_weights(shell, data, best, tmp_path):
    vae, folder = small(), tmp_path / "run"
    handler = signal.getsignal(signal.SIGINT)
    with stop_after(2 * STEPS_AN_EPOCH + 2):
        run = pv.fit(vae, data, out=folder, **QUIET)
    assert signal.getsignal(signal.SIGINT) is handler
    assert (run.best_epoch, run.epochs) == (1, 2)
    assert run.program is vae
    assert same(vae.state_dict(), best)
    for shown in (repr(run), run._html()):
        assert "stopped in epoch 3 of 4, after 12 steps: the program has the weights of epoch 1" in shown
        assert "resume=True" in shown
    assert not list(folder.rglob("*.png")), "the user wanted it to end"
    shell.execution_count = 2
    pv.fit(small(), data, out=folder, resume=True, **QUIET)
    pv.fit(small(), data, out=tmp_path / "whole", **QUIET)
    assert_same_runs(tmp_path / "whole", folder)


def test_before_the_first_validation_the_weights_are_those_of_the_last_step(shell, data):
    vae, seen = small(), []
    take = Steps.take

    def taken(self, *batch):
        take(self, *batch)
        seen.append({name: w.clone() for name, w in vae.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Steps, "take", taken)
        with stop_after(3):
            run = pv.fit(vae, data, **QUIET)
    assert len(seen) == 3
    assert same(vae.state_dict(), seen[-1])
    assert (run.best_epoch, run.epochs) == (0, 0)
    assert "no epoch was done" in repr(run)
    assert "no epoch was done" in run._html()
    raises_one_sentence(run.plot, "nothing to draw")


def test_an_interrupt_ends_a_loop_of_fits(shell, data):
    with stop_after(3):
        assert pv.fit(small(), data, **QUIET).stopped
    with pytest.raises(KeyboardInterrupt, match="run it again"):
        pv.fit(small(), data, **QUIET)
    shell.execution_count = 2  # the next cell
    assert not pv.fit(small(), data, **(QUIET | {"epochs": 1})).stopped


def test_it_does_so_if_it_came_in_the_last_step(shell, data):
    with stop_after(STEPS_AN_EPOCH):
        assert not pv.fit(small(), data, **(QUIET | {"epochs": 1})).stopped
    with pytest.raises(KeyboardInterrupt):
        pv.fit(small(), data, **QUIET)


def test_a_verb_that_needs_the_whole_training_ends(shell, data):
    """Half a training would falsify its result."""
    with stop_after(3), pytest.raises(KeyboardInterrupt, match="stopped in epoch 1"):
        fit_to_end(small(), data, **QUIET)


def test_only_the_interrupt_returns_not_a_scheduler(shell, data, monkeypatch):
    take = Steps.take

    def terminated(self, *batch):
        take(self, *batch)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Steps, "take", terminated)
    with pytest.raises(KeyboardInterrupt):
        pv.fit(small(), data, **QUIET)


def test_a_second_request_that_is_lost_in_a_destructor_is_made_again(monkeypatch):
    """It comes late enough to be a new one to a handler that counts repeated presses once."""

    class Pressed:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sys, "unraisablehook", interrupts._unraisable)
    with stop_requests() as request:
        signal.raise_signal(signal.SIGINT)
        assert request.is_set()
        time.sleep(1.1 * interrupts.AGAIN)
        Pressed()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(5)
