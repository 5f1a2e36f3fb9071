r"""Quadrature rules for the spaces of distributions, and coordinates for samples.

    reals, intervals, simplices    z = T(u), u = centre + spread sinh(t) on an even grid of t
    circle, sphere                 even angles; Gauss-Legendre nodes along the axis of a sphere
    discrete values                every value, with weight 1
    reals with a class             the nodes of a line for every class

T maps the real line to the space. An even grid of t is dense in u near the samples and reaches out
to thousands of spreads, so one rule suits narrow, wide and heavy-tailed densities. There are rules
for one and for two coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import biject_to, transforms

from pyrovae.distributions import Classed

__all__ = ["Rule", "circle", "globe", "log_density", "rule_of", "unwrapped"]

LINE_POINTS, PLANE_POINTS = 20_001, 801
LINE_LIMIT = 12.0  # of t, on the real line: 80,000 spreads
BEYOND = 2.5  # the side of a plane, as a multiple of the farthest of 2000 samples
REACH = 40.0  # of u, where u is a logarithm; exp(-40) is negligible
MOST_STATES = 70_000
COUNTS = 4000
PIECE = 10_000
EDGES = (-1.5, -0.5, 0.0, 0.5, 1.5)  # of cells, in spreads


@dataclass(frozen=True)
class Rule:
    """Nodes of an integral.

    Attributes:
        space: the name of the space in messages.
        z: the nodes, (G, *event).
        log_weight: their weights, (G,).
        tolerance: the largest accepted |log of the integral of a density|.
        axes: one or two axes of the grid of u; none on a sphere and for discrete values.
        edges: the edges of cells along each axis, (d, E), near most of the samples.
        to_space: the map from u to z.
    """

    space: str
    z: Tensor
    log_weight: Tensor
    tolerance: float
    axes: tuple[Tensor, ...] = ()
    edges: Tensor | None = None
    to_space: Any = None

    def coordinates(self, z: Tensor) -> Tensor:
        """The coordinates u (N, d) of samples z (N, D)."""
        return self.to_space.inv(z)


def rule_of(
    distribution: Any,  # noqa: ANN401
    *,
    line_points: int = LINE_POINTS,
    plane_points: int = PLANE_POINTS,
) -> Rule | None:
    """The rule for a distribution with batch () and a one-dimensional event; None if unknown."""
    (size,) = distribution.event_shape
    support = unwrapped(distribution.support)
    if isinstance(support, type(constraints.sphere)):
        return _sphere(size)
    if isinstance(distribution, Classed):
        return _with_class(distribution, line_points)
    if support.is_discrete:
        values = _states(distribution, size)
        return None if values is None else Rule("all values", values, torch.zeros(len(values)), 1e-12)
    to_space = _to_space(distribution, support)
    dims = to_space.inverse_shape(torch.Size([size]))[-1]
    points = {1: line_points, 2: plane_points}.get(dims)
    return None if points is None else _grid(distribution, to_space, dims, points)


def unwrapped(support: Any) -> Any:  # noqa: ANN401
    """The constraint on one element, from a constraint on independent elements."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


@torch.no_grad()
def log_density(distribution: Any, z: Tensor) -> Tensor:  # noqa: ANN401
    """log p at many points, computed in pieces that fit in the processor's cache."""
    return torch.cat([distribution.log_prob(piece) for piece in z.split(PIECE)])


# ---------------------------------------------------------------- continuous spaces


def _grid(distribution: Any, to_space: Any, dims: int, points: int) -> Rule:  # noqa: ANN401
    """Nodes that are even in t, around the samples."""
    real = _is_identity(to_space)
    samples = to_space.inv(distribution.expand((2000,)).sample()).reshape(2000, dims).detach()
    centre, spread = _place(samples)
    limit = torch.full((dims,), LINE_LIMIT)
    if dims == 2:
        limit = (BEYOND * (samples - centre).abs().max(0).values / spread).asinh().clamp(max=LINE_LIMIT)
    if not real:
        limit = (REACH / spread).asinh().clamp(max=LINE_LIMIT)
    t = torch.linspace(-1, 1, points).unsqueeze(-1) * limit
    axes = centre + spread * t.sinh()
    log_steps = (spread * t.cosh() * 2 * limit / (points - 1)).log()
    u = torch.cartesian_prod(*axes.unbind(-1)).reshape(-1, dims)
    log_weight = torch.cartesian_prod(*log_steps.unbind(-1)).reshape(-1, dims).sum(-1)
    z = to_space(u)
    if not real:
        log_weight = log_weight + _log_jacobian(to_space, u, z)
    space = {1: "the line", 2: "the plane"}[dims] if real else "its support"
    edges = (centre + spread * torch.tensor(EDGES).unsqueeze(-1)).mT
    return Rule(
        space,
        z,
        log_weight,
        _tolerance(dims, real),
        tuple(axes.mT.contiguous()),
        edges.contiguous(),
        to_space,
    )


