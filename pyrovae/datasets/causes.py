r"""Values of the factors of drawn data, from a seed.

    u ~ U(0, 1),  value = low + u (high - low);  category = floor(u C)

Each factor has a random stream of its own, so an option of one factor does not change another, and
the first rows of a larger sample are the rows of a smaller one. On a grid, rows are different cells
of the full product.

Dependent factors. v = fold(u + s e), e ~ U(-1, 1), where fold reflects at 0 and 1. Then v is
uniform too, and for 0 <= s <= 1

    corr(u, v) = 1 - 2 s^2 + s^3

(with the cosine series of a uniform variable). A negative correlation takes 1 - v.

The same bits everywhere: the streams are those of Philox, which are fixed, and the arithmetic is
addition, multiplication, division and square roots in float64, which IEEE 754 rounds in one way.
Functions such as sin differ in the last digit between machines, and are not used.

References:
    Matthey et al. (2017), "dSprites" (the grid); Trauble et al. (2021), "On Disentangled
    Representations Learned from Correlated Data" (dependent factors in a band around a line).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pyrovae.datasets.drawing import Drawing
from pyrovae.datasets.factor_values import DISCRETE, Factors, Kind
from pyrovae.errors import InputError
from pyrovae.names import meant_by

__all__ = ["Cause", "sampled", "stream"]

DEFAULT_COUNT = 20_000
MOST_CELLS = 10**7
HALVINGS = 60


@dataclass(frozen=True)
class Cause:
    """A factor of a drawn set.

    Attributes:
        name: its name.
        kind: its kind.
        low, high: the bounds of its values.
        steps: the number of its values on a grid; of a categorical factor, its categories.
        words: the words for its categories, or None.
    """

    name: str
    kind: Kind
    low: float = 0.0
    high: float = 1.0
    steps: int = 10
    words: tuple[str, ...] | None = None

    def cells(self, steps: int) -> np.ndarray:
        """The values on a grid of some steps, ascending; the end of an angle is its start."""
        if self.kind == "categorical":
            return np.arange(self.steps, dtype=np.float64)
        gaps = steps if self.kind == "angle" else steps - 1
        return self.low + np.arange(steps) / gaps * (self.high - self.low)

    def values(self, share: np.ndarray, steps: int | None) -> np.ndarray:
        """The values for shares in [0, 1), (N,), on a grid if `steps` are given."""
        if self.kind == "categorical":
            return np.floor(share * self.steps)
        if steps is None:
            return self.low + share * (self.high - self.low)
        return self.cells(steps)[np.floor(share * steps).astype(np.int64)]

    def domain(self, steps: int | None) -> tuple[float, ...]:
        """The domain of `Factors`."""
        if self.kind == "categorical" or (steps is not None and self.kind != "angle"):
            return tuple(self.cells(steps or self.steps).tolist())
        return (self.low, self.high)

    def on_grid(self, steps: int | None) -> Kind:
        """The kind, which is ordinal for numbers on a grid."""
        return "ordinal" if steps is not None and self.kind == "continuous" else self.kind

    def value_of(self, value: float | str) -> float:
        """A value that a user gives, as a number or a word.

        Raises:
            InputError: for a value outside the bounds.
        """
        if self.words is not None and value in self.words:
            return float(self.words.index(str(value)))
        inside = isinstance(value, float) and self.low <= value <= self.high
        if not inside or (self.kind in DISCRETE and value % 1):  # type: ignore[operator]
            known = f"from {self.low:g} to {self.high:g}" if self.words is None else ", ".join(self.words)
            raise InputError(f"{self.name} cannot be {value}: give a value {known}")
        return float(value)


def sampled(
    causes: Sequence[Cause], count: int | None, drawing: Drawing, name: str
) -> tuple[np.ndarray, Factors]:
    """Values of every cause, (N, F'), and the factors, (N, F), which are those that are not fixed.

    Raises:
        InputError: for options that name unknown factors or do not fit.
    """
    places = {cause.name: i for i, cause in enumerate(causes)}
    for asked in [*(one for a, b, _ in drawing.dependent for one in (a, b)), *(n for n, _ in drawing.fixed)]:
        _refuse_unknown(asked, list(places), name)
    fixed = {n: causes[places[n]].value_of(value) for n, value in drawing.fixed}
    free = [cause for cause in causes if cause.name not in fixed]
    if not free:
        raise InputError(f"every factor of {name} is fixed: leave one free")
    steps = _steps(free, drawing, name)
    each: list[int | None] = [None] * len(free) if steps is None else [*steps]
    if steps is not None and not drawing.dependent:
        columns = _cells(free, steps, count, drawing.seed, name)
    else:
        rows = DEFAULT_COUNT if count is None else count
        shares = {cause.name: _uniform(rows, name, drawing.seed, cause.name) for cause in free}
        shares = _dependent(shares, drawing, name)
        columns = [cause.values(shares[cause.name], n) for cause, n in zip(free, each, strict=True)]
    factors = Factors(
        torch.from_numpy(np.stack(columns, axis=1)),
        tuple(cause.name for cause in free),
        tuple(cause.on_grid(n) for cause, n in zip(free, each, strict=True)),
        tuple(cause.domain(n) for cause, n in zip(free, each, strict=True)),
        tuple(cause.words for cause in free),
    )
    by_name = dict(zip(factors.names, columns, strict=True))
    every = [by_name.get(c.name, np.full(len(factors), fixed.get(c.name, 0.0))) for c in causes]
    return np.stack(every, axis=1), factors


def stream(*words: object) -> np.random.Philox:
    """The random bits that belong to some words, the same with every version of numpy.

    Example:
        >>> int(stream("sprites", 0).random_raw()) == int(stream("sprites", 0).random_raw())
        True
    """
    digest = hashlib.sha256(repr(words).encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little"))


def _uniform(count: int, *words: object) -> np.ndarray:
    """Numbers (count,), multiples of 2^-53 in [0, 1)."""
    return (stream(*words).random_raw(count) >> np.uint64(11)) * 2.0**-53


def _refuse_unknown(asked: str, names: list[str], of: str) -> None:
    if asked not in names:
        meant = meant_by(asked, names)
        raise InputError(f"{of} have no factor {asked!r}: {meant}they have {', '.join(names)}")


# -------------------------------------------------------------------- grids


def _steps(free: Sequence[Cause], drawing: Drawing, name: str) -> list[int] | None:
    """The number of values of each factor on the grid, or None without a grid."""
    if drawing.grid is None:
        return None
    numeric = [cause for cause in free if cause.kind != "categorical"]
    if drawing.grid and len(drawing.grid) != len(numeric):
        raise InputError(
            f"grid has {len(drawing.grid)} numbers, and {name} have the numeric factors "
            f"{', '.join(cause.name for cause in numeric)}: give one number for each, or none"
        )
    asked = dict(zip((cause.name for cause in numeric), drawing.grid, strict=False))
    return [asked.get(cause.name, cause.steps) for cause in free]


def _cells(
    free: Sequence[Cause], steps: Sequence[int], count: int | None, seed: int, name: str
) -> list[np.ndarray]:
    """Different cells of the full product, in random order; all of them if there are `count`."""
    total = math.prod(steps)
    rows = min(total, DEFAULT_COUNT) if count is None else count
    if rows > total:
        raise InputError(f"count={rows} is more than the {total:,} cells of the grid of {name}: use fewer")
    if total > MOST_CELLS:
        raise InputError(f"the grid of {name} has {total:,} cells: use fewer values, or no grid")
    order = np.argsort(stream(name, seed, "cells").random_raw(total), kind="stable")[:rows]
    return [c.cells(n)[i] for c, n, i in zip(free, steps, np.unravel_index(order, steps), strict=True)]


# -------------------------------------------------------------------- dependent factors


def _dependent(shares: dict[str, np.ndarray], drawing: Drawing, name: str) -> dict[str, np.ndarray]:
    """Shares in which each second factor of `dependent` follows the first."""
    done: set[str] = set()
    for a, b, correlation in drawing.dependent:
        if a not in shares or b not in shares:
            raise InputError(f"dependent names {a} and {b}, of which one is fixed: leave one of the two out")
        if b in done:
            raise InputError(
                f"{b} is named before {b!r} follows {a}: let each factor follow one, named before it"
            )
        e = 2 * _uniform(len(shares[a]), name, drawing.seed, b, "follows", a) - 1
        v = _folded(shares[a] + _width(abs(correlation)) * e)
        v = v if correlation >= 0 else 1 - v
        shares[b] = np.clip(v, 0.0, 1 - 2.0**-53)  # 1 would be beyond the last category
        done |= {a, b}
    return shares


def _folded(v: np.ndarray) -> np.ndarray:
    """Values in [-1, 2] reflected at 0 and 1."""
    v = np.abs(v)
    return np.where(v > 1, 2 - v, v)


def _width(correlation: float) -> float:
    """The s in [0, 1] with 1 - 2 s^2 + s^3 = correlation, by bisection.

    Example:
        >>> _width(1.0) < 1e-9, round(_width(0.0), 12)
        (True, 1.0)
    """
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        s = (low + high) / 2
        low, high = (s, high) if 1 - 2 * s * s + s * s * s > correlation else (low, s)
    return high
