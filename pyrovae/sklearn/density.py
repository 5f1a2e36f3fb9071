"""`VAEDensity`: log p(x) of rows, and samples of x."""
# ruff: noqa: ANN401

from __future__ import annotations

import dataclasses
from typing import Any

from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted

from pyrovae.sklearn.base import VAEEstimator, seed_of
from pyrovae.sklearn.rows import in_units

__all__ = ["VAEDensity"]


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class VAEDensity(DensityMixin, VAEEstimator):
    r"""A density estimator, as `KernelDensity`: log p(x) of rows, and samples of x.

    \[p(x) = \int p(x|z)\, p(z)\, dz\]

    The density is that of x in its own units. All parameters are described in `VAEEstimator`.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(200, 2)) * [1, 10]
        >>> density = VAEDensity(1, encoder="MLP", epochs=20, random_state=0).fit(x)
        >>> bool(density.score_samples([[0, 0]]) > density.score_samples([[0, 90]]))
        True
        >>> density.sample(5, random_state=0).shape
        (5, 2)
    """

    score = VAEEstimator.score  # the mixin has one that gives nothing

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw rows from p(x): an array (n_samples, F), or a DataFrame for a model of one.

        Arguments:
            n_samples: the number of rows.
            random_state: a seed, a `RandomState`, or None for numpy's random state.
        """
        check_is_fitted(self)
        return in_units(self, self.vae_.sample(n_samples, seed=seed_of(random_state)))
