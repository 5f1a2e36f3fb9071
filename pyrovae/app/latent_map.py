"""The map of the latent space: data, components, the decoded point and the chosen observation.

A click or a drag chooses the point to decode, and a click on a dot also chooses its observation.
The wheel zooms, and a double click resets the view. During a drag only the latest point is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyrovae.app.look import ACCENT, DARK
from pyrovae.app.scene import Scene
from pyrovae.numerics import Array

__all__ = ["LatentMap"]

TOUCH = 5.0  # pixels
WAIT = 12  # milliseconds
MANY = 20
GREY = "#8a8a86"


class LatentMap:
    """The figure and its events.

    Arguments:
        scene: the exploration to show.
        size: width and height in pixels.
        on_point: called with the point (2,) of the plane that was clicked.
        on_observation: called with the number of an observation whose dot was clicked.
    """

    def __init__(
        self,
        scene: Scene,
        size: tuple[int, int],
        on_point: Callable[[Array], None],
        on_observation: Callable[[int], None],
    ) -> None:
        from bokeh.plotting import curdoc

        self.scene, self.size, self.on_point, self.on_observation = scene, size, on_point, on_observation
        self.document = curdoc()
        self.latest: Array | None = None
        self.figure = self._figure()
        self._draw_scene()
        self._draw_places()
        for event, handler in (("tap", self._tap), ("pan", self._drag), ("doubletap", self._reset)):
            self.figure.on_event(event, handler)

    # ---------------------------------------------------------------- marks

    def point(self, place: Array) -> None:
        """Mark the point that is decoded."""
        self.marks["point"].data = {"x": [place[0]], "y": [place[1]]}

    def observation(self, place: Array, outline: Array) -> None:
        """Mark an observation, and draw its posterior as an outline (S, 2)."""
        self.marks["observation"].data = {"x": [place[0]], "y": [place[1]]}
        self.marks["posterior"].data = {"x": outline[:, 0], "y": outline[:, 1]}

    def component(self, k: int) -> None:
        """Mark a component."""
        outline = self.scene.outlines[k]
        self.marks["component"].data = {"x": outline[:, 0], "y": outline[:, 1]}

    def colour(self, colours: Sequence[str], *, components: bool) -> None:
        """Colour the dots, (N,); the components are grey while the colours mean something else."""
        self.dots.data = dict(self.dots.data) | {"colour": list(colours)}
        count = len(self.ellipses.data["colour"])
        shades = self.scene.colours[:count] if components else [GREY] * count
        self.ellipses.data = dict(self.ellipses.data) | {"colour": shades}

    # ---------------------------------------------------------------- drawing

    def _figure(self) -> Any:  # noqa: ANN401
        from bokeh.models import Range1d, WheelZoomTool
        from bokeh.plotting import figure

        width, height = self.size
        low, high = self.scene.window
        middle, scale = (low + high) / 2, max((high - low) / self.size)  # one scale for both axes
        half = scale * np.array(self.size) / 2
        self.whole = np.stack([middle - half, middle + half])
        wheel = WheelZoomTool(zoom_on_axis=False)
        shown = figure(
            width=width, height=height, tools=[wheel], toolbar_location=None, min_border=0,
            outline_line_color=None, x_range=Range1d(*self.whole[:, 0]), y_range=Range1d(*self.whole[:, 1]),
        )  # fmt: skip
        shown.toolbar.active_scroll = wheel
        shown.axis.visible = False
        shown.grid.visible = False
        return shown

    def _draw_scene(self) -> None:
        from bokeh.models import ColumnDataSource

        scene, shown = self.scene, self.figure
        x, y = scene.points.T
        self.dots = ColumnDataSource({"x": x, "y": y, "colour": scene.by_component})
        alpha = float(np.clip(900 / len(x), 0.45, 0.9))
        shown.scatter("x", "y", source=self.dots, size=4.5, color="colour", line_color=None, fill_alpha=alpha)
        self._draw_components()

    def _draw_components(self) -> None:
        from bokeh.models import ColumnDataSource

        scene, shown = self.scene, self.figure
        count = 1 if scene.mixture.classed else len(scene.outlines)  # all classes are at one point
        outlines, colours = scene.outlines[:count], scene.colours[:count]
        places = {"x": [o[:, 0] for o in outlines], "y": [o[:, 1] for o in outlines]}
        self.ellipses = ColumnDataSource(places | {"colour": colours})
        shown.patches(
            "x", "y", source=self.ellipses, fill_color="colour", fill_alpha=min(0.07, 1 / len(outlines)),
            line_color="colour", line_alpha=0.9 if len(outlines) <= MANY else 0.5, line_width=1.2,
        )  # fmt: skip
        if scene.mixture.classed:
            return
        named = [k for k in range(count) if scene.ex.components.hard[k] or count <= MANY]
        x, y = scene.ex.map.to_plane(scene.ex.components.mean[named]).T
        shown.text(
            x, y, text=[str(k) for k in named], text_align="center", text_baseline="middle",
            text_font_size="12px", text_font_style="bold", text_color=DARK,
            text_font={"value": "Helvetica, Arial, sans-serif"},
            background_fill_color="white", background_fill_alpha=0.75, padding=2, border_radius=4,
        )  # fmt: skip

    def _draw_places(self) -> None:
        from bokeh.models import ColumnDataSource

        names = ("component", "posterior", "observation", "point")
        self.marks = {name: ColumnDataSource({"x": [], "y": []}) for name in names}
        shown, marks = self.figure, self.marks
        shown.patch("x", "y", source=marks["component"], fill_color=None, line_color=ACCENT, line_width=2.5)
        look = {"fill_color": DARK, "fill_alpha": 0.12, "line_color": DARK, "line_width": 1.2}
        shown.patch("x", "y", source=marks["posterior"], **look)
        ring = {"fill_color": "white", "line_color": DARK, "line_width": 1.6}
        shown.scatter("x", "y", source=marks["observation"], size=8, **ring)
        shown.scatter(
            "x", "y", source=marks["point"], size=13, marker="circle_cross", fill_color="white",
            fill_alpha=0.75, line_color=ACCENT, line_width=2,
        )  # fmt: skip

    # ---------------------------------------------------------------- events

    def _tap(self, event: Any) -> None:  # noqa: ANN401
        place = np.array([event.x, event.y])
        near = self._touched(place)
        self.on_point(place)
        if near is not None:
            self.on_observation(near)

    def _touched(self, place: Array) -> int | None:
        pixel = (self.figure.x_range.end - self.figure.x_range.start) / self.size[0]
        apart = np.linalg.norm(self.scene.points - place, axis=1)
        near = int(apart.argmin())
        return near if apart[near] < TOUCH * pixel else None

    def _drag(self, event: Any) -> None:  # noqa: ANN401
        idle = self.latest is None
        self.latest = np.array([event.x, event.y])
        if idle:
            self.document.add_timeout_callback(self._follow, WAIT)

    def _follow(self) -> None:
        place, self.latest = self.latest, None
        if place is not None:
            self.on_point(place)

    def _reset(self, event: Any) -> None:  # noqa: ANN401
        for axis, (low, high) in zip((self.figure.x_range, self.figure.y_range), self.whole.T, strict=True):
            axis.update(start=low, end=high)
