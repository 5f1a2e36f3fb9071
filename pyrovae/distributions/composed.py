r"""Distributions composed of others: a sample is a function of inner samples.

    Composed.compose(draw)      z as a function of samples from inner distributions

`rsample` calls `compose` with ordinary samples of the inner distributions. `evidence` passes
samples whose noise belongs to a row, so an estimate does not depend on how the work is split into
pieces.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["Composed", "Draw", "alike", "draw_index", "every", "one_hot", "stratum_index"]

Draw = Callable[[dist.TorchDistribution], Tensor]
D = TypeVar("D", bound=dist.TorchDistribution)


class Composed(dist.TorchDistribution):
    """Base class: a subclass defines `compose`, `log_prob`, `expand` and its support.

    `compose(draw)` returns a value of shape batch + event. It gets all random numbers from
    `draw(inner)`, for inner distributions whose batch shape begins with that of this distribution.
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = True

    @abstractmethod
    def compose(self, draw: Draw) -> Tensor:
        """One value for each entry of the batch, from samples of inner distributions."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:  # noqa: ANN401
        """Reparameterised samples, sample_shape + batch + event.

        Raises:
            NotImplementedError: for a discrete distribution.
        """
        if not self.has_rsample:
            raise NotImplementedError(f"samples of {type(self).__name__} are not differentiable")
        return self.expand(torch.Size(sample_shape) + self.batch_shape).compose(lambda p: p.rsample())

    def sample(self, sample_shape: Any = ()) -> Tensor:  # noqa: ANN401
        """Samples without a gradient, sample_shape + batch + event."""
        with torch.no_grad():
            return self.expand(torch.Size(sample_shape) + self.batch_shape).compose(lambda p: p.sample())


def alike(new: D, old: dist.TorchDistribution) -> D:
    """Set the new distribution to validate its values if the old one does."""
    new._validate_args = old._validate_args
    return new


def every(values: Tensor, batch_shape: torch.Size, *, expand: bool) -> Tensor:
    """All values (n,) as `enumerate_support` gives them: (n, 1 ...), or expanded (n, *batch)."""
    values = values.reshape(-1, *[1] * len(batch_shape))
    return values.expand(-1, *batch_shape) if expand else values


def draw_index(draw: Draw, logits: Tensor) -> Tensor:
    """Draw an index (*) with log-probabilities (*, K), from one uniform number each."""
    uniform = draw(dist.Uniform(torch.zeros_like(logits[..., 0]), 1.0))
    above = logits.exp().cumsum(-1)[..., :-1]
    return (uniform.unsqueeze(-1) >= above).sum(-1)  # >=: a zero never gives an index of probability zero


def stratum_index(batch_shape: torch.Size, strata: int, like: Tensor) -> Tensor:
    """For each entry of a batch, its index along the leading axis, modulo the number of strata."""
    index = torch.arange(batch_shape[0], device=like.device) % strata
    return index.reshape(-1, *[1] * (len(batch_shape) - 1)).expand(batch_shape)


def one_hot(index: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """Indices (*) as one-hot vectors (*, count)."""
    return (index.unsqueeze(-1) == torch.arange(count, device=index.device)).to(dtype)
