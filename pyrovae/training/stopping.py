"""How a run ends before its last epoch: by an interrupt, or by a failure."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyrovae import sharing
from pyrovae.cures import command, cure, resuming
from pyrovae.errors import InputError, NumericalError
from pyrovae.interrupts import SIGNALS, Cell, Presses, let_go_of_terminal
from pyrovae.training.job import Job
from pyrovae.training.saver import Saver
from pyrovae.training.state import load_weights

__all__ = ["Request", "failures", "is_stopped", "load_best", "stop_requests", "stop_message"]


def is_stopped(job: Job) -> bool:
    """Whether a run was asked to stop before its end."""
    return job.exchange.stopped and not job.is_over


def stop_message(job: Job, folder: Path | None) -> str:
    """That the user stopped a run, the weights that the program has, and how to go on."""
    position, best, epochs = job.state.position, job.state.best_epoch, job.settings.epochs
    chosen = "" if job.settings.keep == "last" else ", the best so far"
    weights = f"epoch {best}{chosen}" if best else "the last step"
    go_on = (
        f"go on with out={str(folder)!r} and resume=True"
        if folder
        else "a new fit starts from these; with out= it could be resumed"
    )
    return (
        f"stopped in epoch {position.epoch + 1} of {epochs}, after {position.step} steps: the program has "
        f"the weights of {weights}; {go_on}"
    )


@contextmanager
def failures(job: Job, saver: Saver, out: str | os.PathLike | None, request: Request) -> Iterator[None]:
    """Add to the error of a run that failed or was stopped how to resume it.

    A run that was stopped leaves the best weights in the program.
    """
    checkpoint = f"; the last good checkpoint is {Path(out) / 'last.ckpt'}" if out else ""
    how = f"; resume it with {resuming(out)}" if out else ""
    try:
        yield
    except NumericalError as error:
        raise NumericalError(f"{error}{checkpoint}") from None
    except sharing.Lost as error:
        with suppress(InputError):  # the failed step has changed nothing
            saver.save(now=True)
        raise sharing.Lost(f"{error}, in step {job.state.position.step + 1}{how}") from error
    except KeyboardInterrupt:
        load_best(job, saver)
        raise
    is_returned = request.is_from_keyboard and Cell.stop() and not job.exchange.is_shared
    if is_stopped(job) and not is_returned:
        load_best(job, saver)
        drawing = cure("", f", or draw its figures so far with {command('figures', out)}")
        drawn = drawing if out and job.state.best_epoch else ""
        raise KeyboardInterrupt(f"stopped after {job.state.position.step} steps{how}{drawn}")


def load_best(job: Job, saver: Saver) -> None:
    """Give the program the best weights so far, if an epoch was validated."""
    if saver.best is not None:
        load_weights(job.runner, job.trained, saver.best)


class Request(threading.Event):
    """A request to stop a run.

    Attributes:
        is_from_keyboard: whether it was Ctrl-C, or the interrupt of a notebook.
    """

    is_from_keyboard = False


@contextmanager
def stop_requests() -> Iterator[Request]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into a request to stop after the current step.

    A second one stops at once, except under torchrun, which sends one itself.
    """
    request, presses = Request(), Presses()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, _: object) -> None:
        if number not in SIGNALS[:2]:
            let_go_of_terminal()
        if presses.is_new() and request.is_set() and not sharing.is_shared():
            raise KeyboardInterrupt
        request.is_from_keyboard = number == signal.SIGINT
        request.set()

    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {n: h for n, h in before.items() if n in SIGNALS[:2] or h is not signal.SIG_IGN}  # as by nohup
    try:
        for number in before:
            signal.signal(number, ask)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
