"""Data in memory: arrays, tables, pairs (X, y), AnnData, and data sets of torch and Hugging Face.

`source_of` gives rows with their labels and context, before any split.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from pyrovae.datasets.columns import encode
from pyrovae.datasets.drawn import Drawn
from pyrovae.datasets.factor_values import factors_of
from pyrovae.datasets.files import class_numbers_of, read_frame
from pyrovae.datasets.labelling import labels_of, with_context, with_labels
from pyrovae.datasets.readers.arrays import noted
from pyrovae.datasets.readers.foreign import is_annotated, matrix_of
from pyrovae.datasets.readers.items import has_records, length, read_items, records
from pyrovae.datasets.readers.memory import as_table, dense, is_array, is_pair, is_table
from pyrovae.datasets.readers.options import ReadOptions, check_names
from pyrovae.datasets.readers.tables import TABLES
from pyrovae.datasets.readers.text import ending_of
from pyrovae.datasets.rereading import source_like
from pyrovae.datasets.rows import Rows
from pyrovae.datasets.schema import Schema
from pyrovae.datasets.source import Source, as_source
from pyrovae.errors import InputError

__all__ = ["has_columns", "source_of", "stored_labels", "title"]


def source_of(
    data: Any,  # noqa: ANN401
    options: ReadOptions,
    *,
    schema: Schema | None = None,
    layer: str | None = None,
    count: int | None = None,
) -> Source:
    """Rows in memory with their labels and context, before any split.

    Arguments:
        data: see the top of the file.
        options: how to read a table.
        schema: the schema with which to read a table.
        layer: the layer of an AnnData.
        count: the number of rows of a set without a length.

    Raises:
        InputError: for data that cannot be read, or options that they do not have.
    """
    name = title(data)
    if is_annotated(data):
        return _annotated(data, name, options, layer)
    if layer is not None:
        raise InputError(f"layer names a layer of an AnnData, and {name} is not an AnnData: leave layer out")
    if isinstance(data, Drawn):
        options.refuse_for(name)
        return data.source()
    if isinstance(data, Dataset):
        return _items(data, name, options, schema, count)
    if is_pair(data):
        return _paired(data, options, schema)
    if is_table(data):
        return _table(data, name, options, schema)
    options.refuse_for(name)
    if isinstance(data, Rows):
        source = as_source("the rows", data.x)
        source = source if data.y is None else with_labels(source, torch.where(data.y < 0, torch.nan, data.y))
        return source if data.context is None else with_context(source, data.context)
    if is_array(data) or isinstance(data, (list, tuple)):
        return as_source(name, dense(data, name))
    raise InputError(
        f"data of type {type(data).__name__} cannot be used: give a name, a path, an array, a DataFrame or a "
        "torch Dataset"
    )


def has_columns(data: Any) -> bool:  # noqa: ANN401
    """Whether a context of words names columns: of a table, a file of one, or an AnnData."""
    if isinstance(data, (str, os.PathLike)):
        path = Path(data)
        return path.is_file() and ending_of(path) in TABLES
    if is_pair(data):
        return is_table(data[0])
    if isinstance(data, Dataset):
        return not isinstance(data, IterableDataset) and has_records(data)
    return is_table(data) or is_annotated(data)


def title(data: Any) -> str:  # noqa: ANN401
    """The name of data in memory in messages."""
    if isinstance(data, Dataset):
        return getattr(data, "title", None) or type(data).__name__
    if isinstance(data, np.ndarray):
        return "the array"
    if isinstance(data, Tensor):
        return "the tensor"
    if is_annotated(data) or is_array(data) or (is_table(data) and hasattr(data, "shape")):
        return f"the {type(data).__name__}"
    if isinstance(data, (list, tuple, dict)):
        return f"the {type(data).__name__}"
    return repr(data)


# ------------------------------------------------------------------ kinds of data


def _table(data: Any, name: str, options: ReadOptions, schema: Schema | None) -> Source:  # noqa: ANN401
    for option in ("separator", "decimal", "header"):
        if getattr(options, option) is not None:
            raise InputError(f"{option} describes a file, and {name} is in memory: leave {option} out")
    options.refuse_resize_for(name)
    frame = as_table(data, name)
    if schema is not None and schema.columns is not None:
        return source_like(schema, frame, options, name)
    return read_frame(frame, name, options)


def _paired(pair: Any, options: ReadOptions, schema: Schema | None) -> Source:  # noqa: ANN401
    """Rows X with one label for each."""
    x, y = pair
    source = source_of(x, options, schema=schema)
    try:
        return with_labels(source, y)
    except InputError as error:
        raise InputError(
            f"the data are a pair (X, y), in which y are labels, but {error}; make y a column to model it"
        ) from None


def _items(
    data: Dataset[Any], name: str, options: ReadOptions, schema: Schema | None, count: int | None
) -> Source:
    """The items of a torch `Dataset`."""
    if has_records(data):
        source = _table(records(data, count=count), name, options, schema)
        names = getattr(data, "class_names", None)
        return source if names is None or source.labels is None else replace(source, class_names=names)
    options.refuse_for(name)
    x, labels = read_items(data, count=count)
    source = replace(as_source(name, x), factors=factors_of(data, len(x)))
    if labels is None:
        return source
    numbers, names = labels_of(labels, len(x), name)
    stored = getattr(data, "class_names", None)
    return replace(
        source,
        labels=numbers,
        classes=tuple(numbers.unique().tolist()) if stored is None else tuple(range(len(stored))),
        class_names=names if stored is None else stored,
    )


def stored_labels(dataset: Dataset[Any]) -> tuple[Tensor, tuple[str, ...] | None] | None:
    """Labels of all rows from the attribute `targets`, as in torchvision, without reading rows."""
    targets = getattr(dataset, "targets", None)
    return None if targets is None else labels_of(targets, length(dataset), title(dataset))


# ------------------------------------------------------------------ AnnData


def _annotated(data: Any, name: str, options: ReadOptions, layer: str | None) -> Source:  # noqa: ANN401
    """The matrix of an AnnData, with columns of `obs` as labels and context."""
    replace(options, context=(), labels=None, kinds={}, na=()).refuse_for(name)
    source = as_source(name, dense(matrix_of(data, name, layer), name))
    source = noted(source, None if layer is None else f"the layer {layer!r}")
    names = [str(column) for column in data.obs.columns]
    wanted = [*options.context, *([options.labels] if options.labels else [])]
    check_names("context" if options.context else "labels", wanted, names, f"obs of {name}")
    if options.context:
        frame = data.obs[list(options.context)].reset_index(drop=True)
        encoded = encode(frame, f"obs of {name}", keep=True, kinds=options.kinds, na=options.na)
        source = replace(source, context=encoded.values, context_columns=encoded.columns)
    if options.labels:
        column = data.obs[options.labels].reset_index(drop=True)
        numbers, classes = class_numbers_of(f"obs of {name}", column, options)
        source = replace(with_labels(source, numbers), class_names=classes)
    return source
