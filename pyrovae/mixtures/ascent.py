r"""Gradient ascent without noise by L-BFGS, on the exact log p(x) of all rows.

    d log p(x)/d theta = sum_c p(c|x) d log p(x, c)/d theta    the gradient of EM's bound at p(c|x)

So EM and gradient ascent have the same fixed points. `pyrovae.fit` maximises the same function with
minibatches.

Reference:
    Xu & Jordan (1996), "On Convergence Properties of the EM Algorithm for Gaussian Mixtures"; Liu &
    Nocedal (1989), "On the Limited Memory BFGS Method for Large Scale Optimization".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import whole
from pyrovae.display import Displayed
from pyrovae.mixtures.moments import Start
from pyrovae.mixtures.program import MixtureProgram
from pyrovae.mixtures.unit import in_unit

__all__ = ["Ascent", "ByGradient", "ascended"]

INNER = 20  # steps of L-BFGS between two recorded values


@dataclass(frozen=True, eq=False, repr=False)
class Ascent(Displayed):
    """The progress of a fit.

    Attributes:
        what: the function that was maximised, "log-likelihood" or "log posterior".
        values: its values at the start and after each iteration, in nats per observation.
        converged: whether the last gain was below the tolerance.

    Example:
        >>> print(Ascent("log-likelihood", np.array([-3.0, -2.5, -2.5]), True))
        2 iterations to a log-likelihood of -2.500 nats per observation, converged
    """

    what: str
    values: np.ndarray
    converged: bool

    @property
    def value(self) -> float:
        """The last of the values."""
        return float(self.values[-1])

    def __str__(self) -> str:
        end = "converged" if self.converged else "not converged: allow more iterations"
        value = f"{self.what} of {self.value:.3f} nats per observation"
        return f"{len(self.values) - 1} iterations to a {value}, {end}"


def ascended(
    what: str, value: Callable[[], Tensor], parameters: Iterable[Tensor], iterations: int, tol: float
) -> Ascent:
    """Maximise a function of parameters by L-BFGS until it rises by less than `tol`."""
    iterations = whole("iterations", iterations)
    optimizer = torch.optim.LBFGS(
        list(parameters),
        max_iter=INNER,
        tolerance_grad=1e-12,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        negative = -value()
        negative.backward()
        return negative

    values, converged = [-float(loss().detach())], False
    while len(values) <= iterations and not converged:
        optimizer.step(loss)
        values.append(-float(loss().detach()))
        converged = values[-1] - values[-2] < tol
    return Ascent(what, np.array(values), converged)


class ByGradient(MixtureProgram):
    """A mixture that can be fitted by gradient ascent."""

    def fit_gradient(
        self,
        x: Any,  # noqa: ANN401
        *,
        start: Start = "kmeans",
        iterations: int = 100,
        tol: float = 1e-9,
        seed: int = 0,
    ) -> Ascent:
        """Fit by L-BFGS on the exact log p(x) of all rows, in double precision.

        Arguments:
            x, start, tol, seed: as in `fit_em`.
            iterations: the maximum number of iterations, of 20 steps each.

        Raises:
            InputError: for data that the mixture cannot take.
        """
        unit, mixture, z = in_unit(self, x, start, seed)
        log_volume = unit.log_volume(self)

        def log_px() -> Tensor:
            return mixture.log_px(z).mean() - log_volume

        ascent = ascended("log-likelihood", log_px, mixture.parameters(), iterations, tol)
        unit.leave(mixture, self)
        return ascent
