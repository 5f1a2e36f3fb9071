r"""Combinations of distributions of any family.

Chain       log p(z) = sum_l log p(z_l | the parts drawn before it),   z = (z_1, ..., z_L)
Aggregate   p(z) = (1/K) sum_k q(z; parameters_k)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.composed import Composed, Draw
from pyrovae.numerics import log_mean_exp

__all__ = ["Aggregate", "Chain", "Step"]

Step = tuple[int, Callable[[Mapping[int, Tensor]], dist.TorchDistribution]]
Params = Mapping[str, Tensor]


class Chain(Composed):
    """Parts of a real vector, drawn one after another.

    Arguments:
        sizes: the sizes of the parts, in their order in z.
        steps: for each part, in the order of sampling, its index and a function from the parts
            drawn before to its distribution.
        batch_shape: the batch shape of the distribution.

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


class Aggregate(Composed):
    """The mean of K distributions of any family.

    Arguments:
        family: a function from named parameters, each (*, *shape), to a distribution with batch
            shape (*).
        params: the named parameters, each (*, K, *shape).

    Example:
        >>> family = lambda p: dist.Normal(p["loc"], 1.0).to_event(1)
        >>> Aggregate(family, {"loc": torch.tensor([[-1.0], [1.0]])}).log_prob(torch.zeros(1))
        tensor(-1.4189)
    """

    def __init__(self, family: Callable[[Params], dist.TorchDistribution], params: Params) -> None:
        self.family, self.params = family, params
        self.components = family(params)
        batch = self.components.batch_shape
        super().__init__(batch[:-1], self.components.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """As for the family, since the choice of the member does not depend on parameters."""
        return self.components.has_rsample

    @property
    def support(self) -> Any:  # noqa: ANN401
        return self.components.support

    def compose(self, draw: Draw) -> Tensor:
        like, count = next(iter(self.params.values())), self.components.batch_shape[-1]
        uniform = draw(dist.Uniform(like.new_zeros(self.batch_shape), 1.0))
        index = (uniform * count).long().clamp_max(count - 1)
        return draw(self.family({name: self._chosen(p, index) for name, p in self.params.items()}))

    def _chosen(self, param: Tensor, index: Tensor) -> Tensor:
        shape = param.shape[len(self.components.batch_shape) :]
        rows = param.flatten(len(self.components.batch_shape)).expand(*index.shape, -1, shape.numel())
        at = index[..., None, None].expand(*index.shape, 1, shape.numel())
        return rows.gather(-2, at).reshape(*index.shape, *shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), (*), in nats."""
        return log_mean_exp(self.components.log_prob(value.unsqueeze(-1 - len(self.event_shape))), -1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Aggregate:  # noqa: ANN401
        new = Aggregate.__new__(Aggregate)
        new.family, new.params, new.components = self.family, self.params, self.components
        Composed.__init__(new, torch.Size(batch_shape), self.event_shape, validate_args=False)
        return new
