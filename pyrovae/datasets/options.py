"""The arguments of `load`, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from pyrovae.checks import one_of, whole
from pyrovae.cures import cure, option
from pyrovae.datasets.contexts import Derived
from pyrovae.datasets.readers.options import ReadOptions, strings
from pyrovae.datasets.split import Parts, parts, rows_or_share
from pyrovae.errors import InputError

__all__ = ["Binarize", "Options", "context_option", "labels_or_not"]

Binarize = Literal["dynamic", "static", "threshold"]

_NUMBERS: dict[str, Callable[[str, Any], int | float]] = {
    "validation": rows_or_share,
    "test": rows_or_share,
    "split_seed": partial(whole, least=0),
    "known": whole,
    "copies": whole,
    "count": partial(whole, least=3),
    "resize": whole,
}


@dataclass(frozen=True)
class Options:
    """The arguments of `load` as plain values, which give the same data again.

    A context is "labels", the words of a context that is computed from x, or a list of columns.
    """

    data: str | None
    root: str | None
    binarize: Binarize | None
    dequantize: bool
    validation: int | float | None
    test: int | float | None
    split_seed: int
    context: str | list[str] | None
    labels: bool | str
    known: int | None
    copies: int
    count: int | None
    kinds: dict[str, str] | None
    drop: list[str] | None = None
    na: list[str] | None = None
    separator: str | None = None
    decimal: str | None = None
    header: bool | None = None
    resize: int | None = None
    jitter: str | None = None
    stream: bool | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        if not isinstance(self.labels, str):
            one_of("labels", self.labels, (True, False))
        one_of("header", self.header, (True, False, None))
        for name in ("context", "drop", "na"):
            value = getattr(self, name)
            if value is not None and not (name == "context" and isinstance(value, str)):
                words = strings(name, value, split=name == "na")
                object.__setattr__(self, name, list(words) or None)
        for name, check in _NUMBERS.items():
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else check(name, value))
        if self.known is None and self.copies > 1:
            raise InputError(
                f"{option('copies', self.copies)} repeats rows with a known label: give "
                f"{cure('known=', '--known')} as well, or leave it out"
            )

    def parts_of(self, rows: int, **more: Any) -> Parts:  # noqa: ANN401
        """Split this number of rows."""
        return parts(rows, validation=self.validation, test=self.test, seed=self.split_seed, **more)

    @property
    def reading(self) -> ReadOptions:
        """The options that say how a file is read."""
        columns = self.context if isinstance(self.context, list) else None
        return ReadOptions.of(vars(self) | {"context": columns})


def labels_or_not(labels: Any, known: int | None) -> bool | str:  # noqa: ANN401
    """Whether labels are used, and in which column.

    Raises:
        InputError: if a number of known labels is given without labels.
    """
    if labels is False and known is not None:
        raise InputError(
            f"{option('known', known)} needs labels, but {option('labels', False)} drops them: leave one of "
            "the two out"
        )
    return known is not None if labels is None else labels


def context_option(context: Any, derived: Derived | None) -> Any:  # noqa: ANN401
    """A context as an option: "labels", the words of one that is computed from x, or columns."""
    if derived is not None:
        return derived.words
    return [context] if isinstance(context, str) and context != "labels" else context
