"""The columns of a streamed table, read one at a time.

Kinds, levels and remarks are found from all cells of a column, as for a table in memory. Only the
labels and the columns of a context are kept in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.datasets.columns import encode, encode_columns
from pyrovae.datasets.files import class_numbers_of, is_label, refuse_empty
from pyrovae.datasets.matching import match, refuse_absent
from pyrovae.datasets.readers.groups import Groups
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.datasets.readers.table_files import Facts
from pyrovae.datasets.readers.tables import Table, may_number_rows, named, without_row_numbers
from pyrovae.datasets.reading import facts, facts_of_column
from pyrovae.datasets.rereading import labels_like
from pyrovae.datasets.schema import Schema

__all__ = ["scanned", "scanned_like"]


def scanned(groups: Groups, path: Path, options: ReadOptions) -> Facts:
    """The columns of a table, found as `files.table_source` does for a table in memory.

    Raises:
        InputError: for a column that cannot be read, or options that name unknown columns.
    """
    table = _without_row_numbers(groups, options)
    named(table, options, path)
    table.dropped |= {name: "as asked" for name in options.drop if name in table.frame.columns}
    names = [str(n) for n in table.frame.columns if n not in options.drop and n not in options.context]
    found = next((n for n in names if is_label(groups, n, options)), None) if len(names) > 1 else None
    label = options.labels or found
    columns = [name for name in names if name != label]
    refuse_empty(columns, table, sum(groups.sizes), path)
    common: dict[str, Any] = {"kinds": options.kinds, "na": options.na}
    encoded, known = encode_columns(map(groups.__getitem__, columns), path, facts_of_column, **common)
    for fact in known:
        fact["remark"] = encoded.remarks.get(fact["name"])
    table.dropped |= encoded.dropped
    context = None
    if options.context:
        context = encode(groups.columns(options.context), path, keep=True, **common)
        pairs = zip(context.columns, context.values.T, strict=True)
        known += [facts_of_column(c, v, "context", context.remarks.get(c.name)) for c, v in pairs]
    labels, classes = (None, None) if label is None else class_numbers_of(path, groups[label], options)
    return Facts(
        encoded.columns,
        options.na,
        facts(table, sum(groups.sizes), known, label),
        labels,
        classes,
        context.values if context else None,
        context.columns if context else None,
    )


def scanned_like(schema: Schema, groups: Groups, path: Path, options: ReadOptions) -> Facts:
    """The columns of a schema in a table, read as by `rereading.source_like`.

    Raises:
        InputError: for a column that is missing, or a word that the schema does not know.
    """
    columns = schema.columns or ()
    given = tuple(item.column for item in schema.context_columns or ())
    table = Table(groups.schema.empty_table().to_pandas(), {"format": groups.kind})
    refuse_absent(table, [*columns, *given], path)
    na = (*options.na, *schema.na)
    label = schema.labels if schema.labels in groups.names else None
    labels = None if label is None else labels_like(groups[label], schema, path, options)
    context = None
    if given:
        frame = groups.columns([column.name for column in given])
        context = match(Table(frame, table.layout), given, path, na=set(na))
    used = {column.name for column in (*columns, *given)} | {label}
    table.dropped |= {name: "the model does not use it" for name in groups.names if name not in used}
    reading = facts(table, sum(groups.sizes), [], label)
    return Facts(columns, na, reading, labels, schema.class_names, context, given or None)


def _without_row_numbers(groups: Groups, options: ReadOptions) -> Table:
    """A table without its first columns if they number the rows; the others have no cells."""
    count = next((i for i, name in enumerate(groups.names) if not may_number_rows(name)), len(groups.names))
    first = groups.columns(groups.names[: count + 1]) if count else groups.schema.empty_table().to_pandas()
    table = without_row_numbers(Table(first, {"format": groups.kind}), options)
    if count:
        rest = groups.names[count + 1 :]
        table.frame = table.frame.iloc[:0].assign(**{name: np.empty(0) for name in rest})
    return table
