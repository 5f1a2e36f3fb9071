r"""Models of p(x) with a hidden variable: a finite mixture, an infinite one, and sampling from it.

p(x) = sum_k p(z = k) p(x|z = k)        a mixture of Gaussians
p(x) = integral p(z) p(x|z) dz          a nonlinear model with a continuous z
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pyro.distributions as dist
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pyrovae.checks import number, whole
from pyrovae.errors import InputError
from pyrovae.numerics import Array, as_array
from pyrovae.plots.style import CLASSES, COLOURS, Axes, canvas, panels, vectors
from pyrovae.plots.textbook.models import Function, as_model, loop, plane
from pyrovae.quadrature import LatentModel, dtype_of, quadrature
from pyrovae.seeds import random_kept

__all__ = ["ancestral_sampling", "infinite_mixture", "mixture_1d"]

REACH_OF_Z = 8.0  # of the grid of `quadrature`
REACH = 4.0  # standard deviations that a figure shows
SIDE = 90  # pixels of a density in the plane
MOST = 10**6  # samples in a figure
THREE = (0.0, 0.0, 0.25, 0.94), (0.36, 0.0, 0.28, 0.94), (0.72, 0.0, 0.28, 0.94)


def mixture_1d(
    weights: ArrayLike = (0.25, 0.45, 0.3),
    means: ArrayLike = (-2.0, 0.4, 2.6),
    scales: ArrayLike = (0.5, 0.9, 0.6),
    *,
    ax: Axes | None = None,
) -> Axes:
    r"""A mixture of Gaussians: its weighted components and their sum, and p(x, z) for each z.

    \[p(x) = \sum_k w_k\, \mathcal N(x; m_k, s_k^2), \qquad p(x, z = k) = w_k\, \mathcal N(x; m_k,
    s_k^2)\]

    Args:
        weights: w, (K,), positive; they must sum to 1.
        means, scales: m and s, (K,).

    Raises:
        InputError: if lengths differ, a weight or scale is not above 0, or the weights do not sum
            to 1.

    Reference:
        Prince (2023), "Understanding Deep Learning", figure 17.1.

    Example:
        >>> ax = mixture_1d(weights=(0.5, 0.5), means=(-1, 1), scales=(1, 1))
        >>> len(ax.child_axes[0].lines)  # two components and their sum
        3
    """
    w, m, s = vectors(weights, means, scales, names=("weights", "means", "scales"))
    if (w <= 0).any() or (s <= 0).any() or abs(w.sum() - 1) > 1e-6:
        raise InputError(
            f"weights and scales must be above 0, and the weights must sum to 1, not {w.sum():.4g}"
        )
    x = np.linspace((m - REACH * s).min(), (m + REACH * s).max(), 801)
    joint = np.stack([w[k] * _normal(x, m[k], s[k]) for k in range(len(w))])
    with canvas(ax, width=7.2, height=2.8) as ax:
        left, right = panels(ax, (0.0, 0.0, 0.46, 0.92), (0.58, 0.0, 0.42, 0.92))
        for k, component in enumerate(joint):
            left.plot(x, component, color=_colour(k), linestyle=(0, (4, 2)), linewidth=1.2)
        left.plot(x, joint.sum(0), color=COLOURS["data"], linewidth=2.0)
        left.set(xlabel="$x$", ylabel="density", title="$p(x)$, and $p(x, z)$ dashed")
        left.set(xlim=(x[0], x[-1]), ylim=(0, None))
        _stack(right, x, joint)
    return ax


def _normal(x: Array, mean: float, scale: float) -> Array:
    return np.exp(-(((x - mean) / scale) ** 2) / 2) / (scale * np.sqrt(2 * np.pi))


def _colour(k: int) -> str:
    return CLASSES[k % len(CLASSES)]


def _stack(ax: Axes, x: Array, joint: Array) -> None:
    """One curve for each z, the next a step higher and further back."""
    step = 0.55 * joint.max()
    shift = 0.06 * (x[-1] - x[0])
    for k in reversed(range(len(joint))):
        base = k * step
        ax.fill_between(x + k * shift, base, base + joint[k], color=_colour(k), alpha=0.25, linewidth=0)
        ax.plot(x + k * shift, base + joint[k], color=_colour(k), linewidth=1.3)
    ax.set_yticks(step * np.arange(len(joint)), [f"{k + 1}" for k in range(len(joint))])
    ax.set(xlabel="$x$", ylabel="$z$", title="$p(x, z)$")
    ax.set(xlim=(x[0], x[-1] + len(joint) * shift), ylim=(0, None))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


class _Plane(NamedTuple):
    """The density of a model on a grid: `density` is (SIDE, SIDE) if x is in the plane."""

    limits: tuple[tuple[float, float], tuple[float, float]]
    axes: tuple[Array, ...]
    density: Array


def infinite_mixture(
    f: Function | LatentModel = loop,
    sigma: float = 0.25,
    *,
    prior: dist.TorchDistribution | None = None,
    clouds: int = 13,
    ax: Axes | None = None,
) -> Axes:
    r"""A nonlinear model as an infinite mixture: p(z), the curve f(z) with clouds, and p(x).

    \[p(x) = \int p(z)\, \mathcal N(x; f(z), \sigma^2 I)\, dz\]

    The clouds are p(x|z) at quantiles of p(z), each of one and two standard deviations. p(x) is
    computed on a grid of z, exact to eight digits for a smooth p(z) and f.

    Args:
        f: a function of z that takes a tensor (*, 1) and returns (*, 2), or (*, 1) for an x on the
            line; or a model with `latents()` and `decode(z)`, such as a VAE with one latent.
        sigma: the standard deviation of the noise of a function.
        prior: p(z) of a function; by default N(0, 1).
        clouds: the number of values of z that are shown.

    Raises:
        InputError: if f has another shape, for a model with more latents than one, or if a grid
            from -8 to 8 does not contain p(z) or is too coarse for the noise.

    Reference:
        Prince (2023), "Understanding Deep Learning", figure 17.2.

    Example:
        >>> ax = infinite_mixture(lambda z: torch.cat([z, z.square()], -1), sigma=0.3)
        >>> [panel.get_title() for panel in ax.child_axes]
        ['$p(z)$', '$p(x|z)$ for some $z$', '$p(x)$']
    """
    model, clouds = as_model(f, sigma, prior), whole("clouds", clouds, most=1000)
    z, p = _prior(model)
    chosen = _quantiles(z, p, clouds)
    with canvas(ax, width=7.6, height=2.7) as ax:
        first, second, third = panels(ax, *THREE)
        _draw_prior(first, z, p, chosen)
        draw = _plane(model)
        _draw_clouds(second, model, chosen, z, draw)
        _draw_density(third, draw)
        second.set_title("$p(x|z)$ for some $z$")
        third.set_title("$p(x)$")
    return ax


def ancestral_sampling(
    f: Function | LatentModel = loop,
    sigma: float = 0.25,
    z: float = 0.9,
    *,
    prior: dist.TorchDistribution | None = None,
    count: int = 500,
    seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    r"""Sampling from a latent-variable model: z from p(z), x from p(x|z), and many repetitions.

    \[z^* \sim p(z), \qquad x^* \sim p(x \mid z^*)\]

    The last panel has `count` samples on the density p(x) that they follow.

    Args:
        f, sigma, prior: as for `infinite_mixture`.
        z: the value z* that is shown in the first two panels.
        count: the number of samples.
        seed: the seed of the samples.

    Raises:
        InputError: as for `infinite_mixture`.

    Reference:
        Prince (2023), "Understanding Deep Learning", figure 17.3.

    Example:
        >>> ax = ancestral_sampling(count=50)
        >>> ax.child_axes[2].collections[-1].get_offsets().shape
        (50, 2)
    """
    model, count = as_model(f, sigma, prior), whole("count", count, most=MOST)
    at, p = _prior(model)
    star = torch.tensor([[number("z", z)]], dtype=at.dtype)
    seed = whole("seed", seed, 0, 2**62)
    samples = _sampled(model, model.latents(), count, seed)
    one = _sampled(model, dist.Delta(star[0], event_dim=1), 1, seed + 1)
    with canvas(ax, width=7.6, height=2.7) as ax:
        first, second, third = panels(ax, *THREE)
        _draw_prior(first, at, p, star)
        first.set_title("1. $z^*$ from $p(z)$")
        draw = _plane(model)
        _draw_clouds(second, model, star, at, draw)
        _dots(second, one if one.shape[1] == 2 else np.column_stack([as_array(star), one]), 22)
        second.set_title("2. $x^*$ from $p(x|z^*)$")
        _draw_density(third, draw)
        _dots(third, samples, 3)
        third.set_title(f"3. {count:,} times")
    return ax


def _sampled(model: LatentModel, prior: dist.TorchDistribution, count: int, seed: int) -> Array:
    """Ancestral samples (count, E), without a change of the caller's random state."""
    with random_kept(), torch.no_grad():
        torch.manual_seed(seed)
        return as_array(model.decode(prior.sample((count,))).sample())


