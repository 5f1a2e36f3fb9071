"""Minibatches of one epoch: a pure function of the seed, the epoch and the batch number.

The order is a permutation drawn from (seed, epoch), so a resumed run skips to its batch and
continues with the same ones. Data in memory are one tensor on the device, and a batch is an index
into it; a data set that is larger than memory is read ahead in blocks (`reading`). All processes
use the same order, and process r of R takes rows r, r + R, r + 2R, ... of each batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from pyrovae import sharing
from pyrovae.training.epochs import Epoch, generator, mixed, order
from pyrovae.training.reading import Reading

if TYPE_CHECKING:
    from pyrovae.datasets import Data, Rows
    from pyrovae.training.settings import Settings
    from pyrovae.training.state import Position

__all__ = ["Epoch", "batches_of", "generator", "mixed", "order"]


def batches_of(
    data: Data,
    position: Position,
    settings: Settings,
    reading: Reading | Callable[[int], Rows] | None = None,
) -> Iterator[tuple[Epoch, int]]:
    """Iterate over an epoch's batches, starting at a position.

    Each item is an `Epoch` and the number of the batch within it. An `Epoch` holds all rows if the
    data are in memory, and those of a block of batches if they are streamed. Rows have the dtype of
    the validation set. `reading` is what is read or prepared ahead: the blocks of a stream, or a
    function that returns the rows of an epoch.
    """
    epoch, first, size = position.epoch, position.batch, settings.batch_size
    if isinstance(reading, Reading):
        yield from reading.batches()
        return
    if data.streams:
        with Reading(data, position, settings, epochs=epoch + 1) as reading:
            yield from reading.batches()
        return
    share = sharing.rank(), sharing.world()
    index = order(len(data.train), settings.seed, epoch)
    drawn = data.epoch(epoch, settings.seed) if reading is None else reading(epoch)
    rows = replace(drawn, index=None).as_in(data.validation)
    whole = Epoch(rows, index.to(rows.x.device), size, share=share)
    for number in range(first, math.ceil(len(index) / size)):
        yield whole, number
