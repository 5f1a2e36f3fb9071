r"""Plain mixtures of Gaussians as Pyro programs: the smallest latent variable model.

    c ~ Categorical(pi),   x | c ~ N(mu_c, Sigma_c)

The only latent is discrete and can be summed out, so log p(x) is exact. The methods to fit it can
be checked against each other: EM, gradients, the mode under a prior, and the posterior of the
parameters.
"""

from pyrovae.mixtures.ascent import Ascent
from pyrovae.mixtures.gaussian import GaussianMixture
from pyrovae.mixtures.posterior import Posterior

__all__ = ["Ascent", "GaussianMixture", "Posterior"]
