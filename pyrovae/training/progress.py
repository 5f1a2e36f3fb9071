"""Progress of a fit: a bar on a terminal, one line per epoch elsewhere (a file, a notebook)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from pyrovae.errors import visible

if TYPE_CHECKING:
    from pyrovae.training.job import Job

__all__ = ["Progress"]


class Progress:
    """Shows the results of epochs, in nats per observation; larger is better for all but the KL.

    Arguments:
        job: the run.
        show: whether to show anything.
    """

    def __init__(self, job: Job, *, show: bool = True) -> None:
        self.epochs, self.steps, self.show = job.settings.epochs, job.batch_count, show
        done, steps, epochs = job.state.position.step, self.steps, self.epochs
        self.kind, self.settings = "", str(job.settings)
        self.note = job.objective.note(job.runner.strata)
        self.number = min(done // steps + 1, epochs)
        self.live: Any = None
        if show and sys.stdout.isatty():
            self._draw(done)

    def _draw(self, done: int) -> None:
        """Draw two lines: a progress bar, and the numbers of the last epoch."""
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
        from rich.text import Text

        left = (TextColumn("left"), TimeRemainingColumn(compact=True))
        self.bar = Bar(TextColumn("{task.description}"), BarColumn(24), TimeElapsedColumn(), *left)
        self.task = self.bar.add_task(
            self._epoch(self.number), total=self.epochs * self.steps, completed=done
        )
        self.text = Text()
        self.live = Live(Group(self.bar, self.text), console=Console(), refresh_per_second=4)

    def __enter__(self) -> Self:
        if self.live is not None:
            self.live.start()
        self.tell(self.settings)
        if self.note:
            self.tell(self.note)
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def step(self, done: int) -> None:
        """Show that `done` steps of the run are done."""
        if self.live is not None and done % 10 == 0:
            self.bar.update(self.task, completed=done)

    def say(self, kind: str, why: str) -> None:
        """Show the kind of the next steps, and why, if that is given, in a separate line."""
        self.kind = f", {kind}"
        if self.live is not None:
            self.bar.update(self.task, description=f"{self._epoch(self.number)}{self.kind}")
        if why:
            self.tell(f"{kind} steps: {why}")

    def tell(self, line: str) -> None:
        """Print a line."""
        line = visible(line, lines=True)
        if self.live is not None:
            self.live.console.print(line, highlight=False, markup=False)
        elif self.show:
            print(line, flush=True)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Show the results of an epoch."""
        done = int(row["epoch"])
        if self.live is not None:
            self.number = min(done + 1, self.epochs)
            following = f"{self._epoch(self.number)}{self.kind}"
            self.bar.update(self.task, completed=done * self.steps, description=following)
            self.text.plain = _numbers(row, digits=2)
        elif self.show:
            print(f"{self._epoch(done)}  {_numbers(row, digits=3)}", flush=True)

    def _epoch(self, number: int) -> str:
        return f"epoch {number}/{self.epochs}"


def _numbers(row: Mapping[str, float], *, digits: int) -> str:
    names = ("train", "validation", "objective", "reconstruction", "kl", "global_kl")
    shown = [f"{name.replace('_', ' ')} {row[name]:.{digits}f}" for name in names if name in row]
    return "  ".join([*shown, f"{row['data_per_second']:,.0f} rows/s"])
