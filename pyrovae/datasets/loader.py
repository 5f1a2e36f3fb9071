"""`load`: from a name to three prepared parts.

    find rows -> check, scale -> split by a seed -> prepare validation and test once -> Data

The same arguments give the same numbers, on every machine.
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
from pyrovae.datasets.source import Source, as_source, refuse_not_finite
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
    """The arguments of `load` in plain values, with which it gives the same data again."""

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
        """Refuse options that have no meaning."""
        one_of("context", self.context, ("labels", None))
        one_of("labels", self.labels, (True, False))
        for name, check in _NUMBERS.items():
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else check(name, value))
        if self.known is None and self.copies > 1:
            raise InputError(
                f"copies={self.copies} repeats rows with a known label: give known= too, or leave it out"
            )

    def parts_of(self, rows: int, **more: Any) -> Parts:  # noqa: ANN401
        """The split of this number of rows."""
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
        name: a known name (`known()`); a .npy, .npz, .csv or .parquet file; a folder of images; rows as
            an array or a tensor, (N, ...); or a torch `Dataset` of tensors or (tensor, label) pairs.
        root: folder of the known image sets in torchvision's layout; by default the variable PYROVAE_DATA,
            else the user's cache folder.
        binarize: "dynamic" (training set again every epoch), "static" (once), "threshold" (at 1/2) or None;
            for values in [0, 1].
        dequantize: add uniform noise below the last integer level, to the training set again every epoch.
        validation: rows (int) or share (float); by default a tenth, with an own test set up to 10,000.
        test: rows (int) or share (float); by default a fifth, or the set's own test set.
        split_seed: of the split, and of everything that is drawn once.
        context: "labels" gives one-hot labels as context to a conditional program, p(x|c).
        labels: give the labels of the training set as y, which a prior with labels=True observes.
            Validation and test rows have none, so that bounds on them are on log p(x).
        known: keep only this many of these labels, balanced over classes; the others are -1.
        copies: how many times each row with a known label is in the training set, so that batches hold some.
        count: rows to draw (toys, 5,000 by default) or to keep in all (an own test set shrinks in
            proportion).
        kinds: what columns of a table hold, where their values mislead, as in {"zip": "categorical"}; the
            words are those of `pyrovae.likelihoods.Mixed`.
        stream: read a torch `Dataset` row by row; None does so from 2 GB on.

    Returns:
        A `Data`, with values in float32.

    Raises:
        InputError: for anything that cannot be used, in one sentence.

    Example:
        >>> load("digits", binarize="threshold")  # doctest: +ELLIPSIS
        Data(digits): 1,257 train, 180 validation, 360 test
          event shape (1, 8, 8), 10 classes
          0..16 divided by 16; binarised at 1/2
          split seed 0, fingerprint ...
    """
    if stream and not isinstance(name, Dataset):
        raise InputError(
            f"stream=True was asked for {_title(name)}, which is held in memory: leave stream out"
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
        labels=labels or known is not None,
        known=known,
        copies=copies,
        count=count,
        kinds=None if kinds is None else dict(kinds),
    )
    if isinstance(name, Dataset) and (is_large(name) if stream is None else stream):
        return _streamed(name, options)
    return _held(_source(name, root=root, count=options.count, kinds=kinds), options)


def _held(source: Source, options: Options) -> Data:
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
    """The training rows whose label is known repeated behind the others, until there are `copies` of each."""
    assert isinstance(data.train, Rows)
    assert data.train.y is not None
    assert data.labels is not None
    some = (data.train.y >= 0).nonzero().squeeze(-1).repeat(copies - 1)
    rows = torch.cat([torch.arange(len(data.train)), some])
    counts = data.record["rows"] | {"train": len(rows)}
    return replace(
        data,
        train=data.train[rows],
        labels=replace(data.labels, train=data.labels.train[rows]),
        record=data.record | {"rows": counts, "repeated": len(some)},
    )


def _streamed(dataset: Dataset[Any], options: Options) -> Data:
    if options.copies > 1:
        raise InputError(
            f"{_title(dataset)} streams, and copies are of rows held in memory: leave copies out"
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
            f"{source.name} streams and its labels are not known without reading all of it: give it an "
            "attribute `targets` with one label for each row, or leave context and labels out"
        )
    context, y = _conditions(source, labels, options)
    stream = Stream(
        dataset,
        cut.train,
        tuple(source.x.shape[1:]),
        divisor=source.levels - 1 if source.levels else 1,
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
    """Prepare what is prepared once, and write down what was done."""
    preparation = Preparation(options.binarize, options.dequantize, source.levels)
    if preparation.binarize is not None:  # a missing entry cannot be compared
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
    """Validation and test rows, and training rows unless they are drawn again every epoch or stream."""
    train = grey.train
    if not streams and preparation.each_epoch:
        preparation.check(train)
    elif not streams:
        train = preparation.apply(train, generator_of("train", seed))
    validation = preparation.apply(grey.validation, generator_of("validation", seed))
    return Splits(train, validation, preparation.apply(grey.test, generator_of("test", seed)))


def fingerprint(x: Tensor) -> str:
    """The first 16 hex digits of SHA-256 over shape and values, of evenly spaced rows beyond 256 MB."""
    step = -(-x.numel() // 2**26)
    digest = hashlib.sha256(repr(tuple(x.shape)).encode())
    digest.update(x[:: max(1, step)].contiguous().numpy().astype("<f4", copy=False).data)
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
                f"kinds are of the columns of a table, and {_title(name)} is not a file: leave kinds out"
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
    """The one-hot labels that are a context, and the class indices (N,) that are observed in training."""
    if not (options.context or options.labels):
        return None, None
    if labels is None or source.classes is None:
        asked = "context='labels'" if options.context else "labels=True"
        asked = asked if options.known is None else f"known={options.known}"
        raise InputError(f"{asked} asks for labels, and {source.name} has no labels: leave it out")
    classes = torch.tensor(source.classes)
    one_hot = labels.map(lambda part: (part[:, None] == classes).to(torch.float32))
    y = one_hot.train.argmax(-1) if options.labels else None
    if y is not None and options.known is not None:
        y = _few(y, len(classes), options.known, options.split_seed, source.name)
    return one_hot if options.context else None, y


def _few(y: Tensor, classes: int, known: int, seed: int, name: str) -> Tensor:
    """Class indices of which only `known` are kept, balanced over classes; the others are -1."""
    count = len(y)
    if known > count:
        raise InputError(f"known={known} is more than the {count} training rows of {name}: use fewer")
    shuffled = torch.randperm(count, generator=generator_of("known", seed))
    # The number of a row among those of its class: the first of each class come first.
    one_hot = (y[shuffled, None] == torch.arange(classes)).to(torch.float32)
    order = one_hot.cumsum(0)[torch.arange(count), y[shuffled]]
    kept = shuffled[order.argsort(stable=True)[:known]]
    few = torch.full_like(y, -1)
    few[kept] = y[kept]
    return few


# ------------------------------------------------------------------ names


def _plain_name(name: object) -> str | None:
    """What names the data in a file: a known name, or an absolute path."""
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
