"""The map of the latent space: rows, components, the decoded point and the chosen row.

A click or a drag chooses the point to decode, and a click on a dot also chooses its row. Where the
latents are not real vectors, a click chooses the nearest row. The wheel scrolls the page; with Ctrl
it zooms, as two fingers do, and so do the buttons. During a drag only the latest point is decoded.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.app import look
from pyrovae.app.drawn_map import map_svg
from pyrovae.app.frame import Card, Picture
from pyrovae.app.look import ACCENT, DARK
from pyrovae.app.words import TIP, tip
from pyrovae.numerics import Array

if TYPE_CHECKING:
    from pyrovae.app.scene import Scene
    from pyrovae.app.session import Session
    from pyrovae.datasets import Rows

__all__ = ["MapCard"]

TOUCH = 6.0  # pixels
WAIT = 12  # milliseconds
MANY = 20
GREY = "#8a8a86"
SIZE = (620, 460)
HINT = "Click or drag to decode; click a dot to choose its row. Ctrl + wheel or two fingers zoom."
NEAREST = (
    "The latents are not real vectors, so that most places of the map cannot be decoded: a click chooses "
    "the nearest row."
)


class MapCard(Card):
    """The figure, its events, and the choice of its axes and colours."""

    title = "Latent space"

    def __init__(self, scene: Scene, session: Session) -> None:
        import panel as pn

        super().__init__(scene, session)
        self.latest: Array | None = None
        self.axes = session.choices.setdefault("axes", next(iter(scene.axes().values())))
        self.colour = session.choices.setdefault("colour", next(iter(scene.colourings)))
        self._read_plane()
        self.figure = self._figure()
        self._draw_scene()
        self._draw_places()
        events = {"tap": self._tap, "pan": self._drag, "doubletap": lambda event: self.whole_map()}
        for event, handler in events.items():
            self.figure.on_event(event, partial(self._guarded, handler))
        self.legend = pn.pane.HTML(
            "", margin=(6, 0, 0, 0), sizing_mode="stretch_width", stylesheets=[look.HTML, TIP],
            css_classes=["legend"],
        )  # fmt: skip
        note = HINT if scene.ex.real else NEAREST
        hint = pn.pane.HTML(
            f"<small>{note}</small>", margin=0, sizing_mode="stretch_width", stylesheets=[look.HTML]
        )
        self.view = pn.Column(
            self._controls(), self.figure, self.legend, hint, sizing_mode="stretch_width", margin=0
        )
        self._colour(self.colour)
        self.moved()
        self.chose()

    def _controls(self) -> Any:  # noqa: ANN401
        import panel as pn

        planes = self.scene.axes()
        colours = [*self.scene.colourings, "log p(x)"]
        zooms = (("+", 0.7, "zoom in"), ("−", 1 / 0.7, "zoom out"))
        zoom = [look.button(text, partial(self.zoom, by), small=True, tip=name) for text, by, name in zooms]
        whole = look.button("Whole", self.whole_map, small=True, tip="show the whole map")
        parts = [look.select(colours, self.colour, self._ask_colour, ("colour",)), *zoom, whole]
        if len(planes) > 1:
            parts.insert(0, look.select(planes, self.axes, self._ask_axes, ("axes",)))
        return pn.FlexBox(*parts, gap="6px", margin=(0, 0, 8, 0), align_items="center")

    # ---------------------------------------------------------------- what has changed

    def moved(self) -> None:
        """Mark the point that is decoded."""
        x, y = self.plane.to_plane(self.session.z)
        self.marks["point"].data = {"x": [x], "y": [y]}

    def show(self, rows: Rows, name: str) -> None:
        """Mark the chosen row, and draw q(z|x) as an outline."""
        chosen = self.session.chosen
        place = self.plane.to_plane(chosen.mean) if chosen.index is None else self.points[chosen.index]
        outline = self.scene.outline(self.axes, chosen.mean, np.diag(chosen.sd**2))
        self.marks["observation"].data = {"x": [place[0]], "y": [place[1]]}
        self.marks["posterior"].data = {"x": outline[:, 0], "y": outline[:, 1]}

    def chose(self) -> None:
        """Mark the chosen component."""
        if self.outlines:
            outline = self.outlines[self.session.component]
            self.marks["component"].data = {"x": outline[:, 0], "y": outline[:, 1]}

    def walked(self) -> None:
        """Draw the paths between two points."""
        lines = [self.plane.to_plane(z) for z in self.session.paths]
        places = [line[at] for line in lines[:1] for at in (0, -1)]
        self.marks["paths"].data = {"x": [line[:, 0] for line in lines], "y": [line[:, 1] for line in lines]}
        self.marks["ends"].data = {
            "x": [p[0] for p in places], "y": [p[1] for p in places], "text": ["A", "B"][: len(places)]
        }  # fmt: skip

    # ---------------------------------------------------------------- axes and colours

    def _ask_axes(self, axes: Any) -> None:  # noqa: ANN401
        self.soon(partial(self._turn, axes))

    def _turn(self, axes: Any) -> None:  # noqa: ANN401
        self.axes = self.session.choices["axes"] = axes
        self._read_plane()
        self.dots.data = dict(self.dots.data) | {"x": self.points[:, 0], "y": self.points[:, 1]}
        if self.outlines:
            self.ellipses.data = dict(self.ellipses.data) | self._corners()
            x, y = self._middles()
            self.numbers.data = dict(self.numbers.data) | {"x": x, "y": y}
        self._frame()
        self.whole_map()
        self.moved()
        self.chose()
        self.walked()
        self.show(self.session.chosen.rows, self.session.chosen.name)

    def _read_plane(self) -> None:
        scene = self.scene
        self.plane, self.points = scene.plane(self.axes), scene.dots(self.axes)
        self.outlines = scene.outlines(self.axes)

    def _ask_colour(self, name: str) -> None:
        if name == "log p(x)" and "evidence" not in vars(self.scene.ex):
            self.legend.object = "<small>log p(x) of all rows …</small>"
        self.soon(partial(self._colour, name), wait=30)

    def _colour(self, name: str) -> None:
        """Colour the dots; components are grey while the colours mean something else."""
        self.colour = self.session.choices["colour"] = name
        known = self.scene.by_log_px() if name == "log p(x)" else self.scene.colourings[name]
        colours, legend = known
        self.dots.data = dict(self.dots.data) | {"colour": colours}
        if self.outlines:
            count = len(self.ellipses.data["x"])
            shades = self.scene.colours[:count] if name == "component" else [GREY] * count
            self.ellipses.data = dict(self.ellipses.data) | {"colour": shades}
        words = {"log p(x)": f"{tip('log p(x)')}: ", "component": tip("p(c|x)", "coloured by p(c|x)")}
        self.legend.object = words.get(name, "") + legend

    # ---------------------------------------------------------------- drawing

    def _frame(self) -> None:
        """The corners of the whole map, with one scale for both axes."""
        low, high = self.scene.window(self.axes)
        middle, scale = (low + high) / 2, max((high - low) / SIZE)
        half = scale * np.array(SIZE) / 2
        self.whole = np.stack([middle - half, middle + half])

    def _figure(self) -> Any:  # noqa: ANN401
        from bokeh.models import Range1d, WheelZoomTool
        from bokeh.plotting import figure

        self._frame()
        wheel = WheelZoomTool(zoom_on_axis=False, modifiers="ctrl")  # without Ctrl the page scrolls
        shown = figure(
            width=SIZE[0], height=SIZE[1], sizing_mode="scale_width", tools=[wheel], toolbar_location=None,
            min_border=0, outline_line_color=None, margin=0, background_fill_color="#fbfbf9",
            x_range=Range1d(*self.whole[:, 0]), y_range=Range1d(*self.whole[:, 1]),
        )  # fmt: skip
        shown.toolbar.active_scroll = wheel
        shown.axis.visible = False
        shown.grid.visible = False
        return shown

    def _draw_scene(self) -> None:
        from bokeh.models import ColumnDataSource

        x, y = self.points.T
        colours = ["#888888"] * len(x)
        self.dots = ColumnDataSource({"x": x, "y": y, "colour": colours})
        alpha = float(np.clip(900 / len(x), 0.45, 0.9))
        self.figure.scatter(
            "x", "y", source=self.dots, size=4.5, color="colour", line_color=None, fill_alpha=alpha
        )
        if self.outlines:
            self._draw_components()

    def _corners(self) -> dict[str, Any]:
        classed = self.scene.mixture is not None and self.scene.mixture.classed
        outlines = self.outlines[:1] if classed else self.outlines  # all classes are at one point
        return {"x": [o[:, 0] for o in outlines], "y": [o[:, 1] for o in outlines]}

    def _draw_components(self) -> None:
        from bokeh.models import ColumnDataSource

        places, mixture = self._corners(), self.scene.mixture
        count = len(places["x"])
        self.ellipses = ColumnDataSource(places | {"colour": self.scene.colours[:count]})
        self.figure.patches(
            "x", "y", source=self.ellipses, fill_color="colour", fill_alpha=min(0.07, 1 / count),
            line_color="colour", line_alpha=0.9 if count <= MANY else 0.5, line_width=1.2,
        )  # fmt: skip
        assert mixture is not None
        hard = self.scene.ex.components.hard
        named = [k for k in range(count) if hard[k] or count <= MANY]
        self.named = np.array([] if mixture.classed else named, dtype=int)
        x, y = self._middles()
        self.numbers = ColumnDataSource({"x": x, "y": y, "text": [str(k) for k in self.named]})
        self.figure.text("x", "y", source=self.numbers, text="text", **LETTERS)

    def _middles(self) -> Any:  # noqa: ANN401
        """The means of the components whose numbers are written, (2, M)."""
        return self.plane.to_plane(self.scene.mixture.mean)[self.named].T  # type: ignore[union-attr]

    def _draw_places(self) -> None:
        from bokeh.models import ColumnDataSource

        names = ("component", "posterior", "observation", "point", "paths")
        self.marks = {name: ColumnDataSource({"x": [], "y": []}) for name in names}
        self.marks["ends"] = ColumnDataSource({"x": [], "y": [], "text": []})
        shown, marks = self.figure, self.marks
        shown.patch("x", "y", source=marks["component"], fill_color=None, line_color=ACCENT, line_width=2.5)
        shown.multi_line("x", "y", source=marks["paths"], line_color=DARK, line_width=1.5, line_dash="dotted")
        style = {"fill_color": DARK, "fill_alpha": 0.12, "line_color": DARK, "line_width": 1.2}
        shown.patch("x", "y", source=marks["posterior"], **style)
        ring = {"fill_color": "white", "line_color": DARK, "line_width": 1.6}
        shown.scatter("x", "y", source=marks["observation"], size=8, **ring)
        shown.text("x", "y", source=marks["ends"], text="text", **LETTERS)
        shown.scatter(
            "x", "y", source=marks["point"], size=13, marker="circle_cross", fill_color="white",
            fill_alpha=0.75, line_color=ACCENT, line_width=2,
        )  # fmt: skip

    # ---------------------------------------------------------------- events

    def _guarded(self, handler: Any, event: Any) -> None:  # noqa: ANN401
        self.session.guarded(partial(handler, event), self)

    def _tap(self, event: Any) -> None:  # noqa: ANN401
        place = np.array([event.x, event.y])
        near = self._touched(place)
        self.go_to(place)
        if near is not None and self.scene.ex.real:
            self.session.choose_row(near)

    def go_to(self, place: Array) -> None:
        """Decode a place (2,) of the map."""
        if self.scene.ex.real:
            self.session.move(self.plane.to_latent(place), "a place on the map")
            return
        i = int(np.linalg.norm(self.points - place, axis=1).argmin())
        self.session.choose_row(i)
        self.session.move(self.session.chosen.z, f"the encoding of {self.session.chosen.name}")

    def _touched(self, place: Array) -> int | None:
        width = self.figure.inner_width or SIZE[0]
        pixel = (self.figure.x_range.end - self.figure.x_range.start) / width
        apart = np.linalg.norm(self.points - place, axis=1)
        near = int(apart.argmin())
        return near if apart[near] < TOUCH * pixel else None

    def _drag(self, event: Any) -> None:  # noqa: ANN401
        idle = self.latest is None
        self.latest = np.array([event.x, event.y])
        if idle:
            self.soon(self._follow, wait=WAIT)

    def _follow(self) -> None:
        place, self.latest = self.latest, None
        if place is not None:
            self.go_to(place)

    def forget(self) -> None:
        """Drop a move of the mouse that is not answered yet: a later choice counts."""
        self.latest = None

    def zoom(self, by: float) -> None:
        """Show a part of the map around its middle, or more of it."""
        self.soon(partial(self._zoom, by))

    def _zoom(self, by: float) -> None:
        for axis in (self.figure.x_range, self.figure.y_range):
            middle, half = (axis.start + axis.end) / 2, by * (axis.end - axis.start) / 2
            axis.update(start=middle - half, end=middle + half)

    def whole_map(self) -> None:
        """Show the whole map."""
        self.soon(self._whole)

    def _whole(self) -> None:
        for axis, (low, high) in zip((self.figure.x_range, self.figure.y_range), self.whole.T, strict=True):
            axis.update(start=low, end=high)

    # ---------------------------------------------------------------- what is taken away

    def code(self) -> str:
        """Python for the rows on the plane and for the latents of the point."""
        edited = ["from dataclasses import replace"] if self.scene.is_edited and self.axes == "map" else []
        return self.scene.code(
            *edited,
            f"plane = {self.scene.plane_code(self.axes)}",
            "points = plane.to_plane(ex.z)  # the dots",
            f"point = plane.to_plane({self.session.literal()})  # the point",
            "z = plane.to_latent(point)  # latents that stand for it",
            "print(points.shape, point, z)",
        )

    def picture(self) -> Picture:
        """The map as SVG."""
        corners = [(r.start, r.end) for r in (self.figure.x_range, self.figure.y_range)]
        shapes = [
            (o, c) for o, c in zip(zip(*self._corners().values(), strict=True), self._shades(), strict=True)
        ]
        return Picture("map.svg", map_svg(SIZE, corners, self.dots.data, shapes, self.marks, DARK, ACCENT))

    def _shades(self) -> list[str]:
        return list(self.ellipses.data["colour"]) if self.outlines else []


LETTERS: dict[str, Any] = {
    "text_align": "center", "text_baseline": "middle", "text_font_size": "12px", "text_font_style": "bold",
    "text_color": DARK, "text_font": {"value": "Helvetica, Arial, sans-serif"},
    "background_fill_color": "white", "background_fill_alpha": 0.75, "padding": 2, "border_radius": 4,
}  # fmt: skip
