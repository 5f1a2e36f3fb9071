"""Distributions that Pyro lacks, or that have a faster or more exact form here."""

from typing import TYPE_CHECKING

from pyrovae.distributions.adapted import Bernoulli, Beta, CalibratedNormal, StudentT, ZeroInflated
from pyrovae.distributions.class_distribution import ClassDistribution, Classed, Label, log_shares
from pyrovae.distributions.columns import Columns
from pyrovae.distributions.combined import Aggregate, Chain, Step
from pyrovae.distributions.composed import Composed
from pyrovae.distributions.continuous_bernoulli import ContinuousBernoulli
from pyrovae.distributions.counts import NegativeBinomial, Poisson
from pyrovae.distributions.diagonal_mixture import DiagonalMixture
from pyrovae.distributions.levels import DiscretizedLogistic, Grid, Levels
from pyrovae.distributions.logistic import NormalGivenEvent, log_mean_sigmoid
from pyrovae.distributions.multinomial import Multinomial
from pyrovae.distributions.onehot import Concrete, OneHots
from pyrovae.distributions.planar import Planar
from pyrovae.distributions.present import Elements
from pyrovae.distributions.pushforward import Pushforward
from pyrovae.distributions.regressed import RegressedNormal
from pyrovae.distributions.rescaled import LogRescaled, Rescaled
from pyrovae.distributions.sphere import HypersphericalUniform, ProjectedNormal
from pyrovae.errors import renamed

__all__ = [
    "Aggregate",
    "Bernoulli",
    "Beta",
    "CalibratedNormal",
    "Chain",
    "ClassDistribution",
    "Classed",
    "Columns",
    "Composed",
    "Concrete",
    "ContinuousBernoulli",
    "DiagonalMixture",
    "DiscretizedLogistic",
    "Elements",
    "Grid",
    "HypersphericalUniform",
    "Label",
    "Levels",
    "LogRescaled",
    "Multinomial",
    "NegativeBinomial",
    "NormalGivenEvent",
    "OneHots",
    "Planar",
    "Poisson",
    "ProjectedNormal",
    "Pushforward",
    "RegressedNormal",
    "Rescaled",
    "Step",
    "StudentT",
    "ZeroInflated",
    "log_mean_sigmoid",
    "log_shares",
]

if not TYPE_CHECKING:
    __getattr__ = renamed(__name__, {"Classes": "ClassDistribution"})
