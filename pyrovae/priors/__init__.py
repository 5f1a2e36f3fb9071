r"""Priors p(z), and p(z|c) where there is a context c.

A prior is a module whose `forward` returns a distribution of the latents, with event shape (D,):

    prior = GaussianMixture(components=10)      # declare
    prior.attach(latent_dim=2)                  # create parameters; a VAE does this
    prior().log_prob(z)                         # z (*, D) -> (*)

On the reals: StandardNormal, Normal, Laplace, StudentT, GaussianMixture, VampPrior, Flow,
Autoregressive, Conditional (on a context), Hierarchical (layers). Elsewhere: HypersphericalUniform,
Categorical, Classes.

To write a prior, subclass `Prior`: store hyperparameters in `__init__`, create parameters in
`attach`, and return a Pyro distribution from `forward`. It can then be used in Python, in YAML and
on the command line.
"""

from pyrovae.priors.base import Prior
from pyrovae.priors.discrete import Categorical, Classes
from pyrovae.priors.flow import Autoregressive, Flow
from pyrovae.priors.layers import Conditional, Hierarchical
from pyrovae.priors.mixture import GaussianMixture
from pyrovae.priors.simple import HypersphericalUniform, Laplace, Normal, StandardNormal, StudentT
from pyrovae.priors.vamp import VampPrior

__all__ = [
    "Autoregressive",
    "Categorical",
    "Classes",
    "Conditional",
    "Flow",
    "GaussianMixture",
    "Hierarchical",
    "HypersphericalUniform",
    "Laplace",
    "Normal",
    "Prior",
    "StandardNormal",
    "StudentT",
    "VampPrior",
]
