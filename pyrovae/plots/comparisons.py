"""Figures of log p(x) over rows and models.

- `log_px_histogram`: how log p(x) is distributed over the observations
- `ranking`: models by their paired difference from the best one
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.errors import InputError
from pyrovae.numerics import numbers
from pyrovae.plots.style import COLOURS, WIDTH, Axes, canvas, vectors

__all__ = ["log_px_histogram", "ranking"]

BINS = 60


def log_px_histogram(
    log_px: ArrayLike, stderr: float = np.nan, *, name: str = "log p(x)", ax: Axes | None = None
) -> Axes:
    """A histogram of log p(x) over observations, with its mean.

    Args:
        log_px: nats, (N,).
        stderr: the standard error of the mean.
        name: what the numbers are.

    Raises:
        InputError: for no observations, or a value that is not finite.

    Example:
        >>> log_px_histogram([-3.0, -1.0, -2.0], 0.5).get_title(loc="left")
        'mean −2.00 ± 0.50, 3 observations'
    """
    values = numbers(log_px, "log_px", ("N",))
    with canvas(ax, height=2.8) as ax:
        ax.hist(values, bins=min(BINS, max(5, len(values) // 5)), color=COLOURS["model"], alpha=0.8)
        ax.axvline(float(values.mean()), color=COLOURS["data"], linewidth=0.9, linestyle="--")
        ax.set(xlabel=f"{name}, nats", ylabel="observations")
        error = f" ± {stderr:.2f}" if np.isfinite(stderr) else ""
        mean = f"mean {values.mean():.2f}".replace("-", "−")
        ax.set_title(f"{mean}{error}, {len(values):,} observations", loc="left")
    return ax


def ranking(
    names: Sequence[str],
    difference: ArrayLike,
    stderr: ArrayLike,
    *,
    quantity: str = "log p(x)",
    ax: Axes | None = None,
) -> Axes:
    """Models by their difference from the best, with two paired standard errors.

    These rows cannot tell a model whose line crosses 0 from the best one.

    Args:
        names: the models, the best first, (M,).
        difference: mean difference from the best in nats per observation, (M,).
        stderr: its paired standard error, (M,); NaN where it is not known.
        quantity: what is compared.

    Raises:
        InputError: if lengths differ.

    Example:
        >>> ax = ranking(["b", "a"], [0.0, -1.2], [0.0, 0.3])
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['b', 'a']
    """
    gaps, errors = vectors(difference, stderr, names=("difference", "stderr"), finite=False)
    if len(names) != len(gaps):
        raise InputError(f"there are {len(names)} names for {len(gaps)} differences: give one for each")
    at = np.arange(len(gaps))
    with canvas(ax, height=0.7 + 0.28 * len(gaps), width=WIDTH) as ax:
        ax.axvline(0.0, color=COLOURS["data"], linewidth=0.9, linestyle=":", zorder=0)
        look = {"color": COLOURS["model"], "markersize": 4.5, "capsize": 0, "linewidth": 1.4}
        ax.errorbar(gaps, at, xerr=2 * np.nan_to_num(errors), fmt="o", **look)  # type: ignore[arg-type]
        ax.set_yticks(at, [name if len(name) <= 40 else f"{name[:37]}..." for name in names])
        ax.set_ylim(len(gaps) - 0.5, -0.5)
        ax.set_xlabel(f"{quantity}, difference from the best ± 2 paired s.e., nats per observation")
    return ax
