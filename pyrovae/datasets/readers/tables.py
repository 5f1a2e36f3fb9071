"""Files as tables: .csv, .tsv, .txt, .parquet, .feather, .xlsx, .json and .jsonl.

Cells of text stay text here. `datasets.columns` finds their kinds.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovae.datasets.readers.cells import number_of
from pyrovae.datasets.readers.options import ReadOptions, check_names
from pyrovae.datasets.readers.structure import find_structure
from pyrovae.datasets.readers.text import ending_of, read_text
from pyrovae.errors import InputError
from pyrovae.extras import require

if TYPE_CHECKING:
    import pandas

__all__ = ["TABLES", "Table", "may_number_rows", "named", "numbered", "without_row_numbers"]

ROW_NUMBERS = ("", "unnamed: 0", "rownames", "row.names", "index", "row", "rowid", "row_id", "id")


@dataclass
class Table:
    """A table, and the facts about its file.

    Attributes:
        frame: columns of text, numbers or other types.
        layout: the format, separator and header, as plain values.
        notes: what was left out, and why.
        decimal: the decimal mark of its text.
        lines: the line number of each row in the file, or None.
        dropped: the columns that are left out, each with the reason.
        first: the number of its first row, for a piece of a table.
    """

    frame: pandas.DataFrame
    layout: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    decimal: str = "."
    lines: list[int] | None = None
    dropped: dict[str, str] = field(default_factory=dict)
    first: int = 0


def without_row_numbers(table: Table, options: ReadOptions) -> Table:
    """Leave out first columns that number the rows, unless their kind is given."""
    while True:
        frame = table.frame
        name = str(frame.columns[0]) if len(frame.columns) > 1 else "-"
        plain = _plain_name(name)
        if plain not in ROW_NUMBERS or name in options.kinds or len(frame) < 3:
            break
        reason = _index([str(cell) for cell in frame.iloc[:, 0]], has_name=plain not in ROW_NUMBERS[:4])
        if reason is None:
            break
        table.dropped[name or f"column {len(table.dropped) + 1}"] = reason
        table.frame = frame.iloc[:, 1:]
    if "" in table.frame.columns:
        columns = list(table.frame.columns)
        names = [name or f"column {i + 1 + len(table.dropped)}" for i, name in enumerate(columns)]
        table.frame = table.frame.set_axis(names, axis=1)
        table.notes.append("columns without a name are named by their place")
    return table


def may_number_rows(name: str) -> bool:
    """Whether a first column with this name may hold row numbers."""
    return _plain_name(name) in ROW_NUMBERS


def _plain_name(name: str) -> str:
    return re.sub(r"^(unnamed: 0)[._]\d+$", r"\1", name.strip().lower())


def _index(cells: list[str], *, has_name: bool) -> str | None:
    """Why the first column is not data: it holds row numbers, or row names without a header."""
    if any(cells == [str(i + start) for i in range(len(cells))] for start in (0, 1)):
        return "it numbers the rows"
    if has_name or len(set(cells)) < len(cells):
        return None
    if all(cell.isdecimal() for cell in cells):
        return "it numbers the rows"
    return None if all(number_of(cell) is not None for cell in cells) else "it names the rows"


def _read_csv(path: Path, options: ReadOptions) -> Table:
    import pandas

    try:
        structure = find_structure(read_text(path), path, options)
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as a table ({error}): save it again") from None
    if not structure.rows:
        raise InputError(f"{path} is empty below its header: give at least three rows")
    width = len(structure.rows[0])
    names = [str(i) for i in range(width)] if structure.names is None else structure.names
    names, notes = numbered(names, structure.notes)
    columns = dict(enumerate(zip(*structure.rows, strict=True)))
    frame = pandas.DataFrame({i: pandas.Series(cells, dtype=object) for i, cells in columns.items()})
    layout = {
        "format": "csv",
        "separator": structure.separator_name,
        "header": structure.names is not None,
    }
    return Table(frame.set_axis(names, axis=1), layout, notes, structure.decimal, structure.lines)


def numbered(names: Sequence[str], notes: list[str]) -> tuple[list[str], list[str]]:
    """Number the names that occur more than once."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 or not name else f"{name}.{seen[name]}")
    again = [name for name, count in seen.items() if count > 1 and name]
    if again:
        notes = [*notes, f"the name {again[0]!r} occurs {seen[again[0]]} times, so its columns are numbered"]
    return result, notes


def _of_frame(path: Path, frame: pandas.DataFrame, kind: str) -> Table:
    names, notes = numbered([str(name).strip() for name in frame.columns], [])
    return Table(frame.set_axis(names, axis=1), {"format": kind}, notes)


def _read_parquet(path: Path, options: ReadOptions) -> Table:
    import pandas

    require("pyarrow", "parquet", f"reading {path}")
    return _of_frame(path, pandas.read_parquet(path), "parquet")


def _read_feather(path: Path, options: ReadOptions) -> Table:
    import pandas

    require("pyarrow", "parquet", f"reading {path}")
    return _of_frame(path, pandas.read_feather(path), "feather")


def _read_excel(path: Path, options: ReadOptions) -> Table:
    import pandas

    require("openpyxl", "excel", f"reading {path}")
    sheets = pandas.read_excel(path, sheet_name=None, engine="openpyxl", na_filter=False)
    filled = {name: sheet for name, sheet in sheets.items() if sheet.shape[0] and sheet.shape[1]}
    if not filled:
        raise InputError(f"{path} is empty: give at least three rows of numbers")
    if len(filled) > 1:
        raise InputError(
            f"{path} has {len(filled)} sheets with cells ({', '.join(filled)}): save one of them in a file "
            "of "
            "its own"
        )
    return _of_frame(path, next(iter(filled.values())).infer_objects(), "xlsx")


def _read_json(path: Path, options: ReadOptions) -> Table:
    import pandas

    text = read_text(path)
    lines = ending_of(path) == ".jsonl"
    records = [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
    if not isinstance(records, (list, dict)) or not all(isinstance(r, dict) for r in records):
        raise InputError(f'{path} does not hold a table: give a list of records, as in [{{"a": 1}}, ...]')
    return _of_frame(path, pandas.DataFrame(records), "json")


def named(table: Table, options: ReadOptions, where: object) -> None:
    """Refuse options that name columns which are not in the table."""
    names = [*map(str, table.frame.columns), *table.dropped]
    check_names("drop", options.drop, names, where)
    check_names("kinds", list(options.kinds), names, where)
    check_names("context", options.context, names, where)
    check_names("labels", [options.labels] if options.labels else [], names, where)


TABLES: dict[str, Callable[[Path, ReadOptions], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".txt": _read_csv,
    ".parquet": _read_parquet,
    ".feather": _read_feather,
    ".arrow": _read_feather,
    ".xlsx": _read_excel,
    ".json": _read_json,
    ".jsonl": _read_json,
}
