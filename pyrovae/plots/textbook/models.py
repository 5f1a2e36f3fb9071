r"""Latent-variable models with one latent, whose integrals are sums over a grid.

    z ~ p(z),   x = f(z) + noise,   noise ~ N(0, sigma^2)

Any object with `latents()` and `decode(z)` can take the place of f: a VAE with one latent, or a
model of `pv.oracles`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.checks import number
from pyrovae.errors import InputError, sizes
from pyrovae.numerics import numbers
from pyrovae.quadrature import GridPosterior, LatentModel, dtype_of, posterior_on_grid

__all__ = [
    "Family",
    "Function",
    "Nonlinear",
    "as_model",
    "bends",
    "loop",
    "observations",
    "plane",
    "posterior_of",
]

Function = Callable[[Tensor], Any]
Family = Callable[[float], LatentModel]


class Nonlinear:
    """z ~ p(z), x = f(z) + noise: f takes z (*, 1) and returns (*, E) or (*)."""

    def __init__(self, f: Function, sigma: float, prior: dist.TorchDistribution | None = None) -> None:
        if not callable(f):
            raise InputError(f"f is a {type(f).__name__}; give a function of z, or a model with one latent")
        self.f, self.sigma = f, number("sigma", sigma, above=0)
        one = torch.zeros(1, dtype=torch.float64)
        self.prior = dist.Normal(one, 1.0).to_event(1) if prior is None else _vector(prior)

    def latents(self) -> dist.TorchDistribution:
        """p(z), event (1,)."""
        return self.prior

    def mean(self, z: Tensor) -> Tensor:
        """f(z): (*, 1) -> (*, E)."""
        try:
            value = torch.as_tensor(self.f(z.double()), dtype=torch.float64)
        except (TypeError, ValueError):
            raise InputError("f(z) is not a tensor of numbers: return one of shape (*, E)") from None
        if not value.isfinite().all():
            raise InputError("f(z) is NaN or infinite for some z: give a function that is finite for all z")
        value = value.unsqueeze(-1) if value.shape == z.shape[:-1] else value
        if value.shape[:-1] != z.shape[:-1]:
            raise InputError(
                f"f(z) has shape {sizes(value.shape)} for a z of shape {sizes(z.shape)}: return (*, E), one "
                "point for each z"
            )
        return value

    def decode(self, z: Tensor) -> dist.TorchDistribution:
        """p(x|z), event (E,)."""
        return dist.Normal(self.mean(z), self.sigma).to_event(1)


def _vector(prior: dist.TorchDistribution) -> dist.TorchDistribution:
    """A prior of one number as a distribution of vectors (1,)."""
    if not isinstance(prior, torch.distributions.Distribution):
        raise InputError(f"prior is a {type(prior).__name__}; give a distribution, as dist.Normal(0.0, 1.0)")
    if tuple(prior.event_shape) == (1,):
        return prior
    if tuple(prior.batch_shape) + tuple(prior.event_shape) not in {(), (1,)}:
        raise InputError(f"prior has shape {tuple(prior.batch_shape)}; give the distribution of one number")
    return prior.expand((1,)).to_event(1)


def as_model(
    f: Function | LatentModel, sigma: float = 0.2, prior: dist.TorchDistribution | None = None
) -> LatentModel:
    """A model with one latent: `f` itself if it is one, or x = f(z) + noise.

    Raises:
        InputError: if f is neither, or if a model is given together with a prior, or has more
            latents than one.
    """
    if not (hasattr(f, "latents") and hasattr(f, "decode")):
        return Nonlinear(f, sigma, prior)  # type: ignore[arg-type]
    if prior is not None:
        raise InputError("prior= belongs to a function f; a model has its own prior: leave prior= out")
    if tuple(f.latents().event_shape) != (1,):
        raise InputError("the figure needs a model with one latent: declare it with latent_dim=1")
    return f


def loop(z: Tensor) -> Tensor:
    """A curve in the plane that crosses itself: (*, 1) -> (*, 2)."""
    return torch.cat([1.5 * torch.sin(z), 1.3 * torch.sin(1.7 * z + 0.5)], -1)


def bends(theta: float, sigma: float = 1.0) -> Nonlinear:
    """The default family of models: x = theta z^2 / 2 + z / 2 + noise."""
    return Nonlinear(lambda z: theta * z.square() / 2 + z / 2, sigma)


def observations(x: Any, model: LatentModel) -> Tensor:  # noqa: ANN401
    """Observations (B, *event) of a model, in the type of its prior's samples.

    Raises:
        InputError: if they are not numbers, not of the model's shape, or not values of x.
    """
    value = numbers(x, "x")
    dtype = dtype_of(model.latents())
    given = model.decode(torch.zeros(1, 1, dtype=dtype))
    event = tuple(given.event_shape)
    if value.ndim == len(event):
        value = value[..., None] if event == (1,) else value[None]
    if value.shape[1:] != event:
        raise InputError(f"x has shape {value.shape} where (N, {', '.join(map(str, event))}) was expected")
    rows = torch.as_tensor(value, dtype=dtype)
    try:
        given.log_prob(rows)
    except ValueError:
        raise InputError("x has values that p(x|z) does not take, such as 0.5 for a Bernoulli") from None
    return rows


def posterior_of(model: LatentModel, x: Tensor, *, points: int = 2001) -> GridPosterior:
    """p(z|x) of a model with one latent, exact to the spacing of the grid."""
    return posterior_on_grid(model, x, limit=8.0, points=points)


def plane(points: np.ndarray, margin: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits of the plane that contain points (N, 2) with a margin."""
    low, high = points.min(0) - margin, points.max(0) + margin
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))
