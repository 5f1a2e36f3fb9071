"""Fits that take steps take them in the data's own unit: centred, and of one size."""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pyrovae.mixtures.program import TINY, MixtureProgram
from pyrovae.numerics import inverse_softplus

__all__ = ["Unit"]


class Unit(NamedTuple):
    """The centre of some data, (D,), and their standard deviations, (D,) or over all dimensions (1,)."""

    centre: Tensor
    size: Tensor

    @classmethod
    def of(cls, mixture: MixtureProgram, x: Tensor) -> Unit:
        """The unit of data (N, D) for a mixture; 1 where they are all alike, as seen from its floor."""
        centre = x.mean(0)
        squares = (x - centre).square().mean(0)
        size = (squares.mean(0, keepdim=True) if mixture.covariance == "spherical" else squares).sqrt()
        return cls(centre, torch.where(size > 2 * mixture.floor, size, 1.0))

    def inside(self, x: Tensor) -> Tensor:
        """The data in this unit."""
        return (x - self.centre) / self.size

    def lost(self, mixture: MixtureProgram) -> Tensor:
        """By how much log p(x) is lower in the data's former unit, ()."""
        return self.size.expand(mixture.event_dim).log().sum()

    def enter(self, mixture: MixtureProgram) -> MixtureProgram:
        """A copy of a mixture, for the data in this unit."""
        new = deepcopy(mixture)
        new.floors = mixture.floor / self.size
        _moved(mixture, new, -self.centre / self.size, 1 / self.size)
        return new

    def leave(self, mixture: MixtureProgram, target: MixtureProgram) -> None:
        """Give the mixture that `enter` copied what its copy has learned."""
        _moved(mixture, target, self.centre, self.size)


@torch.no_grad()
def _moved(source: MixtureProgram, target: MixtureProgram, shift: Tensor, size: Tensor) -> None:
    target.logits.copy_(source.logits)
    target.loc.copy_(source.loc * size + shift)
    target.raw_scale.copy_(inverse_softplus((softplus(source.raw_scale) * size).clamp_min(TINY)))
    if source.lower is not None and target.lower is not None:
        target.lower.copy_(source.lower * size.unsqueeze(-1))
