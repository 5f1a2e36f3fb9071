"""The figures of a textbook chapter on latent-variable models, one call for each.

    pv.plots.textbook.bound_gap()          with its defaults
    pv.plots.textbook.bound_gap(model, x)  for your model

Models are functions f, with x = f(z) + noise, or objects with `latents()` and `decode(z)`: a VAE
with one latent, or a model of `pv.oracles`. Their integrals are computed on a grid, so every bound
and every posterior in these figures is exact. The figures are our own; the ideas are those of
chapter 17 of Prince, and of Doersch's tutorial.

Reference:
    Prince (2023), "Understanding Deep Learning"; Doersch (2016), "Tutorial on Variational
    Autoencoders".
"""

from pyrovae.plots.textbook.algorithms import em_and_variational_inference
from pyrovae.plots.textbook.bounds import (
    bound_ascent,
    bound_gap,
    posterior_approximation,
    training_of_the_bound,
)
from pyrovae.plots.textbook.diagrams import architecture, reparameterisation
from pyrovae.plots.textbook.jensen import jensen_distribution, jensen_points
from pyrovae.plots.textbook.maps import ring
from pyrovae.plots.textbook.mixtures import ancestral_sampling, infinite_mixture, mixture_1d
from pyrovae.plots.textbook.programs import latent_spaces, models_side_by_side

__all__ = [
    "ancestral_sampling",
    "architecture",
    "bound_ascent",
    "bound_gap",
    "em_and_variational_inference",
    "infinite_mixture",
    "jensen_distribution",
    "jensen_points",
    "latent_spaces",
    "mixture_1d",
    "models_side_by_side",
    "posterior_approximation",
    "reparameterisation",
    "ring",
    "training_of_the_bound",
]