def _prior(model: LatentModel) -> tuple[Tensor, Tensor]:
    """Nodes z (G, 1) that contain nearly all of p(z), and p(z) there, (G,)."""
    prior = model.latents()
    z = torch.linspace(-REACH_OF_Z, REACH_OF_Z, 4001, dtype=dtype_of(prior)).unsqueeze(1)
    with torch.no_grad():
        try:
            p = prior.log_prob(z).exp()
        except ValueError:
            raise InputError("p(z) is not a density on all real numbers: give one, as a normal") from None
    mass = float(p.double().sum() * (z[1] - z[0]))
    if not abs(mass - 1) < 1e-3:
        raise InputError(
            f"p(z) has mass {mass:.3g} on a grid from -8 to 8 instead of 1: rescale z so that its mass is "
            "there, and wider than 0.01"
        )
    shown = (p > 2e-3 * p.max()).nonzero().flatten()
    part = slice(int(shown[0]), int(shown[-1]) + 1)
    return z[part], p[part]


def _quantiles(z: Tensor, p: Tensor, count: int) -> Tensor:
    """Values of z at even quantiles of p(z), (count, 1)."""
    share = (p.cumsum(0) / p.sum()).contiguous()
    levels = (torch.arange(count, dtype=p.dtype) + 0.5) / count
    return z[torch.searchsorted(share, levels).clamp(max=len(z) - 1)]


