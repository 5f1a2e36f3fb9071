r"""Training rows with weights.

The objective is the weighted mean of the bound over the rows,

\[\frac{\sum_n w_n \mathcal L(x_n)}{\sum_n w_n}.\]

In each epoch, row n of N is used N w_n / sum(w) times, rounded up or down at random so that this is
exact in expectation (systematic sampling). So a row of weight 2 counts as two equal rows, a row of
weight 0 as none, and only ratios of weights matter. Equal weights use each row once, as without
weights. Objectives that couple the rows of a batch need no change.

Reference:
    Kitagawa (1996), "Monte Carlo Filter and Smoother for Non-Gaussian Nonlinear State Space
    Models", on systematic sampling.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from pyrovae.datasets import Data, Rows
from pyrovae.datasets.fingerprints import fingerprint
from pyrovae.datasets.preparation import generator_of

__all__ = ["WeightedData", "systematic", "weighted"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class WeightedData(Data):
    """Data whose epochs use each training row in proportion to its weight.

    Attributes:
        weights: the weights of the training rows, (N,) float64; None for equal ones.
    """

    weights: Tensor | None = None

    @property
    def typical(self) -> Rows:
        """N training rows, chosen by their weights, from which a prior starts its components."""
        rows = super().typical
        if self.weights is None:
            return rows
        return rows[systematic(self.weights, generator_of("typical weights"))]

    def without_jitter(self, seed: int = 0) -> Rows:
        """The same rows: estimators have no random preparation."""
        return self.typical if self.weights is not None else super().without_jitter(seed)

    def epoch(self, number: int, seed: int) -> Rows:
        """N training rows, chosen by their weights; a function of (seed, number)."""
        rows = super().epoch(number, seed)
        if self.weights is None:
            return rows
        return rows[systematic(self.weights, generator_of("weights", seed, number))]


def weighted(data: Data, weights: Tensor) -> WeightedData:
    """Data with a weight for each row of the source, in its order.

    Validation rows are chosen by their weights once.
    """
    assert isinstance(data.train, Rows)
    assert data.train.index is not None
    assert data.validation.index is not None
    parts: dict[str, Any] = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    parts["record"] = data.record | {"weights": fingerprint(weights)}
    seed = data.declaration["split_seed"]
    held_out = systematic(weights[data.validation.index], generator_of("validation weights", seed))
    parts["validation"] = data.validation[held_out]
    return WeightedData(**parts, weights=weights[data.train.index])


def systematic(weights: Tensor, generator: torch.Generator) -> Tensor:
    """N indices, of which index n occurs N w_n / sum(w) times, rounded up or down.

    Arguments:
        weights: w, (N,), not negative and not all zero.
        generator: gives the one random number, which shifts all of them.

    Example:
        >>> weights = torch.tensor([2.0, 0.0, 1.0, 1.0])
        >>> systematic(weights, torch.Generator().manual_seed(0)).tolist()
        [0, 0, 2, 3]
    """
    count = len(weights)
    ends = weights.double().cumsum(0)
    shift = torch.rand((), generator=generator, dtype=torch.float64)
    places = (torch.arange(count, dtype=torch.float64) + shift) / count * ends[-1]
    last = int(weights.nonzero()[-1])  # rounding may put the last place past the end
    return torch.searchsorted(ends, places, right=True).clamp(max=last)
