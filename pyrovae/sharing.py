"""Distributed work: each process takes some of the rows, and all processes get all results.

    evaluation   each process evaluates its rows; random numbers depend on the seed and the row
                 alone, so the results are those of one process
    training     each process takes its rows of every batch, and the gradients are added up
                 (`training.exchange`)

It needs torch.distributed to be initialised, by the command line under `torchrun` or by your own
script. When one process fails, all are informed; when one dies, the others end with `Lost` instead
of waiting for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pyrovae.errors import InputError, Lost, NumericalError, Uncapturable, visible

__all__ = [
    "Lost",
    "add_up",
    "agreed",
    "by_itself",
    "gathered",
    "in_turn",
    "is_first",
    "is_shared",
    "local_rank",
    "own_rows",
    "print_first",
    "processes",
    "rank",
    "together",
    "world",
]

T = TypeVar("T")

# Errors that are raised in every process; any other error is a bug and keeps its own traceback.
KNOWN = (InputError, NumericalError, Uncapturable)


# ------------------------------------------------------------------ the processes


@contextmanager
def processes() -> Iterator[None]:
    """Initialise the group of processes that `torchrun` started, unless there is one already.

    CPU tensors are sent by gloo; GPU tensors by NCCL if each process of a machine has its own GPU.
    """
    started = all(os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
    if not started or int(os.environ["WORLD_SIZE"]) < 2 or dist.is_initialized():
        yield
        return
    own_gpus = torch.cuda.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > local_rank()
    if own_gpus:
        torch.cuda.set_device(local_rank())
    dist.init_process_group("cpu:gloo,cuda:nccl" if own_gpus else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def is_shared() -> bool:
    """Whether there are other processes."""
    return world() > 1


def is_first() -> bool:
    """Whether this process writes and prints."""
    return rank() == 0


def print_first(*things: object) -> None:
    """Print a line for each thing, from the first process only."""
    if is_first():
        print(*(visible(thing, lines=True) for thing in things), sep="\n", flush=True)


@contextmanager
def by_itself() -> Iterator[None]:
    """Inside the context this process works as if there were no others, which wait for it."""
    token = _by_itself.set(True)
    try:
        yield
    finally:
        _by_itself.reset(token)


_by_itself = ContextVar("by_itself", default=False)


def world() -> int:
    """The number of processes."""
    if _by_itself.get():
        return 1
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The index of this process, from 0."""
    if _by_itself.get():
        return 0
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def local_rank() -> int:
    """The index of this process among those of its machine, as torchrun numbers them."""
    return int(os.environ.get("LOCAL_RANK") or rank())


def own_rows(count: int) -> Tensor:
    """The rows that this process evaluates."""
    return torch.arange(count)[rank() :: world()]


# ------------------------------------------------------------------ what is exchanged


def together(work: Callable[[], T]) -> T:
    """Run `work` in every process and wait for all; when one fails, all fail.

    Raises:
        InputError, NumericalError, Uncapturable: in every process when one raised it.
        Lost: when another process ended or raised any other error.
    """
    if not is_shared():
        return work()
    result, error = None, None
    try:
        result = work()
    except Lost:
        raise
    except Exception as raised:
        error = raised
    _raise_any(_everyone(_sendable(error)), error)
    return result  # type: ignore[return-value]


def in_turn(work: Callable[[], T]) -> T:
    """As `together`, but the first process of each machine runs before the others."""
    leads = local_rank() == 0
    first = together(work if leads else _nothing)
    second = together(_nothing if leads else work)
    return first if leads else second  # type: ignore[return-value]


def agreed(choice: Any) -> Any:  # noqa: ANN401
    """Return the first process's choice in every process.

    Raises:
        Lost: when another process ended.
    """
    if not is_shared():
        return choice
    box = [choice]
    with _lost():
        dist.broadcast_object_list(box, src=0)
    return box[0]


def add_up(vector: Tensor) -> Tensor:
    """Replace a vector by the sum of all processes' vectors.

    Raises:
        Lost: when another process ended.
    """
    if is_shared():
        with _lost():
            dist.all_reduce(vector)
    return vector


def gathered(columns: Callable[[], Tensor], count: int) -> Tensor:
    """Compute each process's columns and return those of all processes, (R, count).

    Raises:
        InputError: in every process when one raised it, so that none waits for it.
        Lost: when another process ended.
    """
    if not is_shared():
        return columns()
    own: Tensor | Exception
    error: Exception | None = None
    try:
        own = columns()
    except KNOWN as raised:
        own = error = raised
    parts = _everyone(own)
    _raise_any([part if isinstance(part, Exception) else None for part in parts], error)
    whole = parts[0].new_empty(parts[0].shape[0], count)
    for number, part in enumerate(parts):
        whole[:, number :: world()] = part
    return whole


# ------------------------------------------------------------------ pieces


def _nothing() -> None:
    return None


def _everyone(own: Any) -> list[Any]:  # noqa: ANN401
    parts: list[Any] = [None] * world()
    with _lost():
        dist.all_gather_object(parts, own)
    return parts


def _sendable(error: Exception | None) -> Exception | None:
    """The error that is sent to the other processes: not every exception can be pickled."""
    if error is None or isinstance(error, KNOWN):
        return error
    return Lost(f"process {rank()} of this run failed with {type(error).__name__}: {_first_line(error)}")


def _raise_any(errors: Sequence[Exception | None], own: Exception | None) -> None:
    """Raise the first error of all processes; an unknown error of this one goes first."""
    if own is not None and not isinstance(own, KNOWN):
        raise own
    for error in errors:
        if error is not None:
            raise error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


@contextmanager
def _lost() -> Iterator[None]:
    """Turn torch's errors about a broken connection into `Lost`."""
    try:
        yield
    except RuntimeError as error:
        if any(word in str(error) for word in ("closed by peer", "reset by peer", "Broken pipe")):
            raise Lost("another process of this run ended") from error
        reason = _first_line(error)
        raise Lost(f"the processes of this run cannot reach each other ({reason})") from error
