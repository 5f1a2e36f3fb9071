"""Eager and compiled steps: a run starts with eager ones, and `compiling.When` decides.

"auto" chooses after a fixed number of steps, counted over all parts of a resumed run, whose times
are in the checkpoint. Code that is not on disk is compiled in another process, and the run goes on
with eager steps until the code is ready. Then both kinds of step are timed, and the faster one is
kept. The choice is stored in a checkpoint before the next step, so a run that is killed and resumed
keeps it. A last batch of another size is an eager step. Both kinds give the same numbers up to
rounding.

Several processes compile in turn and wait for each other. The first process chooses for all, and if
the code cannot be compiled in one of them, none uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyrovae import compiling, sharing
from pyrovae.cures import option
from pyrovae.datasets import Rows
from pyrovae.errors import InputError, NumericalError, Uncapturable
from pyrovae.training.batches import Epoch
from pyrovae.training.compiled import CompiledStep, compiled_step
from pyrovae.training.exchange import Exchange
from pyrovae.training.step import eager_step

if TYPE_CHECKING:
    from pyrovae.training.job import Job

__all__ = ["Steps"]

# The number of steps timed before "auto" chooses.
TIMED = 5
# Compiled steps are not used if one takes more than this number of times as long as an eager one.
SLOWER = 1.0


class Steps:
    """Takes the steps of a run.

    Arguments:
        job: the run.
        say: called with the kind of the next steps, and with the reason or "".

    Attributes:
        is_interrupted: whether the run was stopped while the compiler ran, which stops the compiler
            too. The step is then not taken, and a resumed run compiles it.
    """

    is_interrupted = False

    def __init__(self, job: Job, say: Callable[[str, str], None]) -> None:
        self.job, self.say = job, say
        self.compiled: CompiledStep | None = None
        self.waiting: tuple[CompiledStep, compiling.Build] | None = None
        self.news: str | None = None
        self.has_changed = False
        self.when = compiling.When(job.settings.compile, TIMED)
        self.when.seconds = job.state.seconds
        self.when.insists |= job.state.captured is True and self.when.is_open
        self.when.is_open &= not self._was_eager()

    def take(self, epoch: Epoch, number: int) -> None:
        """Take the step of batch `number` of an epoch, unless the run was stopped in compilation.

        Raises:
            InputError: when compile=True and the step cannot be compiled.
            NumericalError: when the loss is not finite.
        """
        job = self.job
        if job.data.streams and job.state.position.epoch == 0:
            job.exchange.announced(lambda: self._check_rows(epoch.batch(number)))
        # The optimiser creates its moments in its first step.
        if self.when.insists and self.when.is_due and epoch.full and job.state.position.step:
            self._choose(epoch)
            if self.is_interrupted:
                return
        if self.compiled is not None and number < epoch.full:
            self._take_compiled(self.compiled, epoch, number)
            return
        self.settle()
        with self.when.timing():
            eager_step(job, epoch, number)

    def decide(self, epoch: Epoch) -> bool:
        """Choose the kind of the next steps if it is time to; returns whether the choice was made.

        Arguments:
            epoch: the epoch of the last step.
        """
        if self.has_changed:
            self.has_changed = False
            return True
        if not epoch.full or not self._left:
            return False
        if self.waiting is not None:
            return self._look(*self.waiting)
        if self.when.insists or not self.when.is_due:
            return False
        self._choose(epoch)
        return self.waiting is None

    def end(self) -> None:
        """End a compilation that is no longer needed."""
        if self.waiting is not None:
            self.waiting[1].cancel()
            self.waiting = None

    def settle(self) -> None:
        """Give weights and optimiser the form that checkpoints and eager steps need."""
        if self.compiled is not None:
            self.compiled.settle()

    def _take_compiled(self, step: CompiledStep, epoch: Epoch, number: int) -> None:
        if self.news is None:
            step(epoch, number)
            return
        news, self.news = self.news, None
        try:
            step.check(epoch, number)
            if not self.when.insists:
                self._compare(step, epoch, number)
            self.say("compiled", news)
        except Uncapturable as error:
            self.has_changed = True
            self._give_up(str(error))

    def _compare(self, step: CompiledStep, epoch: Epoch, number: int) -> None:
        try:
            eager, compiled = sharing.agreed(step.seconds(epoch, number))
        except NumericalError:  # in a step that the run will not take
            return
        if compiled > SLOWER * eager:
            raise Uncapturable(
                f"a compiled one takes {1e3 * compiled:.3g} ms, an eager one {1e3 * eager:.3g} ms"
            )

    def _check_rows(self, rows: Rows) -> None:
        batch = self.job.state.position.batch + 1
        self.job.runner.program.check_rows(rows, f"batch {batch} of the training data")

    # ---------------------------------------------------------------- the choice

    def _was_eager(self) -> bool:
        settings, state = self.job.settings, self.job.state
        # More epochs than planned then may pay for compiling.
        return settings.compile == "auto" and state.captured is False and state.planned == settings.epochs

    @property
    def _left(self) -> int:
        """The number of steps that are left without early stopping."""
        return self.job.settings.epochs * self.job.batch_count - self.job.state.position.step

    def _choose(self, epoch: Epoch) -> None:
        self.when.is_open = False
        gain = sharing.agreed(self.when.gain(self._left))
        try:
            if not (self.when.pays(gain) and self._compile(epoch, gain)):
                self._stay_eager("")
        except Uncapturable as error:
            self.is_interrupted = sharing.agreed(self.job.exchange.asked())
            if not self.is_interrupted:
                self._give_up(str(error))
            elif isinstance(self.job.exchange, Exchange):
                self.job.exchange.stopped = True

    def _compile(self, epoch: Epoch, gain: float) -> bool:
        """Compile the step, if that pays; returns whether it did."""
        step = compiled_step(self.job, epoch)
        is_stored, needed = sharing.agreed((step.is_stored, compiling.compile_seconds()))
        if not self.when.pays(gain, is_stored=is_stored, seconds=needed):
            return False
        if not is_stored and not self.when.insists and self._begin(step, needed):
            return True
        if not is_stored:
            self.say("compiled", f"compiling once, about {needed:.0f} s")
        seconds = sharing.in_turn(step.compile)
        self._use(step, f"{'loaded' if is_stored else 'compiled'} in {seconds:.1f} s")
        return True

    def _begin(self, step: CompiledStep, needed: float) -> bool:
        """Start to compile in another process if possible; returns whether it is."""
        build = None if self.job.exchange.is_shared else step.start()
        if build is None:
            return False
        self.waiting = step, build
        self.say("compiled", f"compiling once, about {needed:.0f} s; eager ones until then")
        self.say("eager", "")
        return True

    def _look(self, step: CompiledStep, build: compiling.Build) -> bool:
        """Use the code of the other process when it is ready; returns whether a choice was made."""
        if not build.is_done:
            return False
        self.waiting = None
        try:
            seconds = build.finish()
            step.compile()
            self._use(step, f"compiled in {seconds:.1f} s")
        except Uncapturable as error:
            self._give_up(str(error))
        return True

    def _use(self, step: CompiledStep, news: str) -> None:
        self.compiled, self.news, self.job.state.captured = step, news, True

    def _stay_eager(self, why: str) -> None:
        """Take eager steps from now on; without a reason, as the remaining ones are too few."""
        self.job.state.captured, self.job.state.planned = False, self.job.settings.epochs
        self.say("eager", why)

    def _give_up(self, why: str) -> None:
        if self.compiled is not None:
            self.compiled.layout.leave()
        self.compiled = None
        if self.job.settings.compile is True:
            asked, auto = option("compile", True), option("compile", "auto")
            raise InputError(f"{asked}, but the step cannot be captured: {why}; use {auto}")
        self._stay_eager(why)
