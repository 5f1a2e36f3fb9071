"""The meaning of a data set's values, stored in a run to read new data in the same way.

columns   name, kind and levels of each column of a table; context_columns are the context
levels    the number of integer levels v = 0 .. levels - 1 behind values x = v / (levels - 1)
classes   the labels that the class indices 0 .. C - 1 stand for
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from pyrovae.checks import one_of
from pyrovae.datasets.columns import Column
from pyrovae.datasets.context_columns import ContextColumn, contexts_of
from pyrovae.datasets.contexts import Derived, derived_of
from pyrovae.datasets.frames import as_frame
from pyrovae.datasets.matching import Unknown, match, opened
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.datasets.readers.tables import Table
from pyrovae.datasets.rows import Rows
from pyrovae.datasets.source import Source, as_rows, as_source
from pyrovae.errors import InputError

if TYPE_CHECKING:
    import pandas

    from pyrovae.datasets.preparation import Preparation

__all__ = ["Schema"]


@dataclass(frozen=True)
class Schema:
    """How rows were read, scaled and encoded.

    Attributes:
        event_shape: the shape of one observation.
        columns: the columns of a table, or None.
        levels: the number of integer levels behind the values, or None.
        scaling: the scaling in words.
        binarize, dequantize: the preparation (see `datasets.load`).
        classes: the labels that class indices stand for, or None.
        context: "labels", or the words of a context that is computed from x (`contexts`), or None.
        class_names: the words that the classes stand for, or None.
        context_columns: the columns of the context, or None.
        labels: the name of the column that holds labels, or None.
        drop: names of columns that are left out.
        na: further words that stand for a missing entry.
        gaps: whether entries of x were missing; None if this was not stored.
        function: the Python function that computes the context, which is not stored; or None.

    Example:
        >>> from pyrovae import datasets
        >>> schema = datasets.load("digits", binarize="threshold").schema
        >>> schema.levels, schema.classes == tuple(range(10))
        (17, True)
        >>> Schema.from_dict(schema.to_dict()) == schema
        True
    """

    event_shape: tuple[int, ...]
    columns: tuple[Column, ...] | None = None
    levels: int | None = None
    scaling: str = "values as given"
    binarize: str | None = None
    dequantize: bool = False
    classes: tuple[int, ...] | None = None
    context: str | None = None
    class_names: tuple[str, ...] | None = None
    context_columns: tuple[ContextColumn, ...] | None = None
    labels: str | None = None
    drop: tuple[str, ...] = ()
    na: tuple[str, ...] = ()
    gaps: bool | None = field(default=None, compare=False)
    function: Callable[[Tensor], Any] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, source: Source, preparation: Preparation, context: str | None, reading: ReadOptions) -> Self:
        """The schema of a source after its preparation."""
        facts = source.reading or {}
        return cls(
            tuple(source.x.shape[1:]),
            source.columns,
            source.levels,
            source.scaling,
            preparation.binarize,
            preparation.dequantize,
            source.classes,
            context,
            source.class_names,
            labels=facts.get("labels"),
            drop=tuple(facts.get("dropped", ())),
            na=reading.na,
            gaps=bool(source.x.isnan().any()),
        )

    @property
    def derived(self) -> Derived | None:
        """The context that is computed from x, or None.

        Example:
            >>> Schema((1, 28, 28), context="left half").derived
            Given(words='left half')
        """
        if self.context in (None, "labels"):
            return None
        return derived_of(self.function or self.context)

    def to_dict(self) -> dict[str, Any]:
        """The schema as plain values, for a checkpoint."""
        return {
            name: value for name, value in asdict(replace(self, function=None)).items() if name != "function"
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """The schema from the result of `to_dict`."""
        columns, context = saved["columns"], saved.get("context_columns")
        lists: dict[str, Any] = {"event_shape": tuple(saved["event_shape"])}
        for name in ("classes", "class_names"):
            lists[name] = None if saved.get(name) is None else tuple(saved[name])
        for name in ("drop", "na"):
            lists[name] = tuple(saved.get(name) or ())
        read = None if columns is None else tuple(_column(column) for column in columns)
        contexts: Any = context and tuple(ContextColumn.from_dict(c, _column(c["column"])) for c in context)
        return cls(**(dict(saved) | lists | {"columns": read, "context_columns": contexts}))

    def read(
        self,
        data: Any,  # noqa: ANN401
        name: str = "the data",
        *,
        unknown: Unknown = "refuse",
    ) -> tuple[Rows, list[str]]:
        """New data as rows in the columns, words and scaling of this schema, and notes on them.

        Columns are matched by their names. Labels are not read.

        Arguments:
            data: a DataFrame, a dict of columns or the name of a file for a table; else rows of
                numbers.
            name: the name of the data in messages.
            unknown: "refuse" words that have no number or level, or read them as "missing".

        Raises:
            InputError: for a column that is missing, an unknown word, or rows of another shape.
        """
        if self.columns is None:
            return self.of_array(data, name), []
        name = Path(data).name if name == "the data" and isinstance(data, (str, os.PathLike)) else name
        table = opened(data, name, ReadOptions(na=self.na))
        return self.of_table(table, name, unknown=unknown), self.notes_on(table.frame.columns, name)

    def of_table(
        self,
        table: Table,
        name: str,
        *,
        unknown: Unknown = "refuse",
        dates: Mapping[str, Sequence[str]] | None = None,
    ) -> Rows:
        """A table or a piece of one as rows, as `read` does.

        Arguments:
            table: cells as they are in a file.
            name: the name of the data in messages.
            unknown: as for `read`.
            dates: dates in other pieces of the table (`matching.date_words`).

        Raises:
            InputError: as from `read`.
        """
        assert self.columns is not None
        given = tuple(item.column for item in self.context_columns or ())
        options: dict[str, Any] = {
            "na": self.na,
            "unknown": one_of("unknown", unknown, ("refuse", "missing")),
            "dates": dates,
        }
        x = torch.from_numpy(match(table, self.columns, name, **options))
        context = None
        if self.context_columns:
            where = name if not table.first else f"{name} (rows counted from row {table.first})"
            context = contexts_of(self.context_columns, match(table, given, name, **options), where)
        rows = as_source(name, x, columns=self.columns).x
        return Rows(rows, context, index=torch.arange(table.first, table.first + len(x)))

    def notes_on(self, columns: Iterable[object], name: str) -> list[str]:
        """A note on columns of new data that the model does not use."""
        used = {column.name for column in (*(self.columns or ()), *self._given)} | {self.labels, *self.drop}
        others = [str(column) for column in columns if str(column) not in used and column != ""]
        return [f"{name} has columns that the model does not use: {', '.join(others)}"] if others else []

    @property
    def _given(self) -> tuple[Column, ...]:
        return tuple(item.column for item in self.context_columns or ())

    def rows(self, data: Any, name: str = "the data", *, unknown: Unknown = "refuse") -> Rows:  # noqa: ANN401
        """New data as rows in the columns, words and scaling of this schema; see `read`.

        Raises:
            InputError: for a column that is missing, an unknown word, or rows of another shape.

        Example:
            >>> columns = Column("size", "normal"), Column("colour", "categorical:2", ("g", "r"))
            >>> schema = Schema((2,), columns)
            >>> schema.rows({"colour": ["r", "g"], "size": [1.5, 2.5]}).x.tolist()
            [[1.5, 1.0], [2.5, 0.0]]
        """
        return self.read(data, name, unknown=unknown)[0]

    def of_array(self, data: Any, name: str, *, are_levels: bool | None = None) -> Rows:  # noqa: ANN401
        """Rows of numbers of the schema's shape; levels become values in [0, 1].

        Arguments:
            data: an array (N, *event). For a model of integer levels these are levels, 0 to
                `levels` - 1, or values in [0, 1] that are already scaled.
            name: the name of the data in messages.
            are_levels: whether they are levels; by default whether they are integers, or whole
                numbers of which one is above 1.

        Raises:
            InputError: for rows of another shape, or values beyond the levels.
        """
        given = as_rows(data, name)
        if tuple(given.shape[1:]) != self.event_shape:
            raise InputError(
                f"{name} has rows of shape {tuple(given.shape[1:])}, and the model was trained on "
                f"{self.event_shape}: give rows of that shape"
            )
        source = as_source(name, data)
        x = source.x
        if self.levels is not None:
            top = self.levels - 1
            is_scaled = not (levels_in(given) if are_levels is None else are_levels)
            if source.levels is not None:  # bytes were divided by 255
                x = (x * (source.levels - 1)).round()
            if not is_scaled:
                x = x / top
            if bool(((x < 0) | (x > 1)).any()):
                known = given[~given.isnan()]
                raise InputError(
                    f"{name} has values {_outside(known)}, and the model was trained on levels 0 to "
                    f"{top}: give such levels, or values in [0, 1]"
                )
        return Rows(x, index=torch.arange(len(x)))

    def frame(self, x: Any) -> pandas.DataFrame:  # noqa: ANN401
        """Convert rows x, (N, C), to a table in the user's columns, words and units.

        Missing entries become empty cells.

        Raises:
            InputError: for a schema without columns, or another number of columns.

        Example:
            >>> columns = Column("size", "normal"), Column("colour", "categorical:2", ("g", "r"))
            >>> schema = Schema((2,), columns)
            >>> print(schema.frame([[1.5, 1.0]]).to_string(index=False))
             size colour
              1.5      r
        """
        if self.columns is None:
            raise InputError(
                "the data have no columns: only data read from a table can be converted to a DataFrame"
            )
        return as_frame(Rows.of(x).x, self.columns)

    def check_same(self, other: Schema, name: str) -> None:
        """Refuse data whose values have another meaning.

        Raises:
            InputError: for a different shape, or columns with other names, words or order.
        """
        if other.event_shape != self.event_shape and self.columns is None:
            raise InputError(
                f"{name} has rows of shape {other.event_shape}, and the model was trained on "
                f"{self.event_shape}: give rows of that shape"
            )
        mine, theirs = self.columns or (), other.columns or ()
        names, other_names = [c.name for c in mine], [c.name for c in theirs]
        if names != other_names:
            raise InputError(
                f"{name} has the columns {', '.join(other_names) or 'of no table'}, and the model was "
                f"trained on {', '.join(names) or 'no table'}: give the same columns in the same order"
            )
        for one, two in zip(mine, theirs, strict=True):
            # older versions did not store the words of truth values
            is_truth = one.levels is None and one.kind == two.kind == "bernoulli"
            if one.levels != two.levels and not is_truth:
                raise InputError(
                    f"column {one.name!r} of {name} has the words {_words(two)}, and the model was "
                    f"trained on {_words(one)}: give data with the same words"
                )


def _outside(x: Tensor) -> str:
    low = x.min().item()
    return f"down to {low:g}" if low < 0 else f"up to {x.max().item():g}"


def levels_in(x: Tensor) -> bool:
    """Whether numbers are integer levels, not values in [0, 1]: integers, or whole ones above 1."""
    if not x.is_floating_point():
        return x.dtype != torch.bool
    return bool((x > 1).any()) and bool((x.isnan() | (x == x.round())).all())


def _column(saved: Mapping[str, Any]) -> Column:
    levels, missing = saved["levels"], saved.get("missing") or ()
    rest = saved.get("unit"), tuple(missing), saved.get("example")
    texts = (saved["name"], saved["kind"], *(levels or ()), *missing, rest[0] or "", rest[2] or "")
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"the column {saved['name']!r} has a name, word or unit that is not text")
    return Column(saved["name"], saved["kind"], levels and tuple(levels), *rest)


def _words(column: Column) -> str:
    levels = column.levels or ()
    return ", ".join(levels[:5]) + (", ..." if len(levels) > 5 else "") if levels else "none"
