"""Ctrl-C, and the system's requests to end, for a command in a process of its own.

    starting   while the command is imported and parsed, Ctrl-C ends the process with one line
    running    Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt, so that finished work is kept
    ending     the command has ended: only a third Ctrl-C is answered, by ending at once

A key that is pressed several times in half a second counts once, or the first work to be lost
would be what is written on the first request.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

__all__ = ["AGAIN", "SIGNALS", "STATUS", "Presses", "ending", "let_go_of_terminal", "running", "starting"]

AGAIN = 0.5  # seconds
STATUS = 130  # of a command that was stopped

# Requests to end: a key, a scheduler, and a terminal that was closed. Windows lacks the last.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Presses:
    """Tells a new request to stop from a key that is pressed several times."""

    def __init__(self) -> None:
        self.last = float("-inf")

    def is_new(self) -> bool:
        """Whether the last new request is longer ago than half a second."""
        now = time.monotonic()
        is_new = now - self.last > AGAIN
        self.last = now if is_new else self.last
        return is_new


class _State:
    """What the handlers know."""

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


def running() -> None:
    """Let the command end by itself from now on; nothing in a process of another program."""
    if not _State.is_installed or _State.phase != "starting":
        return
    _State.phase = "running"
    if os.environ.get("WORLD_SIZE", "1") != "1":  # torchrun ends its processes, which keep nothing
        return
    for number in SIGNALS[1:]:
        if signal.getsignal(number) is signal.SIG_DFL:  # not ignored, as by nohup
            signal.signal(number, _answer)


def ending() -> None:
    """Let nothing disturb the last lines of the command."""
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


def _leave(message: str = "pyrovae: stopped\n") -> None:
    if os.environ.get("RANK", "0") == "0":
        os.write(2, message.encode())
    os._exit(STATUS)


def let_go_of_terminal() -> None:
    """Without its terminal a process can print no more, and must not fail for that."""
    for stream in (0, 1, 2):
        if os.isatty(stream):
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, stream)
            os.close(null)
