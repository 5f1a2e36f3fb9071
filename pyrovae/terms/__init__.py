r"""Run any guide and model once and read the terms of every bound.

The guide draws K particles of the latent sites for each of B observations, and the model is
replayed on them. Objectives and estimates of the evidence need three terms per particle and
observation:

    log_px_z   log p(x|z)    the model's observed sites
    log_pz     log p(z)      the model's latent sites
    log_qz     log q(z|x)    the guide's sites
    log_w = log_px_z + log_pz - log_qz

They are read from Pyro traces, site by site, and summed over all dimensions but the particles and
the plate named "data", for any number of sites and any Pyro program. They ignore `poutine.scale`,
as a scale inside an importance weight would raise it to a power. Sites outside the plate are
variables that all rows share, and their log p - log q is a separate term (`global_sites`).
"""

from typing import TYPE_CHECKING

from pyrovae.errors import renamed
from pyrovae.terms.draws import Draws
from pyrovae.terms.global_checks import check_own_weights
from pyrovae.terms.global_sites import Fixed, ParticlePlate, Weights
from pyrovae.terms.program import Pair, Program, as_program
from pyrovae.terms.rows_apart import check_rows_apart
from pyrovae.terms.runner import Runner, trace_once
from pyrovae.terms.sites import DATA, PARTICLES, check_gradients, check_sites, distribution_name
from pyrovae.terms.trace import Latent, Terms, TracePair, run, terms

__all__ = [
    "DATA",
    "PARTICLES",
    "Draws",
    "Fixed",
    "Latent",
    "Pair",
    "ParticlePlate",
    "Program",
    "Runner",
    "Terms",
    "TracePair",
    "Weights",
    "as_program",
    "check_gradients",
    "check_own_weights",
    "check_rows_apart",
    "check_sites",
    "distribution_name",
    "trace_once",
    "run",
    "terms",
]

if not TYPE_CHECKING:
    __getattr__ = renamed(__name__, {"law_of": "distribution_name"})
