r"""Flexible priors: maps of normal noise.

Flow             u = T(z) ~ N(0, I),            log p(z) = log N(T(z); 0, I) + log |det dT/dz|
Autoregressive   p(z) = prod_d N(z_d; mu_d(z_<d), sigma_d(z_<d)^2)
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.checks import sizes_of
from pyrovae.distributions import Pushforward
from pyrovae.distributions.flows import FlowName, flow_names, flow_transform, masked_network
from pyrovae.numerics import UNIT, positive
from pyrovae.priors.base import Prior

__all__ = ["Autoregressive", "Flow"]


class _OfNoise(Prior):
    """Base class: a map of noise from N(0, I)."""

    zero: Tensor

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        self.check_sizes("hidden")
        self.register_buffer("zero", torch.zeros(latent_dim), persistent=False)

    def noise(self, context: Tensor | None) -> dist.TorchDistribution:
        """N(0, I), with the batch shape of a context."""
        zero = self.zero if context is None else self.zero.expand(*context.shape[:-1], -1)
        return dist.Normal(zero, torch.ones_like(zero)).to_event(1)


class Flow(_OfNoise):
    r"""A normalizing flow from the latents to normal noise.

    \[\log p(z) = \log \mathcal N(T(z); 0, I) + \log |\det \partial T / \partial z|\]

    A density costs one pass of T, and a sample costs its inverse (D passes of an autoregressive
    flow). The prior starts as N(0, I), except with NAF, GF, SOSPF and UNAF. NAF, UNAF, SOSPF, BPF
    and GF are inverted by bisection: their samples are exact to 1e-6, and (except BPF) inside [-10,
    10]. CNF cannot be compiled, and its density is that of an integral with the tolerance of the
    package zuko: it is off by about 1e-3 nats (`benchmarks/borders.py --flows`).

    Arguments:
        flow: a flow of the package zuko; NSF has splines, MAF affine maps.
        transforms: the number of successive maps (a CNF is always one).
        hidden: the sizes of the hidden layers of each map's network.
        passes: the number of passes of the slow direction of an autoregressive flow, by default one
            for each latent. 2 gives couplings of half the latents each, which are fast in both
            directions.

    Raises:
        InputError: for an unknown flow, a size below 1, or passes of a flow that is not
            autoregressive.

    Reference:
        Durkan, Bekasov, Murray & Papamakarios (2019), "Neural Spline Flows"; Papamakarios, Pavlakou
        & Murray (2017), "Masked Autoregressive Flow for Density Estimation".

    Example:
        >>> prior = Flow("NSF", transforms=2, hidden=(16,))
        >>> prior.attach(latent_dim=2)
        >>> prior().sample((3,)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        flow: FlowName = "NSF",
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
        passes: int | None = None,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.transforms = transforms
        self.hidden = sizes_of("hidden", hidden)
        self.passes = passes

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        self.check_one_of("flow", flow_names())
        self.check_whole("transforms")
        self.map = flow_transform(
            self.flow, latent_dim, context_dim, self.transforms, self.hidden, self.passes
        )

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        transform = self.map(context)
        return Pushforward(self.noise(context), lambda u: (transform.inv(u), None), transform.call_and_ladj)


class Autoregressive(_OfNoise):
    r"""Each latent is normal given those before it.

    \[p(z) = \prod_{d=1}^{D} \mathcal N\big(z_d; \mu_d(z_{<d}), \sigma_d(z_{<d})^2\big)\]

    One masked network computes all means and scales in one pass; a sample takes D passes. The prior
    starts as N(0, I). A context is an input of the network.

    Arguments:
        hidden: the sizes of the network's hidden layers.

    Raises:
        InputError: for a size below 1.

    Reference:
        Germain, Gregor, Murray & Larochelle (2015), "MADE: Masked Autoencoder for Distribution
        Estimation".

    Example:
        >>> prior = Autoregressive(hidden=(16,))
        >>> prior.attach(latent_dim=3)
        >>> prior().sample((5,)).shape
        torch.Size([5, 3])
    """

    def __init__(self, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        self.hidden = sizes_of("hidden", hidden)

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        before = torch.ones(latent_dim, latent_dim, dtype=torch.bool).tril(-1)
        # Without a context, a constant takes its place, since the first latent needs an input.
        others = torch.ones(latent_dim, context_dim or 1, dtype=torch.bool)
        self.net = masked_network(torch.cat([before, others], -1).repeat(2, 1), self.hidden)

    def place(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Means and scales of all latents given those before them, (*, D)."""
        other = torch.ones_like(z[..., :1]) if context is None else context
        lead = torch.broadcast_shapes(z.shape[:-1], other.shape[:-1])
        loc, raw_scale = self.net(torch.cat([z.expand(*lead, -1), other.expand(*lead, -1)], -1)).chunk(2, -1)
        return loc, positive(raw_scale + UNIT)

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        def push(eps: Tensor) -> tuple[Tensor, None]:
            z = torch.zeros_like(eps)
            for _ in range(self.latent_dim):  # each pass determines one more latent
                loc, scale = self.place(z, context)
                z = loc + scale * eps
            return z, None

        def pull(z: Tensor) -> tuple[Tensor, Tensor]:
            loc, scale = self.place(z, context)
            return (z - loc) / scale, -scale.log().sum(-1)

        return Pushforward(self.noise(context), push, pull)
