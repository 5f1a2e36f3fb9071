"""Which kind of step a run takes: eager until it is known what a captured one would cost and save.

    compile=False    eager
    compile=True     captured from the second step on, or refused with the reason
    compile="auto"   a few eager steps are timed; captured when what the steps to come would save is more
                     than the compilation costs

What was chosen stands in the checkpoint, so that a resumed run takes the same steps. A batch of another size
(the last of an epoch) is an eager step: both kinds give the same numbers to rounding. Of several processes
the first chooses for all, and code that one of them cannot have is used by none.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyrovae import compiling, sharing
from pyrovae.errors import InputError, Uncapturable
from pyrovae.training.batches import Rows
from pyrovae.training.captured import Captured, captured
from pyrovae.training.step import eager
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from pyrovae.training.job import Job

__all__ = ["Steps"]

# Steps that are timed before "auto" chooses.
TIMED = 5
TRACING_SECONDS = 4.0
# What a captured step saves of an eager one: at least a quarter on the dense networks of docs/performance.md.
SAVED = 0.25


class Steps:
    """Takes the steps of a run.

    Arguments:
        job: the run.
        say: is told which kind of step is taken, and in a few words why, when that is known.
    """

    def __init__(self, job: Job, say: Callable[[str, str], None]) -> None:
        self.job, self.say = job, say
        self.captured: Captured | None = None
        self.news: str | None = None
        self.open = job.settings.compile is not False and not self._was_eager()
        self.seconds: list[float] = []

    def take(self, rows: Rows, number: int) -> None:
        """Take the step of batch `number` of the rows.

        Raises:
            InputError: when a captured step was insisted on and cannot be had.
            NumericalError: when the loss is no finite number.
        """
        if self.job.data.streams and self.job.state.position.epoch == 0:
            self.job.announced(lambda: self._check_support(rows))
        if self.open and rows.full:
            self._choose(rows)
        if self.captured is not None and number < rows.full:
            self._take_captured(self.captured, rows, number)
        else:
            self._take_eager(rows, number)

    def settle(self) -> None:
        """Leave weights and optimiser as a checkpoint or an eager step needs them."""
        if self.captured is not None:
            self.captured.settle()

    # ---------------------------------------------------------------- steps

    def _take_eager(self, rows: Rows, number: int) -> None:
        self.settle()
        began = time.perf_counter()
        eager(self.job, rows, number)
        if self.open:
            self.seconds.append(time.perf_counter() - began)

    def _take_captured(self, captured: Captured, rows: Rows, number: int) -> None:
        if self.news is None:
            captured(rows, number)
            return
        news, self.news = self.news, None
        try:
            captured.check(rows, number)
            self.say("compiled", news)
        except Uncapturable as error:
            self._give_up(str(error))

    def _check_support(self, rows: Rows) -> None:
        if isinstance(self.job.program.target, VAE):
            batch = self.job.state.position.batch + 1
            self.job.program.target.likelihood.check(rows.x, f"batch {batch} of the training data")

    # ---------------------------------------------------------------- the choice

    def _was_eager(self) -> bool:
        settings, state = self.job.settings, self.job.state
        # More epochs than were planned then may pay for a compilation.
        return settings.compile == "auto" and state.captured is False and state.planned == settings.epochs

    def _choose(self, rows: Rows) -> None:
        job = self.job
        if job.state.position.step == 0:  # the optimiser makes its moments in its first step
            return
        insisted = job.settings.compile is True or job.state.captured is True
        if not insisted and len(self.seconds) < TIMED:
            return
        self.open = False
        gain = sharing.agreed(float("inf") if insisted else self._gain())
        if gain < TRACING_SECONDS:
            self._stay_eager("")
            return
        try:
            self._capture(rows, gain)
        except Uncapturable as error:
            self._give_up(str(error))

    def _gain(self) -> float:
        """The seconds that captured steps may save."""
        position, settings = self.job.state.position, self.job.settings
        left = settings.epochs * self.job.batch_count - position.step
        return SAVED * left * statistics.median(self.seconds[1:])

    def _capture(self, rows: Rows, gain: float) -> None:
        made = captured(self.job, rows)
        stored, needed = sharing.agreed((made.is_stored, compiling.compile_seconds()))
        if not stored and gain < needed:
            self._stay_eager("")
            return
        seconds = sharing.in_turn(made.compile)
        self.captured, self.job.state.captured = made, True
        self.news = f"code {'found' if stored else 'made'} in {seconds:.1f} s"

    def _stay_eager(self, why: str) -> None:
        """Without a reason the steps to come are too few to pay for a compilation."""
        self.job.state.captured, self.job.state.planned = False, self.job.settings.epochs
        self.say("eager", why)

    def _give_up(self, why: str) -> None:
        self.captured = None
        if self.job.settings.compile is True:
            raise InputError(f"compile=True, but the step cannot be captured: {why}; use compile='auto'")
        self._stay_eager(why)
