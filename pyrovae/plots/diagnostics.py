"""Figures of the error of log p(x), the information in the latents, and the guide's gaps.

- `bound_curve`: the importance-weighted bound L_K rises to log p(x) with the particles K.
- `weights`: for each observation the Pareto shape k-hat of its weights, which should be below
  min(1 - 1/log10 K, 0.7), and its effective sample size.
- `gap_curve`: annealed importance sampling forward (a lower bound) and in reverse (an upper bound)
  approach log p(x) as the schedule grows.
- `latent_kl`: the KL of each latent, and the mean KL split into the information that z has about x
  and the distance of the aggregate posterior from the prior (the ELBO surgery).
- `inference_gaps`: from log p(x) down to the ELBO, in two steps.

Reference:
    Burda, Grosse & Salakhutdinov (2016), "Importance Weighted Autoencoders"; Vehtari, Simpson,
    Gelman, Yao & Gabry (2024), "Pareto Smoothed Importance Sampling"; Grosse, Ghahramani & Adams
    (2015), "Sandwiching the marginal likelihood using bidirectional Monte Carlo"; Hoffman & Johnson
    (2016), "ELBO surgery"; Cremer, Li & Duvenaud (2018), "Inference Suboptimality in Variational
    Autoencoders".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrovae.checks import whole
from pyrovae.errors import InputError
from pyrovae.numerics import Array, khat_threshold, numbers
from pyrovae.plots.style import COLOURS, Axes, canvas, dots, label_ends, panels, vectors

__all__ = ["bound_curve", "gap_curve", "inference_gaps", "latent_kl", "weights"]


def bound_curve(
    particles: ArrayLike,
    bounds: ArrayLike,
    stderr: ArrayLike | None = None,
    reference: float | None = None,
    *,
    reference_name: str = "log p(x)",
    ax: Axes | None = None,
) -> Axes:
    """The bound L_K against the number of particles K, on a logarithmic axis.

    Args:
        particles: K, (P,), at least 1.
        bounds: L_K, mean nats per observation, (P,).
        stderr: the standard error of each, (P,); the band is two standard errors to either side.
        reference: log p(x) if known, drawn as a dashed line.
        reference_name: the name of the reference.

    Raises:
        InputError: if lengths differ, a value is NaN, K is below 1, or an error is negative.

    Example:
        >>> ax = bound_curve([1, 10, 100], [-90.0, -88.0, -87.5], [0.1, 0.1, 0.1], reference=-87.4)
        >>> ax.get_xscale(), ax.lines[0].get_ydata().tolist()
        ('log', [-90.0, -88.0, -87.5])
    """
    K, L = vectors(particles, bounds, names=("particles", "bounds"))
    error = _as_errors(stderr, K, "stderr")
    K, L, error = _ascending(K, L, error, name="particles")
    with canvas(ax) as ax:
        _curve(ax, K, L, error, COLOURS["model"], "bound")
        _log_axis(ax, K, "particles $K$")
        ends = [("$L_K$" + (" ± 2 s.e." if stderr is not None else ""), float(L[-1]), COLOURS["model"])]
        if reference is not None:
            ends.append(_reference(ax, reference, reference_name))
        label_ends(ax, ends)
    return ax


def weights(khat: ArrayLike, ess: ArrayLike, particles: int, *, ax: Axes | None = None) -> Axes:
    """Pareto k-hat and effective sample size of each observation's importance weights.

    An infinite k-hat is drawn as a triangle at the top. A k-hat that is NaN (all weights equal) is
    left out and counted.

    Args:
        khat: Pareto shape of the weights of each observation, (N,).
        ess: effective sample size of each observation, (N,), in (0, K].
        particles: K, at least 2.

    Returns:
        The frame; its panels are `ax.child_axes` (k-hat, effective sample size).

    Raises:
        InputError: if lengths differ, particles are below 2, or an ess is outside (0, K].

    Example:
        >>> ax = weights([0.2, 0.9, 0.5], [800.0, 12.0, 300.0], particles=1000)
        >>> ax.child_axes[0].get_title(loc="left")
        '33 % of 3 observations above 0.67'
    """
    k, n = vectors(khat, ess, names=("khat", "ess"), finite=False)
    particles = whole("particles", particles, 2)
    if not ((n > 0) & (n <= particles * (1 + 1e-6))).all():
        raise InputError(
            f"ess has values outside (0, {particles}]; give effective sample sizes computed from "
            f"{particles} particles"
        )
    with canvas(ax, height=4.0) as ax:
        upper, lower = panels(ax, (0.0, 0.56, 1.0, 0.44), (0.0, 0.0, 1.0, 0.44))
        high = _draw_khat(upper, k, khat_threshold(particles))
        _draw_ess(lower, n, high, particles)
        for panel in (upper, lower):
            panel.set_xlim(-0.02 * len(k) - 0.5, 1.02 * len(k) - 0.5)
        upper.tick_params(labelbottom=False)
    return ax


def gap_curve(
    temperatures: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    lower_stderr: ArrayLike | None = None,
    upper_stderr: ArrayLike | None = None,
    reference: float | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Forward and reverse annealed importance sampling against the length of the schedule.

    Args:
        temperatures: number of intermediate distributions, (T,), at least 1.
        lower: forward AIS, a lower bound on log p(x), mean nats per observation, (T,).
        upper: reverse AIS, an upper bound, (T,).
        lower_stderr, upper_stderr: their standard errors, (T,).
        reference: log p(x) if known, drawn as a dashed line.

    Raises:
        InputError: if lengths differ, a value is NaN, temperatures are below 1, or an error is
            negative.

    Example:
        >>> ax = gap_curve([10, 100], [-90.0, -88.2], [-86.0, -88.0])
        >>> ax.get_title(loc="left")
        'gap 0.20 nats at 100 temperatures'
    """
    T, low, high = vectors(temperatures, lower, upper, names=("temperatures", "lower", "upper"))
    errors = [_as_errors(lower_stderr, T, "lower_stderr"), _as_errors(upper_stderr, T, "upper_stderr")]
    T, low, high, *errors = _ascending(T, low, high, *errors, name="temperatures")
    with canvas(ax) as ax:
        ax.fill_between(T, low, high, color=COLOURS["data"], alpha=0.08, linewidth=0, label="gap")
        _curve(ax, T, low, errors[0], COLOURS["model"], "lower")
        _curve(ax, T, high, errors[1], COLOURS["warning"], "upper")
        _log_axis(ax, T, "temperatures")
        ax.set_title(f"gap {high[-1] - low[-1]:.2f} nats at {T[-1]:,.0f} temperatures", loc="left")
        ends = [
            ("forward", low[-1], COLOURS["model"]),
            ("reverse", high[-1], COLOURS["warning"]),
        ]
        if reference is not None:
            ends.append(_reference(ax, reference, "log p(x)"))
        label_ends(ax, ends)
    return ax


