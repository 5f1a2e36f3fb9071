r"""Nonlinear decoders of one or two latents, with log p(x) from a grid, exact to 1e-8.

    z ~ N(0, I_D),   x = f(z) + noise,   noise ~ N(0, s^2),   D = 1 or 2
    p(x) = integral N(z; 0, I) N(x; f(z), s^2) dz,   p(z|x) = N(z; 0, I) N(x; f(z), s^2) / p(x)

    Curve    f(z) = (exp(sin(2 + 3.675 z)) / 2, cos(2 + 2.85 z))   D = 1, the example of Prince
    Fold     f(z) = z^2                                            D = 1, two modes, +z and -z
    Banana   f(z) = (z_1, z_2 + z_1^2)                             D = 2, a bent posterior

The guide is the normal distribution with the mean and covariance of the posterior, computed on a
grid. Any other guide can be combined with the same model, as `(oracle.model, vae.guide)`, for `fit`
and `log_evidence`. With `learned=True`, s and the constants of f are parameters, so that a decoder
of known form is learned.

Reference:
    Prince (2023), "Understanding Deep Learning", chapter 17.
"""

from __future__ import annotations

import copy
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple, Self

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.checks import number
from pyrovae.errors import InputError
from pyrovae.quadrature import GridPosterior, Nodes, even, grid, posterior_on_grid, quadrature
from pyrovae.seeds import generator_of
from pyrovae.terms import DATA

__all__ = ["Ancestral", "Banana", "Curve", "Curved", "Fold"]

# Pyro's parameter store is global: two models with one name would share parameters.
_COUNT = itertools.count()


class Ancestral(NamedTuple):
    """Latents z (N, D) and the observations x (N, E) generated from them."""

    z: Tensor
    x: Tensor


