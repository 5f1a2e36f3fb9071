"""A `Data` from the rows of each part: conditions, preparation, contexts, and the record of all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrovae.datasets.conditions import conditions
from pyrovae.datasets.context_columns import ContextColumn, contexts_of
from pyrovae.datasets.contexts import Derived, Function
from pyrovae.datasets.data import Data, Splits
from pyrovae.datasets.fingerprints import fingerprint
from pyrovae.datasets.jitter import Jitter
from pyrovae.datasets.options import Options
from pyrovae.datasets.preparation import Preparation, generator_of
from pyrovae.datasets.rows import Rows
from pyrovae.datasets.schema import Schema
from pyrovae.datasets.source import Source, refuse_not_finite
from pyrovae.datasets.split import Parts as RowNumbers
from pyrovae.datasets.streams import Stream
from pyrovae.errors import InputError

__all__ = ["assembled", "contexts_in", "part_of"]


class Parts(NamedTuple):
    """The rows of each part."""

    train: Rows | Stream
    validation: Rows
    test: Rows


def assembled(
    source: Source,
    grey: Splits,
    labels: Splits | None,
    index: Splits,
    options: Options,
    stream: Stream | None = None,
    context: Splits | None = None,
    derived: Derived | None = None,
) -> Data:
    """Prepare validation and test rows, and record the preparation."""
    preparation = Preparation(options.binarize, options.dequantize, source.levels)
    if preparation.binarize is not None:  # missing entries cannot be binarised
        refuse_not_finite(source.x, source.name)
    jitter, event_shape = Jitter.of(options.jitter), tuple(source.x.shape[1:])
    if jitter is not None:
        _refuse_streamed(source, stream)
        jitter.check(grey.train, source.name, binarize=options.binarize)
    if derived is not None:
        derived.check(event_shape, source.name)
    context, y = conditions(source, labels, options, context)
    is_ready = stream is None and jitter is None and not preparation.each_epoch
    x = _prepared(preparation, grey, options.split_seed, train=is_ready)
    rows = Parts(
        Rows(x.train, part_of(context, "train"), y, index.train) if stream is None else stream,
        Rows(x.validation, part_of(context, "validation"), None, index.validation),
        Rows(x.test, part_of(context, "test"), None, index.test),
    )
    if derived is not None:
        rows = _with_contexts(derived, rows, options.split_seed, train=is_ready)
    words = derived.words if derived is not None else "labels" if options.context == "labels" else None
    schema = Schema.of(source, preparation, words, options.reading)
    return Data(
        name=source.name,
        event_shape=event_shape,
        train=rows.train,
        validation=rows.validation,
        test=rows.test,
        labels=labels,
        schema=replace(schema, function=derived.function) if isinstance(derived, Function) else schema,
        declaration=dict(vars(options)),
        record=_facts(source, options, preparation, jitter, rows)
        | {
            "classes": len(source.classes) if source.classes and labels is not None else None,
            "fingerprint": fingerprint(x.train if stream is None else grey.validation),
        },
        binarize=preparation.binarize,
        levels=source.levels,
        dequantize=preparation.dequantize,
        columns=source.columns,
        derived=derived,
        jitter=jitter,
    )


def _facts(
    source: Source, options: Options, preparation: Preparation, jitter: Jitter | None, rows: Parts
) -> dict[str, Any]:
    """How the data were made, in plain values."""
    return {
        "name": source.name,
        "rows": {part: len(some) for part, some in rows._asdict().items()},
        "event_shape": list(source.x.shape[1:]),
        "scaling": source.scaling,
        "preparation": preparation.in_words + _in_words(jitter),
        "levels": source.levels,
        "context": options.context,
        "labels": options.labels,
        "known": options.known,
        "split_seed": options.split_seed,
        "streams": isinstance(rows.train, Stream),
        "columns": source.columns and {column.name: column.kind for column in source.columns},
        "reading": source.reading,
    }


def contexts_in(
    source: Source, cut: RowNumbers, schema: Schema | None
) -> tuple[tuple[ContextColumn, ...] | None, Splits | None]:
    """The columns of a context, and the context of each part.

    Columns are standardised as in the schema or, without one, by the training rows. A context
    without columns is used as given.
    """
    if source.context is None:
        return None, None
    columns = None
    if source.context_columns is not None and schema is not None:
        columns = schema.context_columns
    elif source.context_columns is not None:
        pairs = zip(source.context_columns, source.context.T, strict=True)
        columns = tuple(ContextColumn.of(column, values, cut.train.numpy()) for column, values in pairs)
    numbers = torch.from_numpy(source.context)
    every = numbers if columns is None else contexts_of(columns, source.context, source.name)
    return columns, Splits(*(every[part] for part in cut))


def part_of(splits: Splits | None, name: str) -> Tensor | None:
    """One part, or None."""
    return None if splits is None else getattr(splits, name)


def _prepared(preparation: Preparation, grey: Splits, seed: int, *, train: bool) -> Splits:
    """Prepare the rows; training rows that are streamed or prepared every epoch stay grey."""
    if train:
        prepared = preparation.apply(grey.train, generator_of("train", seed))
    else:
        prepared = grey.train
        if len(prepared):
            preparation.check(prepared)
    validation = preparation.apply(grey.validation, generator_of("validation", seed))
    return Splits(prepared, validation, preparation.apply(grey.test, generator_of("test", seed)))


def _with_contexts(derived: Derived, rows: Parts, seed: int, *, train: bool) -> Parts:
    """Rows with the contexts computed from them; training rows that change every epoch get none."""
    parts = {
        part: derived.rows(getattr(rows, part), generator_of(f"{part} context", seed))
        for part in ("train", "validation", "test")
        if part != "train" or (train and not derived.each_epoch)
    }
    return rows._replace(**parts)


def _refuse_streamed(source: Source, stream: Stream | None) -> None:
    if stream is not None:
        raise InputError(
            f"{source.name} is streamed, and jitter is for images in memory: use stream=False, or leave "
            "jitter out"
        )


def _in_words(jitter: Jitter | None) -> str:
    return "" if jitter is None else f"; training images changed every epoch ({jitter})"
