r"""Metrics of how well single latents, or all of them, predict each factor.

SAP            the gap between the two latents that predict a factor best
explicitness   how well all latents together tell the values of a factor apart, linearly
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyrovae.factors.base import Coded, Integers, Metric
from pyrovae.factors.targets import target
from pyrovae.numerics import Array

__all__ = ["SAP", "Explicitness"]

STEPS = 1000  # of the optimiser of a logistic regression, at most
WEAK = 100.0  # the inverse of its penalty: a code that separates all values gets nearly 1


class SAP(Metric):
    r"""The separated attribute predictability: a factor should be predictable from one latent only.

    \[\frac1F \sum_k (S_{(1)k} - S_{(2)k})\]

    S_jk says how well latent j alone predicts factor k: R^2 of a linear regression or, for a
    categorical factor, the balanced accuracy of a logistic regression on held-out rows, rescaled so
    that chance is 0. S_(1)k and S_(2)k are the two largest.

    Reference:
        Kumar, Sattigeri & Balakrishnan (2018), "Variational Inference of Disentangled Latent
        Concepts from Unlabeled Observations". They do not rescale the accuracy.

    Example:
        >>> factors = np.random.default_rng(0).normal(size=(1000, 2))
        >>> SAP()(factors, factors)["SAP"] > 0.99
        True
    """

    source = "Kumar et al. (2018)"
    replicates = 20

    def scores(self, rows: Coded, rng: np.random.Generator) -> dict[str, float]:
        score = np.sort(np.stack([self._of_factor(rows, k) for k in range(len(rows.factors.names))]), 1)
        return {"SAP": float((score[:, -1] - score[:, -2]).mean())}

    def _of_factor(self, rows: Coded, k: int) -> Array:
        """S of each latent, (D,)."""
        if rows.factors.kinds[k] != "categorical":
            return np.square(rows.scaled().T @ target(rows, k) / len(rows)).sum(1)
        train, test = rows.halves
        pairs = zip(train.scaled().T, test.scaled(train).T, strict=True)
        return np.array([_accuracy(z, train.classes[:, k], new, test.classes[:, k]) for z, new in pairs])


class Explicitness(Metric):
    r"""Explicitness: the values of a factor should be linearly separable in the codes.

    \[\frac1F \sum_k \frac1{V_k} \sum_v (2\,\mathrm{AUC}_{kv} - 1)\]

    AUC_kv is the area under the ROC curve, on held-out rows, of the probability of value v in a
    logistic regression of factor k with a class for each of its V_k values.

    Reference:
        Ridgeway & Mozer (2018), "Learning Deep Disentangled Embeddings with the F-Statistic Loss".
        There it is the AUC itself, whose chance is 0.5, of regressions of one value against the
        others. Those cannot find values in the middle of a range; a regression with all can.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 3, (1000, 2))
        >>> Explicitness()(factors, factors)["explicitness"] > 0.99
        True
    """

    source = "Ridgeway & Mozer (2018)"
    replicates = 10

    def scores(self, rows: Coded, rng: np.random.Generator) -> dict[str, float]:
        train, test = rows.halves
        codes, new = train.scaled(), test.scaled(train)
        columns = zip(train.classes.T, test.classes.T, strict=True)
        return {"explicitness": float(np.mean([_separation(codes, v, new, w) for v, w in columns]))}


def _separation(codes: Array, values: Integers, new: Array, truth: Integers) -> float:
    """2 AUC - 1 of each value, averaged."""
    from sklearn.metrics import roc_auc_score

    model = _logistic(codes, values)
    if model is None:
        return 0.0
    shares = model.predict_proba(new)
    present = [v for v, value in enumerate(model.classes_) if 0 < (truth == value).sum() < len(truth)]
    areas = [roc_auc_score(truth == model.classes_[v], shares[:, v]) for v in present]
    return 2 * float(np.mean(areas)) - 1 if areas else 0.0


def _accuracy(z: Array, values: Integers, new: Array, truth: Integers) -> float:
    """The balanced accuracy of one latent, with chance at 0 and perfection at 1; at least 0."""
    model = _logistic(z[:, None], values, balanced=True)
    if model is None:
        return 0.0
    predicted, present = model.predict(new[:, None]), np.unique(truth)
    share = np.mean([(predicted[truth == value] == value).mean() for value in present])
    chance = 1 / max(2, len(present))
    return max(0.0, float(share - chance) / (1 - chance))


def _logistic(codes: Array, values: Integers, *, balanced: bool = False) -> Any:  # noqa: ANN401
    """A multinomial logistic regression with a weak penalty; None for a single value."""
    from sklearn.linear_model import LogisticRegression

    if (values == values[0]).all():
        return None
    weight = "balanced" if balanced else None
    return LogisticRegression(C=WEAK, max_iter=STEPS, class_weight=weight).fit(codes, values)
