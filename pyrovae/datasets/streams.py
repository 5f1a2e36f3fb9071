"""Torch `Dataset`s that do not fit into memory: streamed row by row.

    rows * values per row * 4 bytes < 2 GB  ->  a tensor;   else a stream

Validation and test rows of a stream are read once and kept; its training rows are a `Stream`: a
`Dataset` of grey rows. `Data.collate` prepares them, except that "static" binarisation is a
function of the split seed and the row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pyrovae.datasets.preparation import Preparation, generator_of
from pyrovae.datasets.readers.items import item
from pyrovae.datasets.rows import Rows
from pyrovae.datasets.source import refuse_not_finite

__all__ = ["Stream"]


class Stream(Dataset[Any]):
    """The training rows of a torch `Dataset`, read one by one.

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
    ) -> None:
        self.dataset = dataset
        self.index = index
        self.event_shape = event_shape
        self.divisor, self.dtype = divisor, dtype
        self.context, self.y = context, y
        self.static_seed, self.missing = static_seed, missing

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> Tensor:
        """One row, (*event)."""
        number = int(self.index[row])
        x = item(self.dataset, number, self.event_shape)[0].to(self.dtype) / self.divisor
        refuse_not_finite(x[None], "the streamed set", first_row=number, missing=self.missing)
        if self.static_seed is not None:
            x = Preparation("static").apply(x, generator_of("static row", self.static_seed, number))
        return x

    def rows(self, x: Tensor, numbers: list[int]) -> Rows:
        """Rows with the values x that were read at `numbers`, their context and labels."""
        context = None if self.context is None else self.context[numbers].to(x)
        y = None if self.y is None else self.y[numbers].to(x.device)
        return Rows(x, context, y, self.index[numbers].to(x.device))
