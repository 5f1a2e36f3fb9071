r"""The posterior of all parameters, by variational inference.

    q(pi) = Dirichlet(a_1, ..., a_C)
    q(mu_c) = N(m_c, T_c T_c'),   q(log s_c) = N(l_c, S_c S_c'),   q(R_c) = normals under tanh

Given the parameters, the components of the observations are summed out, so the only noise is that
of one sample of the parameters per step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.transforms import CorrCholeskyTransform
from pyro.infer import TraceEnum_ELBO
from torch import Tensor, nn
from torch.distributions import ExpTransform, constraints, transform_to

from pyrovae.checks import count_of, whole
from pyrovae.datasets import Rows
from pyrovae.display import Displayed
from pyrovae.mixtures.bayes import COMPONENTS, Bayesian, Beliefs
from pyrovae.mixtures.merging import merged
from pyrovae.mixtures.moments import Start
from pyrovae.mixtures.program import MixtureProgram
from pyrovae.mixtures.unit import in_unit
from pyrovae.seeds import random_kept
from pyrovae.threads import alone

__all__ = ["ByPosterior", "Posterior"]

FEW = 8
TRIL = transform_to(constraints.lower_cholesky)


@dataclass(frozen=True, eq=False, repr=False)
class Posterior(Displayed):
    """Samples of the parameters from q(theta).

    Attributes:
        weights: (S, C).
        loc: means, (S, C, D).
        covariance: (S, C, D, D).
        bound: the bound on log p(X) at each step, from one sample of the parameters, in nats per
            observation.
    """

    weights: Tensor
    loc: Tensor
    covariance: Tensor
    bound: np.ndarray

    @torch.no_grad()
    def log_px(self, x: Any) -> Tensor:  # noqa: ANN401
        r"""The predictive \(\log E_q[p(x|\theta)]\) from the samples: x (B, D) -> (B,)."""
        x = Rows.of(x, like=self.loc).x.unsqueeze(-2)
        each = [
            torch.logsumexp(weights.log() + dist.MultivariateNormal(loc, covariance).log_prob(x), -1)
            for weights, loc, covariance in zip(self.weights, self.loc, self.covariance, strict=True)
        ]
        return torch.stack(each).logsumexp(0) - float(np.log(len(each)))

    def used(self, share: float = 0.01) -> Tensor:
        """The number of components with a weight above `share`, in each sample, (S,)."""
        return (self.weights > share).sum(-1)

    def __str__(self) -> str:
        used = self.used().double()
        return (
            f"{len(self.weights)} samples of {self.weights.shape[-1]} components, of which "
            f"{float(used.mean()):.1f} hold more than 1 % of the data"
        )


class Guide(nn.Module):
    """q(theta), initialised at values of the sites, with the width expected for the rows."""

    def __init__(self, bayesian: Bayesian, rows: int) -> None:
        super().__init__()
        values = bayesian.values()
        count = rows * values["weights"] + 1  # (C,)
        self.angle: nn.Parameter | None = None
        self.log_a = nn.Parameter((rows * values["weights"] + bayesian.beliefs.concentration).log())
        self.loc, self.loc_tril = self._normal(values["loc"], count)
        self.scale, self.scale_tril = self._normal(values["scale"].log(), 2 * count)
        if bayesian.correlated:
            angles = CorrCholeskyTransform()._inverse(values["correlation"])
            self.angle, self.angle_tril = self._normal(angles, count)

    def _normal(self, loc: Tensor, count: Tensor) -> tuple[nn.Parameter, nn.Parameter]:
        eye = torch.eye(loc.shape[-1]).to(loc) * count.rsqrt()[:, None, None]
        return nn.Parameter(loc.clone()), nn.Parameter(TRIL.inv(eye))

    def forward(self, _: Tensor) -> None:
        """The sites "weights", "loc", "scale", "correlation"."""
        pyro.sample("weights", dist.Dirichlet(self.log_a.exp()))
        with pyro.plate(COMPONENTS, len(self.log_a)):
            pyro.sample("loc", dist.MultivariateNormal(self.loc, scale_tril=TRIL(self.loc_tril)))
            spread = dist.MultivariateNormal(self.scale, scale_tril=TRIL(self.scale_tril))
            pyro.sample("scale", dist.TransformedDistribution(spread, [ExpTransform()]))
            if self.angle is not None:
                angle = dist.MultivariateNormal(self.angle, scale_tril=TRIL(self.angle_tril))
                pyro.sample("correlation", dist.TransformedDistribution(angle, [CorrCholeskyTransform()]))


class ByPosterior(MixtureProgram):
    """A mixture for which the posterior of the parameters can be fitted."""

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
        r"""Fit q(theta) by SVI with Pyro's `TraceEnum_ELBO`, and set the mixture to its mean.

        With a concentration below 1, components that the data do not need lose their weight.

        Arguments:
            x, start: as in `fit_em`.
            concentration, reach, width, eta: hyperparameters of the prior, as in `fit_map`.
            merge: before the first step, merge pairs of components while the bound on log p(X)
                rises.
            steps: the number of steps of Adam, each over all rows with one sample of the
                parameters.
            lr: the learning rate, which falls to zero along a cosine.
            draws: the number of samples of q(theta) to return.
            seed: seed of the start and the samples.

        Raises:
            InputError: for data that the mixture cannot take, or a hyperparameter that is not above
                0.

        Reference:
            Attias (1999), "Inferring Parameters and Structure of Latent Variable Models by
            Variational Bayes".
        """
        beliefs = Beliefs(concentration, reach, width, eta)
        steps, draws = count_of("steps", steps), count_of("draws", draws)
        unit, within, z = in_unit(self, x, start, whole("seed", seed, 0))
        with alone, random_kept():
            if merge:
                within = merged(within, z, lambda each: _bound(each, beliefs, z, seed))
            bayesian = Bayesian(within, beliefs, mode=False)
            guide = Guide(bayesian, len(z))
            torch.manual_seed(seed)
            bound = _trained(bayesian, guide, z, steps, lr) - float(unit.log_volume(self))
            samples = [bayesian.moments(_sample(guide, z), unit) for _ in range(draws)]
        weights, loc, covariance = (torch.stack(each) for each in zip(*samples, strict=True))
        self.put(weights.mean(0), loc.mean(0), covariance.mean(0))
        return Posterior(weights, loc, covariance, bound)


def _bound(mixture: MixtureProgram, beliefs: Beliefs, z: Tensor, seed: int) -> float:
    """The bound on log p(X) under the initial q(theta) of a mixture, from a few samples."""
    torch.manual_seed(seed)
    bayesian = Bayesian(mixture, beliefs, mode=False)
    guide, loss = Guide(bayesian, len(z)), TraceEnum_ELBO(max_plate_nesting=1).loss
    return -sum(loss(bayesian.model, guide, z) for _ in range(FEW))


def _trained(bayesian: Bayesian, guide: Guide, z: Tensor, steps: int, lr: float) -> np.ndarray:
    loss = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss
    optimizer = torch.optim.Adam(guide.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    bound = []
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            value = loss(bayesian.model, guide, z) / len(z)
            value.backward()
            optimizer.step()
            schedule.step()
            bound.append(-float(value.detach()))
    return np.array(bound)


@torch.no_grad()
def _sample(guide: Guide, z: Tensor) -> dict[str, Tensor]:
    trace = poutine.trace(guide).get_trace(z)
    return {
        name: torch.as_tensor(trace.nodes[name]["value"])
        for name in ("weights", "loc", "scale", "correlation")
        if name in trace.nodes
    }
