"""How the progress of a fit is shown: one line for each epoch, or a bar on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyrovae.training.run import Run

__all__ = ["Lines", "Row", "Terminal", "View", "numbers"]

Row = Mapping[str, float]


class View:
    """What shows the progress of a run: nothing, unless a subclass does."""

    def start(self) -> None:
        """Called before everything else."""

    def stop(self) -> None:
        """Called at the end; only `tell` may follow."""

    def step(self, done: int) -> None:
        """Show that `done` steps are done."""

    def now(self, title: str) -> None:
        """Show what is going on."""

    def tell(self, line: str) -> None:
        """Show a line that stays."""

    def epoch(self, title: str, row: Row, done: int, following: str) -> None:
        """Show the numbers of an epoch, after `done` steps, and what follows it."""

    def end(self, run: Run) -> None:
        """Show the result; on a terminal, the caller prints it."""
        if run.stopped:
            self.tell(run.stopped)


def numbers(row: Row, *, digits: int) -> str:
    """The numbers of an epoch in words."""
    names = ("train", "validation", "objective", "reconstruction", "kl", "global_kl")
    shown = [f"{name.replace('_', ' ')} {row[name]:.{digits}f}" for name in names if name in row]
    return "  ".join([*shown, f"{row['data_per_second']:,.0f} rows/s"])


class Lines(View):
    """One line for each epoch, for a file."""

    def tell(self, line: str) -> None:
        print(line, flush=True)

    def epoch(self, title: str, row: Row, done: int, following: str) -> None:
        print(f"{title}  {numbers(row, digits=3)}", flush=True)


class Terminal(View):
    """Two lines: a progress bar, and the numbers of the last epoch.

    Arguments:
        title: what is going on.
        total: the number of steps.
        done: the number of steps that are done.
    """

    def __init__(self, title: str, total: int, done: int) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.text import Text

        left = (TextColumn("left"), TimeRemainingColumn(compact=True))
        self.bar = Progress(TextColumn("{task.description}"), BarColumn(24), TimeElapsedColumn(), *left)
        self.task = self.bar.add_task(title, total=total, completed=done)
        self.text = Text()
        self.live: Any = Live(Group(self.bar, self.text), console=Console(), refresh_per_second=4)

    def start(self) -> None:
        self.live.start()

    def stop(self) -> None:
        self.live.stop()

    def step(self, done: int) -> None:
        self.bar.update(self.task, completed=done)

    def now(self, title: str) -> None:
        self.bar.update(self.task, description=title)

    def tell(self, line: str) -> None:
        self.live.console.print(line, highlight=False, markup=False)

    def epoch(self, title: str, row: Row, done: int, following: str) -> None:
        self.bar.update(self.task, completed=done, description=following)
        self.text.plain = numbers(row, digits=2)
