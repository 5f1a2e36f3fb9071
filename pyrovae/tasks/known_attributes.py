"""The attributes of the rows of a run that have a name.

    a column of a file       its name, or "column=word"; a row for each row of the source
    thick, slant, width      measured from the pixels of images
    a class                  its name or number: "Trouser", "7"
    a column of the data     its name, or "column=word"

The first that has a name is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.checks import path_of
from pyrovae.datasets import Data, Rows
from pyrovae.datasets.files import raw_table
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.errors import InputError
from pyrovae.names import near_names
from pyrovae.numerics import Array, as_array
from pyrovae.report import is_image
from pyrovae.tasks.attribute_values import columns_of
from pyrovae.tasks.pixel_measures import measured

__all__ = ["chosen", "known_attributes"]

SHOWN = 20


def known_attributes(data: Data, rows: Rows, labels: Any = None, file: str | None = None) -> dict[str, Array]:  # noqa: ANN401
    """Every attribute of some rows by name, (N,) each; NaN where unknown.

    Arguments:
        data: the data set of the rows.
        rows: N rows.
        labels: their class numbers, (N,), or None.
        file: a table with a row for each row of the source of the data, or None.

    Raises:
        InputError: for a file that cannot be read, or has too few rows.

    Example:
        >>> from pyrovae import datasets
        >>> data = datasets.load("digits")
        >>> list(known_attributes(data, data.test, data.labels.test))[:5]
        ['0', '1', '2', '3', '4']
    """
    found: dict[str, Array] = {}
    if data.schema.columns is not None:
        found |= _of_columns(dict(data.schema.frame(rows.x).items()), len(rows))
    if labels is not None:
        found |= _of_classes(data, as_array(labels))
    if is_image(data.event_shape):
        found |= measured(rows.x)
    if file is not None:
        found |= _of_file(path_of("file", file), rows)
    return found


def chosen(found: Mapping[str, Array], names: Iterable[str]) -> dict[str, Array]:
    """The attributes with some names, whose case does not matter.

    Raises:
        InputError: for an unknown name.
    """
    return {name: found[name] for asked in names for name in [_match(found, asked)]}


def _match(found: Mapping[str, Array], asked: str) -> str:
    if asked in found:
        return asked
    same = [name for name in found if name.lower() == asked.lower()]
    if len(same) == 1:
        return same[0]
    near = near_names(asked, list(found))
    meant = f"did you mean {near[0]}? " if near else ""
    some = ", ".join(list(found)[:SHOWN]) or "none is known, so name a file with columns by --file"
    raise InputError(f"there is no attribute {asked!r}: {meant}choose one of {some}")


def _of_columns(columns: Mapping[str, Any], rows: int) -> dict[str, Array]:
    """The attributes of columns; a column that cannot be read has none."""
    found: dict[str, Array] = {}
    for name, values in columns.items():
        try:
            parts = columns_of({name: values}, rows)
        except InputError:
            continue
        found |= dict(zip(parts.names, parts.values.T, strict=True))
    return found


def _of_classes(data: Data, labels: np.ndarray) -> dict[str, Array]:
    numbers = [c for c in (data.schema.classes or np.unique(labels[labels >= 0]).tolist()) if c >= 0]
    words = _class_names(data)
    names = [words[c] if words and c < len(words) else str(c) for c in numbers]
    known = np.where(labels >= 0, 1.0, np.nan)
    return {name: known * (labels == number) for name, number in zip(names, numbers, strict=True)}


def _class_names(data: Data) -> tuple[str, ...] | None:
    if data.name == "fashion_mnist":
        from torchvision.datasets import FashionMNIST

        return tuple(FashionMNIST.classes)
    return data.schema.class_names


def _of_file(path: Path, rows: Rows) -> dict[str, Array]:
    """The attributes of a file, whose rows are matched by their numbers in the source."""
    frame = raw_table(path, ReadOptions()).frame
    index = np.arange(len(rows)) if rows.index is None else as_array(rows.index)
    if len(frame) <= index.max():
        raise InputError(
            f"{path} has {len(frame):,} rows, and the data have a row {index.max():,}: give a file with a "
            "row for each row of the data, in the same order"
        )
    return _of_columns({str(name): column.to_numpy()[index] for name, column in frame.items()}, len(rows))
