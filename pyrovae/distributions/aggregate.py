r"""A mixture of K distributions of one family with equal weights: p(z) = (1/K) sum_k q(z; parameters_k)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.distributions.composed import Composed, Draw
from pyrovae.numerics import log_mean_exp

__all__ = ["Aggregate"]

Params = Mapping[str, Tensor]


class Aggregate(Composed):
    """The mean of K distributions of any family.

    Arguments:
        family: from parameters by name, each (*, *shape), to a distribution with batch (*).
        params: (*, K, *shape) by name.

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
        """As the family; which member is drawn does not depend on anything learned."""
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
