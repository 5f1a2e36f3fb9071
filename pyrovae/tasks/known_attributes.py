"""The attributes of the rows of a run that have a name.

    a column of a file       its name, or "column=word"; a row for each row of the source
    a factor of drawn data   its name, or "factor=word"
    thick, slant, width      measured from the pixels of images
    a class                  its name or number: "Trouser", "7"
    a column of the data     its name, or "column=word"

The first that has a name is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.checks import path_of
from pyrovae.datasets import Data, Factors, Rows
from pyrovae.datasets.files import raw_table
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.errors import InputError
from pyrovae.names import meant_by
from pyrovae.numerics import as_array
from pyrovae.report import is_image
from pyrovae.tasks.attribute_values import AttributeValues, columns_of
from pyrovae.tasks.pixel_measures import measure_images

__all__ = ["chosen", "known_attributes"]

SHOWN = 20
CLASS = "class"


def known_attributes(
    data: Data,
    rows: Rows,
    labels: Any = None,  # noqa: ANN401
    file: str | None = None,
    factors: Factors | None = None,
) -> AttributeValues:
    """Every attribute of some rows; the classes are one group.

    Arguments:
        data: the data set of the rows.
        rows: N rows.
        labels: their class numbers, (N,), or None.
        file: a table with a row for each row of the source of the data, or None.
        factors: the factors of the rows, or None.

    Raises:
        InputError: for a file that cannot be read, or has too few rows.

    Example:
        >>> from pyrovae import datasets
        >>> data = datasets.load("digits")
        >>> known_attributes(data, data.test, data.labels.test).names[:4]
        ('thick', 'slant', 'width', '0')
    """
    parts = [] if file is None else _of_file(path_of("file", file), rows)
    if factors is not None:
        parts += _of_columns(_words_of(factors), len(rows))
    if is_image(data.event_shape):
        parts += [columns_of({name: values}, len(rows)) for name, values in measure_images(rows.x).items()]
    if labels is not None:
        parts.append(_of_classes(data, as_array(labels)))
    if data.schema.columns is not None:
        parts += _of_columns(dict(data.schema.frame(rows.x).items()), len(rows))
    if not parts:
        raise InputError(
            "the data have neither classes nor named columns: name a file of attributes by file="
        )
    groups = np.repeat(np.arange(len(parts)), [len(part.names) for part in parts])
    every = AttributeValues(
        tuple(name for part in parts for name in part.names),
        np.concatenate([part.values for part in parts], 1),
        groups,
    )
    first = {name: i for i, name in reversed([*enumerate(every.names)])}
    return every.take(sorted(first.values()))


def chosen(known: AttributeValues, names: Iterable[str]) -> AttributeValues:
    """The attributes with some names, whose case does not matter; "class" stands for all classes.

    Raises:
        InputError: for an unknown name.
    """
    places: list[int] = []
    for name in names:
        is_class = name.lower() == CLASS and CLASS not in known.names
        places += _classes_in(known) if is_class else [_place(known.names, name)]
    return known.take(list(dict.fromkeys(places)))


def _place(names: Sequence[str], asked: str) -> int:
    if asked in names:
        return names.index(asked)
    same = [i for i, name in enumerate(names) if name.lower() == asked.lower()]
    if len(same) == 1:
        return same[0]
    meant = meant_by(asked, names)
    raise InputError(f"there is no attribute {asked!r}: {meant}choose one of {', '.join(names[:SHOWN])}")


def _classes_in(known: AttributeValues) -> list[int]:
    """The places of the classes, which are the only group of several 0/1 attributes without "="."""
    groups, counts = np.unique(known.group, return_counts=True)
    for group in groups[counts > 1]:
        places = np.flatnonzero(known.group == group).tolist()
        if not any("=" in known.names[i] for i in places):
            return places
    raise InputError("the data have no classes: name other attributes")


def _of_columns(columns: Mapping[str, Any], rows: int) -> list[AttributeValues]:
    """The attributes of columns; a column that cannot be read has none."""
    parts = []
    for name, values in columns.items():
        try:
            parts.append(columns_of({name: values}, rows))
        except InputError:
            continue
    return parts


def _words_of(factors: Factors) -> dict[str, Any]:
    """The factors as columns, with words where they have some."""
    return {
        name: factors.values[:, i].numpy() if words is None else [words[k] for k in classes]
        for i, (name, words, classes) in enumerate(
            zip(factors.names, factors.words, factors.classes().T.tolist(), strict=True)
        )
    }


def _of_classes(data: Data, labels: np.ndarray) -> AttributeValues:
    numbers = [c for c in (data.schema.classes or np.unique(labels[labels >= 0]).tolist()) if c >= 0]
    words = _class_names(data)
    names = tuple(words[c] if words and c < len(words) else str(c) for c in numbers)
    values = np.where(labels[:, None] >= 0, labels[:, None] == np.array(numbers), np.nan)
    return AttributeValues(names, values, np.zeros(len(names), int))


def _class_names(data: Data) -> tuple[str, ...] | None:
    if data.name == "fashion_mnist":
        from torchvision.datasets import FashionMNIST

        return tuple(FashionMNIST.classes)
    return data.schema.class_names


def _of_file(path: Path, rows: Rows) -> list[AttributeValues]:
    """The attributes of a file, whose rows are matched by their numbers in the source."""
    frame = raw_table(path, ReadOptions()).frame
    index = np.arange(len(rows)) if rows.index is None else as_array(rows.index)
    if len(frame) <= index.max():
        raise InputError(
            f"{path} has {len(frame):,} rows, and the data have a row {index.max():,}: give a file with a "
            "row for each row of the data, in the same order"
        )
    return _of_columns({str(name): column.to_numpy()[index] for name, column in frame.items()}, len(rows))
