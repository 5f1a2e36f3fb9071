"""The progress of a fit in a notebook: one output with a bar, the last numbers and curves.

It is updated in place, at most twice a second. In the end it is the result, which stays in the
notebook. The same is there as text, for programs that show no HTML.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyrovae.display import curves, html
from pyrovae.training.views import Row, View, numbers

if TYPE_CHECKING:
    from pyrovae.training.run import Run

__all__ = ["Notebook"]

PERIOD = 0.5  # seconds between two updates
CURVES = ("train", "validation", "objective")


class Notebook(View):
    """One output of a notebook's cell.

    Arguments:
        title: what is going on.
        total: the number of steps.
        done: the number of steps that are done.
        history: name -> the numbers of the epochs that are done, of a run that is resumed.
    """

    def __init__(self, title: str, total: int, done: int, history: Mapping[str, list[float]]) -> None:
        self.title, self.total, self.done = title, total, done
        self.history = {name: list(history.get(name, ())) for name in ("epoch", *CURVES)}
        self.lines: list[str] = []
        self.numbers = ""
        self.started, self.shown = time.monotonic(), float("-inf")
        self.first, self.is_running = done, True
        self.handle: Any = None
        self.result: Run | None = None

    def start(self) -> None:
        display = sys.modules["IPython.display"].display  # a kernel has imported it

        self.handle = display(self._bundle(), raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def stop(self) -> None:
        self.is_running = False
        self._show(now=True)

    def step(self, done: int) -> None:
        self.done = done
        self._show()

    def now(self, title: str) -> None:
        self.title = title
        self._show()

    def tell(self, line: str) -> None:
        self.lines.append(line)
        self._show()

    def end(self, run: Run) -> None:
        self.result = run
        self._show(now=True)

    def epoch(self, title: str, row: Row, done: int, following: str) -> None:
        self.done, self.title = done, following
        self.numbers = f"{title}  {numbers(row, digits=3)}"
        for name, values in self.history.items():
            if name in row:
                values.append(row[name])
        self._show()

    def _show(self, *, now: bool = False) -> None:
        moment = time.monotonic()
        if now or moment - self.shown >= PERIOD:
            self.shown = moment
            self.handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        last = self.numbers if self.result is None else str(self.result)
        text = "\n".join([*self.lines, *filter(None, [last])])
        return {"text/plain": text or self.title, "text/html": self._html()}

    def _html(self) -> str:
        drawn = {name: values for name, values in self.history.items() if values and name in CURVES}
        pictures = curves(drawn, self.history["epoch"]) if drawn else ""
        messages = [html.paragraph(line) for line in self.lines]
        if self.result is not None:
            return f"{self.result._html()}{html.block(html.section('messages of the training', *messages))}"
        return html.page(self._head(), self._bar(), html.paragraph(self.numbers), pictures, *messages)

    def _head(self) -> str:
        seconds = time.monotonic() - self.started
        if not self.is_running:
            return f"ended after {self.done:,} steps, {_words(seconds)}"
        steps = self.done - self.first
        left = f", {_words((self.total - self.done) * seconds / steps)} left" if steps else ""
        return f"{self.title}, {_words(seconds)}{left}"

    def _bar(self) -> html.Html | None:
        if not self.is_running:
            return None
        return html.Html(f'<progress value="{self.done}" max="{self.total}" style="width:24em"></progress>')


def _words(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
