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

__all__ = ["Moments", "averaged", "moments_of", "rounded"]

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
    parts = [moments_of(group, weight) for _, group, _ in p.groups]
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
    is_count = p.support.is_discrete and not getattr(p, "has_enumerate_support", False)
    return mean.round() if is_count else rounded(p, mean)


def rounded(p: Any, mean: Tensor) -> Tensor:  # noqa: ANN401
    """The mean, or 0 or 1 for binary elements."""
    return (mean > 0.5).to(mean) if isinstance(p, dist.Bernoulli) else mean
