r"""Objectives: what is maximised, and the bound on log p(x) that is reported with it.

Every objective uses the same terms (see `pyrovae.terms`), of shape (K, B), and has two methods:

    bound(terms)      a lower bound on log p(x) for each row, (B,), in nats
    maximised(terms)  what training maximises, (B,); the bound itself by default

    ELBO  = (1/K) sum_k log w_k          <=   IWAE = log (1/K) sum_k w_k   <=   log p(x)

An objective is a `pyro.infer.ELBO`: it works in
`pyro.infer.SVI(model, guide, optimizer, objective)` and as `objective(model, guide)`. Its loss is
minus the mean over the batch of what is maximised, in nats per row, as a tensor, so that it can be
traced into a graph. A weight on the KL divergence (annealing) is applied after the log-mean-exp,
not inside an importance weight:

    maximised = kl_weight * bound + (1 - kl_weight) * E_q[log p(x|z)]
"""

from pyrovae.objectives.autoencoder import Autoencoder
from pyrovae.objectives.base import Objective
from pyrovae.objectives.batchwise import DIP, MMD, BetaTC
from pyrovae.objectives.class_rewards import Balanced, SemiSupervised
from pyrovae.objectives.elbo import ELBO, Capacity, JensenShannon
from pyrovae.objectives.factor import Factor
from pyrovae.objectives.gradients import DReG, ReweightedWakeSleep, ScoreFunction, StickingTheLanding
from pyrovae.objectives.importance import CIWAE, IWAE, MIWAE, PIWAE, Renyi
from pyrovae.objectives.pyros import as_objective

__all__ = [
    "CIWAE",
    "DIP",
    "ELBO",
    "IWAE",
    "MIWAE",
    "MMD",
    "PIWAE",
    "Autoencoder",
    "Balanced",
    "BetaTC",
    "Capacity",
    "DReG",
    "Factor",
    "JensenShannon",
    "Objective",
    "Renyi",
    "ReweightedWakeSleep",
    "ScoreFunction",
    "SemiSupervised",
    "StickingTheLanding",
    "as_objective",
]
