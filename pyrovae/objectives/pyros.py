"""Pyro's objectives that are correct for a minibatch of data.

    Trace_ELBO            ELBO                     RenyiELBO(alpha=0)   IWAE
    TraceMeanField_ELBO   ELBO(analytic_kl=True)   RenyiELBO(alpha)     Renyi
    TraceEnum_ELBO        ELBO; every objective here sums out sites that the model enumerates
    TraceGraph_ELBO       ScoreFunction for all sites; with reparameterisation, ELBO is less noisy

They are replaced by the equivalent objectives of this package, since Pyro's call `.item()` in every
step and cannot be compiled. Other objectives of Pyro are refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyro import infer

from pyrovae.checks import shown
from pyrovae.errors import InputError
from pyrovae.objectives.base import Objective
from pyrovae.objectives.elbo import ELBO
from pyrovae.objectives.gradients import ScoreFunction
from pyrovae.objectives.importance import IWAE, Renyi

__all__ = ["as_objective"]

_READ: dict[str, Callable[[Any], Objective]] = {
    "Trace_ELBO": lambda pyros: ELBO(pyros.num_particles),
    "TraceEnum_ELBO": lambda pyros: ELBO(pyros.num_particles),
    "TraceMeanField_ELBO": lambda pyros: ELBO(pyros.num_particles, analytic_kl=True),
    "TraceGraph_ELBO": lambda pyros: ScoreFunction(max(pyros.num_particles, 2)),
    "RenyiELBO": lambda pyros: (
        IWAE(pyros.num_particles) if pyros.alpha == 0 else Renyi(pyros.alpha, pyros.num_particles)
    ),
}
_REFUSED = {
    "ReweightedWakeSleep": "Pyro's ReweightedWakeSleep has one weight for the whole batch: use "
    "ReweightedWakeSleep()",
    "Trace_MMD": "Pyro's Trace_MMD is not the objective of the InfoVAE: use MMD()",
    "TraceTailAdaptive_ELBO": "Pyro's TraceTailAdaptive_ELBO ranks its weights wrongly: use IWAE()",
    "EnergyDistance": "Pyro's EnergyDistance has no likelihood: use ELBO()",
}


def as_objective(objective: Any) -> Objective:  # noqa: ANN401
    """Return an objective as it is, or the equivalent of one of Pyro's.

    Raises:
        InputError: for anything else, and for objectives of Pyro that are wrong for a batch of
            rows.

    Example:
        >>> from pyro.infer import RenyiELBO
        >>> as_objective(RenyiELBO(alpha=0, num_particles=5))
        IWAE(particles=5)
    """
    if isinstance(objective, Objective):
        return objective
    name = type(objective).__name__
    is_pyros = type(objective) is getattr(infer, name, None)
    name = name.removeprefix("Jit")
    if is_pyros and name in _READ:
        return _READ[name](objective)
    if is_pyros and name in _REFUSED:
        raise InputError(f"{_REFUSED[name]} of pyrovae.objectives")
    raise InputError(
        f"objective must be a pyrovae.objectives.Objective, as in ELBO(), not {shown(objective)}"
    )
