"""What a user gets when something they gave cannot be used.

An `InputError` is one sentence that says what was wrong, what was expected and what to do. The
command line prints it and leaves with status 2; from Python it is a `ValueError`.
"""

import warnings
from collections.abc import Sequence

__all__ = ["InputError", "Lost", "NumericalError", "Uncapturable", "deprecated", "sizes"]


class InputError(ValueError):
    """Something the user gave cannot be used; the message is one sentence that says what to do."""


class NumericalError(ArithmeticError):
    """A computation left the real numbers; the message names the step, the term and the site."""


class Lost(RuntimeError):
    """Another process of the run ended or failed, and this one cannot go on without it."""


class Uncapturable(RuntimeError):
    """A function that cannot become a graph; the message is the reason and where it lies."""


def sizes(shape: Sequence[int]) -> str:
    """A shape as it reads inside a longer one.

    Example:
        >>> f"(N, {sizes((1, 28, 28))})"
        '(N, 1, 28, 28)'
    """
    return ", ".join(map(str, shape))


def deprecated(old: str, new: str) -> None:
    """Warn that a public name or option will go, two minor versions from now, and say what to use."""
    warnings.warn(f"{old} is deprecated and will be removed: use {new}", DeprecationWarning, stacklevel=3)
