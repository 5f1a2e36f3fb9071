r"""The base class of metrics that compare codes with the known factors of the data.

    codes     (N, D)    a number for each latent: samples of q(z|x), or its means
    factors   (N, F)    the causes of the same N observations

A subclass defines `scores`, which computes one or more numbers from N rows. The base class checks
the input, puts the rows in a random order, and estimates errors by repeating the computation on
random parts of the rows, the m-out-of-n bootstrap without replacement:

    error = sqrt(m / (n - m)) * standard deviation over replicates of m rows

Rows that occur twice would add to the information of a histogram, and would be in both halves of a
split, so the rows of a replicate are different. With m = n / 2 the factor is 1.

References:
    Bickel, Goetze & van Zwet (1997), "Resampling Fewer than n Observations: Gains, Losses, and
    Remedies for Losses"; Politis & Romano (1994), "Large Sample Confidence Regions Based on
    Subsamples under Minimal Assumptions".
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pyrovae.checks import shown, whole
from pyrovae.datasets.factor_values import Factors
from pyrovae.errors import InputError
from pyrovae.numerics import Array, as_array, numbers
from pyrovae.part import Declared

__all__ = ["BINS", "LEAST_ROWS", "Coded", "Integers", "Metric", "as_factors"]

Integers = NDArray[np.int64]
BINS = 20  # intervals of a code, and of a continuous factor or an angle, that count as one value
LEAST_ROWS = 20
FEW = 20  # whole numbers with at most this number of different values are ordinal


@dataclass(frozen=True, eq=False)
class Coded:
    """N rows with their codes and factors.

    Attributes:
        codes: (N, D).
        factors: the `Factors` of the same rows.
        classes: the factors as class indices (`Factors.classes`), (N, F).
    """

    codes: Array
    factors: Factors
    classes: Integers

    @classmethod
    def of(cls, codes: Any, factors: Any) -> Coded:  # noqa: ANN401
        """Check and join codes (N, D) and the factors of the same rows.

        Raises:
            InputError: for fewer than 20 rows, two codes or two factors, for codes that are not
                finite, and for a factor with a single value.
        """
        codes, factors = numbers(codes, "codes", ("N", "D")), as_factors(factors)
        if len(codes) != len(factors):
            raise InputError(
                f"there are codes of {len(codes):,} rows and factors of {len(factors):,}: give both for the "
                "same rows"
            )
        if len(codes) < LEAST_ROWS:
            raise InputError(f"there are {len(codes)} rows: give at least {LEAST_ROWS}")
        for count, what in ((codes.shape[1], "latent"), (len(factors.names), "factor")):
            if count < 2:
                raise InputError(
                    f"there is one {what}, which cannot be confused with another: give at least two"
                )
        classes = as_array(factors.classes(BINS))
        for name, column in zip(factors.names, classes.T, strict=True):
            if (column == column[0]).all():
                raise InputError(f"the factor {name!r} is the same in all rows: leave it out")
        return cls(codes, factors, classes)

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, index: Any) -> Coded:  # noqa: ANN401
        """Some of the rows, by indices or a slice."""
        return Coded(self.codes[index], self.factors.take(index), self.classes[index])

    @property
    def halves(self) -> tuple[Coded, Coded]:
        """The first half of the rows, for fitting, and the second, for testing."""
        middle = len(self) // 2
        return self.take(slice(middle)), self.take(slice(middle, None))

    @cached_property
    def sd(self) -> Array:
        """The standard deviation of each code, (D,): exactly 0 for a constant code."""
        return np.where(np.ptp(self.codes, 0) > 0, self.codes.std(0), 0.0)

    def scaled(self, by: Coded | None = None) -> Array:
        """The codes (N, D), shifted and scaled to mean 0 and standard deviation 1 in some rows.

        Arguments:
            by: the rows, by default these. A code that is constant in them is only shifted.
        """
        by = self if by is None else by
        return (self.codes - by.codes.mean(0)) / np.where(by.sd > 0, by.sd, 1.0)


class Metric(Declared, ABC):
    """One or more numbers that say how well codes stand for the factors of data.

    A subclass stores its options under their own names and defines `scores`.

    Attributes:
        reads: whether a VAE's codes are "samples" of q(z|x) or its "means".
        source: authors and year.
        replicates: the number of replicates for the errors.
        share: the share of the rows in a replicate, m / n.
        rows: the largest number of rows that are used, or None.

    Example:
        >>> class Correlation(Metric):
        ...     def scores(self, rows, rng):
        ...         both = np.corrcoef(rows.codes.T, rows.factors.values.T)
        ...         return {"correlation": float(abs(both[:2, 2:]).max(0).mean())}
        >>> factors = np.random.default_rng(0).normal(size=(500, 2))
        >>> metric = Correlation()
        >>> round(metric(-factors, factors)["correlation"], 6)
        1.0
        >>> 0.005 < metric.errors(factors + factors[::-1], factors)["correlation"] < 0.05
        True
    """

    reads: ClassVar[Literal["samples", "means"]] = "means"
    source: ClassVar[str] = ""
    replicates: ClassVar[int] = 50
    share: ClassVar[float] = 0.5
    rows: int | None = None

    @abstractmethod
    def scores(self, rows: Coded, rng: np.random.Generator) -> dict[str, float]:
        """The scores of rows in a random order, by name."""

    @property
    def choices(self) -> str:
        """All options of the estimate, in one line."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.hyperparameters().items())
        share = f"{self.replicates} replicates of {100 * self.share:g} % of the rows"
        return f"{type(self).__name__}({options}) of {self.reads}; errors from {share}"

    def chance(self, factors: int) -> float:
        """The score of codes that are independent of this number of factors."""
        return 0.0

    def __call__(self, codes: Any, factors: Any, *, seed: int = 0) -> dict[str, float]:  # noqa: ANN401
        """The scores of codes (N, D) and factors, by name.

        Arguments:
            codes: a number for each row and latent, (N, D).
            factors: `Factors`; or columns by name, or an array (N, F), whose kinds are then found
                from the values.
            seed: seed of the order of the rows, and of samples.

        Raises:
            InputError: as for `Coded.of`.
        """
        rows, rng = self._shuffled(codes, factors, seed)
        return self.scores(rows, rng)

    def errors(self, codes: Any, factors: Any, *, seed: int = 0) -> dict[str, float]:  # noqa: ANN401
        """The standard errors of the scores, by name; the arguments are those of a call."""
        rows, rng = self._shuffled(codes, factors, seed)
        values = [self.scores(rows.take(self._part(len(rows), rng)), rng) for _ in range(self.replicates)]
        factor = math.sqrt(self.share / (1 - self.share))
        return {name: factor * float(np.std([v[name] for v in values], ddof=1)) for name in values[0]}

    def _shuffled(self, codes: Any, factors: Any, seed: int) -> tuple[Coded, np.random.Generator]:  # noqa: ANN401
        rng = np.random.default_rng(whole("seed", seed, 0))
        rows = codes if isinstance(codes, Coded) else Coded.of(codes, factors)
        return rows.take(rng.permutation(len(rows))[: self.rows]), rng

    def _part(self, count: int, rng: np.random.Generator) -> Integers:
        """Rows of a replicate: the same share of the first half and of the second."""
        middle = count // 2
        first, second = (max(2, round(self.share * part)) for part in (middle, count - middle))
        return np.concatenate(
            [rng.permutation(middle)[:first], middle + rng.permutation(count - middle)[:second]]
        )


