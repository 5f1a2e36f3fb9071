"""Several processes share the data: each evaluates its rows, and every one gets all the answers.

Nothing happens unless torch.distributed is initialised (`torchrun` does so through the command line).
Draws depend on the seed and the datum alone, so the numbers are those of one process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pyrovae.errors import InputError

__all__ = ["agreed", "gathered", "is_first", "is_shared", "own_rows"]


def own_rows(count: int) -> Tensor:
    """The rows that this process evaluates."""
    return torch.arange(count)[_rank() :: _world()]


def gathered(columns: Callable[[], Tensor], count: int) -> Tensor:
    """The columns of all processes, (R, count), from what computes each one's own.

    Raises:
        InputError: in every process when one had it, so that none waits for it.
    """
    if not is_shared():
        return columns()
    own: Tensor | InputError
    try:
        own = columns()
    except InputError as error:
        own = error
    parts: list[Any] = [None] * _world()
    dist.all_gather_object(parts, own)
    for part in parts:
        if isinstance(part, InputError):
            raise part
    whole = parts[0].new_empty(parts[0].shape[0], count)
    for rank, part in enumerate(parts):
        whole[:, rank :: _world()] = part
    return whole


def agreed(choice: Any) -> Any:  # noqa: ANN401
    """The first process's choice, in every process."""
    if not is_shared():
        return choice
    box = [choice]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def is_shared() -> bool:
    """Whether there are other processes."""
    return _world() > 1


def is_first() -> bool:
    """Whether this process writes and prints."""
    return _rank() == 0


def _world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
