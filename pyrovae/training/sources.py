"""The fingerprint of the data of a run, by which changed data are recognised.

A run stores hashes of the values of each part and of their row numbers. A file to which a row was
added, or in which a value changed, gives another split or other values, and so another fingerprint.
Runs of older versions stored the hash of the training rows only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.cures import cure, scoring
from pyrovae.datasets.fingerprints import fingerprint
from pyrovae.datasets.streams import Stream
from pyrovae.errors import InputError
from pyrovae.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from pyrovae.datasets import Data, Rows

__all__ = ["check_source", "source_of"]


def source_of(data: Data) -> dict[str, str | None]:
    """Hashes of the parts of a data set; validation and test rows are hashed in float32."""
    parts = (data.train, data.validation, data.test)
    numbers = [part.index for part in parts if part.index is not None]
    return {
        "train": data.record.get("fingerprint"),
        "validation": _hash(data.validation.x),
        "test": _hash(data.test.x),
        "context": _contexts(data),
        "labels": _labels(data),
        "split": _hash(torch.cat([n.cpu() for n in numbers])) if len(numbers) == 3 else None,
    }


def check_source(data: Data, saved: Checkpoint, run: object) -> None:
    """Refuse data that are not those of a run.

    Raises:
        InputError: with what has changed, and how to score new rows.
    """
    before: Mapping[str, Any] = saved.identity.get("data") or {}
    named = cure("data=", "--data")
    how = f"give the data as they were with {named}, or score all rows of a file with {scoring(run)}"
    rows, now = before.get("rows"), data.record["rows"]
    if rows is not None and dict(rows) != dict(now):
        total, is_now = sum(rows.values()), sum(now.values())
        raise InputError(
            f"{data.name} has changed, or is not the data of {run}: the run has {total:,} rows and this has "
            f"{is_now:,}; {how}"
        )
    changed = _changed(data, before.get("fingerprint"), saved.source or {})
    if changed:
        raise InputError(
            f"{data.name} has changed, or is not the data of {run}: the {changed} are different; {how}"
        )


def _changed(data: Data, train: str | None, source: Mapping[str, str | None]) -> str | None:
    """The part that differs, in words."""
    now = source_of(data)
    if train is not None and train not in (now["train"], _single(data)):
        return "training rows"
    words = {
        "validation": "validation rows",
        "test": "test rows",
        "context": "contexts",
        "labels": "labels",
        "split": "row numbers",
    }
    if now["labels"] is None:  # data that have moved may have no labels
        del words["labels"]
    return next((words[name] for name in words if source.get(name) not in (None, now[name])), None)


def _single(data: Data) -> str | None:
    """The hash of the training rows in float32, which older versions stored."""
    return None if isinstance(data.train, Stream) else _hash(_of_distinct(data).x)


def _of_distinct(data: Data) -> Rows:
    assert not isinstance(data.train, Stream)
    return data.train[: data.distinct]


def _contexts(data: Data) -> str | None:
    contexts = [data.train.context, data.validation.context, data.test.context]
    known = [context.detach().cpu().float() for context in contexts if context is not None]
    return _hash(torch.cat(known)) if known else None


def _labels(data: Data) -> str | None:
    known = None if data.labels is None else (data.labels.train, data.labels.validation, data.labels.test)
    return None if known is None else _hash(torch.cat([part.cpu() for part in known]))


def _hash(x: Tensor) -> str:
    with np.errstate(over="ignore"):
        return fingerprint(x.detach().cpu().float())
