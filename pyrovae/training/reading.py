"""Reading of a stream ahead of the steps: in a thread, in other processes, or between steps.

    thread      reads the next block while steps use the last one, also during validation
    processes   `workers` of them read batches of a torch `Dataset`, and the thread puts these into
                blocks
    no thread   for a data set that draws random numbers: these come from the generators of the
                program, so it is read in the same order as without blocks

What is read does not depend on which of these reads it, or when. In a process, every batch has its
own seed.
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
LOST = "DataLoader worker"  # how the message begins with which torch reports a process that ended


class Reading:
    """The batches of a stream, from a position up to an epoch; a context that ends its helpers.

    Arguments:
        data: streamed data.
        position: the first batch.
        settings: the seed and the batch size.
        epochs: the number of epochs after which nothing is read.
        wait: called again and again while a block is awaited.
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
            helper.close()  # type: ignore[union-attr]
        if isinstance(error, RuntimeError) and LOST in str(error):  # from a handler of torch, in any line
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
    """Where steps find a block: on a GPU always in the same tensors, which compiled steps know.

    Arguments:
        device: the device of the steps.
        fixed: whether blocks are copied to the same tensors.
    """

    def __init__(self, device: torch.device, *, fixed: bool | None = None) -> None:
        self.device, self.fixed = device, device.type != "cpu" if fixed is None else fixed
        self.rows: Rows | None = None
        self.copied: torch.cuda.Event | None = None

    def put(self, rows: Rows, *, is_block: bool) -> Rows:
        """Rows on the device. Copies from pinned memory wait for the steps before them."""
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
        """Wait until the last rows were copied, as their memory is used again for others."""
        if self.copied is not None:
            self.copied.synchronize()


class Ahead:
    """Takes the next item of an iterator in a thread, while the last one is in use.

    Arguments:
        items: an iterator, which only the thread uses.
        wait: called again and again while an item is awaited.
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
            with torch.no_grad():  # a setting of the thread
                while self.turn.acquire() and not self.is_closed:
                    self.done.put(("item", next(self.items)))
        except StopIteration:
            self.done.put(("end", None))
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            self.done.put(("error", error))


class _Fetched:
    """Rows that processes read.

    Arguments:
        stream: the data set.
        keys: positions and a seed for each batch.
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
            generator=torch.Generator(),  # so that it does not use that of the program
        )
        self.batches: Iterator[Any] | None = iter(loader)

    def __next__(self) -> Tensor:
        """The rows of the next batch.

        Raises:
            InputError: from reading, or if a process ended.
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
        """End the processes; the loader would do so only when no traceback refers to it."""
        shutdown = getattr(self.batches, "_shutdown_workers", None)
        if callable(shutdown):
            shutdown()
        self.batches = None


class _Batches(Dataset[Any]):
    """The batches of a stream, each read by its key in a process."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def __getitem__(self, key: tuple[Tensor, int]) -> Tensor | Exception:
        positions, seed = key
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            return self.stream.read(positions)
        except InputError as error:  # a loader would add a traceback to its message
            return InputError(str(error))


def _ended(stream: Stream, error: RuntimeError) -> InputError:
    """The error for a process that ended before it was asked to."""
    name = getattr(stream.dataset, "title", None) or type(stream.dataset).__name__
    return InputError(
        f"a process that reads {name} ended too early ({str(error).splitlines()[0].rstrip('. ')}): use fewer "
        "workers, or workers=0"
    )


def _unchanged(x: Any) -> Any:  # noqa: ANN401
    return x


def _leave_signals(_: int) -> None:
    """Leave Ctrl-C to the process that trains, which ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
