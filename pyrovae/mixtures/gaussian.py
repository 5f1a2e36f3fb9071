r"""The mixture of Gaussians, declared, and the ways to fit it to data.

    EM             closed form; ascends log p(X | theta) to the nearest top
    gradient       the same top, by L-BFGS on the exact marginal; `pyrovae.fit` does it in minibatches
    MAP            the top of log p(X | theta) + log p(theta)
    posterior      q(theta), by SVI; components that the data do not need vanish

All begin at the same starts and agree where the data are many.
"""

from __future__ import annotations

from typing import Any, Literal

from pyrovae.mixtures.ascent import Ascent
from pyrovae.mixtures.bayes import Beliefs
from pyrovae.mixtures.em import em
from pyrovae.mixtures.gradient import gradient
from pyrovae.mixtures.mode import most_probable
from pyrovae.mixtures.moments import Start
from pyrovae.mixtures.posterior import Posterior, posterior
from pyrovae.mixtures.program import MixtureProgram

__all__ = ["GaussianMixture"]


class GaussianMixture(MixtureProgram):
    r"""A mixture of Gaussians over real vectors, with its component as a discrete latent.

    \[p(x) = \sum_{c=1}^{C} \pi_c \, \mathcal N(x; \mu_c, \Sigma_c), \qquad
    p(c|x) = \pi_c \, \mathcal N(x; \mu_c, \Sigma_c) / p(x)\]

    A Pyro program (`model`, `guide`) whose site "c" is enumerated, so that `pyrovae.log_evidence` is exact
    and `pyrovae.fit` ascends the marginal itself.

    Arguments:
        components: the number C.
        event_dim: the size D of a datum.
        covariance: "spherical" \(\sigma_c^2 I\), "diagonal", or "full".
        floor: no standard deviation (no diagonal entry of a Cholesky factor) is smaller; in the data's units.

    Raises:
        InputError: for a size below 1, an unknown covariance, or a floor outside 0 to 1.

    Reference:
        McLachlan & Peel (2000), "Finite Mixture Models".

    Example:
        >>> mixture = GaussianMixture(components=3, event_dim=2)
        >>> x = mixture.sample(5)
        >>> mixture.log_px(x).shape, mixture.responsibilities(x).shape
        (torch.Size([5]), torch.Size([5, 3]))
    """

    def __init__(
        self,
        components: int,
        event_dim: int,
        covariance: Literal["spherical", "diagonal", "full"] = "full",
        *,
        floor: float = 1e-4,
    ) -> None:
        super().__init__()
        self.components = components
        self.event_dim = event_dim
        self.covariance = covariance
        self.floor = floor
        self.attach()

    def fit_em(
        self,
        x: Any,  # noqa: ANN401
        *,
        start: Start = "kmeans",
        restarts: int = 1,
        iterations: int = 1000,
        tol: float = 1e-6,
        reg_covar: float = 1e-6,
        seed: int = 0,
    ) -> Ascent:
        """Fit by EM, in double precision.

        Arguments:
            x: data (N, D), a tensor or an array.
            start: "kmeans", "random" (means at data drawn from the seed, all as wide as the data), or "given"
                (the present parameters).
            restarts: how many starts, of which the best end is kept.
            iterations: at most so many.
            tol: ends when the log-likelihood changes by less, in nats per datum.
            reg_covar: added to the variances in each iteration.
            seed: of the first start.

        Raises:
            InputError: for data that the mixture cannot take, fewer than its components or not finite; for a
                component that closes in on its data.

        Reference:
            Dempster, Laird & Rubin (1977), "Maximum Likelihood from Incomplete Data via the EM Algorithm".

        Example:
            >>> x = GaussianMixture(components=2, event_dim=1).sample(100)
            >>> fit = GaussianMixture(components=2, event_dim=1).fit_em(x)
            >>> fit.converged, bool((fit.values[1:] >= fit.values[:-1]).all())
            (True, True)
        """
        return em(
            self,
            x,
            start,
            restarts=restarts,
            iterations=iterations,
            tol=tol,
            reg_covar=reg_covar,
            seed=seed,
        )

    def fit_gradient(
        self,
        x: Any,  # noqa: ANN401
        *,
        start: Start = "kmeans",
        iterations: int = 100,
        tol: float = 1e-9,
        seed: int = 0,
    ) -> Ascent:
        """Fit by L-BFGS on the exact log p(x) of all data, in double precision.

        Arguments:
            x, start, tol, seed: as in `fit_em`.
            iterations: at most so many, of 20 steps each.

        Raises:
            InputError: for data that the mixture cannot take.

        Reference:
            Xu & Jordan (1996), "On Convergence Properties of the EM Algorithm for Gaussian Mixtures".
        """
        return gradient(self, x, start, iterations=iterations, tol=tol, seed=seed)

    def fit_map(
        self,
        x: Any,  # noqa: ANN401
        *,
        start: Start = "kmeans",
        concentration: float = 1.0,
        reach: float = 3.0,
        width: float = 1.0,
        eta: float = 1.0,
        iterations: int = 100,
        tol: float = 1e-9,
        seed: int = 0,
    ) -> Ascent:
        r"""Fit by the largest log p(X, theta), with Pyro's `TraceEnum_ELBO` and a point as guide.

        Arguments:
            x, start, tol, seed: as in `fit_em`.
            concentration: a of the weights' Dirichlet prior; 1 is flat.
            reach: standard deviation of the means' normal prior, in units of the data's own.
            width: of the half-Cauchy prior of the standard deviations, in the same units.
            eta: of the correlations' LKJ prior; 1 is flat. The mode is that in the correlations themselves.
            iterations: at most so many, of 20 steps each.

        Raises:
            InputError: for data that the mixture cannot take, a concentration below 1, or a hyperparameter
                that is not above 0.

        Reference:
            Fraley & Raftery (2007), "Bayesian Regularization for Normal Mixture Estimation and Model-Based
            Clustering".
        """
        beliefs = Beliefs(concentration, reach, width, eta)
        return most_probable(self, x, start, beliefs, iterations=iterations, tol=tol, seed=seed)

    def fit_posterior(
        self,
        x: Any,  # noqa: ANN401
        *,
        start: Start = "kmeans",
        concentration: float = 0.01,
        reach: float = 3.0,
        width: float = 1.0,
        eta: float = 1.0,
        merge: bool = True,
        steps: int = 500,
        lr: float = 0.05,
        draws: int = 200,
        seed: int = 0,
    ) -> Posterior:
        r"""Fit q(theta) by SVI with Pyro's `TraceEnum_ELBO`; the mixture is left at the mean of its draws.

        With a concentration below 1, components that the data do not need lose their weight.

        Arguments:
            x, start: as in `fit_em`.
            concentration, reach, width, eta: of the prior, as in `fit_map`.
            merge: before the first step, merge pairs of components as long as the bound on log p(X) rises.
            steps: of Adam, each over all data under one draw of the parameters.
            lr: the learning rate, which falls to zero along a cosine.
            draws: from q(theta) that are returned.
            seed: of the start and of the draws.

        Raises:
            InputError: for data that the mixture cannot take, or a hyperparameter that is not above 0.

        Reference:
            Attias (1999), "Inferring Parameters and Structure of Latent Variable Models by Variational
            Bayes".
        """
        beliefs = Beliefs(concentration, reach, width, eta)
        return posterior(self, x, start, beliefs, merge=merge, steps=steps, lr=lr, draws=draws, seed=seed)

    __repr__ = MixtureProgram.__repr__
    __hash__ = object.__hash__
