"""Pyro's own objectives, where they are right for a minibatch of data.

    Trace_ELBO            ELBO                     RenyiELBO(alpha=0)   IWAE
    TraceMeanField_ELBO   ELBO(analytic_kl=True)   RenyiELBO(alpha)     Renyi
    TraceEnum_ELBO        ELBO: sites that the model enumerates are summed out by all objectives here
    TraceGraph_ELBO       ScoreFunction, for all sites: where draws have a path, ELBO is less noisy

They are read, not run: Pyro's call `.item()` in every step and cannot be captured. The others are refused
with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyro import infer

from pyrovae.errors import InputError
from pyrovae.objectives.base import Objective
from pyrovae.objectives.elbo import ELBO
from pyrovae.objectives.gradients import ScoreFunction
from pyrovae.objectives.importance import IWAE, Renyi

__all__ = ["as_objective"]

_READ: dict[str, Callable[[Any], Objective]] = {
    "Trace_ELBO": lambda given: ELBO(given.num_particles),
    "JitTrace_ELBO": lambda given: ELBO(given.num_particles),
    "TraceEnum_ELBO": lambda given: ELBO(given.num_particles),
    "JitTraceEnum_ELBO": lambda given: ELBO(given.num_particles),
    "TraceMeanField_ELBO": lambda given: ELBO(given.num_particles, analytic_kl=True),
    "JitTraceMeanField_ELBO": lambda given: ELBO(given.num_particles, analytic_kl=True),
    "TraceGraph_ELBO": lambda given: ScoreFunction(max(given.num_particles, 2)),
    "RenyiELBO": lambda given: (
        IWAE(given.num_particles) if given.alpha == 0 else Renyi(given.alpha, given.num_particles)
    ),
}
_REFUSED = {
    "ReweightedWakeSleep": "Pyro's ReweightedWakeSleep has one weight for the whole batch",
    "Trace_MMD": "Pyro's Trace_MMD is not the objective of the InfoVAE: use MMD()",
    "TraceTailAdaptive_ELBO": "Pyro's TraceTailAdaptive_ELBO ranks its weights wrongly: use IWAE()",
    "EnergyDistance": "Pyro's EnergyDistance has no likelihood",
}


def as_objective(given: Any) -> Objective:  # noqa: ANN401
    """The objective that was given, or the one that one of Pyro's stands for.

    Raises:
        InputError: for anything else, and for those of Pyro's that are wrong for a batch of data.

    Example:
        >>> from pyro.infer import RenyiELBO
        >>> as_objective(RenyiELBO(alpha=0, num_particles=5))
        IWAE(particles=5)
    """
    if isinstance(given, Objective):
        return given
    name = type(given).__name__
    if isinstance(given, infer.ELBO) and name in _READ and type(given) is getattr(infer, name, None):
        return _READ[name](given)
    if name in _REFUSED and type(given) is getattr(infer, name, None):
        own = (
            "" if "use" in _REFUSED[name] else f": use {name if name == 'ReweightedWakeSleep' else 'ELBO'}()"
        )
        raise InputError(f"{_REFUSED[name]}{own} of pyrovae.objectives")
    raise InputError(f"objective must be a pyrovae.objectives.Objective, as in ELBO(), not {given!r}")
