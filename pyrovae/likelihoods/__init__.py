r"""Likelihoods p(x|z): the distribution of one row, given the parameters that a decoder computes.

A likelihood declares the parameters it needs and their shapes; the program puts one head for each after the
decoder and calls `forward` with them by name. It returns a distribution with the event shape of x:

    Bernoulli:  param_shapes {"logits": event}      forward(logits) -> Bernoulli over events

Discrete likelihoods give probabilities, continuous ones densities: log p(x) of one is not comparable with
log p(x) of the other. Grey pixels are not 0 or 1, and a Bernoulli on them is not a density at all; so every
value is checked against the likelihood's support before anything is trained.
"""

from pyrovae.likelihoods.base import Likelihood
from pyrovae.likelihoods.counts import (
    Multinomial,
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
)
from pyrovae.likelihoods.levels import Categorical, DiscretizedLogistic
from pyrovae.likelihoods.mixed import Mixed
from pyrovae.likelihoods.real import Laplace, LogNormal, Normal, StudentT
from pyrovae.likelihoods.unit import Bernoulli, Beta, ContinuousBernoulli

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Laplace",
    "Likelihood",
    "LogNormal",
    "Mixed",
    "Multinomial",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
]
