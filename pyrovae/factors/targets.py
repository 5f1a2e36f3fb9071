r"""A factor as columns of real numbers, for methods that predict real numbers.

    ordinal, continuous   the value
    angle                 its cosine and its sine
    categorical           an indicator for each value; one only if there are two values

All columns have mean 0, and those of one factor a total variance of 1, so a sum of squared errors
over the columns is a share of the factor's variance. The columns of a factor with a single value,
as a replicate may have, are 0.
"""

from __future__ import annotations

import numpy as np

from pyrovae.factors.base import Coded
from pyrovae.numerics import Array, as_array

__all__ = ["explained", "target"]


def target(rows: Coded, k: int) -> Array:
    """The columns of factor k, (N, C)."""
    columns = _columns(rows, k)
    if (columns == columns[0]).all():
        return np.zeros_like(columns)
    columns = columns - columns.mean(0)
    return columns / np.sqrt(columns.var(0).sum())


def _columns(rows: Coded, k: int) -> Array:
    kind, values = rows.factors.kinds[k], as_array(rows.factors.values[:, k])
    if kind == "angle":
        low, high = rows.factors.domains[k]
        turn = 2 * np.pi * (values - low) / (high - low)
        return np.stack([np.cos(turn), np.sin(turn)], 1)
    if kind != "categorical":
        return values[:, None]
    classes = np.unique(rows.classes[:, k])
    columns = (rows.classes[:, k, None] == classes).astype(float)
    return columns[:, 1:] if len(classes) == 2 else columns


def explained(truth: Array, predicted: Array) -> float:
    """The share of the variance of columns (N, C) that predictions explain; 0 if it is negative."""
    left, total = np.square(truth - predicted).sum(), np.square(truth - truth.mean(0)).sum()
    return float(max(0.0, 1.0 - left / total)) if total > 0 else 0.0
