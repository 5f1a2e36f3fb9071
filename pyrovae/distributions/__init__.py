"""Laws that Pyro lacks, or has and that are worth a faster form here. One law a file."""

from pyrovae.distributions.aggregate import Aggregate
from pyrovae.distributions.bernoulli import Bernoulli
from pyrovae.distributions.beta import Beta
from pyrovae.distributions.calibrated import CalibratedNormal
from pyrovae.distributions.chain import Chain, Step
from pyrovae.distributions.classes import LOWER, Classed, Classes, Label, log_shares, pick, restricted
from pyrovae.distributions.columns import Columns
from pyrovae.distributions.composed import Composed
from pyrovae.distributions.diagonal_mixture import DiagonalMixture
from pyrovae.distributions.flows import FlowName, check_passes, flow_transform, masked_network
from pyrovae.distributions.inflated import ZeroInflated
from pyrovae.distributions.levels import Grid, Levels
from pyrovae.distributions.logistic import DiscretizedLogistic
from pyrovae.distributions.multinomial import Multinomial
from pyrovae.distributions.onehot import LOWEST, Concrete, OneHots, within_reach
from pyrovae.distributions.planar import Planar
from pyrovae.distributions.pushforward import Pushforward
from pyrovae.distributions.regressed import RegressedNormal
from pyrovae.distributions.sphere import HypersphericalUniform, ProjectedNormal

__all__ = [
    "LOWER",
    "LOWEST",
    "within_reach",
    "Aggregate",
    "Bernoulli",
    "Beta",
    "CalibratedNormal",
    "Chain",
    "Classed",
    "Classes",
    "Columns",
    "Composed",
    "Concrete",
    "DiagonalMixture",
    "DiscretizedLogistic",
    "FlowName",
    "Grid",
    "HypersphericalUniform",
    "Label",
    "Levels",
    "Multinomial",
    "OneHots",
    "Planar",
    "ProjectedNormal",
    "Pushforward",
    "RegressedNormal",
    "Step",
    "ZeroInflated",
    "check_passes",
    "flow_transform",
    "log_shares",
    "masked_network",
    "pick",
    "restricted",
]
