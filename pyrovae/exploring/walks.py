r"""Paths through latent space: between two points, two components, and along the axes of one.

    straight       z(t) = (1 - t) a + t b
    spherical      the direction from the centre of p(z) turns at a constant speed from a to b, and
                   the distance from the centre changes linearly
    density        a path that stays where p(z) is high, by
                   minimise  log int p(z(s))^-r ds         over paths from a to b

The power r is 1 between components, so that only the lowest density counts. Between two points it
is 1/D: the length then counts too, and the path does not depend on the unit of z.

The samples of N(0, I) in many dimensions have nearly equal lengths. A straight line between two of
them passes through shorter vectors, and a spherical path does not. The highest density is at the
centre, so a path along the density of a single normal distribution bends towards it. The path
along the density is meant for priors with several regions, such as mixtures.

The path along the density is a bent line base(t) + sum_j c_j sin(pi j t), which has the right ends
for any c. Two bases are tried: the straight line, and the widest route over some nodes, such as the
means of components. Among the routes that go straight from node to node, this is the one whose
lowest density is highest. The result is the path of least cost whose lowest density is not below
that of the straight line, on a fine grid and at the steps. If there is none, it is the straight
line. So the path along the density is never worse than the straight one.

    axis k, i      z(t) = m_k + t sqrt(lambda_i) e_i,   |t| <= reach,   S_k e_i = lambda_i e_i

References:
    Arvanitidis, Hansen & Hauberg (2018), "Latent Space Oddity: on the Curvature of Deep Generative
    Models"; White (2016), "Sampling Generative Networks" (spherical paths); Hwang, Damelin & Hero
    (2016), "Shortest Path through Random Points"; Pollack (1960), "The Maximum Capacity Through a
    Network" (the widest route).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae.display import Displayed
from pyrovae.exploring.gaussians import principal
from pyrovae.exploring.mixture import Mixture
from pyrovae.numerics import Array

__all__ = ["Along", "Density", "How", "Walk", "axis_of", "path_along", "path_between"]

Along = Literal["straight", "density"]
How = Literal["straight", "spherical", "density"]
FINE, WAVES, ROUNDS = 257, 12, 100
GAIN = 0.05  # nats by which the cost of a bent line must be lower, since grids are not exact


class Density(Protocol):
    """A density of latents: log p(z) as arrays, and differentiable."""

    def log_prob(self, z: Array) -> Array:
        """Points (M, D) -> (M,)."""

    def log_density(self, z: Tensor) -> Tensor:
        """Points (M, D), double -> (M,)."""


@dataclass(frozen=True, eq=False, repr=False)
class Walk(Displayed):
    """Steps through latent space, decoded.

    Attributes:
        z: (S, D).
        x: E[x|z] of each, (S, *event).
        log_pz: log p(z) of each in nats, (S,).
        along: a description of the path.
    """

    z: Array
    x: NDArray
    log_pz: Array
    along: str = "straight"

    def __len__(self) -> int:
        return len(self.z)

    @property
    def length(self) -> float:
        """The length of the path through all steps."""
        return float(np.linalg.norm(np.diff(self.z, axis=0), axis=1).sum())

    def __str__(self) -> str:
        low = int(self.log_pz.argmin())
        return (
            f"{len(self)} steps along {self.along}, {self.length:.2f} long; log p(z) from "
            f"{self.log_pz[0]:.2f} to {self.log_pz[-1]:.2f}, lowest {self.log_pz[low]:.2f} at step {low}"
        )


def axis_of(mixture: Mixture, k: int, axis: int, steps: int, reach: float) -> Array:
    """Latents (S, D) along a principal axis of component k, up to `reach` standard deviations."""
    variance, axes = principal(mixture.covariance[k])
    t = np.linspace(-reach, reach, steps)[:, None]
    return mixture.mean[k] + t * math.sqrt(variance[axis]) * axes[axis]


def path_between(mixture: Mixture, a: int, b: int, steps: int, along: Along) -> Array:
    """Latents (S, D) from the mean of component a to that of b, over components in use."""
    used = [k for k in range(len(mixture)) if mixture.weight[k] > 0 and k not in (a, b)]
    return path_along(mixture, mixture.mean[[a, b]], steps, along, nodes=mixture.mean[used])


def path_along(
    density: Density,
    ends: Array,
    steps: int,
    how: How,
    *,
    nodes: Array | None = None,
    centre: Array | float = 0.0,
    power: float = 1.0,
) -> Array:
    """Latents (S, D) from one point to another.

    Arguments:
        density: p(z).
        ends: both points, (2, D).
        steps: S.
        how: "straight", "spherical" or "density".
        nodes: points (K, D) over which a path along the density may go.
        centre: the centre of spherical paths.
        power: r.
    """
    if how == "spherical":
        return centre + _turned(ends - centre, steps)
    straight = _even(ends, steps)
    if how == "straight" or np.array_equal(*ends):
        return straight
    best, cost = straight, _cost(density, ends, power) - GAIN * power
    least = _lowest(density, ends, steps)
    for route in _routes(density, ends, ends[:0] if nodes is None else nodes):
        for line in (route, _bent(density, _even(route, FINE), power)):
            fits = np.isfinite(line).all() and all(
                new >= old for new, old in zip(_lowest(density, line, steps), least, strict=True)
            )
            if fits and _cost(density, line, power) < cost:
                best, cost = _even(line, steps), _cost(density, line, power)
    best[[0, -1]] = ends  # exact ends
    return best


def _turned(ends: Array, steps: int) -> Array:
    """Points (S, D) whose direction turns at a constant speed; a straight line if it cannot."""
    lengths = np.linalg.norm(ends, axis=1)
    units = ends / np.maximum(lengths, 1e-300)[:, None]
    angle = math.acos(float(np.clip(units[0] @ units[1], -1, 1)))
    if not lengths.all() or math.sin(angle) < 1e-6:  # parallel, or opposite
        return _even(ends, steps)
    t = np.linspace(0, 1, steps)
    share = np.stack([np.sin((1 - t) * angle), np.sin(t * angle)], 1) / math.sin(angle)
    line = (lengths[0] + t * (lengths[1] - lengths[0]))[:, None] * (share @ units)
    line[[0, -1]] = ends
    return line


def _routes(density: Density, ends: Array, nodes: Array) -> list[Array]:
    """The straight line and, if it differs, the widest route over the nodes."""
    every = np.concatenate([ends, nodes])
    widest = _widest(every, density)
    return [ends] if len(widest) == 2 else [ends, every[widest]]


def _widest(nodes: Array, density: Density) -> list[int]:
    """The route from node 0 to node 1 with the highest minimum density (Dijkstra)."""
    count, grid = len(nodes), np.linspace(0, 1, 33)[:, None]
    width, before, open_nodes = np.full(count, -math.inf), np.zeros(count, int), set(range(count))
    width[0] = math.inf
    while 1 in open_nodes:
        here = max(open_nodes, key=lambda k: width[k])
        open_nodes.remove(here)
        others = np.array(sorted(open_nodes), dtype=int)
        if len(others):
            lines = nodes[here] + grid * (nodes[others, None] - nodes[here])
            low = np.minimum(_log_p(density, lines).min(1), width[here])
            better = others[low > width[others]]
            before[better], width[better] = here, low[low > width[others]]
    route = [1]
    while route[-1] != 0:
        route.append(int(before[route[-1]]))
    return route[::-1]


def _bent(density: Density, base: Array, power: float) -> Array:
    """Bend the base (M, D) towards high density; returns a line (M, D)."""
    from scipy.optimize import minimize

    t = torch.linspace(0, math.pi, len(base), dtype=torch.float64)
    size = float(np.linalg.norm(base[-1] - base[0])) or 1.0
    waves = size * torch.sin(t.unsqueeze(1) * torch.arange(1, WAVES + 1, dtype=torch.float64))
    start = torch.from_numpy(base)

    def cost(flat: Array) -> tuple[float, Array]:
        with torch.enable_grad():
            bend = torch.from_numpy(flat).reshape(WAVES, -1).requires_grad_()
            value = _log_cost(density, start + waves @ bend, power)
            (slope,) = torch.autograd.grad(value, bend)
        return float(value.detach()), slope.flatten().numpy()

    zeros, options = np.zeros(WAVES * base.shape[1]), {"maxiter": ROUNDS}
    best = minimize(cost, zeros, jac=True, method="L-BFGS-B", options=options).x
    return base + waves.numpy() @ best.reshape(WAVES, -1)


def _log_cost(density: Density, line: Tensor, power: float) -> Tensor:
    """The logarithm of the integral of p^-power along a line (M, D)."""
    middle, step = (line[1:] + line[:-1]) / 2, line[1:] - line[:-1]
    length = step.square().sum(-1).clamp_min(1e-300).sqrt()
    return torch.logsumexp(length.log() - power * density.log_density(middle), 0)


def _cost(density: Density, line: Array, power: float) -> float:
    with torch.no_grad():
        return float(_log_cost(density, torch.from_numpy(_even(line, FINE)), power))


def _lowest(density: Density, line: Array, steps: int) -> tuple[float, float]:
    """The lowest log p(z) on a fine grid, and at the steps."""
    return float(_log_p(density, _even(line, FINE)).min()), float(_log_p(density, _even(line, steps)).min())


def _log_p(density: Density, z: Array) -> Array:
    return density.log_prob(z.reshape(-1, z.shape[-1])).reshape(z.shape[:-1])


def _even(line: Array, count: int) -> Array:
    """Points (count, D) at equal distances along a line through points (M, D), with its ends."""
    length = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
    if length[-1] == 0:
        return np.repeat(line[:1], count, 0)
    at = np.linspace(0, length[-1], count)
    points = np.stack([np.interp(at, length, column) for column in line.T], 1)
    points[[0, -1]] = line[[0, -1]]
    return points
