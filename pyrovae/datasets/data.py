"""A data set ready for use.

    epoch(number, seed)   the training rows of one epoch, a pure function of its arguments
    validation, test      prepared once, always the same values
    schema                the meaning of the values
    declaration           keyword arguments with which `load` gives the same data again
    record                how the data were made, in plain values, for a run's log

A set that is too large for memory is streamed: `train` is then a torch `Dataset` of grey rows, and
`collate` prepares each batch as `epoch` prepares a whole set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyrovae.datasets.columns import Column
from pyrovae.datasets.contexts import Derived
from pyrovae.datasets.factor_values import FactorSplits
from pyrovae.datasets.jitter import Jitter
from pyrovae.datasets.preparation import Preparation, generator_of
from pyrovae.datasets.rows import Rows
from pyrovae.datasets.schema import Schema
from pyrovae.datasets.streams import Stream
from pyrovae.datasets.view import view
from pyrovae.display import Displayed
from pyrovae.errors import InputError, deprecated, visible

__all__ = ["Data", "Splits"]


@dataclass(frozen=True, eq=False)
class Splits:
    """One tensor for each part of a data set, in the order of its rows."""

    train: Tensor
    validation: Tensor
    test: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Splits:
        """Apply a function to each part."""
        return Splits(function(self.train), function(self.validation), function(self.test))

    def __repr__(self) -> str:
        shapes = (f"{k}={tuple(v.shape)}" for k, v in vars(self).items())
        return f"Splits({', '.join(shapes)})"


@dataclass(frozen=True, eq=False, repr=False)
class Data(Displayed):
    """A data set: training, validation and test rows, and how they were made.

    Attributes:
        name: its name.
        event_shape: the shape of one observation.
        train: the `Rows` from which epochs are made, with grey values if each epoch draws its own;
            a `Stream` for a streamed set. Its y are the labels that a program observes, if any.
        validation: prepared `Rows` without labels.
        test: prepared `Rows` without labels.
        labels: int64 class numbers of all rows, for figures and comparisons, or None.
        schema: the meaning of the values.
        declaration: arguments of `load` that give the same data again; "data" is the first, or None
            for data that came from memory.
        record: counts, scaling, preparation and a fingerprint, in plain values.
        binarize: "dynamic", "static", "threshold" or None.
        levels: the number of integer levels behind the values, or None.
        dequantize: whether uniform noise smaller than one level is added.
        columns: the columns of a table, in which NaN is a missing entry, or None.
        derived: the context that is computed from x (`contexts`), or None. Training rows that are
            prepared every epoch get it from `epoch`.
        jitter: the random changes of training images in every epoch, or None.
        factors: the known causes of the rows of each part (`Factors`), which no program sees, or
            None.

    Example:
        >>> from pyrovae import datasets
        >>> data = datasets.load("digits", binarize="dynamic")
        >>> data.event_shape, len(data.train), len(data.validation), len(data.test)
        ((1, 8, 8), 1257, 180, 360)
        >>> bool((data.epoch(3, seed=0).x == data.epoch(3, seed=0).x).all())
        True
        >>> data.epoch(0, seed=0).x.unique().tolist()
        [0.0, 1.0]
    """

    name: str
    event_shape: tuple[int, ...]
    train: Rows | Stream
    validation: Rows
    test: Rows
    labels: Splits | None
    schema: Schema
    declaration: dict[str, Any]
    record: dict[str, Any]
    binarize: str | None = None
    levels: int | None = None
    dequantize: bool = False
    columns: tuple[Column, ...] | None = None
    derived: Derived | None = None
    jitter: Jitter | None = None
    factors: FactorSplits | None = None

    @property
    def streams(self) -> bool:
        """Whether the training set is streamed, one batch at a time."""
        return not isinstance(self.train, Rows)

    @property
    def has_labels(self) -> bool:
        """Whether training rows have labels for the program to observe."""
        return self.train.y is not None

    @property
    def context_shape(self) -> tuple[int, ...] | None:
        """The shape of one context, or None."""
        context = self.validation.context
        return tuple(context.shape[1:]) if context is not None else None

    @property
    def given(self) -> Tensor | None:
        """The entries of x that the context gives, a mask (*event), or None."""
        return None if self.derived is None else self.derived.given(self.event_shape)

    @property
    def context(self) -> Splits | None:
        """Deprecated: use the context of train, validation and test."""
        deprecated("Data.context", "the context of data.train, data.validation and data.test")
        if self.validation.context is None or self.test.context is None or self.train.context is None:
            return None
        return Splits(self.train.context, self.validation.context, self.test.context)

    @property
    def distinct(self) -> int:
        """The number of training rows without the copies, which come last."""
        return len(self.train) - self.record.get("repeated", 0)

    @property
    def typical(self) -> Rows:
        """Training rows in memory that stand for an epoch, as they are stored; copies come last."""
        assert isinstance(self.train, Rows)
        return self.train

    def epoch(self, number: int, seed: int) -> Rows:
        """The training rows of epoch `number` in a run with seed `seed`, on the device of `train`.

        A set without random preparation is returned without a copy. Random numbers are drawn on the
        CPU, so they are the same for every device.

        Raises:
            InputError: for a streamed set.
        """
        return self._prepared(int(number), int(seed), self.jitter)

    def without_jitter(self, seed: int = 0) -> Rows:
        """The distinct training rows, prepared as validation and test rows are: without jitter.

        Use these to evaluate a model on its training rows. Random numbers are those of epoch 0.

        Arguments:
            seed: seed of a random preparation.

        Raises:
            InputError: for a streamed set.
        """
        return self._prepared(0, int(seed), None)[: self.distinct]

    def _prepared(self, number: int, seed: int, jitter: Jitter | None) -> Rows:
        if not isinstance(self.train, Rows):
            raise InputError(
                f"{self.name} is streamed and has no tensor for a whole epoch: read batches of `train` "
                "with a torch DataLoader and pass each to `collate`"
            )
        is_prepared = self._preparation.each_epoch or self.jitter is not None
        is_derived = self.derived is not None and self.train.context is None
        if not (is_prepared or is_derived):
            return self.train
        rows = self.train
        if is_prepared:
            rows = rows.of_values(self._epoch_of(rows.x.cpu(), number, seed, jitter).to(rows.x.device))
        if self.derived is None:
            return rows
        return self.derived.rows(rows, generator_of("context", seed, number))

    def _epoch_of(self, grey: Tensor, number: int, seed: int, jitter: Jitter | None) -> Tensor:
        """Grey training values (N, *event), changed and prepared for an epoch."""
        if jitter is not None:
            levels = None if self.binarize else self.levels
            grey = jitter.apply(grey, generator_of("jitter", seed, number), levels=levels)
        return self._preparation.apply(grey, generator_of("epoch", seed, number))

    def collate(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Prepare a batch (B, *event) of a streamed `train` with a CPU `generator`."""
        if self.binarize == "static":
            return batch  # drawn when it was read
        return self._preparation.apply(batch.cpu(), generator).to(batch.device)

    @property
    def draws_epochs(self) -> bool:
        """Whether rows in memory are drawn again in every epoch, with separate generators."""
        is_prepared = self._preparation.each_epoch or self.jitter is not None
        return is_prepared and self.derived is None and isinstance(self.train, Rows)

    @property
    def prepares_batches(self) -> bool:
        """Whether each batch of a streamed `train` is prepared by itself, with its own noise."""
        return self._preparation.each_epoch or self.derived is not None

    def streamed(self, batch: Tensor, numbers: list[int] | Tensor, generator: torch.Generator) -> Rows:
        """A batch (B, *event) of a streamed `train`, read at `numbers`, as prepared rows."""
        assert isinstance(self.train, Stream)
        if not len(numbers):  # all of them are in other processes
            return replace(self.train.rows(batch, numbers), context=self.validation[:0].context)
        rows = self.train.rows(self.collate(batch, generator), numbers)
        return rows if self.derived is None else self.derived.rows(rows, generator)

    def to(self, device: torch.device | str) -> Data:
        """The data with its tensors on `device`; a streamed training set does not move."""
        return replace(
            self,
            train=self.train if isinstance(self.train, Stream) else self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
            labels=self.labels and self.labels.map(lambda part: part.to(device)),
        )

    @property
    def missing_in_columns(self) -> int:
        """The number of missing entries that were read in the modelled columns of a table."""
        columns = (self.record.get("reading") or {}).get("columns", [])
        return sum(column["missing"] for column in columns if column["role"] == "x")

    def _kinds(self) -> str:
        """The line with the kinds of columns and the number of missing entries."""
        if self.columns is None:
            return ""
        kinds = Counter(column.kind for column in self.columns)
        missing = self.missing_in_columns
        if isinstance(self.train, Rows):
            missing = sum(int(part.x.isnan().sum()) for part in (self.train, self.validation, self.test))
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        return f"  columns: {counts}{f'; {missing:,} entries missing' if missing else ''}\n"

    def _causes(self) -> str:
        """The line with the names of the factors."""
        return "" if self.factors is None else f"  factors: {', '.join(self.factors.train.names)}\n"

    @property
    def _preparation(self) -> Preparation:
        return Preparation(self.binarize, self.dequantize, self.levels)

    _html = view

    def __str__(self) -> str:
        rows, classes = self.record["rows"], self.record["classes"]
        counts = ", ".join(f"{count:,} {part}" for part, count in rows.items())
        kind = f", {classes} classes" if classes else ""
        words = "" if self.derived is None else f"{self.derived.words!r} "
        also = "" if self.context_shape is None else f", context {words}{self.context_shape}"
        if self.has_labels:
            also += f", {self.record.get('known') or 'all'} labels observed"
        return (
            f"Data({visible(self.name)}): {counts}{' (streamed)' if self.streams else ''}\n"
            f"  event shape {self.event_shape}{kind}{also}\n"
            f"  {self.record['scaling']}; {self.record['preparation']}\n{self._kinds()}{self._causes()}"
            f"  split seed {self.declaration['split_seed']}, fingerprint {self.record['fingerprint']}"
        )
