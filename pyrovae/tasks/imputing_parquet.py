"""The empty cells of a parquet file, filled batch by batch; its types stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pyrovae.errors import InputError
from pyrovae.evidence.run import shown
from pyrovae.extras import require
from pyrovae.files import whole_file
from pyrovae.sharing import is_first
from pyrovae.tasks.imputing_cells import filled

__all__ = ["write_parquet"]


def write_parquet(source: Path, targets: Sequence[Path], work: Any, *, progress: bool) -> None:  # noqa: ANN401
    """Write the filled file, and that of the draws, completely or not at all.

    Raises:
        InputError: if a file cannot be written.
    """
    require("pyarrow", "parquet", f"writing {targets[0]}")
    with ExitStack() as stack:
        files = [stack.enter_context(whole_file(path)) for path in targets]
        _write(source, files, work, progress=progress)


def _write(source: Path, files: Sequence[BinaryIO], work: Any, *, progress: bool) -> None:  # noqa: ANN401
    import pyarrow as pa
    import pyarrow.parquet as pq

    with ExitStack() as stack:
        file = stack.enter_context(pq.ParquetFile(source))
        schema = file.schema_arrow.remove_metadata()
        names = list(map(str, schema.names))
        new = [f"{name} (imputed)" if name in names else name for name in ("doubt", "draw", "row")]
        front = [pa.field(new[1], pa.int64()), pa.field(new[2], pa.int64())]
        schemas = [schema.append(pa.field(new[0], pa.float64())), pa.schema([*front, *schema])]
        writers = [
            stack.enter_context(pq.ParquetWriter(target, each))
            for target, each in zip(files, schemas, strict=False)
        ]
        show = stack.enter_context(shown("imputing", max(1, work.new.rows), show=progress and is_first()))
        take = _taker(file)
        for piece, imputed, empty in work.pieces(0):
            table = take(len(piece))
            single = _filled(table, work.cells, imputed.rows, imputed.mode.numpy(), empty)
            doubt = np.full(len(piece), np.nan)
            doubt[imputed.rows] = imputed.doubt
            column = pa.array(doubt, from_pandas=True)
            writers[0].write_table(single.append_column(schemas[0].field(new[0]), column))
            if len(writers) > 1:
                writers[1].write_table(_several(table, work, piece.table.first, imputed, empty, schemas[1]))
            show(len(piece))


def _taker(file: Any) -> Any:  # noqa: ANN401
    """A function that returns the next rows of a file, as a table."""
    import pyarrow as pa

    batches: Iterator[Any] = file.iter_batches(10_000)
    waiting: list[Any] = []

    def take(count: int) -> Any:  # noqa: ANN401
        while sum(map(len, waiting)) < count:
            waiting.append(next(batches))
        table = pa.Table.from_batches(waiting).replace_schema_metadata(None)
        rest = table.slice(count).combine_chunks().to_batches()
        waiting[:] = rest
        return table.slice(0, count).combine_chunks()

    return take


def _several(table: Any, work: Any, first: int, imputed: Any, empty: np.ndarray, schema: Any) -> Any:  # noqa: ANN401
    """The draws of all rows, those of a row together."""
    import pyarrow as pa

    numbers = np.arange(first, first + len(table))
    parts = []
    for draw in range(work.draws):
        whole = _filled(table, work.cells, imputed.rows, imputed.draws[draw].numpy(), empty)
        marks = [pa.array(np.full(len(table), draw)), pa.array(numbers)]
        parts.append(pa.Table.from_arrays([*marks, *whole.columns], schema=schema))
    order = np.arange(len(table) * work.draws).reshape(work.draws, -1).T.ravel()
    return pa.concat_tables(parts).take(pa.array(order))


def _filled(table: Any, cells: Any, rows: np.ndarray, values: np.ndarray, empty: np.ndarray) -> Any:  # noqa: ANN401
    names = list(map(str, table.column_names))
    for i, column in enumerate(cells.columns):
        chosen = empty[:, i]
        if chosen.any():
            place = names.index(column.name)
            new = _array(table.column(place), rows[chosen], values[chosen, i], column, cells.styles[i])
            table = table.set_column(place, table.schema.field(place), new)
    return table


def _array(old: Any, rows: np.ndarray, values: np.ndarray, column: Any, style: Any) -> Any:  # noqa: ANN401
    """A column with imputed numbers in some rows, in its own type; other cells stay as they are."""
    import pyarrow as pa

    cells = filled(old.to_pandas(), rows, values, column, style).iloc[rows]
    places = np.arange(len(old))
    places[rows] = len(old) + np.arange(len(rows))
    try:
        both = pa.chunked_array([*old.chunks, _of_type(cells, old.type)])
        return both.unify_dictionaries().combine_chunks().take(pa.array(places))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"the imputed values of column {column.name!r} cannot be stored as {old.type} ({error}): convert "
            "the column to numbers or text"
        ) from None


def _of_type(cells: Any, kind: Any) -> Any:  # noqa: ANN401
    """A pandas series as an Arrow array of a type."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        words = pa.array(cells.astype(object), type=kind.value_type, from_pandas=True)
        return words.dictionary_encode().cast(kind)
    if pa.types.is_integer(kind):  # pandas has them as float where some are missing
        return pa.array(cells.round().astype("Int64"), type=kind, from_pandas=True)
    return pa.array(cells, type=kind, from_pandas=True, safe=False)
