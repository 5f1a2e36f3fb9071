r"""Guides q(z|x): the distribution of the latents of one row, given the parameters that an encoder computes.

A guide declares the parameters it needs and their shapes; the program puts one head for each after the
encoder and calls `forward` with them by name. It returns a reparameterised distribution with event shape
(D,): a sample is a differentiable function of the parameters and of noise.

    DiagonalNormal        z = loc + scale * noise,   noise ~ N(0, I)
    FullRankNormal, LowRankNormal, Laplace    other noise, or mixed
    Flow                  z = T(e; x): iaf, planar, and what the package zuko has
    GaussianMixture       several modes
    Hierarchical          layers of latents, one after another
    ProjectedNormal       on the unit sphere
    Categorical           one-hot, or relaxed
    Classes               a class, then a style
"""

from pyrovae.guides.base import Guide
from pyrovae.guides.discrete import Categorical, Classes
from pyrovae.guides.flow import Flow
from pyrovae.guides.layers import Hierarchical
from pyrovae.guides.mixture import GaussianMixture
from pyrovae.guides.normal import DiagonalNormal, FullRankNormal, Laplace, LowRankNormal, ProjectedNormal

__all__ = [
    "Categorical",
    "Classes",
    "DiagonalNormal",
    "Flow",
    "FullRankNormal",
    "GaussianMixture",
    "Guide",
    "Hierarchical",
    "Laplace",
    "LowRankNormal",
    "ProjectedNormal",
]
