r"""Independent entries, each with a law of its own kind, of which some may be missing.

    log p(x) = sum over the entries i that are there of log p_i(x_i)         NaN: not there

The entries that are there have their marginal law, because the others integrate to 1. A missing entry is
replaced before the law sees it, not after: NaN times zero is NaN, in a gradient too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

__all__ = ["Columns", "Group"]

# Where in the last dimension a group of columns stands (None: it is all of the event), its law, and values
# inside the law's support for entries that are missing.
Group = tuple[Tensor | None, dist.TorchDistribution, Tensor]


class _Present(constraints.Constraint):
    """Entries in the support of their law, or missing."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each entry may be there, or is not."""
        supports = [(index, law.support) for index, law, _ in self.groups]
        inside = [s.check(_taken(value, i)) for i, s in supports if s is not None]
        return value.isnan() | _together(inside, self.groups)


class Columns(dist.TorchDistribution):
    """Elementwise laws of several kinds over the last dimension; NaN has log-density 0.

    Arguments:
        groups: for each kind the places of its columns, their law (*, count), and filling values.

    Example:
        >>> law = Columns([(None, dist.Normal(torch.zeros(2), 1.0), torch.zeros(2))])
        >>> law.log_prob(torch.tensor([0.0, torch.nan]))
        tensor([-0.9189,  0.0000])
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, groups: Sequence[Group], *, validate_args: bool | None = None) -> None:
        self.groups = list(groups)
        first = self.groups[0][1].batch_shape
        whole = self.groups[0][0] is None
        count = sum(law.batch_shape[-1] for _, law, _ in self.groups)
        shape = first if whole else torch.Size((*first[:-1], count))
        super().__init__(shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """What each column's law allows, and NaN."""
        return _Present(self.groups)

    @property
    def mean(self) -> Tensor:
        """The means of all columns.

        Raises:
            NotImplementedError: when a column has none, as classes have.
        """
        return _together([law.mean for _, law, _ in self.groups], self.groups)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), elementwise, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        found = []
        for index, law, filling in self.groups:
            taken = _taken(value, index)
            missing = taken.isnan()
            log_p = law.log_prob(torch.where(missing, filling, taken))
            found.append(torch.where(missing, log_p.new_zeros(()), log_p))
        return _together(found, self.groups)

    @torch.no_grad()
    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Whole rows: nothing is missing in a draw."""
        return _together([law.sample(sample_shape) for _, law, _ in self.groups], self.groups)

    def expand(self, batch_shape: _size, _instance: Any = None) -> Columns:  # noqa: ANN401
        new = self._get_checked_instance(Columns, _instance)
        new.groups = []
        for index, law, filling in self.groups:
            shape = batch_shape if index is None else (*batch_shape[:-1], law.batch_shape[-1])
            new.groups.append((index, law.expand(torch.Size(shape)), filling))
        dist.TorchDistribution.__init__(new, torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new


def _taken(value: Tensor, index: Tensor | None) -> Tensor:
    return value if index is None else value.index_select(-1, index)


def _together(parts: Sequence[Tensor], groups: Sequence[Group]) -> Tensor:
    """The parts of each group back at their places."""
    places = [index for index, _, _ in groups if index is not None]
    if not places:
        return parts[0]
    order = torch.cat(places).argsort()
    return torch.cat(list(parts), -1).index_select(-1, order)
