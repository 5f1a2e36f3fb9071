r"""The docstrings of the package as reStructuredText.

They are plain text with sections (`Arguments:`, `Raises:`), LaTeX in \(...\) and \[...\], code in
single backquotes, indented blocks for what is shown as it is, and doctests. All other signs stand
for themselves, so what has a meaning in reStructuredText is escaped: `(N, *event)`, `|y|`, `x_`.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable

__all__ = ["Link", "restructured"]

# From the text between two backquotes to the full name that it links to, or None.
Link = Callable[[str], str | None]

_SECTION = re.compile(r"^(Arguments|Args|Attributes|Raises|Returns|References?|Example|Examples):$", re.M)
_DISPLAY = re.compile(r"\\\[(.*?)\\\]", re.S)
_INLINE = re.compile(r"(`[^`]+`|\\\(.*?\\\)|https?://[\w.:/%-]*[\w/])")
_ENTRY = re.compile(r"^([*\w][\w*., ]*): ((?:.|\n(?=[ \n]))*)", re.M)
_ITEM = re.compile(r"(-|\d+\.) ")
# A list or a doctest up to an empty line; a paragraph up to an indent; an indented block.
_BLOCK = re.compile(r"^(?:-|\d+\.|>>>) .*(?:\n.+)*|^\S.*(?:\n\S.*)*|^ .*(?:\n+ .*)*", re.M)


def restructured(text: str, link: Link) -> str:
    """The whole docstring; `link` finds what is between backquotes."""
    body, *rest = _SECTION.split(inspect.cleandoc(text))
    parts = [_body(body, link)]
    for title, section in zip(rest[::2], rest[1::2], strict=True):
        parts.append(_section(title, textwrap.dedent(section.strip("\n")).rstrip(), link))
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, section: str, link: Link) -> str:
    if title.startswith("Example"):
        return f".. rubric:: {title}\n\n{_body(section, link)}"
    inside = _body(section, link)
    if _ENTRY.match(section) and title not in ("Returns", "Reference", "References"):
        linked = link if title == "Raises" else lambda name: None
        entries = ((name, _line(text, link)) for name, text in _ENTRY.findall(section))
        inside = "\n".join(f"* {_names(name, linked)} – {text}" for name, text in entries)
    title = title.replace("Args", "Arguments")
    return f":{title}:\n{textwrap.indent(inside, '    ')}"


def _names(text: str, link: Link) -> str:
    return ", ".join(_inline(f"`{name}`", link) for name in text.split(", "))


def _body(text: str, link: Link) -> str:
    """Paragraphs, lists, formulas, doctests and indented blocks."""
    parts: list[str] = []
    for i, piece in enumerate(_DISPLAY.split(text)):
        if i % 2:
            parts.append(f".. math::\n\n{textwrap.indent(' '.join(piece.split()), '    ')}")
        else:
            parts.extend(_block(block, link) for block in _BLOCK.findall(piece))
    return "\n\n".join(parts)


def _block(block: str, link: Link) -> str:
    if block.startswith(">>>"):
        return block
    if block.startswith(" "):
        code = textwrap.dedent(block)
        return f".. code-block:: {_language(code)}\n\n{textwrap.indent(code, '    ')}"
    if _ITEM.match(block):
        items = re.split(r"\n(?=-|\d+\. )", block)
        return "\n".join(f"{item.split()[0]} {_line(item.split(None, 1)[1], link)}" for item in items)
    return re.sub(r"^(?=\(?\w+[.)] )", r"\\", _line(block, link))


def _language(code: str) -> str:
    """Python, if it parses and has more than names and operators."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return "text"
    kinds = (ast.Assign, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Call)
    return "python" if any(isinstance(node, kinds) for node in ast.walk(tree)) else "text"


def _line(text: str, link: Link) -> str:
    """A paragraph in one line, with its code, formulas and links."""
    pieces = _INLINE.split(" ".join(text.split()))
    return "".join(_inline(piece, link) if i % 2 else _escaped(piece) for i, piece in enumerate(pieces))


def _inline(piece: str, link: Link) -> str:
    if piece.startswith("http"):  # a server without TLS is an example, not a link
        return piece if piece.startswith("https") else rf"\ ``{piece}``\ "
    if piece.startswith("\\("):
        return rf"\ :math:`{piece[2:-2].strip()}`\ "
    code = piece[1:-1].strip()
    target = link(code)
    return rf"\ :py:obj:`{code} <{target}>`\ " if target else rf"\ ``{code}``\ "


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_|`])", r"\\\1", text).replace("::", r":\:")
