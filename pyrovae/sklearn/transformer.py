"""`VAETransformer`: rows as latents, and latents as rows."""
# ruff: noqa: ANN401, N803 - X is the name of rows in scikit-learn

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from pyrovae.errors import InputError
from pyrovae.sklearn.base import VAEEstimator
from pyrovae.sklearn.latents import decoded, means
from pyrovae.sklearn.rows import in_units, new_rows

__all__ = ["VAETransformer"]


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, VAEEstimator):
    r"""A nonlinear dimension reduction, as `PCA`: the mean of q(z|x), and E[x|z].

    \[\text{transform: } x \mapsto \mathbb E_{q(z|x)}[z], \qquad
    \text{inverse\_transform: } z \mapsto \mathbb E[x|z]\]

    All parameters are described in `VAEEstimator`.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(100, 4))
        >>> vae = VAETransformer(2, encoder="MLP", epochs=2, random_state=0)
        >>> z = vae.fit_transform(x)
        >>> z.shape, vae.inverse_transform(z).shape
        ((100, 2), (100, 4))
        >>> vae.get_feature_names_out().tolist()
        ['vaetransformer0', 'vaetransformer1']
    """

    def transform(self, X: Any) -> NDArray:
        """The mean of q(z|x) of each row, (N, D).

        If the mean of the guide is not known, as for flows, it is that of `particles` samples.

        Raises:
            ValueError: for rows that the model cannot read.
        """
        check_is_fitted(self)
        return means(self.vae_, new_rows(self, X), self.particles, self._seed).numpy()

    def inverse_transform(self, X: ArrayLike) -> Any:
        """E[x|z] of latents (N, D): an array (N, F), or a DataFrame for a model of one.

        A DataFrame has the most probable words, and the rounded means of counts.

        Raises:
            ValueError: for latents of another size, and a likelihood without a known mean.
        """
        check_is_fitted(self)
        z = check_array(X, dtype=np.float64)
        if z.shape[1] != self._n_features_out:
            raise InputError(
                f"X has {z.shape[1]} latents, and the model has {self._n_features_out}: give the result of "
                "transform"
            )
        return in_units(self, decoded(self.vae_, torch.tensor(z)))

    @property
    def _n_features_out(self) -> int:
        return self.vae_.prior.size
