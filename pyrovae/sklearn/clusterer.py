"""`VAEClusterer`: the components of a mixture in latent space as clusters."""
# ruff: noqa: ANN401, N803 - X is the name of rows in scikit-learn

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClusterMixin
from sklearn.utils.validation import check_is_fitted

from pyrovae.checks import whole
from pyrovae.priors import GaussianMixture
from pyrovae.sklearn.base import VAEEstimator
from pyrovae.sklearn.latents import class_shares
from pyrovae.sklearn.rows import new_rows
from pyrovae.training.defaults import Facts, chosen

if TYPE_CHECKING:
    from pyrovae.datasets import Data

__all__ = ["VAEClusterer"]

CLIP = 5.0


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class VAEClusterer(ClusterMixin, VAEEstimator):
    r"""Clusters as the components of a mixture prior, as `GaussianMixture` in latent space.

    \[p(c|x) \approx \mathbb E_{q(z|x)}[p(c|z)], \qquad p(z) = \sum_c \pi_c N(z; \mu_c, \Sigma_c)\]

    The prior is N(0, I) for half of the epochs, in which the weight of the KL divergence grows.
    Then its components start at clusters of the encodings. Unless given, `clip` is 5. Few rows need
    more epochs or a larger `lr` than usual, since the encodings must differ when the components
    start. Clusters are numbered by the number of training rows in them, the largest first;
    components without rows are last.

    Arguments:
        n_clusters: the number of components.
        prior: another prior with components, in place of `n_clusters`. By default
            `GaussianMixture(n_clusters, "full", start="fit", start_epoch=...)`, which starts after
            half of the epochs.
        The others are described in `VAEEstimator`.

    Attributes:
        labels_: the clusters of the training rows, (N,).
        components_: the component of the prior of each cluster, (C,).

    Example:
        >>> import numpy as np
        >>> from sklearn.datasets import make_blobs
        >>> x, y = make_blobs(150, random_state=0)
        >>> model = VAEClusterer(2, n_clusters=3, epochs=10, encoder="MLP", random_state=0)
        >>> labels = model.fit_predict(x)
        >>> model.predict_proba(x).shape
        (150, 3)
    """

    n_clusters: int = 8

    def predict_proba(self, X: Any) -> NDArray:
        """The probabilities of the clusters of each row, (N, C).

        Raises:
            ValueError: for rows that the model cannot read.
        """
        check_is_fitted(self)
        return self._shares(X)[:, self.components_]

    def predict(self, X: Any) -> NDArray:
        """The most probable cluster of each row, (N,)."""
        return self.predict_proba(X).argmax(1)

    def _shares(self, X: Any) -> NDArray:
        return class_shares(self.vae_, new_rows(self, X), self.particles, self._seed).numpy()

    def _complete(self, X: Any, weights: NDArray | None) -> None:
        shares = self._shares(X)
        sizes = np.bincount(shares.argmax(1), weights, minlength=shares.shape[1])
        self.components_ = np.argsort(-sizes, kind="stable")
        self.labels_ = shares[:, self.components_].argmax(1)

    def _usual(self, data: Data) -> dict[str, Any]:
        """A mixture that starts after half of the epochs, in which the KL divergence grows.

        With its full weight from the beginning, q(z|x) would tell few rows apart at the start.
        With a small weight, the divergence may become large: gradients are clipped.
        """
        if self.prior is not None:
            return {}
        open_settings = {"batch_size": self.batch_size, "epochs": self.epochs}
        half = whole("epochs", chosen(open_settings, Facts(len(data.train)))["epochs"]) // 2
        prior = GaussianMixture(self.n_clusters, "full", "fit", start_epoch=half)
        warmup = {"kl_warmup": half, "clip": CLIP} if self.objective is None else {}
        return {"prior": prior} | warmup
