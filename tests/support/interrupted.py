"""Runs that crash, are stopped, or find the disk full."""

import os
import resource
import signal
import time
from contextlib import contextmanager

import pytest

import pyrovae as pv
from pyrovae.training.steps import Steps
from tests.support.same_runs import checkpoint


class Crashed(Exception):
    """What the tests raise in the middle of a step."""


@contextmanager
def crash_after(steps: int):
    """The process dies, without a last word, after this number of steps."""
    take = Steps.take

    def counted(self, *batch):
        if self.job.state.position.step == steps:
            raise Crashed
        take(self, *batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Steps, "take", counted)
        yield


@contextmanager
def stop_after(steps: int):
    """Somebody presses Ctrl-C during step `steps`."""
    take = Steps.take

    def interrupted(self, *batch):
        take(self, *batch)
        if self.job.state.position.step + 1 == steps:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Steps, "take", interrupted)
        yield


def fit_in_pieces(make, data, out, crashes, **settings):
    """Fit, crash at each of some steps and resume; every part is built again, as in a new process."""
    for steps in crashes:
        with crash_after(steps), pytest.raises(Crashed):
            pv.fit(make(), data, out=out, resume=True, **settings)
    return pv.fit(make(), data, out=out, resume=True, **settings)


@contextmanager
def file_limit(size: int):
    """No file may grow beyond `size` bytes: to a writer, as a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def wait_for_step(processes, folder, step):
    """Wait until a checkpoint of a later step is there, or a process has ended."""
    while all(process.poll() is None for process in processes):
        try:
            if checkpoint(folder)["state"]["position"]["step"] >= step:
                return
        except FileNotFoundError:
            pass
        time.sleep(0.002)