def _draw_khat(ax: Axes, k: Array, threshold: float) -> NDArray[np.bool_]:
    """Draw the k-hat of each observation; returns which are above the threshold."""
    high = k > threshold
    finite = np.isfinite(k)
    top = max(1.0, float(k[finite].max(initial=0.0))) * 1.08
    _draw_dots(ax, k, finite & ~high, finite & high)
    beyond = np.flatnonzero(np.isposinf(k))
    ax.plot(beyond, np.full(len(beyond), top), "^", color=COLOURS["warning"], markersize=4)
    ends = []
    for value in sorted({0.7, round(threshold, 6)}):
        solid = value == round(threshold, 6)
        ax.axhline(value, color=COLOURS["data"], linewidth=0.9, linestyle="-" if solid else ":", zorder=0)
        ends.append((f"{value:.2f}" + (" limit" if solid else ""), value, COLOURS["data"]))
    ax.set_ylim(min(0.0, float(k[finite].min(initial=0.0))) - 0.05, top * 1.04)
    ax.set_ylabel("Pareto $\\hat{k}$")
    label_ends(ax, ends, gap=0.12)
    without = int(np.isnan(k).sum())
    note = f"{100 * high.mean():.0f} % of {len(k):,} observations above {threshold:.2f}"
    ax.set_title(note + (f"; {without} without a k-hat" if without else ""), loc="left")
    return high


