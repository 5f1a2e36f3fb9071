"""Tables on disk in pieces, at constant memory, read as the whole file is.

.csv .tsv .txt   lines one at a time; the structure is found from the first lines (`structure`)
.parquet         row groups
.feather         record batches

Other tables are read whole and cut into pieces. A short CSV file is read whole too.

The structure of a CSV file is found from at least 2,000 lines, which are all that the reader of
whole files uses to find separator, header and decimal mark. A later line with another number of
fields is refused when it is reached.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovae.cures import cure
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.datasets.readers.structure import (
    NAMES,
    Structure,
    find_structure,
    is_count_line,
    separator_of,
    top_of,
)
from pyrovae.datasets.readers.tables import Table, numbered
from pyrovae.datasets.readers.text import ending_of, lines_of
from pyrovae.errors import InputError
from pyrovae.extras import require

if TYPE_CHECKING:
    import pandas

__all__ = ["Feed", "feed_of", "whole"]

LINES, RECORDS = 2001, 1100  # of the beginning of a CSV file, at least
LONGEST = 2**24  # characters of one row


@dataclass(frozen=True)
class Feed:
    """A table that is read in pieces.

    Attributes:
        head: the first rows, or all of them.
        tables: tables of at most this number of rows, after a number of rows that are skipped.
        rows: the number of rows, or a guess.
        is_whole: whether the head has all rows.
    """

    head: Table
    tables: Callable[[int, int], Iterator[Table]]
    rows: int
    is_whole: bool = False


def whole(table: Table) -> Feed:
    """A table in memory, cut into pieces."""

    def tables(size: int, skip: int) -> Iterator[Table]:
        for start in range(skip, len(table.frame), size):
            cut = slice(start, start + size)
            lines = None if table.lines is None else table.lines[cut]
            yield replace(table, frame=table.frame.iloc[cut], lines=lines, first=start)

    return Feed(table, tables, len(table.frame), is_whole=True)


def feed_of(path: Path, options: ReadOptions, needed: Sequence[str]) -> Feed | None:
    """The feed of a file, or None if its kind is only read whole.

    Arguments:
        path: the file.
        options: how a CSV file is read.
        needed: names of columns; the others may be left out.

    Raises:
        InputError: for a file that cannot be read.
    """
    ending = ending_of(path)
    if ending in (".csv", ".tsv", ".txt"):
        return _csv_feed(path, options)
    if ending == ".parquet":
        return _parquet_feed(path, needed)
    return _feather_feed(path) if ending == ".feather" else None


# -------------------------------------------------------------------- CSV


class _Records:
    """The records of a CSV file, one at a time.

    Arguments:
        path: the file.
        lines: its lines from the first record on.
        start: the number of lines before them.
        separator: the character between fields; "" for one column.
    """

    def __init__(self, path: Path, lines: Iterable[str], start: int, separator: str) -> None:
        self.path, self.lines, self.start, self.separator = path, lines, start, separator
        self.raw: list[str] | None = []  # lines that were read, until this is set to None
        self.is_over = False  # whether the last line was read
        self.quotes, self.line, self.first, self.length = 0, 0, "", 0

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the line number and the fields of each record; empty lines are left out."""
        csv.field_size_limit(2**31 - 1)
        reader = csv.reader(self._feed(), delimiter=self.separator or "\0", skipinitialspace=True)
        try:
            for fields in reader:
                number, self.line = self.start + self.line + 1, reader.line_num
                fields = [cell.strip() for cell in fields]
                if self.is_over and fields and "\n" in fields[-1] and self.quotes % 2:
                    raise self._unclosed(number)
                if fields and (len(fields) > 1 or fields[0] != "" or '"' in self.first):
                    yield number, fields
                self.first, self.length = "", 0
        except csv.Error as error:
            raise InputError(f"{self.path} cannot be read as a table ({error}): save it again") from None

    def _feed(self) -> Iterator[str]:
        for line in self.lines:
            if self.raw is not None:
                self.raw.append(line)
            self.quotes += line.count('"')
            self.length += len(line)
            if self.length > LONGEST:
                raise self._unclosed(self.start + self.line + 1)
            line = line.strip().replace("\t", " ") + "\n" if self.separator == " " else line
            self.first = self.first or line
            yield line
        self.is_over = True

    def _unclosed(self, line: int) -> InputError:
        return InputError(f"a quote opened in line {line} of {self.path} is not closed: close or remove it")


def _csv_feed(path: Path, options: ReadOptions) -> Feed | None:
    """The feed of a CSV file, or None for a short one, which is read whole."""
    opening = _opening(path, options)
    if opening is None:
        return None
    structure, width, length = opening
    names = structure.names or [str(i) for i in range(len(structure.rows[0]))]
    names, _ = numbered(names, [])
    layout = {"format": "csv", "separator": structure.separator_name, "header": structure.names is not None}

    def table(rows: list[list[str]], lines: list[int], first: int) -> Table:
        frame = _text_frame(rows, names)
        return Table(frame, layout, list(structure.notes), structure.decimal, lines, first=first)

    def tables(size: int, skip: int) -> Iterator[Table]:
        rows: list[list[str]] = []
        lines: list[int] = []
        place = 0
        for place, (line, fields) in enumerate(_rows(path, structure, width, options)):
            if place < skip:
                continue
            rows.append(fields)
            lines.append(line)
            if len(rows) == size:
                yield table(rows, lines, place + 1 - size)
                rows, lines = [], []
        if rows:
            yield table(rows, lines, place + 1 - len(rows))

    total = int(path.stat().st_size / max(1, length) * len(structure.rows))
    return Feed(table(structure.rows, structure.lines, 0), tables, total)


