"""The data that all pages of one run share, computed before the first page is opened.

They are the components and the data on the plane of the map, their colours, and the pictures of
observations. Expensive values, above all log p(x), are computed when they are first needed.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pyrovae.app.colours import mixed, of_classes
from pyrovae.app.pictures import pictures_of
from pyrovae.exploring.gaussians import principal
from pyrovae.numerics import Array

if TYPE_CHECKING:
    from pyrovae.exploring import Exploration
    from pyrovae.exploring.agreement import Integers

__all__ = ["Scene", "dot", "number"]

REACH = 2.0
PARTICLES = 1000
RANKED = 100
LEGEND = 12


def number(value: float, digits: int = 2) -> str:
    """A number as text, with a minus sign instead of a hyphen.

    Example:
        >>> number(-1.5), number(-0.001), number(float("nan"))
        ('−1.50', '0.00', '–')
    """
    value = round(value, digits) + 0.0  # no minus before a zero
    return "–" if not np.isfinite(value) else f"{value:,.{digits}f}".replace("-", "−")


def dot(colour: str) -> str:
    """A dot of a colour, as HTML."""
    return f'<span class="dot" style="background:{colour}"></span>'


class Scene:
    """An exploration, ready to be drawn.

    Arguments:
        ex: the result of `pv.explore`.
        title: the name of the run.
    """

    def __init__(self, ex: Exploration, title: str) -> None:
        self.ex, self.title = ex, title
        self.pictures = pictures_of(ex.x)
        self.mixture = ex.reader.mixture
        self.colours = of_classes(len(ex.components.weight))
        self.points = ex.map.to_plane(ex.z)
        if ex.z.shape[1] == 1:  # a line of dots would hide how many there are
            self.points[:, 1] += 0.2 * ex.z.std() * np.random.default_rng(0).standard_normal(len(ex.z))
        self.evidence: dict[int, str] = {}
        self.ranks: dict[str, Integers] = {}
        self.by_component = mixed(self.colours, ex.responsibilities)

    @cached_property
    def by_label(self) -> list[str] | None:
        """The colours of the labels, (N,)."""
        if self.ex.labels is None:
            return None
        values, index = np.unique(self.ex.labels, return_inverse=True)
        colours = of_classes(len(values))
        return [colours[i] for i in index]

    def legend(self) -> str:
        """The colour of each label, if there are few."""
        values = [] if self.ex.labels is None else np.unique(self.ex.labels).tolist()
        if len(values) > LEGEND:
            return f"<small>{len(values)} labels</small>"
        colours = of_classes(len(values))
        return " &nbsp;".join(f"{dot(c)}{label}" for c, label in zip(colours, values, strict=True))

    @cached_property
    def outlines(self) -> list[Array]:
        """Each component on the plane, as an outline (S, 2)."""
        c = self.ex.components
        return [self.outline(m, s) for m, s in zip(c.mean, c.covariance, strict=True)]

    def outline(self, mean: Array, covariance: Array) -> Array:
        """The ellipse of two standard deviations of a Gaussian, projected on the plane, (S, 2)."""
        middle, spread = self.ex.map.ellipse(mean, covariance)
        if len(mean) == 1:  # a line has no height to draw
            spread = spread + np.diag([0.0, spread[0, 0]])
        variance, axes = np.linalg.eigh(spread)
        turn = np.linspace(0, 2 * np.pi, 73)
        circle = np.stack([np.cos(turn), np.sin(turn)], 1)
        return middle + REACH * circle * np.sqrt(variance.clip(0)) @ axes.T

    def axes(self, k: int) -> Array:
        """The principal axes of a component, (D, D), one per row, scaled by standard deviations."""
        variance, axes = principal(self.ex.components.covariance[k])
        return axes * np.sqrt(variance)[:, None]

    def posterior(self, i: int) -> Array:
        """The outline of q(z|x) of an observation on the plane."""
        return self.outline(self.ex.z[i], np.diag(self.ex.encoding.sd[i] ** 2))

    def reconstruction(self, i: int) -> Array:
        """E[x|z] at the mean of q(z|x)."""
        return self.ex.decode(self.ex.z[i], k=int(self.ex.assignment[i]))

    def log_px(self, i: int) -> str:
        """log p(x) of an observation with its Monte Carlo error, as text; computed once."""
        if i not in self.evidence:
            one = self.ex.observation(i, particles=PARTICLES)
            self.evidence[i] = f"<b>{number(one.log_px)}</b> ± {number(one.log_px_se)} nats"
        return self.evidence[i]

    def ranked(self, kind: str) -> Integers:
        """The most "doubtful" observations, or those "far" from every component; computed once."""
        if kind not in self.ranks:
            count = min(RANKED, len(self.ex.x))
            self.ranks[kind] = self.ex.far(count) if kind == "far" else self.ex.doubtful(count)
        return self.ranks[kind]

    def facts(self) -> list[str]:
        """The facts in the header."""
        ex, c = self.ex, self.ex.components
        count = ex.z.shape[1]
        latents = ("1 latent", "2 latents", f"{count} latents, projected on a plane")[min(count, 3) - 1]
        used = f"{c.in_use:.1f} of {len(c)} components in use"
        return [f"{len(ex):,} rows", f"{ex.vae.prior!r}", latents, used]

    @cached_property
    def window(self) -> tuple[Array, Array]:
        """The lower and the upper corner of what the map shows."""
        shown = np.concatenate([np.quantile(self.points, [0.002, 0.998], axis=0), self._used()])
        low, high = shown.min(0), shown.max(0)
        return low - 0.04 * (high - low), high + 0.04 * (high - low)

    def _used(self) -> Array:
        """The outlines of the components that have data; an unused one may be very wide."""
        used = [o for o, count in zip(self.outlines, self.ex.components.hard, strict=True) if count]
        return np.concatenate(used) if used else self.points
