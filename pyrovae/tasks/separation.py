r"""How well a score separates two groups: the area under the ROC curve, with its error.

    AUC = P(s1 > s0) + P(s1 = s0) / 2,      s1 a score of one group, s0 of the other

With the placements V1 = P(s0 < s1) + P(s0 = s1) / 2 of each s1 among the other group, and V0 of
each s0 likewise, the variance of the estimate is  var(V1) / n1 + var(V0) / n0.

References:
    DeLong, DeLong & Clarke-Pearson (1988), "Comparing the Areas under Two or More Correlated
    Receiver Operating Characteristic Curves"; Sun & Xu (2014), "Fast Implementation of DeLong's
    Algorithm" (by midranks).
"""

from __future__ import annotations

import math

import numpy as np

from pyrovae.numerics import Array

__all__ = ["auc"]


def auc(scores: Array, is_one: np.ndarray) -> tuple[float, float]:
    """The area under the ROC curve, and its standard error.

    Arguments:
        scores: (N,).
        is_one: which of them belong to the group that should have higher scores, (N,), with at
            least two of each group.

    Example:
        >>> auc(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True]))
        (1.0, 0.0)
        >>> auc(np.array([1.0, 3.0, 2.0, 4.0]), np.array([False, False, True, True]))[0]
        0.75
    """
    from scipy.stats import rankdata

    ones, zeros = scores[is_one], scores[~is_one]
    ranks = rankdata(np.concatenate([ones, zeros]))
    above = (ranks[: len(ones)] - rankdata(ones)) / len(zeros)
    below = 1 - (ranks[len(ones) :] - rankdata(zeros)) / len(ones)
    variance = above.var(ddof=1) / len(ones) + below.var(ddof=1) / len(zeros)
    return float(above.mean()), math.sqrt(variance)
