"""One slider for each latent, or each principal direction, with its traversal.

A slider shows where the point lies along its direction, in standard deviations from the mean of the
encodings, or from the mean of the component. Below it are E[x|z] at seven places along it, with all
other directions as they are. A click on one of them moves the slider there.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.app import look
from pyrovae.app.files import pictures_svg
from pyrovae.app.frame import Card, Picture
from pyrovae.app.gallery import Gallery, strip
from pyrovae.app.tables import changes, columns_of
from pyrovae.errors import InputError
from pyrovae.exploring.directions import Directions

if TYPE_CHECKING:
    from pyrovae.app.scene import Scene
    from pyrovae.app.session import Session
    from pyrovae.datasets import Rows

__all__ = ["SlidersCard"]

MOST, ALL = 8, 64  # sliders at first, and on request
REACH = 3.0
PLACES = np.linspace(-REACH, REACH, 7)
WAIT, REST = 12, 120  # milliseconds: between two moves of a slider, and until the strips are drawn
NONE = "The latents are not real vectors, so that there are no directions along which a slider could move."


class SlidersCard(Card):
    """The sliders and their traversals."""

    title = "Directions"

    def __init__(self, scene: Scene, session: Session) -> None:
        import panel as pn

        super().__init__(scene, session)
        self.busy = self.resting = False
        self.slid: tuple[int, float] | None = None
        if not scene.ex.real:
            self.view = pn.pane.HTML(NONE, sizing_mode="stretch_width", margin=0, stylesheets=[look.HTML])
            return
        self.kind = session.choices.get("directions", next(iter(self._kinds().values())))
        self.note = pn.pane.HTML("", margin=0, sizing_mode="stretch_width", stylesheets=[look.HTML])
        self.body = pn.Column(sizing_mode="stretch_width", margin=0)
        kinds = look.select(self._kinds(), self.kind, self._ask, ("directions",))
        kinds.width = 190
        self.view = pn.Column(
            pn.FlexBox(kinds, margin=(0, 0, 6, 0)),
            self.note,
            self.body,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._fill(min(session.choices.get("sliders", MOST), scene.ex.visible))

    def _fill(self, count: int) -> None:
        """Make this number of sliders."""
        import panel as pn

        self.session.choices["sliders"] = count
        self.sliders = [self._slider(i) for i in range(count)]
        self.strips = [Gallery(partial(self._clicked, i), [f"strip{i}"]) for i in range(count)]
        rows: list[Any] = [
            pn.Column(slider, one.view, sizing_mode="stretch_width", margin=(0, 0, 10, 0))
            for slider, one in zip(self.sliders, self.strips, strict=True)
        ]
        every = min(self.scene.ex.visible, ALL)
        if count < every:
            more = partial(self.soon, partial(self._fill, every))
            rows.append(look.button(f"Show {every}", more, small=True, names=("more",)))
        self.body.objects = rows
        self._choose(self.kind)

    def _kinds(self) -> dict[str, str]:
        mixture = self.scene.mixture
        kinds = {"latents": "latent", "principal directions": "principal"}
        if mixture is not None and not mixture.classed:
            return {"axes of the component": "component"} | kinds
        return kinds

    def _slider(self, i: int) -> Any:  # noqa: ANN401
        import panel as pn

        slider = pn.widgets.FloatSlider(
            name="", start=-REACH, end=REACH, step=0.1, value=0.0, sizing_mode="stretch_width",
            margin=(8, 10, 8, 8), format="+0.0", tooltips=False, css_classes=[f"axis{i}"],
            stylesheets=[look.SLIDER],
        )  # fmt: skip
        slider.param.watch(partial(self._slid, i), "value")
        return slider

    # ---------------------------------------------------------------- directions

    def _ask(self, kind: str) -> None:
        self.soon(partial(self._choose, kind))

    def _choose(self, kind: str) -> None:
        ex, k = self.scene.ex, self.session.component
        self.kind = self.session.choices["directions"] = kind
        every: Directions = ex.axes(k) if kind == "component" else ex.directions(kind)  # type: ignore[arg-type]
        self.along = every.largest(len(self.sliders))
        for slider, name in zip(self.sliders, self.along.names, strict=True):
            slider.name = name
        of = f"from the mean of component {k}" if kind == "component" else "from the mean of the encodings"
        some = f"; the {len(self.along)} largest of {len(every)}" if len(every) > len(self.along) else ""
        self.note.object = f"<small>in standard deviations {of}{some}</small>"
        self.moved()

    # ---------------------------------------------------------------- the point

    def chose(self) -> None:
        """Take the axes of another component."""
        if self.scene.ex.real and self.kind == "component":
            self._choose(self.kind)

    def show(self, rows: Rows, name: str) -> None:
        """A row does not move the point."""

    def moved(self) -> None:
        """Show where the point lies along each direction."""
        if not self.scene.ex.real:
            return
        self.exact = self.along.place(self.session.z)
        self.busy = True
        for slider, place in zip(self.sliders, self.exact, strict=True):
            slider.value = float(np.clip(round(place, 1), -REACH, REACH))
        self.busy = False
        self.shown = [slider.value for slider in self.sliders]
        self._rest()

    def _slid(self, i: int, event: Any) -> None:  # noqa: ANN401
        if self.busy:
            return
        idle = self.slid is None
        self.slid = i, float(event.new)
        if idle:
            self.soon(self._follow, wait=WAIT)

    def _follow(self) -> None:
        slid, self.slid = self.slid, None
        if slid is not None:
            self.slide(*slid)

    def forget(self) -> None:
        """Drop a move of a slider that is not answered yet: a later choice counts."""
        self.slid = None

    def slide(self, i: int, value: float) -> None:
        """Move the point along direction i to a value of its slider."""
        rounded = self.exact[i] - self.shown[i]  # the slider rounds; where it started is kept exactly
        to = value + rounded if abs(rounded) < 0.051 else value
        z = self.along.put(self.session.z, i, to)
        exact, shown = self.exact.copy(), list(self.shown)
        self.session.move(z, f"moved along {self.along.names[i]}")
        exact[i], shown[i] = to, value  # the others do not change
        self.exact, self.shown = exact, shown

    def _clicked(self, i: int, key: str) -> None:
        self.soon(partial(self.slide, i, float(key)))

    # ---------------------------------------------------------------- traversals

    def _rest(self) -> None:
        """Draw the traversals when the point rests."""
        if not self.resting:
            self.resting = True
            self.soon(self._draw, wait=REST)

    def traversals(self) -> np.ndarray:
        """The latents of the traversals, (R, S, D)."""
        z = self.session.z
        return np.stack([self.along.put(z, i, PLACES) for i in range(len(self.along))])

    def _draw(self) -> None:
        self.resting = False
        decoded, pictures = self.session.decode(self.traversals()), self.scene.pictures
        names = [f"{place:+.0f} standard deviations" for place in PLACES]
        columns, scale = columns_of(self.scene.ex), self.scene.scale
        for one, x in zip(self.strips, decoded, strict=True):
            if columns is not None:
                one.put(changes(x, scale, columns))
            elif pictures.together:
                source = pictures.sources(x)[0]
                one.put(f'<img src="{source}" width="{pictures.size(120)[0]}" alt="">')
            else:
                one.put(strip([pictures.source(each) for each in x], list(PLACES), names))

    def code(self) -> str:
        """Python that decodes the traversals."""
        if not self.scene.ex.real:
            return self.scene.code()
        k = self.session.component
        of = f"ex.axes({k})" if self.kind == "component" else f"ex.directions({self.kind!r})"
        return self.scene.code(
            f"along = {of}.largest({len(self.along)})",
            f"z = {self.session.literal()}",
            f"steps = np.linspace(-{REACH:g}, {REACH:g}, {len(PLACES)})",
            "traversals = np.stack([along.put(z, i, steps) for i in range(len(along))])",
            f"x = ex.decode(traversals{self.session.reads()})",
            "print(along.names, along.place(z), x.shape)",
        )

    def picture(self) -> Picture:
        """The traversals, in one file."""
        if not self.scene.ex.real:
            raise InputError(NONE[:1].lower() + NONE[1:-1])
        decoded = self.session.decode(self.traversals())
        pictures = self.scene.pictures
        shown = {name: pictures.sources(x) for name, x in zip(self.along.names, decoded, strict=True)}
        return Picture("directions.svg", pictures_svg(shown, pictures.shape))
