"""What the latents carry and what the guide loses, as pictures.

- `latent_kl`: the KL of each latent, and the mean KL split into the information that z has about x and the
  distance of the aggregate posterior from the prior (the ELBO surgery).
- `inference_gaps`: from log p(x) down to the ELBO, in the two steps that explain it.

Reference:
    Hoffman & Johnson, ELBO surgery, 2016, http://approximateinference.org/accepted/HoffmanJohnson2016.pdf
    Cremer, Li & Duvenaud, Inference Suboptimality in Variational Autoencoders, 2018, https://arxiv.org/abs/1801.03558
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrovae.numerics import Array, numbers
from pyrovae.plots.style import COLOURS, canvas, panels, vectors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["inference_gaps", "latent_kl"]


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
        kl_per_dim: nats, (D,); NaN where it is not known.
        activity: the variance over the data of each latent's posterior mean, (D,).
        mutual_information: I_q(x; z), nats; NaN where it is not known.
        marginal_kl: KL(q(z) || p(z)), nats; NaN where it is not known.
        threshold: a latent is active above this activity.

    Returns:
        The frame; its panels are `ax.child_axes` (latents, surgery).

    Raises:
        InputError: for lengths that differ.

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
        richer: the ELBO of the best distribution of a richer family; a line across the first gap.

    Raises:
        InputError: for values that are not finite numbers.

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
