"""Rows of a table as HTML, in the words and units of the user."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.app.pictures import cells

if TYPE_CHECKING:
    from pyrovae.datasets.columns import Column
    from pyrovae.exploring import Exploration

__all__ = ["changes", "columns_of", "one_row", "some_rows"]

CHANGED = 4


def columns_of(ex: Exploration) -> tuple[Column, ...] | None:
    """The columns, if the data are a table."""
    schema = ex.vae.schema
    return None if schema is None else schema.columns


def one_row(x: Any, columns: Sequence[Column]) -> str:  # noqa: ANN401
    """The names and values of one row."""
    lines = (
        f"<tr><th>{escape(column.name)}</th><td>{escape(value)}</td></tr>"
        for column, value in zip(columns, cells(x, columns), strict=True)
    )
    return f'<div class="tall"><table class="values decoded">{"".join(lines)}</table></div>'


def some_rows(x: Any, columns: Sequence[Column], keys: Sequence[object], names: Sequence[str]) -> str:  # noqa: ANN401
    """Several rows below each other; a click on the name of one tells its key."""
    head = "".join(f'<th title="{escape(c.name)}">{escape(c.name)}</th>' for c in columns)
    lines = "".join(
        f'<tr><td><button type="button" data-key="{key}">{escape(name)}</button></td>'
        + "".join(f"<td>{escape(value)}</td>" for value in cells(one, columns))
        + "</tr>"
        for one, key, name in zip(x, keys, names, strict=True)
    )
    return f'<div class="wide"><table class="values"><tr><th></th>{head}</tr>{lines}</table></div>'


def changes(x: np.ndarray, scale: np.ndarray, columns: Sequence[Column]) -> str:
    """The columns that change most from the first to the last of decoded rows (S, columns).

    Arguments:
        x: the rows; the first, the middle and the last are shown.
        scale: the unit of each column, (columns,).
        columns: the columns.
    """
    shown = x[[0, len(x) // 2, -1]]
    order = np.argsort(-np.abs(x[-1] - x[0]) / scale, kind="stable")[:CHANGED]
    texts = [cells(one, columns) for one in shown]
    lines = "".join(
        f"<tr><th>{escape(columns[j].name)}</th>{''.join(f'<td>{escape(t[j])}</td>' for t in texts)}</tr>"
        for j in order
    )
    head = "<tr><th></th><td>−3</td><td>0</td><td>+3</td></tr>"
    return f'<table class="values even">{head}{lines}</table>'
