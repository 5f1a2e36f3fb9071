r"""Guides q(z|x): the distribution of one row's latents, with parameters from the encoder.

A guide declares its parameters and their shapes. The program adds one head for each to the encoder
and passes the parameters to `forward` by name. `forward` returns a reparameterised distribution
with event shape (D,): a sample is a differentiable function of the parameters and of noise.

    DiagonalNormal        z = loc + scale * noise,   noise ~ N(0, I)
    FullRankNormal, LowRankNormal, Laplace    other noise, or mixed
    Flow                  z = T(e; x): iaf, planar, and the flows of zuko
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
