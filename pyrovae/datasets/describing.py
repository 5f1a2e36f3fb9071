"""A description of what was read, for the user."""

from __future__ import annotations

from typing import Any

from pyrovae.datasets.data import Data
from pyrovae.datasets.readers.dates import DAYS
from pyrovae.errors import visible

__all__ = ["describe"]


def describe(data: Data, *, lines: int | None = None) -> str:
    """Describe what was read: one line on the file, one for each column, one on the split.

    Arguments:
        data: a data set.
        lines: the largest number of lines; further columns are only counted. No limit by default.

    Example:
        >>> from pyrovae import datasets
        >>> print(describe(datasets.load("digits")))
        digits: 1,797 rows of shape (1, 8, 8), 0..16 divided by 16, 10 classes
        1,257 rows for training, 180 for validation, 360 for testing
    """
    reading, counts = data.record.get("reading") or {}, data.record["rows"]
    total = sum(counts.values()) - data.record.get("repeated", 0)
    head = [_head(data, reading, total)]
    head += [f"note: {note}" for note in reading.get("notes", [])]
    head += _dropped(reading.get("dropped", {}))
    if data.derived is not None:
        head.append(f"context of shape {data.context_shape} computed from x: {data.derived.words}")
    if data.jitter is not None:
        head.append(f"training images changed every epoch: {data.jitter}")
    if data.factors is not None:
        train = data.factors.train
        each = (f"{name} ({kind})" for name, kind in zip(train.names, train.kinds, strict=True))
        head.append(f"factors: {', '.join(each)}")
    foot = (
        f"{counts['train']:,} rows for training, {counts['validation']:,} for validation, "
        f"{counts['test']:,} for testing"
    )
    table = _table(reading.get("columns", []))
    room = None if lines is None else max(2, lines - len(head) - 1)
    if room is not None and len(table) > room:
        table = [*table[: room - 1], f"... and {len(table) - room + 1} more columns (pyrovae data shows all)"]
    shown = [*head, *table, foot]
    return "\n".join(map(visible, shown))


def _head(data: Data, reading: dict[str, Any], total: int) -> str:
    if "columns" not in reading:
        classes = data.record["classes"]
        words = f", {classes} classes" if classes else ""
        return f"{data.name}: {total:,} rows of shape {data.event_shape}, {data.record['scaling']}{words}"
    parts = [reading["format"]]
    if "separator" in reading:
        separator = reading["separator"]
        parts.append(separator if separator == "one column" else f"separated by {separator}")
        parts.append("with a header" if reading["header"] else "without a header")
    label = f"; labels from {reading['labels']!r}" if reading.get("labels") else ""
    return f"{data.name}: {reading['rows']:,} rows ({', '.join(parts)}){label}"


def _dropped(dropped: dict[str, str]) -> list[str]:
    names = list(dropped)
    shown = "; ".join(f"{name!r} ({dropped[name]})" for name in names[:4])
    more = f"; and {len(names) - 4} more" if len(names) > 4 else ""
    return [f"left out: {shown}{more}"] if names else []


def _table(columns: list[dict[str, Any]]) -> list[str]:
    if not columns:
        return []
    header = ("column", "kind", "range or levels", "missing", "remark")
    cells = [header]
    for column in columns:
        kind = column["kind"] if column["role"] == "x" else f"context, {column['kind']}"
        values = _values(column)
        cells.append((column["name"], kind, values, f"{column['missing']:,}", column["remark"] or ""))
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    return [
        "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in cells
    ]


def _values(column: dict[str, Any]) -> str:
    if column["levels"] is not None:
        text = ", ".join(column["levels"][:6])
        text += ", ..." if column["count"] > 6 else ""
        return text if len(text) <= 40 else f"{text[:37].rstrip(', ')}..."
    low, high = column["low"], column["high"]
    unit = f" {column['unit']}" if column["unit"] and column["unit"] != DAYS else ""
    return f"{_number(low)} to {_number(high)}{unit}"


def _number(value: float | str | None) -> str:
    return value if isinstance(value, str) else "-" if value is None else f"{value:.6g}"
