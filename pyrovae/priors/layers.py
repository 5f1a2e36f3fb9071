r"""Priors whose parameters are computed by networks.

Conditional     p(z|c) = N(z; mu(c), diag sigma(c)^2)
Hierarchical    p(z) = p(z_1|z_2) p(z_2|z_3) ... p(z_L),   z = (z_1, ..., z_L),
                p(z_L) = N(0, I) or another prior
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import pyro.distributions as dist
import torch
from torch import Size, Tensor, nn

from pyrovae.checks import shown, sizes_of
from pyrovae.distributions import Chain, Step
from pyrovae.errors import InputError
from pyrovae.networks import location_and_scale
from pyrovae.numerics import UNIT, positive
from pyrovae.priors.base import Encodings, Labels, Prior, Shape
from pyrovae.priors.simple import StandardNormal
from pyrovae.priors.vamp import VampPrior

__all__ = ["Conditional", "Hierarchical"]


class Conditional(Prior):
    r"""A diagonal normal whose mean and scales a network computes from the context, \(p(z|c)\).

    Arguments:
        hidden: the sizes of the network's hidden layers.

    Raises:
        InputError: for a VAE without a context, or a size below 1.

    Reference:
        Sohn, Lee & Yan (2015), "Learning Structured Output Representation using Deep Conditional
        Generative Models".

    Example:
        >>> import torch
        >>> prior = Conditional(hidden=(16,))
        >>> prior.attach(latent_dim=2, context_dim=3)
        >>> prior(torch.zeros(5, 3)).sample().shape
        torch.Size([5, 2])
    """

    def __init__(self, hidden: Sequence[int] = (64,)) -> None:
        super().__init__()
        self.hidden = sizes_of("hidden", hidden)

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        if not context_dim:
            raise InputError(
                "Conditional is p(z|c), and this VAE has no context: give the VAE context_shape=, or "
                "use Normal"
            )
        self.check_sizes("hidden", count=1)
        self.net = location_and_scale(context_dim, latent_dim, self.hidden)

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        assert context is not None  # a VAE with a context requires one
        return _normal(**self.net(context))


class Hierarchical(Prior):
    r"""Several layers of latents, \(p(z) = p(z_1|z_2) \cdots p(z_{L-1}|z_L)\, p(z_L)\).

    z is the vector \((z_1, \ldots, z_L)\), and the decoder reads \(z_1\), of size `latent_dim`.
    Each conditional is a diagonal normal whose parameters come from a network, which also reads the
    context. Use the guide `Hierarchical` with the same layers, or any other guide on the reals.

    Arguments:
        layers: the sizes of the upper layers \(z_2, \ldots, z_L\); if empty, the prior is `top`.
        hidden: the sizes of the hidden layers of each network.
        top: the prior of \(z_L\), for example a mixture; `StandardNormal` by default.

    Raises:
        InputError: for a size below 1, or a `top` that is not a distribution of \(z_L\) on the
            reals, without a class.

    Reference:
        Rezende, Mohamed & Wierstra (2014), "Stochastic Backpropagation and Approximate Inference in
        Deep Generative Models"; Sønderby, Raiko, Maaløe, Sønderby & Winther (2016), "Ladder
        Variational Autoencoders".

    Example:
        >>> prior = Hierarchical(layers=(4, 2))
        >>> prior.attach(latent_dim=8)
        >>> prior.size, prior.visible, prior().sample().shape
        (14, 8, torch.Size([14]))
    """

    def __init__(
        self, layers: Sequence[int] = (8,), hidden: Sequence[int] = (64,), top: Prior | None = None
    ) -> None:
        super().__init__()
        self.layers = sizes_of("layers", layers)
        self.hidden = sizes_of("hidden", hidden)
        if top is not None and not isinstance(top, Prior):
            raise InputError(f"top must be a prior, as in StandardNormal(), not {shown(top)}")
        self.top = None if top is None else top.clone()  # without its learned parameters

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        self.check_sizes("layers")
        self.check_sizes("hidden", count=min(len(self.layers), 1))
        self.sizes = (latent_dim, *self.layers)
        pairs = zip(self.sizes[1:], self.sizes[:-1], strict=True)
        self.nets = nn.ModuleList(location_and_scale(n, out, self.hidden, context_dim) for n, out in pairs)
        if self.top is None:
            self.normal = StandardNormal()
        self.highest.attach(self.sizes[-1], context_dim)
        self._check_top()

    @property
    def highest(self) -> Prior:
        """The prior of z_L."""
        return self.normal if self.top is None else self.top

    def _check_top(self) -> None:
        top = self.highest
        plain = top.size == top.visible == self.sizes[-1] and top.states is None and not top.labels
        if not plain or not _over_the_reals(top):
            raise InputError(
                f"{top!r} cannot be the prior on top of layers: use one over {self.sizes[-1]} reals "
                "without a class, as GaussianMixture with explicit=False"
            )

    def connect(self, recognition: nn.Module, q: nn.Module, input_shape: Shape) -> None:
        self.highest.connect(recognition, q, input_shape)

    def begin_epoch(self, epoch: int, encodings: Encodings, known: Labels = None) -> bool:
        return self.highest.begin_epoch(epoch, lambda: encodings()[..., -self.sizes[-1] :])

    @property
    def waits_for(self) -> int:
        return self.highest.waits_for

    def mixture(
        self, context: Tensor | None = None, known: Tensor | None = None
    ) -> dist.MixtureSameFamily | None:
        return None if self.layers else self.highest.mixture(context)

    @property
    def size(self) -> int:
        return self.latent_dim + sum(self.layers)

    @property
    def visible(self) -> int:
        return self.latent_dim

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        top = self.highest(context)
        steps: list[Step] = [(len(self.nets), lambda parts: top)]
        steps += [(i, partial(self._below, i, context)) for i in reversed(range(len(self.nets)))]
        return Chain(self.sizes, steps, Size(() if context is None else context.shape[:-1]))

    def _below(self, i: int, context: Tensor | None, parts: Mapping[int, Tensor]) -> dist.TorchDistribution:
        return _normal(**self.nets[i](parts[i + 1], context))


def _over_the_reals(top: Prior) -> bool:
    """Whether every point has a density; a prior made of q(z|u) has no distribution yet."""
    if isinstance(top, (VampPrior, Conditional)):
        return isinstance(top, Conditional)
    support = top().support
    return bool(support.check(torch.full((1, top.size), 0.3)).all())


def _normal(loc: Tensor, raw_scale: Tensor) -> dist.TorchDistribution:
    return dist.Normal(loc, positive(raw_scale + UNIT)).to_event(1)
