"""Comparisons of samples with what a density says.

Each would fail by chance in fewer than one of 100,000 runs, and seeds are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["RARE", "SIGMAS", "cells_apart", "frequencies_apart", "means_apart", "quantiles_apart"]

SIGMAS = 5.0  # one tail of a normal distribution beyond it: 3e-7
RARE = 1e-6  # of a p-value
OFTEN = 10  # expected counts below it are added together


def means_apart(samples: Tensor, exact: Tensor, slack: float = 0.0) -> float:
    """The distance of a mean from its exact value as a share of what is allowed; above 1 is too far."""
    allowed = SIGMAS * samples.std(0) / math.sqrt(len(samples)) + slack
    return ((samples.mean(0) - exact).abs() / allowed).max().item()


def quantiles_apart(samples: Tensor, nodes: Tensor, mass: Tensor) -> str | None:
    """Kolmogorov and Smirnov's test of samples (N,) against the masses of nodes (G,) on a line.

    Returns:
        None when they agree, or the result in words.
    """
    from scipy.stats import kstest

    cdf = (mass.cumsum(0) - 0.5 * mass).numpy()
    test = kstest(samples.numpy(), lambda value: np.interp(value, nodes.numpy(), cdf))
    if test.pvalue > RARE:
        return None
    at, gap = float(test.statistic_location), float(test.statistic)
    return f"at {at:.3g} their distribution functions differ by {gap:.2g} (p = {test.pvalue:.1g})"


def cells_apart(samples: Tensor, axes: Sequence[Tensor], mass: Tensor, edges: Tensor | None) -> str | None:
    """The shares of samples (N, 2) in cells of the plane, against masses (P, P) of a grid.

    Arguments:
        samples: in the coordinates of the grid.
        axes: of the grid, (P,) each.
        mass: of its nodes.
        edges: between the cells along both axes, (2, E).
    """
    assert edges is not None
    first, second = (torch.bucketize(axis, edge) for axis, edge in zip(axes, edges, strict=True))
    count = edges.shape[1] + 1
    expected = torch.zeros(count, count, dtype=mass.dtype)
    expected.index_put_((first[:, None], second[None, :]), mass, accumulate=True)
    columns = [
        torch.bucketize(column.contiguous(), edge)
        for column, edge in zip(samples.unbind(-1), edges, strict=True)
    ]
    observed = torch.bincount(count * columns[0] + columns[1], minlength=count**2).reshape(count, count)
    # A grid point on an edge belongs to one cell only: allow for that much probability.
    slack = mass.sum(0).max() + mass.sum(1).max()
    error = (expected * (1 - expected).clamp(min=0) / len(samples)).sqrt()
    excess = (observed / len(samples) - expected).abs() - SIGMAS * error - slack
    if bool((excess < 0).all()):
        return None
    worst = int(excess.argmax())
    share, want = (observed / len(samples)).flatten()[worst], expected.flatten()[worst]
    return f"a cell of the plane has {share:.3g} of the samples and probability {want:.3g}"


def frequencies_apart(observed: Tensor, mass: Tensor) -> str | None:
    """Pearson's test of counts (S,) against probabilities (S,); rare values are counted together.

    What the probabilities leave to 1 belongs to values that are not listed and were not drawn.
    """
    from scipy.stats import chisquare

    count = observed.sum()
    often = count * mass > OFTEN
    expected = torch.cat([count * mass[often], (count - count * mass[often].sum()).clamp(min=0)[None]])
    counts = torch.cat([observed[often], observed[~often].sum()[None]]).to(expected)
    if expected[-1] < 1:
        if counts[-1] >= 25:
            return f"{int(counts[-1])} of {int(count)} samples are values of almost no probability"
        counts, expected = counts[:-1], expected[:-1] * counts[:-1].sum() / expected[:-1].sum()
    if len(expected) < 2:
        return None
    pvalue = chisquare(counts.numpy(), (expected * counts.sum() / expected.sum()).numpy()).pvalue
    if pvalue > RARE:
        return None
    worst = int(((counts - expected).abs() / expected.sqrt()).argmax())
    share, want = counts[worst] / count, expected[worst] / count
    return f"a value has {share:.3g} of the samples and probability {want:.3g} (p = {pvalue:.1g})"
