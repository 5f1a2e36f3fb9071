"""Minibatches of one epoch: a pure function of the seed, the epoch and the batch number.

The order is a permutation drawn from (seed, epoch), so a resumed run skips to its batch and
continues with the same ones. Data in memory are one tensor on the device, and a batch is an index
into it; a data set that is larger than memory is streamed by a torch `DataLoader`. All processes
use the same order, and process r of R takes rows r, r + R, r + 2R, ... of each batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pyrovae import sharing
from pyrovae.datasets import Rows

if TYPE_CHECKING:
    from pyrovae.datasets import Data
    from pyrovae.training.settings import Settings
    from pyrovae.training.state import Position

__all__ = ["Epoch", "batches_of", "generator", "mixed", "order"]


def mixed(*key: int) -> int:
    """Hash whole numbers to one of 63 bits."""
    state = 0
    for number in key:
        state = (state * 6364136223846793005 + number + 1442695040888963407) % 2**63
    return state


def generator(*key: int) -> torch.Generator:
    """Make a generator whose seed is a hash of whole numbers."""
    return torch.Generator().manual_seed(mixed(*key))


def order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of the rows in one epoch, a permutation of 0..count-1."""
    return torch.randperm(count, generator=generator(seed, epoch))


@dataclass(frozen=True, eq=False)
class Epoch:
    """Rows on the device, and the order in which batches are taken from them.

    Attributes:
        rows: the training rows, without their row numbers.
        order: positions in `rows`.
        batch_size: the rows of a batch, over all processes together; the last batch may be smaller.
        first: the number, within the epoch, of the first batch here.
        share: (r, R), the index of this process and the number of processes.
    """

    rows: Rows
    order: Tensor
    batch_size: int
    first: int = 0
    share: tuple[int, int] = (0, 1)

    @cached_property
    def full(self) -> int:
        """The number of batches of full size."""
        return len(self.order) // self.batch_size

    def count(self, number: int) -> int:
        """The number of rows of batch `number` in all processes."""
        return min(self.batch_size, len(self.order) - number * self.batch_size)

    def batch(self, number: int) -> Rows:
        """This process's rows of batch `number`; there may be none in a small last batch."""
        positions = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        return self.rows[positions[self.share[0] :: self.share[1]]]


def batches_of(data: Data, position: Position, settings: Settings) -> Iterator[tuple[Epoch, int]]:
    """Iterate over an epoch's batches, starting at a position.

    Each item is an `Epoch` and the number of the batch within it. An `Epoch` holds all rows if the
    data are in memory, and one batch if they are streamed. Rows have the dtype of the validation
    set.
    """
    epoch, first, size = position.epoch, position.batch, settings.batch_size
    share = sharing.rank(), sharing.world()
    index = order(len(data.train), settings.seed, epoch)
    if data.streams:
        streamed = _streamed(data, index[first * size :], size, (settings.seed, epoch, first), share)
        for number, rows in enumerate(streamed, first):
            count = min(size, len(index) - number * size)
            # Only this process's rows were read: row i of the whole batch is row i // R of x.
            places = torch.arange(count, device=rows.x.device) // share[1]
            yield Epoch(rows, places, size, number, share), 0
        return
    rows = replace(data.epoch(epoch, settings.seed), index=None).as_in(data.validation)
    whole = Epoch(rows, index.to(rows.x.device), size, share=share)
    for number in range(first, math.ceil(len(index) / size)):
        yield whole, number


def _streamed(
    data: Data, index: Tensor, batch_size: int, key: tuple[int, int, int], share: tuple[int, int]
) -> Iterator[Rows]:
    stream, (seed, epoch, start) = data.train, key
    assert not isinstance(stream, Rows)
    rng = generator(seed, epoch)  # so that the loader does not use the global random state
    own = [batch[share[0] :: share[1]].tolist() for batch in index.split(batch_size)]
    loader = iter(DataLoader(stream, batch_sampler=[b for b in own if b], generator=rng))
    extra = (
        share[:1] if share[0] else ()
    )  # each process has its own draws; the first has those of a single process
    for number, numbers in enumerate(own, start):
        x = next(loader) if numbers else data.validation.x[:0]
        rows = data.streamed(x, numbers, generator(seed, epoch, number, *extra))
        yield replace(rows, index=None).as_in(data.validation)
