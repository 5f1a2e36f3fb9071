r"""DCI: disentanglement, completeness and informativeness, from predictors of each factor.

A predictor of each factor is fitted to the codes. R (D, F) is the importance of latent j for
factor k: of boosted trees the total decrease of the squared error, of a lasso the size of the
coefficients.

    D_j = 1 - H_F(R_j. / sum_k R_jk)     0 if a latent serves all factors alike, 1 if it serves one
    C_k = 1 - H_D(R_.k / sum_j R_jk)     0 if a factor needs all latents alike, 1 if it needs one
    I_k = R^2 of the predictor of factor k on held-out rows

H_F is the entropy with logarithms of base F.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from pyrovae.checks import one_of, whole
from pyrovae.factors.base import Coded, Metric
from pyrovae.factors.targets import explained, target
from pyrovae.numerics import Array

__all__ = ["DCI"]

LEAST = 0.01  # the share of a factor's variance below which it counts as not predicted
Predictor = Literal["boosting", "lasso"]


class DCI(Metric):
    r"""Disentanglement, completeness and informativeness.

    \[D = \sum_j \frac{\sum_k R_{jk}}{\sum_{jk} R_{jk}} D_j, \qquad C = \frac1F \sum_k C_k, \qquad
    I = \frac1F \sum_k I_k\]

    The importances R of each factor add up to 1. They are 0 if its predictor explains less than 1 %
    of the variance on held-out rows: they would be noise then. One half of the rows is for fitting,
    the other for testing.

    Arguments:
        kind: "boosting" for gradient boosted trees (100 of depth 3, learning rate 0.1), or "lasso"
            for a linear predictor whose penalty is chosen by 5-fold cross-validation.
        rows: the largest number of rows that are used, chosen at random.

    A factor is predicted as in `targets`: an angle by its cosine and sine, a categorical factor by
    indicators. The cost is proportional to the number of rows and of such columns.

    Reference:
        Eastwood & Williams (2018), "A Framework for the Quantitative Evaluation of Disentangled
        Representations". There informativeness is the error, which is smaller if it is better.
        Locatello et al. (2019) use a classifier for all factors, and its accuracy. Neither of them
        sets importances to 0.

    Example:
        >>> factors = np.random.default_rng(0).normal(size=(400, 2))
        >>> scores = DCI("lasso")(factors, factors)
        >>> [round(value, 2) for value in scores.values()]
        [1.0, 1.0, 1.0]
    """

    source = "Eastwood & Williams (2018)"
    replicates = 10
    share = 0.2

    def __init__(self, kind: Predictor = "boosting", rows: int = 5000) -> None:
        self.kind = one_of("kind", kind, get_args(Predictor))
        self.rows = whole("rows", rows, 20)

    def scores(self, rows: Coded, rng: np.random.Generator) -> dict[str, float]:
        train, test = rows.halves
        count = len(rows.factors.names)
        fitted = [self._fit(rows, train, k, int(rng.integers(2**31))) for k in range(count)]
        importance = np.stack([weights for weights, _ in fitted], 1)
        end = "" if self.kind == "boosting" else f" ({self.kind})"
        return {
            f"DCI disentanglement{end}": disentangled(importance),
            f"DCI completeness{end}": completed(importance),
            f"DCI informativeness{end}": float(np.mean([share for _, share in fitted])),
        }

    def _fit(self, rows: Coded, train: Coded, k: int, seed: int) -> tuple[Array, float]:
        """The importance of each latent for factor k, (D,), and the share of its variance."""
        columns, middle = target(rows, k), len(train)
        codes = rows.scaled(train)
        fit = _boosted if self.kind == "boosting" else _lasso
        weights, predicted = fit(codes[:middle], columns[:middle], codes[middle:], seed)
        share, total = explained(columns[middle:], predicted), weights.sum()
        return weights / total if total > 0 and share >= LEAST else np.zeros_like(weights), share


def disentangled(importance: Array) -> float:
    """D of importances (D, F), 0 if all are 0.

    Example:
        >>> disentangled(np.eye(3)), disentangled(np.ones((2, 2)))
        (1.0, 0.0)
    """
    weight = importance.sum(1)
    if not weight.sum():
        return 0.0
    return float(weight @ _concentration(importance) / weight.sum())


def completed(importance: Array) -> float:
    """C of importances (D, F); a factor without importances counts 0.

    Example:
        >>> completed(np.array([[1.0, 0.0], [1.0, 0.0]])), completed(np.eye(2))
        (0.0, 1.0)
    """
    return float(_concentration(importance.T).mean())


def _concentration(importance: Array) -> Array:
    """1 minus the entropy of each row, in the base of its length; 0 for a row of zeros."""
    total = importance.sum(1, keepdims=True)
    share = importance / np.where(total > 0, total, 1.0)
    logs = np.log(np.where(share > 0, share, 1.0))
    concentration = 1 + (share * logs).sum(1) / np.log(importance.shape[1])
    return np.where(total[:, 0] > 0, concentration.round(12), 0.0)


def _boosted(codes: Array, columns: Array, new: Array, seed: int) -> tuple[Array, Array]:
    """Importances (D,) and predictions for new codes, by trees for each column."""
    from sklearn.ensemble import GradientBoostingRegressor

    weights, predicted = np.zeros(codes.shape[1]), np.empty((len(new), columns.shape[1]))
    for c, column in enumerate(columns.T):
        model = GradientBoostingRegressor(random_state=seed).fit(codes, column)
        predicted[:, c] = model.predict(new)
        weights += column.var() * model.feature_importances_
    return weights, predicted


def _lasso(codes: Array, columns: Array, new: Array, seed: int) -> tuple[Array, Array]:
    """Importances (D,) and predictions for new codes, by a group lasso over the columns."""
    from sklearn.linear_model import MultiTaskLassoCV

    model = MultiTaskLassoCV(cv=5, random_state=seed).fit(codes, columns)
    return np.linalg.norm(model.coef_, axis=0), model.predict(new)
