"""Work in a thread, of which only the latest request is answered.

The page stays in use meanwhile. A request that has not started is dropped when a newer one comes,
and the result of one that has is not shown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pyrovae.app.sentences import sentence_of

if TYPE_CHECKING:
    from pyrovae.app.session import Session

__all__ = ["Latest"]

T = TypeVar("T")


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
        self.thread = threading.Thread(target=self._work, args=(self.turn, compute, show), daemon=True)
        self.thread.start()

    def cancel(self) -> None:
        """Forget the request that is not answered yet."""
        self.turn += 1

    def wait(self) -> None:
        """Wait until the latest request is computed."""
        if self.thread is not None:
            self.thread.join()

    def _work(self, turn: int, compute: Callable[[], T], show: Callable[[T], None]) -> None:
        with self.lock:
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
