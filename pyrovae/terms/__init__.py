r"""Run any guide and model once and read the terms of every bound.

A guide draws K particles of the latent sites for each of B data; the model is replayed on them. What
an objective or an estimate of the evidence needs are three numbers for each particle and datum:

    log p(x|z)     the model's observed sites
    log p(z)       the model's latent sites
    log q(z|x)     the guide's sites
    log w = log p(x|z) + log p(z) - log q(z|x)

They are read from Pyro traces, site by site, and summed over everything but the particles and the plate
named "data". So they are right for any number of sites and for programs that PyroVAE did not build, and
never scaled: a scale inside a weight would raise it to a power.
"""

from pyrovae.terms.draws import Draws
from pyrovae.terms.program import Program, arguments
from pyrovae.terms.sites import DATA, PARTICLES, check_gradients, law_of
from pyrovae.terms.trace import Fixed, Latent, Terms, TracePair, run, terms

__all__ = [
    "DATA",
    "PARTICLES",
    "Draws",
    "Fixed",
    "Latent",
    "Program",
    "Terms",
    "TracePair",
    "arguments",
    "check_gradients",
    "law_of",
    "run",
    "terms",
]
