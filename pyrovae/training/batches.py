"""Minibatches of one epoch: a pure function of the seed, the epoch and the batch number.

The order is a permutation drawn from (seed, epoch), so a resumed run skips to its batch and goes on
with the same ones. Data in memory lies as one tensor on the device and a batch is an index into it; a
data set that is larger than memory streams through a torch `DataLoader`. Several processes make the same
order, and of each batch process r of R takes rows r, r + R, r + 2R, ...
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pyrovae import sharing

if TYPE_CHECKING:
    from pyrovae.datasets import Data
    from pyrovae.training.settings import Settings
    from pyrovae.training.state import Position

__all__ = ["Batch", "Rows", "generator", "mixed", "order", "rows_of"]

Batch = tuple[Tensor, Tensor | None]


def mixed(*key: int) -> int:
    """One whole number of 63 bits from a few."""
    found = 0
    for number in key:
        found = (found * 6364136223846793005 + number + 1442695040888963407) % 2**63
    return found


def generator(*key: int) -> torch.Generator:
    """A generator that is a pure function of a few whole numbers."""
    return torch.Generator().manual_seed(mixed(*key))


def order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of the data in one epoch, a permutation of 0..count-1."""
    return torch.randperm(count, generator=generator(seed, epoch))


@dataclass(frozen=True, eq=False)
class Rows:
    """Data that lie on the device, and the order in which batches are taken from them.

    Attributes:
        x, context: the data.
        order: numbers of rows.
        batch_size: rows of a batch, in all processes; the last batch may be smaller.
        first: the number of the first batch in its epoch.
        share: (r, R), this process's number and how many there are.
    """

    x: Tensor
    context: Tensor | None
    order: Tensor
    batch_size: int
    first: int = 0
    share: tuple[int, int] = (0, 1)

    @cached_property
    def full(self) -> int:
        """How many batches have the full size."""
        return len(self.order) // self.batch_size

    def count(self, number: int) -> int:
        """How many rows batch `number` has in all processes."""
        return min(self.batch_size, len(self.order) - number * self.batch_size)

    def batch(self, number: int) -> Batch:
        """This process's rows of batch `number`; none where the last batch has fewer rows than processes."""
        rows = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        rows = rows[self.share[0] :: self.share[1]]
        return self.x[rows], None if self.context is None else self.context[rows]


def rows_of(data: Data, position: Position, settings: Settings) -> Iterator[tuple[Rows, int]]:
    """The batches of an epoch from a position on: rows, and the number of the batch in them.

    Rows have the type of the validation set. Those in memory hold a whole epoch, those of a stream one batch.
    """
    epoch, first, size = position.epoch, position.batch, settings.batch_size
    share = sharing.rank(), sharing.world()
    index = order(len(data.train), settings.seed, epoch)  # type: ignore[arg-type]
    if data.streams:
        streamed = _streamed(data, index[first * size :], size, (settings.seed, epoch, first), share)
        for number, (x, context) in enumerate(streamed, first):
            count = min(size, len(index) - number * size)
            # Only this process's rows were read: row i of the whole batch is row i // R of x.
            places = torch.arange(count, device=x.device) // share[1]
            yield Rows(x, context, places, size, number, share), 0
        return
    x = data.epoch(epoch, settings.seed).to(data.validation.dtype)
    context = data.context.train if data.context else None
    rows = Rows(x, context, index.to(x.device), size, share=share)
    for number in range(first, math.ceil(len(index) / size)):
        yield rows, number


def _streamed(
    data: Data, index: Tensor, batch_size: int, key: tuple[int, int, int], share: tuple[int, int]
) -> Iterator[Batch]:
    seed, epoch, start = key
    rng = generator(seed, epoch)  # without one the loader would draw from the global random state
    own = [batch[share[0] :: share[1]].tolist() for batch in index.split(batch_size)]
    loader = iter(DataLoader(data.train, batch_sampler=[b for b in own if b], generator=rng))  # type: ignore[arg-type]
    for number, rows in enumerate(own, start):
        if not rows:
            yield data.validation[:0], None if data.context is None else data.context.validation[:0]
            continue
        batch = next(loader)
        x, context = batch if isinstance(batch, (list, tuple)) else (batch, None)
        extra = share[:1] if share[0] else ()  # each process draws its own, the first those of one alone
        x = data.collate(x, generator(seed, epoch, number, *extra)).to(data.validation)
        yield x, None if context is None else context.to(x)