def _draw_ess(ax: Axes, n: Array, high: NDArray[np.bool_], particles: int) -> None:
    _draw_dots(ax, n, ~high, high)
    median = float(np.median(n))
    ax.axhline(median, color=COLOURS["data"], linewidth=0.9, zorder=0)
    ax.axhline(particles, color=COLOURS["data"], linewidth=0.9, linestyle=":", zorder=0)
    ax.set_yscale("log")
    ax.set_ylim(min(1.0, float(n.min())) * 0.8, particles * 1.3)
    ax.set(xlabel="observation", ylabel="effective sample size")
    ends = [(f"{median:,.0f} median", median), (f"{particles:,} particles", float(particles))]
    label_ends(ax, [(*end, COLOURS["data"]) for end in ends], gap=0.12)


def _draw_dots(ax: Axes, values: Array, usual: NDArray[np.bool_], high: NDArray[np.bool_]) -> None:
    for chosen, colour in ((usual, "model"), (high, "warning")):
        look = dots(len(values), 4000, 2, 16)
        ax.scatter(np.flatnonzero(chosen), values[chosen], color=COLOURS[colour], alpha=0.7, **look)


def _curve(ax: Axes, x: Array, y: Array, error: Array, colour: str, name: str) -> None:
    ax.plot(x, y, "o-", color=colour, markersize=3.5, label=name)
    if error.any():
        ax.fill_between(x, y - 2 * error, y + 2 * error, color=colour, alpha=0.2, linewidth=0)


def _reference(ax: Axes, value: float, name: str) -> tuple[str, float, str]:
    ax.axhline(value, color=COLOURS["data"], linewidth=0.9, linestyle="--", zorder=0, label=name)
    ax.margins(y=0.08)
    return name, float(value), COLOURS["data"]


def _log_axis(ax: Axes, values: Array, name: str) -> None:
    """Nats over a logarithmic x axis, with ticks at the values themselves if there are few."""
    from matplotlib.ticker import NullLocator

    ax.set(xscale="log", xlabel=name, ylabel="nats per observation")
    if len(values) <= 8:
        ax.set_xticks(values, [f"{value:,.0f}" for value in values])
        ax.xaxis.set_minor_locator(NullLocator())


def _as_errors(stderr: ArrayLike | None, x: Array, name: str) -> Array:
    if stderr is None:
        return np.zeros_like(x)
    error = numbers(stderr, name, x.shape)
    if (error < 0).any():
        raise InputError(f"{name} has negative values; give standard errors, 0 or above")
    return error


def _ascending(x: Array, *others: Array, name: str) -> list[Array]:
    if (x < 1).any():
        raise InputError(f"{name} has values below 1 (the least is {x.min():g}); give counts of at least 1")
    order = np.argsort(x, kind="stable")
    return [values[order] for values in (x, *others)]


def latent_kl(
    kl_per_dim: ArrayLike,
    activity: ArrayLike,
    mutual_information: float,
    marginal_kl: float,
    *,
    threshold: float = 0.01,
    ax: Axes | None = None,
) -> Axes:
    """The KL of each latent, in descending order, and the mean KL split in two.

    Args:
        kl_per_dim: nats, (D,); NaN if unknown.
        activity: the variance over the data of each latent's posterior mean, (D,).
        mutual_information: I_q(x; z), nats; NaN if unknown.
        marginal_kl: KL(q(z) || p(z)), nats; NaN if unknown.
        threshold: a latent is active above this activity.

    Returns:
        The frame; its panels are `ax.child_axes` (latents, surgery).

    Raises:
        InputError: if lengths differ.

    Example:
        >>> ax = latent_kl([0.1, 2.0, 0.0], [0.02, 0.9, 0.0], 1.8, 0.3)
        >>> ax.child_axes[0].get_title(loc="left")
        '2 of 3 latents active'
    """
    kl, spread = vectors(kl_per_dim, activity, names=("kl_per_dim", "activity"), finite=False)
    order = np.argsort(-np.where(np.isnan(kl), -np.inf, kl), kind="stable")
    with canvas(ax) as ax:
        left, right = panels(ax, (0.0, 0.0, 0.62, 1.0), (0.86, 0.0, 0.14, 1.0))
        _draw_latents(left, kl[order], spread[order] > threshold)
        _draw_surgery(right, float(mutual_information), float(marginal_kl))
    return ax


