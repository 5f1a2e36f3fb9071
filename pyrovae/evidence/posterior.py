r"""Weighted samples of the posterior p(z|x), and samples without weights.

A method draws z_k from its proposal, with weights w_k = p(x, z_k) / q(z_k|x). Sampling z_k with
probability w_k / sum_j w_j gives samples that are distributed as p(z|x) when K is large (sampling
importance resampling). The indices are systematic: sample s is at (s + u) / S of the cumulative
weights, so z_k is chosen S w_k times, rounded up or down.

References:
    Rubin (1988), "Using the SIR algorithm to simulate posterior distributions"; Carpenter, Clifford
    & Fearnhead (1999), "Improved particle filter for nonlinear problems".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from pyrovae.evidence.draws import KeyedNoise
from pyrovae.evidence.pareto import SMALLEST_SAMPLE
from pyrovae.evidence.verdict import are_trusted
from pyrovae.evidence.weights import WeightSums

__all__ = ["Posterior"]

FEWEST, LIKELY = 20, 0.5  # effective samples before the moves, and their acceptance


@dataclass(frozen=True, eq=False)
class Posterior:
    """Weighted samples of the latents of B rows.

    Attributes:
        values: the values of each latent site, (K, B, *shape).
        log_w: the logarithms of the weights, (K, B).
        summary: log_px, mc_stderr, ess and khat of each row, (4, B).
        acceptance: the mean acceptance probability of moves after which the samples have equal
            weights, (B,); None for samples that were not moved.
        mover: gives at least a number of moved samples of some rows, or None.
    """

    values: Mapping[str, Tensor]
    log_w: Tensor
    summary: Tensor
    acceptance: Tensor | None = None
    mover: Callable[[Tensor, int], Posterior] | None = None

    @classmethod
    def of(cls, parts: Sequence[tuple[Mapping[str, Tensor], Tensor]]) -> Self:
        """Join the values and log weights of pieces of particles."""
        values = {name: torch.cat([values[name] for values, _ in parts]) for name in parts[0][0]}
        log_w = torch.cat([log_w for _, log_w in parts])
        sums = WeightSums(log_w.shape[1], len(log_w), log_w.device)
        sums.add(log_w)
        return cls(values, log_w, sums.summary())

    def are_trusted(self, particles: int, *, annealed: bool) -> Tensor:
        """Whether the samples of each row stand for its posterior, (B,).

        Weights must be even enough (`verdict`). Samples that moves have made independent of the
        weights need fewer effective ones to start from.
        """
        good = are_trusted(self.summary, particles, annealed=annealed)
        if self.acceptance is None or annealed:
            return good
        enough = particles >= SMALLEST_SAMPLE  # fewer do not show how even the weights are
        return (self.summary[2] >= min(FEWEST, particles / 10)) & (self.acceptance > LIKELY) & enough

    def resampled(self, count: int, keys: Sequence[int] | np.ndarray, seed: int) -> dict[str, Tensor]:
        """Samples without weights, (count, B, *shape), in random order.

        Arguments:
            count: the number of samples of each row.
            keys: the keys of the rows, which with the seed determine the random numbers.
            seed: seed of the evaluation.
        """
        index = self._chosen(count, KeyedNoise(keys, seed, "resample"))
        return {name: _taken(value, index) for name, value in self.values.items()}

    def _chosen(self, count: int, noise: KeyedNoise) -> Tensor:
        like = self.log_w.new_empty(count + 1, self.log_w.shape[1])
        u = noise(like, Tensor.uniform_)
        shares = self.log_w.double().softmax(0).cumsum(0).mT.contiguous()
        at = (torch.arange(count, device=u.device).unsqueeze(1) + u[:1]) / count
        index = torch.searchsorted(shares, at.mT.contiguous()).clamp(max=len(self.log_w) - 1)
        return index.mT.gather(0, u[1:].argsort(0))

    def rows(self, index: Tensor) -> Posterior:
        """The samples of some rows."""
        values = {name: value[:, index] for name, value in self.values.items()}
        acceptance = None if self.acceptance is None else self.acceptance[index]
        return Posterior(values, self.log_w[:, index], self.summary[:, index], acceptance)

    def heaviest(self, share: float = 0.999) -> Posterior:
        """The particles that have a share of the weight of each row; others have no weight."""
        weight, order = self.log_w.softmax(0).sort(0, descending=True)
        is_light = weight.cumsum(0) - weight >= share
        count = int((~is_light).sum(0).max())
        order = order[:count]
        values = {name: _taken(value, order) for name, value in self.values.items()}
        log_w = self.log_w.gather(0, order).masked_fill(is_light[:count], -math.inf)
        return Posterior(values, log_w, self.summary)


def _taken(value: Tensor, index: Tensor) -> Tensor:
    """Values (K, B, *shape) at indices (S, B)."""
    return value[index, torch.arange(index.shape[1], device=index.device)]
