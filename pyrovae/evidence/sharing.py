"""Several processes share the data: each evaluates its rows, and every one gets all the answers.

Nothing happens unless torch.distributed is initialised (`torchrun` does so through the command line).
Draws depend on the seed and the datum alone, so the numbers are those of one process.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["gathered", "is_first", "own_rows"]


def own_rows(count: int) -> Tensor:
    """The rows that this process evaluates."""
    return torch.arange(count)[_rank() :: _world()]


def gathered(columns: Tensor, count: int) -> Tensor:
    """The columns of all processes, (R, count), from each one's own."""
    if _world() == 1:
        return columns
    parts: list[Tensor] = [torch.empty(0)] * _world()
    dist.all_gather_object(parts, columns)
    whole = columns.new_empty(columns.shape[0], count)
    for rank, part in enumerate(parts):
        whole[:, rank :: _world()] = part
    return whole


def is_first() -> bool:
    """Whether this process writes and prints."""
    return _rank() == 0


def _world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
