"""Means, variances and modes of elementwise distributions, averaged over weighted particles.

    E[x | y]   = sum_k w_k E[x | z_k, y]
    Var[x | y] = sum_k w_k (Var[x | z_k, y] + E[x | z_k, y]^2) - E[x | y]^2
    mode       the most probable value of classes and binary entries; of counts the rounded mean; of
               other numbers the mean

Codes of classes have no mean: NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.distributions import Columns, Levels
from pyrovae.distributions.columns import select

__all__ = ["Moments", "averaged", "moments_of", "of_samples"]

FEW = 64  # the largest number of values whose probabilities are averaged


class Moments(NamedTuple):
    """Mean, variance and mode of each element, (B, *event)."""

    mean: Tensor
    variance: Tensor
    mode: Tensor


def averaged(weight: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the variance of a mixture of K particles with weights (K, B)."""
    w = weight.reshape(*weight.shape, *[1] * (mean.dim() - 2))
    mean, variance = mean.double(), variance.double()
    total = (w * mean).sum(0)
    return total, (w * (variance + (mean - total).square())).sum(0)


def moments_of(p: Any, weight: Tensor) -> Moments:  # noqa: ANN401
    """The moments of a mixture of elementwise distributions, batch (K, B, *event)."""
    if isinstance(p, Columns):
        return _of_columns(p, weight)
    mean, variance = averaged(weight, *(_known(p, name) for name in ("mean", "variance")))
    return Moments(mean, variance, _mode(p, weight, mean))


def _of_columns(p: Columns, weight: Tensor) -> Moments:
    return _joined(p, [moments_of(group, weight) for _, group, _ in p.groups])


def _joined(p: Columns, parts: list[Moments]) -> Moments:
    """The moments of groups of columns in the order of the columns."""
    places = [index for index, _, _ in p.groups]
    if places[0] is None:
        return parts[0]
    order = torch.cat([index for index in places if index is not None]).argsort()
    return Moments(*(select(torch.cat(every, -1), order) for every in zip(*parts, strict=True)))


def _known(p: Any, name: str) -> Tensor:  # noqa: ANN401
    """The mean or variance, NaN where it is not known."""
    try:
        value = getattr(p, name)
    except (NotImplementedError, AttributeError):
        value = torch.tensor(torch.nan)
    return value.expand(p.batch_shape)


def _mode(p: Any, weight: Tensor, mean: Tensor) -> Tensor:  # noqa: ANN401
    if isinstance(p, Levels) and p.logits.shape[-1] <= FEW:
        w = weight.reshape(*weight.shape, *[1] * (p.logits.dim() - 2))
        values = p.enumerate_support(expand=False).flatten()
        return values[(w * p.logits.exp()).sum(0).argmax(-1)].to(mean)
    return _rounded(p, mean)


def _rounded(p: Any, mean: Tensor) -> Tensor:  # noqa: ANN401
    """The mean; 0 or 1 for binary elements, and the nearest whole number for counts."""
    if isinstance(p, dist.Bernoulli):
        return (mean > 0.5).to(mean)
    is_count = p.support.is_discrete and not getattr(p, "has_enumerate_support", False)
    return mean.round() if is_count else mean


def of_samples(p: Any, x: Tensor, known: tuple[Tensor, Tensor] | None) -> Moments:  # noqa: ANN401
    """The moments of samples x (S, B, *event) of elements whose kind is that of p.

    Arguments:
        p: a distribution of the elements, batch (K, B, *event).
        x: samples.
        known: their mean and variance, if these are known.
    """
    if isinstance(p, Columns):
        return _joined(p, [of_samples(group, select(x, index), None) for index, group, _ in p.groups])
    x = x.double()
    if isinstance(p, Levels) and not p.grey:  # codes of classes
        nothing = torch.full_like(x[0], torch.nan)
        return Moments(nothing, nothing, x.mode(0).values)
    mean, variance = (x.mean(0), x.var(0, correction=0)) if known is None else known
    return Moments(mean, variance, _rounded(p, mean))