class Curved(nn.Module, ABC):
    """Base class: a subclass defines f.

    Arguments:
        scale: s.
        guide_scale: factor on the standard deviations of the guide; 1 gives those of the posterior.
        learned: whether s and the `constants` of f are parameters, initialised at the values here.

    Raises:
        InputError: if a scale is not a finite number above 0.

    Attributes:
        latent_dim: D.
        constants: the numbers in f, by name; each is an attribute.
        one_side: whether the guide covers only z_1 > 0.
    """

    latent_dim: int = 1
    one_side: bool = False
    constants: ClassVar[Mapping[str, float]] = {}
    log_scale: Tensor
    zero: Tensor

    def __init__(self, scale: float = 0.25, *, guide_scale: float = 1.0, learned: bool = False) -> None:
        super().__init__()
        scale = number(f"scale of {type(self).__name__}", scale, above=0)
        self.guide_scale = number(f"guide_scale of {type(self).__name__}", guide_scale, above=0)
        self.learned = learned
        self.register_buffer("zero", torch.zeros(self.latent_dim))
        if learned:
            self.log_scale = nn.Parameter(torch.tensor(scale).log())
        else:
            self.register_buffer("log_scale", torch.tensor(scale).log())
        for name, value in self.constants.items():
            # Python numbers are exact in float32 and in float64.
            setattr(self, name, nn.Parameter(torch.tensor(value)) if learned else value)
        self._name = f"{type(self).__name__}{next(_COUNT)}"

    @abstractmethod
    def mean(self, z: Tensor) -> Tensor:
        """f(z): (*, D) -> (*, E)."""

    @property
    def scale(self) -> Tensor:
        """The standard deviation s of the noise, a scalar."""
        return self.log_scale.exp()

    def latents(self) -> dist.TorchDistribution:
        """p(z), event (D,)."""
        return dist.Normal(self.zero, 1.0).to_event(1)

    def decode(self, z: Tensor) -> dist.TorchDistribution:
        """p(x|z), z (*, D)."""
        return dist.Normal(self.mean(z), self.scale).to_event(1)

    def model(self, x: Tensor | None = None) -> Tensor:
        """The generative program; x (B, E) is observed if given."""
        if self.learned:
            pyro.module(self._name, self)  # the parameters of a pair (model, guide) are in Pyro's store
        with pyro.plate(DATA, 1 if x is None else len(x), dim=-1):
            z = pyro.sample("z", self.latents())
            return pyro.sample("x", self.decode(z), obs=x)

    def guide(self, x: Tensor) -> Tensor:
        """The normal with the moments of the posterior, or its half, widened by `guide_scale`."""
        with pyro.plate(DATA, len(x), dim=-1):
            loc, covariance = self.moments(x)
            tril = self.guide_scale * torch.linalg.cholesky(covariance)
            return pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=tril))

    @torch.no_grad()
    def moments(self, x: Tensor, *, limit: float = 6.0) -> tuple[Tensor, Tensor]:
        """The mean (B, D) and covariance (B, D, D) of p(z|x), or of its half with `one_side`."""
        z = grid(self.latent_dim, limit, 1201 if self.latent_dim == 1 else 121).to(x)
        log_p = self.latents().log_prob(z).unsqueeze(1) + self.decode(z.unsqueeze(1)).log_prob(x)
        if self.one_side:
            log_p = log_p.masked_fill(z[:, :1] <= 0, -math.inf)
        share = log_p.softmax(0).mT  # (B, G)
        loc = share @ z
        second = torch.einsum("bg,gi,gj->bij", share, z, z)
        return loc, second - loc.unsqueeze(-1) * loc.unsqueeze(-2)

    def log_px(self, x: Tensor) -> Tensor:
        """log p(x) in nats, exact to 1e-8: x (B, E) -> (B,), float64."""
        return quadrature(self.double_copy(), self._checked(x))

    def posterior(self, x: Tensor, *, limit: float = 6.0, points: int | None = None) -> GridPosterior:
        r"""The true \(p(z|x) = p(z)\, p(x|z) / p(x)\) on a grid, with the exact p(x).

        Arguments:
            x: observations (B, E).
            limit, points: the grid, as for `posterior_on_grid`.

        Raises:
            InputError: for a wrong shape, or a grid that is too small or too coarse.

        Example:
            >>> oracle = Curve()
            >>> x = oracle.sample(3)
            >>> posterior = oracle.posterior(x)
            >>> bool((posterior.mass - 1).abs().max() < 1e-8)
            True
            >>> q = dist.Normal(posterior.mean, 0.3).to_event(1)  # any guess at it
            >>> bool((posterior.elbo(q) < oracle.log_px(x)).all())
            True
        """
        x = self._checked(x)
        nodes = self.nodes(limit, points or (2001 if self.latent_dim == 1 else 401))
        return posterior_on_grid(self.double_copy(), x, log_px=self.log_px(x), nodes=nodes)

    def nodes(self, limit: float, points: int) -> Nodes:
        """The grid of `posterior`: even spacing, unless a subclass overrides it."""
        return even(self.latent_dim, limit, points)

    def double_copy(self) -> Self:
        """A copy of the model in float64, for sums over a grid."""
        return copy.deepcopy(self).double()

    @torch.no_grad()
    def ancestral(self, count: int, *, seed: int = 0) -> Ancestral:
        """Ancestral samples: z ~ p(z), then x ~ p(x|z).

        Example:
            >>> z, x = Curve().ancestral(5)
            >>> z.shape, x.shape
            (torch.Size([5, 1]), torch.Size([5, 2]))
        """
        rng = generator_of(seed)
        z = torch.randn(count, self.latent_dim, generator=rng, dtype=self.zero.dtype)
        mean = self.mean(z.to(self.zero)).cpu()
        noise = torch.randn(mean.shape, generator=rng, dtype=mean.dtype)
        return Ancestral(z, mean + self.scale.cpu() * noise)

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Observations (count, E) drawn from the model."""
        return self.ancestral(count, seed=seed).x

    def _checked(self, x: Tensor) -> Tensor:
        """Check that x has the shape (B, E); returns it in float64."""
        (size,) = self.mean(self.zero).shape
        if x.dim() != 2 or x.shape[1] != size:
            raise InputError(f"{type(self).__name__} needs data of shape (B, {size}), not {tuple(x.shape)}")
        return x.double()


class Curve(Curved):
    """A curve in the plane that nearly meets itself.

    Example:
        >>> oracle = Curve()
        >>> x = oracle.sample(3)
        >>> coarse = quadrature(oracle.double(), x.double(), points=2001)
        >>> bool((oracle.log_px(x) - coarse).abs().max() < 1e-8)
        True
    """

    constants: ClassVar[Mapping[str, float]] = {"phase": 2.0, "first": 3.675, "second": 2.85}
    phase: float | Tensor
    first: float | Tensor
    second: float | Tensor

    def mean(self, z: Tensor) -> Tensor:
        along = torch.exp(torch.sin(self.phase + self.first * z)) / 2
        return torch.cat([along, torch.cos(self.phase + self.second * z)], -1)


class Fold(Curved):
    """The square: z and -z explain x equally well, and the guide covers only one of them.

    For x well above 0 the two modes are separate. The weights of the guide's samples look perfect,
    but the estimate is too low by log 2.

    Example:
        >>> oracle = Fold()
        >>> loc, covariance = oracle.moments(torch.tensor([[4.0]]))
        >>> round(float(loc), 1)  # and -2.0 as well
        2.0
    """

    one_side = True
    constants: ClassVar[Mapping[str, float]] = {"bend": 1.0}
    bend: float | Tensor

    def mean(self, z: Tensor) -> Tensor:
        return self.bend * z.square()


class Banana(Curved):
    """A parabola in two latents, whose posterior is far from any normal distribution.

    Example:
        >>> oracle = Banana()
        >>> oracle.log_px(oracle.sample(3)).shape
        torch.Size([3])
    """

    latent_dim = 2
    constants: ClassVar[Mapping[str, float]] = {"bend": 1.0}
    bend: float | Tensor

    def mean(self, z: Tensor) -> Tensor:
        first, second = z.unbind(-1)
        return torch.stack([first, second + self.bend * first.square()], -1)
