"""`VAEOutlierDetector`: the rows with the smallest log p(x)."""
# ruff: noqa: ANN401, N803 - X is the name of rows in scikit-learn

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import OutlierMixin

from pyrovae.checks import number
from pyrovae.sklearn.base import VAEEstimator

__all__ = ["VAEOutlierDetector"]


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class VAEOutlierDetector(OutlierMixin, VAEEstimator):
    r"""An outlier detector, as `IsolationForest`: outliers have a small log p(x).

    \[\text{decision\_function}(x) = \log p(x) - \text{offset}\]

    The offset is such that a share of the training rows, `contamination`, is below it.

    Arguments:
        contamination: the share of the training rows that are outliers, above 0 and at most 0.5.
        The others are described in `VAEEstimator`.

    Attributes:
        offset_: log p(x) of the least probable inlier among the training rows, in nats.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = VAEOutlierDetector(1, encoder="MLP", epochs=5, random_state=0).fit(x)
        >>> int((model.predict(x) == -1).sum()), model.predict([[0, 0], [9, 9]]).tolist()
        (20, [1, -1])
    """

    contamination: float = 0.1

    def decision_function(self, X: Any) -> NDArray:
        """log p(x) minus the offset, in nats, (N,): negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray:
        """1 for inliers and -1 for outliers, (N,)."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def _complete(self, X: Any, weights: NDArray | None) -> None:
        share = number("contamination", self.contamination, above=0, most=0.5)
        self.offset_ = offset_of(self.score_samples(X), share, weights)


def offset_of(scores: NDArray, share: float, weights: NDArray | None = None) -> float:
    """The score below which the weight of the other scores is nearest to a share of all.

    Example:
        >>> offset_of(np.arange(10.0), 0.2)
        2.0
    """
    order = np.argsort(scores, kind="stable")
    weights = np.ones(len(scores)) if weights is None else weights[order]
    below = np.cumsum(weights) - weights
    return float(scores[order][np.abs(below - share * weights.sum()).argmin()])
