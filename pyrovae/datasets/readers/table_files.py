"""Tables on disk, read one group of rows at a time, as the numbers of known columns."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.datasets.columns import Column
from pyrovae.datasets.matching import match
from pyrovae.datasets.readers.groups import Groups
from pyrovae.datasets.readers.row_files import RowFile, state_of
from pyrovae.datasets.readers.tables import Table

__all__ = ["Facts", "TableFile"]

SINGLE = (np.float16, np.float32, np.int8, np.uint8, np.int16, np.uint16)  # exact in float32
SOME = 128  # rows that are copied at a time
KEPT = 2  # groups kept after a window, since the next window may need their other rows


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known about the columns of a table on disk after reading all rows once.

    Attributes:
        columns: the columns that are modelled.
        na: additional words for a missing entry.
        reading: what was read, in plain values (`reading.facts_of`).
        labels: class numbers, (N,), or None.
        class_names: the names of the classes, or None.
        context: numbers and codes of the columns that condition a model, (N, C) float64, or None.
        context_columns: the columns of the context, or None.
    """

    columns: tuple[Column, ...]
    na: tuple[str, ...]
    reading: dict[str, Any]
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    context: np.ndarray | None = None
    context_columns: tuple[Column, ...] | None = None


class TableFile(RowFile):
    """A table on disk, (N, C) in float64, with NaN for missing entries.

    Arguments:
        path: the file.
        groups: its groups of rows.
        facts: its columns.
    """

    dtype = torch.float64

    def __init__(self, path: Path, groups: Groups, facts: Facts) -> None:
        self.path, self.groups, self.facts, self.title = path, groups, facts, path.name
        if facts.labels is not None:
            self.targets = facts.labels
        self.class_names = facts.class_names
        ends = list(accumulate(groups.sizes))
        self.shape = (ends[-1], len(facts.columns))
        self.first = np.array([0, *ends[:-1]])
        self.starts = torch.from_numpy(np.unique(self.first))
        self.state = state_of(path)
        self.kept: dict[int, np.ndarray] = {}
        self.spare: list[np.ndarray] = []

    def _fill(self, numbers: Tensor, x: Tensor) -> None:
        target, places = x.numpy(), numbers.argsort().numpy()
        rows = numbers.numpy()[places]
        groups = np.searchsorted(self.first, rows, side="right") - 1
        shares: dict[int, float] = {}
        for group in np.unique(groups).tolist():
            if group not in self.kept:
                self.kept[group] = self._values(group)
            own, values = groups == group, self.kept[group]
            some, where = rows[own] - self.first[group], places[own]
            for start in range(0, len(some), SOME):  # all rows would not fit into the cache
                target[where[start : start + SOME]] = values[some[start : start + SOME]]
            shares[group] = len(some) / len(values)
            if len(shares) > KEPT:
                most = max(shares, key=shares.__getitem__)
                del shares[most]
                self._drop(most)
        for group in self.kept.keys() - shares.keys():
            self._drop(group)

    def _drop(self, number: int) -> None:
        """Drop a group; its memory is used again for the next one."""
        self.spare = [self.kept.pop(number)]

    def _empty(self, rows: int, dtype: type[np.floating]) -> np.ndarray:
        """Memory for a group, used again if possible: allocating takes longer than writing."""
        for values in self.spare:
            if values.shape[0] == rows and values.dtype == dtype:
                self.spare = []
                return values
        return np.empty((rows, self.shape[1]), dtype)

    def _values(self, number: int) -> np.ndarray:
        """A group as numbers, (rows, C)."""
        columns, na = self.facts.columns, self.facts.na
        table = self.groups.group(number, [column.name for column in columns])
        plain = [None if na else _plain(column, table.column(column.name)) for column in columns]
        is_single = all(cells is not None and cells.dtype in SINGLE for cells in plain)
        values = self._empty(len(table), np.float32 if is_single else np.float64)
        for place, cells in enumerate(plain):
            if cells is not None:
                values[:, place] = cells
        others = [place for place, cells in enumerate(plain) if cells is None]
        if others:
            frame = table.select([columns[place].name for place in others]).to_pandas()
            part = Table(frame, {"format": self.groups.kind}, first=int(self.first[number]))
            values[:, others] = match(part, [columns[place] for place in others], self.path, na=na)
        return values


def _plain(column: Column, cells: Any) -> np.ndarray | None:  # noqa: ANN401
    """The cells of a numeric column without a unit, levels or special words; else None."""
    is_plain = column.levels is None and column.unit is None and not column.missing
    types = importlib.import_module("pyarrow.types")
    if not is_plain or column.kind == "bernoulli":
        return None
    is_number = types.is_integer(cells.type) or types.is_floating(cells.type)
    return cells.to_numpy() if is_number else None
