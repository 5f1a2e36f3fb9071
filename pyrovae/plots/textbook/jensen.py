r"""Jensen's inequality for the logarithm, which makes the ELBO a lower bound.

log E[y] >= E[log y]        with equality if y is constant
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.numerics import Array, as_array
from pyrovae.plots.style import COLOURS, Axes, canvas, panels, vectors

__all__ = ["jensen_distribution", "jensen_points"]


def jensen_points(
    y: ArrayLike = (0.4, 3.6), weights: ArrayLike | None = None, *, ax: Axes | None = None
) -> Axes:
    r"""Jensen's inequality for points: the chord of the logarithm lies below the curve.

    \[\log \sum_i w_i y_i \ge \sum_i w_i \log y_i\]

    Args:
        y: two or more positive numbers, (N,).
        weights: w, (N,), positive with sum 1; by default equal.

    Raises:
        InputError: if a number or weight is not above 0, or the weights do not sum to 1.

    Reference:
        Prince (2023), "Understanding Deep Learning", figure 17.4.

    Example:
        >>> ax = jensen_points((1.0, 4.0))
        >>> print(ax.texts[-1].get_text())
        0.22 nats lower
    """
    equal = np.full(np.shape(as_array(y)), 1 / max(1, as_array(y).size))
    points, w = vectors(y, equal if weights is None else weights, names=("y", "weights"))
    if (points <= 0).any() or (w <= 0).any() or abs(w.sum() - 1) > 1e-6 or len(points) < 2:
        raise InputError("give two or more y above 0, with weights above 0 that sum to 1")
    mean, low = float(w @ points), float(w @ np.log(points))
    high = float(np.log(mean))
    span = np.ptp(points)
    at = np.linspace(max(0.4 * points.min(), 1e-3), points.max() + 0.15 * span, 400)
    order = np.argsort(points)
    with canvas(ax, width=4.6, height=3.0) as ax:
        ax.plot(at, np.log(at), color=COLOURS["data"])
        chord = np.append(order, order[0]) if len(order) > 2 else order
        ax.plot(points[chord], np.log(points[chord]), "o-", color=COLOURS["model"], linewidth=1.2)
        ax.vlines(mean, low, high, color=COLOURS["warning"], linewidth=1.5)
        ax.plot([mean], [high], "s", color=COLOURS["data"], zorder=4)
        ax.plot([mean], [low], "s", color=COLOURS["model"], zorder=4)
        _note(ax, (mean, high), (-6, 4), "log E[y]", COLOURS["data"], "right")
        _note(ax, (mean, low), (7, -3), "E[log y]", COLOURS["model"])
        _note(ax, (mean, low), (7, -15), f"{high - low:.2f} nats lower", COLOURS["warning"])
        ax.set(xlabel="$y$", ylabel=r"$\log\, y$", xlim=(at[0], at[-1]))
    return ax


def jensen_distribution(
    distribution: dist.TorchDistribution | None = None, *, ax: Axes | None = None
) -> Axes:
    r"""Jensen's inequality for a distribution: the density of y, and that of log y.

    \[\log \mathrm E[y] \ge \mathrm E[\log y]\]

    Both means are integrals over u = log y, whose density is p(y) y.

    Args:
        distribution: the distribution of a positive y: any scalar distribution of Pyro or torch. By
            default a log-normal distribution, for which log E[y] - E[log y] = s^2 / 2.

    Raises:
        InputError: for a distribution with other values, without a mean, with mass below e^-30 or
            above e^30, or with an infinite or very narrow peak.

    Reference:
        Prince (2023), "Understanding Deep Learning", figure 17.5.

    Example:
        >>> ax = jensen_distribution(dist.Gamma(2.0, 1.0))
        >>> [panel.get_title() for panel in ax.child_axes]
        ['density of $y$', 'density of $\\log\\, y$']
    """
    chosen = dist.LogNormal(0.3, 0.8) if distribution is None else distribution
    u, density = _of_logarithm(chosen)
    step = u[1] - u[0]
    share = np.exp(u) * density
    if not share[u > 25].sum() < 1e-3 * share.sum():
        raise InputError("y has no mean, or one that is mostly due to values above e^25: give another one")
    log_of_mean = float(np.log(share.sum() * step))
    mean_of_log = float((u * density).sum() * step)
    with canvas(ax, width=7.2, height=2.8) as ax:
        left, right = panels(ax, (0.0, 0.0, 0.45, 0.92), (0.55, 0.0, 0.45, 0.92))
        y = np.exp(u)
        _filled(left, y, density / y, quantile=0.98)
        left.axvline(np.exp(log_of_mean), color=COLOURS["data"], linestyle=(0, (4, 2)))
        left.set(xlabel="$y$", title="density of $y$", yticks=[])
        _mark(left, np.exp(log_of_mean), "E[y]", COLOURS["data"], "left")
        _filled(right, u, density, quantile=0.999)
        right.axvline(log_of_mean, color=COLOURS["data"], linestyle=(0, (4, 2)))
        right.axvline(mean_of_log, color=COLOURS["model"])
        right.set(xlabel=r"$\log\, y$", title=r"density of $\log\, y$", yticks=[])
        _mark(right, log_of_mean, f"log E[y] = {log_of_mean:.3f}", COLOURS["data"], "left")
        _mark(right, mean_of_log, f"E[log y] = {mean_of_log:.3f}", COLOURS["model"], "right")
    return ax


def _of_logarithm(distribution: Any) -> tuple[Array, Array]:  # noqa: ANN401
    """Nodes of u = log y, and the density of u there."""
    if not isinstance(distribution, torch.distributions.Distribution):
        raise InputError(
            f"{type(distribution).__name__} is not a distribution of positive numbers: give one, as "
            "dist.Gamma(2.0, 1.0)"
        )
    if tuple(distribution.batch_shape) + tuple(distribution.event_shape) != ():
        raise InputError("give the distribution of one number, without a batch or an event shape")
    support: Any = distribution.support
    if support.is_discrete:
        raise InputError("the distribution of y is discrete and has no density: give a continuous one")
    u = _nodes(support)
    y = u.exp()
    inside = support.check(y)
    y = torch.where(inside, y, y[inside][0] if inside.any() else y)  # the density is 0 outside, and no error
    with torch.no_grad():
        log_p = distribution.log_prob(y).masked_fill(~inside, -torch.inf)
    density = (log_p.double() + u).exp().nan_to_num(0.0)
    mass = float(density.sum() * (u[1] - u[0]))
    if abs(mass - 1) > 1e-3:
        raise InputError(
            f"the distribution of y has mass {mass:.3g} on a grid of log y from -30 to 30 instead of 1: give "
            "one of positive numbers, without a peak that is infinite or falls between the points of the grid"
        )
    return as_array(u), as_array(density)


def _nodes(support: Any) -> Tensor:  # noqa: ANN401
    """The midpoints of 60,000 even cells of log y: at an end of the support, a density may jump."""
    ends = (
        getattr(support, name, value) for name, value in (("lower_bound", 0.0), ("upper_bound", math.inf))
    )
    low, high = (torch.as_tensor(end).double().log().nan_to_num(-30.0).clamp(-30.0, 30.0) for end in ends)
    if not low < high:
        low, high = torch.tensor(-30.0).double(), torch.tensor(30.0).double()
    return low + (high - low) * (torch.arange(60_000, dtype=torch.float64) + 0.5) / 60_000


def _filled(ax: Axes, at: Array, density: Array, quantile: float) -> None:
    """A density where it has mass, without the upper tail."""
    mass = np.concatenate([[0.0], np.cumsum(np.diff(at) * (density[1:] + density[:-1]) / 2)])
    shown = (mass > 1 - 0.999) & (mass < quantile)
    ax.fill_between(at[shown], density[shown], color="#d9d9d9", linewidth=0)
    ax.plot(at[shown], density[shown], color="#8a8a8a", linewidth=1.0)
    ax.set(xlim=(at[shown][0], at[shown][-1]), ylim=(0, 1.35 * density[shown].max()))


def _mark(ax: Axes, at: float, text: str, colour: str, side: str) -> None:
    """A name at the top of a vertical line, on one side of it."""
    options: dict[str, Any] = {"textcoords": "offset points", "va": "top", "ha": side, "color": colour}
    where = (5 if side == "left" else -5, 0)
    ax.annotate(text, (at, 0.99), where, xycoords=("data", "axes fraction"), **options)


def _note(
    ax: Axes, at: tuple[float, float], shift: tuple[int, int], text: str, colour: str, side: str = "left"
) -> None:
    height = "bottom" if shift[1] > 0 else "top"
    options: dict[str, Any] = {"textcoords": "offset points", "ha": side, "va": height, "color": colour}
    ax.annotate(text, at, shift, **options)
