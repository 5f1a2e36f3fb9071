"""Data that are read during training: validation and test rows in memory, and a `Stream`.

    torch Dataset    with numbered items; with `workers`, several processes read it
    .npy             an array in C order (not in Fortran order)
    .npz             the same, if it is not compressed, with its labels
    .parquet         a table, by row groups
    .feather         a table, by record batches

Less than 2 GB are read into memory, unless `stream=True`.
"""

from __future__ import annotations

import math
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from pyrovae.checks import one_of, whole
from pyrovae.datasets.assembling import assembled, contexts_in, part_of
from pyrovae.datasets.catalogue import canonical
from pyrovae.datasets.conditions import conditions
from pyrovae.datasets.contexts import Derived
from pyrovae.datasets.data import Data, Splits
from pyrovae.datasets.factor_values import FactorSplits, factors_of
from pyrovae.datasets.labelling import labels_of
from pyrovae.datasets.memory import stored_labels, title
from pyrovae.datasets.options import Options
from pyrovae.datasets.readers.arrays import noted
from pyrovae.datasets.readers.groups import groups_of
from pyrovae.datasets.readers.items import is_large, is_large_as_single, length, read_items
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.datasets.readers.row_files import RowFile, opened_rows
from pyrovae.datasets.readers.table_files import TableFile
from pyrovae.datasets.scanning import scanned, scanned_like
from pyrovae.datasets.schema import Schema
from pyrovae.datasets.source import Source, as_source, refuse_not_finite
from pyrovae.datasets.split import Parts
from pyrovae.datasets.streams import Stream
from pyrovae.errors import InputError
from pyrovae.memory import refuse_too_large

__all__ = ["streamed", "to_stream"]

GROUP = 2**28  # the largest size of a group of rows, in bytes as float64


def to_stream(
    data: Any,  # noqa: ANN401
    stream: bool | None,  # noqa: FBT001
    workers: int | None,
    options: ReadOptions,
    schema: Schema | None,
) -> Dataset[Any] | None:
    """The data set whose rows are read while training; None for data that are read into memory.

    Arguments:
        data: what was given to `load`.
        stream: whether to stream it; None streams 2 GB or more.
        workers: the number of processes that read, or None.
        options: how to read a table.
        schema: the schema with which to read a table.

    Raises:
        InputError: for stream=True with data that cannot be streamed, and for workers with data
            that they cannot read.
    """
    can_stream = one_of("stream", stream, (True, False, None)) is not False
    rows = _rows_of(data, options, schema, wanted=bool(stream)) if can_stream else None
    if rows is None and stream:
        raise InputError(
            "stream=True needs a torch Dataset with numbered items, or a file of rows (.npy, .npz without "
            f"compression, .parquet, .feather), and {title(data)} {_why_not(data)}: leave stream out"
        )
    if workers is not None and (rows is None or isinstance(rows, RowFile)):
        raise InputError(
            f"workers= is for a torch Dataset that is streamed, and {title(data)} is "
            f"{'in memory' if rows is None else 'a file, which a thread reads'}: leave workers out"
        )
    return rows


def _why_not(data: Any) -> str:  # noqa: ANN401
    """Why data cannot be streamed."""
    ending = Path(data).suffix.lower() if isinstance(data, (str, os.PathLike)) else ""
    is_file = ending in (".npy", ".npz", ".parquet", ".feather", ".arrow")
    return f"is neither{', as it is damaged, empty, in parts, compressed or by columns' if is_file else ''}"


def _rows_of(
    data: Any,  # noqa: ANN401
    options: ReadOptions,
    schema: Schema | None,
    *,
    wanted: bool,
) -> Dataset[Any] | None:
    """A data set with numbered items if streaming is wanted or the data are large; else None."""
    if isinstance(data, Dataset):
        has_numbers = not isinstance(data, IterableDataset)
        return data if has_numbers and (wanted or is_large(data)) else None
    if not isinstance(data, (str, os.PathLike)) or (isinstance(data, str) and canonical(data) is not None):
        return None
    try:
        path = Path(data).expanduser()
        if not path.is_file():
            return None
    except (OSError, RuntimeError, ValueError):
        return None  # no file has this name, as the reader of whole files explains
    array = opened_rows(path)
    if array is not None:
        is_wanted = wanted or is_large_as_single(array.shape[0], math.prod(array.shape[1:]))
        return array if is_wanted else None
    return _table_of(path, options, schema, wanted=wanted)


def _table_of(path: Path, options: ReadOptions, schema: Schema | None, *, wanted: bool) -> TableFile | None:
    """The rows of a table on disk, if streaming is wanted or the table is large.

    Raises:
        InputError: for a table with a group that is too large to be read as a whole, if streaming
            is wanted or the table does not fit into memory; and for columns that cannot be read.
    """
    groups = groups_of(path)
    if groups is None or not sum(groups.sizes):
        return None
    rows, width = sum(groups.sizes), len(groups.names)
    if not (wanted or is_large_as_single(rows, width)):
        return None
    if max(groups.sizes) * width * 8 > GROUP:
        cure = f"save it with groups of {max(1, GROUP // 16 // width):,} rows or fewer (row_group_size=)"
        if wanted:
            raise InputError(
                f"{path} has groups of {max(groups.sizes):,} rows, too many to read a group at a time: {cure}"
            )
        refuse_too_large(f"the {rows:,} rows of {path}", rows * width * 8, cure)
        return None
    options.refuse_resize_for(str(path))
    if schema is not None and schema.columns is not None:
        return TableFile(path, groups, scanned_like(schema, groups, path, options))
    return TableFile(path, groups, scanned(groups, path, options))


