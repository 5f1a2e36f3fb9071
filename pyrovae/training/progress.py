"""Progress of a fit: a bar on a terminal, a bar and curves in a notebook, or a line per epoch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from pyrovae.errors import visible
from pyrovae.interrupts import shell
from pyrovae.training.notebook import Notebook
from pyrovae.training.views import Lines, Row, Terminal, View

if TYPE_CHECKING:
    from pyrovae.training.job import Job
    from pyrovae.training.run import Run

__all__ = ["Progress"]


class Progress:
    """Shows the results of epochs, in nats per observation; larger is better for all but the KL.

    Arguments:
        job: the run.
        show: whether to show anything.
    """

    def __init__(self, job: Job, *, show: bool = True) -> None:
        self.epochs, self.steps = job.settings.epochs, job.batch_count
        done = job.state.position.step
        self.kind, self.settings = "", str(job.settings)
        self.note = job.objective.note(job.runner.strata)
        self.number = min(done // self.steps + 1, self.epochs)
        self.view: View | None = None
        if show:
            self.view = self._view(done, job.state.history)

    def _view(self, done: int, history: Mapping[str, list[float]]) -> View:
        total = self.epochs * self.steps
        if getattr(shell(), "kernel", None) is not None:
            return Notebook(self._epoch(), total, done, history)
        return Terminal(self._epoch(), total, done) if sys.stdout.isatty() else Lines()

    def __enter__(self) -> Self:
        if self.view is not None:
            self.view.start()
        self.tell(self.settings)
        if self.note:
            self.tell(self.note)
        return self

    def __exit__(self, *_: object) -> None:
        if self.view is not None:
            self.view.stop()

    def step(self, done: int) -> None:
        """Show that `done` steps of the run are done."""
        if self.view is not None and done % 10 == 0:
            self.view.step(done)

    def say(self, kind: str, why: str) -> None:
        """Show the kind of the next steps, and why, if that is given, in a separate line."""
        self.kind = f", {kind}"
        if self.view is not None:
            self.view.now(f"{self._epoch()}{self.kind}")
        if why:
            self.tell(f"{kind} steps: {why}")

    def tell(self, line: str) -> None:
        """Show a line that stays."""
        if self.view is not None:
            self.view.tell(visible(line, lines=True))

    def epoch(self, row: Row) -> None:
        """Show the results of an epoch."""
        done = int(row["epoch"])
        title, self.number = f"epoch {done}/{self.epochs}", min(done + 1, self.epochs)
        if self.view is not None:
            self.view.epoch(title, row, done * self.steps, f"{self._epoch()}{self.kind}")

    def end(self, run: Run) -> None:
        """Show the result of the run."""
        if self.view is not None:
            self.view.end(run)

    def _epoch(self) -> str:
        return f"epoch {self.number}/{self.epochs}"
