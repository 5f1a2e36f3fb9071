"""Properties of single distributions: they integrate to one, and their samples follow them.

`Measured` computes the masses of a distribution once, for all properties that use them.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pyrovae.testing.failures import refuse, require
from pyrovae.testing.spaces import Rule, log_density, rule_of
from pyrovae.testing.statistics import (
    RARE,
    cells_apart,
    frequencies_apart,
    means_apart,
    quantiles_apart,
)

__all__ = ["Measured"]

SAMPLES = 20_000


class Measured:
    """A distribution with batch (), the nodes of a quadrature rule and their masses.

    Arguments:
        name: the name of the distribution in messages.
        distribution: the distribution, with an event of one dimension.
    """

    def __init__(self, name: str, distribution: Any) -> None:  # noqa: ANN401
        self.name, self.distribution = name, distribution

    @cached_property
    def rule(self) -> Rule | None:
        """The quadrature rule; None if there is none for this space."""
        return rule_of(self.distribution)

    @cached_property
    def log_mass(self) -> Tensor:
        """The logarithms of the masses of the nodes."""
        assert self.rule is not None
        return log_density(self.distribution, self.rule.z) + self.rule.log_weight

    @cached_property
    def samples(self) -> Tensor:
        """Samples (N, D)."""
        with torch.no_grad():
            return self.distribution.expand((SAMPLES,)).sample()

    def integrates_to_one(self) -> None:
        """The density integrates, or the probabilities sum, to one."""
        if self.rule is None:
            return
        total = torch.logsumexp(self.log_mass, 0).item()
        discrete = self.rule.space == "all values"
        verb, what = ("sum", "probabilities") if discrete else ("integrates", "density")
        require(
            abs(total) < self.rule.tolerance,
            f"the {what} of {self.name} {verb} to {_number(math.exp(total))} over {self.rule.space}, not to "
            "1: log_prob lacks a constant, or is not the density of what sample draws",
        )

    def samples_follow(self) -> None:
        """Samples follow the distribution that log_prob describes."""
        difference = self._difference()
        if difference is not None:
            refuse(
                f"samples of {self.name} do not follow its log_prob, as {difference}: sample and log_prob "
                "must use the same parameters"
            )

    def _difference(self) -> str | None:
        if self.rule is None:
            return _unlisted(self.distribution, self.samples)
        mass = self.log_mass.exp()
        if self.rule.space == "all values":
            return _of_states(self.samples, self.rule.z, mass)
        if not self.rule.axes:
            return self._of_moments(mass)
        u = self.rule.coordinates(self.samples).reshape(SAMPLES, -1)
        if u.shape[1] == 1:
            return quantiles_apart(u[:, 0], self.rule.axes[0], mass)
        grid = mass.reshape(*(len(axis) for axis in self.rule.axes))
        return cells_apart(u, self.rule.axes, grid, self.rule.edges)

    def _of_moments(self, mass: Tensor) -> str | None:
        """Compare moments on a sphere and on lines with a class, and angles on a circle."""
        assert self.rule is not None
        z = self.rule.z
        if self.rule.space == "the circle":
            angle = torch.remainder(torch.atan2(self.samples[:, 1], self.samples[:, 0]), 2 * math.pi)
            nodes = 2 * math.pi * torch.arange(len(z)) / len(z)
            return quantiles_apart(angle, nodes, mass)
        bounded = (lambda z: z) if self.rule.space == "the sphere" else torch.tanh
        for power in (1, 2):  # first moments, then those of an entry and its neighbour, and squares
            values, nodes = (_powers(bounded(value), power) for value in (self.samples, z))
            exact = (mass.unsqueeze(-1) * nodes).sum(0)
            if means_apart(values, exact, 1e-6) > 1:
                worst = int((values.mean(0) - exact).abs().argmax())
                return (
                    f"their moments of order {power} differ (one is {values.mean(0)[worst]:.3g} and should "
                    f"be {exact[worst]:.3g})"
                )
        return None


def _powers(z: Tensor, power: int) -> Tensor:
    """Entries of z, or their squares and products with the next one."""
    return z if power == 1 else torch.cat([z.square(), z * z.roll(1, -1)], -1)


def _number(value: float) -> str:
    """Format a number near 1 with enough digits to show the difference from 1."""
    digits = 4 if abs(value - 1) > 1e-3 else 2 - round(math.log10(max(abs(value - 1), 1e-15)))
    return f"{value:.{digits}g}" if value < 1e6 else f"{value:.2g}"


def _of_states(samples: Tensor, states: Tensor, mass: Tensor) -> str | None:
    """Compare the counts of samples (N, D) with the masses of all states (S, D)."""
    rows, index = torch.unique(torch.cat([states, samples.to(states)]), dim=0, return_inverse=True)
    counts = torch.bincount(index[len(states) :], minlength=len(rows))
    if len(rows) > len(states):
        return "it draws values that are not in its support"
    return frequencies_apart(counts[index[: len(states)]], mass)


def _unlisted(distribution: Any, samples: Tensor) -> str | None:  # noqa: ANN401
    """Compare frequencies with log_prob, for a discrete distribution whose states are unknown."""
    support = distribution.support
    if not getattr(support, "is_discrete", False):
        return None
    values, counts = torch.unique(samples, dim=0, return_counts=True)
    mass = log_density(distribution, values).exp()
    if mass.sum() > 1 + RARE:
        return f"the values that were drawn have probability {mass.sum():.3g} together"
    return frequencies_apart(counts, mass)
