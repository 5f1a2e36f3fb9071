r"""Guides for several layers of latents z = (z_1, ..., z_L), as in the prior `Hierarchical`.

bottom-up   q(z|x) = q(z_1|x) q(z_2|z_1) ... q(z_L|z_L-1)
ladder      q(z|x) = q(z_L|x) q(z_L-1|z_L, x) ... q(z_1|z_2, x)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.checks import sizes_of
from pyrovae.distributions import Chain, Step
from pyrovae.errors import InputError
from pyrovae.guides.base import Guide, Shape
from pyrovae.networks import location_and_scale
from pyrovae.numerics import positive

__all__ = ["Hierarchical"]


class Hierarchical(Guide):
    r"""Diagonal normals over layers of latents \(z = (z_1, \ldots, z_L)\), upwards or downwards.

    Downwards ("ladder") each layer depends on x and on the layer above, in the order of the prior.
    A network with both as inputs shifts the parameters from the encoder's heads.

    Arguments:
        layers: the sizes of the upper layers \(z_2, \ldots, z_L\), as in the prior; if empty, the
            guide is `DiagonalNormal`.
        hidden: the sizes of the hidden layers of each network.
        order: "bottom-up" or "ladder".

    Raises:
        InputError: for a size below 1, layers that leave no latents for the first layer, or an
            unknown `order`.

    Reference:
        Sønderby, Raiko, Maaløe, Sønderby & Winther (2016), "Ladder Variational Autoencoders".

    Example:
        >>> guide = Hierarchical(layers=(4, 2), order="ladder")
        >>> guide.attach(latent_dim=14)
        >>> guide.param_shapes, guide.sizes
        ({'loc': (14,), 'raw_scale': (14,)}, (8, 4, 2))
    """

    def __init__(
        self,
        layers: Sequence[int] = (8,),
        hidden: Sequence[int] = (64,),
        order: Literal["bottom-up", "ladder"] = "bottom-up",
    ) -> None:
        super().__init__()
        self.layers = sizes_of("layers", layers)
        self.hidden = sizes_of("hidden", hidden)
        self.order = order

    def attach(self, latent_dim: int, feature_dim: int = 0) -> None:
        super().attach(latent_dim, feature_dim)
        self.check_one_of("order", ("bottom-up", "ladder"))
        self.check_sizes("layers")
        self.check_sizes("hidden", count=min(len(self.layers), 1))
        if sum(self.layers) >= latent_dim:
            raise InputError(
                f"layers {list(self.layers)} leave nothing of {latent_dim} latents for the first layer: use "
                "the prior Hierarchical with the same layers"
            )
        self.sizes = (latent_dim - sum(self.layers), *self.layers)
        # In a ladder, a network reads the layer above and two heads, and shifts the heads.
        ladder = self.order == "ladder"
        pairs = zip(self.sizes[:-1], self.sizes[1:], strict=True)
        shapes = [(up + 2 * low, low) if ladder else (low, up) for low, up in pairs]
        self.nets = nn.ModuleList(location_and_scale(*shape, self.hidden) for shape in shapes)

    @property
    def param_shapes(self) -> dict[str, Shape]:
        size = self.sizes[0] if self.order == "bottom-up" else self.latent_dim
        return {"loc": (size,), "raw_scale": (size,)}

    def forward(self, loc: Tensor, raw_scale: Tensor) -> dist.TorchDistribution:
        if self.order == "bottom-up":
            steps: list[Step] = [(0, lambda parts: _normal(loc, raw_scale))]
            steps += [(i + 1, partial(self._above, i)) for i in range(len(self.nets))]
        else:
            heads = list(zip(loc.split(self.sizes, -1), raw_scale.split(self.sizes, -1), strict=True))
            steps = [(len(self.nets), lambda parts: _normal(*heads[-1]))]
            steps += [(i, partial(self._below, i, *heads[i])) for i in reversed(range(len(self.nets)))]
        return Chain(self.sizes, steps, loc.shape[:-1])

    def _above(self, i: int, parts: Mapping[int, Tensor]) -> dist.TorchDistribution:
        return _normal(**self.nets[i](parts[i]))

    def _below(
        self, i: int, loc: Tensor, raw_scale: Tensor, parts: Mapping[int, Tensor]
    ) -> dist.TorchDistribution:
        above = parts[i + 1]
        lead = torch.broadcast_shapes(above.shape[:-1], loc.shape[:-1])
        moved = self.nets[i](torch.cat([t.expand(*lead, -1) for t in (above, loc, raw_scale)], -1))
        return _normal(loc + moved["loc"], raw_scale + moved["raw_scale"])


def _normal(loc: Tensor, raw_scale: Tensor) -> dist.TorchDistribution:
    return dist.Normal(loc, positive(raw_scale)).to_event(1)
