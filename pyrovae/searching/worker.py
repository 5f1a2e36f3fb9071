"""A process that does tasks for a `workers.Pool`: what runs in it.

The process has its own session, so that Ctrl-C reaches only the parent. It reads its orders in a
thread. When the connection ends (the parent leaves the pool, or is killed), it interrupts its task
as Ctrl-C does: a fit writes its checkpoint. A task that does not end then is killed.
"""

from __future__ import annotations

import importlib
import os
import pickle
import queue
import signal
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pyrovae.errors import InputError, Lost, NumericalError, visible
from pyrovae.interrupts import STATUS
from pyrovae.memory import is_exhausted

__all__ = ["GRACE", "main", "pickled", "reason_for"]

GRACE = 10.0  # seconds for a task to end after it was interrupted


def main(descriptor: int) -> None:
    """Do tasks until the connection ends.

    Arguments:
        descriptor: the socket to the parent.
    """
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the parent ignores it
        with suppress(OSError):  # if memory runs out, the system should end this process first
            Path("/proc/self/oom_score_adj").write_text("500")
        os.set_inheritable(descriptor, False)
        _serve(_Line(Connection(descriptor)))
    except (KeyboardInterrupt, OSError):  # interrupted, or nobody waits for the answer
        pass
    finally:  # threads and libraries have nothing to finish
        os._exit(STATUS)


def _serve(line: _Line) -> None:
    context = line.get()
    is_read = False
    while (order := line.get()) is not None:
        try:
            if not is_read:
                context, is_read = pickle.loads(context or b""), True
            function, options = pickle.loads(order)
            message = pickled(("done", function(context, line.report, **options)))
        except Exception as error:
            message = pickled(("failed", *reason_for(error)))
        line.send(message)


class _Line:
    """The connection to the parent, read by a thread."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.orders: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def get(self) -> bytes | None:
        """The next order; None at the end."""
        return self.orders.get()

    def send(self, message: bytes) -> None:
        self.connection.send_bytes(message)

    def report(self, step: int, value: float) -> bool:
        """Send a number to the parent; returns whether to go on."""
        with suppress(OSError):  # the parent has ended: the task is interrupted now
            self.send(pickled(("report", step, value)))
        return self.get() != b"stop"

    def _read(self) -> None:
        try:
            while True:
                self.orders.put(self.connection.recv_bytes())
        except (EOFError, OSError):
            pass
        self.orders.put(None)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        threading.Event().wait(GRACE)
        os._exit(STATUS)


def pickled(value: Any) -> bytes:  # noqa: ANN401
    """A value as bytes, with the classes that a script defines."""
    try:
        cloudpickle = importlib.import_module("cloudpickle")
    except ModuleNotFoundError:  # joblib before 1.6 has a copy
        cloudpickle = importlib.import_module("joblib.externals.cloudpickle")
    return cloudpickle.dumps(value)


def reason_for(error: BaseException) -> tuple[str, str]:
    """Why a task failed: a sentence, and its kind ("input", "numerical", "memory" or "error").

    Example:
        >>> reason_for(InputError("lr is -1.0: give a number above 0"))
        ('lr is -1.0: give a number above 0', 'input')
    """
    if isinstance(error, (InputError, NumericalError, Lost)):
        return str(error), "numerical" if isinstance(error, NumericalError) else "input"
    if is_exhausted(error):
        return (
            "the trial needs more memory than the machine has free: use fewer jobs, smaller batches or "
            "fewer particles"
        ), "memory"
    text = " ".join(visible(error, lines=True).split()) or "no message"
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" (in {Path(frame[0].filename).name}, line {frame[0].lineno})" if frame else ""
    return f"{type(error).__name__}: {text[:300].rstrip('.')}{where}", "error"
