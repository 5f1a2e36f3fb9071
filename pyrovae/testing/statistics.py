"""Comparisons of samples with a density.

With a random seed, a comparison would fail by chance in fewer than one of 100,000 runs. Seeds are
fixed, so results do not vary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["RARE", "SIGMAS", "cells_apart", "frequencies_apart", "means_apart", "quantiles_apart"]

SIGMAS = 5.0  # beyond it, one tail of a normal distribution has probability 3e-7
RARE = 1e-6  # p-values below it are refused
OFTEN = 10  # values with smaller expected counts are pooled


def means_apart(samples: Tensor, exact: Tensor, slack: float = 0.0) -> float:
    """The largest error of a sample mean, divided by the error that is allowed."""
    allowed = SIGMAS * samples.std(0) / math.sqrt(len(samples)) + slack
    return ((samples.mean(0) - exact).abs() / allowed).max().item()


def quantiles_apart(samples: Tensor, nodes: Tensor, mass: Tensor) -> str | None:
    """Kolmogorov-Smirnov test of samples (N,) against the masses of nodes (G,) on a line.

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
    """Compare the shares of samples (N, 2) in cells of the plane with masses (P, P) on a grid.

    Arguments:
        samples: samples in the coordinates of the grid.
        axes: the two axes of the grid, (P,) each.
        mass: the masses of the nodes of the grid.
        edges: the edges of the cells along both axes, (2, E).
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
    """Pearson's test of counts (S,) against probabilities (S,); rare values are pooled.

    If the probabilities sum to less than 1, the rest belongs to values that are not listed.
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
