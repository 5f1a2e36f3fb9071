r"""Programs whose log p(x) is known exactly, to test estimates.

    LinearGaussian          z ~ N(0, I),  x = W z + b + noise   closed form; PCA, factor analysis
    LinearGaussianMixture   the same, z from a mixture          closed form; with or without site c
    LatentClass             c in 1..C,  bits x given c          a sum of C terms
    Curve, Fold, Banana     x = f(z) + noise                    `quadrature`, to 1e-8
    Ring                    x = z / 10 + z / ||z|| + noise      an integral over the radius, to 1e-8
    Funnel                  x = exp(v / 2) u + noise            an integral over v
    HeavyTails              z ~ Student-t, x = z + noise        an integral for each latent
    Blocks                  several of these next to each other; `hard_models` has forty

An oracle has `model` and `guide` like a VAE, `log_px(x)` and `sample(count)`. Those with f also
give z and x together (`ancestral`) and the true posterior on a grid. `posterior_on_grid` computes
it for any VAE with one or two latents. The guide of the first three is the exact posterior, so
every importance weight equals p(x), and a correct estimator has no variance. Each guide can be made
worse on purpose: too narrow, too wide, or without one of the modes.
"""

from pyrovae.oracles.classes import LatentClass
from pyrovae.oracles.curved import Ancestral, Banana, Curve, Curved, Fold
from pyrovae.oracles.hard import Blocks, Funnel, HeavyTails, correlated, hard_models
from pyrovae.oracles.linear import LinearGaussian
from pyrovae.oracles.mixture import LinearGaussianMixture
from pyrovae.oracles.ring import Ring
from pyrovae.quadrature import GridPosterior, Nodes, posterior_on_grid, quadrature

__all__ = [
    "Ancestral",
    "Banana",
    "Blocks",
    "Curve",
    "Curved",
    "Fold",
    "Funnel",
    "GridPosterior",
    "HeavyTails",
    "LatentClass",
    "LinearGaussian",
    "LinearGaussianMixture",
    "Nodes",
    "Ring",
    "correlated",
    "hard_models",
    "posterior_on_grid",
    "quadrature",
]
