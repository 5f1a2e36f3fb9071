"""What a fit shows while it runs: a bar on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

__all__ = ["Progress"]


class Progress:
    """Shows epochs as they end; nats per datum, larger is better for all but the KL.

    Arguments:
        epochs: how many there will be.
        steps: how many steps an epoch has.
        done: how many epochs were done before.
        show: False shows nothing.
    """

    def __init__(self, epochs: int, steps: int, done: int = 0, *, show: bool = True) -> None:
        from rich.console import Console

        self.console = Console(soft_wrap=True, highlight=False)
        self.epochs, self.steps, self.show = epochs, steps, show
        self.bar = self._bar(done) if show and self.console.is_terminal else None
        self.latest = ""

    def _bar(self, done: int) -> object:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        bar = RichProgress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
        )
        total = self.epochs * self.steps
        self.task = bar.add_task("", total=total, completed=done * self.steps, epoch=done, text="")
        return bar

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()  # type: ignore[attr-defined]
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()  # type: ignore[attr-defined]

    def step(self, done: int) -> None:
        """Say that `done` steps are over, counted from the first epoch."""
        if self.bar is not None and done % 10 == 0:
            self.bar.update(self.task, completed=done)  # type: ignore[attr-defined]

    def epoch(self, row: Mapping[str, float]) -> None:
        """Show the row of an epoch that has ended."""
        text = (
            f"train {row['train']:.3f}  validation {row['validation']:.3f}  "
            f"reconstruction {row['reconstruction']:.3f}  kl {row['kl']:.3f}  "
            f"{row['data_per_second']:,.0f} data/s"
        )
        if self.bar is not None:
            done = int(row["epoch"])
            self.bar.update(self.task, completed=done * self.steps, epoch=f"{done}/{self.epochs}", text=text)  # type: ignore[attr-defined]
        elif self.show:
            self.console.print(f"epoch {int(row['epoch'])}/{self.epochs}  {text}", markup=False)
