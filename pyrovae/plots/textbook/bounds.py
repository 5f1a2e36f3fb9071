r"""The ELBO below the log-likelihood: going up, the gap, the posterior, and training.

    log p(x; theta) = ELBO(q, theta) + KL(q(z) || p(z|x; theta))

All values are exact: the models have one latent, and every integral is a sum over a grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro.distributions as dist
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pyrovae.checks import number, whole
from pyrovae.errors import InputError
from pyrovae.numerics import Array, as_array, numbers
from pyrovae.plots.bounds import bounds_below, posterior_density
from pyrovae.plots.style import COLOURS, OUTSIDE, Axes, canvas, label_ends, panels
from pyrovae.plots.textbook.exact import (
    POINTS,
    Range,
    alternation,
    best_normal,
    curves_of,
    normal,
    path_to,
    rows_of,
    values_of,
)
from pyrovae.plots.textbook.models import Family, as_model, bends, observations, posterior_of

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

__all__ = ["bound_ascent", "bound_gap", "posterior_approximation", "training_of_the_bound"]

Encode = Callable[[Tensor], dist.TorchDistribution]


def bound_ascent(
    family: Family = bends,
    x: ArrayLike | None = None,
    *,
    thetas: Range = (0.1, 1.9),
    guides: Sequence[float] = (0.3, 0.7),
    points: int = 61,
    ax: Axes | None = None,
) -> Axes:
    r"""The log-likelihood and two lower bounds as functions of the model's parameter.

    \[\mathcal L(q, \theta) = \frac1N \sum_n \mathrm E_{q_n}\big[\log p(x_n, z; \theta) - \log
    q_n(z)\big] \le \frac1N \sum_n \log p(x_n; \theta)\]

    Each q is the true posterior at one theta, so its bound touches the log-likelihood there. There
    are two ways up: along a bound to its top (a better model), and from one bound to a higher one
    (a better guide).

    Args:
        family: a function of theta that returns a model with one latent: `latents()` and
            `decode(z)`. By default x = theta z^2 / 2 + z / 2 + noise.
        x: observations (N, *event); by default 60 of the default family with theta = 1.5.
        thetas: the lowest and the highest theta.
        guides: the values of theta whose posteriors are the q of the bounds.
        points: the number of values of theta.

    Raises:
        InputError: for observations that do not fit the models, a model with more latents, or
            guides outside `thetas`.

    Reference:
        Prince (2023), "Understanding Deep Learning", figure 17.6.

    Example:
        >>> ax = bound_ascent(points=21)
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['log p(x)', 'first q', 'better q']
    """
    rows = rows_of(family, x, thetas)
    values = numbers(guides, "guides")
    if values.shape != (2,):
        raise InputError(f"guides has shape {values.shape}; give two, the first q and a better one")
    at = values_of(thetas, points)
    if values.min() < at[0] or values.max() > at[-1]:
        raise InputError(f"guides are {guides}; give two thetas between {at[0]:g} and {at[-1]:g}")
    curves = curves_of(family, rows, at, values.tolist())
    first, better = curves.bounds
    start, top = float(guides[0]), int(first.argmax())
    names = {"first q": first, "better q": better}
    with canvas(ax, width=5.6, height=3.6) as ax:
        bounds_below(at, curves.log_px, names, label=r"parameter of the model, $\theta$", ax=ax)
        _arrow(ax, (start, np.interp(start, at, first)), (at[top], first[top]), "better\nmodel", along=True)
        _arrow(ax, (at[top], first[top]), (at[top], better[top]), "better q")
        _zoom(ax, curves.log_px, curves.bounds, guides)
        _legend(ax, ["log p(x)", *names])
    return ax


def bound_gap(
    model: Any = None,  # noqa: ANN401
    x: ArrayLike | None = None,
    q: dist.TorchDistribution | None = None,
    *,
    steps: int = 31,
    ax: Axes | None = None,
) -> Axes:
    r"""The gap between log p(x) and the ELBO is a KL divergence, zero where q is the posterior.

    \[\log p(x) - \mathcal L(q_t) = \mathrm{KL}(q_t \,\|\, p(z|x)), \qquad q_t \propto q^{1 - t}\,
    p(z|x)^t\]

    q_t goes from a given q at t = 0 to the true posterior at t = 1. On the left are four of these
    densities, on the right the bound, with the KL divergence as the shaded gap.

    Args:
        model: a model with one latent (`latents()` and `decode(z)`), or a function f for x = f(z) +
            noise. By default x = (3 / 4) z^2 + z / 2 + noise.
        x: one observation.
        q: the distribution at t = 0, with batch (1,) and event (1,), such as `vae.encode(x)`; by
            default N(-1, 0.6^2).
        steps: the number of values of t.

    Raises:
        InputError: for several observations, or a q with mass beyond the grid.

    Reference:
        Prince (2023), "Understanding Deep Learning", figure 17.7.

    Example:
        >>> ax = bound_gap(steps=5)
        >>> ax.child_axes[1].get_xlabel()
        'from q to the posterior, $t$'
    """
    chosen = bends(1.5, 0.6) if model is None else as_model(model)
    rows = observations([[1.6]] if x is None else x, chosen)
    if len(rows) != 1:
        raise InputError(f"x has {len(rows)} observations; give one: `x[:1]`")
    exact = posterior_of(chosen, rows, points=POINTS)
    steps = whole("steps", steps, 2, 10_000)
    path = path_to(exact, normal(-1.0, 0.6) if q is None else q, steps)
    t, bound = np.linspace(0, 1, steps), np.array([float(exact.elbo(each)[0]) for each in path])
    with canvas(ax, width=7.2, height=2.9) as ax:
        left, right = panels(ax, (0.0, 0.0, 0.44, 0.94), (0.58, 0.0, 0.42, 0.94))
        shown = {f"t = {t[i]:.2g}": path[i].density[0] for i in _some(steps)}
        posterior_density(exact.z[:, 0], exact.density[0], shown, ax=left)
        _darken(left.lines)
        left.set_ylim(0, 1.25 * left.get_ylim()[1])
        left.legend(loc="upper left")
        _draw_gap(right, t, float(exact.log_px[0]), bound)
    return ax


def posterior_approximation(
    model: Any = None,  # noqa: ANN401
    x: ArrayLike | None = None,
    encode: Encode | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    r"""The true posterior of several observations, and its normal approximation.

    \[q^*(z|x) = \arg\min_{m, s} \mathrm{KL}\big(\mathcal N(z; m, s^2) \,\|\, p(z|x)\big)\]

    Where the posterior has two modes, the best normal distribution covers one of them.

    Args:
        model: a model with one latent (`latents()` and `decode(z)`), such as a VAE with
            latent_dim=1, or a function f for x = f(z) + noise. By default x = (3 / 4) z^2 + z / 2
            + noise.
        x: observations (N, *event), one panel each, at most six.
        encode: a function that returns q(z|x) for the observations, such as `vae.encode`. By
            default the best normal distribution for each row.

    Raises:
        InputError: for a wrong shape, or more than six observations.

    Reference:
        Prince (2023), "Understanding Deep Learning", figure 17.8.

    Example:
        >>> ax = posterior_approximation(x=[-0.2, 2.5])
        >>> [panel.get_title() for panel in ax.child_axes]
        ['x = -0.2, KL 0.02', 'x = 2.5, KL 0.29']
    """
    chosen = bends(1.5, 0.6) if model is None else as_model(model)
    rows = observations([-0.3, 0.8, 2.5] if x is None else x, chosen)
    if encode is not None and (not callable(encode) or hasattr(encode, "decode")):
        raise InputError(f"encode is a {type(encode).__name__}; give a function, as `vae.encode`")
    if len(rows) > 6:
        raise InputError(f"x has {len(rows)} observations; the figure is for at most six")
    exact = posterior_of(chosen, rows)
    with torch.no_grad():
        q = best_normal(exact) if encode is None else encode(rows)
        kl = as_array(exact.kl(q))
        z = exact.nodes.z.to(rows)
        density = as_array(q.log_prob(z.unsqueeze(1)).exp()).T
    label = "best normal q(z)" if encode is None else "q(z|x)"
    width = 1 / len(rows)
    with canvas(ax, width=min(8.4, 1.2 + 2.4 * len(rows)), height=2.5) as ax:
        places = [(k * width, 0.0, 0.82 * width, 0.92) for k in range(len(rows))]
        drawn = panels(ax, *places)
        for k, panel in enumerate(drawn):
            posterior_density(exact.z[:, 0], exact.density[k], {label: density[k]}, ax=panel)
            panel.set(title=f"{_named(rows[k])}KL {kl[k]:.2f}", ylabel="density" if k == 0 else "")
            _legend_outside(panel, is_last=k == len(rows) - 1)
        _shared_limits(drawn)
    return ax


def training_of_the_bound(
    family: Family = bends,
    x: ArrayLike | None = None,
    *,
    start: float = 0.25,
    steps: int = 4,
    thetas: Range = (0.1, 1.9),
    points: int = 61,
    ax: Axes | None = None,
) -> Axes:
    r"""Training changes both networks: the bound moves to the curve, and theta along the bound.

    \[q \leftarrow p(z|x; \theta), \qquad \theta \leftarrow \arg\max_\theta \mathcal L(q, \theta)\]

    The figure alternates these two steps exactly, as expectation-maximisation does. A gradient step
    of a VAE does a little of both. The bound of every step is drawn, the later the darker, with the
    path of (theta, bound). For a trained VAE, `run.plot()` draws its bound over the epochs.

    Args:
        family, x, thetas, points: as for `bound_ascent`.
        start: the first theta.
        steps: the number of alternations.

    Raises:
        InputError: as for `bound_ascent`, or for a start outside `thetas`.

    Reference:
        Prince (2023), "Understanding Deep Learning", figure 17.10.

    Example:
        >>> ax = training_of_the_bound(steps=2, points=21)
        >>> path = ax.lines[-1].get_ydata()  # up to the curve, and along the bound, twice
        >>> bool((np.diff(path) > 0).all())
        True
    """
    rows, at = rows_of(family, x, thetas), values_of(thetas, points)
    start = number("start", start)
    if not at[0] <= start <= at[-1]:
        raise InputError(f"start is {start}; give a theta between {at[0]:g} and {at[-1]:g}")
    path, guides = alternation(family, rows, start, whole("steps", steps, most=1000), thetas)
    curves = curves_of(family, rows, at, guides)
    names = {f"q of step {k + 1}": bound for k, bound in enumerate(curves.bounds)}
    with canvas(ax, width=5.6, height=3.6) as ax:
        bounds_below(at, curves.log_px, names, steps=path, label=r"parameter of the model, $\theta$", ax=ax)
        _darken(ax.lines[1 : len(names) + 1])
        _zoom(ax, curves.log_px, curves.bounds, guides)
        _legend(ax, ["log p(x)", *names])
    return ax


def _arrow(ax: Axes, start: Any, end: Any, text: str, *, along: bool = False) -> None:  # noqa: ANN401
    """An arrow between two points, bent along a bound or straight, with a name next to it."""
    colour = COLOURS["warning"]
    look = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=look | {"connectionstyle": f"arc3,rad={-0.2 * along}"})
    ax.plot(*start, "o", color=colour, markersize=4)
    middle = (np.array(start) + np.array(end)) / 2
    offset, side = ((-16, 14), "right") if along else ((6, 0), "left")
    ax.annotate(text, middle, offset, textcoords="offset points", color=colour, va="center", ha=side)


def _zoom(ax: Axes, log_px: Array, bounds: Sequence[Array], guides: Sequence[float]) -> None:
    """Show the tops of the bounds and where they touch."""
    low = min(float(bound.max()) for bound in bounds)
    high = float(log_px.max())
    room = max(high - low, 0.05)
    ax.set_ylim(low - 0.9 * room, high + 0.12 * room)


def _legend(ax: Axes, names: Sequence[str]) -> None:
    ax.legend(ax.lines[: len(names)], names, loc="center right")


def _darken(lines: Sequence[Line2D]) -> None:
    """Colour successive lines from light to dark blue."""
    from matplotlib import colormaps

    for k, line in enumerate(lines):
        line.set(color=colormaps["Blues"](0.4 + 0.55 * (k + 1) / len(lines)), linewidth=1.4)


def _draw_gap(ax: Axes, t: Array, log_px: float, bound: Array) -> None:
    ax.fill_between(t, bound, log_px, color=COLOURS["warning"], alpha=0.18, linewidth=0)
    ax.axhline(log_px, color=COLOURS["data"], linestyle=(0, (4, 2)), linewidth=1.3)
    ax.plot(t, bound, color=COLOURS["model"])
    room = max(log_px - bound.min(), 1e-3)
    ax.set(xlabel="from q to the posterior, $t$", ylabel="nats", xlim=(0, 1))
    ax.set_ylim(bound.min() - 0.08 * room, log_px + 0.12 * room)
    label_ends(ax, [("log p(x)", log_px, COLOURS["data"]), ("ELBO", float(bound[-1]), COLOURS["model"])])
    ax.text(0.04, log_px - 0.06 * room, f"KL {log_px - bound[0]:.2f}", color=COLOURS["warning"], va="top")


def _some(steps: int) -> list[int]:
    """The indices of the first, two middle and the last step."""
    return sorted({round(share * (steps - 1)) for share in (0, 1 / 3, 2 / 3, 1)})


def _named(row: Tensor) -> str:
    if row.numel() > 2:
        return ""
    return f"x = {', '.join(f'{value:.2g}' for value in row.flatten().tolist())}, "


def _legend_outside(ax: Axes, *, is_last: bool) -> None:
    """Only the last panel keeps its legend, on its right."""
    handles, names = ax.get_legend_handles_labels()
    legend = ax.legend(handles, names, **OUTSIDE)
    if not is_last:
        legend.remove()


def _shared_limits(axes: Sequence[Axes]) -> None:
    low = min(panel.get_xlim()[0] for panel in axes)
    high = max(panel.get_xlim()[1] for panel in axes)
    for panel in axes:
        panel.set_xlim(low, high)
