"""Blocks of batches of a stream, which steps use like rows in memory.

    block    consecutive full batches of an epoch in one tensor; the last block of an epoch has the
             same shape, and may end with old rows that no step uses
    tail     the last batch of an epoch if it is smaller

Compiled steps gather their rows from a block as from data in memory, and all blocks have one shape.
The order of the rows is a function of the seed, the epoch and the batch size. The noise of their
preparation is a function of (seed, epoch, batch). Neither depends on where a run was resumed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyrovae import sharing
from pyrovae.datasets import Rows
from pyrovae.datasets.streams import Stream
from pyrovae.training.epochs import generator, order

if TYPE_CHECKING:
    from pyrovae.datasets import Data
    from pyrovae.training.settings import Settings
    from pyrovae.training.state import Position

__all__ = ["Block", "Blocks"]


@dataclass(frozen=True, eq=False)
class Block:
    """The rows of some batches of an epoch, in main memory.

    Attributes:
        rows: this process's rows.
        order: the place in `rows` of each row of the batches, on the device of the steps; places
            of rows of other processes have no meaning.
        first: the number of the first batch of the block within the epoch.
        batches: the numbers of the batches that were read, counted from `first`.
        epoch: the number of the epoch.
    """

    rows: Rows
    order: Tensor
    first: int
    batches: range
    epoch: int


class Blocks:
    """The blocks of the epochs of a run.

    Arguments:
        data: streamed data.
        settings: the seed and the batch size.
    """

    def __init__(self, data: Data, settings: Settings) -> None:
        assert isinstance(data.train, Stream)
        self.data, self.stream, self.seed, self.size = data, data.train, settings.seed, settings.batch_size
        self.share, self.device = (sharing.rank(), sharing.world()), data.validation.x.device
        self.own = len(range(self.share[0], self.size, self.share[1]))  # rows of a full batch
        self.full = len(self.stream) // self.size
        self.each = min(self.stream.batches_in_block(self.size), max(1, self.full))
        self.count = max(1, math.ceil(self.full / self.each))
        self.places = self._places(self.each * self.size)
        # Two blocks are in memory: steps use one while the other is read.
        self.buffers: list[dict[str, Tensor]] = [{}, {}]

    def keys(self, position: Position, epochs: int) -> Iterator[tuple[Tensor, int]]:
        """The positions of this process's rows of each batch, and a seed for reading them."""
        for epoch, number, first in self._numbers(position, epochs):
            positions = self._order(epoch)(*self._rows(number))
            for batch in self._batches(number, first):
                yield self._own(positions, number, batch), generator(self.seed, epoch, batch).initial_seed()

    def read(
        self, position: Position, epochs: int, next_rows: Callable[[], Tensor] | None = None
    ) -> Iterator[Block]:
        """The blocks from a position on, up to the end of an epoch.

        Arguments:
            position: the first batch.
            epochs: the number of the first epoch that is not read.
            next_rows: returns the grey rows of the next batch of `keys`; by default, they are read
                here.
        """
        for epoch, number, first in self._numbers(position, epochs):
            positions = self._order(epoch)(*self._rows(number))
            batches = self._batches(number, first)
            own = [self._own(positions, number, batch) for batch in batches]
            start = (batches[0] - number * self.each) * self.own
            rows = self._filled(own, start, epoch, batches, next_rows)
            yield from self._cut(rows, number, batches, epoch)

    # ---------------------------------------------------------------- numbers

    def _numbers(self, position: Position, epochs: int) -> Iterator[tuple[int, int, int]]:
        """The epoch and number of each block, and the first batch to read in this epoch."""
        for epoch in range(position.epoch, epochs):
            first = position.batch if epoch == position.epoch else 0
            for number in range(min(first // self.each, self.count - 1), self.count):
                yield epoch, number, first

    def _rows(self, number: int) -> tuple[int, int]:
        """The range of the rows of a block in the order of the epoch."""
        rows = self.each * self.size
        return number * rows, len(self.stream) if number == self.count - 1 else (number + 1) * rows

    def _batches(self, number: int, first: int) -> range:
        """The batches of a block from `first` on; the last block includes the tail."""
        start, stop = self._rows(number)
        return range(max(first, start // self.size), math.ceil(stop / self.size))

    def _order(self, epoch: int) -> Callable[[int, int], Tensor]:
        """A function that returns the positions of a range of rows of an epoch."""
        chunks = self.stream.chunks
        if chunks is not None:
            return lambda first, last: chunks.window(first, last, self.seed, epoch)
        every = order(len(self.stream), self.seed, epoch)
        return lambda first, last: every[first:last]

    def _own(self, positions: Tensor, number: int, batch: int) -> Tensor:
        """The positions of this process's rows of a batch, from those of its block."""
        start = batch * self.size - self._rows(number)[0]
        return positions[start : start + self.size][self.share[0] :: self.share[1]]

    def _places(self, rows: int) -> Tensor:
        """The places of the rows of full batches; row i of a batch is row i // R here."""
        i = torch.arange(rows)
        return (i // self.size * self.own + i % self.size // self.share[1]).to(self.device)

    # ---------------------------------------------------------------- rows

    def _filled(
        self,
        own: list[Tensor],
        start: int,
        epoch: int,
        batches: range,
        next_rows: Callable[[], Tensor] | None,
    ) -> Rows:
        """A buffer that holds the rows of consecutive batches from place `start` on."""
        self.buffers.reverse()
        sizes = [len(rows) for rows in own]
        part = slice(start, start + sum(sizes))
        grey = torch.empty((sum(sizes), *self.stream.event_shape), dtype=self.stream.dtype)
        if not self.data.prepares_batches or grey.dtype == self.data.validation.x.dtype:
            grey = self._buffer("x", grey)[part]  # they are read directly into the buffer
        if next_rows is None:
            self.stream.read(torch.cat(own), grey)
        else:
            for place in grey.split(sizes):
                place.copy_(next_rows())
        each = self._prepared(grey, own, epoch, batches)
        filled = {}
        for name in ("x", "context", "y"):
            values = [getattr(rows, name) for rows in each]
            if values[0] is None:
                continue
            filled[name] = self._buffer(name, values[0])
            places = filled[name][part].split([len(value) for value in values])
            for place, value in zip(places, values, strict=True):
                if place.data_ptr() != value.data_ptr():
                    place.copy_(value)
        return Rows(**filled)

    def _buffer(self, name: str, like: Tensor) -> Tensor:
        """Memory for one tensor of the rows of a block and of one more batch."""
        if name not in self.buffers[0]:
            held_out = getattr(self.data.validation, name)
            self.buffers[0][name] = torch.empty(
                ((self.each + 1) * self.own, *like.shape[1:]),
                dtype=like.dtype if held_out is None else held_out.dtype,
                pin_memory=self.device.type == "cuda",
            )
        return self.buffers[0][name]

    def _prepared(self, grey: Tensor, own: list[Tensor], epoch: int, batches: range) -> list[Rows]:
        """The rows of each batch with its own noise, or of all batches if nothing is drawn."""
        if not self.data.prepares_batches:
            return [self.data.streamed(grey, torch.cat(own), generator(self.seed))]
        # Each process has its own noise; that of the first is the noise of a single process.
        extra = self.share[:1] if self.share[0] else ()
        return [
            self.data.streamed(x, rows, generator(self.seed, epoch, batch, *extra))
            for x, rows, batch in zip(grey.split([len(rows) for rows in own]), own, batches, strict=True)
        ]

    def _cut(self, rows: Rows, number: int, batches: range, epoch: int) -> Iterator[Block]:
        """The full batches of a buffer as a block, and the tail as another."""
        first = number * self.each
        full = range(batches[0] - first, min(batches[-1] + 1, self.full) - first)
        if full:
            yield Block(rows[: self.each * self.own], self.places, first, full, epoch)
        if batches[-1] >= self.full:
            tail = len(self.stream) - self.full * self.size
            own = len(range(self.share[0], tail, self.share[1]))
            start = (self.full - first) * self.own
            yield Block(rows[start : start + own], self._places(self.size)[:tail], self.full, range(1), epoch)