def _opening(path: Path, options: ReadOptions) -> tuple[Structure, int, int] | None:
    """The structure of the first lines, the number of fields, and the length of these lines.

    None for a file that has no more lines than these.
    """
    lines = lines_of(path)
    beginning: list[str] = list(itertools.islice(lines, LINES))
    start, _, declared = top_of(beginning, [])
    beginning += itertools.islice(lines, start)
    if start == len(beginning) or len(beginning) < LINES + start:
        return None
    separator = options.separator or declared or separator_of(beginning[start:], path)
    records = _Records(path, itertools.chain(beginning[start:], lines), start, separator)
    width, count, is_complete, first = 0, 0, True, [""]
    for count, (_, fields) in enumerate(records, 1):
        first, width = fields if count == 1 else first, len(fields)
        if count >= RECORDS and records.line >= LINES - 1:
            is_complete = False
            break
    claimed = int(first[0]) if first[0].isdecimal() else 0
    if is_complete or (claimed >= count - 1 and is_count_line(first, claimed, width)):
        return None
    assert records.raw is not None
    text = "".join([*beginning[:start], *records.raw[: records.line]])
    structure = find_structure(text, path, replace(options, separator=separator))
    return (structure, width, len(text)) if structure.rows else None


def _rows(
    path: Path, structure: Structure, width: int, options: ReadOptions
) -> Iterator[tuple[int, list[str]]]:
    """The line number and the fields of each row of a CSV file."""
    yield from zip(structure.lines, structure.rows, strict=True)
    kept, last = len(structure.rows[0]), structure.lines[-1]
    start = 0
    lines = lines_of(path)
    beginning = list(itertools.islice(lines, LINES))
    start, *_ = top_of(beginning, [])
    records = _Records(path, itertools.chain(beginning[start:], lines), start, structure.separator)
    records.raw = None
    empty: list[tuple[int, list[str]]] = []
    for line, fields in records:
        if line <= last:
            continue
        if len(fields) != width:
            raise _ragged(path, line, len(fields), structure, width)
        if any(fields[kept:]):
            raise InputError(
                f"line {line} of {path} has a cell in column {width}, which is empty in the first rows: give "
                "the column a name, or remove the cell"
            )
        empty.append((line, fields[:kept]))
        if any(fields):  # rows without any cell at the end are left out
            yield from empty
            empty = []


def _ragged(path: Path, line: int, count: int, structure: Structure, width: int) -> InputError:
    mark = NAMES.get(structure.separator, structure.separator)
    return InputError(
        f"line {line} of {path} has {count} field{'s' * (count != 1)} and line {structure.lines[0]} has "
        f"{width} (separated by a {mark}): give each line the same number of fields, quote cells that hold "
        f"the separator, or name another separator with {cure('separator=', '--separator')}"
    )


def _text_frame(rows: list[list[str]], names: list[str]) -> pandas.DataFrame:
    import pandas

    columns = dict(enumerate(zip(*rows, strict=True)))
    frame = pandas.DataFrame({i: pandas.Series(cells, dtype=object) for i, cells in columns.items()})
    return frame.set_axis(names, axis=1)


# -------------------------------------------------------------------- parquet and feather


def _parquet_feed(path: Path, needed: Sequence[str]) -> Feed:
    require("pyarrow", "parquet", f"reading {path}")
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        names, total = _frame_names(file.schema_arrow), file.metadata.num_rows
        columns = [name for name in names if name in needed] if names == file.schema_arrow.names else None

    def batches(size: int, skip: int) -> Iterator[tuple[int, Any]]:
        starts = list(itertools.accumulate([0, *groups]))
        group = max((i for i, start in enumerate(starts[:-1]) if start <= skip), default=0)
        with pq.ParquetFile(path) as file:
            first = starts[group]
            rest = list(range(group, len(groups)))
            for batch in file.iter_batches(size, row_groups=rest, columns=columns) if rest else ():
                yield first, batch
                first += len(batch)

    return _arrow_feed(batches, names, total)


def _feather_feed(path: Path) -> Feed | None:
    """The feed of a feather file, or None for the old version of the format."""
    require("pyarrow", "parquet", f"reading {path}")
    import pyarrow

    try:
        with pyarrow.memory_map(str(path)) as source:
            file = pyarrow.ipc.open_file(source)
            sizes = [file.get_batch(i).num_rows for i in range(file.num_record_batches)]
            names = _frame_names(file.schema)
    except pyarrow.ArrowInvalid:
        return None

    def batches(size: int, skip: int) -> Iterator[tuple[int, Any]]:
        with pyarrow.memory_map(str(path)) as source:
            file, first = pyarrow.ipc.open_file(source), 0
            for number, rows in enumerate(sizes):
                if first + rows > skip:
                    yield first, file.get_batch(number)
                first += rows

    return _arrow_feed(batches, names, sum(sizes))


def _arrow_feed(
    batches: Callable[[int, int], Iterator[tuple[int, Any]]], names: list[str], total: int
) -> Feed:
    """The feed of record batches, each with the number of its first row."""

    def tables(size: int, skip: int) -> Iterator[Table]:
        for first, batch in batches(size, skip):
            for start in range(max(0, skip - first), len(batch), size):
                frame = batch.slice(start, size).to_pandas()
                plain, notes = numbered([str(name).strip() for name in frame.columns], [])
                yield Table(frame.set_axis(plain, axis=1), {"format": "arrow"}, notes, first=first + start)

    head = next(tables(RECORDS, 0), None)
    if head is None:
        import pandas

        head = Table(pandas.DataFrame(columns=names), {"format": "arrow"})
    return Feed(head, tables, total)


def _frame_names(schema: Any) -> list[str]:  # noqa: ANN401
    """The columns of the DataFrame that pandas reads."""
    return list(map(str, schema.empty_table().to_pandas().columns))
