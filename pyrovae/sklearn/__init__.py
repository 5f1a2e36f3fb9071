"""VAEs as estimators of scikit-learn: for `Pipeline`, `GridSearchCV` and `cross_val_score`.

VAEDensity          score_samples = log p(x) of each row, sample
VAETransformer      transform = the mean of q(z|x), inverse_transform = E[x|z]
VAEClusterer        a mixture as prior: predict, predict_proba
VAEImputer          transform fills missing entries given the others
VAEOutlierDetector  the rows with the smallest log p(x)

All have the options of `VAE` and of `fit` as parameters.
"""

from typing import TYPE_CHECKING

from pyrovae.lazy import lazy

if TYPE_CHECKING:
    from pyrovae.sklearn.base import VAEEstimator
    from pyrovae.sklearn.clusterer import VAEClusterer
    from pyrovae.sklearn.density import VAEDensity
    from pyrovae.sklearn.imputer import VAEImputer
    from pyrovae.sklearn.outliers import VAEOutlierDetector
    from pyrovae.sklearn.transformer import VAETransformer

__all__ = [
    "VAEClusterer",
    "VAEDensity",
    "VAEEstimator",
    "VAEImputer",
    "VAEOutlierDetector",
    "VAETransformer",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "base": ["VAEEstimator"],
            "clusterer": ["VAEClusterer"],
            "density": ["VAEDensity"],
            "imputer": ["VAEImputer"],
            "outliers": ["VAEOutlierDetector"],
            "transformer": ["VAETransformer"],
        },
    )
