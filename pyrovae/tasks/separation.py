r"""How well a score separates normal from anomalous rows: the AUROC with its standard error.

The area under the ROC curve is the probability that an anomalous row has the higher score,

\[A = \frac{1}{mn} \sum_{i=1}^m \sum_{j=1}^n \psi(a_j - b_i), \quad \psi(t) = 1 \text{ if } t > 0,
\tfrac12 \text{ if } t = 0, \text{ else } 0\]

for scores b of m normal rows and a of n anomalous ones. The standard error is that of DeLong: with
the means \(V_i = \frac1n \sum_j \psi(a_j - b_i)\) over anomalous rows and \(W_j\) over normal ones,

\[\mathrm{se}^2 = \mathrm{var}(V) / m + \mathrm{var}(W) / n\]

References:
    DeLong, DeLong & Clarke-Pearson (1988), "Comparing the areas under two or more correlated
    receiver operating characteristic curves"; Qin & Hotilovac (2008), "Comparison of
    non-parametric confidence intervals for the area under the ROC curve of a continuous-scale
    diagnostic test" (the logit interval); Newcombe (2006), "Confidence intervals for an effect size
    measure based on the Mann-Whitney statistic. Part 2" (method 5, for complete separation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrovae.checks import number
from pyrovae.display import Displayed
from pyrovae.errors import InputError
from pyrovae.numerics import Array, numbers
from pyrovae.tasks.result import Scores

__all__ = ["AUROC", "auroc"]


@dataclass(frozen=True, repr=False)
class AUROC(Displayed):
    """The area under the ROC curve.

    Attributes:
        value: the probability that an anomalous row has a higher score than a normal one, ties
            counted half; 1 separates all rows, and 0.5 is chance.
        stderr: its standard error by DeLong; 0 if all rows are separated.
        low, high: the confidence interval.
        normal, anomalous: the numbers of rows.
        level: the confidence level.
    """

    value: float
    stderr: float
    low: float
    high: float
    normal: int
    anomalous: int
    level: float = 0.95

    def __str__(self) -> str:
        return (
            f"AUROC {self.value:.3f} +- {self.stderr:.3f} ({100 * self.level:g} % interval {self.low:.3f} to "
            f"{self.high:.3f}), {self.normal:,} normal and {self.anomalous:,} anomalous rows"
        )


def auroc(normal: Any, anomalous: Any, *, level: float = 0.95) -> AUROC:  # noqa: ANN401
    r"""Compute the AUROC of scores that are higher for anomalous rows, with its error.

    Arguments:
        normal: the scores of m normal rows: an array (m,), or `Scores`, of which `anomaly` is used.
        anomalous: the scores of n anomalous rows.
        level: the confidence level of the interval, which is symmetric in logit(A). If the standard
            error is 0 (all rows are separated), it is Newcombe's.

    Raises:
        InputError: for fewer than two rows, NaN, or `Scores` of different kinds.

    Reference:
        DeLong, DeLong & Clarke-Pearson (1988), "Comparing the areas under two or more correlated
        receiver operating characteristic curves".

    Example:
        >>> rng = np.random.default_rng(0)
        >>> print(auroc(rng.normal(0, 1, 400), rng.normal(1, 1, 300)))
        AUROC 0.772 +- 0.018 (95 % interval 0.736 to 0.805), 400 normal and 300 anomalous rows
    """
    both = isinstance(normal, Scores) and isinstance(anomalous, Scores)
    if both and normal.kind != anomalous.kind:
        raise InputError(
            f"the scores are of different kinds, {normal.kind!r} and {anomalous.kind!r}: score both groups "
            "of rows with the same kind"
        )
    b, a = _scores(normal, "normal"), _scores(anomalous, "anomalous")
    level = number("level", level, above=0, below=1)
    v, w = _above(a, b), 1 - _above(b, a)
    value, stderr = float(w.mean()), math.sqrt(v.var(ddof=1) / len(b) + w.var(ddof=1) / len(a))
    low, high = _interval(value, stderr, len(b), len(a), level)
    return AUROC(value, stderr, low, high, len(b), len(a), level)


def _scores(given: Any, name: str) -> Array:  # noqa: ANN401
    values = numbers(given.anomaly if isinstance(given, Scores) else given, name, ("N",), finite=False)
    if np.isnan(values).any():
        raise InputError(f"{name} has NaN at row {int(np.isnan(values).argmax())}: leave such rows out")
    if len(values) < 2:
        raise InputError(f"{name} has {len(values)} score, and the error needs two: give more rows")
    return values


def _above(values: Array, of: Array) -> Array:
    """The share of `values` above each element of `of`, ties counted half."""
    ordered = np.sort(values)
    below = np.searchsorted(ordered, of, side="left") + np.searchsorted(ordered, of, side="right")
    return 1 - below / (2 * len(values))


def _interval(value: float, stderr: float, normal: int, anomalous: int, level: float) -> tuple[float, float]:
    from scipy.special import expit, logit, ndtri

    z = float(ndtri((1 + level) / 2))
    if stderr > 0 and 0 < value < 1:
        half = z * stderr / (value * (1 - value))
        return float(expit(logit(value) - half)), float(expit(logit(value) + half))
    return _newcombe(value, normal, anomalous, z), 1 - _newcombe(1 - value, normal, anomalous, z)


def _newcombe(value: float, normal: int, anomalous: int, z: float) -> float:
    """The lower end t of the interval with value - t = z sd(t)."""
    from scipy.optimize import brentq

    def excess(t: float) -> float:
        spread = 1 + ((normal + anomalous) / 2 - 1) * ((1 - t) / (2 - t) + t / (1 + t))
        return value - t - z * math.sqrt(max(0.0, t * (1 - t) * spread) / (normal * anomalous))

    return 0.0 if value <= 0 else float(brentq(excess, 0, value * (1 - 1e-12)))
