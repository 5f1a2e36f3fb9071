"""The one table of instances that every property is tested on, and three parts as a user would write them.

The table is read from the subclasses of the base classes: a new part joins by existing, with its default
hyperparameters and with the variants that are named here. Networks are made small.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyrovae as pv
from pyrovae.guides import Guide
from pyrovae.likelihoods import Likelihood
from pyrovae.networks import Network
from pyrovae.numerics import positive
from pyrovae.objectives import Objective
from pyrovae.part import Declared
from pyrovae.priors import Prior
from pyrovae.testing.attaching import attached, params, perturb  # noqa: F401 - shared with the tests


class LaplacePrior(Prior):
    """A user's own prior: independent Laplace latents with learned locations, moved by a context."""

    def __init__(self, rate: float = 2.0) -> None:
        super().__init__()
        self.rate = rate

    def attach(self, latent_dim, context_dim=0):
        super().attach(latent_dim, context_dim)
        self.loc = nn.Parameter(torch.zeros(latent_dim))
        self.shift = nn.Linear(context_dim, latent_dim, bias=False) if context_dim else None

    def forward(self, context=None):
        loc = self.loc if self.shift is None else self.loc + self.shift(context)
        return dist.Laplace(loc, 1 / self.rate).to_event(1)


class HeavyTails(Likelihood):
    """A user's own likelihood: real elements with heavier tails, one learned scale."""

    def __init__(self) -> None:
        super().__init__()

    def attach(self, event_shape):
        super().attach(event_shape)
        self.raw_scale = nn.Parameter(torch.zeros(()))

    @property
    def param_shapes(self):
        return {"loc": self.event_shape}

    def forward(self, loc):
        return self.over_event(dist.Laplace(loc, positive(self.raw_scale)))


class LaplaceGuide(Guide):
    """A user's own guide."""

    def __init__(self) -> None:
        super().__init__()

    @property
    def param_shapes(self):
        return {"loc": (self.latent_dim,), "raw_scale": (self.latent_dim,)}

    def forward(self, loc, raw_scale):
        return dist.Laplace(loc, positive(raw_scale)).to_event(1)


# Hyperparameters to try in addition to the default ones, by the name of the class.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "guides.GaussianMixture": [{"components": 3}, {"components": 3, "explicit": True}],
    "priors.GaussianMixture": [
        {"components": 3},
        {"components": 2, "covariance": "full", "start": "spread"},
        {"components": 3, "covariance": "full", "explicit": True},
        {"components": 3, "covariance": "spherical", "labels": True, "floor": 0.2},
        {"components": 3, "start": "kmeans", "floor": 0.2},
    ],
    "priors.Classes": [{"classes": 3, "labels": True}],
    "priors.VampPrior": [{"components": 4, "pseudo_inputs": "data"}],
    "priors.Categorical": [{"classes": 3, "temperature": 0.7}],
    "guides.Flow": [{"flow": "planar", "transforms": 3}],
    "guides.Hierarchical": [{"layers": (1,), "hidden": (5,), "order": "ladder"}],
    "guides.Categorical": [{"classes": 3, "temperature": 0.7}],
    "likelihoods.Categorical": [{"classes": 3, "grey": False}],
    "DiscretizedLogistic": [{"levels": 4, "components": 2}],
    "likelihoods.Normal": [{"scale": "learned"}, {"scale": "predicted"}, {"scale": "optimal"}],
    "likelihoods.Laplace": [{"scale": "predicted"}],
    "likelihoods.StudentT": [{"df": 4.0, "scale": "predicted"}],
    "NegativeBinomial": [{"dispersion": "predicted"}],
    "MLP": [{"sizes": (6, 5), "activation": "tanh"}],
    "ELBO": [{"particles": 3}, {"beta": 0.5}, {"free_bits": 0.05}],
    "IWAE": [{"particles": 1}],
    "ReweightedWakeSleep": [{"particles": 3, "insomnia": 0.5}],
    "ScoreFunction": [{"particles": 1, "baseline": "batch"}],
    "DIP": [{"kind": "II"}],
    "Autoencoder": [
        {"sparsity": 0.5, "kind": "topk", "noise": 0.1},
        {"sparsity": 1.0, "kind": "kl", "contraction": 0.1},
    ],
}
# In place of the default ones, where these would be slow.
SMALL: dict[str, dict[str, Any]] = {
    "likelihoods.Categorical": {"classes": 4},
    "DiscretizedLogistic": {"levels": 5},
    "GaussianMixture": {"components": 2},
    "priors.VampPrior": {"components": 3},
    "priors.Autoregressive": {"hidden": (6,)},
    "priors.Conditional": {"hidden": (6,)},
    "priors.Flow": {"transforms": 2, "hidden": (5,)},
    "priors.Hierarchical": {"layers": (1,), "hidden": (5,)},
    "priors.Categorical": {"classes": 3},
    "priors.Classes": {"classes": 3},
    "guides.Classes": {"classes": 3},
    "guides.Flow": {"transforms": 2, "hidden": (5,)},
    "guides.Hierarchical": {"layers": (1,), "hidden": (5,)},
    "guides.Categorical": {"classes": 3},
    "MLP": {"sizes": (8,), "activation": "silu"},
    "Bayesian": {"network": pv.networks.MLP(6, activation="silu")},
    "ConvEncoder": {"channels": (2, 3), "features": 5, "activation": "silu"},
    "Gated": {"sizes": (7,)},
    "Wrapped": {"module": "tests.support.user_networks.Both", "features": 5, "options": {"width": 6}},
    "ResidualEncoder": {"channels": (2, 3), "blocks": 1, "features": 5},
    "ResidualDecoder": {"channels": (3, 2), "blocks": 1},
    "ConvDecoder": {"channels": (3, 2), "activation": "silu"},
    "PointEncoder": {"sizes": (6,), "embedding": 3, "width": 5},
    "Recurrent": {"hidden": 5},
    "Transformer": {"width": 6, "layers": 1, "heads": 2},
    "Conv1dEncoder": {"channels": (3, 2), "features": 5, "kernel": 3, "activation": "silu"},
    "Conv1dDecoder": {"channels": (3, 2), "kernel": 3, "activation": "silu"},
    "MIWAE": {"groups": 2, "particles": 4},
    "PIWAE": {"groups": 2, "particles": 4},
    "CIWAE": {"particles": 4},
    "Factor": {"layers": (8,)},
}