def _tolerance(dims: int, real: bool) -> float:  # noqa: FBT001
    # For the corner of a Laplace density; smooth densities are exact to rounding.
    if dims == 1:
        return 1e-5
    return 1e-3 if real else 1e-4


def _place(u: Tensor) -> tuple[Tensor, Tensor]:
    """The median and a robust spread of samples (N, d)."""
    low, centre, high = u.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=u.dtype), 0)
    return centre, ((high - low) / 1.35).clamp(min=1e-12)


def _log_jacobian(to_space: Any, u: Tensor, z: Tensor) -> Tensor:  # noqa: ANN401
    log_det = to_space.log_abs_det_jacobian(u, z)
    return log_det.reshape(len(u), -1).sum(-1)


def _is_identity(transform: Any) -> bool:  # noqa: ANN401
    while isinstance(transform, transforms.IndependentTransform):
        transform = transform.base_transform
    return isinstance(transform, transforms.ComposeTransform) and not transform.parts


def _to_space(distribution: Any, support: Any) -> Any:  # noqa: ANN401
    """A bijection from the reals, found by trial for a support that torch does not know."""
    try:
        return biject_to(distribution.support)
    except NotImplementedError:
        below, _, above = (bool(support.check(torch.full((1,), v)).all()) for v in (-0.5, 0.5, 1.5))
    if below:
        return transforms.identity_transform
    return transforms.ExpTransform() if above else transforms.SigmoidTransform()


# ---------------------------------------------------------------- other spaces


def circle(points: int = 2000) -> tuple[Tensor, float]:
    """Points on the circle, and the logarithm of the arc length per point."""
    angle = 2 * math.pi * torch.arange(points) / points
    return torch.stack([angle.cos(), angle.sin()], -1), math.log(2 * math.pi / points)


def globe(points: int = 400) -> tuple[Tensor, Tensor]:
    """Points on the sphere in three dimensions, and the logarithm of the area per point."""
    nodes, weights = (torch.as_tensor(a) for a in np.polynomial.legendre.leggauss(points // 2))
    angle = 2 * math.pi * torch.arange(points) / points
    height, angle = nodes[:, None].expand(-1, points), angle.expand(len(nodes), -1)
    across = (1 - height.square()).sqrt()
    z = torch.stack([across * angle.cos(), across * angle.sin(), height], -1)
    log_area = weights.log()[:, None] + math.log(2 * math.pi / points)
    return z.flatten(0, 1), log_area.expand(-1, points).flatten()


def _sphere(size: int) -> Rule | None:
    if size == 2:
        z, log_arc = circle()
        return Rule("the circle", z, torch.full((len(z),), log_arc), 1e-10)
    return Rule("the sphere", *globe(), 1e-10) if size == 3 else None


def _states(distribution: Any, size: int) -> Tensor | None:  # noqa: ANN401
    """All values of a discrete distribution, (S, D); None if too many or unknown."""
    if hasattr(distribution, "states"):
        return distribution.states()
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    if distribution.event_shape:  # one-hot
        listed = distribution.has_enumerate_support
        return distribution.enumerate_support(expand=False).reshape(-1, size) if listed else None
    if distribution.has_enumerate_support:
        values = distribution.enumerate_support(expand=False).flatten().to(torch.get_default_dtype())
        few = len(values) ** size <= MOST_STATES
        return torch.cartesian_prod(*[values] * size).reshape(-1, size) if few else None
    support = unwrapped(distribution.support)
    if size > 1 or not hasattr(support, "lower_bound"):
        return None
    return (support.lower_bound + torch.arange(float(COUNTS))).unsqueeze(-1)


def _with_class(distribution: Classed, points: int) -> Rule | None:
    """The rule for one real entry and a class: one line for each class."""
    if distribution.dim != 1:
        return None
    t = torch.linspace(-LINE_LIMIT, LINE_LIMIT, points)
    classes = torch.eye(distribution.classes.strata)
    z = torch.cat([torch.cat([t.sinh()[:, None], one.expand(points, -1)], -1) for one in classes])
    log_weight = t.cosh().log() + math.log(2 * LINE_LIMIT / (points - 1))
    return Rule("the lines of all classes", z, log_weight.repeat(len(classes)), 1e-5)
