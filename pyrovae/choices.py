"""Choices: what stands in a declaration in place of a value that a search is to choose.

    Real(1e-4, 1e-2, log=True)      a number between two others
    Whole(2, 64)                    a whole number
    OneOf(32, 64, 128)              one of some values, words or parts

A hyperparameter of a part may be a choice, as in `GaussianMixture(components=Whole(2, 50))`. It
exists only where that part is chosen. Objectives check their hyperparameters at once, so they are
written as {"class_path": "IWAE", "init_args": {"particles": OneOf(5, 50)}}.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pyrovae import checks
from pyrovae.errors import InputError

__all__ = ["Choice", "OneOf", "Real", "Whole"]

MOST = 10_000  # values of a grid
_SCALAR = (bool, int, float, str, type(None))


class Choice(ABC):
    """The base of choices."""

    @abstractmethod
    def listed(self) -> list[Any]:
        """All values, in order.

        Raises:
            InputError: if there are too many to list.
        """


@dataclass(frozen=True)
class _Range(Choice):
    """Numbers from `low` to `high`, both included; with `log`, equally likely ratios."""

    low: Any
    high: Any
    log: bool = False

    def _check(self) -> None:
        checks.flags(log=self.log)
        if not self.low < self.high:
            raise InputError(
                f"{self} has no values to choose from: the first number must be below the second"
            )
        if self.log and self.low <= 0:
            raise InputError(f"{self} is on a logarithmic scale, where numbers are above 0: raise {self.low}")

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Real(_Range):
    """A number from `low` to `high`.

    Arguments:
        low: the smallest value.
        high: the largest value.
        log: whether ratios count, as for a learning rate.

    Raises:
        InputError: for an empty range, or a logarithm of 0.

    Example:
        >>> str(Real(1e-4, 1e-2, log=True))
        '0.0001..0.01:log'
    """

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, checks.number(f"{name} of Real", getattr(self, name)))
        self._check()

    def listed(self) -> list[Any]:
        raise InputError(
            f"{self} has no finite list of values: name them, as in {self.low:g},{self.high:g}, or search"
        )


@dataclass(frozen=True)
class Whole(_Range):
    """A whole number from `low` to `high`.

    Arguments:
        low: the smallest value.
        high: the largest value.
        log: whether ratios count.

    Raises:
        InputError: for an empty range, or a logarithm of 0.

    Example:
        >>> Whole(2, 5).listed()
        [2, 3, 4, 5]
    """

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            least = -(2**53)
            object.__setattr__(self, name, checks.whole(f"{name} of Whole", getattr(self, name), least))
        self._check()

    def listed(self) -> list[Any]:
        if self.high - self.low >= MOST:
            raise InputError(f"{self} has more than {MOST:,} values: name some, as in {self.low},{self.high}")
        return list(range(self.low, self.high + 1))


class OneOf(Choice):
    """One of some values: numbers, words, lists, parts, or choices.

    Arguments:
        options: the values.

    Raises:
        InputError: for no values, or two that are equal or read alike, such as 1, 1.0 and True.

    Example:
        >>> from pyrovae.priors import GaussianMixture, StandardNormal
        >>> OneOf(StandardNormal(), GaussianMixture(components=Whole(2, 50)))
        OneOf(StandardNormal(), GaussianMixture(components=Whole(low=2, high=50, log=False)))
    """

    def __init__(self, *options: Any) -> None:  # noqa: ANN401
        if not options:
            raise InputError("OneOf needs at least one value, as in OneOf(32, 64)")
        self.options = tuple(map(_plain, options))
        for number, option in enumerate(self.options):
            if any(_is_same(option, other) for other in self.options[:number]):
                raise InputError(f"{option!r} occurs twice in {self}: leave one out")

    def listed(self) -> list[Any]:
        return list(self.options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OneOf) and self.options == other.options

    def __hash__(self) -> int:
        return hash((OneOf, len(self.options)))

    def __repr__(self) -> str:
        return self._words(self.options)

    @staticmethod
    def _words(options: tuple[Any, ...]) -> str:
        return f"OneOf({', '.join(map(repr, options))})"


def _plain(option: Any) -> Any:  # noqa: ANN401
    """Numbers and lists in place of those of NumPy and torch."""
    return option.tolist() if isinstance(option, (np.generic, np.ndarray, Tensor)) else option


def _is_same(one: Any, other: Any) -> bool:  # noqa: ANN401
    """Whether two options are equal, or have the same label in the table of trials."""
    if isinstance(one, _SCALAR) and isinstance(other, _SCALAR):
        return one == other or str(one) == str(other)
    return type(one) is type(other) and one == other
