"""The order of the rows of a file in an epoch: random, but read from few places at a time.

    chunks    neighbouring rows of the file; the chunks are permuted
    windows   the rows of consecutive chunks in this order; the rows of a window are permuted

A window is read from one place of the file per chunk, and every row occurs exactly once in an
epoch. The order of the chunks is a function of the seed and the epoch. The order within a window is
a function of the seed, the epoch and the first row. A file that fits into one window is shuffled as
a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae.datasets.preparation import generator_of

__all__ = ["Chunks"]


@dataclass(frozen=True, eq=False)
class Chunks:
    """The rows of a data set, grouped by chunks of the file.

    Attributes:
        positions: all positions in the data set, (N,), in the order of the file.
        ends: the number of rows up to the end of each chunk, (C,); no chunk is empty.
    """

    positions: Tensor
    ends: Tensor

    @classmethod
    def of(cls, index: Tensor, starts: Tensor) -> Chunks:
        """Group rows by chunks.

        Arguments:
            index: the row number of each position, (N,).
            starts: the first row number of each chunk of the file, ascending from 0.

        Example:
            >>> chunks = Chunks.of(torch.tensor([7, 2, 0, 5]), torch.tensor([0, 3, 6]))
            >>> chunks.positions.tolist(), chunks.ends.tolist()
            ([2, 1, 3, 0], [2, 3, 4])
        """
        numbers, positions = index.sort()
        borders = torch.searchsorted(numbers, starts[1:].contiguous())
        ends = torch.cat([borders, borders.new_tensor([len(index)])])
        return cls(positions, ends[ends > 0].unique())  # a chunk may have none of these rows

    def window(self, first: int, last: int, seed: int, epoch: int) -> Tensor:
        """The positions of a window of an epoch: its rows from `first` up to but without `last`.

        Example:
            >>> chunks = Chunks.of(torch.randperm(100), torch.arange(0, 100, 5))
            >>> windows = [chunks.window(i, i + 25, 0, 1) for i in range(0, 100, 25)]
            >>> torch.equal(torch.cat(windows).sort().values, torch.arange(100))
            True
        """
        order = torch.randperm(len(self.ends), generator=generator_of("chunks", seed, epoch))
        starts = torch.cat([self.ends.new_zeros(1), self.ends[:-1]])[order]
        ends = self.ends[order]
        places = (ends - starts).cumsum(0)
        start, stop = torch.searchsorted(places, torch.tensor([first, last - 1]), right=True).tolist()
        some = slice(start, stop + 1)
        rows = [self.positions[i:j] for i, j in zip(starts[some].tolist(), ends[some].tolist(), strict=True)]
        before = int(places[start] - (ends[start] - starts[start]))
        window = torch.cat(rows)[first - before : last - before]
        return window[torch.randperm(len(window), generator=generator_of("window", seed, epoch, first))]
