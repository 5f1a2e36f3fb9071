"""The text of a CSV file with some cells replaced: every other character stays as it is.

The text of a file is copied record by record. A record in which cells are filled is cut at its
separators, as the reader does, and the cells are put in. One field, the doubt, is added to each
record.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pyrovae.datasets.readers.running import LINES
from pyrovae.datasets.readers.structure import NAMES, top_of
from pyrovae.datasets.readers.tables import Table
from pyrovae.datasets.readers.text import PACKED, lines_of

__all__ = ["Layout", "Record", "records_of"]

SEPARATORS = {name: mark for mark, name in NAMES.items()} | {"one column": ""}
SAMPLE = 200
BOM = "\ufeff"


@dataclass(frozen=True)
class Record:
    """A record of a CSV file.

    Attributes:
        line: the number of its first line.
        last: the number of its last line.
        text: its text, with the end of its last line.
        is_blank: whether it has no cell at all.
    """

    line: int
    last: int
    text: str
    is_blank: bool


@dataclass
class Layout:
    """How the fields of a CSV file are separated and quoted.

    Attributes:
        separator: the separator; "" for one column.
        added: the separator in front of an added field.
        width: the number of columns.
        quoted: the columns whose cells are in quotes.
        plain: the columns of which some cells are not.
    """

    separator: str
    added: str
    width: int
    quoted: set[int] = field(default_factory=set)
    plain: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, path: Path, table: Table) -> Layout:
        """The layout of a file whose first rows were read as a table."""
        name = table.layout.get("separator", "comma")
        separator = SEPARATORS.get(name, name)
        cells = "".join(map(str, [*table.frame.columns, *table.frame.iloc[:SAMPLE].to_numpy().ravel()]))
        marks = [mark for mark in ",;|\t" if mark not in cells and mark != table.decimal]
        layout = cls(separator, separator or (marks or [","])[0], table.frame.shape[1])
        layout._find_quotes(path, table)
        return layout

    def _find_quotes(self, path: Path, table: Table) -> None:
        lines = set((table.lines or [])[:SAMPLE])
        plain, quoted = [0] * self.width, [0] * self.width
        for record in itertools.islice(records_of(path, self.separator)[1], 4 * SAMPLE):
            if record.line not in lines:
                continue
            for i, (start, end) in enumerate(self.fields(record.text)[: self.width]):
                cell = record.text[start:end].strip()
                if cell and cell != '""':
                    (quoted if cell[0] == '"' else plain)[i] += 1
        self.quoted = {i for i in range(self.width) if quoted[i] > plain[i]}
        self.plain = {i for i in range(self.width) if plain[i]}

    def fields(self, text: str) -> list[tuple[int, int]]:
        """Where the fields of a record begin and end in its text."""
        end = len(text.rstrip("\r\n"))
        if self.separator == "":
            return [(0, end)]
        place = 0
        if self.separator == " ":
            place, end = len(text) - len(text.lstrip()), len(text.rstrip())
        spans = []
        while True:
            match = self._field.match(text, place, end)
            assert match is not None
            spans.append(match.span())
            if match.end() >= end:
                return spans
            place = match.end() + 1

    @cached_property
    def _field(self) -> re.Pattern[str]:
        """One field, with blanks in front, as csv.reader takes it."""
        gap = r"[ \t]*" if self.separator == " " else " *"
        inner = "[^ \t]" if self.separator == " " else f"[^{re.escape(self.separator)}]"
        return re.compile(rf'{gap}(?:"(?:[^"]|"")*"{inner}*|{inner}*)', re.DOTALL)

    def with_cells(
        self, text: str, cells: Mapping[int, str], spans: Sequence[tuple[int, int]] | None = None
    ) -> str:
        """The text of a record with other content in some cells.

        Arguments:
            text: the record.
            cells: the new content by the number of the column.
            spans: the result of `fields`, if it is known.
        """
        spans, parts, done = spans or self.fields(text), [], 0
        for i in sorted(cells):
            start, end = spans[i]
            old = text[start:end]
            before = old[: len(old) - len(old.lstrip())]
            after = old[len(old.rstrip()) :] if old.strip() else ""
            is_quoted = i in self.quoted or (old.strip().startswith('"') and i not in self.plain)
            new = self._cell(cells[i], is_quoted=is_quoted)
            parts += [text[done:start], before, new, after]
            done = end
        return "".join([*parts, text[done:]])

    def with_last(self, text: str, cell: str) -> str:
        """The text of a record with a field behind its columns; an empty last field is used."""
        spans = self.fields(text)
        cell = "NA" if not cell and self.added == " " else cell
        if len(spans) > self.width and not text[slice(*spans[self.width])].strip():
            start, end = spans[self.width]
            return text[:start] + cell + text[end:]
        end = spans[-1][1]
        return text[:end] + self.added + cell + text[end:]

    def _cell(self, text: str, *, is_quoted: bool) -> str:
        special = [self.separator or self.added, '"', "\n", "\r"]
        if self.separator == " ":
            special.append("\t")
        if is_quoted or text != text.strip() or any(mark in text for mark in special):
            return '"' + text.replace('"', '""') + '"'
        return text


def records_of(path: Path, separator: str) -> tuple[str, Iterator[Record]]:
    """The text above the first record (comments), and the records of a CSV file."""
    lines = lines_of(path)
    beginning = list(itertools.islice(lines, LINES))
    start, *_ = top_of(beginning, [])
    top = (BOM if _has_bom(path) else "") + "".join(beginning[:start])
    return top, _records(itertools.chain(beginning[start:], lines), start, separator)


def _records(lines: Iterable[str], start: int, separator: str) -> Iterator[Record]:
    taken: list[str] = []

    def feed() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line.strip().replace("\t", " ") + "\n" if separator == " " else line

    csv.field_size_limit(2**31 - 1)
    before = 0
    reader = csv.reader(feed(), delimiter=separator or "\0", skipinitialspace=True)
    for fields in reader:
        text = "".join(taken)
        taken.clear()
        is_blank = len(fields) < 2 and not any(cell.strip() for cell in fields) and '"' not in text
        yield Record(start + before + 1, start + reader.line_num, text, is_blank)
        before = reader.line_num


def _has_bom(path: Path) -> bool:
    if path.suffix.lower() in PACKED:
        return False
    with open(path, "rb") as file:
        return file.read(3) == BOM.encode()
