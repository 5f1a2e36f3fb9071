"""The structure of a CSV file: its separator, header and columns, found or refused.

Every line must have the same number of fields. The separator is a character that divides all lines
into the same number of fields, with clean cells. If there is none, the file has one column, or is
refused with the line that differs. Empty lines are left out. A note says what else was left out:
comments above the header, titles of one field, the line "150,4,setosa,..." of scikit-learn's files,
and a last column without any cell.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from pyrovae.cures import cure
from pyrovae.datasets.readers.cells import is_missing, number_of
from pyrovae.datasets.readers.header import has_header
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.errors import InputError

__all__ = ["NAMES", "Structure", "find_structure", "is_count_line", "separator_of", "top_of"]

CANDIDATES = "\t;|, "
NAMES = {"\t": "tab", " ": "space", ",": "comma", ";": "semicolon", "|": "vertical bar"}
SAMPLE = 1000

Record = tuple[int, list[str]]  # a line number in the file, and the fields of the line


@dataclass
class Structure:
    """The names and rows of a CSV file, as text.

    Attributes:
        separator: the character between fields; "" for a file of one column.
        names: names from the header, or None without one.
        rows: the fields of each row.
        lines: the line number of each row in the file.
        decimal: the decimal mark.
        notes: what was left out, and why.
    """

    separator: str
    names: list[str] | None
    rows: list[list[str]]
    lines: list[int]
    decimal: str = "."
    notes: list[str] = field(default_factory=list)

    @property
    def separator_name(self) -> str:
        """The name of the separator."""
        return NAMES.get(self.separator, self.separator) or "one column"


def find_structure(text: str, where: object, options: ReadOptions) -> Structure:
    """Find separator, header and columns of the text of a CSV file.

    Raises:
        InputError: for an empty file, or lines with different numbers of fields.
    """
    lines = io.StringIO(text, newline="").readlines()
    notes: list[str] = []
    start, comments, declared = top_of(lines, notes)
    if start == len(lines):
        raise InputError(f"{where} is empty: give at least three rows of numbers")
    separator = options.separator or declared or separator_of(lines[start:], where)
    records = list(_records(lines, start, separator))
    if records and "\n" in records[-1][1][-1] and text.count('"') % 2:
        raise InputError(
            f"a quote opened in line {records[-1][0]} of {where} is not closed: close or remove it"
        )
    width = _width(records)
    records, names = _before_the_rows(records, width, separator, where, notes)
    _refuse_ragged(records, width, separator, names, where)
    if names is None:
        names, records = _header(records, options.header, comments, separator, notes, where)
        if names is not None and options.header is None:
            _refuse_second_header(records, where)
    while len(records) > 1 and not any(records[-1][1]):
        records.pop()
    rows = [fields for _, fields in records]
    names = _without_empty_column(names, rows, notes)
    structure = Structure(separator, names, rows, [line for line, _ in records], notes=notes)
    structure.decimal = options.decimal or _decimal(rows, separator, where)
    if structure.decimal == ",":
        notes.append("decimal comma")
    return structure


# -------------------------------------------------------------------- lines


def top_of(lines: list[str], notes: list[str]) -> tuple[int, list[str], str | None]:
    """Return the first line after the comments, the comments, and the separator of "sep=;"."""
    start, comments, declared = 0, [], None
    while start < len(lines):
        line = lines[start].strip()
        match = re.fullmatch(r'"?sep=(.|\\t)"?', line)
        if match:
            declared = "\t" if match[1] == "\\t" else match[1]
        elif line.startswith(("#", "%", "//")):
            comments.append(line.lstrip("#%/").strip())
        elif line:
            break
        start += 1
    if comments:
        notes.append(f"{len(comments)} line{'s' * (len(comments) > 1)} of comments left out at the top")
    return start, comments, declared


def _records(lines: list[str], start: int, separator: str) -> Iterator[Record]:
    """The fields of each line from `start`, with quotes taken off; empty lines are left out."""
    rest = lines[start:]
    if separator == " ":
        rest = [line.strip().replace("\t", " ") + "\n" for line in rest]
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(rest, delimiter=separator or "\0", skipinitialspace=True)
    before = 0
    for fields in reader:
        fields = [cell.strip() for cell in fields]
        if fields and (len(fields) > 1 or fields[0] != "" or '"' in rest[before]):
            yield start + before + 1, fields
        before = reader.line_num


def _width(records: list[Record]) -> int:
    counts = Counter(len(fields) for _, fields in (records[1:] or records)[:SAMPLE])
    return counts.most_common(1)[0][0]


# -------------------------------------------------------------------- the separator


def separator_of(lines: list[str], where: object) -> str:
    """The separator that divides all lines alike; "" for one column.

    Raises:
        InputError: if lines hold a separator, and none divides them into equally many fields.
    """
    sample = lines[: 2 * SAMPLE]
    counts = {}
    for candidate in CANDIDATES:
        records = [fields for _, fields in _records(sample, 0, candidate)][:SAMPLE]
        if len(sample) < len(lines):
            records = records[:-1]  # its end may lie outside the sample
        width = Counter(map(len, records[1:] or records)).most_common(1)[0][0]
        if width > 1:
            share = sum(len(fields) == width for fields in records) / len(records)
            counts[candidate] = (share, _clean(records, candidate), records, width)
    fitting = {c: found for c, found in counts.items() if c != " " and found[0] == 1}
    if fitting:
        return max(fitting, key=lambda c: (fitting[c][1], -CANDIDATES.index(c)))
    if " " in counts and _is_space_table(*counts[" "][::2], counts[" "][3]):
        return " "
    near = {c: found for c, found in counts.items() if c != " " and found[0] > 0.5}
    if near:
        return max(near, key=lambda c: (near[c][0], near[c][1], -CANDIDATES.index(c)))
    frequent = [c for c in CANDIDATES[:-1] if sum(c in line for line in sample) > len(sample) / 2]
    if frequent:
        how = cure("separator=", "--separator")
        raise InputError(
            f"{where} has no separator that divides its lines into the same number of fields: quote cells "
            f"that hold a {NAMES[frequent[0]]}, or name the separator with {how}"
        )
    return ""


def _clean(records: list[list[str]], separator: str) -> float:
    """The share of cells that are numbers, or words that contain no other separator."""
    others = [c for c in CANDIDATES[:-1] if c != separator]
    decimals = ".," if separator != "," else "."
    cells = [cell for fields in records for cell in fields if cell]
    clean = sum(
        not any(c in cell for c in others) or any(number_of(cell, d) is not None for d in decimals)
        for cell in cells
    )
    return clean / max(1, len(cells))


def _is_space_table(share: float, records: list[list[str]], width: int) -> bool:
    """Whether spaces are the separator: equal widths below the first line, and a number column."""
    alike = share == 1 or (
        all(len(r) == width for r in records[1:]) and len(records[0]) in (width - 1, width)
    )
    body = records[1:] or records
    return alike and any(all(number_of(r[i]) is not None for r in body) for i in range(width))


# -------------------------------------------------------------------- lines above the rows


def _before_the_rows(
    records: list[Record], width: int, separator: str, where: object, notes: list[str]
) -> tuple[list[Record], list[str] | None]:
    """Leave out titles and scikit-learn's line of counts; complete a header of one field less."""
    (line, first), rest = records[0], records[1:]
    if len(rest) > 1 and is_count_line(first, len(rest), width):
        notes.append(
            f"line {line} left out ({','.join(first)[:40]}), as it has the numbers of rows and columns; "
            "the last "
            "column has the classes"
        )
        return rest, None
    while _is_title(first, records[1:], width):
        notes.append(f"line {line} left out, a title ({next(filter(None, first))[:40]})")
        records = records[1:]
        line, first = records[0]
    if len(first) == width - 1 and all(len(fields) == width for _, fields in records[1:]):
        if all(fields[-1] == "" for _, fields in records[1:]):
            notes.append("an empty last column left out, as every row ends with a separator")
            return [(n, fields[:-1]) for n, fields in records[1:]], first
        if _are_row_names([fields[0] for _, fields in records[1:]], separator):
            return records[1:], ["", *first]
        raise InputError(
            f"the header of {where} has {len(first)} fields and line {records[1][0]} has {width}: give a "
            "name "
            "to each column, and no more names than columns"
        )
    return records, None


