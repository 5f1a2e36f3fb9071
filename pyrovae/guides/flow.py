r"""Guides of any shape: a diagonal normal, then maps that read the datum too.

Flow   e ~ N(loc, diag scale^2),  z = T(e; h),   log q(z|x) = log N(e) - log |det dT/de|

iaf      z_d = e_d s_d(e_<d, h) + m_d(e_<d, h): a draw is one pass, the inverse D passes
planar   z = e + u tanh(w.e + b), with u, w, b from the encoder; the inverse is one equation in one unknown

A guide asks for the density at its own draws, which needs no inverse; at other points T is inverted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions import FlowName, Planar, Pushforward, check_passes, flow_transform
from pyrovae.errors import InputError
from pyrovae.guides.base import Guide, Shape
from pyrovae.numerics import positive
from pyrovae.part import at_least

__all__ = ["Flow"]

NAMES = ("iaf", "planar", *FlowName.__args__)  # type: ignore[attr-defined]


class Flow(Guide):
    r"""A normalizing flow, \(z = T(e; h(x))\) with \(e \sim \mathcal N(\mu(x), \mathrm{diag}\,\sigma(x)^2)\).

    Each flow goes in its fast direction from e to z, so that "iaf" is zuko's MAF from noise to latents. It
    begins near the diagonal normal, but for NAF, GF, SOSPF and UNAF. The density away from its own draws is
    exact for iaf, MAF, NSF, NICE, RealNVP and planar; for the others it is right to about 1e-5, and for NAF,
    UNAF, SOSPF and GF only where e is inside [-10, 10]. CNF runs without a captured graph.

    Arguments:
        flow: "iaf", "planar", or a flow of the package zuko.
        transforms: how many maps in a row (a CNF is always one).
        hidden: the sizes of the hidden layers of each map's network (planar has none); the first is also
            that of h.
        passes: how many passes the slow direction of an autoregressive flow takes: one for each latent unless
            given; 2 makes couplings of half the latents each, fast in both directions.

    Raises:
        InputError: for an unknown flow, a size below 1, or passes of a flow that is not autoregressive.

    Reference:
        Kingma et al. (2016), "Improving Variational Inference with Inverse Autoregressive Flow"; Rezende &
        Mohamed (2015), "Variational Inference with Normalizing Flows".

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
        self.hidden = tuple(hidden)
        self.passes = passes

    def attach(self, latent_dim: int, feature_dim: int = 0) -> None:
        super().attach(latent_dim, feature_dim)
        if self.flow not in NAMES:
            raise InputError(f"unknown flow {self.flow!r}: choose one of {', '.join(NAMES)}")
        if not self.hidden:
            raise InputError("Flow needs at least one size in hidden, not []")
        at_least(
            self, 1, transforms=self.transforms, **{f"hidden[{i}]": n for i, n in enumerate(self.hidden)}
        )
        if self.flow != "planar":
            name = "MAF" if self.flow == "iaf" else self.flow
            check_passes(name, self.passes)
            self.map = flow_transform(
                name, latent_dim, self.hidden[0], self.transforms, self.hidden, self.passes
            )
        else:
            check_passes(self.flow, self.passes)

    @property
    def param_shapes(self) -> dict[str, Shape]:
        size, maps = self.latent_dim, self.transforms
        base: dict[str, Shape] = {"loc": (size,), "raw_scale": (size,)}
        if self.flow == "planar":
            return base | {"u": (maps, size), "w": (maps, size), "b": (maps,)}
        return base | {"h": (self.hidden[0],)}

    def forward(self, loc: Tensor, raw_scale: Tensor, **given: Tensor) -> dist.TorchDistribution:
        base = dist.Normal(loc, positive(raw_scale)).to_event(1)
        if self.flow == "planar":
            maps = Planar(0.1 * given["u"], given["w"], given["b"])  # an untrained u must not matter much
            return Pushforward(base, maps.push, maps.pull)
        chosen: Any = self.map(given["h"])

        def pull(z: Tensor) -> tuple[Tensor, Tensor]:
            eps = chosen.inv(z)
            return eps, -chosen.call_and_ladj(eps)[1]

        return Pushforward(base, chosen.call_and_ladj, pull)