def streamed(
    dataset: Dataset[Any],
    options: Options,
    given: dict[str, Any],
    derived: Derived | None,
    schema: Schema | None,
    at_most: int,
    workers: int | None = None,
) -> Data:
    """Data whose training rows are a stream.

    Arguments:
        dataset: the rows.
        options: the arguments of `load`.
        given: labels and a context that are given as values.
        derived: the context that is computed from x, or None.
        schema: the schema with which a table was read.
        at_most: the largest number of validation rows, and of test rows.
        workers: the number of processes that read.

    Raises:
        InputError: for options that a stream does not support.
    """
    if not isinstance(dataset, TableFile):
        options.reading.refuse_for(title(dataset))
    if options.copies > 1:
        raise InputError(
            f"{title(dataset)} is streamed, and only rows in memory can be repeated: leave copies out"
        )
    cut = options.parts_of(length(dataset), count=options.count, at_most=at_most)
    source, draws = _held_out(dataset, torch.cat([cut.validation, cut.test]))
    source, labels = _with_labels(source, dataset, cut, options, given)
    if "context" in given and derived is None:
        raise InputError(f"{source.name} is streamed, and a context is given as values: use stream=False")
    columns, context = contexts_in(source, cut, schema)
    context, y = conditions(source, labels, options, context)
    stream = Stream(
        dataset,
        cut.train,
        tuple(source.x.shape[1:]),
        divisor=source.levels - 1 if source.levels else 1,
        dtype=source.x.dtype,
        context=part_of(context, "train"),
        y=y,
        static_seed=options.split_seed if options.binarize == "static" else None,
        missing=options.binarize is None,
        workers=None if workers is None else whole("workers", workers, 0),
        draws=draws,
    )
    source = noted(source, *_notes(dataset, stream))
    grey = Splits(source.x[:0], *source.x.split([len(cut.validation), len(cut.test)]))
    data = assembled(source, grey, labels, Splits(*cut), options, stream, context, derived=derived)
    gaps = data.schema.gaps or bool(data.missing_in_columns)
    data = replace(data, schema=replace(data.schema, context_columns=columns, gaps=gaps))
    factors = factors_of(dataset, length(dataset))
    return data if factors is None else replace(data, factors=FactorSplits.of(factors, *cut))


def _held_out(dataset: Dataset[Any], index: Tensor) -> tuple[Source, bool]:
    """The validation and test rows, and whether reading them drew from global generators."""
    before = _random_state()
    rows = dataset.read(index) if isinstance(dataset, RowFile) else read_items(dataset, index)[0]
    for row in rows.isinf().reshape(len(rows), -1).any(1).nonzero().flatten().tolist():
        refuse_not_finite(rows[row, None], title(dataset), first_row=int(index[row]))
    draws = _random_state() != before
    if not isinstance(dataset, TableFile):
        return as_source(title(dataset), rows), draws
    facts = dataset.facts
    source = as_source(title(dataset), rows, columns=facts.columns)
    source = replace(source, context=facts.context, context_columns=facts.context_columns)
    return replace(source, reading=facts.reading), draws


def _random_state() -> tuple[Any, ...]:
    numbers = np.random.get_state(legacy=False)["state"]
    return torch.get_rng_state().numpy().tobytes(), str(numbers), random.getstate()


def _with_labels(
    source: Source, dataset: Dataset[Any], cut: Parts, options: Options, given: dict[str, Any]
) -> tuple[Source, Splits | None]:
    """The source with its classes, and the labels of each part.

    Raises:
        InputError: if labels are needed but not known.
    """
    known = stored_labels(dataset)
    if "labels" in given:
        known = labels_of(given["labels"], length(dataset), source.name)
    if known is not None:
        every, names = known
        names = names or getattr(dataset, "class_names", None)
        classes = tuple(every.unique().tolist())
        return replace(source, classes=classes, class_names=names), Splits(*(every[part] for part in cut))
    if options.context == "labels" or options.labels:
        raise InputError(
            f"{source.name} is streamed, and its labels are not known before all of it is read: give it an "
            "attribute `targets` with one label for each row, or leave context and labels out"
        )
    return source, None


def _notes(dataset: Dataset[Any], stream: Stream) -> list[str]:
    """Remarks on how a stream is read."""
    if stream.chunks is not None:
        how = f"it is read from disk while training, {stream.window_words}"
        return [note for note in (how, getattr(dataset, "note", None)) if note]
    if stream.draws and stream.workers is None:
        return ["its items are random, so they are read between steps; workers=2 reads ahead"]
    return []
