"""`VAEImputer`: missing entries filled given the others."""
# ruff: noqa: ANN401, N803 - X is the name of rows in scikit-learn

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from pyrovae.checks import count_of, one_of
from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.sklearn.base import VAEEstimator
from pyrovae.sklearn.rows import array_of, distinct, frame_of, in_units, new_rows
from pyrovae.tasks import condition, impute

if TYPE_CHECKING:
    from pyrovae.datasets import Data

__all__ = ["Strategy", "VAEImputer"]

Strategy = Literal["mean", "mode", "draw"]


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class VAEImputer(OneToOneFeatureMixin, TransformerMixin, VAEEstimator):
    r"""An imputer, as `IterativeImputer`: missing entries (NaN) are filled given the others.

    \[x_{\text{missing}} \sim p(x_{\text{missing}}|x_{\text{known}})
    = \int p(x_{\text{missing}}|z)\, p(z|x_{\text{known}})\, dz\]

    Known entries are not changed. Means are too regular for a further analysis, which would
    underestimate its errors: for that, analyse several samples (`sample_imputations`) and pool the
    results by Rubin's rules.

    Arguments:
        strategy: fill in the "mean" of x given the known entries; the "mode", which is the most
            probable value of binary entries, the rounded mean of counts, and the mean of other
            numbers; or a "draw". In a DataFrame, "mean" and "mode" are the same: the most probable
            word, the rounded mean of counts, and the mean of other numbers.
        The others are described in `VAEEstimator`.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(100, 1)) * [1, 2, 3]
        >>> x[:20, 0] = np.nan
        >>> imputer = VAEImputer(1, encoder="MLP", epochs=2, random_state=0)
        >>> filled = imputer.fit_transform(x)
        >>> bool(np.isnan(filled).any()), bool((filled[20:] == x[20:]).all())
        (False, True)
        >>> imputer.sample_imputations(x[:2], 5).shape
        (5, 2, 3)
    """

    strategy: Strategy = "mean"

    def transform(self, X: Any) -> Any:
        """Rows with all missing entries filled: an array, or a DataFrame for a model of one.

        Raises:
            ValueError: for rows that the model cannot read.
        """
        check_is_fitted(self)
        one_of("strategy", self.strategy, get_args(Strategy))
        if self.strategy == "draw":
            return self.sample_imputations(X, 1)[0]
        if self.vae_.schema.columns is not None:
            return self._table(X, 1).frame
        return self._filled(X, self.strategy, 1)

    def sample_imputations(self, X: Any, n_samples: int = 20) -> Any:
        """Multiple imputations: each has one sample of the missing entries given the others.

        Arguments:
            X: rows (N, F).
            n_samples: the number M of imputations.

        Returns:
            An array (M, N, F), or M DataFrames for a model of one.

        Raises:
            ValueError: for rows that the model cannot read.
        """
        check_is_fitted(self)
        count = count_of("n_samples", n_samples)
        if self.vae_.schema.columns is not None:
            return self._table(X, count).frames
        return self._filled(X, "x", count)

    def _check(self, data: Data) -> None:
        """Refuse a column without any entry, of which nothing can be learned."""
        assert isinstance(data.train, Rows)
        missing = torch.cat([part.x.isnan().flatten(1) for part in (data.train, data.validation)]).all(0)
        if bool(missing.any()):
            raise InputError(
                f"column {int(missing.nonzero()[0])} of X has no known entry: drop it, since nothing can be "
                "filled in"
            )

    def _table(self, X: Any, draws: int) -> Any:
        frame = frame_of(self, X)
        return impute(self.vae_, frame, draws=draws, particles=self.particles, seed=self._seed)

    def _filled(self, X: Any, what: str, draws: int) -> NDArray:
        """The rows with the mean, the mode or samples (x) of missing entries."""
        x = array_of(self, X).astype(np.float64)
        result = np.repeat(x[None], draws, 0) if what == "x" else x.copy()
        gaps = np.flatnonzero(np.isnan(x).any(1))
        if not len(gaps):
            return result
        rows = new_rows(self, X)[torch.from_numpy(gaps)]
        # Equal rows have different samples, and the same mean.
        unique, places = (rows, np.arange(len(gaps))) if what == "x" else distinct(rows)
        completion = condition(self.vae_, unique, draws=draws, particles=self.particles, seed=self._seed)
        values = getattr(completion, what)
        values = in_units(self, values.flatten(0, values.dim() - 1 - len(self.vae_.event_shape)))
        values = values.reshape(*result.shape[:-2], -1, x.shape[1])[..., places, :]
        known = x[gaps]
        result[..., gaps, :] = np.where(np.isnan(known), values, known)
        return result
