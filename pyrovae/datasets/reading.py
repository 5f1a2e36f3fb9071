"""What was read of a table, in plain values: `data.record["reading"]`.

The record has the format, notes, and the columns that were left out with the reason. For each other
column it has the name, role, kind, range or levels, number of missing entries and a remark.
`describe` prints the record.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyrovae.datasets.columns import Column, Encoded
from pyrovae.datasets.readers.dates import DAYS, as_dates
from pyrovae.datasets.readers.tables import Table

__all__ = ["facts", "facts_of", "facts_of_column"]

SHOWN_LEVELS = 20


def facts_of(table: Table, encoded: Encoded, context: Encoded | None, label: str | None) -> dict[str, Any]:
    """What was read of a table, in plain values."""
    columns = _columns(encoded, "x") + ([] if context is None else _columns(context, "context"))
    return facts(table, len(table.frame), columns, label)


def facts(table: Table, rows: int, columns: list[dict[str, Any]], label: str | None) -> dict[str, Any]:
    """What was read of a table, from the facts about each column."""
    return {
        **table.layout,
        "rows": rows,
        "notes": list(table.notes),
        "dropped": {str(name): why for name, why in table.dropped.items()},
        "labels": label,
        "columns": columns,
    }


def _columns(encoded: Encoded, role: str) -> list[dict[str, Any]]:
    pairs = zip(encoded.columns, encoded.values.T, strict=True)
    return [
        facts_of_column(column, values, role, encoded.remarks.get(column.name)) for column, values in pairs
    ]


def facts_of_column(
    column: Column, values: np.ndarray, role: str = "x", remark: str | None = None
) -> dict[str, Any]:
    """Facts about a column with values (N,), as plain Python values."""
    present = values[~np.isnan(values)]
    low, high = (float(present.min()), float(present.max())) if len(present) else (None, None)
    bounds: list[Any] = [low, high]
    if column.unit == DAYS and low is not None:
        bounds = [str(date.date()) for date in as_dates(np.array([low, high]))]
    return {
        "name": column.name,
        "role": role,
        "kind": column.kind,
        "low": None if column.levels else bounds[0],
        "high": None if column.levels else bounds[1],
        "levels": None if column.levels is None else list(column.levels[:SHOWN_LEVELS]),
        "count": None if column.levels is None else len(column.levels),
        "unit": column.unit,
        "missing": int(np.isnan(values).sum()),
        "remark": remark,
    }
