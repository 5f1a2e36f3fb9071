"""Reading of a stream ahead of the steps: in a thread, in other processes, or between steps.

    thread      reads the next block while steps use the current one, and also during validation
    processes   `workers` processes read batches of a torch `Dataset`, and the thread puts these
                into blocks
    no thread   with workers=0, or for a data set whose items are random: these draw from the global
                generators, so they are read between steps, one batch at a time

The rows do not depend on who reads them or when, unless the items are random. In the processes,
every batch of random items has its own seed.
"""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pyrovae.datasets import Rows
from pyrovae.datasets.streams import Stream
from pyrovae.errors import InputError
from pyrovae.training.blocks import Block, Blocks
from pyrovae.training.epochs import Epoch

if TYPE_CHECKING:
    from pyrovae.datasets import Data
    from pyrovae.training.settings import Settings
    from pyrovae.training.state import Position

__all__ = ["Ahead", "Reading"]

PATIENCE = 10.0  # seconds that the end of a run waits for an item that is being read
AHEAD = 4  # batches that each process reads ahead
LOST = "DataLoader worker"  # the start of torch's message when a process has ended


class Reading:
    """The batches of a stream from a position on; a context that ends its threads and processes.

    Arguments:
        data: streamed data.
        position: the first batch.
        settings: the seed and the batch size.
        epochs: the number of epochs after which nothing is read.
        wait: called repeatedly while waiting for a block.
    """

    def __init__(
        self,
        data: Data,
        position: Position,
        settings: Settings,
        *,
        epochs: int,
        wait: Callable[[], None] = lambda: None,
    ) -> None:
        assert isinstance(data.train, Stream)
        self.stream, self.size = data.train, settings.batch_size
        self.plan = Blocks(data, settings)
        self.place = Place(data.validation.x.device)
        workers = self.stream.workers
        fetched = None if not workers else _Fetched(self.stream, self.plan.keys(position, epochs), workers)
        items = self.plan.read(position, epochs, None if fetched is None else fetched.__next__)
        self.blocks: Iterator[Block] = items
        if workers != 0 and not self.stream.draws:
            self.blocks = Ahead(items, wait)
        self.helpers = [helper for helper in (self.blocks, fetched) if hasattr(helper, "close")]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        for helper in self.helpers:
            try:
                helper.close()  # type: ignore[union-attr]
            except RuntimeError as late:
                if LOST not in str(late):
                    raise
                error = late
                helper.close()  # type: ignore[union-attr]
        is_cut = bool(self.stream.workers) and isinstance(error, (EOFError, ConnectionError))
        if is_cut or (isinstance(error, RuntimeError) and LOST in str(error)):  # by torch, in any line
            raise _ended(self.stream, error)

    def batches(self) -> Iterator[tuple[Epoch, int]]:
        """The remaining batches of the next epoch, each with the `Epoch` of its block."""
        for block in self.blocks:
            rows = self.place.put(block.rows, is_block=block.first < self.plan.full)
            epoch = Epoch(rows, block.order, self.size, block.first, self.plan.share)
            for number in block.batches:
                yield epoch, number
            self.place.settle()
            if (block.first + block.batches.stop) * self.size >= len(self.stream):
                return


class Place:
    """The rows of a block for the steps: on a GPU always the same tensors, as in the CUDA graph.

    Arguments:
        device: the device of the steps.
        fixed: whether blocks are copied to the same tensors.
    """

    def __init__(self, device: torch.device, *, fixed: bool | None = None) -> None:
        self.device, self.fixed = device, device.type != "cpu" if fixed is None else fixed
        self.rows: Rows | None = None
        self.copied: torch.cuda.Event | None = None

    def put(self, rows: Rows, *, is_block: bool) -> Rows:
        """Rows on the device; copies from pinned memory are queued after the steps before."""
        if not self.fixed:
            return rows
        if not is_block:
            return rows.to(self.device)
        parts = {name: part for name, part in vars(rows).items() if part is not None}
        if self.rows is None:
            self.rows = Rows(**{n: torch.empty_like(part, device=self.device) for n, part in parts.items()})
        for name, part in parts.items():
            getattr(self.rows, name).copy_(part, non_blocking=True)
        if self.device.type == "cuda":
            self.copied = torch.cuda.Event()
            self.copied.record()
        return self.rows

    def settle(self) -> None:
        """Wait until the last rows are copied, since their memory will be used for other rows."""
        if self.copied is not None:
            self.copied.synchronize()