def inference_gaps(
    log_px: float,
    best: float,
    elbo: float,
    richer: float | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """The steps from log p(x) down to the ELBO: approximation gap, then amortisation gap.

    Args:
        log_px: log p(x), mean nats per observation.
        best: the ELBO of the best distribution of the guide's family.
        elbo: the ELBO of the encoder's distribution.
        richer: the ELBO of the best distribution of a richer family, drawn as a line across the
            first gap.

    Raises:
        InputError: if values are not finite numbers.

    Example:
        >>> ax = inference_gaps(-87.4, -88.0, -89.5)
        >>> [text.get_text() for text in ax.texts[:2]]
        ['0.60 nats', '1.50 nats']
    """
    top, middle, bottom = numbers([log_px, best, elbo], "the bounds")
    steps = [
        ("approximation", middle, top, COLOURS["model"]),
        ("amortisation", bottom, middle, COLOURS["other"]),
    ]
    with canvas(ax) as ax:
        for i, (name, low, high, colour) in enumerate(steps):
            ax.bar(i, high - low, bottom=low, width=0.6, color=colour, label=name)
            ax.text(i + 0.33, (low + high) / 2, f"{high - low:.2f} nats", ha="left", va="center")
        for value, name in ((top, "log p(x)"), (middle, "best of the family"), (bottom, "ELBO")):
            _line(ax, float(value), name, "-")
        if richer is not None and np.isfinite(richer):
            _line(ax, float(richer), "full covariance", ":")
        ax.set_xticks([0, 1], [name for name, *_ in steps])
        ax.set_xlim(-0.5, 2.3)
        room = 0.08 * max(top, middle) - 0.08 * bottom or 1.0
        ax.set_ylim(min(bottom, middle) - room, max(top, middle) + room)
        ax.set_ylabel("nats per observation")
    return ax


def _line(ax: Axes, value: float, name: str, kind: str) -> None:
    ax.plot([-0.4, 1.45], [value, value], color=COLOURS["data"], linewidth=0.9, linestyle=kind)
    ax.text(1.5, value, name, ha="left", va="center", color=COLOURS["data"])


def _draw_latents(ax: Axes, kl: Array, active: NDArray[np.bool_]) -> None:
    index = np.arange(len(kl))
    ax.bar(index[active], kl[active], color=COLOURS["model"], width=0.8)
    ax.bar(index[~active], kl[~active], color=COLOURS["warning"], width=0.8)
    ax.set(xlabel="latents, by KL", ylabel="KL, nats per observation", xticks=[])
    ax.set_title(f"{active.sum()} of {len(kl)} latents active", loc="left")
    if np.isnan(kl).all():
        ax.text(0.5, 0.5, "no one-dimensional marginals", transform=ax.transAxes, ha="center")


def _draw_surgery(ax: Axes, information: float, marginal: float) -> None:
    if not np.isfinite(information + marginal):
        ax.set_axis_off()
        return
    ax.bar(0, information, color=COLOURS["model"], width=0.8)
    ax.bar(0, marginal, bottom=information, color=COLOURS["other"], width=0.8)
    for height, name in ((information / 2, "I(x; z)"), (information + marginal / 2, "KL(q(z) || p(z))")):
        ax.annotate(name, (-0.4, height), xytext=(-4, 0), textcoords="offset points", ha="right", va="center")
    ax.set_xticks([])
    ax.set_title(f"KL {information + marginal:.2f} nats", loc="left")
    ax.yaxis.tick_right()
    ax.spines["right"].set_visible(True)
    ax.spines["left"].set_visible(False)
