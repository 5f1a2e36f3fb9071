r"""EM: two steps that each raise a lower bound on the log-likelihood.

    F(q, theta) = sum_n E_{q_n}[log p(x_n, c | theta) - log q_n(c)]  <=  log p(X | theta)

    E   q_n(c) = p(c | x_n, theta)          the bound touches the log-likelihood
    M   theta = argmax F(q, theta)          the bound rises, and the log-likelihood with it

With reg_covar = 0 the log-likelihood never falls. Otherwise reg_covar widens each component after its M
step, as in scikit-learn, which keeps it from closing in on one datum. Where components are that narrow, it
can cost some of the rise.

Reference:
    Dempster, Laird & Rubin (1977), "Maximum Likelihood from Incomplete Data via the EM Algorithm"; Neal &
    Hinton (1998), "A View of the EM Algorithm that Justifies Incremental, Sparse, and Other Variants".
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.mixtures.ascent import Ascent
from pyrovae.mixtures.moments import Start, maximised, started, usable, whole
from pyrovae.mixtures.program import MixtureProgram

__all__ = ["em", "expected"]

CELLS = 2**24  # data x components x dimensions that are weighed at once


def em(
    mixture: MixtureProgram,
    x: Any,  # noqa: ANN401
    start: Start,
    *,
    restarts: int,
    iterations: int,
    tol: float,
    reg_covar: float,
    seed: int,
) -> Ascent:
    """Run EM from each start and leave the mixture at the best end."""
    whole(restarts=restarts, iterations=iterations)
    x, begun = usable(mixture, x, start, reg_covar), deepcopy(mixture).double()
    found = []
    for number in range(1 if start == "given" else restarts):
        one = deepcopy(begun)
        started(one, x, start, seed + number, reg_covar)
        found.append((_ascend(one, x, iterations, tol, reg_covar), one))
    ascent, best = max(found, key=lambda each: each[0].value)
    mixture.put(best.weights, best.loc, best.covariances)
    return ascent


@torch.no_grad()
def _ascend(mixture: MixtureProgram, x: Tensor, iterations: int, tol: float, reg_covar: float) -> Ascent:
    q, value = expected(mixture, x)
    values, converged = [value], False
    while len(values) <= iterations and not converged:
        mixture.put(*maximised(x, q, mixture.covariance, reg_covar))
        q, value = expected(mixture, x)
        converged = abs(value - values[-1]) < tol
        values.append(value)
    return Ascent("log-likelihood", np.array(values), converged)


def expected(mixture: MixtureProgram, x: Tensor) -> tuple[Tensor, float]:
    """The E step: p(c|x), (N, C), and the log-likelihood that it comes with, in nats per datum."""
    size = max(1, CELLS // (mixture.components * mixture.event_dim))
    joint = torch.cat([mixture.log_joint(rows) for rows in x.split(size)])
    return joint.softmax(-1), float(joint.logsumexp(-1).mean())
