"""The rows of the next epochs, prepared in threads while steps use the current ones.

Binarising 60,000 images takes as long as 300 compiled steps. The rows are a function of the seed
and the epoch, with their own random generators, so it makes no difference when they are drawn. A
GPU needs several threads, since it trains for an epoch in less time than one thread needs for its
rows.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from pyrovae.datasets import Rows

if TYPE_CHECKING:
    from pyrovae.datasets import Data
    from pyrovae.training.settings import Settings

__all__ = ["NextEpoch"]

LARGEST = 2**29  # bytes of the rows of an epoch, since those of several epochs are in memory
GPU_EPOCHS = 3  # the number of epochs that are prepared at the same time for a GPU


class NextEpoch:
    """The training rows of one epoch after another; a context that ends its threads.

    Arguments:
        data: data in memory.
        settings: the seed, and the number of epochs.
    """

    def __init__(self, data: Data, settings: Settings) -> None:
        self.data, self.settings = data, settings
        self.count = GPU_EPOCHS if data.validation.x.is_cuda else 1
        self.threads: ThreadPoolExecutor | None = None
        self.futures: dict[int, Future[Rows]] = {}

    def __enter__(self) -> Self:
        train = self.data.train
        if isinstance(train, Rows) and self.data.draws_epochs and train.x.nbytes <= LARGEST:
            self.threads = ThreadPoolExecutor(self.count, "pyrovae-epoch")
        return self

    def __exit__(self, *_: object) -> None:
        if self.threads is not None:
            self.threads.shutdown(wait=False, cancel_futures=True)

    def __call__(self, epoch: int) -> Rows:
        """The rows of an epoch; starts to prepare those of the next ones."""
        rows = self.futures.pop(epoch).result() if epoch in self.futures else self._rows(epoch)
        if self.threads is not None:
            for later in range(epoch + 1, min(epoch + 1 + self.count, self.settings.epochs)):
                if later not in self.futures:
                    self.futures[later] = self.threads.submit(self._rows, later)
        return rows

    def _rows(self, epoch: int) -> Rows:
        return self.data.epoch(epoch, self.settings.seed)
