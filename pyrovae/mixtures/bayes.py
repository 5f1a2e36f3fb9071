r"""A mixture with a prior on its parameters, for their mode or their posterior.

    pi      ~ Dirichlet(a, ..., a)
    mu_cd   ~ N(m_d, (reach s_d)^2)
    t_cd    ~ HalfCauchy(width s_d)              standard deviations
    R_c     ~ LKJ(eta)                           correlations, where the covariance is full
    Sigma_c = diag(t_c) R_c diag(t_c)
    c_n     ~ Categorical(pi),   x_n | c_n ~ N(mu_c, Sigma_c)

m and s are the centre and the standard deviations of the data. Each c_n is summed out
(`TraceEnum_ELBO`). So the objective is

    log p(X, theta)                                       at one point: MAP
    E_q[log p(X, theta) - log q(theta)] <= log p(X)       under q(theta): a Dirichlet and normals

With a below 1, weights near 0 are likely. A component that the data do not need then costs more
nats, for its parameters, than it gains. It vanishes: its weight goes to 0, and its other parameters
return to their prior.

Reference:
    Rousseau & Mengersen (2011), "Asymptotic Behaviour of the Posterior Distribution in Overfitted
    Mixture Models"; Lewandowski, Kurowicka & Joe (2009), "Generating Random Correlation Matrices
    Based on Vines and Extended Onion Method".
"""

from __future__ import annotations

from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import softplus

from pyrovae.checks import number
from pyrovae.mixtures.moments import Moments
from pyrovae.mixtures.program import MixtureProgram
from pyrovae.mixtures.unit import Unit
from pyrovae.terms import DATA

__all__ = ["COMPONENTS", "Bayesian", "Beliefs"]

COMPONENTS = "components"
NARROW = 1e-6  # the smallest initial width, relative to the size of the data, so that a fit can widen it


@dataclass(frozen=True)
class Beliefs:
    """The hyperparameters of the prior, in units of the data's size: a, reach, width, eta."""

    concentration: float
    reach: float
    width: float
    eta: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, number(name, value, above=0))


class Bayesian:
    """The program with its parameters as sites, on standardised data."""

    def __init__(self, mixture: MixtureProgram, beliefs: Beliefs, *, mode: bool) -> None:
        self.mixture, self.beliefs, self.mode = mixture, beliefs, mode
        self.correlated = mixture.covariance == "full" and mixture.event_dim > 1

    def model(self, x: Tensor) -> None:
        """Sites "weights", "loc", "scale", "correlation"; "c" and "x" of each row."""
        count, size = self.mixture.components, self.mixture.event_dim
        beliefs, one = self.beliefs, x.new_ones(())
        weights = pyro.sample("weights", dist.Dirichlet(x.new_full((count,), beliefs.concentration)))
        with pyro.plate(COMPONENTS, count):
            loc = pyro.sample("loc", dist.Normal(0 * one, beliefs.reach * one).expand([size]).to_event(1))
            widths = dist.HalfCauchy(beliefs.width * one).expand([self.mixture.raw_scale.shape[-1]])
            scale = pyro.sample("scale", widths.to_event(1))
            root = self._correlation(one) if self.correlated else None
        factor = self.factor(scale, root)
        with pyro.plate(DATA, len(x)):
            c = pyro.sample("c", dist.Categorical(weights), infer={"enumerate": "parallel"})
            if root is None:
                component = dist.Normal(loc[c], factor[c]).to_event(1)
            else:
                component = dist.MultivariateNormal(loc[c], scale_tril=factor[c])
            pyro.sample("x", component, obs=x)

    def _correlation(self, one: Tensor) -> Tensor:
        size = self.mixture.event_dim
        root = pyro.sample("correlation", dist.LKJCholesky(size, self.beliefs.eta * one))
        if self.mode:
            # A mode depends on the coordinates. This is the mode in R, not in its Cholesky factor
            # L, by |dR/dL| = prod_i L_ii^(D - i). LKJ(1) is flat in R.
            power = torch.arange(size - 1, -1, -1).to(root)
            pyro.factor("of_matrix", -(power * root.diagonal(dim1=-2, dim2=-1).log()).sum(-1))
        return root

    def factor(self, scale: Tensor, root: Tensor | None) -> Tensor:
        """Cholesky factors (*, C, D, D) of components, or standard deviations (*, C, D or 1)."""
        floors = torch.as_tensor(self.mixture.floors).to(scale)
        if root is None:
            return scale + floors
        return scale.unsqueeze(-1) * root + floors.expand(self.mixture.event_dim).diag()

    def values(self) -> dict[str, Tensor]:
        """The mixture's parameters as values of the sites."""
        mixture = self.mixture
        with torch.no_grad():
            values = {"weights": mixture.weights, "loc": mixture.loc.clone()}
            above = softplus(mixture.raw_scale)
            if not self.correlated or mixture.lower is None:
                return values | {"scale": above.clamp_min(NARROW)}
            factor = mixture.lower.tril(-1) + above.clamp_min(NARROW).diag_embed()
            width = factor.norm(dim=-1)
            return values | {"scale": width, "correlation": factor / width.unsqueeze(-1)}

    def moments(self, values: dict[str, Tensor], unit: Unit) -> Moments:
        """Values of the sites as weights, means and covariances in the data's original unit."""
        factor = self.factor(values["scale"], values.get("correlation"))
        if not self.correlated:
            factor = factor.expand(*factor.shape[:-1], self.mixture.event_dim).diag_embed()
        factor = factor * unit.size.unsqueeze(-1)
        return Moments(values["weights"], values["loc"] * unit.size + unit.centre, factor @ factor.mT)
