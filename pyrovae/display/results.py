"""The base of results: what is printed is the answer, as text and in a notebook."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from pyrovae.display import html

__all__ = ["Displayed", "Summary"]


class Summary(NamedTuple):
    """A headline, names with their values, and a sentence about them.

    Attributes:
        head: the headline.
        lines: names and values.
        verdict: a sentence, or "".
        width: the width of the names in text.
        is_good: whether the verdict is good, or None if it is neither.

    Example:
        >>> print(Summary("2 rows", [("mean", "0.5")], "use them", width=6))
        2 rows
          mean   0.5
          use them
    """

    head: str
    lines: Sequence[tuple[str, str]]
    verdict: str = ""
    width: int = 22
    is_good: bool | None = None

    def __str__(self) -> str:
        verdict = textwrap.fill(self.verdict, 96, initial_indent="  ", subsequent_indent="  ")
        rows = [f"  {name:<{self.width}} {value}".rstrip() for name, value in self.lines]
        return "\n".join([self.head, *rows, *([verdict] if self.verdict else [])])


class Displayed:
    """The base of results: `repr` is what `print` shows, and a notebook shows it as HTML.

    A subclass defines `__str__` and, for a notebook, `_html`; or `_summary`, from which both are
    made, and `_sections`, which follow it in a notebook. Without any HTML, a notebook shows the
    text. Dataclasses need `repr=False`.
    """

    def _summary(self) -> Summary:
        raise NotImplementedError(f"{type(self).__name__} has no summary")

    def _sections(self) -> Sequence[html.Html]:
        """What follows the summary in a notebook."""
        return ()

    def _html(self) -> str | None:
        """The HTML for a notebook, or None for the text."""
        if type(self)._summary is Displayed._summary:
            return None
        summary = self._summary()
        verdict = html.paragraph(summary.verdict, is_good=summary.is_good)
        return html.page(summary.head, verdict, html.facts(summary.lines), *self._sections())

    def __str__(self) -> str:
        return str(self._summary())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str | None:
        """The result in a notebook; None, which shows the text, if its HTML cannot be made."""
        try:
            return self._html()
        except Exception:
            return None
