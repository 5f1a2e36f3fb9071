r"""The distribution of z = T(e) for a distribution of e and an invertible map T.

    log q(z) = log b(e) - log |det dT/de|,      e = T^-1(z)

A map that is cheap in one direction may be expensive in the other. The distribution stores its last
sample, so the density of this sample needs no inverse. At any other point the map is inverted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.composed import Composed, Draw

__all__ = ["Pull", "Push", "Pushforward"]

Push = Callable[[Tensor], tuple[Tensor, Tensor | None]]
Pull = Callable[[Tensor], tuple[Tensor, Tensor]]


class Pushforward(Composed):
    """The distribution of T(e), with e from a base distribution over real vectors.

    Arguments:
        base: the distribution of e, with event shape (D,).
        push: maps e to z = T(e) and log |det dz/de|. The latter may be None if it is expensive; the
            density of the distribution's own samples is then computed by `pull`, as at any
            other point.
        pull: maps z to e and log |det de/dz|.

    Reference:
        Rezende & Mohamed (2015), "Variational Inference with Normalizing Flows".

    Example:
        >>> base = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        >>> log_det = 2 * torch.tensor(2.0).log()
        >>> doubled = Pushforward(base, lambda e: (2 * e, log_det), lambda z: (z / 2, -log_det))
        >>> doubled.log_prob(torch.zeros(2))
        tensor(-3.2242)
    """

    support = constraints.real_vector

    def __init__(self, base: dist.TorchDistribution, push: Push, pull: Pull) -> None:
        self.base, self.push, self.pull = base, push, pull
        # Shared by expansions: Pyro draws from one of them and may ask another for the density.
        self._drawn: list[tuple[Tensor, Tensor, bool]] = []
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def compose(self, draw: Draw) -> Tensor:
        eps = draw(self.base)
        z, log_det = self.push(eps)
        if log_det is not None:
            self._drawn[:] = [(z, self.base.log_prob(eps) - log_det, torch.is_grad_enabled())]
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(value), (*), in nats."""
        for drawn, log_p, differentiable in self._drawn:
            # A sample drawn without gradients would have a density without gradients.
            if drawn is value and (differentiable or not torch.is_grad_enabled()):
                return log_p
        lead = torch.broadcast_shapes(self.batch_shape, value.shape[:-1])
        eps, log_det = self.pull(value.expand(*lead, -1))  # zuko's coupling maps do not broadcast
        return self.base.log_prob(eps) + log_det

    def expand(self, batch_shape: Any, _instance: Any = None) -> Pushforward:  # noqa: ANN401
        new = Pushforward(self.base.expand(torch.Size(batch_shape)), self.push, self.pull)
        new._drawn = self._drawn
        return new
