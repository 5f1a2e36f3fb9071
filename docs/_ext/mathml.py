"""Formulas as MathML, which browsers draw by themselves: no script and no fonts are loaded."""

from __future__ import annotations

import re

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.writers.html5 import HTML5Translator

__all__ = ["block", "inline", "mathml"]


# What latex2mathml does not know, as what it does.
_REPLACED = [
    (r"\\arg(?![a-z])", r"\\mathrm{arg}\\,"),
    # TeX has a thin space between the name of a function and its argument
    (r"\\(log|exp|max|min)(?= *([A-Za-z]|\\(?=[a-zA-Z])(?![bB]ig|left)))(?![a-z])", r"\\\1\\,"),
    (r"\\_", "_"),  # as in \text{decision\_function}
    (r"\\(mathcal|mathbb) *([A-Z])", r"\\\1{\2}"),
    (r"(\\[bB]ig) *\\\|", "\\1‖"),
]


def mathml(latex: str, *, display: bool) -> str:
    """The MathML of a formula."""
    for pattern, replacement in _REPLACED:
        latex = re.sub(pattern, replacement, latex)
    return convert(latex, display="block" if display else "inline")


def inline(translator: HTML5Translator, node: nodes.Element) -> None:
    """Write a formula within a line."""
    translator.body.append(mathml(node.astext(), display=False))
    raise nodes.SkipNode


def block(translator: HTML5Translator, node: nodes.Element) -> None:
    """Write a displayed formula; a wide one scrolls within its own line."""
    translator.body.append(f'<div class="formula">{mathml(node.astext(), display=True)}</div>\n')
    raise nodes.SkipNode