def _are_row_names(cells: list[str], separator: str) -> bool:
    """Whether the first cells are row names, when the header has one field less (as R writes)."""
    if any(cells == [str(i + start) for i in range(len(cells))] for start in (0, 1)):
        return True
    unique = len(set(cells)) == len(cells) and len(cells) > 2
    return separator in " \t" and unique and all(number_of(cell) is None for cell in cells)


def _is_title(first: list[str], rest: list[Record], width: int) -> bool:
    """Whether a line has only one field, above a line of names and rows with numbers."""
    if width < 2 or len(rest) < 3 or not first[0] or any(first[1:]) or len(rest[0][1]) != width:
        return False
    names, below = rest[0][1], [fields for _, fields in rest[1:SAMPLE]]
    words = all(name and number_of(name) is None for name in names)
    places = range(min(width, *(len(fields) for fields in below)))
    return words and any(all(number_of(row[i]) is not None for row in below) for i in places)


def is_count_line(first: list[str], rows: int, width: int) -> bool:
    """Whether the first line holds the numbers of rows and columns, as in some old data sets."""
    counts = first[:2]
    return len(counts) == 2 and counts == [str(rows), str(width - 1)] and len(first) in range(3, 200)


def _refuse_ragged(
    records: list[Record], width: int, separator: str, names: list[str] | None, where: object
) -> None:
    widths = len(names) if names is not None else len(records[0][1])
    for line, fields in records:
        if len(fields) != widths:
            first = records[0][0] if names is None else 1
            mark = NAMES.get(separator, separator)
            what = "field" if len(fields) == 1 else "fields"
            raise InputError(
                f"line {line} of {where} has {len(fields)} {what} and line {first} has {widths} (separated "
                f"by a {mark}): give each line the same number of fields, quote cells that hold the "
                f"separator, or name another separator with {cure('separator=', '--separator')}"
            )


