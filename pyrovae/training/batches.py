"""Minibatches of one epoch: a pure function of the seed, the epoch and the batch number.

The order is a permutation drawn from (seed, epoch), so a resumed run skips to its batch and goes on
with the same ones. Data in memory lies as one tensor on the device and a batch is an index into it; a
data set that is larger than memory streams through a torch `DataLoader`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from pyrovae.datasets import Data

__all__ = ["Batch", "batches", "generator", "order"]

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


def batches(data: Data, *, epoch: int, seed: int, batch_size: int, start: int = 0) -> Iterator[Batch]:
    """The batches (x, context) of an epoch from number `start` on, in the type of the validation set."""
    index = order(len(data.train), seed, epoch)[start * batch_size :]  # type: ignore[arg-type]
    if data.streams:
        yield from _streamed(data, index, batch_size, (seed, epoch, start))
        return
    x, context = data.epoch(epoch, seed), data.context.train if data.context else None
    x = x.to(data.validation.dtype)
    for rows in index.to(x.device).split(batch_size):
        yield x[rows], None if context is None else context[rows]


def _streamed(data: Data, index: Tensor, batch_size: int, key: tuple[int, int, int]) -> Iterator[Batch]:
    seed, epoch, start = key
    rng = generator(seed, epoch)  # without one the loader would draw from the global random state
    loader = DataLoader(data.train, batch_size=batch_size, sampler=index.tolist(), generator=rng)  # type: ignore[arg-type]
    for number, batch in enumerate(loader, start):
        x, context = batch if isinstance(batch, (list, tuple)) else (batch, None)
        x = data.collate(x, generator(seed, epoch, number)).to(data.validation)
        yield x, None if context is None else context.to(x)
