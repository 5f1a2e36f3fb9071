r"""MAP: the parameters that maximise log p(X, theta).

With a flat prior (a = 1, eta = 1, a large reach and width) this is the maximum of the likelihood,
the result of EM.
"""

from __future__ import annotations

from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from pyro.infer.autoguide import AutoDelta, init_to_value

from pyrovae.errors import InputError
from pyrovae.mixtures.ascent import Ascent, ascended
from pyrovae.mixtures.bayes import Bayesian, Beliefs
from pyrovae.mixtures.moments import Start
from pyrovae.mixtures.program import MixtureProgram
from pyrovae.mixtures.unit import in_unit
from pyrovae.threads import alone

__all__ = ["ByMode"]


class ByMode(MixtureProgram):
    """A mixture whose parameters can be fitted by their mode."""

    def fit_map(
        self,
        x: Any,  # noqa: ANN401
        *,
        start: Start = "kmeans",
        concentration: float = 1.0,
        reach: float = 3.0,
        width: float = 1.0,
        eta: float = 1.0,
        iterations: int = 100,
        tol: float = 1e-9,
        seed: int = 0,
    ) -> Ascent:
        r"""Maximise log p(X, theta), with Pyro's `TraceEnum_ELBO` and a point mass as guide.

        Arguments:
            x, start, tol, seed: as in `fit_em`.
            concentration: a, of the Dirichlet prior of the weights; 1 is flat.
            reach: the standard deviation of the normal prior of the means, in units of the data's
                standard deviations.
            width: the scale of the half-Cauchy prior of the standard deviations, in the same units.
            eta: the parameter of the LKJ prior of the correlations; 1 is flat. The mode is that in
                the correlations themselves.
            iterations: the maximum number of iterations, of 20 steps each.

        Raises:
            InputError: for data that the mixture cannot take, a concentration below 1, or another
                hyperparameter that is not above 0.

        Reference:
            Fraley & Raftery (2007), "Bayesian Regularization for Normal Mixture Estimation and
            Model-Based Clustering".
        """
        beliefs = Beliefs(concentration, reach, width, eta)
        if beliefs.concentration < 1:
            raise InputError(
                f"the density of weights has no maximum for a concentration of {concentration:g}: use 1 or "
                "more for the mode, or fit_posterior"
            )
        unit, within, z = in_unit(self, x, start, seed)
        bayesian, log_volume = Bayesian(within, beliefs, mode=True), unit.log_volume(self)
        values, loss = bayesian.values(), TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss
        with alone, pyro.get_param_store().scope(), torch.random.fork_rng(devices=[]), torch.enable_grad():
            model = poutine.block(bayesian.model, hide=["c", "x"])
            guide = AutoDelta(model, init_loc_fn=init_to_value(values=values))
            guide(z)
            ascent = ascended(
                "log posterior",
                lambda: -loss(bayesian.model, guide, z) / len(z) - log_volume,
                guide.parameters(),
                iterations,
                tol,
            )
            self.put(*bayesian.moments(guide.median(z), unit))
        return ascent