def _draw_prior(ax: Axes, z: Tensor, p: Tensor, chosen: Tensor) -> None:
    ax.plot(as_array(z[:, 0]), as_array(p), color=COLOURS["model"])
    for k, value in enumerate(as_array(chosen[:, 0])):
        height = float(np.interp(value, as_array(z[:, 0]), as_array(p)))
        ax.plot([value, value], [0, height], color=_shade(k, len(chosen)), linewidth=0.8)
        ax.plot([value], [height], "o", color=_shade(k, len(chosen)), markersize=4)
    ax.set(xlabel="$z$", ylabel="density", title="$p(z)$", ylim=(0, None))


def _shade(k: int, count: int) -> Any:  # noqa: ANN401
    """The colour of one of several values of z: from violet to yellow along z."""
    from matplotlib import colormaps

    return COLOURS["warning"] if count == 1 else colormaps["viridis"](0.92 * k / (count - 1))


def _plane(model: LatentModel) -> _Plane:
    """p(x) around the curve of the means."""
    z, _ = _prior(model)
    with torch.no_grad():
        given = model.decode(z)
        means, noise = as_array(given.mean), float(given.stddev.max())
    if means.ndim != 2 or means.shape[1] not in (1, 2):
        raise InputError(f"x has shape {means.shape[1:]}; the figure is for an x of one or two numbers")
    margin = 2.5 * noise
    if means.shape[1] == 1:
        low, high = float(means.min() - margin), float(means.max() + margin)
        x = np.linspace(low, high, 301)
        return _Plane(((low, high), (float(z[0]), float(z[-1]))), (x,), _density(model, x[:, None]))
    limits = plane(means, margin)
    axes = tuple(np.linspace(*limit, SIDE) for limit in limits)
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    return _Plane(limits, axes, _density(model, points).reshape(SIDE, SIDE))


