r"""Independent entries, each with its own kind of distribution; some may be missing.

    log p(x) = sum over the present entries i of log p_i(x_i)         NaN: missing

The present entries have their marginal distribution, because the others integrate to 1. A missing
entry is replaced before its density is computed, because NaN times zero is NaN, in a gradient too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from pyrovae.distributions.composed import Draw, alike

__all__ = ["Columns", "Group", "select"]

# The places of a group of columns in the last dimension (None: the whole event), its distribution,
# and values inside the support for missing entries.
Group = tuple[Tensor | None, dist.TorchDistribution, Tensor]


class _Present(constraints.Constraint):
    """Entries that are in the support of their distribution, or missing."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each entry is in the support, or missing."""
        supports = [(index, p.support) for index, p, _ in self.groups]
        inside = [support.check(select(value, index)) for index, support in supports if support is not None]
        return value.isnan() | _together(inside, self.groups)


class Columns(dist.TorchDistribution):
    """Elementwise distributions of several kinds over the last dimension; NaN has log-density 0.

    Arguments:
        groups: for each kind, the indices of its columns, their distribution of batch shape
            (*, number of columns), and values to replace missing entries.

    Example:
        >>> columns = Columns([(None, dist.Normal(torch.zeros(2), 1.0), torch.zeros(2))])
        >>> columns.log_prob(torch.tensor([0.0, torch.nan]))
        tensor([-0.9189,  0.0000])
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, groups: Sequence[Group], *, validate_args: bool | None = None) -> None:
        self.groups = list(groups)
        first = self.groups[0][1].batch_shape
        count = sum(p.batch_shape[-1] for _, p, _ in self.groups)
        shape = first if self.groups[0][0] is None else torch.Size((*first[:-1], count))
        super().__init__(shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The support of each column, and NaN."""
        return _Present(self.groups)

    @property
    def mean(self) -> Tensor:
        """The means of all columns.

        Raises:
            NotImplementedError: if a column has none, such as the codes of classes.
        """
        return _together([p.mean for _, p, _ in self.groups], self.groups)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), elementwise, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        parts = []
        for index, p, filling in self.groups:
            own = select(value, index)
            missing = own.isnan()
            log_p = p.log_prob(torch.where(missing, filling, own))
            parts.append(torch.where(missing, log_p.new_zeros(()), log_p))
        return _together(parts, self.groups)

    def compose(self, draw: Draw) -> Tensor:
        """One value for each entry of the batch, without missing entries."""
        return _together([draw(p) for _, p, _ in self.groups], self.groups)

    @torch.no_grad()
    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Samples without missing entries."""
        return self.compose(lambda p: p.sample(sample_shape))

    def expand(self, batch_shape: _size, _instance: Any = None) -> Columns:  # noqa: ANN401
        groups = []
        for index, p, filling in self.groups:
            shape = batch_shape if index is None else (*batch_shape[:-1], p.batch_shape[-1])
            groups.append((index, p.expand(torch.Size(shape)), filling))
        return alike(Columns(groups, validate_args=False), self)


def select(value: Tensor, index: Tensor | None) -> Tensor:
    """The columns of the last dimension with these indices; all columns for None."""
    return value if index is None else value.index_select(-1, index)


def _together(parts: Sequence[Tensor], groups: Sequence[Group]) -> Tensor:
    """Put the values of all groups back into the order of the columns."""
    places = [index for index, _, _ in groups if index is not None]
    if not places:
        return parts[0]
    order = torch.cat(places).argsort()
    return torch.cat(list(parts), -1).index_select(-1, order)
