"""The cards of the decoded point: its picture, the rows nearest to it, and a path to another."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.app import look
from pyrovae.app.files import pictures_svg
from pyrovae.app.frame import Card, Picture
from pyrovae.app.gallery import Gallery, grid, strip
from pyrovae.app.pictures import file_of, img
from pyrovae.app.scene import dot, number
from pyrovae.app.tables import columns_of, one_row, some_rows
from pyrovae.app.words import TIP, tip
from pyrovae.errors import InputError
from pyrovae.exploring.walks import Walk

if TYPE_CHECKING:
    from pyrovae.app.scene import Scene
    from pyrovae.app.session import Session
    from pyrovae.datasets import Rows

__all__ = ["NeighbourCard", "PathCard", "PointCard"]

NEAR = 12
STEPS = 9
FEW = 12  # latents that are listed


class PointCard(Card):
    """The decoded picture of the point, its log p(z), and its most probable components."""

    title = "Decoded point"

    def __init__(self, scene: Scene, session: Session) -> None:
        import panel as pn

        super().__init__(scene, session)
        self.view = pn.pane.HTML(
            "", sizing_mode="stretch_width", margin=0, stylesheets=[look.HTML, TIP], css_classes=["point"]
        )
        self.moved()

    def moved(self) -> None:
        """Decode the point."""
        session = self.session
        self.x = session.decode(session.z)
        columns = columns_of(self.scene.ex)
        size = self.scene.pictures.size(190)
        picture = img(self.scene.pictures.source(self.x), size, "decoded")
        if columns is not None:
            picture = one_row(self.x, columns)
        density = number(float(self.log_pz()), 1)
        facts = f"<p style='margin-top:0'>{escape(session.where)}</p>{''.join(self._components())}"
        facts += f'<div class="rule"></div>{_row(tip("log p(z)") + ", nats", density)}{self._latents()}'
        self.view.object = f'<div class="beside"><div>{picture}</div><div class="facts">{facts}</div></div>'

    def log_pz(self) -> float:
        """log p(z) of the point."""
        session, mixture = self.session, self.scene.mixture
        density = mixture.log_prob if mixture is not None else session.slice.log_prob
        return float(density(session.z[None])[0])

    def _components(self) -> list[str]:
        """The most probable components of the point."""
        mixture, colours = self.scene.mixture, self.scene.colours
        if mixture is None:
            return []
        k = self.session.component
        if mixture.classed:  # then z says nothing about the class
            return [_row(f"{dot(colours[k])}decoded as class {k}", "")]
        share = mixture.responsibilities(self.session.z[None])[0]
        likely = [j for j in np.argsort(-share)[:3] if share[j] >= 0.005]
        return [_row(f"{dot(colours[j])}component {j}", f"{100 * share[j]:.0f} %") for j in likely]

    def _latents(self) -> str:
        z = self.session.z
        shown = ", ".join(number(float(value)) for value in z[:FEW]) + (", …" if len(z) > FEW else "")
        return f"<p><small>z = ({shown})</small></p>"

    def code(self) -> str:
        """Python that decodes the point."""
        option = self.session.reads()
        at = option if option.startswith(", row=") else ""
        return self.scene.code(
            f"z = {self.session.literal()}",
            f"x = ex.decode(z{option})",
            f"log_pz = ex.log_pz(z[None]{at})[0]",
            "print(x, log_pz)",
        )

    def picture(self) -> Picture:
        """The decoded picture."""
        ending, content = file_of(self.scene.pictures.source(self.x))
        return Picture(f"point{ending}", content)


class NeighbourCard(Card):
    """The rows nearest to the point and to the chosen row; a click chooses one."""

    title = "Nearest rows"

    def __init__(self, scene: Scene, session: Session) -> None:
        super().__init__(scene, session)
        self.gallery = Gallery(self._clicked, ["neighbours"])
        self.view = self.gallery.view
        self.waiting = False
        self._draw()

    def moved(self) -> None:
        """Find the rows again, when the point rests."""
        if not self.waiting:
            self.waiting = True
            self.soon(self._draw, wait=80)

    def show(self, rows: Rows, name: str) -> None:
        """Find the rows nearest to another row."""
        self.moved()

    def _draw(self) -> None:
        self.waiting = False
        session = self.session
        of_row, of_point = self._found()
        least = 52 if self.scene.pictures.size(1000, 1000)[0] > 800 else 44
        least = 110 if len(self.scene.ex.vae.event_shape) != 3 else least

        def part(title: str, rows: np.ndarray) -> str:
            names = [f"row {self.scene.ex.index[i]}" for i in rows]
            columns = columns_of(self.scene.ex)
            if columns is not None:
                some = some_rows(self.scene.ex.x[rows], columns, rows.tolist(), names)
                return f"<p><small>{title}</small></p>{some}"
            sources = [self.scene.pictures.source(self.scene.ex.x[i]) for i in rows]
            return f"<p><small>{title}</small></p>{grid(sources, rows.tolist(), names, least)}"

        title = f"to {escape(session.chosen.name)}"
        self.gallery.put(part("to the point", of_point) + part(title, of_row))

    def _found(self) -> tuple[np.ndarray, np.ndarray]:
        ex, chosen = self.scene.ex, self.session.chosen
        count = min(NEAR, len(ex) - 1)
        if not count:
            return np.zeros(0, int), ex.neighbours(self.session.z, 1)
        at = chosen.index if chosen.index is not None else chosen.mean
        return ex.neighbours(at, count), ex.neighbours(self.session.z, count)

    def _clicked(self, key: str) -> None:
        self.soon(partial(self.session.choose_row, int(key)))

    def code(self) -> str:
        """Python that finds the rows."""
        chosen = self.session.chosen
        at = chosen.index if chosen.index is not None else self.session.literal(chosen.mean)
        count = min(NEAR, len(self.scene.ex) - 1)
        if not count:
            return self.scene.code(f"print(ex.neighbours({self.session.literal()}, 1))  # the only row")
        return self.scene.code(
            f"of_point = ex.neighbours({self.session.literal()}, {count})",
            f"of_row = ex.neighbours({at}, {count})",
            "print(ex.index[of_point], ex.index[of_row])",
        )

    def picture(self) -> Picture:
        """Both groups of rows, in one file."""
        of_row, of_point = self._found()
        groups = {"nearest to the point": of_point, f"nearest to {self.session.chosen.name}": of_row}
        shown = {title: self.scene.pictures.sources(self.scene.ex.x[rows]) for title, rows in groups.items()}
        return Picture("nearest.svg", pictures_svg(shown, self.scene.pictures.shape))


class PathCard(Card):
    """Steps from one point to another, straight and, for a mixture, where log p(z) is high."""

    title = "Path"

    def __init__(self, scene: Scene, session: Session) -> None:
        import panel as pn

        super().__init__(scene, session)
        self.ends: list[np.ndarray | None] = [None, None]
        self.walks: dict[str, Walk] = {}
        self.decoded_with = session.chosen, session.component
        self.gallery = Gallery(self._clicked, ["walks"])
        ask = [look.button(f"Point is {name}", partial(self._ask, i), small=True, names=(f"end{name}",))
               for i, name in enumerate("AB")]  # fmt: skip
        self.note = pn.pane.HTML(
            "Click on the map, then “Point is A”; click elsewhere, then “Point is B”.", margin=(0, 0, 6, 0),
            sizing_mode="stretch_width", stylesheets=[look.HTML],
        )  # fmt: skip
        parts: list[Any] = [pn.FlexBox(*ask, gap="6px", margin=(0, 0, 8, 0)), self.note, self.gallery.view]
        if not scene.ex.real:
            self.note.object = "The latents are not real vectors, so that there are no paths among them."
            parts = [self.note]
        self.view = pn.Column(*parts, sizing_mode="stretch_width", margin=0)

    @property
    def hows(self) -> tuple[str, ...]:
        """The kinds of paths: along the density, if there are several regions."""
        mixture = self.scene.mixture
        return ("straight",) if mixture is None or mixture.classed else ("straight", "density")

    def _ask(self, i: int) -> None:
        self.soon(partial(self.put, i))

    def put(self, i: int) -> None:
        """Make the point the start (0) or the end (1) of the path."""
        self.ends[i] = self.session.z
        self.note.object = f"{'AB'[i]} is {escape(self.session.where)}."
        first, last = self.ends
        if first is None or last is None:
            return
        ends = np.stack([first, last])
        self.decoded_with = self.session.chosen, self.session.component
        self.walks = {how: self.session.slice.path(ends, STEPS, how) for how in self.hows}  # type: ignore[arg-type]
        self._draw()
        dim = self.scene.ex.z.shape[1]
        self.session.walk([walk.z[:, :dim] for walk in self.walks.values()])

    def _draw(self) -> None:
        pictures, parts = self.scene.pictures, []
        for how, walk in self.walks.items():
            word = "straight" if how == "straight" else "where log p(z) is high"
            low = f"lowest {tip('log p(z)')} {number(float(walk.log_pz.min()), 1)} nats"
            parts.append(f"<p>{word} <small>· {low}</small></p>")
            columns = columns_of(self.scene.ex)
            if columns is not None:
                steps = [f"step {i}" for i in range(len(walk))]
                parts.append(some_rows(walk.x, columns, [f"{how}:{i}" for i in range(len(walk))], steps))
                continue
            if pictures.together:
                parts.append(img(pictures.sources(walk.x)[0], pictures.size(190), "walk"))
                continue
            sources = [pictures.source(x) for x in walk.x]
            keys = [f"{how}:{i}" for i in range(len(walk))]
            parts.append(strip(sources, keys, [f"step {i} of {STEPS - 1}" for i in range(len(walk))]))
        self.gallery.put("".join(parts))

    def _clicked(self, key: str) -> None:
        how, step = key.split(":")
        z = self.walks[how].z[int(step), : self.scene.ex.z.shape[1]]
        self.soon(partial(self.session.move, z, f"step {step} of the {how} path"))

    def code(self) -> str:
        """Python that makes the paths."""
        if not self.walks:
            example = ("walk = ex.path(0, 1)  # from row 0 to row 1", "print(walk)")
            return self.scene.code(*example if self.scene.ex.real else ())
        option = self.session.reads(*self.decoded_with)  # others may be chosen meanwhile
        first, last = (self.session.literal(end) for end in self.ends if end is not None)
        lines = [f"a = {first}", f"b = {last}"]
        for how in self.walks:
            call = f"ex.path(a, b, {STEPS}, {how!r}{option})"
            if option.startswith(", k="):
                call = f"ex.slice(0).of_class({option[4:]}).path(np.stack([a, b]), {STEPS}, {how!r})"
            lines += [f"walk = {call}", "print(walk)"]
        return self.scene.code(*lines)

    def picture(self) -> Picture:
        """The steps, in one file."""
        if not self.walks:
            raise InputError("no path is shown: choose its two ends first")
        pictures = self.scene.pictures
        shown = {how: pictures.sources(walk.x) for how, walk in self.walks.items()}
        return Picture("path.svg", pictures_svg(shown, pictures.shape))


def _row(left: str, right: str) -> str:
    return f'<div class="row"><span>{left}</span><span>{right}</span></div>'
