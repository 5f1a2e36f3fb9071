r"""The declaration of a mixture of Gaussians, and the methods to fit it to data.

    EM             closed form; raises log p(X | theta) to a local maximum
    gradient       the same maximum, by L-BFGS on the exact marginal; `pyrovae.fit` uses minibatches
    MAP            the maximum of log p(X | theta) + log p(theta)
    posterior      q(theta), by SVI; components that the data do not need vanish

All methods have the same starts, and agree for many data.
"""

from __future__ import annotations

from typing import Literal

from pyrovae.mixtures.ascent import ByGradient
from pyrovae.mixtures.em import ByEM
from pyrovae.mixtures.mode import ByMode
from pyrovae.mixtures.posterior import ByPosterior
from pyrovae.mixtures.program import MixtureProgram

__all__ = ["GaussianMixture"]


class GaussianMixture(ByEM, ByGradient, ByMode, ByPosterior):
    r"""A mixture of Gaussians over real vectors, with its component as a discrete latent.

    \[p(x) = \sum_{c=1}^{C} \pi_c \, \mathcal N(x; \mu_c, \Sigma_c), \qquad
    p(c|x) = \pi_c \, \mathcal N(x; \mu_c, \Sigma_c) / p(x)\]

    A Pyro program (`model`, `guide`) whose site "c" is enumerated. So `pyrovae.log_evidence` is
    exact, and `pyrovae.fit` maximises the marginal likelihood itself.

    Arguments:
        components: the number C.
        event_dim: the size D of an observation.
        covariance: "spherical" \(\sigma_c^2 I\), "diagonal", or "full".
        floor: the smallest standard deviation (diagonal entry of a Cholesky factor), in the data's
            units.

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

    __repr__ = MixtureProgram.__repr__
    __hash__ = object.__hash__
