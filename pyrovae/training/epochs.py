"""The order of the rows in an epoch, and its batches: functions of the seed and the epoch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pyrovae.datasets import Rows

__all__ = ["Epoch", "generator", "mixed", "order"]


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

    These are all rows of an epoch, or a block of batches of a stream, some of which may be unread.

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
