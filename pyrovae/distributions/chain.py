r"""The distribution of z = (z_1, ..., z_L) as a chain of conditional ones, in any order of the parts.

log p(z) = sum_l log p(z_l | the parts drawn before it)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.composed import Composed, Draw

__all__ = ["Chain", "Step"]

Step = tuple[int, Callable[[Mapping[int, Tensor]], dist.TorchDistribution]]


class Chain(Composed):
    """Parts of a real vector, drawn one after another.

    Arguments:
        sizes: of the parts, in the order in which they stand in z.
        steps: in the order in which they are drawn, each part's index, and its distribution as a function
            of the parts drawn before.
        batch_shape: of the distribution.

    Example:
        >>> above = lambda z: dist.Normal(torch.zeros(1), 1.0).to_event(1)
        >>> below = lambda z: dist.Normal(z[1].expand(*z[1].shape[:-1], 2), 1.0).to_event(1)
        >>> Chain((2, 1), [(1, above), (0, below)]).log_prob(torch.ones(3))
        tensor(-3.2568)
    """

    support = constraints.real_vector

    def __init__(
        self,
        sizes: Sequence[int],
        steps: Sequence[Step],
        batch_shape: torch.Size = torch.Size(),  # noqa: B008
    ) -> None:
        self.sizes, self.steps = tuple(sizes), tuple(steps)
        super().__init__(torch.Size(batch_shape), torch.Size((sum(sizes),)), validate_args=False)

    def compose(self, draw: Draw) -> Tensor:
        parts: dict[int, Tensor] = {}
        for i, conditional in self.steps:
            parts[i] = draw(conditional(parts).expand(self.batch_shape))
        return torch.cat([parts[i] for i in range(len(self.sizes))], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), (*), in nats."""
        parts = dict(enumerate(value.split(self.sizes, -1)))
        terms = [conditional(parts).log_prob(parts[i]) for i, conditional in self.steps]
        return sum(terms[1:], terms[0])

    def expand(self, batch_shape: Any, _instance: Any = None) -> Chain:  # noqa: ANN401
        return Chain(self.sizes, self.steps, torch.Size(batch_shape))
