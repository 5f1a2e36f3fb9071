r"""MAP: the parameters of largest log p(X, theta), one point.

With flat beliefs (a = 1, eta = 1, a large reach and width) it is the likelihood's top, where EM ends too.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from pyro.infer.autoguide import AutoDelta, init_to_value

from pyrovae.errors import InputError
from pyrovae.mixtures.ascent import Ascent, ascended
from pyrovae.mixtures.bayes import Bayesian, Beliefs
from pyrovae.mixtures.moments import Start, started, usable, whole
from pyrovae.mixtures.program import MixtureProgram
from pyrovae.mixtures.unit import Unit

__all__ = ["most_probable"]


def most_probable(
    mixture: MixtureProgram,
    x: Any,  # noqa: ANN401
    start: Start,
    beliefs: Beliefs,
    *,
    iterations: int,
    tol: float,
    seed: int,
) -> Ascent:
    """Ascend Pyro's bound with a point as guide, which is the log posterior but for its constant."""
    if beliefs.concentration < 1:
        raise InputError(
            f"the density of weights has no top under a concentration of {beliefs.concentration:g}: use 1 or "
            "more for the mode, or fit_posterior"
        )
    whole(iterations=iterations)
    x, begun = usable(mixture, x, start), deepcopy(mixture).double()
    started(begun, x, start, seed)
    unit = Unit.of(mixture, x)
    bayesian, z = Bayesian(unit.enter(begun), beliefs, mode=True), unit.inside(x)
    values, loss = bayesian.values(), TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss
    with pyro.get_param_store().scope(), torch.random.fork_rng(devices=[]), torch.enable_grad():
        model = poutine.block(bayesian.model, hide=["c", "x"])
        guide = AutoDelta(model, init_loc_fn=init_to_value(values=values))
        guide(z)
        lost = unit.lost(mixture)
        ascent = ascended(
            "log posterior",
            lambda: -loss(bayesian.model, guide, z) / len(z) - lost,
            guide.parameters(),
            iterations,
            tol,
        )
        mixture.put(*bayesian.moments(guide.median(z), unit))
    return ascent
