r"""Mechanisms of missing entries: p(s|x), where s_d = 1 says that entry d is missing (NaN).

    x_d | z ~ N(mu_d, sigma_d^2)      s_d | x_d ~ Bernoulli(sigmoid(a_d u_d + b_d))

u_d is x_d in the units of the likelihood. If s depends on the missing values themselves, they are
missing not at random, and a model of the present entries alone is biased. With a mechanism, a VAE
is a model of x_observed and s, in two sites:

    p(s | z)      the missing and the present entries integrated out, in closed form
    p(x | s, z)   a missing entry is drawn from what is missing, a present one from what is present

Together they are p(x_observed, s | z), and samples of missing entries are right. The importance
weights are the averages of those of not-MIWAE over x_missing, which it draws.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions import Elements, NormalGivenEvent, Rescaled, log_mean_sigmoid
from pyrovae.errors import InputError
from pyrovae.likelihoods.base import Likelihood, Shape
from pyrovae.likelihoods.real import Normal
from pyrovae.numerics import inverse_positive, positive
from pyrovae.part import Part

__all__ = ["Mechanism", "SelfMasking"]

RAREST = 1e-3  # the smallest share of missing entries at the start


class Mechanism(Part):
    """Base class of mechanisms p(s|x), with x integrated out.

    Entries s_d may depend on x_d only, so that the entries of x stay independent given z and s.
    """

    @abstractmethod
    def attach(self, likelihood: Likelihood, event_shape: Shape) -> None:
        """Create parameters for a likelihood and events of a shape."""

    @abstractmethod
    def marginal(self, p: Any) -> dist.TorchDistribution:  # noqa: ANN401
        """p(s|z) for p(x|z) with batch (*), event (*event)."""

    @abstractmethod
    def given(self, p: Any, s: Tensor) -> dist.TorchDistribution:  # noqa: ANN401
        """p(x|s, z) for s (*, *event), 1 where missing; a NaN in x has log-density 0."""

    def sample(self, p: Any) -> Tensor:  # noqa: ANN401
        """Rows with holes, as they are observed: NaN where missing."""
        s = self.marginal(p).sample()
        return torch.where(s > 0, torch.nan, self.given(p, s).sample())


class SelfMasking(Mechanism):
    r"""Each entry is missing with a probability that depends on its own value.

    \[p(s_d = 1 | x_d) = \mathrm{sigmoid}(a_d u_d + b_d)\]

    \(a_d\) and \(b_d\) are learned. The values that are missing cannot show the sign of \(a_d\),
    so give the direction if you know it. It needs `Normal` as the likelihood.

    Arguments:
        direction: "high" if large values are missing more often, "low" if small values are, or
            "either" to learn the sign of \(a_d\), which starts at 0 (missing at random).

    Raises:
        InputError: for another direction, or another likelihood.

    Reference:
        Ipsen, Mattei & Frellsen (2021), "not-MIWAE: deep generative modelling with missing not at
        random data"; Rubin (1976), "Inference and missing data".

    Example:
        >>> mechanism = SelfMasking("high")
        >>> mechanism.attach(Normal(1.0), (2,))
        >>> p = Elements(dist.Normal(torch.zeros(2), 1.0), 1, 0.0)
        >>> mechanism.marginal(p).mean.detach()
        tensor([0.5000, 0.5000])
        >>> mechanism.given(p, torch.tensor([0.0, 1.0])).mean.detach()  # present, missing
        tensor([-0.4132,  0.4132])
    """

    def __init__(self, direction: Literal["high", "low", "either"] = "either") -> None:
        super().__init__()
        self.direction = direction

    def attach(self, likelihood: Likelihood, event_shape: Shape) -> None:
        self.check_one_of("direction", ("high", "low", "either"))
        if not isinstance(likelihood, Normal) or likelihood.of_batch:
            raise InputError(
                f"{self!r} needs normal entries to integrate the missing ones out, and the likelihood is "
                f"{likelihood!r}: use Normal(scale='learned') or Normal(scale='predicted')"
            )
        start = 0.0 if self.direction == "either" else inverse_positive(1.0)
        self.raw_slope = nn.Parameter(torch.full(event_shape, start))
        self.offset = nn.Parameter(torch.zeros(event_shape))

    @property
    def slope(self) -> Tensor:
        """a_d, (*event)."""
        signs = {"high": 1.0, "low": -1.0}
        return (
            self.raw_slope if self.direction == "either" else signs[self.direction] * positive(self.raw_slope)
        )

    @torch.no_grad()
    def start_from(self, x: Tensor) -> None:
        """Start with the share of missing entries of each element."""
        share = x.isnan().double().mean(0).clamp(RAREST, 1 - RAREST)
        self.offset.copy_(share.logit())

    def marginal(self, p: Any) -> dist.TorchDistribution:  # noqa: ANN401
        normal, slope = _standard(p), self.slope
        mean, spread = slope * normal.loc + self.offset, (slope * normal.scale).abs()
        spread = spread.expand_as(mean)
        logits = log_mean_sigmoid(mean, spread) - log_mean_sigmoid(-mean, spread)
        return dist.Bernoulli(logits=logits).to_event(p.reinterpreted_batch_ndims)

    def given(self, p: Any, s: Tensor) -> dist.TorchDistribution:  # noqa: ANN401
        normal, sign = _standard(p), 2 * s - 1
        elements: Any = NormalGivenEvent(normal.loc, normal.scale, sign * self.slope, sign * self.offset)
        if normal is not p.base_dist:
            elements = Rescaled(elements, p.base_dist.shift, p.base_dist.spread)
        return Elements(elements, p.reinterpreted_batch_ndims, p.fill)


def _standard(p: Any) -> Any:  # noqa: ANN401
    """The distribution of standardised elements."""
    return p.base_dist.base if isinstance(p.base_dist, Rescaled) else p.base_dist
