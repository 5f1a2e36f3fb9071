"""A data set in a notebook: its rows, its columns or some of its images, and how it was read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyrovae.datasets.contexts import is_image_shape
from pyrovae.display import html, thumbnails

__all__ = ["view"]

SHOWN = 10  # images
LEVELS = 6  # words of a column


def view(data: Any) -> str:  # noqa: ANN401
    """The HTML of a data set."""
    head, *lines = str(data).splitlines()
    return html.page(
        head,
        *(html.paragraph(line.strip()) for line in lines),
        _images(data),
        _columns(data),
        html.section("how to load it again", html.facts(_declared(data))),
    )


def _images(data: Any) -> html.Html | None:  # noqa: ANN401
    """The first images of the validation set, which are prepared as they are scored."""
    if not is_image_shape(data.event_shape):
        return None
    return thumbnails(data.validation.x[:SHOWN].cpu().numpy())


def _columns(data: Any) -> html.Html | None:  # noqa: ANN401
    if data.columns is None:
        return None
    read = {column["name"]: column for column in (data.record.get("reading") or {}).get("columns", [])}
    rows = []
    for column in data.columns:
        levels = column.levels or ()
        words = ", ".join(levels[:LEVELS]) + (f", ... ({len(levels)})" if len(levels) > LEVELS else "")
        missing = read.get(column.name, {}).get("missing", "")
        rows.append([column.name, column.kind, words or column.unit or "", f"{missing}"])
    table = html.table(["column", "kind", "levels or unit", "missing"], rows)
    return html.section(f"{len(rows)} columns", table, is_open=len(rows) <= 15)


def _declared(data: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """The arguments of `load` that are not empty."""
    for name, value in data.declaration.items():
        if value not in (None, False, (), [], {}, ""):
            yield name, repr(value)
