r"""Figures of bounds: the ELBO below log p(x), q(z|x) next to p(z|x), the noise of gradients.

    log p(x) = ELBO(q) + KL(q(z|x) || p(z|x))

log p(x) and the true posterior are dark grey, dashed or filled. The bounds and approximations are
in colour; a bound never crosses log p(x).

Reference:
    Prince (2023), "Understanding Deep Learning", chapter 17.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.errors import InputError
from pyrovae.numerics import Array, numbers
from pyrovae.plots.style import CLASSES, COLOURS, Axes, canvas, label_ends

__all__ = ["bounds_below", "gradient_noise", "posterior_density"]

FILL = "#d9d9d9"
SHARES = (0.95, 0.8, 0.5, 0.2)  # of the mass, inside the contours of a density in the plane


def bounds_below(
    at: ArrayLike,
    log_px: ArrayLike,
    bounds: Mapping[str, ArrayLike],
    *,
    steps: ArrayLike | None = None,
    label: str = "parameter",
    ax: Axes | None = None,
) -> Axes:
    """Lower bounds as functions of a parameter, below log p(x).

    Args:
        at: the parameter, (P,).
        log_px: log p(x) at these values, (P,), or one constant for each of `bounds`, (T,).
        bounds: name -> bound, (P,), nats.
        steps: (parameter, value) of the steps of an optimisation, (S, 2), joined by a line.
        label: the label of the horizontal axis.

    Raises:
        InputError: if lengths differ, a value is NaN, or a bound is above log p(x).

    Example:
        >>> at = np.linspace(-1, 1, 5)
        >>> ax = bounds_below(at, -(at**2), {"q": -2 * at**2})
        >>> len(ax.lines)
        2
    """
    at, target = numbers(at, "at", ("P",)), numbers(log_px, "log_px")
    curves = {name: numbers(value, name, at.shape) for name, value in bounds.items()}
    is_level = target.shape != at.shape
    if is_level and target.shape != (len(curves),):
        raise InputError(
            f"log_px has shape {target.shape} where one value for each of {len(at)} places or {len(curves)} "
            "bounds was expected"
        )
    for k, (name, bound) in enumerate(curves.items()):
        above = float((bound - (target[k] if is_level else target)).max())
        if above > 1e-6 * (1 + np.abs(target).max()):
            raise InputError(f"{name} lies {above:.3g} nats above log p(x): check both")
    with canvas(ax) as ax:
        look: dict[str, Any] = {"color": COLOURS["data"], "linestyle": (0, (4, 2)), "linewidth": 1.3}
        if not is_level:
            ax.plot(at, target, zorder=3, **look)
        for k, (name, bound) in enumerate(curves.items()):
            ax.plot(at, bound, color=CLASSES[k % len(CLASSES)], label=name)
            if is_level:
                ax.axhline(target[k], **look | {"color": CLASSES[k % len(CLASSES)]})
        if steps is not None:
            path = numbers(steps, "steps", ("S", 2))
            ax.plot(*path.T, color=COLOURS["warning"], marker="o", markersize=3.5, linewidth=1.0, zorder=4)
        ax.set(xlabel=label, ylabel="nats per observation", xlim=(at.min(), at.max()))
        _frame(ax, target, curves)
    return ax


def posterior_density(
    z: ArrayLike,
    posterior: ArrayLike,
    approximations: Mapping[str, ArrayLike] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """The true posterior of one observation, filled, and its approximations, as lines.

    In the plane, a density is drawn by the contours that contain 95, 80, 50 and 20 % of its mass.

    Args:
        z: the points, (P,) or (P, 1); in the plane (P, Q, 2).
        posterior: p(z|x) at the points, (P,) or (P, Q).
        approximations: name -> q(z|x) at the same points.

    Raises:
        InputError: if shapes differ or a value is NaN.

    Example:
        >>> z = np.linspace(-4, 4, 101)
        >>> ax = posterior_density(z, np.exp(-(z**2)), {"q": np.exp(-2 * z**2)})
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['p(z|x)', 'q']
    """
    places, densities = numbers(z, "z"), {"p(z|x)": posterior, **(approximations or {})}
    places = places[:, 0] if places.ndim == 2 and places.shape[1] == 1 else places
    if places.ndim != 1:
        places = numbers(places, "z", ("P", "Q", 2))
    shape = places.shape[:2] if places.ndim == 3 else places.shape
    values = {name: numbers(value, name, shape) for name, value in densities.items()}
    draw = _curves if places.ndim == 1 else _contours
    with canvas(ax, width=4.4) as ax:
        draw(ax, places, values)
    return ax


def gradient_noise(
    particles: Sequence[int], spread: Mapping[str, ArrayLike], *, ax: Axes | None = None
) -> Axes:
    """The standard deviation of gradient estimates against the number of particles (log-log).

    An estimator without noise, such as an exact sum over the states of z, is drawn at 0 below the
    others.

    Args:
        particles: the numbers of particles K, ascending.
        spread: name -> standard deviation at each K.

    Raises:
        InputError: without estimators, if lengths differ, or for a spread that is NaN or below 0.

    Example:
        >>> ax = gradient_noise([1, 4], {"path": [1.0, 0.5], "score": [8.0, 4.0]})
        >>> ax.get_yscale()
        'log'
    """
    at = numbers(particles, "particles", ("K",))
    if not isinstance(spread, Mapping) or not spread or (at <= 0).any():
        raise InputError("give particles above 0, and spread as {'name': standard deviations at each K}")
    curves = {name: numbers(value, name) for name, value in spread.items()}
    for name, value in curves.items():
        if value.shape != at.shape or (value < 0).any():
            raise InputError(
                f"{name} needs one standard deviation of 0 or more for each of {at.size} particles"
            )
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    every = np.concatenate(list(curves.values()))
    with canvas(ax) as ax:
        ax.set(xscale="log", xlabel="particles K", ylabel="standard deviation of the gradient")
        if (every > 0).all():
            ax.set_yscale("log")
        elif (every > 0).any():  # linear below the smallest, so that 0 is there
            ax.set_yscale("symlog", linthresh=float(every[every > 0].min()), linscale=0.5)
        ends = []
        for k, (name, value) in enumerate(curves.items()):
            ax.plot(at, value, color=CLASSES[k % len(CLASSES)], marker="o", markersize=3.5)
            ends.append((name, float(value[-1]), CLASSES[k % len(CLASSES)]))
        ax.set_xticks(at, [f"{k:g}" for k in at])
        if (every > 0).all():
            ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.minorticks_off()
        label_ends(ax, ends)
    return ax


def _frame(ax: Axes, target: Array, curves: Mapping[str, Array]) -> None:
    """Show log p(x) and the upper part of each bound, since far below all bounds fall alike."""
    tops = [bound.max() for bound in curves.values()]
    low = min(float(np.quantile(target, 0.1)), *(float(t) for t in tops))
    high = float(max(target.max(), *tops))
    ax.set_ylim(low - 0.6 * max(high - low, 0.5), high + 0.12 * max(high - low, 0.5))


def _curves(ax: Axes, z: Array, values: Mapping[str, Array]) -> None:
    for k, (name, value) in enumerate(values.items()):
        if k == 0:
            ax.fill_between(z, value, color=FILL, linewidth=0, label=name)
        else:
            ax.plot(z, value, color=CLASSES[k - 1], label=name, linewidth=1.3)
    shown = np.concatenate([z[v > 1e-3 * v.max()] for v in values.values()])
    room = 0.1 * (shown.max() - shown.min())
    ax.set(xlabel="$z$", ylabel="density", xlim=(shown.min() - room, shown.max() + room), ylim=(0, None))
    ax.legend()


def _contours(ax: Axes, z: Array, values: Mapping[str, Array]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    area, at = _areas(z), (z[..., 0], z[..., 1])
    handles: list[Any] = []
    shown = []
    for k, (name, value) in enumerate(values.items()):
        levels, top = _levels(value, area), 1.01 * value.max()
        shown.append(z[value > levels[0] / 3])
        if k == 0:
            ax.contourf(*at, value, levels=[*levels, top], cmap="Greys", alpha=0.7)
            handles.append(Patch(color="#9a9a9a", label=name))
        else:
            ax.contour(*at, value, levels=levels, colors=CLASSES[k - 1], linewidths=1.1)
            handles.append(Line2D([], [], color=CLASSES[k - 1], label=name))
    (left, low), (right, high) = (pick(np.concatenate(shown), axis=0) for pick in (np.min, np.max))
    ax.set(xlabel="$z_1$", ylabel="$z_2$", xlim=(left, right), ylim=(low, high), aspect="equal")
    ax.legend(handles=handles)


def _areas(z: Array) -> Array:
    """The area of each node of a grid, which may be curved: the determinant of the Jacobian."""
    down, along = np.gradient(z, axis=0), np.gradient(z, axis=1)
    return np.abs(down[..., 0] * along[..., 1] - down[..., 1] * along[..., 0])


def _levels(p: Array, area: Array) -> list[float]:
    """The heights above which the density has each of the shares `SHARES`, ascending."""
    order = np.argsort(p, axis=None)[::-1]
    mass = np.cumsum((p * area).ravel()[order])
    at = np.searchsorted(mass, np.array(SHARES) * mass[-1])
    return sorted({float(p.ravel()[order[min(i, p.size - 1)]]) for i in at})
