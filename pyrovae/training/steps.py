"""Which kind of step a run takes: eager until it is known what a compiled one would cost and save.

The policy is that of `compiling.When`. What was chosen is in the checkpoint, so that a resumed run
takes the same steps. A batch of another size (the last of an epoch) is an eager step: both kinds
give the same numbers to rounding. Of several processes the first chooses for all, and code that one
of them cannot have is used by none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyrovae import compiling, sharing
from pyrovae.errors import InputError, Uncapturable
from pyrovae.training.batches import Epoch
from pyrovae.training.compiled import CompiledStep, compiled_step
from pyrovae.training.step import eager_step

if TYPE_CHECKING:
    from pyrovae.training.job import Job

__all__ = ["Steps"]

# Steps that are timed before "auto" chooses.
TIMED = 5


class Steps:
    """Takes the steps of a run.

    Arguments:
        job: the run.
        say: is given the kind of step that is taken, and in a few words why, when that is known.
    """

    def __init__(self, job: Job, say: Callable[[str, str], None]) -> None:
        self.job, self.say = job, say
        self.compiled: CompiledStep | None = None
        self.news: str | None = None
        self.when = compiling.When(job.settings.compile, TIMED)
        self.when.insists |= job.state.captured is True and self.when.is_open
        self.when.is_open &= not self._was_eager()

    def take(self, epoch: Epoch, number: int) -> None:
        """Take the step of batch `number` of an epoch.

        Raises:
            InputError: when a compiled step was insisted on and cannot be had.
            NumericalError: when the loss is not finite.
        """
        job = self.job
        if job.data.streams and job.state.position.epoch == 0:
            job.exchange.announced(lambda: self._check_rows(epoch))
        # The optimiser makes its moments in its first step.
        if self.when.is_due and epoch.full and job.state.position.step:
            self._choose(epoch)
        if self.compiled is not None and number < epoch.full:
            self._take_compiled(self.compiled, epoch, number)
            return
        self.settle()
        with self.when.timing():
            eager_step(job, epoch, number)

    def settle(self) -> None:
        """Leave weights and optimiser as a checkpoint or an eager step needs them."""
        if self.compiled is not None:
            self.compiled.settle()

    def _take_compiled(self, step: CompiledStep, epoch: Epoch, number: int) -> None:
        if self.news is None:
            step(epoch, number)
            return
        news, self.news = self.news, None
        try:
            step.check(epoch, number)
            self.say("compiled", news)
        except Uncapturable as error:
            self._give_up(str(error))

    def _check_rows(self, epoch: Epoch) -> None:
        batch = self.job.state.position.batch + 1
        self.job.runner.program.check_rows(epoch.rows, f"batch {batch} of the training data")

    # ---------------------------------------------------------------- the choice

    def _was_eager(self) -> bool:
        settings, state = self.job.settings, self.job.state
        # More epochs than were planned then may pay for a compilation.
        return settings.compile == "auto" and state.captured is False and state.planned == settings.epochs

    def _choose(self, epoch: Epoch) -> None:
        self.when.is_open = False
        left = self.job.settings.epochs * self.job.batch_count - self.job.state.position.step
        gain = sharing.agreed(self.when.gain(left))
        try:
            if not (self.when.pays(gain) and self._compile(epoch, gain)):
                self._stay_eager("")
        except Uncapturable as error:
            self._give_up(str(error))

    def _compile(self, epoch: Epoch, gain: float) -> bool:
        """Have compiled steps from now on, where they pay."""
        step = compiled_step(self.job, epoch)
        stored, needed = sharing.agreed((step.is_stored, compiling.compile_seconds()))
        if not self.when.pays(gain, is_stored=stored, seconds=needed):
            return False
        seconds = sharing.in_turn(step.compile)
        self.compiled, self.job.state.captured = step, True
        self.news = f"code {'found' if stored else 'made'} in {seconds:.1f} s"
        return True

    def _stay_eager(self, why: str) -> None:
        """Without a reason the steps to come are too few to pay for a compilation."""
        self.job.state.captured, self.job.state.planned = False, self.job.settings.epochs
        self.say("eager", why)

    def _give_up(self, why: str) -> None:
        self.compiled = None
        if self.job.settings.compile is True:
            raise InputError(f"compile=True, but the step cannot be captured: {why}; use compile='auto'")
        self._stay_eager(why)
