r"""Exact bounds on a grid of z: as functions of a parameter, along a path of q, and the best q.

    log p(x; theta) = L(q, theta) + KL(q(z) || p(z|x; theta))

Every function takes posteriors on the nodes of one grid, so a bound is a sum over these nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyro.distributions as dist
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pyrovae.checks import whole
from pyrovae.errors import InputError
from pyrovae.numerics import Array, numbers
from pyrovae.plots.textbook.models import Family, Nonlinear, as_model, bends, observations, posterior_of
from pyrovae.quadrature import GridPosterior, dtype_of
from pyrovae.seeds import random_kept

__all__ = [
    "POINTS",
    "Curves",
    "Range",
    "alternation",
    "best_normal",
    "curves_of",
    "normal",
    "path_to",
    "rows_of",
    "values_of",
]

POINTS = 801  # of z
Range = tuple[float, float]


class Curves(NamedTuple):
    """log p(x; theta) and the bound of each q, averaged over the rows, at values of theta (P,)."""

    theta: Array
    log_px: Array
    bounds: list[Array]


def rows_of(family: Family, x: ArrayLike | None, thetas: Range) -> Tensor:
    """Observations of a family of models, or the default ones."""
    if not callable(family) or hasattr(family, "decode"):
        raise InputError(
            f"family is a {type(family).__name__}; give a function of theta that returns a model"
        )
    model = as_model(family(float(np.mean(values_of(thetas, 2)))))  # type: ignore[arg-type]
    return observations(_default_rows() if x is None else x, model)


def _default_rows() -> Tensor:
    with random_kept():
        torch.manual_seed(0)
        model: Nonlinear = bends(1.5)
        return model.decode(model.latents().sample((60,))).sample()


def values_of(thetas: Range, points: int) -> Array:
    """Even values of theta between two limits."""
    low, high = numbers(thetas, "thetas", (2,))
    if low >= high:
        raise InputError(f"thetas are {thetas}; give the lowest and the highest theta")
    return np.linspace(low, high, whole("points", points, 2, 100_000))


def _at(family: Family, theta: float, rows: Tensor) -> GridPosterior:
    return posterior_of(as_model(family(float(theta))), rows, points=POINTS)  # type: ignore[arg-type]


def curves_of(family: Family, rows: Tensor, at: Array, guides: Sequence[float]) -> Curves:
    """log p(x; theta), and the bound of the posterior at each theta of `guides`."""
    q = [_at(family, theta, rows) for theta in guides]
    exact = [_at(family, theta, rows) for theta in at]
    bounds = [np.array([_bound(each, model) for model in exact]) for each in q]
    return Curves(at, np.array([float(model.log_px.mean()) for model in exact]), bounds)


def _bound(q: GridPosterior, model: GridPosterior) -> float:
    return float(model.elbo(q).mean())


def alternation(
    family: Family, rows: Tensor, theta: float, steps: int, thetas: Range
) -> tuple[Array, list[float]]:
    """The path of (theta, bound), two points a step, and the theta of each q."""
    path, guides = [], []
    for _ in range(steps):
        q = _at(family, theta, rows)
        guides.append(theta)
        path.append((theta, float(q.log_px.mean())))
        theta = _highest(lambda value, q=q: _bound(q, _at(family, value, rows)), thetas)  # type: ignore[misc]
        path.append((theta, _bound(q, _at(family, theta, rows))))
    return np.array(path), guides


def _highest(value: Callable[[float], float], limits: Range) -> float:
    """The maximum of a function with one peak, by golden sections."""
    low, high = limits
    ratio = (np.sqrt(5.0) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = value(left), value(right)
    for _ in range(24):
        if at_left < at_right:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = value(right)
        else:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = value(left)
    return float((low + high) / 2)


def normal(mean: float, scale: float) -> dist.TorchDistribution:
    """N(mean, scale^2) as q(z) of one row: batch (1,), event (1,)."""
    return dist.Normal(torch.full((1, 1), mean, dtype=torch.float64), scale).to_event(1)


def path_to(exact: GridPosterior, q: dist.TorchDistribution, steps: int) -> list[GridPosterior]:
    """q_t, which is proportional to q^(1 - t) p(z|x)^t, on the nodes of the posterior."""
    exact.kl(q)  # checks its shape and its mass
    log_q = q.log_prob(exact.nodes.z.to(dtype_of(q)).unsqueeze(1)).double().mT
    cell = exact.nodes.weight.log()
    path = []
    for t in torch.linspace(0, 1, steps, dtype=torch.float64):
        log_p = log_q if t == 0 else (1 - t) * log_q + t * exact.log_density
        mass = torch.logsumexp(log_p + cell, 1, keepdim=True)
        path.append(GridPosterior(exact.nodes, (log_p - mass).detach(), exact.log_px))
    return path


@torch.enable_grad()
def best_normal(exact: GridPosterior) -> dist.TorchDistribution:
    """The normal distribution with the smallest KL(q || p(z|x)) for each row, from its modes."""
    z, target = exact.nodes.z[:, 0], exact.log_density
    noise = torch.linspace(-5, 5, 201, dtype=torch.float64)
    weight = torch.softmax(-noise.square() / 2, 0)
    starts = torch.stack([_modes(z, row) for row in target])  # (B, S)
    parts = torch.stack([starts, torch.full_like(starts, -1.0)], -1).requires_grad_()

    def kl() -> Tensor:
        mean, log_scale = parts.unbind(-1)
        at = mean.unsqueeze(-1) + log_scale.exp().unsqueeze(-1) * noise
        return -log_scale - (weight * _interpolated(z, target, at)).sum(-1)  # plus a constant

    optimizer = torch.optim.LBFGS([parts], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = kl().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    best = kl().argmin(1, keepdim=True)
    mean, log_scale = (part.detach().gather(1, best) for part in parts.unbind(-1))
    return dist.Normal(mean, log_scale.exp()).to_event(1)


def _modes(z: Tensor, log_p: Tensor) -> Tensor:
    """Two peaks of a density, or its highest one twice."""
    peaks = ((log_p[1:-1] > log_p[:-2]) & (log_p[1:-1] >= log_p[2:])).nonzero().flatten() + 1
    order = peaks[log_p[peaks].argsort(descending=True)]
    return z[torch.stack([order[0], order[min(1, len(order) - 1)]])]


def _interpolated(z: Tensor, values: Tensor, at: Tensor) -> Tensor:
    """Values (B, G) at points (B, S, P), linear between the nodes and beyond them."""
    step = z[1] - z[0]
    cell = ((at.detach() - z[0]) / step).floor().long().clamp(0, len(z) - 2)
    flat = cell.flatten(1)
    low, high = (values.gather(1, flat + k).view_as(at) for k in (0, 1))
    return low + (high - low) * (at - z[cell]) / step
