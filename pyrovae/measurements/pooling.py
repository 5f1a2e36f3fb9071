r"""The mean of a block of independent finite elements: its probability, and the elements given it.

    P(x_1 + ... + x_n = s) = sum_t P(x_1 + ... + x_m = t) P(x_{m+1} + ... + x_n = s - t)

The sums of halves are convolved, and those of their halves, in float64; all terms are positive, so
nothing cancels. Where a probability may be too small for float64, logarithms are convolved instead.
Given the sum, the sum of the first half is drawn, and so on down to the elements.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from pyrovae.distributions.composed import Composed, Draw, alike, draw_index

__all__ = ["Pooled"]

NEAR = 0.01  # the largest distance from the support, in units of its step
SMALLEST = 1e-280  # the smallest probability of a sum that is computed without logarithms
NOTHING = -1e30  # in place of the logarithm of 0, whose gradient is not a number


class _Node(NamedTuple):
    """The probabilities of the sum of some elements, or their logarithms (*, S), and two halves."""

    mass: Tensor
    halves: tuple[_Node, _Node] | None
    is_log: bool

    def logs(self, mass: Tensor) -> Tensor:
        """The logarithm of probabilities that were computed from this node."""
        if self.is_log:
            return mass.masked_fill(mass < NOTHING / 2, -torch.inf)
        return mass.clamp(min=torch.finfo(mass.dtype).tiny).log()


class _Steps(constraints.Constraint):
    is_discrete = True

    def __init__(self, low: Tensor, step: Tensor, count: int) -> None:
        self.low, self.step, self.count = low, step, count
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each value is a possible mean of a block."""
        k = (value - self.low.to(value)) / self.step.to(value)
        return ((k - k.round()).abs() < NEAR) & (k > -0.5) & (k < self.count - 0.5)


class Pooled(Composed):
    """The mean of n independent elements with values low, low + step, ...

    Arguments:
        low, step: of the values of an element.
        logits: log-probabilities of the V values of each element, (*, n, V).

    Example:
        >>> low, step = torch.tensor(0.0), torch.tensor(1.0)
        >>> pair = Pooled(low, step, torch.zeros(2, 2))  # two coins
        >>> pair.log_prob(torch.tensor([0.0, 0.5, 1.0])).exp()
        tensor([0.2500, 0.5000, 0.2500])
    """

    has_rsample = False

    def __init__(self, low: Tensor, step: Tensor, logits: Tensor) -> None:
        self.low, self.step, self.logits = low, step, logits
        self.count = logits.shape[-2]
        super().__init__(logits.shape[:-2], validate_args=False)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The possible means."""
        return _Steps(self.low, self.step / self.count, self.values)

    def total(self, value: Tensor) -> Tensor:
        """The sum of the steps of a block with this mean."""
        steps = (value.double() - self.low.double()) / self.step.double() * self.count
        return steps.round().long().clamp(0, self.values - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), elementwise, in nats."""
        tree, mass = self._masses(self.total(value))
        return tree.logs(mass).to(self.logits.dtype)

    @property
    def values(self) -> int:
        """The number of possible means."""
        return self.count * (self.logits.shape[-1] - 1) + 1

    def table(self) -> tuple[Tensor, Tensor]:
        """The possible means (V,), and their log-probabilities (*, V)."""
        tree, steps = self._tree(), torch.arange(self.values, device=self.logits.device)
        if bool((tree.mass < SMALLEST).any()):
            tree = self._tree(is_log=True)
        means = self.low + self.step * steps.to(self.logits) / self.count
        return means, tree.logs(tree.mass).to(self.logits.dtype)

    def elements(self, value: Tensor, draw: Draw) -> Tensor:
        """Samples of the elements of blocks with a mean, (*, n)."""
        total = self.total(value)
        steps = _drawn(self._masses(total)[0], total, draw)
        return self.low + self.step * torch.stack(steps, -1)

    def compose(self, draw: Draw) -> Tensor:
        """One mean for each entry of the batch."""
        steps = draw_index(draw, self.logits.log_softmax(-1)).to(self.logits)
        return self.low + self.step * steps.mean(-1)

    def expand(self, batch_shape: _size, _instance: Any = None) -> Pooled:  # noqa: ANN401
        logits = self.logits.expand(*batch_shape, *self.logits.shape[-2:])
        return alike(Pooled(self.low, self.step, logits), self)

    def _tree(self, *, is_log: bool = False) -> _Node:
        logits = self.logits.double()
        masses = logits.log_softmax(-1).clamp(min=NOTHING) if is_log else logits.softmax(-1)
        return _summed(list(masses.unbind(-2)), is_log=is_log)

    def _masses(self, total: Tensor) -> tuple[_Node, Tensor]:
        """The probabilities of totals, or their logarithms if one of them is too small."""
        tree = self._tree()
        mass = _mass(tree, total)
        if bool((mass < SMALLEST).any()):
            tree = self._tree(is_log=True)
            mass = _mass(tree, total)
        return tree, mass


def _summed(masses: list[Tensor], *, is_log: bool) -> _Node:
    if len(masses) == 1:
        return _Node(masses[0], None, is_log)
    middle = len(masses) // 2
    halves = _summed(masses[:middle], is_log=is_log), _summed(masses[middle:], is_log=is_log)
    return _Node(_convolved(halves[0].mass, halves[1].mass, is_log=is_log), halves, is_log)


def _convolved(a: Tensor, b: Tensor, *, is_log: bool) -> Tensor:
    """The probabilities of the sum of two independent numbers 0, 1, ..., or their logarithms."""
    a, b = (a, b) if a.shape[-1] >= b.shape[-1] else (b, a)
    size, fill = a.shape[-1] + b.shape[-1] - 1, NOTHING if is_log else 0.0
    parts = []
    for k in range(b.shape[-1]):
        each = b[..., k : k + 1]
        room = (k, size - k - a.shape[-1])
        parts.append(torch.nn.functional.pad(a + each if is_log else a * each, room, value=fill))
    every = torch.stack(parts)
    return every.logsumexp(0) if is_log else every.sum(0)


def _mass(node: _Node, total: Tensor) -> Tensor:
    """The probability of a total, or its logarithm."""
    if node.halves is None:
        return node.mass.gather(-1, total.unsqueeze(-1).expand(*node.mass.shape[:-1], 1)).squeeze(-1)
    terms = _split(*node.halves, total)
    return terms.logsumexp(-1) if node.is_log else terms.sum(-1)


def _split(first: _Node, second: _Node, total: Tensor) -> Tensor:
    """P(first half = t) P(second half = total - t) for each t, or its logarithm, (*, S)."""
    t = torch.arange(first.mass.shape[-1], device=total.device)
    rest = total.unsqueeze(-1) - t
    inside = (rest >= 0) & (rest < second.mass.shape[-1])
    rest = rest.clamp(0, second.mass.shape[-1] - 1)
    rest = rest.expand(*torch.broadcast_shapes(rest.shape[:-1], second.mass.shape[:-1]), -1)
    other = second.mass.expand(*rest.shape[:-1], -1).gather(-1, rest)
    if first.is_log:
        return first.mass + torch.where(inside, other, NOTHING)
    return first.mass * torch.where(inside, other, 0.0)


def _drawn(node: _Node, total: Tensor, draw: Draw) -> list[Tensor]:
    if node.halves is None:
        return [total]
    mass = _split(*node.halves, total)
    share = mass.log_softmax(-1) if node.is_log else (mass / mass.sum(-1, keepdim=True)).log()
    first = draw_index(draw, share)
    return _drawn(node.halves[0], first, draw) + _drawn(node.halves[1], total - first, draw)