# -------------------------------------------------------------------- the header


def _header(
    records: list[Record],
    asked: bool | None,  # noqa: FBT001
    comments: list[str],
    separator: str,
    notes: list[str],
    where: object,
) -> tuple[list[str] | None, list[Record]]:
    first, body = records[0][1], [fields for _, fields in records[1:]]
    if asked if asked is not None else has_header(first, body[:SAMPLE], where):
        quoted = all(re.fullmatch(r"'[^']+'", name) for name in first if name)
        return [name[1:-1] for name in first] if quoted else first, records[1:]
    if asked is None and comments and len(first) > 1:
        *_, (_, names) = _records([comments[-1]], 0, separator)
        if len(names) == len(first) and all(number_of(name) is None for name in names):
            notes[0] = "names taken from the comment above the rows"
            return names, records
    return None, records


def _refuse_second_header(records: list[Record], where: object) -> None:
    """Refuse a second line of names, or of units, above columns of numbers."""
    if len(records) < 5:
        return
    (line, first), body = records[0], [fields for _, fields in records[1:SAMPLE]]
    columns = [[row[i] for row in body if not is_missing(row[i])] for i in range(len(first))]
    numeric = [len(cells) > 2 and all(number_of(cell) is not None for cell in cells) for cells in columns]
    above = [cell for cell, is_numeric in zip(first, numeric, strict=True) if is_numeric]
    words = [cell for cell in above if not is_missing(cell) and number_of(cell) is None]
    if len(words) > 1 and len(words) > len(above) / 2:
        raise InputError(
            f"line {line} of {where} ({', '.join(words[:3])}, ...) looks like a second line of names or "
            "units, as its columns hold numbers below: remove it, or keep it with "
            f"{cure('header=True', '--header true')}"
        )


def _without_empty_column(
    names: list[str] | None, rows: list[list[str]], notes: list[str]
) -> list[str] | None:
    """Remove a last column that has neither a name nor a cell."""
    width = len(rows[0]) if rows else 0
    if width > 1 and (names is None or names[-1] == "") and all(fields[-1] == "" for fields in rows):
        notes.append("an empty last column left out, as every line ends with a separator")
        for fields in rows:
            fields.pop()
        return names and names[:-1]
    return names


def _decimal(rows: list[list[str]], separator: str, where: object) -> str:
    """The decimal mark, from cells with a comma and cells with a point."""
    cells = {
        cell for fields in rows[:SAMPLE] for cell in fields if re.fullmatch(r"(?=.*\d)[-+]?[\d.,]+", cell)
    }
    commas = {cell for cell in cells if "," in cell}
    grouped = {cell for cell in commas if re.fullmatch(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?", cell)}
    if not commas:
        return "."
    if any(re.fullmatch(r"[-+]?\d{1,3}(\.\d{3})+,\d+", cell) for cell in commas):
        return ","
    pointed = any(re.fullmatch(r"[-+]?\d*\.\d+", cell) for cell in cells)
    if commas - grouped:
        return "." if pointed else ","
    if separator == ";" and not pointed:
        raise InputError(
            f"{where} has numbers such as {min(commas)}, whose comma may be the decimal mark or group "
            "thousands: say which with " + cure("decimal=',' or decimal='.'", "--decimal , or --decimal .")
        )
    return "."
