"""New data for a trained model, read in pieces in the columns, words and scaling of a schema.

    DataFrame, dict of columns         columns are matched by name
    .csv .parquet .feather             the same, at constant memory
    other tables                       the same, read whole
    .npy                               rows of numbers, mapped into memory
    array, tensor, .npz, folder        rows of numbers, read whole
    `Rows`                             taken as they are

Rows do not depend on the size of the pieces. If the model was trained on binarised or dequantised
values, new values are prepared in the same way; random numbers depend on a seed and the values of
the row only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.datasets.catalogue import canonical
from pyrovae.datasets.files import is_readable, raw_table
from pyrovae.datasets.find import find
from pyrovae.datasets.matching import Unknown, date_words, opened
from pyrovae.datasets.preparation import Preparation, generator_of
from pyrovae.datasets.readers.arrays import channels_first
from pyrovae.datasets.readers.cells import number_of, plain_words
from pyrovae.datasets.readers.memory import as_table, is_table
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.datasets.readers.running import Feed, feed_of, whole
from pyrovae.datasets.readers.tables import TABLES, Table
from pyrovae.datasets.readers.text import ending_of
from pyrovae.datasets.rows import Rows
from pyrovae.datasets.schema import Schema, levels_in
from pyrovae.errors import InputError
from pyrovae.names import meant_by

if TYPE_CHECKING:
    import pandas

__all__ = ["Asked", "Incoming", "Piece", "incoming"]

TOGETHER = 10_000  # rows that are read at once


@dataclass(frozen=True)
class Asked:
    """How new data are read.

    Attributes:
        unknown: "refuse" words without a number or level, or read them as "missing".
        id: the name of a column that is copied to the results, or None.
        labels: the name of the column with the labels of a model that is conditioned on labels.
        seed: seed of a random preparation.
        reading: separator, decimal mark and header of a CSV file.
    """

    unknown: Unknown = "refuse"
    id: str | None = None
    labels: str | None = None
    seed: int = 0
    reading: ReadOptions = field(default_factory=ReadOptions)


@dataclass(frozen=True, eq=False)
class Piece:
    """Some of the rows, in the order of the source.

    Attributes:
        rows: the rows.
        ids: their cells of the id column, or None.
        table: the cells of all columns that were read, or None for rows of numbers.
    """

    rows: Rows
    ids: np.ndarray | None = None
    table: Table | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Incoming:
    """New data that are read in pieces.

    Attributes:
        name: the name in messages.
        pieces: pieces of at most this number of rows, after a number of rows that are skipped.
        rows: the number of rows; a guess for a long CSV file.
        notes: remarks for the user.
        head: the first cells of a table, or all of them; None for rows of numbers.
    """

    name: str
    pieces: Callable[[int, int], Iterator[Piece]]
    rows: int
    notes: list[str] = field(default_factory=list)
    head: Table | None = None

    def first(self, count: int) -> Piece:
        """The first rows, at most this number.

        Raises:
            InputError: if there are no rows.
        """
        for piece in self.pieces(count, 0):
            return piece
        raise InputError(f"there are no rows in {self.name}: give at least one")

    def all_rows(self) -> Rows:
        """All rows in one piece.

        Raises:
            InputError: if there are no rows.
        """
        parts = [piece.rows for piece in self.pieces(TOGETHER, 0)] or [self.first(1).rows]
        names = [name for name, part in vars(parts[0]).items() if part is not None]
        return Rows(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def incoming(schema: Schema | None, data: Any, asked: Asked | None = None) -> Incoming:  # noqa: ANN401
    """New data, ready to be read in pieces.

    Raises:
        InputError: for data that the model cannot read; errors in later rows are raised when they
            are reached.

    Example:
        >>> import pandas
        >>> from pyrovae.datasets import Column
        >>> columns = Column("size", "normal"), Column("new", "bernoulli", ("no", "yes"))
        >>> schema = Schema((2,), columns)
        >>> frame = pandas.DataFrame({"new": ["yes", "no", "no"], "size": [1.5, 2, 2.5]})
        >>> [piece.rows.x.tolist() for piece in incoming(schema, frame).pieces(2, 0)]
        [[[1.5, 1.0], [2.0, 0.0]], [[2.5, 0.0]]]
    """
    asked = asked or Asked()
    new = _incoming(schema, data, asked)
    return new if schema is None or schema.context in (None, "labels") else _conditioned(new, schema, asked)


def _conditioned(new: Incoming, schema: Schema, asked: Asked) -> Incoming:
    """New data with contexts that are computed from their x, if they have none."""

    def conditioned(rows: Rows) -> Rows:
        if rows.context is not None:
            return rows
        if schema.derived is None:
            raise InputError(
                f"the context of the model is the {schema.context} of x, which is not stored: give Rows with "
                "a context"
            )
        return schema.derived.of_new(rows, asked.seed)

    def pieces(size: int, skip: int) -> Iterator[Piece]:
        return (replace(piece, rows=conditioned(piece.rows)) for piece in new.pieces(size, skip))

    return replace(new, pieces=pieces)


def _incoming(schema: Schema | None, data: Any, asked: Asked) -> Incoming:  # noqa: ANN401
    is_file = isinstance(data, (str, os.PathLike))
    name = Path(data).name if is_file else "the data"
    if isinstance(data, Rows):
        return _of_rows(data)
    has_columns = schema is not None and schema.columns is not None
    if has_columns and (is_file or is_table(data)):
        assert schema is not None
        return _of_table(schema, _feed(schema, data, name, asked), name, asked)
    if is_table(data):
        raise _without_names()
    if asked.id is not None:
        raise InputError(f"id={asked.id!r} names a column, and {name} is not a table: leave it out")
    return _of_array(schema, data, name, asked, is_file=is_file, has_columns=has_columns)


def _without_names() -> InputError:
    return InputError(
        "the data have named columns, and the model does not know the names of its columns: give an array "
        "of its columns in order, as frame.to_numpy(), or train on a table"
    )


# -------------------------------------------------------------------- tables


def _feed(schema: Schema, data: Any, name: str, asked: Asked) -> Feed:  # noqa: ANN401
    options = replace(asked.reading, na=(*schema.na, *asked.reading.na))
    if not isinstance(data, (str, os.PathLike)):
        return whole(opened(as_table(data), name, options))
    path = Path(data).expanduser()
    if not path.is_file() or not is_readable(path) or ending_of(path) not in TABLES:
        return whole(opened(data, name, options))  # refused in words
    given = (item.column.name for item in schema.context_columns or ())
    wanted = (asked.id, asked.labels, schema.labels, *given)
    needed = [column.name for column in schema.columns or ()] + [one for one in wanted if one]
    try:
        feed = feed_of(path, options, needed)
    except InputError:
        raise
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).splitlines()[0].rstrip(". ") if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read ({reason}): save it again or give another file") from None
    return whole(raw_table(path, options)) if feed is None else feed


def _of_table(schema: Schema, feed: Feed, name: str, asked: Asked) -> Incoming:
    names = [str(column) for column in feed.head.frame.columns]
    labels = _label_column(schema, names, name, asked)
    if asked.id is not None and asked.id not in names:
        meant = meant_by(asked.id, names, repr)
        raise InputError(
            f"id names a column {asked.id!r} that {name} does not have: {meant}its columns are "
            f"{', '.join(names[:20])}"
        )
    every = (*(schema.columns or ()), *(item.column for item in schema.context_columns or ()))
    dates = date_words(feed.head, every)

    def piece(table: Table) -> Piece:
        rows = schema.of_table(table, name, unknown=asked.unknown, dates=dates)
        if labels is not None:
            rows = _labelled(rows, table, labels, schema, name)
        return Piece(rows, None if asked.id is None else _column(table, asked.id), table)

    def pieces(size: int, skip: int) -> Iterator[Piece]:
        return (piece(table) for table in feed.tables(size, skip) if len(table.frame))

    notes = [note for note in schema.notes_on((n for n in names if n not in (asked.id, labels)), name)]
    return Incoming(name, pieces, feed.rows, notes, feed.head)


def _column(table: Table, name: str) -> np.ndarray:
    series: pandas.Series = table.frame.iloc[:, list(map(str, table.frame.columns)).index(name)]
    return plain_words(series.rename(name))


def _label_column(schema: Schema, names: Sequence[str], name: str, asked: Asked) -> str | None:
    """The column whose labels condition the model, or are observed; None if there is none."""
    if schema.context != "labels" and asked.labels is None:
        return None
    column = asked.labels or schema.labels
    if column not in names:
        raise InputError(
            f"{name} has no column {column!r} with the labels that the model is conditioned on: name it with "
            "labels="
        )
    return column


def _labelled(rows: Rows, table: Table, column: str, schema: Schema, name: str) -> Rows:
    """Rows with their labels as a one-hot context, or as class indices y."""
    words, classes = _column(table, column), schema.classes or ()
    places = {word: i for i, word in enumerate(schema.class_names or ())}
    numbers = {float(number): i for i, number in enumerate(classes)}
    found = [places.get(word) if places else numbers.get(_number(word)) for word in words]
    if None in found:
        row = found.index(None)
        known = ", ".join(map(str, [*(schema.class_names or classes)][:5]))
        raise InputError(
            f"the label column {column!r} of {name} holds {words[row]!r} in row {table.first + row}, and the "
            f"model was trained with {known}: correct the cell or remove the row"
        )
    y = torch.tensor(found, dtype=torch.int64)
    if schema.context != "labels":
        return replace(rows, y=y)
    return replace(rows, context=(y[:, None] == torch.arange(len(classes))).float())


def _number(word: str) -> float:
    number = number_of(word)
    return np.nan if number is None else number


# -------------------------------------------------------------------- rows of numbers


def _of_rows(rows: Rows) -> Incoming:
    index = torch.arange(len(rows)) if rows.index is None else rows.index

    def pieces(size: int, skip: int) -> Iterator[Piece]:
        every = replace(rows, index=index)
        return (Piece(every[start : start + size]) for start in range(skip, len(rows), size))

    return Incoming("the data", pieces, len(rows))


def _of_array(
    schema: Schema | None,
    data: Any,  # noqa: ANN401
    name: str,
    asked: Asked,
    *,
    is_file: bool,
    has_columns: bool,
) -> Incoming:
    if schema is not None and schema.context == "labels":
        raise InputError(
            "the model is conditioned on labels: give Rows with a context, as the parts of a data set have"
        )
    values = _file_values(data, name) if is_file else data
    if schema is None or has_columns:  # the values as the model takes them
        rows = Rows.of(values)
        return _of_rows(rows if rows.x.dim() else Rows.of(rows.x[None]))
    values = values if isinstance(values, Tensor) else np.asarray(values)
    are_levels = schema.levels is not None and _are_levels(values)
    preparation = Preparation(schema.binarize, schema.dequantize, schema.levels)

    def piece(start: int, size: int) -> Piece:
        rows = schema.of_array(values[start : start + size], name, are_levels=are_levels)
        x = _prepared(preparation, rows.x, asked.seed)
        return Piece(Rows(x, index=torch.arange(start, start + len(x))))

    def pieces(size: int, skip: int) -> Iterator[Piece]:
        return (piece(start, size) for start in range(skip, len(values), size))

    if not values.shape:
        raise InputError(f"{name} is a single number: give rows of data, of shape (N, ...)")
    return Incoming(name, pieces, len(values))


def _file_values(data: str | os.PathLike[str], name: str) -> np.ndarray | Tensor:
    """The rows of a file, a folder or a known data set, as levels if it has them."""
    path = Path(data).expanduser()
    if path.suffix.lower() == ".npy" and path.is_file():
        try:
            return channels_first(np.load(path, mmap_mode="r", allow_pickle=False))[0]
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"{path} cannot be read as .npy ({str(error).splitlines()[0].rstrip('. ')}): save it again"
            ) from None
    source = find(data)
    parts = [source.x] if source.test_x is None else [source.x, source.test_x]
    if source.columns is not None and canonical(str(data)) is None:
        raise InputError(f"{name} is a table, and the model was trained on rows of numbers: give an array")
    x = torch.cat(parts)
    return x if source.levels is None else (x * (source.levels - 1)).round().to(torch.int64)


def _are_levels(values: np.ndarray | Tensor) -> bool:
    """Whether values are integer levels, from all of them, a piece at a time."""
    if isinstance(values, Tensor):
        return levels_in(values)
    if values.dtype.kind != "f":
        return values.dtype.kind in "iu"
    size = max(1, 2**22 // max(1, int(np.prod(values.shape[1:]))))
    starts = range(0, len(values), size)
    above = any(bool((values[i : i + size] > 1).any()) for i in starts)
    return above and not any(bool((values[i : i + size] % 1 > 0).any()) for i in starts)  # NaN is missing


def _prepared(preparation: Preparation, x: Tensor, seed: int) -> Tensor:
    """Prepare rows as the training data were; the noise of a row depends on its values only."""
    is_random = preparation.dequantize or preparation.binarize in ("dynamic", "static")
    if not is_random or not len(x):
        return preparation.apply(x, generator_of(seed))
    rows = []
    for row in x:
        key = hashlib.sha256(row.contiguous().float().numpy().tobytes()).hexdigest()
        rows.append(preparation.apply(row[None], generator_of("new row", seed, key)))
    return torch.cat(rows)
