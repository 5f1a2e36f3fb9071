"""Copies of the training rows with a known label, so that every batch has some."""

from __future__ import annotations

from dataclasses import replace

import torch

from pyrovae.datasets.data import Data
from pyrovae.datasets.rows import Rows
from pyrovae.memory import refuse_too_large

__all__ = ["repeated"]


def repeated(data: Data, copies: int) -> Data:
    """Append training rows with a known label until there are `copies` of each.

    Raises:
        InputError: if they do not fit into memory.
    """
    assert isinstance(data.train, Rows)
    assert data.train.y is not None
    assert data.labels is not None
    labelled = (data.train.y >= 0).nonzero().squeeze(-1)
    count = len(labelled) * (copies - 1)
    each = data.train.x[:1].numel() * data.train.x.element_size() + 4 * 8  # with label and indices
    refuse_too_large(f"{count:,} copies of rows with a label", count * each)
    labelled = labelled.repeat(copies - 1)
    rows = torch.cat([torch.arange(len(data.train)), labelled])
    factors = data.factors and replace(data.factors, train=data.factors.train.take(rows))
    counts = data.record["rows"] | {"train": len(rows)}
    return replace(
        data,
        train=data.train[rows],
        labels=replace(data.labels, train=data.labels.train[rows]),
        factors=factors,
        record=data.record | {"rows": counts, "repeated": len(labelled)},
    )
