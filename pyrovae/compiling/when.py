"""When to compile: what is left to do must pay for the compilation.

compile=False    never
compile=True     at once, or refused with the reason
compile="auto"   a few calls are timed; compiled when what the calls to come would save is more than tracing
and compiling cost
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
# What compiled code saves: at least a quarter on the dense networks of docs/performance.md.
SAVED = 0.25


def check_option(compile: Any) -> None:  # noqa: ANN401
    """Refuse a value of `compile` that is not True, False or "auto".

    Raises:
        InputError: for anything else.
    """
    one_of("compile", compile, (True, False, "auto"))


class When:
    """Times calls until it is known whether compiled code pays for them.

    Arguments:
        compile: True, False or "auto".
        timed: calls that are timed before "auto" chooses; the first of them does not count.

    Attributes:
        is_open: whether nothing has been chosen yet.
        seconds: of the calls that were timed.
    """

    def __init__(self, compile: Compile, timed: int) -> None:
        self.insists = compile is True
        self.is_open = compile is not False
        self.timed = timed
        self.seconds: list[float] = []

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Time a call, while nothing has been chosen."""
        began = time.perf_counter()
        yield
        if self.is_open:
            self.seconds.append(time.perf_counter() - began)

    @property
    def is_due(self) -> bool:
        """Whether it is time to choose."""
        return self.is_open and (self.insists or len(self.seconds) >= self.timed)

    @property
    def usual_seconds(self) -> float:
        """The median of the timed calls."""
        return statistics.median(self.seconds[1:])

    def gain(self, calls: int) -> float:
        """The seconds that compiled code may save over this number of calls; inf with compile=True."""
        return math.inf if self.insists else SAVED * calls * self.usual_seconds

    def pays(self, gain: float, *, is_stored: bool = True, seconds: float | None = None) -> bool:
        """Whether a gain is more than tracing costs, and compiling unless the code is stored.

        Arguments:
            gain: in seconds.
            is_stored: whether the machine code is on the disk already.
            seconds: what compiling takes; what it last took unless given.
        """
        compiling = 0.0 if is_stored else compile_seconds() if seconds is None else seconds
        return gain >= TRACING_SECONDS + compiling
