"""Work in a thread, of which only the latest request is answered.

The page stays in use meanwhile, but what else needs the model waits. A request that has not started
is dropped when a newer one comes, and the result of one that has is not shown.

Python 3.11 aborts if it ends while a thread computes in torch, so `end` ends all threads first.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pyrovae.app.sentences import sentence_of

if TYPE_CHECKING:
    from pyrovae.app.session import Session

__all__ = ["Latest", "end", "stop"]

T = TypeVar("T")
NAME = "pyrovae explore"


class Latest:
    """The latest request of a card.

    Arguments:
        session: runs answers with the lock of the document.
        card: the card that asks.
        refuse: called with a sentence instead, if the work fails.
    """

    def __init__(self, session: Session, card: Any, refuse: Callable[[str], None]) -> None:  # noqa: ANN401
        self.session, self.card, self.refuse = session, card, refuse
        self.turn, self.lock = 0, threading.Lock()
        self.thread: threading.Thread | None = None

    def ask(self, compute: Callable[[], T], show: Callable[[T], None]) -> None:
        """Compute in a thread, and show the result unless a newer request comes first."""
        self.cancel()
        self.thread = threading.Thread(
            target=self._work, args=(self.turn, compute, show), name=NAME, daemon=True
        )
        self.thread.start()

    def cancel(self) -> None:
        """Forget the request that is not answered yet."""
        self.turn += 1

    def wait(self) -> None:
        """Wait until the latest request is computed."""
        if self.thread is not None:
            self.thread.join()

    def _work(self, turn: int, compute: Callable[[], T], show: Callable[[T], None]) -> None:
        with suppress(SystemExit), self.lock:  # of `end`
            if turn != self.turn:
                return
            try:
                action = partial(show, compute())
            except Exception as error:  # noqa: BLE001
                action = partial(self.refuse, sentence_of(error))
            self.session.soon(partial(self._answer, turn, action), self.card)

    def _answer(self, turn: int, action: Callable[[], None]) -> None:
        if turn == self.turn:
            action()


def stop() -> list[threading.Thread]:
    """Ask all threads to end, each after the operation of torch that it is in; returns them."""
    threads = [thread for thread in threading.enumerate() if thread.name == NAME]
    for thread in threads:
        number, error = ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, error)
    return threads


def end() -> None:
    """End all threads."""
    while threads := stop():
        threads[0].join(0.1)  # again, for it is lost in a destructor
