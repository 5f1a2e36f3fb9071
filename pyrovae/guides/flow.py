r"""Flexible guides: a diagonal normal, followed by maps that depend on x too.

Flow   e ~ N(loc, diag scale^2),  z = T(e; h),   log q(z|x) = log N(e) - log |det dT/de|

iaf      z_d = e_d s_d(e_<d, h) + m_d(e_<d, h): a sample is one pass, the inverse D passes
planar   z = e + u tanh(w.e + b), with u, w, b from the encoder; the inverse is one scalar equation

The density at the guide's own samples needs no inverse; at other points T is inverted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pyro.distributions as dist
from torch import Tensor

from pyrovae.checks import sizes_of
from pyrovae.distributions import Planar, Pushforward
from pyrovae.distributions.flows import FlowName, check_passes, flow_names, flow_transform
from pyrovae.guides.base import Guide, Shape
from pyrovae.numerics import positive

__all__ = ["Flow"]


class Flow(Guide):
    r"""A normalizing flow of a diagonal normal.

    \[z = T(e; h(x)), \quad e \sim \mathcal N(\mu(x), \mathrm{diag}\,\sigma(x)^2)\]

    Each flow maps e to z in its fast direction; "iaf" is zuko's MAF from noise to latents. All
    flows but NAF, GF, SOSPF and UNAF start near the diagonal normal. CNF cannot be compiled.

    At points that are not its own samples, T is inverted. The density there is exact to rounding
    for iaf, MAF, NICE, RealNVP and planar. For NSF it is so in float64; in float32 a few points are
    off by up to 0.04 nats, where a spline is steep. NAF, UNAF, SOSPF and BPF are off by up to 2e-4
    nats and GF by up to 0.02; NAF, UNAF, SOSPF and GF only if e is inside [-10, 10]. CNF is an
    integral with the tolerance of the package zuko: its density is off by about 1e-3 nats, at its
    own samples too. `benchmarks/borders.py --flows` prints these numbers for random weights.

    Arguments:
        flow: "iaf", "planar", or a flow of the package zuko.
        transforms: the number of successive maps (a CNF is always one).
        hidden: the sizes of the hidden layers of each map's network (planar has none); the first is
            also the size of h.
        passes: as for the prior `Flow`.

    Raises:
        InputError: for an unknown flow, a size below 1, or passes of a flow that is not
            autoregressive.

    Reference:
        Kingma et al. (2016), "Improving Variational Inference with Inverse Autoregressive Flow";
        Rezende & Mohamed (2015), "Variational Inference with Normalizing Flows".

    Example:
        >>> import torch
        >>> guide = Flow("planar", transforms=4)
        >>> guide.attach(latent_dim=2)
        >>> guide.param_shapes
        {'loc': (2,), 'raw_scale': (2,), 'u': (4, 2), 'w': (4, 2), 'b': (4,)}
    """

    def __init__(
        self,
        flow: Literal["iaf", "planar"] | FlowName = "iaf",
        transforms: int = 2,
        hidden: Sequence[int] = (64,),
        passes: int | None = None,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.transforms = transforms
        self.hidden = sizes_of("hidden", hidden)
        self.passes = passes

    def attach(self, latent_dim: int, feature_dim: int = 0) -> None:
        super().attach(latent_dim, feature_dim)
        self.check_one_of("flow", ("iaf", "planar", *flow_names()))
        self.check_sizes("hidden", count=1)
        self.check_whole("transforms")
        if self.flow == "planar":
            check_passes(self.flow, self.passes)
            return
        name = "MAF" if self.flow == "iaf" else self.flow
        self.map = flow_transform(name, latent_dim, self.hidden[0], self.transforms, self.hidden, self.passes)

    @property
    def param_shapes(self) -> dict[str, Shape]:
        size, maps = self.latent_dim, self.transforms
        base: dict[str, Shape] = {"loc": (size,), "raw_scale": (size,)}
        if self.flow == "planar":
            return base | {"u": (maps, size), "w": (maps, size), "b": (maps,)}
        return base | {"h": (self.hidden[0],)}

    def forward(self, loc: Tensor, raw_scale: Tensor, **maps: Tensor) -> dist.TorchDistribution:
        base = dist.Normal(loc, positive(raw_scale)).to_event(1)
        if self.flow == "planar":
            planar = Planar(0.1 * maps["u"], maps["w"], maps["b"])  # an untrained u should have little effect
            return Pushforward(base, planar.push, planar.pull)
        transform: Any = self.map(maps["h"])

        def pull(z: Tensor) -> tuple[Tensor, Tensor]:
            eps = transform.inv(z)
            return eps, -transform.call_and_ladj(eps)[1]

        return Pushforward(base, transform.call_and_ladj, pull)
