r"""Likelihoods p(x|z): the distribution of one row, with parameters from the decoder.

A likelihood declares its parameters and their shapes. The program adds one head for each to the
decoder and passes the parameters to `forward` by name. `forward` returns a distribution with the
event shape of x:

    Bernoulli:  param_shapes {"logits": event}      forward(logits) -> Bernoulli over events

Discrete likelihoods give probabilities and continuous ones densities, so their log p(x) cannot be
compared. A Bernoulli likelihood on grey pixels, which are not 0 or 1, is neither. So every value is
checked against the likelihood's support before training.
"""

from pyrovae.likelihoods.base import Likelihood
from pyrovae.likelihoods.counts import (
    Multinomial,
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
)
from pyrovae.likelihoods.levels import Categorical, DiscretizedLogistic
from pyrovae.likelihoods.mechanisms import Mechanism, SelfMasking
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
    "Mechanism",
    "Mixed",
    "Multinomial",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "SelfMasking",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
]
