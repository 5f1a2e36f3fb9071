"""Every prior and every guide with small hyperparameters, and grids over the spaces on which they live."""

import math
from typing import Any

import torch

from pyrovae import guides, priors
from pyrovae.networks import MLP, Headed
from pyrovae.priors import Prior
from tests.support.parts import LaplaceGuide, LaplacePrior, attached, params

SMALL = {"transforms": 2, "hidden": (5,)}
# Flows whose density and draws are both cheap and exact; the others are in APPROXIMATE.
EXACT = ("NSF", "MAF", "NICE", "RealNVP")
APPROXIMATE = ("NAF", "UNAF", "SOSPF", "BPF", "GF", "CNF")

# Over the reals, of any size from 1.
REAL_PRIORS: list[Prior] = [
    priors.StandardNormal(),
    LaplacePrior(),
    priors.Normal(),
    priors.Laplace(),
    priors.StudentT(df=7.0),
    priors.GaussianMixture(2),
    priors.GaussianMixture(3, covariance="full"),
    priors.GaussianMixture(3, "full", "spread"),
    priors.GaussianMixture(3, start="spread", learned=False),
    priors.GaussianMixture(3, "spherical", "kmeans", floor=0.3),
    priors.GaussianMixture(3, explicit=True),
    priors.GaussianMixture(3, weights="dirichlet"),
    priors.VampPrior(3),
    priors.VampPrior(4, "data"),
    *(priors.Flow(name, **SMALL) for name in EXACT),
    priors.Flow("NSF", **SMALL, passes=2),
    priors.Autoregressive((6,)),
    priors.Conditional((5,)),
    priors.Hierarchical(()),
]
LAYERED_PRIORS: list[Prior] = [priors.Hierarchical((1,), (5,)), priors.Hierarchical((1, 1), (5,))]
ROUND_PRIORS: list[Prior] = [priors.HypersphericalUniform()]
DISCRETE_PRIORS: list[Prior] = [priors.Categorical(3)]
RELAXED_PRIORS: list[Prior] = [priors.Categorical(3, temperature=0.7), priors.Categorical(2, 1.5)]
CLASS_PRIORS: list[Prior] = [priors.Classes(3)]
PRIORS = [*REAL_PRIORS, *LAYERED_PRIORS, *ROUND_PRIORS, *DISCRETE_PRIORS, *RELAXED_PRIORS, *CLASS_PRIORS]

REAL_GUIDES: list[guides.Guide] = [
    guides.DiagonalNormal(),
    LaplaceGuide(),
    guides.FullRankNormal(),
    guides.LowRankNormal(1),
    guides.LowRankNormal(2),
    guides.Laplace(),
    guides.Flow("iaf", **SMALL),
    guides.Flow("planar", transforms=3),
    *(guides.Flow(name, **SMALL) for name in EXACT),
    guides.Flow("iaf", **SMALL, passes=2),
    guides.GaussianMixture(1),
    guides.GaussianMixture(3),
    guides.GaussianMixture(2, explicit=True),
    guides.Hierarchical(()),
    guides.Hierarchical((), order="ladder"),
]
LAYERED_GUIDES: list[guides.Guide] = [
    guides.Hierarchical((1,), (5,)),
    guides.Hierarchical((1,), (5,), "ladder"),
]
ROUND_GUIDES: list[guides.Guide] = [guides.ProjectedNormal()]
DISCRETE_GUIDES: list[guides.Guide] = [guides.Categorical(3)]
RELAXED_GUIDES: list[guides.Guide] = [guides.Categorical(3, temperature=0.7), guides.Categorical(2, 1.5)]
CLASS_GUIDES: list[guides.Guide] = [guides.Classes(3)]
GUIDES = [*REAL_GUIDES, *LAYERED_GUIDES, *ROUND_GUIDES, *DISCRETE_GUIDES, *RELAXED_GUIDES, *CLASS_GUIDES]


def prior_of(prior: Prior, size: int, context_dim: int = 0, seed: int = 0) -> Prior:
    """The prior attached so that z has `size` entries, where its layers and classes allow."""
    others = prior.classes if isinstance(prior, priors.Classes) else sum(getattr(prior, "layers", ()))
    inner = size - others
    classes = getattr(prior, "classes", 1) if isinstance(prior, priors.Categorical) else 1
    context_dim = context_dim or (2 if isinstance(prior, priors.Conditional) else 0)
    prior = attached(prior, inner // classes, context_dim=context_dim, seed=seed)
    assert prior.size == size
    if isinstance(prior, priors.VampPrior):
        connect(prior, guides.DiagonalNormal(), context_dim)
    return prior


def connect(prior: Prior, guide: guides.Guide, context_dim: int = 0, shape: tuple[int, ...] = (3,)) -> None:
    """Give a VampPrior an encoder and a guide, as a VAE does."""
    mlp = attached(MLP(6, activation="tanh"), shape, None, context_dim)
    guide = attached(guide, prior.size)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        recognition = Headed(mlp, guide.param_shapes)
        prior.connect(recognition, guide, shape)
        with torch.no_grad():  # the paper's begin all alike
            prior.u.uniform_(-1.0, 2.0)


def distribution_of(part: Any, size: int) -> Any:
    """The distribution of a prior or a guide over z of `size` entries, batch ()."""
    if isinstance(part, Prior):
        return prior_of(part, size)(
            torch.tensor([0.5, -1.0]) if isinstance(part, priors.Conditional) else None
        )
    part = attached(part, size)
    return part(**params(part.param_shapes))


def real_line(points: int = 6001) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and logarithms of weights for an integral over the reals, dense around 0: z = sinh t."""
    t = torch.linspace(-9, 9, points)
    return t.sinh(), t.cosh().log() + math.log(18 / (points - 1))
