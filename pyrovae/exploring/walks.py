r"""Paths through latent space: between two components, and along the axes of one.

    straight       z(t) = (1 - t) m_a + t m_b
    density        a path that stays where p(z) is high, by
                   minimise  log int 1 / p(z(s)) ds        over paths from m_a to m_b

The path along the density is a bent line base(t) + sum_j c_j sin(pi j t), which has the right ends
for any c. Two bases are tried: the straight line, and the widest route over the means of other
components. Among the routes that go straight from mean to mean, this is the one whose lowest
density is highest. The result is the path of least cost whose lowest density is not below that of
the straight line, on a fine grid and at the steps. If there is none, it is the straight line. So
the path along the density is never worse than the straight one.

    axis k, i      z(t) = m_k + t sqrt(lambda_i) e_i,   |t| <= reach,   S_k e_i = lambda_i e_i

References:
    Arvanitidis, Hansen & Hauberg (2018), "Latent Space Oddity: on the Curvature of Deep Generative
    Models"; Hwang, Damelin & Hero (2016), "Shortest Path through Random Points"; Pollack (1960),
    "The Maximum Capacity Through a Network" (the widest route).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae.exploring.gaussians import principal
from pyrovae.exploring.mixture import Mixture
from pyrovae.numerics import Array

__all__ = ["Along", "Walk", "axis_of", "path_between"]

Along = Literal["straight", "density"]
FINE, WAVES, ROUNDS = 257, 12, 100
GAIN = 0.05  # nats by which the cost of a bent line must be lower, since grids are not exact


@dataclass(frozen=True, eq=False)
class Walk:
    """Steps through latent space, decoded.

    Attributes:
        z: (S, D).
        x: E[x|z] of each, (S, *event).
        log_pz: log p(z) of each in nats, (S,).
        along: a description of the path.
    """

    z: Array = field(repr=False)
    x: NDArray = field(repr=False)
    log_pz: Array = field(repr=False)
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
    """Latents (S, D) from the mean of a to the mean of b."""
    ends = mixture.mean[[a, b]]
    straight = _even(ends, steps)
    if along == "straight" or a == b:
        return straight
    best, cost = straight, _cost(mixture, ends) - GAIN
    least = _lowest(mixture, ends, steps)
    for route in _routes(mixture, a, b):
        for line in (route, _bent(mixture, _even(route, FINE))):
            fits = np.isfinite(line).all() and all(
                new >= old for new, old in zip(_lowest(mixture, line, steps), least, strict=True)
            )
            if fits and _cost(mixture, line) < cost:
                best, cost = _even(line, steps), _cost(mixture, line)
    best[[0, -1]] = ends  # exact ends
    return best


def _routes(mixture: Mixture, a: int, b: int) -> list[Array]:
    """The straight line and, if it differs, the widest route over means of components in use."""
    used = [k for k in range(len(mixture)) if mixture.weight[k] > 0 or k in (a, b)]
    widest = [used[k] for k in _widest(mixture.mean[used], mixture, used.index(a), used.index(b))]
    return [mixture.mean[nodes] for nodes in ([[a, b]] if widest == [a, b] else [[a, b], widest])]


def _widest(means: Array, mixture: Mixture, a: int, b: int) -> list[int]:
    """The nodes of the route from a to b with the highest minimum density (Dijkstra)."""
    count, grid = len(means), np.linspace(0, 1, 33)[:, None]
    width, before, open_nodes = np.full(count, -math.inf), np.full(count, a), set(range(count))
    width[a] = math.inf
    while b in open_nodes:
        here = max(open_nodes, key=lambda k: width[k])
        open_nodes.remove(here)
        others = np.array(sorted(open_nodes), dtype=int)
        if len(others):
            lines = means[here] + grid * (means[others, None] - means[here])
            low = np.minimum(_log_p(mixture, lines).min(1), width[here])
            better = others[low > width[others]]
            before[better], width[better] = here, low[low > width[others]]
    route = [b]
    while route[-1] != a:
        route.append(int(before[route[-1]]))
    return route[::-1]


def _bent(mixture: Mixture, base: Array) -> Array:
    """Bend the base (M, D) towards high density; returns a line (M, D)."""
    from scipy.optimize import minimize

    t = torch.linspace(0, math.pi, len(base), dtype=torch.float64)
    size = float(np.linalg.norm(base[-1] - base[0])) or 1.0
    waves = size * torch.sin(t.unsqueeze(1) * torch.arange(1, WAVES + 1, dtype=torch.float64))
    start = torch.from_numpy(base)

    def cost(flat: Array) -> tuple[float, Array]:
        with torch.enable_grad():
            bend = torch.from_numpy(flat).reshape(WAVES, -1).requires_grad_()
            value = _log_cost(mixture, start + waves @ bend)
            (slope,) = torch.autograd.grad(value, bend)
        return float(value.detach()), slope.flatten().numpy()

    zeros, options = np.zeros(WAVES * base.shape[1]), {"maxiter": ROUNDS}
    best = minimize(cost, zeros, jac=True, method="L-BFGS-B", options=options).x
    return base + waves.numpy() @ best.reshape(WAVES, -1)


def _log_cost(mixture: Mixture, line: Tensor) -> Tensor:
    """The logarithm of the integral of 1 / p along a line (M, D)."""
    middle, step = (line[1:] + line[:-1]) / 2, line[1:] - line[:-1]
    length = step.square().sum(-1).clamp_min(1e-300).sqrt()
    return torch.logsumexp(length.log() - mixture.log_joint(middle).logsumexp(-1), 0)


def _cost(mixture: Mixture, line: Array) -> float:
    return float(_log_cost(mixture, torch.from_numpy(_even(line, FINE))))


def _lowest(mixture: Mixture, line: Array, steps: int) -> tuple[float, float]:
    """The lowest log p(z) on a fine grid, and at the steps."""
    return float(_log_p(mixture, _even(line, FINE)).min()), float(_log_p(mixture, _even(line, steps)).min())


def _log_p(mixture: Mixture, z: Array) -> Array:
    return mixture.log_prob(z.reshape(-1, mixture.dim)).reshape(z.shape[:-1])


def _even(line: Array, count: int) -> Array:
    """Points (count, D) at equal distances along a line through points (M, D), with its ends."""
    length = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
    if length[-1] == 0:
        return np.repeat(line[:1], count, 0)
    at = np.linspace(0, length[-1], count)
    points = np.stack([np.interp(at, length, column) for column in line.T], 1)
    points[[0, -1]] = line[[0, -1]]
    return points
