"""Checks of the numbers and options that a user gives.

5, 5.0 and a numpy scalar are whole numbers, and any real scalar is a number; booleans are neither.
Each check returns the plain Python value, which can be stored, written and compared.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

from pyrovae.errors import InputError

__all__ = [
    "check_flags",
    "count_of",
    "counts_of",
    "exact",
    "flags",
    "number",
    "one_of",
    "path_of",
    "shown",
    "sizes_of",
    "whole",
    "words_by_name",
    "words_of",
]

T = TypeVar("T")
LARGEST = 2**63
MOST = 10**9  # of particles, chains, temperatures and steps: more would take years


def whole(name: str, value: Any, least: int = 1, most: int = LARGEST - 1) -> int:  # noqa: ANN401
    """Return the value as an int from `least` to `most`.

    Raises:
        InputError: if it is not a whole number in that range.

    Example:
        >>> whole("particles", 5.0)
        5
    """
    plain = _scalar(value)
    if plain is None or plain % 1 != 0 or not least <= plain <= most:
        is_large = plain is not None and plain % 1 == 0 and plain > most
        has_end = is_large or most not in (LARGEST - 1, MOST)
        bound = f"from {least} to {_long(most)}" if has_end else f"of {least} or more"
        raise InputError(f"{name} must be a whole number {bound}, not {shown(value)}")
    return int(plain)


def count_of(name: str, value: Any, least: int = 1) -> int:  # noqa: ANN401
    """Return a number of particles, chains or steps as an int, from `least` to 10^9.

    Raises:
        InputError: if it is not a whole number in that range.

    Example:
        >>> count_of("particles", 5000)
        5000
    """
    return whole(name, value, least, MOST)


def _long(number: int) -> str:
    return f"{number:,}" if number >= 10**6 else str(number)


def counts_of(name: str, values: Any) -> tuple[int, ...]:  # noqa: ANN401
    """Return several numbers of particles or steps, ascending and without repetition.

    Raises:
        InputError: for anything but a list of whole numbers of 1 or more.

    Example:
        >>> counts_of("particles", (50, 5, 5))
        (5, 50)
    """
    if not isinstance(values, Iterable) or isinstance(values, str) or getattr(values, "ndim", 1) == 0:
        raise InputError(f"{name} must be a list of whole numbers, as in (1, 5, 50), not {shown(values)}")
    counts = tuple(sorted({count_of(name, value) for value in values}))
    if not counts:
        raise InputError(f"{name} must name at least one number, as in (1, 5, 50)")
    return counts


def check_flags(part: Any) -> None:  # noqa: ANN401
    """Check the options of a part whose defaults are True or False.

    Raises:
        InputError: for one that is neither.
    """
    for name, parameter in inspect.signature(type(part)).parameters.items():
        if isinstance(parameter.default, bool):
            one_of(f"{name} of {type(part).__name__}", getattr(part, name, True), (True, False))


def flags(**values: Any) -> None:  # noqa: ANN401
    """Check options that are True or False.

    Raises:
        InputError: for one that is neither.
    """
    for name, value in values.items():
        one_of(name, value, (True, False))


def path_of(name: str, value: Any) -> Path:  # noqa: ANN401
    """Return the name of a file or folder as a path.

    Raises:
        InputError: if it cannot be the name of a file.
    """
    try:
        path = Path(value)
    except TypeError:
        raise InputError(f"{name} must be a path, not {shown(value)}") from None
    if "\0" in str(path):
        raise InputError(f"{name} must be a path without NUL characters, not {value!r}")
    return path


def sizes_of(name: str, values: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Return a list of sizes as a tuple; each of them is checked later.

    Raises:
        InputError: if it is not a list.

    Example:
        >>> sizes_of("channels", [32, 64])
        (32, 64)
    """
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__") or getattr(values, "ndim", 1) == 0:
        raise InputError(f"{name} must be a list of sizes, as in (32, 64), not {shown(values)}")
    return tuple(values)


def words_of(name: str, values: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Return a list of words as a tuple.

    Raises:
        InputError: if it is not a list of words.

    Example:
        >>> words_of("columns", ["normal", "categorical:3"])
        ('normal', 'categorical:3')
    """
    is_list = isinstance(values, Iterable) and not isinstance(values, str) and getattr(values, "ndim", 1) > 0
    words = list(values) if is_list else []
    if not words or not all(isinstance(word, str) for word in words):
        raise InputError(f"{name} must be a list of words, not {shown(values)}")
    return tuple(words)


def words_by_name(name: str, values: Any) -> dict[str, str]:  # noqa: ANN401
    """Return words by name as a dict.

    Raises:
        InputError: for anything but a mapping of words to words.
    """
    if not isinstance(values, Mapping) or not all(
        isinstance(w, str) for pair in values.items() for w in pair
    ):
        raise InputError(f"{name} must be words by name, as in {{'age': 'real'}}, not {shown(values)}")
    return dict(values)


def number(
    name: str,
    value: Any,  # noqa: ANN401
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> float:
    """Return the value as a finite float in the given range.

    Raises:
        InputError: if it is not a finite number in that range.

    Example:
        >>> number("lr", 1, above=0)
        1.0
    """
    plain = _scalar(value)
    if plain is None or not (_is_finite(plain) and least <= plain <= most and above < plain < below):
        raise InputError(
            f"{name} must be a finite number{_range(least, above, most, below)}, not {shown(value)}"
        )
    return float(plain)


def exact(value: float) -> str:
    """The shortest text that is read as the same number.

    Example:
        >>> exact(10.0), exact(0.05), exact(1 / 3)
        ('10', '0.05', '0.3333333333333333')
    """
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def one_of(name: str, value: T, choices: Collection[T]) -> T:
    """Return the value if it is one of the choices.

    Raises:
        InputError: if it is not.
    """
    # `True == 1`, but an option that accepts True does not accept 1.
    if not any(value is choice or (type(value) is type(choice) and value == choice) for choice in choices):
        *first, last = map(repr, choices)
        options = f"{', '.join(first)} or {last}" if first else last
        raise InputError(f"{name} must be {options}, not {shown(value)}")
    return value


def shown(value: Any) -> str:  # noqa: ANN401
    """A value for a one-line message; long values are shortened, arrays replaced by their shape."""
    try:
        text = repr(value)
    except ValueError:  # an integer with thousands of digits
        return f"a number of {value.bit_length():,} bits" if isinstance(value, int) else type(value).__name__
    if "\n" in text and hasattr(value, "shape"):
        return f"an array of shape {tuple(value.shape)}"
    text = " ".join(text.split())
    return text if len(text) <= 100 else f"{text[:60]} ... {text[-20:]}"


def _scalar(value: Any) -> Any:  # noqa: ANN401
    """A number, or a scalar of numpy or torch, as a Python number; None for anything else."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # numpy warns when a small type is compared with a large bound
    return value if isinstance(value, Real) and not isinstance(value, bool) else None


def _is_finite(value: Any) -> bool:  # noqa: ANN401
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def _range(least: float, above: float, most: float, below: float) -> str:
    low = f"{least:g} or more" if above == -math.inf else f"above {above:g}"
    high = f"{most:g} or less" if below == math.inf else f"below {below:g}"
    has_low, has_high = max(least, above) > -math.inf, min(most, below) < math.inf
    if has_low and has_high and above == -math.inf and below == math.inf:
        return f" from {least:g} to {most:g}"
    return "".join(f", {text}" for text, has in ((low, has_low), (high, has_high)) if has)
