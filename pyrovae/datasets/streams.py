"""Data that are not read into memory: torch `Dataset`s and files, read in blocks of rows.

    rows * values per row * 4 bytes < 2 GB  ->  a tensor;   else a stream

Validation and test rows of a stream are read once and kept; its training rows are a `Stream`: a
`Dataset` of grey rows. `Data.collate` prepares them, except that "static" binarisation is a
function of the split seed and the row.

The order of an epoch is a permutation of all rows. For a file, rows are permuted within windows,
each of which is read from few places (`shuffling`).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pyrovae.checks import whole
from pyrovae.datasets.preparation import Preparation, generator_of
from pyrovae.datasets.readers.items import item, items_at, length
from pyrovae.datasets.readers.row_files import RowFile
from pyrovae.datasets.rows import SINGLE, Rows
from pyrovae.datasets.shuffling import Chunks
from pyrovae.datasets.source import refuse_not_finite
from pyrovae.errors import InputError

__all__ = ["Stream"]

WINDOW = 2**26  # bytes of the rows of a file that are shuffled together
BATCHES = 16  # in a block of any other data set, which may be slow to read


class Stream(Dataset[Any]):
    """The training rows of a torch `Dataset` or a file.

    Arguments:
        dataset: the data set.
        index: row numbers, (N,).
        event_shape: the shape that every row must have.
        divisor: the divisor of integer levels, or 1.
        dtype: the type of the rows, float32 or float64.
        context: (N, C), or None.
        y: class indices (N,), or None.
        missing: whether NaN is a missing entry, and not an error.
        static_seed: binarise each row with this seed and its number; None leaves it grey.
        workers: the number of processes that read a data set; 0 reads between steps, and None reads
            ahead in a thread.
        draws: whether reading an item draws from the global random generators.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        index: Tensor,
        event_shape: tuple[int, ...],
        *,
        divisor: int = 1,
        dtype: torch.dtype = torch.float32,
        context: Tensor | None = None,
        y: Tensor | None = None,
        static_seed: int | None = None,
        missing: bool = True,
        workers: int | None = None,
        draws: bool = False,
    ) -> None:
        self.dataset = dataset
        self.index = index
        self.event_shape = event_shape
        self.divisor, self.dtype = divisor, dtype
        self.context, self.y = context, y
        self.static_seed, self.missing, self.workers = static_seed, missing, workers
        self.draws = draws and not workers
        starts = _starts(dataset)
        self.chunks = None if starts is None or self.draws else Chunks.of(index, starts)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> Tensor:
        """One row, (*event)."""
        number = self.index[row]
        x = item(self.dataset, int(number), self.event_shape)[0].to(self.dtype) / self.divisor
        return self._checked(x[None], number[None])[0]

    def read(self, positions: Tensor, out: Tensor | None = None) -> Tensor:
        """The rows at some positions, (B, *event), as `__getitem__` gives them one by one.

        Arguments:
            positions: whole numbers from 0 on, below the number of rows, in any order.
            out: a tensor of the type of this stream to write the rows to; by default a new one.

        Raises:
            InputError: for rows that cannot be read, or are not numbers of this shape.
        """
        numbers = self.index[positions]
        x = torch.empty((len(numbers), *self.event_shape), dtype=self.dtype) if out is None else out
        if isinstance(self.dataset, RowFile):
            self.dataset.fill(numbers, x)
        elif self.chunks is None:
            x.copy_(items_at(self.dataset, numbers, self.event_shape, self.dtype))
        else:
            order = numbers.argsort()  # neighbours are read together
            x[order] = items_at(self.dataset, numbers[order], self.event_shape, self.dtype).to(x.dtype)
        if self.divisor != 1:
            x /= self.divisor
        return self._checked(x, numbers)

    def batches_in_block(self, batch_size: int) -> int:
        """The number of full batches of this size that are read together."""
        if self.draws:
            return 1  # so that a resumed run continues with the stored state of the generators
        row = max(1, math.prod(self.event_shape) * self.dtype.itemsize)
        most = len(self) if self.chunks is not None else BATCHES * batch_size
        return max(1, min(WINDOW // row, most, len(self)) // batch_size)

    def _refuse_rounded(self, x: Tensor) -> None:
        """Refuse whole numbers that single precision rounds; the held-out rows had none."""
        is_whole = isinstance(self.dataset, RowFile) and self.dataset.dtype == torch.int64
        if is_whole and self.dtype == torch.float32 and bool((x.abs() >= SINGLE).any()):
            raise InputError(
                f"the streamed set holds whole numbers up to {x.abs().max():.0f}, which single precision "
                "rounds, although its validation and test rows are all below 2^24: save it as float64"
            )

    @property
    def window_words(self) -> str:
        """How the rows of a file are shuffled, in words."""
        assert self.chunks is not None
        row = max(1, math.prod(self.event_shape) * self.dtype.itemsize)
        rows, count = min(WINDOW // row or 1, len(self)), len(self.chunks.ends)
        places = max(1, round(rows * count / len(self)))
        return f"and shuffled in blocks of about {rows:,} rows from {places:,} of {count:,} places"

    def _checked(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Check rows (B, *event) with these numbers, and binarise them if this is static."""
        if not bool(x.sum().isfinite()):  # a quick first test, which overflow or NaN may fail
            bad = x.isinf() if self.missing else ~x.isfinite()
            for first in bad.flatten(1).any(1).nonzero().flatten()[:1].tolist():
                row, number = x[first, None], int(numbers[first])
                refuse_not_finite(row, "the streamed set", first_row=number, missing=self.missing)
        self._refuse_rounded(x)
        if self.static_seed is None:
            return x
        once = Preparation("static")
        for row, number in zip(x, numbers.tolist(), strict=True):
            row.copy_(once.apply(row, generator_of("static row", self.static_seed, number)))
        return x

    def rows(self, x: Tensor, numbers: list[int] | Tensor) -> Rows:
        """Rows with the values x that were read at `numbers`, their context and labels."""
        context = None if self.context is None else self.context[numbers].to(x)
        y = None if self.y is None else self.y[numbers].to(x.device)
        return Rows(x, context, y, self.index[numbers].to(x.device))


def _starts(dataset: Dataset[Any]) -> Tensor | None:
    """The first row of each chunk: of a file, or by the attribute `chunk` of a data set.

    Raises:
        InputError: for a `chunk` that is not a positive whole number.
    """
    if isinstance(dataset, RowFile):
        return dataset.starts
    chunk = getattr(dataset, "chunk", None)
    if chunk is None:
        return None
    return torch.arange(0, length(dataset), whole("the attribute `chunk` of the data set", chunk))
