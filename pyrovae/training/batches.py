"""Minibatches of one epoch: a pure function of the seed, the epoch and the batch number.

The order is a permutation drawn from (seed, epoch), so a resumed run skips to its batch and goes on
with the same ones. Data in memory lies as one tensor on the device and a batch is an index into it; a
data set that is larger than memory streams through a torch `DataLoader`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from pyrovae.datasets import Data
    from pyrovae.training.settings import Settings
    from pyrovae.training.state import Position

__all__ = ["Batch", "Rows", "generator", "order", "rows_of"]

Batch = tuple[Tensor, Tensor | None]


def generator(*key: int) -> torch.Generator:
    """A generator that is a pure function of a few whole numbers."""
    mixed = 0
    for number in key:
        mixed = (mixed * 6364136223846793005 + number + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(mixed)


def order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of the data in one epoch, a permutation of 0..count-1."""
    return torch.randperm(count, generator=generator(seed, epoch))


@dataclass(frozen=True, eq=False)
class Rows:
    """Data that lie on the device, and the order in which batches are taken from them.

    Attributes:
        x, context: the data.
        order: numbers of rows.
        batch_size: rows of a batch; the last batch may be smaller.
        first: the number of the first batch in its epoch.
    """

    x: Tensor
    context: Tensor | None
    order: Tensor
    batch_size: int
    first: int = 0

    @property
    def full(self) -> int:
        """How many batches have the full size."""
        return len(self.order) // self.batch_size

    def batch(self, number: int) -> Batch:
        """Batch `number` of these rows."""
        rows = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        return self.x[rows], None if self.context is None else self.context[rows]


def rows_of(data: Data, position: Position, settings: Settings) -> Iterator[tuple[Rows, int]]:
    """The batches of an epoch from a position on: rows, and the number of the batch in them.

    Rows have the type of the validation set. Those in memory hold a whole epoch, those of a stream one batch.
    """
    epoch, first, size = position.epoch, position.batch, settings.batch_size
    index = order(len(data.train), settings.seed, epoch)  # type: ignore[arg-type]
    if data.streams:
        streamed = _streamed(data, index[first * size :], size, (settings.seed, epoch, first))
        for number, (x, context) in enumerate(streamed, first):
            yield Rows(x, context, torch.arange(len(x), device=x.device), size, number), 0
        return
    x = data.epoch(epoch, settings.seed).to(data.validation.dtype)
    context = data.context.train if data.context else None
    rows = Rows(x, context, index.to(x.device), size)
    for number in range(first, math.ceil(len(index) / size)):
        yield rows, number


def _streamed(data: Data, index: Tensor, batch_size: int, key: tuple[int, int, int]) -> Iterator[Batch]:
    seed, epoch, start = key
    rng = generator(seed, epoch)  # without one the loader would draw from the global random state
    loader = DataLoader(data.train, batch_size=batch_size, sampler=index.tolist(), generator=rng)  # type: ignore[arg-type]
    for number, batch in enumerate(loader, start):
        x, context = batch if isinstance(batch, (list, tuple)) else (batch, None)
        x = data.collate(x, generator(seed, epoch, number)).to(data.validation)
        yield x, None if context is None else context.to(x)
