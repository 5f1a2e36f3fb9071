"""Handle Ctrl-C, SIGTERM and SIGHUP in a command that runs in its own process.

    starting   while the command is imported and parsed, Ctrl-C ends the process with one line
    running    Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt, so that finished work is kept
    ending     the command has ended: only a third Ctrl-C has an effect, and ends it at once

Requests within half a second count once. Otherwise a second key press would interrupt the writing
of results that the first one asked for. Python drops an exception in a destructor, so a request
that is lost there is made again.

In IPython, the kernel of a notebook included, nobody calls these functions, and an interrupt raises
KeyboardInterrupt. `Cell` lets a fit end with its weights instead.
"""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

__all__ = [
    "AGAIN",
    "SIGNALS",
    "STATUS",
    "Cell",
    "Presses",
    "ending",
    "let_go_of_terminal",
    "running",
    "shell",
    "starting",
]

AGAIN = 0.5  # seconds
STATUS = 130  # the exit status of a command that was stopped

# Requests to stop: from the keyboard, a scheduler, or a closed terminal (not on Windows).
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Presses:
    """Distinguishes a new request to stop from repeated key presses."""

    def __init__(self) -> None:
        self.last = float("-inf")

    def is_new(self) -> bool:
        """Whether the last new request was more than half a second ago."""
        now = time.monotonic()
        is_new = now - self.last > AGAIN
        self.last = now if is_new else self.last
        return is_new


def shell() -> Any:  # noqa: ANN401
    """The running IPython, in a terminal or in a notebook, or None; IPython is not imported."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


class Cell:
    """The cell that IPython runs. After an interrupt, it may end what it does, but not begin more.

    Otherwise an interrupt in a loop of fits would end one of them only.
    """

    _stopped: tuple[int, int] | None = None

    @staticmethod
    def now() -> tuple[int, int] | None:
        """What identifies the cell; None outside IPython."""
        running = shell()
        return None if running is None else (id(running), running.execution_count)

    @classmethod
    def stop(cls) -> bool:
        """Note that the user has interrupted this cell; returns whether there is one."""
        cls._stopped = cls.now()
        return cls._stopped is not None

    @classmethod
    def check(cls) -> None:
        """Raise KeyboardInterrupt if the user has interrupted this cell."""
        if cls._stopped is not None and cls._stopped == cls.now():
            raise KeyboardInterrupt("the cell was interrupted before: run it again to go on")


class _State:
    """The state of the handlers."""

    is_installed = False
    phase = "starting"
    presses = Presses()
    ignored = 0


def starting() -> None:
    """Answer Ctrl-C with one line from now on, while modules are imported."""
    if _State.is_installed:
        return
    _State.is_installed = True
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _answer)
        # While Python ends it has no handlers, and a late Ctrl-C would change the exit status.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def running() -> None:
    """Raise KeyboardInterrupt from now on; does nothing in a process of another program."""
    if not _State.is_installed or _State.phase != "starting":
        return
    _State.phase = "running"
    sys.unraisablehook = _unraisable
    if os.environ.get("WORLD_SIZE", "1") != "1":  # torchrun ends its processes itself
        return
    for number in SIGNALS[1:]:
        if signal.getsignal(number) is signal.SIG_DFL:  # not ignored, as by nohup
            signal.signal(number, _answer)


def ending() -> None:
    """Ignore further requests while the command writes its last lines."""
    _State.phase = "ending"


def _answer(number: int, _: FrameType | None) -> None:
    if number == getattr(signal, "SIGHUP", None):
        let_go_of_terminal()
    if _State.phase == "starting":
        _leave()
    if _State.phase == "ending":
        _State.ignored += 1
        if _State.ignored > 2 or number != signal.SIGINT:
            _leave("")
    elif _State.presses.is_new():
        raise KeyboardInterrupt


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
        return
    again = threading.Timer(1.1 * AGAIN, _press)  # earlier, it would count as the same request
    again.daemon = True
    again.start()


def _press() -> None:
    if hasattr(signal, "pthread_kill"):  # wakes a main thread that waits
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def _leave(message: str = "pyrovae: stopped\n") -> None:
    if os.environ.get("RANK", "0") == "0":
        os.write(2, message.encode())
    os._exit(STATUS)


def let_go_of_terminal() -> None:
    """Prevent a failure of print in a process whose terminal was closed."""
    for stream in (0, 1, 2):
        if os.isatty(stream):
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, stream)
            os.close(null)
