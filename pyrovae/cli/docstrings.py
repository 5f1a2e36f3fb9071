r"""Docstrings for a terminal: in sections, with formulas in plain text.

\(p(z) = \prod_{d=1}^{D} \mathcal N(z_d; 0, \sigma_d^2)\)   ->   p(z) = prod_d N(z_d; 0, sigma_d^2)
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

__all__ = ["Described", "described", "formula", "formulas", "plain"]

_SECTION = re.compile(r"^(Arguments|Raises|References?|Example|Attributes):", re.M)
_SIGNS = {
    "le": "<=",
    "ge": ">=",
    "ne": "!=",
    "approx": "~=",
    "sim": "~",
    "mapsto": "->",
    "odot": "*",
    "cdot": "*",
    "times": "*",
    "propto": "prop. to",
    "partial": "d",
    "nabla": "grad",
    "infty": "inf",
    "top": "T",
    "ldots": "...",
    "cdots": "...",
    "dots": "...",
}
_GROUP = r"(\{[^{}]*\}|\\?\w)"


@dataclass(frozen=True)
class Described:
    """The sections of a docstring; texts as written, formulas still in LaTeX.

    The examples are those of a command, each of which is a line to paste.
    """

    summary: str = ""
    body: str = ""
    arguments: tuple[tuple[str, str], ...] = ()
    raises: str = ""
    reference: str = ""
    examples: tuple[str, ...] = ()


def described(documented: object) -> Described:
    """The sections of the docstring of a class or function itself, not of its base class."""
    before, *rest = _SECTION.split(inspect.cleandoc(documented.__doc__ or ""))
    sections = dict(zip(rest[::2], map(inspect.cleandoc, rest[1::2]), strict=True))
    summary, _, body = before.strip().partition("\n\n")
    # "Arguments: none." is a sentence, not a list.
    arguments = re.findall(r"^(\w+): ((?:.|\n(?=\s))*)", sections.get("Arguments", ""), flags=re.M)
    return Described(
        summary=_line(summary),
        body=body,
        arguments=tuple((name, _line(text)) for name, text in arguments),
        raises=_line(sections.get("Raises", "")),
        reference=_line(sections.get("Reference") or sections.get("References", "")),
        examples=tuple(re.findall("^pyrovae .+", sections.get("Example", ""), flags=re.M)),
    )


def plain(text: str, *, mark: str = "", space: str = " ") -> str:
    r"""A text with its formulas in plain text, each between two marks, with `space` for a blank.

    Example:
        >>> plain(r"Independent counts, \(p(x|z) = \prod_i e^{-m_i} m_i^{x_i} / x_i!\).", mark="`")
        'Independent counts, `p(x|z) = prod_i e^(-m_i) m_i^(x_i) / x_i!`.'
    """
    return re.sub(
        r"\\\((.+?)\\\)", lambda m: mark + formula(m[1]).replace(" ", space) + mark, text, flags=re.S
    )


def formulas(text: str) -> list[str]:
    r"""The displayed formulas of a text, those between \[ and \]."""
    return [formula(found) for found in re.findall(r"\\\[(.+?)\\\]", text, flags=re.S)]


def formula(tex: str) -> str:
    r"""A formula in plain text.

    Example:
        >>> formula(r"\mathcal L_K = \mathbb E_{z_k \sim q}\Big[\log \frac1K \sum_{k=1}^K w_k\Big]")
        'L_K = E_(z_k ~ q)[log (1/K) sum_k w_k]'
    """
    text = _line(tex)
    text = re.sub(r"\\(big|Big|left|right|textstyle|displaystyle)(?![a-z])|\\!", "", text)
    text = re.sub(r"\\q?quad(?![a-z])", "\t", text)
    text = re.sub(r"\\[,; ]", " ", text).replace(r"\|", "||").replace(r"\{", "(").replace(r"\}", ")")
    text = re.sub(r"\\(sum|prod)_\{(\w+) *=[^{}]*\}(\^\{[^{}]*\}|\^\w)?", r"\\\1_\2 ", text)
    text = re.sub(r"\\(?:mathrm|mathcal|mathbb|text)(?:\{([^{}]*)\}| *(\w))", r"\1\2", text)
    text = re.sub(r"\\tilde *(\w)", r"\1~", text)
    while (simpler := _opened(text)) != text:
        text = simpler
    text = re.sub(r"(?<=[\w)])\\", " ", text)
    text = re.sub(r"\\?([A-Za-z]+)", lambda m: _SIGNS.get(m[1], m[1]) if m[0] != m[1] else m[0], text)
    return _tidied(text.replace("{", "").replace("}", ""))


def _opened(text: str) -> str:
    """Remove the innermost braces: of indices and powers, means and fractions."""
    text = re.sub(r"([_^])\{([^{}]*)\}", lambda m: m[1] + _one(m[2], r"[\w<>~]+|\\?\w+", m[1]), text)
    text = re.sub(r"\\overline\{([^{}]*)\}", lambda m: f"mean {m[1].strip()}", text)
    return re.sub(rf"\\t?frac *{_GROUP} *{_GROUP}(?= *([^\s,)\]]?))", _fraction, text)


def _fraction(found: re.Match) -> str:
    """A fraction in one line, in brackets if something follows."""
    above, below = _one(found[1]), _one(found[2])
    clear = above.startswith("(") and below.startswith("(")
    return f"({above}/{below})" if found[3] and not clear else f"{above}/{below}"


def _one(group: str, single: str = r"\\?\w+(\([^()]*\))?", script: str = "") -> str:
    """The content of braces, in brackets if it has more than one term."""
    inner = group.strip("{} ")
    alone = re.fullmatch(single, inner) and not (script and "_" in inner)
    return inner if alone else f"({inner})"


def _tidied(text: str) -> str:
    text = re.sub(r" *\t *", "   ", re.sub(r" +", " ", text).strip())
    text = re.sub(r"(?<=[(\[]) | (?=[)\],;])", "", text)
    return re.sub(r" *([_^]) *", r"\1", text)


def _line(text: str) -> str:
    return " ".join(text.split())
