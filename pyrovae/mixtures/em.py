r"""EM: two steps, each of which raises a lower bound on the log-likelihood.

    F(q, theta) = sum_n E_{q_n}[log p(x_n, c | theta) - log q_n(c)]  <=  log p(X | theta)

    E   q_n(c) = p(c | x_n, theta)          the bound touches the log-likelihood
    M   theta = argmax F(q, theta)          the bound rises, and so does the log-likelihood

With reg_covar = 0 the log-likelihood never falls. Otherwise reg_covar widens each component after
the M step, as in scikit-learn, so that it cannot collapse onto one observation. The log-likelihood
may then fall a little while a component becomes narrower.

Reference:
    Dempster, Laird & Rubin (1977), "Maximum Likelihood from Incomplete Data via the EM Algorithm";
    Neal & Hinton (1998), "A View of the EM Algorithm that Justifies Incremental, Sparse, and Other
    Variants".
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import whole
from pyrovae.mixtures.ascent import Ascent
from pyrovae.mixtures.moments import Start, maximised, started, usable
from pyrovae.mixtures.program import MixtureProgram

__all__ = ["ByEM", "expected"]

CELLS = 2**24  # rows x components x dimensions that are evaluated at once


class ByEM(MixtureProgram):
    """A mixture that EM can fit."""

    def fit_em(
        self,
        x: Any,  # noqa: ANN401
        *,
        start: Start = "kmeans",
        restarts: int = 1,
        iterations: int = 1000,
        tol: float = 1e-6,
        reg_covar: float = 1e-6,
        seed: int = 0,
    ) -> Ascent:
        """Fit by EM, in double precision.

        Arguments:
            x: rows (N, D).
            start: "kmeans", "random" (means at random rows, with the covariance of the data), or
                "given" (the current parameters).
            restarts: the number of starts; the best result is used.
            iterations: the maximum number of iterations.
            tol: stop when the log-likelihood changes by less, in nats per observation.
            reg_covar: added to the variances in each iteration.
            seed: seed of the first start.

        Raises:
            InputError: for data that the mixture cannot take, with fewer rows than components or
                not finite; or if a component collapses onto its data.

        Example:
            >>> from pyrovae.mixtures import GaussianMixture
            >>> x = GaussianMixture(components=2, event_dim=1).sample(100)
            >>> fit = GaussianMixture(components=2, event_dim=1).fit_em(x)
            >>> fit.converged, bool((fit.values[1:] >= fit.values[:-1]).all())
            (True, True)
        """
        restarts, iterations = whole("restarts", restarts), whole("iterations", iterations)
        x, fits = usable(self, x, start, reg_covar), []
        for number in range(1 if start == "given" else restarts):
            one = deepcopy(self).double()
            started(one, x, start, seed + number, reg_covar)
            fits.append((_ascend(one, x, iterations, tol, reg_covar), one))
        ascent, best = max(fits, key=lambda fit: fit[0].value)
        self.put(best.weights, best.loc, best.covariances)
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
    """The E step: p(c|x), (N, C), and the log-likelihood in nats per observation."""
    size = max(1, CELLS // (mixture.components * mixture.event_dim))
    joint = torch.cat([mixture.log_joint(rows) for rows in x.split(size)])
    return joint.softmax(-1), float(joint.logsumexp(-1).mean())
