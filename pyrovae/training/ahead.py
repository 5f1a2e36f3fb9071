"""The rows of the next epoch, prepared in a thread while steps use those of this one.

Binarising 60,000 images takes as long as 300 compiled steps. The rows are a function of the seed
and the epoch, with random numbers of their own, so it makes no difference when they are drawn.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from pyrovae.datasets import Rows

if TYPE_CHECKING:
    from pyrovae.datasets import Data
    from pyrovae.training.settings import Settings

__all__ = ["NextEpoch"]

LARGEST = 2**29  # bytes of the rows that are held twice


class NextEpoch:
    """The training rows of one epoch after the other; a context that ends its thread.

    Arguments:
        data: data in memory.
        settings: the seed, and the number of epochs after which nothing is prepared.
    """

    def __init__(self, data: Data, settings: Settings) -> None:
        self.data, self.settings = data, settings
        self.thread: ThreadPoolExecutor | None = None
        self.next: tuple[int, Future[Rows]] | None = None

    def __enter__(self) -> Self:
        train = self.data.train
        if isinstance(train, Rows) and self.data.draws_epochs and train.x.nbytes <= LARGEST:
            self.thread = ThreadPoolExecutor(1, "pyrovae-epoch")
        return self

    def __exit__(self, *_: object) -> None:
        if self.thread is not None:
            self.thread.shutdown(wait=False, cancel_futures=True)

    def __call__(self, epoch: int) -> Rows:
        """The rows of an epoch; begins to prepare those of the next one."""
        ready, self.next = self.next, None
        rows = ready[1].result() if ready is not None and ready[0] == epoch else self._rows(epoch)
        if self.thread is not None and epoch + 1 < self.settings.epochs:
            self.next = epoch + 1, self.thread.submit(self._rows, epoch + 1)
        return rows

    def _rows(self, epoch: int) -> Rows:
        return self.data.epoch(epoch, self.settings.seed)
