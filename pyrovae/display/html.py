"""Pieces of HTML for notebooks: a page with collapsible sections, tables and code.

Every function escapes the text that it is given; only `Html`, which these functions return, is
taken as it is. The style applies inside `class="pyrovae"` only. Text has the colour of the
notebook, so a dark theme needs no other rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from pyrovae.errors import visible

__all__ = ["Html", "block", "code", "escaped", "facts", "joined", "page", "paragraph", "section", "table"]

LONGEST = 300  # characters of a cell
MOST = 30  # rows of a table

STYLE = """
.pyrovae{font-size:13px;line-height:1.45;margin:.2em 0;color:inherit}
.pyrovae .pv-head{font-weight:600;margin:0 0 .25em!important}
.pyrovae p{margin:.25em 0!important;max-width:56em}
.pyrovae .pv-good,.pyrovae .pv-bad{border-left:3px solid #009e73;padding-left:.6em}
.pyrovae .pv-bad{border-left-color:#d55e00}
.pyrovae details{margin:.15em 0}
.pyrovae summary{cursor:pointer;width:fit-content;opacity:.8}
.pyrovae details>*:not(summary){margin-left:1.1em}
.pyrovae pre{font-size:12px;line-height:1.4;color:inherit;background:rgba(128,128,128,.12)!important;
border:none;border-radius:3px;padding:.5em .7em!important;margin:.3em 0!important;
overflow-x:auto;white-space:pre}
.pyrovae .pv-wide{overflow-x:auto}
.pyrovae table{font-size:12px;border-collapse:collapse;border:none;margin:.25em 0!important;color:inherit}
.pyrovae tr{background:none!important}
.pyrovae th,.pyrovae td{border:none;padding:.1em 1.2em .1em 0!important;text-align:left!important;
vertical-align:middle;max-width:46em!important;white-space:normal;background:none}
.pyrovae td.pv-n,.pyrovae th.pv-n{text-align:right!important;font-variant-numeric:tabular-nums;
white-space:nowrap}
.pyrovae th{font-weight:600}
.pyrovae thead th{border-bottom:1px solid rgba(128,128,128,.5)}
.pyrovae td.pv-columns{font-family:monospace;white-space:pre}
.pyrovae .pv-facts th{font-weight:400;opacity:.75;white-space:nowrap}
.pyrovae mark{color:inherit;background:rgba(47,143,208,.35);padding:0 .2em}
.pyrovae img{image-rendering:pixelated;margin:.1em 0;vertical-align:middle;max-width:none}
.pyrovae svg{display:block;margin:.2em 0;max-width:100%}
"""
_TAG = re.compile(r"<[^>]*>")
_NUMBER = re.compile(r"\s*([-+−]?([\d,]*\.?\d+(e[-+]?\d+)?|nan|inf)( ?%)?( (\+-|±) [\d.]+\w*)?)?\s*")


class Html(str):
    """Text that is HTML already.

    Example:
        >>> escaped("a < b"), escaped(Html("<b>a</b>"))
        ('a &lt; b', '<b>a</b>')
    """

    __slots__ = ()


def escaped(value: object) -> Html:
    """A value as HTML: text is escaped, control characters are made visible, long text is cut."""
    if isinstance(value, Html):
        return value
    text = visible(value, lines=True)
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."
    return Html(escape(text))


def page(head: object, *blocks: object) -> str:
    """A headline and what follows it, with the style.

    Example:
        >>> page("5 < 6").endswith('<p class="pv-head">5 &lt; 6</p></div>')
        True
    """
    title = Html(f'<p class="pv-head">{escaped(head)}</p>')
    return f"<style>{STYLE.strip()}</style>{block(title, *blocks)}"


def block(*blocks: object) -> Html:
    """Blocks in the style of a page, which must come before them."""
    return Html(f'<div class="pyrovae">{joined(*blocks)}</div>')


def joined(*blocks: object) -> Html:
    """Blocks after one another; None and empty ones are left out."""
    return Html("".join(escaped(block) for block in blocks if block is not None and block != ""))


def section(title: object, *blocks: object, is_open: bool = False) -> Html:
    """A collapsible section; nothing if it has no content."""
    body = joined(*blocks)
    if not body:
        return Html()
    return Html(f"<details{' open' * is_open}><summary>{escaped(title)}</summary>{body}</details>")


def paragraph(text: object, *, is_good: bool | None = None) -> Html:
    """A paragraph; a verdict has a bar in green or, if it warns, in vermilion."""
    if not str(text):
        return Html()
    look = {True: ' class="pv-good"', False: ' class="pv-bad"', None: ""}[is_good]
    return Html(f"<p{look}>{escaped(text)}</p>")


def code(text: object) -> Html:
    """Lines as they are, in a fixed width."""
    return Html(f"<pre>{escape(visible(text, lines=True))}</pre>")


def facts(pairs: Iterable[tuple[object, object]]) -> Html:
    """Names with their values, one on each line."""
    rows = "".join(f"<tr><th>{_short(name)}</th>{_value(value)}</tr>" for name, value in pairs)
    return Html(f'<table class="pv-facts"><tbody>{rows}</tbody></table>' if rows else "")


def table(columns: Sequence[object], rows: Iterable[Sequence[object]], *, most: int = MOST) -> Html:
    """A table with a header; columns of numbers are aligned to the right.

    Arguments:
        columns: their names.
        rows: the cells of each row, as formatted text or `Html`.
        most: the number of rows that are shown.

    Example:
        >>> table(["<b>", "n"], [["x", "1.5"]]).count("pv-n")
        2
    """
    cells = [list(row) for row in rows]
    if not cells:
        return Html()
    shown, left = cells[:most], len(cells) - most
    look = [' class="pv-n"' if _are_numbers(column) else "" for column in zip(*shown, strict=True)]
    head = "".join(f"<th{c}>{_short(name)}</th>" for name, c in zip(columns, look, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{c}>{_short(cell)}</td>' for cell, c in zip(row, look, strict=True))}</tr>"
        for row in shown
    )
    more = paragraph(f"and {left:,} more") if left > 0 else ""
    filled = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return Html(f'<div class="pv-wide">{filled}</div>{more}')


def _value(value: object) -> str:
    """The cell of a value; text in columns stays aligned."""
    if not isinstance(value, Html) and "  " in str(value).strip():
        return f'<td class="pv-columns">{escaped(value)}</td>'
    return f"<td>{_short(value)}</td>"


def _short(value: object) -> Html:
    """A value without the blanks that align it in text."""
    return value if isinstance(value, Html) else escaped(str(value).strip())


def _are_numbers(cells: Sequence[object]) -> bool:
    texts = [_TAG.sub("", cell) if isinstance(cell, Html) else str(cell) for cell in cells]
    return any(texts) and all(_NUMBER.fullmatch(text) for text in texts)
