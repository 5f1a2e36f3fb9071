"""Standardisation of data for fits by gradient steps: centred and scaled."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pyrovae.mixtures.moments import Start, started, usable
from pyrovae.mixtures.program import TINY, MixtureProgram
from pyrovae.numerics import inverse_softplus

__all__ = ["Unit", "in_unit"]


class Unit(NamedTuple):
    """The centre of data, (D,), and their standard deviations, (D,) or over all dimensions (1,)."""

    centre: Tensor
    size: Tensor

    @classmethod
    def of(cls, mixture: MixtureProgram, x: Tensor) -> Unit:
        """The unit of data (N, D); 1 where they hardly vary, compared with the mixture's floor."""
        centre = x.mean(0)
        squares = (x - centre).square().mean(0)
        size = (squares.mean(0, keepdim=True) if mixture.covariance == "spherical" else squares).sqrt()
        return cls(centre, torch.where(size > 2 * mixture.floor, size, 1.0))

    def log_volume(self, mixture: MixtureProgram) -> Tensor:
        """The difference in log p(x) between this unit and the original one, ()."""
        return self.size.expand(mixture.event_dim).log().sum()

    def enter(self, mixture: MixtureProgram) -> MixtureProgram:
        """A copy of a mixture for the data in this unit."""
        new = deepcopy(mixture)
        new.floors = mixture.floor / self.size
        _transform(mixture, new, -self.centre / self.size, 1 / self.size)
        return new

    def leave(self, mixture: MixtureProgram, target: MixtureProgram) -> None:
        """Give the original mixture the parameters of the copy that `enter` made."""
        _transform(mixture, target, self.centre, self.size)


def in_unit(mixture: MixtureProgram, x: Any, start: Start, seed: int) -> tuple[Unit, MixtureProgram, Tensor]:  # noqa: ANN401
    """The unit of data and, in this unit, an initialised copy of the mixture and the data."""
    x, copy = usable(mixture, x, start), deepcopy(mixture).double()
    started(copy, x, start, seed)
    unit = Unit.of(mixture, x)
    return unit, unit.enter(copy), (x - unit.centre) / unit.size


@torch.no_grad()
def _transform(source: MixtureProgram, target: MixtureProgram, shift: Tensor, size: Tensor) -> None:
    target.logits.copy_(source.logits)
    target.loc.copy_(source.loc * size + shift)
    target.raw_scale.copy_(inverse_softplus((softplus(source.raw_scale) * size).clamp_min(TINY)))
    if source.lower is not None and target.lower is not None:
        target.lower.copy_(source.lower * size.unsqueeze(-1))
