r"""Gradient ascent on the exact marginal, all rows at once.

    d log p(x)/d theta = sum_c p(c|x) d log p(x, c)/d theta        the gradient of EM's bound where it touches

So EM and gradients have the same fixed points. `pyrovae.fit` ascends the same function in minibatches.

Reference:
    Xu & Jordan (1996), "On Convergence Properties of the EM Algorithm for Gaussian Mixtures".
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pyrovae.mixtures.ascent import Ascent, ascended
from pyrovae.mixtures.moments import Start
from pyrovae.mixtures.program import MixtureProgram
from pyrovae.mixtures.unit import in_unit

__all__ = ["ByGradient"]


class ByGradient(MixtureProgram):
    """A mixture that gradients can fit."""

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
            iterations: maximum number, of 20 steps each.

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
