r"""The start of q(theta): components are merged while the bound on log p(X) rises.

If two components share their data, gradient steps empty one of them only slowly, along a plateau of
the bound. So pairs are merged before the first step, starting with those that share most data: one
component takes the data of both. A merge is kept if it raises the bound, under a q(theta) with the
width expected for this number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
from torch import Tensor

from pyrovae.mixtures.em import expected
from pyrovae.mixtures.moments import EMPTY, maximised
from pyrovae.mixtures.program import MixtureProgram

__all__ = ["merged"]

ROUNDS = 20  # EM iterations after a merge


@torch.no_grad()
def merged(mixture: MixtureProgram, x: Tensor, bound: Callable[[MixtureProgram], float]) -> MixtureProgram:
    """Merge pairs of components of a mixture while the bound rises."""
    best = _settled(mixture, x)
    value, tried = bound(best), True
    while tried:
        tried = False
        for other in _neighbours(best, x):
            risen = bound(other)
            if risen > value:
                best, value, tried = other, risen, True
                break
    return best


def _neighbours(mixture: MixtureProgram, x: Tensor) -> Iterator[MixtureProgram]:
    """Mixtures with two components merged, first those that share most data."""
    q, _ = expected(mixture, x)
    used = (q.sum(0) > EMPTY).nonzero().flatten()
    count = q.sum(0).clamp_min(EMPTY).sqrt()
    shared = (q.mT @ q) / (count.unsqueeze(-1) * count)
    pairs = torch.combinations(used, 2) if len(used) > 1 else used.new_empty(0, 2)
    order = shared[pairs[:, 0], pairs[:, 1]].argsort(descending=True)
    for first, second in pairs[order[: 2 * len(used)]].tolist():
        together = q.clone()
        together[:, first] += together[:, second]
        together[:, second] = 0.0
        new = deepcopy(mixture)
        new.put(*maximised(x, together, mixture.covariance, _regular(mixture)))
        yield _settled(new, x)


def _settled(mixture: MixtureProgram, x: Tensor) -> MixtureProgram:
    new = deepcopy(mixture)
    for _ in range(ROUNDS):
        new.put(*maximised(x, expected(new, x)[0], new.covariance, _regular(mixture)))
    return new


def _regular(mixture: MixtureProgram) -> float:
    """The number added to variances to keep them above the floor, for standardised data."""
    return max(1e-6, 4 * float(torch.as_tensor(mixture.floors).max()) ** 2)
