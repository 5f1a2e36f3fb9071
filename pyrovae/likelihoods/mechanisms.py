r"""Mechanisms of missing entries: p(s|x), where s_d = 1 says that entry d is missing (NaN).

    x_d | z ~ N(mu_d, sigma_d^2)      s_d | x_d ~ Bernoulli(sigmoid(a_d u_d + b_d))

u_d is x_d in the units of the likelihood. If s depends on the missing values themselves, they are
missing not at random, and a model of the present entries alone is biased. With a mechanism, a VAE
is a model of x_observed and s. A missing x_d is integrated out in closed form (see
`distributions.logistic`), so that a row has

    log p(x_observed, s | z) = sum over the present d of log p(x_d|z) + log p(s_d = 0 | x_d)
                             + sum over the missing d of log E[p(s_d = 1 | x_d) | z]

This is the average over x_missing of the importance weights of not-MIWAE, which draws x_missing.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pyrovae.distributions.logistic import log_mean_sigmoid, sample_given_event
from pyrovae.errors import InputError
from pyrovae.likelihoods.base import Likelihood, Shape
from pyrovae.likelihoods.real import Normal
from pyrovae.numerics import inverse_positive, positive
from pyrovae.part import Part

__all__ = ["Mechanism", "SelfMasking"]

RAREST = 1e-3  # the smallest share of missing entries at the start


class Mechanism(Part):
    """Base class of mechanisms: `forward(p, x)` returns p(s | x_observed, z)."""

    @abstractmethod
    def attach(self, likelihood: Likelihood, event_shape: Shape) -> None:
        """Create parameters for a likelihood and events of a shape."""

    @abstractmethod
    def forward(self, p: Any, x: Tensor) -> dist.TorchDistribution:  # noqa: ANN401
        """p(s | x_observed, z), event (*event), with the missing entries of x integrated out.

        Arguments:
            p: p(x|z), batch (*).
            x: (*, *event), NaN where missing.
        """

    @abstractmethod
    def complete(self, p: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        """x with its missing entries drawn from p(x_missing | x_observed, s, z), (*, *event)."""

    def site(self, p: Any, x: Tensor, *, observed: bool) -> Tensor:  # noqa: ANN401
        """The site "s" of a model: observed, or drawn for complete rows x."""
        of_s = self(p, x)
        return pyro.sample("s", of_s, obs=x.isnan().to(of_s.base_dist.logits.dtype) if observed else None)


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
        >>> p = dist.Normal(torch.zeros(3, 2), 1.0).to_event(1)
        >>> mechanism(p, torch.tensor([[0.0, torch.nan]])).event_shape
        torch.Size([2])
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
        self.event_dim = len(event_shape)
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

    def forward(self, p: Any, x: Tensor) -> dist.TorchDistribution:  # noqa: ANN401
        loc, scale, u = _standard(p, x)
        missing, slope = u.isnan(), self.slope
        t = slope * torch.where(missing, 0.0, u) + self.offset  # NaN would be a gradient of the slope
        mean, spread = slope * loc + self.offset, (slope * scale).abs().expand_as(loc)
        gone = torch.where(missing, log_mean_sigmoid(mean, spread), logsigmoid(t))
        there = torch.where(missing, log_mean_sigmoid(-mean, spread), logsigmoid(-t))
        return dist.Bernoulli(logits=gone - there).to_event(self.event_dim)

    @torch.no_grad()
    def complete(self, p: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        loc, scale, u = _standard(p, x)
        slope = self.slope
        t = sample_given_event(slope * loc + self.offset, (slope * scale).abs().expand_as(loc))
        # Where the slope is almost zero, the event says nothing about u.
        flat = slope.abs() < 1e-4
        drawn = (t - self.offset) / torch.where(flat, 1.0, slope)
        drawn = torch.where(flat, loc + scale * torch.randn_like(loc), drawn)
        elements = p.base_dist
        if hasattr(elements, "shift"):
            drawn = elements.shift + elements.spread * drawn
        return torch.where(x.isnan(), drawn, x)


def _standard(p: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
    """Location and scale of standardised elements, and standardised x."""
    elements = p.base_dist
    if not hasattr(elements, "shift"):
        return elements.loc, elements.scale, x
    return elements.base.loc, elements.base.scale, elements.standardised(x)
