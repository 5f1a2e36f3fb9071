"""Columns that condition a model: numbers are standardised, words become one-hot vectors.

number    (c - mean) / spread over the training rows, 0 where missing; with a flag for missing
          entries if there are any
word      a one-hot vector of its level, all zeros where missing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from pyrovae.datasets.columns import Column
from pyrovae.errors import InputError

__all__ = ["ContextColumn", "contexts_of"]


@dataclass(frozen=True)
class ContextColumn:
    """A column that conditions a model.

    Attributes:
        column: the name, kind and levels.
        mean: the mean over the training rows.
        spread: the standard deviation over the training rows.
        flagged: whether a flag says which entries are missing.
    """

    column: Column
    mean: float = 0.0
    spread: float = 1.0
    flagged: bool = False

    @classmethod
    def of(cls, column: Column, values: np.ndarray, train: np.ndarray) -> Self:
        """Make the column from the values of all rows (NaN: missing); standardise by `train`."""
        if column.levels is not None:
            return cls(column)
        present = values[train][~np.isnan(values[train])]
        mean, spread = (present.mean(), present.std()) if len(present) else (0.0, 1.0)
        return cls(column, float(mean), float(spread) or 1.0, bool(np.isnan(values).any()))

    def encode(self, values: np.ndarray, where: object) -> np.ndarray:
        """Convert numbers or codes (N,) to the columns of a context, (N, width).

        Raises:
            InputError: for missing numbers where the training data had none.
        """
        missing = np.isnan(values)
        if self.column.levels is not None:
            return (values[:, None] == np.arange(len(self.column.levels))).astype(np.float64)
        if missing.any() and not self.flagged:
            raise InputError(
                f"column {self.column.name!r} of {where} has no entry in row {missing.argmax()}, and the "
                "model "
                "was trained on a context without missing entries: fill it in or remove the row"
            )
        standard = np.where(missing, 0.0, (values - self.mean) / self.spread)
        return np.stack([standard, missing.astype(np.float64)][: 1 + self.flagged], 1)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any], column: Column) -> Self:
        """The column from plain values."""
        return cls(column, saved["mean"], saved["spread"], saved["flagged"])


def contexts_of(columns: Sequence[ContextColumn], values: np.ndarray, where: object) -> Tensor:
    """The context (N, C) of numbers and codes (N, columns), float32."""
    parts = [column.encode(values[:, i], where) for i, column in enumerate(columns)]
    return torch.from_numpy(np.concatenate(parts, 1)).to(torch.float32)
