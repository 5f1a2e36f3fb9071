"""Check that a network computes each row from this row alone, and say what to change if not.

    f([a, b]), f([a, c])    row 1 must be the same
    f([a, b]), f([c, b])    row 2 must be the same
    f([a, b]), f([a])       row 1 must be the same

Otherwise log p(x) of a row would depend on the rows that happen to be in its batch. Recurrent and
attention layers of torch read the first dimension as time unless they have `batch_first=True`, and
batch normalisation in training mode uses the mean of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Coupling", "coupling", "cure"]

# The largest relative difference that rounding explains; rounding may depend on the other rows.
TOLERANCE = 1e-4
_BATCH_NORM = nn.modules.batchnorm._BatchNorm
_LAYERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)

Run = Callable[[list[int]], Sequence[Tensor]]


class Coupling(NamedTuple):
    """How one row of a batch changes with another: what changed, and by how much."""

    what: str
    size: float

    def __str__(self) -> str:
        return f"{self.what}, by {self.size:.2g}"


def coupling(run: Run) -> Coupling | None:
    """The first way in which rows influence each other, or None.

    Arguments:
        run: a function of positions in three rows a, b, c. It returns tensors with these rows in
            their first dimension, and is called with the same random state each time.

    Example:
        >>> x = torch.tensor([1.0, 2.0, 4.0])
        >>> coupling(lambda rows: [x[rows] ** 2]) is None
        True
        >>> print(coupling(lambda rows: [x[rows] - x[rows].mean(0)]))
        row 1 changes when row 2 does, by 1
    """
    base = _seeded(run, [0, 1])
    if any(_difference(base, _seeded(run, [0, 1]), row) for row in (0, 1)):
        return None  # it changes from call to call
    for rows, row, what in (
        ([0, 2], 0, "row 1 changes when row 2 does"),
        ([2, 1], 1, "row 2 changes when row 1 does"),
    ):
        size = _difference(base, _seeded(run, rows), row)
        if size:
            return Coupling(what, size)
    if _difference(base, _seeded(run, [0, 1], seed=1), 0):
        return None  # its own random numbers differ for another number of rows
    with suppress(Exception):  # a layer that refuses a single row
        size = _difference(base, _seeded(run, [0]), 0)
        if size:
            return Coupling("row 1 changes when row 2 is left out", size)
    return None


def _seeded(run: Run, rows: list[int], seed: int = 0) -> list[Tensor]:
    torch.default_generator.manual_seed(seed)
    return [tensor.detach() for tensor in run(rows)]


def _difference(one: Sequence[Tensor], two: Sequence[Tensor], row: int) -> float:
    """The largest difference of a row between two results, 0 where rounding explains it."""
    largest = 0.0
    for a, b in zip(one, two, strict=True):
        if not a[row].numel():
            continue
        difference = float(torch.nan_to_num(a[row] - b[row]).abs().max())
        scale = 1 + float(torch.nan_to_num(a[row], posinf=0, neginf=0).abs().max())
        largest = max(largest, difference if difference > TOLERANCE * scale else 0.0)
    return largest


def cure(module: nn.Module | None, *, training: bool) -> str:
    """What to change in a network whose rows influence each other in this mode."""
    parts = [] if module is None else list(module.modules())
    for part in parts:
        if _reads_time_first(part):
            return (
                f"declare its {type(part).__name__} with batch_first=True, since the first dimension is rows"
            )
    for part in parts:
        if training and isinstance(part, _BATCH_NORM):
            return f"replace its {type(part).__name__} by GroupNorm or LayerNorm"
    return "compute each row from itself, without a mean, a softmax or an order over the first dimension"


def _reads_time_first(part: nn.Module) -> bool:
    if isinstance(part, _LAYERS):
        part = part.self_attn
    kinds = (nn.RNNBase, nn.MultiheadAttention, nn.Transformer)
    return isinstance(part, kinds) and not part.batch_first