def classes(base: type) -> list[type]:
    """The concrete public subclasses in the package and in this file."""
    below = [c for direct in base.__subclasses__() for c in (direct, *classes(direct))]
    ours = [c for c in below if c.__module__.startswith("pyrovae.") or c.__module__ == __name__]
    return [c for c in dict.fromkeys(ours) if not inspect.isabstract(c) and not c.__name__.startswith("_")]


def table(base: type) -> list[Any]:
    """Every part of a kind: the default hyperparameters, then the variants."""
    return [
        cls(**given) for cls in classes(base) for given in (entry(SMALL, cls, {}), *entry(VARIANTS, cls, []))
    ]


def entry(entries: Mapping[str, Any], cls: type, default: Any) -> Any:
    """What a table has for a class: under its name, or under "likelihoods.Normal" where two axes have one."""
    axis = cls.__module__.split(".")[1] if cls.__module__.startswith("pyrovae.") else "tests"
    return entries.get(f"{axis}.{cls.__name__}", entries.get(cls.__name__, default))


PRIORS: list[Prior] = table(Prior)
LIKELIHOODS: list[Likelihood] = table(Likelihood)
GUIDES: list[Guide] = table(Guide)
NETWORKS: list[Network] = table(Network)
OBJECTIVES: list[Objective] = table(Objective)
# Random weights are sites of the program, which not every objective takes: tests/vae/test_bayesian.py.
_FIXED = [n for n in NETWORKS if not isinstance(n, pv.networks.Bayesian)]
ENCODERS = [n for n in _FIXED if not type(n).__name__.endswith("Decoder")]
DECODERS = [n for n in _FIXED if not type(n).__name__.endswith("Encoder")]
# An encoder with the decoder that mirrors it, the plainest first; each network is in at least one pair.
PAIRS = [
    *(
        (n, n)
        for n in sorted(_FIXED, key=lambda n: type(n).__name__ != "MLP")
        if n in ENCODERS and n in DECODERS
    ),
    *zip(
        [n for n in ENCODERS if n not in DECODERS and not isinstance(n, pv.networks.PointEncoder)],
        [n for n in DECODERS if n not in ENCODERS],
        strict=True,
    ),
    *((n, pv.networks.MLP(8)) for n in ENCODERS if isinstance(n, pv.networks.PointEncoder)),
]


def label(value: Any) -> str | None:
    """A part or a pair of parts in the name of a test."""
    if isinstance(value, Declared):
        return repr(value)
    if isinstance(value, tuple) and value and isinstance(value[0], Declared):
        return type(value[0]).__name__
    return None


def each(name: str, values: list[Any]) -> pytest.MarkDecorator:
    """Run a test on every entry of a table."""
    return pytest.mark.parametrize(name, values, ids=label)


def small_vae(event_shape=(5,), latent_dim=2, *, seed=0, wide=True, **parts: Any) -> pv.VAE:
    """A VAE of small networks with no special parameter values.

    With `wide` its guide is wider than most posteriors, so that importance weights have a variance.
    """
    encoder, decoder = parts.pop("networks", PAIRS[0])
    with torch.random.fork_rng():
        torch.manual_seed(1000 + seed)  # not the seed that a test begins with: a fresh VAE must differ
        vae = pv.VAE(event_shape, latent_dim, encoder=encoder, decoder=decoder, **parts)
        perturb(vae, 0.2)
    head = vae.recognition.heads["raw_scale"] if "raw_scale" in vae.recognition.heads else None
    if wide and head is not None:
        with torch.no_grad():
            head.linear.bias.add_(1.5)
    return vae


def prior_for(objective: Objective) -> Prior | None:
    """A prior with what the objective asks for; None where any will do."""
    if isinstance(objective, pv.objectives.SemiSupervised):
        return pv.priors.GaussianMixture(3, labels=True)
    return pv.priors.GaussianMixture(3) if isinstance(objective, pv.objectives.Balanced) else None


def data_for(vae: pv.VAE, count: int, *, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Rows that the VAE itself draws, as arguments of a program: (x,), (x, context) or (x, context, y)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        context = None if vae.context_shape is None else torch.randn(count, *vae.context_shape)
        y = labels(vae, count) if vae.prior.labels else None
        return pv.Rows(vae.sample(count, context, y), context, y).arguments


def labels(vae: pv.VAE, count: int) -> torch.Tensor:
    """Class indices of which every third is not known."""
    known = torch.arange(count) % 3 > 0
    return torch.where(known, torch.randint(vae.prior.states, (count,)), -1)


def raises_one_sentence(call: Callable[[], Any], *words: str) -> None:
    """The call is refused by an InputError of one line that holds the words."""
    with pytest.raises(pv.InputError) as caught:
        call()
    message = str(caught.value)
    assert "\\n" not in message  # a line end is escaped
    assert "Trace Shapes" not in message
    assert not message.endswith(".")
    for word in words:
        assert word in message, message
