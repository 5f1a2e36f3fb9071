"""`load`: make a data set from a name, file, folder, array or torch `Dataset`.

    find rows -> check, scale -> split by a seed -> prepare validation and test once -> Data

The same arguments give the same data on every machine.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pyrovae.checks import one_of, whole
from pyrovae.datasets.catalogue import canonical
from pyrovae.datasets.data import Data, Splits
from pyrovae.datasets.files import read_file
from pyrovae.datasets.find import find
from pyrovae.datasets.preparation import Preparation, generator_of
from pyrovae.datasets.rows import Rows
from pyrovae.datasets.schema import Schema
from pyrovae.datasets.source import Source, as_source, fits_single, refuse_not_finite
from pyrovae.datasets.split import Parts, parts, rows_or_share
from pyrovae.datasets.streams import Stream, gather, is_large, length, stored_labels
from pyrovae.datasets.toys import TOYS
from pyrovae.errors import InputError, deprecated

__all__ = ["load"]

STREAM_ROWS = 10_000

Binarize = Literal["dynamic", "static", "threshold"]
Given = str | os.PathLike[str] | np.ndarray | Tensor | Dataset[Any]


_NUMBERS: dict[str, Callable[[str, Any], int | float]] = {
    "validation": rows_or_share,
    "test": rows_or_share,
    "split_seed": partial(whole, least=0),
    "known": whole,
    "copies": whole,
    "count": partial(whole, least=3),
}


@dataclass(frozen=True)
class Options:
    """The arguments of `load` as plain values, with which it gives the same data again."""

    data: str | None
    root: str | None
    binarize: Binarize | None
    dequantize: bool
    validation: int | float | None
    test: int | float | None
    split_seed: int
    context: Literal["labels"] | None
    labels: bool
    known: int | None
    copies: int
    count: int | None
    kinds: dict[str, str] | None

    def __post_init__(self) -> None:
        """Check the options."""
        one_of("context", self.context, ("labels", None))
        one_of("labels", self.labels, (True, False))
        for name, check in _NUMBERS.items():
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else check(name, value))
        if self.known is None and self.copies > 1:
            raise InputError(
                f"copies={self.copies} repeats rows with a known label: give known= as well, or leave it out"
            )

    def parts_of(self, rows: int, **more: Any) -> Parts:  # noqa: ANN401
        """Split this number of rows."""
        return parts(rows, validation=self.validation, test=self.test, seed=self.split_seed, **more)


def load(
    name: Given,
    *,
    root: str | os.PathLike[str] | None = None,
    binarize: Binarize | None = None,
    dequantize: bool = False,
    validation: int | float | None = None,
    test: int | float | None = None,
    split_seed: int = 0,
    context: Literal["labels"] | None = None,
    labels: bool = False,
    known: int | None = None,
    copies: int = 1,
    count: int | None = None,
    kinds: dict[str, str] | None = None,
    stream: bool | None = None,
) -> Data:
    """Load training, validation and test rows from a name, file, folder, array or torch `Dataset`.

    Arguments:
        name: a known name (`known()`); a .npy, .npz, .csv or .parquet file; a folder of images; an
            array or a tensor (N, ...); or a torch `Dataset` of tensors or (tensor, label) pairs.
        root: folder of the known image sets in torchvision's layout; by default the environment
            variable PYROVAE_DATA, else the user's cache folder.
        binarize: binarise values in [0, 1]: "dynamic" (training set again every epoch), "static"
            (once), "threshold" (at 1/2) or None.
        dequantize: add uniform noise smaller than one integer level, to the training set again
            every epoch.
        validation: rows (int) or share (float); by default a tenth, or up to 10,000 for a set with
            its own test set.
        test: rows (int) or share (float); by default a fifth, or the set's own test set.
        split_seed: seed of the split, and of all random preparation that is done once.
        context: "labels" gives one-hot labels as context to a conditional program, p(x|c).
        labels: give the labels of the training set as y, which a prior with labels=True observes.
            Validation and test rows have none, so that bounds on them are on log p(x).
        known: keep only this number of labels, balanced over classes; the others are -1.
        copies: the number of times that each row with a known label is in the training set, so that
            every batch has some.
        count: number of rows to draw (toys, 5,000 by default) or to keep (a set's own test set
            shrinks in proportion).
        kinds: kinds of some columns of a table, as in {"zip": "categorical"}; see
            `pyrovae.likelihoods.Mixed`.
        stream: read a torch `Dataset` row by row; None does so for 2 GB or more.

    Returns:
        A `Data`, with values in float32; tables, and arrays that float32 cannot hold, are in float64.

    Raises:
        InputError: for data or options that cannot be used.

    Example:
        >>> load("digits", binarize="threshold")  # doctest: +ELLIPSIS
        Data(digits): 1,257 train, 180 validation, 360 test
          event shape (1, 8, 8), 10 classes
          0..16 divided by 16; binarised at 1/2
          split seed 0, fingerprint ...
    """
    if stream and not isinstance(name, Dataset):
        raise InputError(
            f"stream=True needs a torch Dataset, and {_title(name)} is in memory: leave stream out"
        )
    if context == "labels" and known is not None:
        deprecated("context='labels' with known=", "labels=True with known=, as labels are observed")
        context = None
    options = Options(
        data=_plain_name(name),
        root=None if root is None else os.path.abspath(os.path.expanduser(os.fspath(root))),
        binarize=binarize,
        dequantize=bool(dequantize),
        validation=validation,
        test=test,
        split_seed=split_seed,
        context=context,
        labels=labels if known is None else True,
        known=known,
        copies=copies,
        count=count,
        kinds=None if kinds is None else dict(kinds),
    )
    if isinstance(name, Dataset) and (is_large(name) if stream is None else stream):
        return _streamed(name, options)
    return _in_memory(_source(name, root=root, count=options.count, kinds=kinds), options)


def _in_memory(source: Source, options: Options) -> Data:
    cut = options.parts_of(
        len(source.x),
        count=None if source.name in TOYS else options.count,
        own_test=None if source.test_x is None else len(source.test_x),
        held_out=source.held_out,
    )
    labels = None
    if source.labels is not None:
        tests = source.labels if source.test_labels is None else source.test_labels
        labels = Splits(source.labels[cut.train], source.labels[cut.validation], tests[cut.test])
    tests = source.x if source.test_x is None else source.test_x
    grey = Splits(source.x[cut.train], source.x[cut.validation], tests[cut.test])
    data = _data(source, grey, labels, Splits(*cut), options)
    return data if options.copies == 1 else _repeated(data, options.copies)


def _repeated(data: Data, copies: int) -> Data:
    """Append training rows with a known label until there are `copies` of each."""
    assert isinstance(data.train, Rows)
    assert data.train.y is not None
    assert data.labels is not None
    labelled = (data.train.y >= 0).nonzero().squeeze(-1).repeat(copies - 1)
    rows = torch.cat([torch.arange(len(data.train)), labelled])
    counts = data.record["rows"] | {"train": len(rows)}
    return replace(
        data,
        train=data.train[rows],
        labels=replace(data.labels, train=data.labels.train[rows]),
        record=data.record | {"rows": counts, "repeated": len(labelled)},
    )


def _streamed(dataset: Dataset[Any], options: Options) -> Data:
    if options.copies > 1:
        raise InputError(
            f"{_title(dataset)} is streamed, and only rows in memory can be repeated: leave copies out"
        )
    cut = options.parts_of(length(dataset), count=options.count, at_most=STREAM_ROWS)
    rows, pair_labels = gather(dataset, torch.cat([cut.validation, cut.test]))
    source = as_source(_title(dataset), rows, pair_labels)
    every = stored_labels(dataset)
    labels = None if every is None else Splits(*(every[part] for part in cut))
    if every is not None:
        source = replace(source, classes=tuple(every.unique().tolist()))
    elif options.context or options.labels:
        raise InputError(
            f"{source.name} is streamed, and its labels are not known before all of it is read: give it an "
            "attribute `targets` with one label for each row, or leave context and labels out"
        )
    context, y = _conditions(source, labels, options)
    stream = Stream(
        dataset,
        cut.train,
        tuple(source.x.shape[1:]),
        divisor=source.levels - 1 if source.levels else 1,
        dtype=source.x.dtype,
        context=_part(context, "train"),
        y=y,
        static_seed=options.split_seed if options.binarize == "static" else None,
    )
    grey = Splits(source.x[:0], *source.x.split([len(cut.validation), len(cut.test)]))
    return _data(source, grey, labels, Splits(*cut), options, stream)


def _data(
    source: Source,
    grey: Splits,
    labels: Splits | None,
    index: Splits,
    options: Options,
    stream: Stream | None = None,
) -> Data:
    """Prepare validation and test rows, and record the preparation."""
    preparation = Preparation(options.binarize, options.dequantize, source.levels)
    if preparation.binarize is not None:  # missing entries cannot be binarised
        refuse_not_finite(source.x, source.name)
    context, y = _conditions(source, labels, options)
    x = _prepared(preparation, grey, options.split_seed, streams=stream is not None)
    train = stream if stream is not None else Rows(x.train, _part(context, "train"), y, index.train)
    event_shape = tuple(source.x.shape[1:])
    return Data(
        name=source.name,
        event_shape=event_shape,
        train=train,
        validation=Rows(x.validation, _part(context, "validation"), None, index.validation),
        test=Rows(x.test, _part(context, "test"), None, index.test),
        labels=labels,
        schema=Schema.of(source, preparation, options.context),
        declaration=dict(vars(options)),
        record={
            "name": source.name,
            "rows": {"train": len(train), "validation": len(x.validation), "test": len(x.test)},
            "event_shape": list(event_shape),
            "scaling": source.scaling,
            "preparation": preparation.in_words,
            "levels": source.levels,
            "classes": len(source.classes) if source.classes and labels is not None else None,
            "context": options.context,
            "labels": options.labels,
            "known": options.known,
            "split_seed": options.split_seed,
            "streams": stream is not None,
            "columns": source.columns and {column.name: column.kind for column in source.columns},
            "fingerprint": fingerprint(x.train if stream is None else grey.validation),
        },
        binarize=preparation.binarize,
        levels=source.levels,
        dequantize=preparation.dequantize,
        columns=source.columns,
    )


def _part(splits: Splits | None, name: str) -> Tensor | None:
    return None if splits is None else getattr(splits, name)


def _prepared(preparation: Preparation, grey: Splits, seed: int, *, streams: bool) -> Splits:
    """Prepare the rows; training rows that are streamed or drawn every epoch stay grey."""
    train = grey.train
    if not streams and preparation.each_epoch:
        preparation.check(train)
    elif not streams:
        train = preparation.apply(train, generator_of("train", seed))
    validation = preparation.apply(grey.validation, generator_of("validation", seed))
    return Splits(train, validation, preparation.apply(grey.test, generator_of("test", seed)))


def fingerprint(x: Tensor) -> str:
    """The first 16 hex digits of SHA-256 of shape and values, beyond 256 MB of spaced rows.

    Values are hashed in float32, and also in float64 where they need it.
    """
    step = -(-x.numel() // 2**26)
    digest = hashlib.sha256(repr(tuple(x.shape)).encode())
    rows = x[:: max(1, step)].contiguous()
    with np.errstate(over="ignore"):
        digest.update(rows.numpy().astype("<f4", copy=False).data)
    if not fits_single(rows):
        digest.update(rows.numpy().astype("<f8", copy=False).data)
    return digest.hexdigest()[:16]


def _source(
    name: Given,
    *,
    root: str | os.PathLike[str] | None,
    count: int | None,
    kinds: Mapping[str, str] | None = None,
) -> Source:
    if kinds:
        path = Path(name).expanduser() if isinstance(name, (str, os.PathLike)) else None
        if path is None or not path.is_file():
            raise InputError(
                f"kinds describe the columns of a table, and {_title(name)} is not a file: leave kinds out"
            )
        return read_file(path, kinds)
    if isinstance(name, (np.ndarray, Tensor)):
        return as_source(_title(name), name)
    if isinstance(name, Dataset):
        return as_source(_title(name), *gather(name))
    if isinstance(name, (str, os.PathLike)):
        return find(name, root=root, count=count)
    raise InputError(
        f"data of type {type(name).__name__} cannot be used: give a name, a path, an array, a tensor or a "
        "torch Dataset"
    )


# ------------------------------------------------------------------ labels


def _conditions(
    source: Source, labels: Splits | None, options: Options
) -> tuple[Splits | None, Tensor | None]:
    """The one-hot labels used as context, and the class indices (N,) observed in training."""
    if not (options.context or options.labels):
        return None, None
    if labels is None or source.classes is None:
        option = "context='labels'" if options.context else "labels=True"
        option = option if options.known is None else f"known={options.known}"
        raise InputError(f"{option} needs labels, and {source.name} has no labels: leave it out")
    classes = torch.tensor(source.classes)
    one_hot = labels.map(lambda part: (part[:, None] == classes).to(torch.float32))
    y = one_hot.train.argmax(-1) if options.labels else None
    if y is not None and options.known is not None:
        y = _known_only(y, len(classes), options.known, options.split_seed, source.name)
    return one_hot if options.context else None, y


def _known_only(y: Tensor, classes: int, known: int, seed: int, name: str) -> Tensor:
    """Keep `known` class indices, balanced over classes, and set the others to -1."""
    count = len(y)
    if known > count:
        raise InputError(f"known={known} is more than the {count} training rows of {name}: use fewer")
    shuffled = torch.randperm(count, generator=generator_of("known", seed))
    # The rank of a row in its class: the first row of each class comes first.
    one_hot = (y[shuffled, None] == torch.arange(classes)).to(torch.float32)
    order = one_hot.cumsum(0)[torch.arange(count), y[shuffled]]
    rows = shuffled[order.argsort(stable=True)[:known]]
    labels = torch.full_like(y, -1)
    labels[rows] = y[rows]
    return labels


# ------------------------------------------------------------------ names


def _plain_name(name: object) -> str | None:
    """A known name, or an absolute path; None for data in memory."""
    if not isinstance(name, (str, os.PathLike)):
        return None
    known = canonical(name) if isinstance(name, str) else None
    return known or os.path.abspath(os.path.expanduser(os.fspath(name)))


def _title(name: object) -> str:
    if isinstance(name, np.ndarray):
        return "the array"
    if isinstance(name, Tensor):
        return "the tensor"
    return type(name).__name__ if isinstance(name, Dataset) else repr(name)
