"""Exceptions and warnings.

An `InputError` is one sentence that says what was wrong, what was expected and what to do. The
command line prints it and exits with status 2; in Python it is a `ValueError`.
"""

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["InputError", "Lost", "NumericalError", "Uncapturable", "deprecated", "renamed", "sizes"]


class InputError(ValueError):
    """Raised for input that cannot be used; the message is one sentence that says what to do."""


class NumericalError(ArithmeticError):
    """Raised for a NaN or infinite loss; the message names the step, the term and the site."""


class Lost(RuntimeError):
    """Raised when another process of the run has ended or failed, so this one cannot continue."""


class Uncapturable(RuntimeError):
    """Raised for a function that cannot be traced; the message says why, and where in the code."""


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
