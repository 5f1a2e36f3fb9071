r"""Toy sets of known structure, most with an exact density.

    mixture_1d       p(x) = sum_k w_k N(x; m_k, s_k^2)                        labels, log p(x)
    ring             x = z/10 + z/||z||,  z ~ N(0, I_2)                       log p(x)
    pinwheel         five arms: a Gaussian blob sheared around the origin     labels
    linear_gaussian  x = W z + b + sigma eps,  so x ~ N(b, W W' + sigma^2 I)  log p(x)

The rows depend on `count` and `seed` only; the global random state does not change.

References:
    Prince, "Understanding Deep Learning", 2023, ch. 17 (the mixture);
    Doersch, "Tutorial on Variational Autoencoders", 2016, https://arxiv.org/abs/1606.05908 (the
    ring); Johnson et al., "Composing graphical models with neural networks", 2016 (the pinwheel).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pyrovae.checks import whole
from pyrovae.errors import InputError
from pyrovae.memory import refuse_too_large
from pyrovae.seeds import generator_of

__all__ = ["TOYS", "Toy", "linear_gaussian", "log_prob", "mixture_1d", "pinwheel", "ring"]


@dataclass(frozen=True, eq=False)
class Toy:
    """A toy set: rows, their components and the density that they were drawn from.

    Attributes:
        name: the name of its function.
        x: float32 rows, shape (N, D).
        labels: int64 components, shape (N,), or None.
        log_prob: exact log p(x) in nats, (..., D) -> (...), or None.
        parameters: parameters of the density, float64.
    """

    name: str
    x: Tensor
    labels: Tensor | None = None
    log_prob: Callable[[Tensor], Tensor] | None = None
    parameters: dict[str, Tensor] = field(default_factory=dict)


def mixture_1d(count: int = 5000, *, seed: int = 0) -> Toy:
    """A mixture of three Gaussians on the line, rows of shape (N, 1).

    Example:
        >>> toy = mixture_1d(1000)
        >>> tuple(toy.x.shape), toy.labels.unique().tolist()
        ((1000, 1), [0, 1, 2])
    """
    weights = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)
    means = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64)
    scales = torch.tensor([0.5, 0.7, 0.3], dtype=torch.float64)
    draw = _generator(seed, count)
    labels = torch.multinomial(weights, count, replacement=True, generator=draw)
    x = means[labels] + scales[labels] * _normal(count, generator=draw)

    def density(x: Tensor) -> Tensor:
        components = torch.distributions.Normal(means.to(x), scales.to(x))
        return torch.logsumexp(weights.to(x).log() + components.log_prob(x), dim=-1)

    parameters = {"weights": weights, "means": means, "scales": scales}
    return Toy("mixture_1d", x[:, None].float(), labels, density, parameters)


def ring(count: int = 5000, *, seed: int = 0) -> Toy:
    r"""Doersch's ring, x = z/10 + z/||z|| for z ~ N(0, I_2), rows of shape (N, 2).

    With r = ||x|| and rho = 10 (r - 1) = ||z||, a Rayleigh variable, for r > 1:

        log p(x) = log 10 + log rho - rho^2 / 2 - log(2 pi r)

    Example:
        >>> bool((ring(1000).x.norm(dim=-1) > 1).all())
        True
    """
    z = _normal(count, 2, generator=_generator(seed, count, 2))
    x = z / 10 + z / z.norm(dim=-1, keepdim=True)
    return Toy("ring", x.float(), None, _ring_log_prob)


def pinwheel(count: int = 5000, *, seed: int = 0, arms: int = 5) -> Toy:
    """Arms of a pinwheel, rows of shape (N, 2), labelled by arm; the density has no closed form.

    Example:
        >>> pinwheel(1000).labels.unique().tolist()
        [0, 1, 2, 3, 4]
    """
    draw = _generator(seed, count, 2)
    labels = torch.randint(arms, (count,), generator=draw)
    spread = torch.tensor([0.3, 0.05], dtype=torch.float64)
    blob = _normal(count, 2, generator=draw) * spread + torch.tensor([1.0, 0.0], dtype=torch.float64)
    angle = 2 * math.pi / arms * labels + 0.25 * blob[:, 0].exp()
    cos, sin = angle.cos(), angle.sin()
    x = torch.stack([cos * blob[:, 0] - sin * blob[:, 1], sin * blob[:, 0] + cos * blob[:, 1]], dim=-1)
    return Toy("pinwheel", 2 * x.float(), labels)


def linear_gaussian(
    count: int = 5000, *, seed: int = 0, dim: int = 8, latent_dim: int = 2, scale: float = 0.5
) -> Toy:
    """Probabilistic PCA: x = W z + b + scale * eps, rows of shape (N, dim).

    W (dim, latent_dim) and b (dim,) are standard normal samples with a fixed seed, so `seed`
    changes the rows but not their distribution.

    Example:
        >>> toy = linear_gaussian(100)
        >>> tuple(toy.log_prob(toy.x).shape)
        (100,)
    """
    fixed, draw = _generator(1), _generator(seed, count, dim + latent_dim)
    W, b = _normal(dim, latent_dim, generator=fixed), _normal(dim, generator=fixed)
    z, eps = _normal(count, latent_dim, generator=draw), _normal(count, dim, generator=draw)
    covariance = W @ W.T + scale**2 * torch.eye(dim, dtype=torch.float64)

    def density(x: Tensor) -> Tensor:
        return torch.distributions.MultivariateNormal(b.to(x), covariance.to(x)).log_prob(x)

    parameters = {"weight": W, "bias": b, "scale": torch.tensor(scale, dtype=torch.float64)}
    return Toy("linear_gaussian", (z @ W.T + b + scale * eps).float(), None, density, parameters)


TOYS: dict[str, Callable[..., Toy]] = {
    "mixture_1d": mixture_1d,
    "ring": ring,
    "pinwheel": pinwheel,
    "linear_gaussian": linear_gaussian,
}


def log_prob(name: str) -> Callable[[Tensor], Tensor]:
    """The exact log density of a toy set, (..., D) -> (...), in nats.

    Raises:
        InputError: for a toy whose density is not known, and any other name.

    Example:
        >>> density = log_prob("ring")
        >>> round(density(torch.tensor([1.1, 0.0])).item(), 3)
        -0.131
    """
    density = TOYS[name](1).log_prob if name in TOYS else None
    if density is None:
        exact = ", ".join(key for key in TOYS if key != "pinwheel")
        raise InputError(f"no exact density is known for {name!r}: choose one of {exact}")
    return density


def _ring_log_prob(x: Tensor) -> Tensor:
    r = x.norm(dim=-1)
    rho = 10 * (r - 1).clamp(min=0)
    inside = math.log(10) + rho.log() - rho.square() / 2 - (2 * math.pi * r).log()
    return torch.where(r > 1, inside, torch.full_like(r, -math.inf))


def _generator(seed: int, count: int = 1, values: int = 1) -> torch.Generator:
    """The random generator of a toy data set, whose rows must fit into memory."""
    count = whole("count", count, 0)
    refuse_too_large(f"{count:,} rows of {values:,} values in double precision", 3 * 8 * count * values)
    return generator_of(seed)


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
