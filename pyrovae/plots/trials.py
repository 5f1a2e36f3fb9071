"""The trials of a search as columns: hyperparameters, values and states.

A hyperparameter is a column of numbers or of words. NaN or None marks the trials in which it does
not exist, as an option of a part that was not chosen. The value of a trial is in nats per
observation and larger is better; a failed trial has none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.checks import one_of
from pyrovae.errors import InputError
from pyrovae.numerics import Array, as_array, numbers

__all__ = ["STATES", "Column", "Trials", "columns_of", "low_fence", "shorten", "trials_of"]

STATES = ("complete", "pruned", "failed", "running")
WIDE = 50  # the smallest ratio of the largest to the smallest value, for a logarithmic axis

Parameters = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Column:
    """One hyperparameter over the trials.

    Attributes:
        name: its path, such as "decoder.width".
        values: numbers or indices of words, (N,); NaN where it does not exist.
        words: the words in alphabetical order, or () for numbers.
        is_log: whether its axis is logarithmic.
    """

    name: str
    values: Array
    words: tuple[str, ...] = ()
    is_log: bool = False

    @property
    def exists(self) -> np.ndarray:
        """Whether it exists in each trial, (N,)."""
        return ~np.isnan(self.values)

    @property
    def scaled(self) -> Array:
        """The values, or their logarithms if the axis is logarithmic."""
        return np.log10(self.values) if self.is_log else self.values

    @property
    def unit(self) -> Array:
        """Places from 0 to 1 on its axis; 0.5 for a constant."""
        at = self.scaled
        low, high = np.nanmin(at), np.nanmax(at)
        return (at - low) / (high - low) if high > low else at * 0 + 0.5


@dataclass(frozen=True)
class Trials:
    """The values of the trials, (N,), NaN for none, and masks of their states, (N,)."""

    values: Array
    complete: np.ndarray
    pruned: np.ndarray
    failed: np.ndarray

    @property
    def best(self) -> int | None:
        """The index of the complete trial with the largest value, or None."""
        return int(np.argmax(np.where(self.complete, self.values, -np.inf))) if self.complete.any() else None


def trials_of(values: ArrayLike, states: Sequence[str] | None = None) -> Trials:
    """Check the values and states of trials; without states, those with a value are complete.

    Trials that are still running count as without a value.

    Raises:
        InputError: if lengths differ, a state is not one of `STATES`, a complete trial has no
            finite value, or no trial has a value.

    Example:
        >>> trials = trials_of([-20.0, -18.0, float("nan")], ["complete", "complete", "failed"])
        >>> trials.best, int(trials.failed.sum())
        (1, 1)
    """
    value = numbers(values, "values", ("N",), finite=False)
    if states is None:
        state = np.where(np.isfinite(value), "complete", "failed")
    else:
        state = np.array([one_of("a state of a trial", str(word), STATES) for word in states])
        if len(state) != len(value):
            raise InputError(
                f"there are {len(value)} values and {len(state)} states: give one of each a trial"
            )
    wrong = int((~np.isfinite(value[state == "complete"])).sum())
    if wrong:
        raise InputError(f"{wrong} complete trials have no finite value: give them the state 'failed'")
    value = np.where(np.isfinite(value) & (state != "failed") & (state != "running"), value, np.nan)
    if np.isnan(value).all():
        raise InputError(
            f"none of the {len(value)} trials has a value: wait for the first to finish, or read why they "
            "failed and correct the space"
        )
    return Trials(value, state == "complete", state == "pruned", state == "failed")


def columns_of(parameters: Parameters, count: int, log: Collection[str] | None = None) -> list[Column]:
    """Read hyperparameters; those that exist in no trial are left out.

    Args:
        parameters: path -> numbers or words, (N,); None or NaN where it does not exist. A data
            frame is such a mapping.
        count: the number of trials N.
        log: the paths with a logarithmic axis. By default they are those whose values have equal
            ratios, as 32, 64, 128, and those whose largest value is at least 50 times the smallest
            with many values near the smallest.

    Raises:
        InputError: if a length differs from `count`, `log` names an unknown path or one with words
            or values that are not positive, or no hyperparameter exists in any trial.

    Example:
        >>> parameters = {"lr": [1e-4, 1e-3, 1e-2], "prior": ["VampPrior", None, "Normal"]}
        >>> [(column.name, column.is_log, column.words) for column in columns_of(parameters, 3)]
        [('lr', True, ()), ('prior', False, ('Normal', 'VampPrior'))]
    """
    if not isinstance(log, (Collection, type(None))) or isinstance(log, str):
        raise InputError(f"log is {log!r}: give a list of names of hyperparameters, such as ['lr']")
    unknown = sorted(set(log or ()) - set(parameters))
    if unknown:
        raise InputError(f"log names {unknown[0]!r}, which is not one of {', '.join(map(str, parameters))}")
    columns = [_column(str(name), values, count, log) for name, values in parameters.items()]
    columns = [column for column in columns if column.exists.any()]
    if not columns:
        raise InputError("no hyperparameter has a value in any trial: give at least one column with values")
    return columns


def low_fence(values: Array) -> float:
    r"""The value below which a trial is far below the others, \(q_{25} - 3 (q_{75} - q_{25})\).

    Without spread between the quartiles, it is -inf and nothing is cut off.

    Reference:
        Tukey (1977), "Exploratory Data Analysis": the outer fence.

    Example:
        >>> low_fence(np.array([-20.0, -19.0, -18.0, -17.0, -4000.0]))
        -26.0
    """
    low, high = np.quantile(values, [0.25, 0.75])
    return float(low - 3 * (high - low)) if high > low else float("-inf")


def shorten(word: str, most: int, head: int | None = None) -> str:
    """A word with its middle left out, if it has more than `most` characters.

    Args:
        word: the word.
        most: the largest number of characters, including the ellipsis.
        head: the number of characters before the ellipsis, by default half of them.

    Example:
        >>> shorten("ConvolutionalDecoder(channels=32)", 15)
        'Convolu…els=32)'
    """
    if len(word) <= most:
        return word
    tail = (most - 1) // 2 if head is None else most - 1 - head
    return f"{word[: most - 1 - tail]}…{word[-tail:]}"


def _column(name: str, given: Sequence[Any], count: int, log: Collection[str] | None) -> Column:
    entries = list(as_array(given, object)) if not isinstance(given, (list, tuple)) else list(given)
    if len(entries) != count:
        raise InputError(f"{name} has {len(entries)} entries: give one for each of {count} trials")
    entries = [None if _is_missing(entry) else entry for entry in entries]
    present = [entry for entry in entries if entry is not None]
    if all(isinstance(entry, Real) and not isinstance(entry, (bool, np.bool_)) for entry in present):
        values = np.array([np.nan if entry is None else float(entry) for entry in entries])
        return Column(name, values, (), _log_axis(name, values, log))
    if name in (log or ()):
        raise InputError(f"log names {name!r}, which has words: name hyperparameters with numbers only")
    words = tuple(sorted({str(entry) for entry in present}))
    at = {word: float(i) for i, word in enumerate(words)}
    return Column(name, np.array([np.nan if e is None else at[str(e)] for e in entries]), words)


def _is_missing(entry: Any) -> bool:  # noqa: ANN401
    """None, NaN, and the missing values of pandas, none of which is equal to itself."""
    if entry is None or type(entry).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(entry, Real) and not np.isfinite(float(entry))


def _log_axis(name: str, values: Array, log: Collection[str] | None) -> bool:
    """Whether the axis is logarithmic, as asked for or as the values suggest."""
    present = values[~np.isnan(values)]
    if log is not None:
        if name in log and (present <= 0).any():
            raise InputError(f"log names {name!r}, which has values of 0 or below: use a linear axis")
        return name in log
    different = np.unique(present)
    if len(different) < 3 or different[0] <= 0:
        return False
    ratios = different[1:] / different[:-1]
    if np.allclose(ratios, ratios[0], rtol=1e-3):
        return True
    near = present <= present.min() + 0.1 * (present.max() - present.min())
    return bool(different[-1] >= WIDE * different[0] and near.mean() > 0.2)
