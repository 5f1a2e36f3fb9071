"""Reading of a file with the schema of an earlier file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.datasets.columns import Encoded
from pyrovae.datasets.files import class_numbers_of
from pyrovae.datasets.matching import match, opened
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.datasets.reading import facts_of
from pyrovae.datasets.schema import Schema
from pyrovae.datasets.source import Source, as_source
from pyrovae.errors import InputError

if TYPE_CHECKING:
    import pandas

__all__ = ["labels_like", "source_like"]


def source_like(
    schema: Schema, path: Path | pandas.DataFrame, options: ReadOptions, name: str | None = None
) -> Source:
    """Rows of a file or a DataFrame, its labels and context, in the columns and words of a schema.

    Raises:
        InputError: for a column that is missing, or a word that the schema does not know.
    """
    title = path.name if isinstance(path, Path) else name or "the DataFrame"
    table = opened(path, title, options)
    where = path if isinstance(path, Path) else title
    columns, given = schema.columns or (), schema.context_columns or ()
    common: dict[str, Any] = {"na": set(options.na) | set(schema.na)}
    encoded = Encoded(match(table, columns, where, **common), columns)
    context = None
    if given:
        of_context = tuple(item.column for item in given)
        context = Encoded(match(table, of_context, where, **common), of_context)
    label = schema.labels if schema.labels in table.frame.columns else None
    labels = None if label is None else labels_like(table.frame[label], schema, where, options)
    others = [str(name) for name in table.frame.columns]
    used = {column.name for column in (*columns, *(item.column for item in given))} | {label}
    table.dropped |= {name: "the model does not use it" for name in others if name not in used}
    source = as_source(title, encoded.values, labels, columns=columns)
    return replace(
        source,
        classes=source.classes if labels is None else schema.classes or source.classes,
        class_names=schema.class_names,
        context=context.values if context else None,
        context_columns=context.columns if context else None,
        reading=facts_of(table, encoded, context, label),
    )


def labels_like(column: object, schema: Schema, path: object, options: ReadOptions) -> np.ndarray:
    """Labels as the class numbers of a schema.

    Raises:
        InputError: for a class that the schema does not have.
    """
    numbers, names = class_numbers_of(path, column, options)  # type: ignore[arg-type]
    known = schema.class_names or ()
    if names is None:
        return numbers
    strangers = [name for name in names if name not in known]
    if strangers:
        raise InputError(
            f"the label column {schema.labels!r} of {path} has the class {strangers[0]!r}, and the model "
            "was trained "
            f"with {', '.join(known[:5]) or 'numbered classes'}: leave such rows out"
        )
    return np.array([known.index(name) for name in names])[numbers]
