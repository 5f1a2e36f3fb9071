r"""Laws that are made of other laws: a draw is a composition of draws, a density a formula.

    Composed.compose(draw)      z as a function of draws from inner laws

`rsample` hands `compose` the inner laws' own draws. Evidence hands it draws whose noise belongs to a datum,
so that an estimate does not depend on how the work was cut into pieces.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["Composed", "Draw"]

Draw = Callable[[dist.TorchDistribution], Tensor]


class Composed(dist.TorchDistribution):
    """Base class: a subclass writes `compose`, `log_prob`, `expand`, and its support.

    `compose(draw)` returns a value of shape batch + event; every random number in it comes from
    `draw(law)`, with inner laws whose batch begins with this law's batch.
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = True

    @abstractmethod
    def compose(self, draw: Draw) -> Tensor:
        """One value for each entry of the batch, from draws of inner laws."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:  # noqa: ANN401
        """Reparameterised draws, sample_shape + batch + event."""
        return self.expand(torch.Size(sample_shape) + self.batch_shape).compose(lambda law: law.rsample())

    def sample(self, sample_shape: Any = ()) -> Tensor:  # noqa: ANN401
        """Draws without a gradient, sample_shape + batch + event."""
        with torch.no_grad():
            return self.expand(torch.Size(sample_shape) + self.batch_shape).compose(lambda law: law.sample())