def _density(model: LatentModel, x: Array) -> Array:
    rows = torch.as_tensor(x, dtype=dtype_of(model.latents()))
    try:
        with torch.no_grad():
            model.decode(torch.zeros(1, 1, dtype=rows.dtype)).log_prob(rows)
    except ValueError:
        raise InputError(
            "p(x) is not a density on all real numbers: give a model of real numbers, as likelihoods.Normal"
        ) from None
    return np.exp(as_array(quadrature(model, rows, points=_fine_enough(model))))


@torch.no_grad()
def _fine_enough(model: LatentModel) -> int:
    """The number of nodes whose step is 2/3 of the smaller width: of p(z), and of p(x|z) in z."""
    z, p = _prior(model)
    given = model.decode(z)
    slope = (given.mean.diff(dim=0) / (z[1] - z[0]) / given.stddev[1:]).norm(dim=1).max()
    needed = 3 * REACH_OF_Z * max(float(slope), 2.5 * float(p.max()))
    if needed > 16_000:
        raise InputError("the noise is too small for the slope of f, and p(x) not exact: give a larger sigma")
    return max(401, math.ceil(needed) + 1)


def _draw_clouds(ax: Axes, model: LatentModel, chosen: Tensor, z: Tensor, draw: _Plane) -> None:
    with torch.no_grad():
        curve, given = as_array(model.decode(z).mean), model.decode(chosen)
    means, scales = as_array(given.mean), as_array(given.stddev)
    if len(draw.axes) == 1:
        _draw_bars(ax, as_array(z[:, 0]), curve[:, 0], as_array(chosen[:, 0]), means[:, 0], scales[:, 0])
        ax.set(xlabel="$z$", ylabel="$x$", ylim=draw.limits[0])
        return
    from matplotlib.patches import Ellipse

    ax.plot(*curve.T, color="#8a8a8a", linewidth=0.9)
    for k, (mean, scale) in enumerate(zip(means, scales, strict=True)):
        colour = _shade(k, len(means))
        for reach in (1, 2):
            size: Any = 2 * reach * scale
            ax.add_patch(Ellipse(mean, *size, color=colour, alpha=0.3, linewidth=0))
        ax.plot(*mean[:, None], "o", color=colour, markersize=2.5)
    _in_the_plane(ax, draw)


def _draw_bars(ax: Axes, z: Array, curve: Array, chosen: Array, means: Array, scales: Array) -> None:
    """f(z) against z, with two standard deviations of x at the chosen z."""
    ax.plot(z, curve, color="#8a8a8a", linewidth=0.9)
    for k, (at, mean, scale) in enumerate(zip(chosen, means, scales, strict=True)):
        colour = _shade(k, len(means))
        ax.plot([at, at], [mean - 2 * scale, mean + 2 * scale], color=colour, alpha=0.6)
        ax.plot([at], [mean], "o", color=colour, markersize=3)


def _draw_density(ax: Axes, draw: _Plane) -> None:
    if len(draw.axes) == 1:
        ax.fill_between(draw.axes[0], draw.density, color=COLOURS["model"], alpha=0.25, linewidth=0)
        ax.plot(draw.axes[0], draw.density, color=COLOURS["model"])
        ax.set(xlabel="$x$", ylim=(0, None), xlim=draw.limits[0])
        return
    top = draw.density.max()
    ax.contourf(*draw.axes, draw.density.T, levels=np.linspace(0.02, 1.0, 12) * top, cmap="Blues")
    _in_the_plane(ax, draw)


def _in_the_plane(ax: Axes, draw: _Plane) -> None:
    ax.set(xlabel="$x_1$", ylabel="$x_2$", xlim=draw.limits[0], ylim=draw.limits[1], aspect="equal")


def _dots(ax: Axes, points: Array, size: float) -> None:
    """Samples in the plane, or on the axis if x is one number."""
    first, second = points.T if points.shape[1] == 2 else (points[:, 0], np.zeros(len(points)))
    ax.scatter(first, second, s=size, color=COLOURS["data"], linewidths=0, zorder=5, clip_on=False)
