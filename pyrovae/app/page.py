"""One page of the app: where one stands, and what changes when one goes elsewhere.

    point       a place on the map, or a component's mean, moved by sliders -> its decoded picture
    datum       by its number, its dot, its doubt, its distance -> posterior, reconstruction, log p(x)
    component   a row of the table -> samples, nearest data, sliders

The sliders move away from where one stands: z = z0 + sum_i t_i sqrt(lambda_i) e_i, with the principal axes of
the chosen component, and z0 its mean until a click on the map puts it elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import numpy as np

from pyrovae.app import look
from pyrovae.app.component_views import ComponentCard, ComponentTable
from pyrovae.app.datum_views import datum_html, point_html
from pyrovae.app.latent_map import WAIT, LatentMap
from pyrovae.app.scene import Scene

__all__ = ["Page"]

LEFT, HEIGHT = 568, (396, 312)
SOON = 30  # milliseconds: long enough for the browser to show what is there already


class Page:
    """The page of one browser tab.

    Arguments:
        scene: what all pages share.
    """

    def __init__(self, scene: Scene) -> None:
        import panel as pn
        from bokeh.plotting import curdoc

        self.scene, self.ex, self.document = scene, scene.ex, curdoc()
        self.map = LatentMap(scene, (LEFT - 2, HEIGHT[0] - 46), self.go_to, self.show_datum)
        self.table = ComponentTable(
            scene, (LEFT - 18, HEIGHT[1] - 12), lambda k: self._soon(partial(self.show_component, k))
        )
        self.card = ComponentCard(scene, (634, HEIGHT[1] - 26), self.slide)
        self.point = pn.pane.HTML("", width=190, margin=0, stylesheets=[look.HTML])
        self.datum = pn.pane.HTML("", width=418, margin=0, stylesheets=[look.HTML])
        self.turns = {"doubtful": 0, "far": 0}
        self.number = self._number()
        self.moved: np.ndarray | None = None
        self.shown = -1
        self.show_component(int(np.argmax(self.ex.components.hard)))
        self.show_datum(0)

    # ---------------------------------------------------------------- a point

    def go_to(self, place: np.ndarray) -> None:
        """Stand at a place (2,) of the map, and decode it."""
        self.base = self.ex.map.to_latent(place)
        self.card.rest("from the place on the map")
        self._decode(self.base, "a place on the map")

    def slide(self, steps: np.ndarray) -> None:
        """Move away from where one stands, in standard deviations along the first principal axes."""
        idle, self.moved = self.moved is None, steps
        if idle:
            self.document.add_timeout_callback(self._slid, WAIT)

    def _slid(self) -> None:
        steps, self.moved = self.moved, None
        if steps is not None:
            z = self.base + steps @ self.scene.axes(self.component)[: len(steps)]
            self._decode(z, f"moved along the axes of component {self.component}")

    def _decode(self, z: np.ndarray, where: str) -> None:
        self.map.point(self.scene.place(z))
        self.point.object = point_html(self.scene, z, self.component, where)

    # ---------------------------------------------------------------- a component

    def show_component(self, k: int) -> None:
        """Choose a component, and stand at its mean."""
        self.component, self.base = k, self.ex.components.mean[k]
        self.table.choose(k)
        self.map.component(k)
        self.card.choose(k)
        self.card.rest(f"from the mean of component {k}")
        self._decode(self.base, f"the mean of component {k}")

    # ---------------------------------------------------------------- a datum

    def show_datum(self, i: int) -> None:
        """Choose a datum; its log p(x) follows when it has been computed."""
        self.shown = i
        self.number.value = i
        self.map.datum(self.scene.points[i], self.scene.posterior(i))
        known = self.scene.evidence.get(i)
        self._describe(i, known or "<small>drawing …</small>")
        if known is None:
            self.document.add_timeout_callback(partial(self._weigh, i), SOON)

    def _weigh(self, i: int) -> None:
        if i == self.shown:  # nobody waits for one that was passed over
            self._describe(i, self.scene.weigh(i))

    def _describe(self, i: int, evidence: str) -> None:
        self.datum.object = datum_html(self.scene, i, evidence)

    def _number(self) -> Any:  # noqa: ANN401
        import panel as pn

        last = len(self.ex.x) - 1
        field = pn.widgets.IntInput(
            value=0, start=0, end=last, width=84, margin=0, css_classes=["number"], stylesheets=[look.FIELD]
        )
        field.param.watch(self._typed, "value")
        return field

    def _typed(self, event: Any) -> None:  # noqa: ANN401
        if event.new is not None and event.new != self.shown:
            self._soon(partial(self.show_datum, int(event.new)))

    def next_of(self, kind: str) -> None:
        """Go on to the next of the most doubtful data, or of those that are far from everything."""
        turn = self.turns[kind]
        found = self.scene.ranked(kind)
        self.turns[kind] = (turn + 1) % len(found)
        self.show_datum(int(found[turn]))

    def next_far(self) -> None:
        """The next datum of low log p(x); the first call weighs all of them."""
        if "far" not in self.scene.ranks:
            self._describe(self.shown, "<small>weighing all data …</small>")
        self.document.add_timeout_callback(partial(self.next_of, "far"), SOON)

    def _soon(self, action: Callable[[], None]) -> None:
        """Panel tells of its widgets without the document's lock, under which alone the map may change."""
        self.document.add_next_tick_callback(action)

    # ---------------------------------------------------------------- the whole

    def view(self) -> Any:  # noqa: ANN401
        """The page."""
        import panel as pn

        upper, lower = HEIGHT
        left = pn.Column(
            _card(self._map_head(), self.map.figure, width=LEFT, height=upper, padding="0"),
            _card(self.table.view, width=LEFT, height=lower, padding="6px 8px 4px"),
            margin=0,
        )
        point = _card(_title("Point"), self.point, width=214, height=upper)
        datum = _card(self._datum_head(), self.datum, width=442, height=upper)
        right = pn.Column(
            pn.Row(point, pn.Spacer(width=12), datum, margin=0),
            _card(self.card.view, width=668, height=lower),
            margin=0,
        )
        body = pn.Row(left, pn.Spacer(width=12), right, margin=0)
        return pn.Column(self._header(), body, width=1248, margin=0, styles={"margin": "0 auto"})

    def _header(self) -> Any:  # noqa: ANN401
        import panel as pn

        facts = "".join(f"<span>{escape(fact)}</span>" for fact in self.scene.facts())
        text = f"<h1>{escape(self.scene.title)}</h1>{facts}"
        return pn.pane.HTML(text, width=1240, height=24, margin=(12, 4, 10, 4), stylesheets=[look.HEADER])

    def _map_head(self) -> Any:  # noqa: ANN401
        import panel as pn

        note = "click or drag to decode · wheel zooms · double click resets"
        head = _title("Latent space", note, width=410)
        head.margin = (10, 0, 0, 14)
        row = pn.Row(head, pn.HSpacer(), margin=0, height=38, width=LEFT - 2)
        if self.scene.by_label is not None:
            row.append(self._colouring(head, self.scene.by_label))
        return row

    def _colouring(self, head: Any, labels: list[str]) -> Any:  # noqa: ANN401
        """The choice of what the dots' colours mean; those of labels are explained in the head."""
        import panel as pn

        kinds = {
            "component": (self.scene.by_component, head.object),
            "label": (labels, f"<h2>Latent space</h2> &nbsp;{self.scene.legend()}"),
        }
        choice = pn.widgets.RadioButtonGroup(
            options=list(kinds), value="component", margin=(6, 10, 0, 0), stylesheets=[look.BUTTON]
        )

        def show(colours: list[str], html: str) -> None:
            self.map.colour(colours, components=colours is self.scene.by_component)
            head.object = html

        choice.param.watch(lambda event: self._soon(partial(show, *kinds[event.new])), "value")
        return choice

    def _datum_head(self) -> Any:  # noqa: ANN401
        import panel as pn

        doubtful = _button("Most doubtful", lambda: self._soon(partial(self.next_of, "doubtful")))
        far = _button("Farthest", lambda: self._soon(self.next_far))
        title = _title("Datum", width=54)
        title.margin = (5, 0, 0, 0)
        buttons = (self.number, pn.HSpacer(), doubtful, far)
        return pn.Row(title, *buttons, margin=(0, 0, 10, 0), width=418)


def _card(*content: Any, width: int, height: int, padding: str = "12px") -> Any:  # noqa: ANN401
    import panel as pn

    return pn.Column(
        *content, width=width, height=height, margin=(0, 0, 12, 0), css_classes=["card"],
        styles={"padding": padding}, stylesheets=[look.CARD],
    )  # fmt: skip


def _title(text: str, note: str = "", *, width: int = 190) -> Any:  # noqa: ANN401
    import panel as pn

    html = f"<h2>{text}</h2>" + (f" &nbsp;<small>{note}</small>" if note else "")
    return pn.pane.HTML(html, width=width, margin=(0, 0, 8, 0), stylesheets=[look.HTML])


def _button(text: str, action: Callable[[], None]) -> Any:  # noqa: ANN401
    import panel as pn

    made = pn.widgets.Button(name=text, margin=(0, 0, 0, 6), stylesheets=[look.BUTTON])
    made.on_click(lambda event: action())
    return made
