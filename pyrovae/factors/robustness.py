r"""IRS: the interventional robustness score.

    A_jk = mean over the values v of factor k of   q99 of |z_j - E[z_j|v]| among rows with v_k = v
    B_j  = q99 of |z_j - E[z_j]|
    IRS  = sum_j B_j max_k (1 - A_jk / B_j) / sum_j B_j

A_jk says how far latent j moves when factor k stays as it is and the others change. A latent that
stands for factor k alone does not move then, so A_jk is 0 and the latent scores 1.
"""

from __future__ import annotations

import numpy as np

from pyrovae.checks import number
from pyrovae.factors.base import Coded, Metric

__all__ = ["IRS"]


class IRS(Metric):
    r"""The interventional robustness score: a latent should move with one factor only.

    \[\mathrm{IRS} = \frac{\sum_j \max_k (B_j - A_{jk})}{\sum_j B_j}\]

    A and B are defined above. The average over the values of a factor is weighted by their
    frequencies. Constant codes take no part.

    Arguments:
        quantile: the quantile of the deviations; 1 for the maximum.

    Reference:
        Suter, Miladinovic, Schoelkopf & Bauer (2019), "Robustly Disentangled Causal Mechanisms".
        There the deviations are maxima; the authors' program uses the quantile 0.99 for A and the
        maximum for B, so codes without information do not score 0.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 5, (1000, 2))
        >>> IRS()(factors, factors)["IRS"]
        1.0
    """

    source = "Suter et al. (2019)"

    def __init__(self, quantile: float = 0.99) -> None:
        self.quantile = number("quantile", quantile, above=0, most=1)

    def scores(self, rows: Coded, rng: np.random.Generator) -> dict[str, float]:
        codes = rows.codes[:, rows.sd > 0]
        whole = self._deviation(codes)
        if not whole.sum():
            return {"IRS": 0.0}
        within = np.zeros((len(rows.factors.names), codes.shape[1]))
        for k, values in enumerate(rows.classes.T):
            for value, count in zip(*np.unique(values, return_counts=True), strict=True):
                within[k] += count / len(rows) * self._deviation(codes[values == value])
        robust = np.maximum(whole - within.min(0), 0.0)
        return {"IRS": float(robust.sum() / whole.sum())}

    def _deviation(self, codes: np.ndarray) -> np.ndarray:
        """The quantile of the distance from the mean, (D,)."""
        return np.quantile(np.abs(codes - codes.mean(0)), self.quantile, axis=0)
