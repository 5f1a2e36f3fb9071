r"""Gradient ascent on the exact marginal, all data at once.

    d log p(x)/d theta = sum_c p(c|x) d log p(x, c)/d theta        the gradient of EM's bound where it touches

So EM and gradients have the same fixed points. `pyrovae.fit` ascends the same function in minibatches.

Reference:
    Xu & Jordan (1996), "On Convergence Properties of the EM Algorithm for Gaussian Mixtures".
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from pyrovae.mixtures.ascent import Ascent, ascended
from pyrovae.mixtures.moments import Start, started, usable, whole
from pyrovae.mixtures.program import MixtureProgram
from pyrovae.mixtures.unit import Unit

__all__ = ["gradient"]


def gradient(
    mixture: MixtureProgram,
    x: Any,  # noqa: ANN401
    start: Start,
    *,
    iterations: int,
    tol: float,
    seed: int,
) -> Ascent:
    """Ascend log p(x) by L-BFGS in double precision."""
    whole(iterations=iterations)
    x, begun = usable(mixture, x, start), deepcopy(mixture).double()
    started(begun, x, start, seed)
    unit = Unit.of(mixture, x)
    within, z, lost = unit.enter(begun), unit.inside(x), unit.lost(mixture)
    ascent = ascended(
        "log-likelihood", lambda: within.log_px(z).mean() - lost, within.parameters(), iterations, tol
    )
    unit.leave(within, mixture)
    return ascent