def as_factors(values: Any) -> Factors:  # noqa: ANN401
    """Factors of an array (N, F) or of columns by name; `Factors` stay as they are.

    Words are categorical, whole numbers with at most 20 different values are ordinal, and other
    numbers are continuous.

    Raises:
        InputError: for values that are not columns, a column that holds neither numbers nor words,
            and values that are missing.

    Example:
        >>> as_factors({"shape": ["heart", "square", "heart"], "x": [0.1, 0.5, 0.2]})
        Factors(3 rows: shape (categorical), x (continuous))
    """
    if isinstance(values, Factors):
        return values
    if hasattr(values, "columns") or isinstance(values, Mapping):
        names = list(values.columns) if hasattr(values, "columns") else list(values)
        columns = [np.asarray(as_array(values[name])) for name in names]
    else:
        array = as_array(values)
        if array.ndim == 0:
            raise InputError(f"factors are {shown(values)}: give an array (N, F), or columns by name")
        array = array[:, None] if array.ndim == 1 else array
        columns, names = list(array.T), [f"factor {i}" for i in range(array.shape[-1])]
    read = [_column(str(name), column) for name, column in zip(names, columns, strict=True)]
    if len({len(column) for column, _, _ in read}) != 1:
        raise InputError("the factors differ in their numbers of rows: give a value of each for every row")
    values, kinds, words = zip(*read, strict=True)
    return Factors(torch.as_tensor(np.stack(values, 1)), tuple(map(str, names)), kinds, words=words)


def _column(name: str, column: Any) -> tuple[Array, Any, tuple[str, ...] | None]:  # noqa: ANN401
    """The values, the kind, and the words of a column."""
    if column.dtype.kind in "OUSb" and all(isinstance(value, str | np.str_ | np.bool_) for value in column):
        words, index = np.unique(column.astype(str), return_inverse=True)
        return index.astype(float), "categorical", tuple(words.tolist())
    values = numbers(column, f"the factor {name!r}", ("N",))
    is_whole = bool((values == values.round()).all()) and len(np.unique(values)) <= FEW
    return values, "ordinal" if is_whole else "continuous", None
