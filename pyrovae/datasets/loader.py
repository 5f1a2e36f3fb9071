"""`load`: from a name to three prepared parts.

    find rows -> check, scale -> split by a seed -> prepare validation and test once -> Data

The same arguments give the same numbers, on every machine.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pyrovae.datasets.catalogue import canonical, find
from pyrovae.datasets.data import Data, Splits
from pyrovae.datasets.files import read_file
from pyrovae.datasets.preparation import Preparation, generator_of
from pyrovae.datasets.source import Source, as_source, refuse_not_finite
from pyrovae.datasets.split import parts
from pyrovae.datasets.streams import Rows, gather, is_large, length, stored_labels
from pyrovae.datasets.toys import TOYS
from pyrovae.errors import InputError

__all__ = ["load"]

STREAM_ROWS = 10_000


def load(
    name: str | os.PathLike[str] | np.ndarray | Tensor | Dataset[Any],
    *,
    root: str | os.PathLike[str] | None = None,
    binarize: Literal["dynamic", "static", "threshold"] | None = None,
    dequantize: bool = False,
    validation: int | float | None = None,
    test: int | float | None = None,
    split_seed: int = 0,
    context: Literal["labels"] | None = None,
    known: int | None = None,
    copies: int = 1,
    count: int | None = None,
    kinds: dict[str, str] | None = None,
    stream: bool | None = None,
) -> Data:
    """Training, validation and test set from a name, a file, a folder, an array or a torch `Dataset`.

    Arguments:
        name: a known name (`known()`); a .npy, .npz, .csv or .parquet file; a folder of images; rows as
            an array or a tensor, (N, ...); or a torch `Dataset` of tensors or (tensor, label) pairs.
        root: folder of the known image sets in torchvision's layout; default the variable PYROVAE_DATA,
            else the user's cache folder.
        binarize: "dynamic" (training set anew each epoch), "static" (once), "threshold" (at 1/2) or None;
            for values in [0, 1].
        dequantize: add uniform noise below the last integer level, training set anew each epoch.
        validation: rows (int) or share (float); default a tenth, beside an own test set up to 10,000.
        test: rows (int) or share (float); default a fifth, or the set's own test set.
        split_seed: of the split, and of everything that is drawn once.
        context: "labels" gives one-hot labels to a conditional program.
        known: of these keep so many, of each class alike and in the training set only; the others are rows of
            zeros, for a prior with labels=True.
        copies: how many times each row with a known label stands in the training set, so that batches hold
            some.
        count: rows to draw (toys, default 5,000) or to keep in all (an own test set shrinks in proportion).
        kinds: what columns of a table hold, where their values mislead, as in {"zip": "categorical"}; the
            words are those of `pyrovae.likelihoods.Mixed`.
        stream: read a torch `Dataset` row by row; None does so from 2 GB on.

    Returns:
        A `Data`, all of its values float32.

    Raises:
        InputError: for anything that cannot be used, in one sentence.

    Example:
        >>> load("digits", binarize="threshold")  # doctest: +ELLIPSIS
        Data(digits): 1,257 train, 180 validation, 360 test
          event shape (1, 8, 8), 10 classes
          0..16 divided by 16; binarised at 1/2
          split seed 0, fingerprint ...
    """
    if context not in (None, "labels"):
        raise InputError(f"context={context!r} is not known: use 'labels' or None")
    if stream and not isinstance(name, Dataset):
        raise InputError(
            f"stream=True was asked for {_title(name)}, which is held in memory: leave stream out"
        )
    _check_known(known, context, copies)
    declaration = {
        "data": _plain_name(name),
        "root": None if root is None else os.path.abspath(os.path.expanduser(os.fspath(root))),
        "binarize": binarize,
        "dequantize": dequantize,
        "validation": validation,
        "test": test,
        "split_seed": split_seed,
        "context": context,
        "known": known,
        "copies": copies,
        "count": count,
        "kinds": None if kinds is None else dict(kinds),
    }
    if isinstance(name, Dataset) and (is_large(name) if stream is None else stream):
        return _streamed(name, declaration)
    return _held(_source(name, root=root, count=count, kinds=kinds), declaration)


def _held(source: Source, declaration: dict[str, Any]) -> Data:
    cut = parts(
        len(source.x),
        **_sizes(declaration),
        count=None if source.name in TOYS else declaration["count"],
        own_test=None if source.test_x is None else len(source.test_x),
        held_out=source.held_out,
    )
    labels = None
    if source.labels is not None:
        tests = source.labels if source.test_labels is None else source.test_labels
        labels = Splits(source.labels[cut.train], source.labels[cut.validation], tests[cut.test])
    tests = source.x if source.test_x is None else source.test_x
    grey = Splits(source.x[cut.train], source.x[cut.validation], tests[cut.test])
    data = _data(source, grey, labels, declaration)
    return data if declaration["copies"] == 1 else _repeated(data, declaration["copies"])


def _repeated(data: Data, copies: int) -> Data:
    """The rows of the training set whose label is known once more behind it, and so often."""
    assert data.context is not None
    assert data.labels is not None
    assert isinstance(data.train, Tensor)
    some = data.context.train.sum(-1).nonzero().squeeze(-1).repeat(copies - 1)
    rows = torch.cat([torch.arange(len(data.train)), some])
    counts = data.record["rows"] | {"train": len(rows)}
    return replace(
        data,
        train=data.train[rows],
        labels=replace(data.labels, train=data.labels.train[rows]),
        context=replace(data.context, train=data.context.train[rows]),
        record=data.record | {"rows": counts, "repeated": len(some)},
    )


def _streamed(dataset: Dataset[Any], declaration: dict[str, Any]) -> Data:
    cut = parts(length(dataset), **_sizes(declaration), count=declaration["count"], at_most=STREAM_ROWS)
    held, pair_labels = gather(dataset, torch.cat([cut.validation, cut.test]))
    source = as_source(_title(dataset), held, pair_labels)
    every = stored_labels(dataset)
    labels = None if every is None else Splits(*(every[part] for part in cut))
    if every is not None:
        source = Source(**{**vars(source), "classes": tuple(every.unique().tolist())})
    elif declaration["context"]:
        raise InputError(
            f"{source.name} streams and its labels are not known without reading all of it: give it an "
            "attribute `targets` with one label for each row, or leave context out"
        )
    if declaration["copies"] > 1:
        raise InputError(f"{source.name} streams, and copies are of rows held in memory: leave copies out")
    rows = Rows(
        dataset,
        cut.train,
        tuple(source.x.shape[1:]),
        divisor=source.levels - 1 if source.levels else 1,
        context=_context(source, labels, declaration).train if labels and declaration["context"] else None,
        static_seed=declaration["split_seed"] if declaration["binarize"] == "static" else None,
    )
    grey = Splits(source.x[:0], *source.x.split([len(cut.validation), len(cut.test)]))
    return _data(source, grey, labels, declaration, rows=rows)


def _data(
    source: Source, grey: Splits, labels: Splits | None, declaration: dict[str, Any], rows: Rows | None = None
) -> Data:
    """Prepare what is prepared once, and write down what was done."""
    preparation = Preparation(declaration["binarize"], bool(declaration["dequantize"]), source.levels)
    if preparation.binarize is not None:  # of a missing entry there is nothing to compare
        refuse_not_finite(source.x, source.name)
    seed = declaration["split_seed"]
    context = _context(source, labels, declaration) if declaration["context"] else None
    train: Tensor | Rows
    if rows is not None:
        train = rows
    elif preparation.each_epoch:
        preparation.check(grey.train)
        train = grey.train
    else:
        train = preparation.apply(grey.train, generator_of("train", seed))
    parts_of = {"train": train, "validation": grey.validation, "test": grey.test}
    return Data(
        name=source.name,
        event_shape=tuple(source.x.shape[1:]),
        train=train,
        validation=preparation.apply(grey.validation, generator_of("validation", seed)),
        test=preparation.apply(grey.test, generator_of("test", seed)),
        labels=labels,
        context=context,
        declaration=declaration,
        record={
            "name": source.name,
            "rows": {part: len(held) for part, held in parts_of.items()},
            "event_shape": list(source.x.shape[1:]),
            "scaling": source.scaling,
            "preparation": preparation.in_words,
            "levels": source.levels,
            "classes": len(source.classes) if source.classes and labels is not None else None,
            "known": declaration["known"],
            "split_seed": seed,
            "streams": rows is not None,
            "columns": source.columns and {column.name: column.kind for column in source.columns},
            "fingerprint": fingerprint(grey.validation if isinstance(train, Rows) else train),
        },
        binarize=preparation.binarize,
        levels=source.levels,
        dequantize=preparation.dequantize,
        columns=source.columns,
    )


def fingerprint(x: Tensor) -> str:
    """The first 16 hex digits of SHA-256 over shape and values, of evenly spaced rows beyond 256 MB."""
    step = -(-x.numel() // 2**26)
    digest = hashlib.sha256(repr(tuple(x.shape)).encode())
    digest.update(x[:: max(1, step)].contiguous().numpy().astype("<f4", copy=False).data)
    return digest.hexdigest()[:16]


def _source(
    name: str | os.PathLike[str] | np.ndarray | Tensor | Dataset[Any],
    *,
    root: str | os.PathLike[str] | None,
    count: int | None,
    kinds: Mapping[str, str] | None = None,
) -> Source:
    if kinds:
        path = Path(name).expanduser() if isinstance(name, (str, os.PathLike)) else None
        if path is None or not path.is_file():
            raise InputError(
                f"kinds are of the columns of a table, and {_title(name)} is no file: leave kinds out"
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


def _check_known(known: int | None, context: str | None, copies: int) -> None:
    if isinstance(copies, bool) or not isinstance(copies, Integral) or copies < 1:
        raise InputError(f"copies must be a whole number of 1 or more, not {copies!r}")
    if copies > 1 and known is None:
        raise InputError(f"copies={copies} are of rows with a known label: give known= too, or leave it out")
    if known is None:
        return
    if context is None:
        raise InputError(f"known={known} keeps so many of the labels: give context='labels' too")
    if isinstance(known, bool) or not isinstance(known, Integral) or known < 1:
        raise InputError(f"known must be a whole number of 1 or more, not {known!r}")


def _context(source: Source, labels: Splits | None, declaration: dict[str, Any]) -> Splits:
    """Labels as one-hot rows, (N, C), in the order of the classes; zeros where they are not known."""
    if labels is None or source.classes is None:
        raise InputError(f"context='labels' was asked for and {source.name} has no labels: leave context out")
    classes = torch.tensor(source.classes)
    rows = labels.map(lambda part: (part[:, None] == classes).to(torch.float32))
    known = declaration["known"]
    return rows if known is None else _few(rows, known, declaration["split_seed"], source.name)


def _few(rows: Splits, known: int, seed: int, name: str) -> Splits:
    """One-hot rows of which a few in the training set are kept, as many of each class as there can be."""
    count, classes = rows.train.shape
    if known > count:
        raise InputError(f"known={known} is more than the {count} training data of {name}: use fewer")
    shuffled = torch.randperm(count, generator=generator_of("known", seed))
    # The number of a row among those of its class: the first of each class come first.
    order = rows.train[shuffled].cumsum(0)[torch.arange(count), rows.train[shuffled].argmax(-1)]
    kept = shuffled[order.argsort(stable=True)[:known]]
    train = torch.zeros_like(rows.train)
    train[kept] = rows.train[kept]
    return Splits(train, torch.zeros_like(rows.validation), torch.zeros_like(rows.test))


def _sizes(declaration: dict[str, Any]) -> dict[str, Any]:
    return {
        "validation": declaration["validation"],
        "test": declaration["test"],
        "seed": declaration["split_seed"],
    }


def _plain_name(name: object) -> str | None:
    """What names the data in a file: a known name, or a path that holds from every folder."""
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