class Ahead:
    """Takes the next item of an iterator in a thread, while the current one is in use.

    Arguments:
        items: an iterator that only the thread uses.
        wait: called repeatedly while waiting for an item.
    """

    def __init__(self, items: Iterator[Any], wait: Callable[[], None] = lambda: None) -> None:
        self.items, self.wait = items, wait
        self.done: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self.turn = threading.Semaphore(1)
        self.is_closed = False
        self.thread = threading.Thread(target=self._run, name="pyrovae reading", daemon=True)
        self.thread.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:  # noqa: ANN401
        """The next item; an error of the iterator is raised here."""
        while True:
            try:
                kind, item = self.done.get(timeout=0.02)
                break
            except Empty:
                self.wait()
        self.turn.release()
        if kind == "error":
            raise item
        if kind == "end":
            raise StopIteration
        return item

    def close(self) -> None:
        """End the thread."""
        self.is_closed = True
        self.turn.release()
        self.thread.join(PATIENCE)

    def _run(self) -> None:
        try:
            with torch.no_grad():  # each thread has its own setting
                while self.turn.acquire() and not self.is_closed:
                    self.done.put(("item", next(self.items)))
        except StopIteration:
            self.done.put(("end", None))
        except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
            self.done.put(("error", error))


class _Fetched:
    """Batches of rows that other processes read.

    Arguments:
        stream: the data set.
        keys: the positions and a seed for each batch.
        workers: the number of processes.
    """

    def __init__(self, stream: Stream, keys: Iterator[tuple[Tensor, int]], workers: int) -> None:
        self.stream = stream
        loader: DataLoader[Any] = DataLoader(
            _Batches(stream),
            sampler=keys,  # type: ignore[arg-type]
            batch_size=None,
            num_workers=workers,
            prefetch_factor=AHEAD,
            collate_fn=_unchanged,
            worker_init_fn=_leave_signals,
            generator=torch.Generator(),  # so that the global generator is not used
        )
        self.batches: Iterator[Any] | None = iter(loader)

    def __next__(self) -> Tensor:
        """The rows of the next batch.

        Raises:
            InputError: for rows that cannot be read, or if a process has ended.
        """
        assert self.batches is not None
        try:
            x = next(self.batches)
        except RuntimeError as error:
            raise _ended(self.stream, error) from error
        if isinstance(x, Exception):
            raise x
        return x

    def close(self) -> None:
        """End the processes; the loader waits until nothing refers to it, not even a traceback."""
        shutdown = getattr(self.batches, "_shutdown_workers", None)
        if callable(shutdown):
            shutdown()
        self.batches = None


class _Batches(Dataset[Any]):
    """The batches of a stream; a process reads the one with a given key."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def __getitem__(self, key: tuple[Tensor, int]) -> Tensor | Exception:
        positions, seed = key
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            return self.stream.read(positions)
        except InputError as error:  # if it were raised, the loader would add a traceback
            return InputError(str(error))


def _ended(stream: Stream, error: BaseException | None) -> InputError:
    """The error for a process that ended unexpectedly."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    name = getattr(stream.dataset, "title", None) or type(stream.dataset).__name__
    return InputError(
        f"a process that reads {name} ended too early ({first.rstrip('. ')}): use fewer workers, or workers=0"
    )


def _unchanged(x: Any) -> Any:  # noqa: ANN401
    return x


def _leave_signals(_: int) -> None:
    """Leave Ctrl-C to the process that trains, which ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
