"""Exceptions and warnings.

An `InputError` is one sentence that says what was wrong, what was expected and what to do. The
command line prints it and exits with status 2; in Python it is a `ValueError`.
"""

import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = [
    "InputError",
    "Lost",
    "NumericalError",
    "Uncapturable",
    "deprecated",
    "renamed",
    "sizes",
    "visible",
]


class _Sentence(Exception):
    """An exception whose message may contain names from files, with control characters escaped.

    Pyro raises an exception of a program again, with the shapes of the trace after its message.
    These are left out.
    """

    def __init__(self, *args: object) -> None:
        texts = (_SHAPES.split(arg)[0] if isinstance(arg, str) else arg for arg in args)
        super().__init__(*(visible(text) if isinstance(text, str) else text for text in texts))


class InputError(_Sentence, ValueError):
    """Raised for input that cannot be used; the message is one sentence that says what to do."""


class NumericalError(_Sentence, ArithmeticError):
    """Raised for a NaN or infinite loss; the message names the step, the term and the site."""


class Lost(_Sentence, RuntimeError):
    """Raised when another process of the run has ended or failed, so this one cannot continue."""


class Uncapturable(_Sentence, RuntimeError):
    """Raised for a function that cannot be traced; the message says why, and where in the code."""


_SHAPES = re.compile(r"\n\s*Trace Shapes:")
# Both sets of control characters, marks of text direction, invisible line ends, and the surrogates
# that stand for bytes of a file name that are not UTF-8.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: object, *, lines: bool = False) -> str:
    r"""Escape control characters, as \x1b, so that they cannot control a terminal.

    Arguments:
        text: anything that may contain names of files, columns, levels or rows.
        lines: keep line ends, for text of several lines.

    Example:
        >>> print(visible("a\x1b[2Jb.csv"))
        a\x1b[2Jb.csv
    """

    def escaped(match: re.Match[str]) -> str:
        return match[0] if lines and match[0] == "\n" else ascii(match[0])[1:-1]

    return _CONTROL.sub(escaped, str(text))


def sizes(shape: Sequence[int]) -> str:
    """A shape without parentheses, to be printed as part of a longer one.

    Example:
        >>> f"(N, {sizes((1, 28, 28))})"
        '(N, 1, 28, 28)'
    """
    return ", ".join(map(str, shape))


def deprecated(old: str, new: str) -> None:
    """Warn that a public name or option will be removed in two minor versions."""
    warnings.warn(f"{old} is deprecated and will be removed: use {new}", DeprecationWarning, stacklevel=3)


def renamed(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Make `__getattr__` of a package in which names have changed: old ones warn and still work.

    Arguments:
        package: the package's `__name__`.
        names: old name -> new name.
    """

    def get(name: str) -> Any:  # noqa: ANN401
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        deprecated(f"{package}.{name}", f"{package}.{names[name]}")
        return getattr(sys.modules[package], names[name])

    return get
