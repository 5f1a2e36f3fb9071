"""One page of the app: the chosen point, observation and component, and what each of them changes.

    point        a point of the map, or a component's mean, moved by sliders -> its decoded picture
    observation  by number, dot, doubt or distance -> posterior, reconstruction, log p(x)
    component    a row of the table -> samples, nearest data, sliders

The sliders move the point: z = z0 + sum_i t_i sqrt(lambda_i) e_i, with the principal axes of the
chosen component. z0 is its mean until a click on the map chooses another point.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import numpy as np

from pyrovae.app import look
from pyrovae.app.component_views import ComponentCard, ComponentTable
from pyrovae.app.latent_map import WAIT, LatentMap
from pyrovae.app.observation_views import observation_html, point_html
from pyrovae.app.scene import Scene

__all__ = ["Page"]

LEFT, HEIGHT = 568, (396, 312)
SOON = 30  # milliseconds: the browser shows the first results before more are computed


class Page:
    """The page of one browser tab.

    Arguments:
        scene: the data that all pages share.
    """

    def __init__(self, scene: Scene) -> None:
        import panel as pn
        from bokeh.plotting import curdoc

        self.scene, self.ex, self.document = scene, scene.ex, curdoc()
        self.map = LatentMap(scene, (LEFT - 2, HEIGHT[0] - 46), self.go_to, self.show_observation)
        self.table = ComponentTable(
            scene, (LEFT - 18, HEIGHT[1] - 12), lambda k: self._soon(partial(self.show_component, k))
        )
        self.card = ComponentCard(scene, (634, HEIGHT[1] - 26), self.slide)
        self.point = pn.pane.HTML("", width=190, margin=0, stylesheets=[look.HTML])
        self.observation = pn.pane.HTML("", width=418, margin=0, stylesheets=[look.HTML])
        self.turns = {"doubtful": 0, "far": 0}
        self.number = self._number()
        self.moved: np.ndarray | None = None
        self.shown = -1
        self.show_component(int(np.argmax(self.ex.components.hard)))
        self.show_observation(0)

    # ---------------------------------------------------------------- a point

    def go_to(self, place: np.ndarray) -> None:
        """Move the point to (2,) on the map, and decode it."""
        self.base = self.ex.map.to_latent(place)
        self.card.rest("from the place on the map")
        self._decode(self.base, "a place on the map")

    def slide(self, steps: np.ndarray) -> None:
        """Move the point, in standard deviations along the first principal axes."""
        idle, self.moved = self.moved is None, steps
        if idle:
            self.document.add_timeout_callback(self._slid, WAIT)

    def _slid(self) -> None:
        steps, self.moved = self.moved, None
        if steps is not None:
            z = self.base + steps @ self.scene.axes(self.component)[: len(steps)]
            self._decode(z, f"moved along the axes of component {self.component}")

    def _decode(self, z: np.ndarray, where: str) -> None:
        self.moved = self.map.latest = None  # an older move, not yet answered, must not undo this one
        self.map.point(self.ex.map.to_plane(z))
        self.point.object = point_html(self.scene, z, self.component, where)

    # ---------------------------------------------------------------- a component

    def show_component(self, k: int) -> None:
        """Choose a component, and move the point to its mean."""
        self.component, self.base = k, self.ex.components.mean[k]
        self.table.choose(k)
        self.map.component(k)
        self.card.choose(k)
        self.card.rest(f"from the mean of component {k}")
        self._decode(self.base, f"the mean of component {k}")

    # ---------------------------------------------------------------- an observation

    def show_observation(self, i: int) -> None:
        """Choose an observation; its log p(x) is shown as soon as it is computed."""
        self.shown = i
        self.number.value = i
        self.map.observation(self.scene.points[i], self.scene.posterior(i))
        known = self.scene.evidence.get(i)
        self._describe(i, known or "<small>sampling …</small>")
        if known is None:
            self.document.add_timeout_callback(partial(self._show_log_px, i), SOON)

    def _show_log_px(self, i: int) -> None:
        if i == self.shown:  # another one may have been chosen meanwhile
            self._describe(i, self.scene.log_px(i))

    def _describe(self, i: int, evidence: str) -> None:
        self.observation.object = observation_html(self.scene, i, evidence)

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
            self._soon(partial(self.show_observation, int(event.new)))

    def next_of(self, kind: str) -> None:
        """Show the next of the most doubtful observations, or of those far from every component."""
        turn, ranked = self.turns[kind], self.scene.ranked(kind)
        self.turns[kind] = (turn + 1) % len(ranked)
        self.show_observation(int(ranked[turn]))

    def next_far(self) -> None:
        """Show the observation with the next lowest log p(x); the first call computes all."""
        if "far" not in self.scene.ranks:
            self._describe(self.shown, "<small>log p(x) of all rows …</small>")
        self.document.add_timeout_callback(partial(self.next_of, "far"), SOON)

    def _soon(self, action: Callable[[], None]) -> None:
        """Run an action with the lock of the document, which the map needs."""
        self.document.add_next_tick_callback(action)

    # ---------------------------------------------------------------- layout

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
        observation = _card(self._observation_head(), self.observation, width=442, height=upper)
        right = pn.Column(
            pn.Row(point, pn.Spacer(width=12), observation, margin=0),
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
        """Buttons that choose the meaning of the dots' colours; `head` shows the legend."""
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

    def _observation_head(self) -> Any:  # noqa: ANN401
        import panel as pn

        doubtful = _button("Most doubtful", lambda: self._soon(partial(self.next_of, "doubtful")))
        far = _button("Farthest", lambda: self._soon(self.next_far))
        title = _title("Observation", width=88)
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

    button = pn.widgets.Button(name=text, margin=(0, 0, 0, 6), stylesheets=[look.BUTTON])
    button.on_click(lambda event: action())
    return button
