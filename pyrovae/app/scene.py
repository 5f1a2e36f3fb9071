"""The data that all pages of one run share, computed before the first page is opened.

They are the rows and the components on the plane of the map, their colours, and the pictures of
observations. Expensive values, above all log p(x), are computed when they are first needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.app.colours import mixed, of_classes, of_labels, of_numbers
from pyrovae.app.pictures import Pictures, cells, pictures_of
from pyrovae.exploring.mixture import Mixture
from pyrovae.exploring.projection import Projection
from pyrovae.numerics import Array, as_array

if TYPE_CHECKING:
    from pyrovae.app.chosen import Chosen
    from pyrovae.exploring import Exploration
    from pyrovae.exploring.agreement import Integers
    from pyrovae.vae import VAE

__all__ = ["Scene", "dot", "number"]

REACH = 2.0
PARTICLES = 1000
RANKED = 100
LEGEND = 12
PAIRS = 8  # latents of which pairs are offered as axes

Axes = str | tuple[int, int]


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
        run: the run folder or model file, for copied code; empty for a VAE from memory.
        preamble: lines of Python that make `vae` and `ex` again.
        before: the scene of which this one is an edit.
    """

    def __init__(
        self,
        ex: Exploration,
        title: str,
        run: str = "",
        preamble: tuple[str, ...] = (),
        before: Scene | None = None,
    ) -> None:
        self.ex, self.title, self.run = ex, title, run
        self.preamble = preamble or MEMORY
        self.pictures: Pictures = pictures_of(ex.x, ex.vae.schema) if before is None else before.pictures
        self.mixture: Mixture | None = getattr(ex.reader, "mixture", None)
        self.colours = of_classes(0 if self.mixture is None else len(self.mixture))
        self.planes: dict[Axes, Projection] = {}
        self.is_edited = before is not None
        if before is not None:  # the map keeps its axes, so that an edit moves no dot
            self.planes["map"] = _with_mixture(before.plane("map"), self.mixture)
        self.ranks: dict[str, Integers] = {}

    def edited(self, vae: VAE, call: str) -> Scene:
        """The same rows with a VAE whose mixture was changed by a call, which is Python."""
        lines = (
            *(self.preamble if self.is_edited else (*self.preamble, "plane = ex.map  # as before the edits")),
            f"vae = {call}.vae",
            "ex = ex.with_vae(vae)",
        )
        return Scene(self.ex.with_vae(vae), self.title, self.run, lines, before=self)

    # ---------------------------------------------------------------- the map

    def plane(self, axes: Axes) -> Projection:
        """The plane of the map: "map", "principal", or a pair of latents."""
        if axes not in self.planes:
            self.planes[axes] = self.ex.map if axes == "map" else self.ex.plane(axes)  # type: ignore[arg-type]
        return self.planes[axes]

    def plane_code(self, axes: Axes) -> str:
        """Python for a plane."""
        if axes != "map":
            return f"ex.plane({axes!r})"
        return "replace(plane, mixture=ex.reader.mixture)" if self.is_edited else "ex.map"

    def axes(self) -> dict[str, Axes]:
        """The planes that can be chosen, by name."""
        count, named = self.ex.z.shape[1], self.mixture is not None and not self.mixture.classed
        if count <= 2:
            return {"latent space": "map"}
        planes: dict[str, Axes] = {"best separation": "map"} if named else {}
        planes["principal axes"] = "principal"
        order = sorted(int(i) for i in np.argsort(-self.ex.z[:, : self.ex.visible].var(0))[:PAIRS])
        pairs = [(i, j) for place, i in enumerate(order) for j in order[place + 1 :]]
        return planes | {f"z{i} and z{j}": (i, j) for i, j in pairs}

    def dots(self, axes: Axes) -> Array:
        """The rows on a plane, (N, 2)."""
        points = self.plane(axes).to_plane(self.ex.z)
        if self.ex.z.shape[1] == 1:  # a line of dots would hide how many there are
            points[:, 1] += 0.2 * self.ex.z.std() * np.random.default_rng(0).standard_normal(len(points))
        return points

    def outlines(self, axes: Axes) -> list[Array]:
        """Each component on a plane, as an outline (S, 2)."""
        m = self.mixture
        if m is None:
            return []
        return [self.outline(axes, *one) for one in zip(m.mean, m.covariance, strict=True)]

    def outline(self, axes: Axes, mean: Array, covariance: Array) -> Array:
        """The ellipse of two standard deviations of a Gaussian, projected on a plane, (S, 2)."""
        middle, spread = self.plane(axes).ellipse(mean, covariance)
        if len(mean) == 1:  # a line has no height to draw
            spread = spread + np.diag([0.0, spread[0, 0]])
        variance, basis = np.linalg.eigh(spread)
        turn = np.linspace(0, 2 * np.pi, 73)
        circle = np.stack([np.cos(turn), np.sin(turn)], 1)
        return middle + REACH * circle * np.sqrt(variance.clip(0)) @ basis.T

    def window(self, axes: Axes) -> tuple[Array, Array]:
        """The lower and the upper corner of what the map shows."""
        shown = np.quantile(self.dots(axes), [0.002, 0.998], axis=0)
        if self.mixture is not None:  # an unused component may be very wide
            used = [o for o, n in zip(self.outlines(axes), self.ex.components.hard, strict=True) if n]
            shown = np.concatenate([shown, *used])
        low, high = shown.min(0), shown.max(0)
        room = np.maximum(0.04 * (high - low), 1e-6)
        return low - room, high + room

    @property
    def largest(self) -> int:
        """The component with the most rows; 0 without components."""
        return 0 if self.mixture is None else int(np.argmax(self.ex.components.hard))

    # ---------------------------------------------------------------- colours

    @cached_property
    def colourings(self) -> dict[str, tuple[list[str], str]]:
        """What the colours of the dots can mean: (N,) colours and a legend as HTML."""
        known: dict[str, tuple[list[str], str]] = {}
        if self.mixture is not None:
            known["component"] = mixed(self.colours, self.ex.responsibilities), ""
        if self.ex.labels is not None:
            known["label"] = self._by_value(
                self.ex.labels, [self.label(v) for v in np.unique(self.ex.labels)]
            )
        context = self._context()
        if context is not None:
            known["context"] = context
        if not known:
            known["none"] = [PLAIN] * len(self.ex), ""
        return known

    def by_log_px(self) -> tuple[list[str], str]:
        """The colours of log p(x), from low to high, and their legend."""
        values = np.asarray(self.ex.log_px, dtype=float)
        low, high = np.quantile(values[np.isfinite(values)], [0.02, 0.98])
        return of_numbers(values, low, high), _scale(f"{number(low, 1)}", f"{number(high, 1)} nats")

    def _by_value(self, values: Any, names: list[str]) -> tuple[list[str], str]:  # noqa: ANN401
        unique, index = np.unique(values, return_inverse=True)
        colours = of_labels(len(unique))
        few = " ".join(f"<span>{dot(c)}{escape(name)}</span>" for c, name in zip(colours, names, strict=True))
        return [colours[i] for i in index], few if len(unique) <= LEGEND else f"{len(unique)} values"

    def _context(self) -> tuple[list[str], str] | None:
        """Colours of a context that is a class or a number."""
        if self.ex.rows.context is None:
            return None
        context = as_array(self.ex.rows.context, float).reshape(len(self.ex), -1)
        if context.shape[1] > 1 and np.allclose(context.sum(1), 1) and np.isin(context, (0, 1)).all():
            index, words = context.argmax(1), self._context_words(context.shape[1])
            return self._by_value(index, [words[i] if words else str(i) for i in np.unique(index)])
        if context.shape[1] == 1:
            low, high = np.quantile(context, [0.02, 0.98])
            return of_numbers(context[:, 0], low, high), _scale(*self._context_numbers(low, high))
        return None

    def _context_words(self, count: int) -> Sequence[str] | None:
        """What the entries of a one-hot context stand for, if it is known."""
        schema = self.ex.vae.schema
        if schema is None:
            return None
        if schema.context_columns is not None:
            words = schema.context_columns[0].column.levels
        else:
            words = schema.class_names if schema.context == "labels" else None
        return words if words is not None and len(words) == count else None

    def _context_numbers(self, *values: float) -> list[str]:
        """Numbers of a context of one column, in the user's unit."""
        schema = self.ex.vae.schema
        if schema is None or schema.context_columns is None:
            return [number(value) for value in values]
        one = schema.context_columns[0]
        return [cells([one.mean + one.spread * value], [one.column])[0] for value in values]

    def label(self, value: int) -> str:
        """A label in words, if the data name their classes."""
        schema = self.ex.vae.schema
        names = None if schema is None else schema.class_names
        return str(names[value]) if names and 0 <= value < len(names) else str(value)

    # ---------------------------------------------------------------- rows

    def ranked(self, kind: str) -> Integers:
        """The most "doubtful" observations, or those with the lowest log p(x); computed once."""
        if kind not in self.ranks:
            count = min(RANKED, len(self.ex.x))
            self.ranks[kind] = self.ex.far(count) if kind == "far" else self.ex.doubtful(count)
        return self.ranks[kind]

    @cached_property
    def scale(self) -> Array:
        """The unit of each element of x, (*event)."""
        return self.ex.reader.scale(self.ex.rows)

    def follows_row(self, old: Chosen, new: Chosen) -> bool:
        """Whether the decoder reads something of the chosen row besides z, which has changed."""
        if self.mixture is not None:
            return False
        same_tail = np.array_equal(old.slice.tail, new.slice.tail)
        return not same_tail or _differs(old.slice.context, new.slice.context)

    def facts(self) -> list[str]:
        """The facts in the header."""
        ex, count = self.ex, self.ex.z.shape[1]
        facts = [f"{len(ex):,} rows", f"{ex.vae.prior!r}", f"{count} latent{'s' if count > 1 else ''}"]
        if self.mixture is not None:
            facts.append(f"{ex.components.in_use:.1f} of {len(ex.components)} components in use")
        return facts

    # ---------------------------------------------------------------- code

    def code(self, *lines: str) -> str:
        """Python that makes `vae` and `ex` again, followed by lines that use them."""
        return "\n".join([*self.preamble, *lines]) + "\n"


PLAIN = "#6b8fb0"
MEMORY = (
    "import numpy as np",
    "import pyrovae as pv",
    "",
    "# vae and data: those that you gave to pv.explore",
    "ex = pv.explore(vae, data)",
)


def _scale(low: str, high: str) -> str:
    return f'{low} <span class="scale"></span> {high}'


def _differs(old: Any, new: Any) -> bool:  # noqa: ANN401
    return old is not None and not bool((old == new).all())


def _with_mixture(plane: Projection, mixture: Mixture | None) -> Projection:
    assert mixture is not None
    return replace(plane, mixture=mixture)
