"""Threads of one process take turns, because they share the state of torch and Pyro.

    alone          one thread runs, the others wait: for tracing, sampling, an evaluation
    taking_turns   for long work (a fit), which calls `give_way` between steps to let others run

Pyro has one stack of handlers and one parameter store for the whole process, and torch has one
random generator. Two threads that use them at the same time give wrong numbers or errors. Before
long work gives way, it restores the state that it found at the start. Afterwards it continues with
its own state. So its result is the same, bit for bit, as without other threads.

Only code that uses this module is protected. If your own thread draws random numbers or runs a
Pyro program while another thread trains, use `with alone:` around it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ContextDecorator, contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import distributions, infer, poutine
from pyro.poutine import runtime
from torch import Tensor

from pyrovae.errors import InputError

__all__ = ["alone", "claimed", "taking_turns"]

# Seconds between two chances for other threads; switching after every short step would be slower.
SLICE = 0.005


class _Alone(ContextDecorator):
    """A lock that a thread may take several times. Threads that wait get it next."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all threads, as in a process that was just forked."""
        self.door, self.lock = threading.Lock(), threading.Lock()
        self.owner: int | None = None
        self.depth = self.handlers = 0
        self.since = 0.0

    def __enter__(self) -> None:
        if self.owner != threading.get_ident():
            with self.door:  # the thread that waits at the lock comes before those at the door
                self.lock.acquire()
            self.owner, self.since = threading.get_ident(), time.monotonic()
            self.handlers = len(runtime._PYRO_STACK)
        self.depth += 1

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        self.depth -= 1
        if not self.depth:
            if kind is not None:  # other threads must not see the handlers of a failed call
                del runtime._PYRO_STACK[self.handlers :]
            self.owner = None
            self.lock.release()

    def pause(self) -> KeyboardInterrupt | None:
        """Let the next thread have the lock, then take it again; returns an interrupt, if any."""
        interrupt = None
        self.__exit__()
        while self.owner != threading.get_ident():
            try:
                self.__enter__()
            except KeyboardInterrupt as error:  # the caller needs the lock to exit
                interrupt = error
        return interrupt

    @property
    def is_awaited(self) -> bool:
        """Whether another thread has waited for a whole slice of time."""
        return self.door.locked() and time.monotonic() - self.since > SLICE


alone = _Alone()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=alone.reset)


@dataclass(frozen=True)
class _Shared:
    """The state that all threads of a process share."""

    random: Tensor
    cuda: list[Tensor]
    store: tuple[Any, ...]
    validation: tuple[bool, bool, bool]
    products: tuple[str, bool]

    @classmethod
    def now(cls) -> _Shared:
        store, modules = pyro.get_param_store(), (distributions, infer, poutine)
        return cls(
            torch.get_rng_state(),
            torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
            (store._params, store._param_to_name, store._constraints),
            tuple(module.is_validation_enabled() for module in modules),  # type: ignore[arg-type]
            (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32),
        )

    def put(self, *, store: bool = True) -> None:
        """Set the state; without `store` the parameter store stays as it is."""
        torch.set_rng_state(self.random)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
        for module, enabled in zip((distributions, infer, poutine), self.validation, strict=True):
            module.enable_validation(enabled)
        torch.set_float32_matmul_precision(self.products[0])
        torch.backends.cudnn.allow_tf32 = self.products[1]
        if store:
            own = pyro.get_param_store()
            own._params, own._param_to_name, own._constraints = self.store


class _Turns:
    """Long work that gives way to other threads.

    Attributes:
        outside: the shared state for the other threads.
    """

    def __init__(self) -> None:
        self.outside = _Shared.now()
        self.has_paused = self.has_store = False

    def give_way(self) -> None:
        """Let threads that wait run first; the shared state of this work does not change."""
        if not alone.is_awaited or alone.depth > 1:  # a caller that wants to be alone stays alone
            return
        own, self.has_paused = _Shared.now(), True
        # A program whose parameters are in Pyro's store shares the store with all threads.
        self.has_store = own.store[0] is not self.outside.store[0]
        self.outside.put(store=self.has_store)
        interrupt = alone.pause()
        self.outside = _Shared.now()
        own.put(store=self.has_store)
        if interrupt is not None:
            raise interrupt


@contextmanager
def taking_turns() -> Iterator[Callable[[], None]]:
    """Run alone, except in calls of the function that this yields.

    Example:
        >>> with taking_turns() as give_way:
        ...     first = torch.rand(2)
        ...     give_way()  # no other thread waits here
        ...     second = torch.rand(2)
    """
    with alone:
        turns = _Turns()
        try:
            yield turns.give_way
        finally:
            if turns.has_paused:  # others may have drawn random numbers in the meantime
                turns.outside.put(store=turns.has_store)


_CLAIMED: set[int] = set()


@contextmanager
def claimed(objects: Iterable[object], use: str, cure: str) -> Iterator[None]:
    """Reserve objects that this fit changes, such as the tensors that it trains.

    Arguments:
        objects: the objects.
        use: what another fit does with them, for the error.
        cure: what to do about it.

    Raises:
        InputError: when another fit has reserved one of them.
    """
    own = {id(each) for each in objects}
    if own & _CLAIMED:
        raise InputError(f"another fit {use} in another thread: wait for it, or {cure}")
    _CLAIMED.update(own)
    try:
        yield
    finally:
        _CLAIMED.difference_update(own)
