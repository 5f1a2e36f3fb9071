"""When to compile.

compile=False    never
compile=True     at once; raise an error if that is not possible
compile="auto"   after a few timed calls, if the remaining calls will save more than tracing and
                 compiling cost
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from pyrovae.checks import one_of
from pyrovae.compiling.native import compile_seconds

__all__ = ["Compile", "When", "check_option"]

Compile = bool | Literal["auto"]

TRACING_SECONDS = 4.0
# Compiled code saves at least the share SAVED of a call, as docs/performance.md shows. A short call
# saves more, since Pyro's handlers alone take more than OVERHEAD seconds, or the share MOST of it.
SAVED, OVERHEAD, MOST = 0.25, 0.003, 0.6


def check_option(compile: Any) -> None:  # noqa: ANN401
    """Check that `compile` is True, False or "auto".

    Raises:
        InputError: otherwise.
    """
    one_of("compile", compile, (True, False, "auto"))


class When:
    """Times calls to decide whether compiling pays.

    Arguments:
        compile: True, False or "auto".
        timed: the number of calls timed before "auto" chooses; the first is ignored.

    Attributes:
        is_open: whether the choice is still open.
        seconds: the times of the calls.
    """

    def __init__(self, compile: Compile, timed: int) -> None:
        self.insists = compile is True
        self.is_open = compile is not False
        self.timed = timed
        self.seconds: list[float] = []

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Time a call while the choice is open."""
        start = time.perf_counter()
        yield
        if self.is_open:
            self.seconds.append(time.perf_counter() - start)

    @property
    def is_due(self) -> bool:
        """Whether it is time to choose."""
        return self.is_open and (self.insists or len(self.seconds) >= self.timed)

    @property
    def usual_seconds(self) -> float:
        """The median of the timed calls."""
        return statistics.median(self.seconds[1:])

    def gain(self, calls: int) -> float:
        """The seconds that compiled code may save in a number of calls; inf with compile=True."""
        if self.insists:
            return math.inf
        return calls * max(SAVED * self.usual_seconds, min(OVERHEAD, MOST * self.usual_seconds))

    def pays(self, gain: float, *, is_stored: bool = True, seconds: float | None = None) -> bool:
        """Whether a gain exceeds the cost of tracing, and of compiling unless the code is stored.

        Arguments:
            gain: in seconds.
            is_stored: whether the machine code is on disk.
            seconds: the time to compile; by default that of the last compilation.
        """
        compiling = 0.0 if is_stored else compile_seconds() if seconds is None else seconds
        return gain >= TRACING_SECONDS + compiling
