"""The components: a table of all, and the samples and nearest observations of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pyrovae.app import look
from pyrovae.app.pictures import img
from pyrovae.app.scene import Scene, dot, number

__all__ = ["ComponentCard", "ComponentTable"]

THUMB = 20
CELL = 44


class ComponentTable:
    """A row for each component: its decoded mean, weight, data, KL and overlap.

    Arguments:
        scene: the exploration to show.
        size: width and height in pixels.
        on_choice: called with the number of the component whose row was clicked.
    """

    def __init__(self, scene: Scene, size: tuple[int, int], on_choice: Callable[[int], None]) -> None:
        self.on_choice, self.chosen, self.busy = on_choice, -1, False
        self.view = _table(scene, size)
        self.view.param.watch(self._selected, "selection")

    def choose(self, k: int) -> None:
        """Show a component as the chosen one."""
        self.chosen, self.busy = k, True
        self.view.selection = [k]
        self.busy = False

    def _selected(self, event: Any) -> None:  # noqa: ANN401
        if self.busy:
            return
        if event.new and event.new[0] != self.chosen:
            self.on_choice(int(event.new[0]))
        elif not event.new:  # a second click on the row would leave no component chosen
            self.choose(self.chosen)


def _table(scene: Scene, size: tuple[int, int]) -> Any:  # noqa: ANN401
    import pandas as pd
    import panel as pn

    columns = _columns(scene)
    numbers = [name for name in columns if name not in ("c", "mean")]
    return pn.widgets.Tabulator(
        pd.DataFrame(columns),
        show_index=False, disabled=True, selectable=1, theme="simple", layout="fit_columns",
        formatters={name: {"type": "html"} for name in ("c", "mean")},
        widths={"c": 50, "mean": scene.pictures.size(60, THUMB)[0] + 40},
        text_align=dict.fromkeys(numbers, "right"),
        header_align=dict.fromkeys(numbers, "right"),
        configuration={"columnDefaults": {"headerSortTristate": True, "resizable": False}},
        width=size[0], height=size[1], margin=0, stylesheets=[look.TABLE],
    )  # fmt: skip


def _columns(scene: Scene) -> dict[str, Any]:
    c, ex = scene.ex.components, scene.ex
    size = scene.pictures.size(60, THUMB)
    apart = np.array(c.overlap, dtype=float)
    np.fill_diagonal(apart, -1.0)
    near = apart.argmax(1)
    alone = len(near) == 1 or scene.mixture.classed
    columns: dict[str, Any] = {
        "c": [f"{dot(colour)}{k}" for k, colour in enumerate(scene.colours)],
        "mean": [img(scene.pictures.source(ex.decode(mean, k=k)), size) for k, mean in enumerate(c.mean)],
        "weight": [f"{w:.3f}" for w in c.weight],
        "data": np.asarray(c.hard, dtype=int),
        "KL, nats": np.asarray(c.kl, dtype=float).round(1),
        "overlap": ["–" if alone else f"{apart[k, j]:.2f} with {j}" for k, j in enumerate(near)],
    }
    if ex.labels is not None:
        columns["label"] = [_majority(ex.labels[ex.assignment == k]) for k in range(len(near))]
    return columns


def _majority(labels: np.ndarray) -> str:
    """The most frequent label and its share.

    Example:
        >>> _majority(np.array([3, 3, 3, 1]))
        '3, 75 %'
    """
    if not len(labels):
        return "–"
    values, counts = np.unique(labels, return_counts=True)
    return f"{values[counts.argmax()]}, {100 * counts.max() / counts.sum():.0f} %"


class ComponentCard:
    """Samples of one component, the observations nearest to its mean, and sliders along its axes.

    Arguments:
        scene: the exploration to show.
        size: width and height in pixels.
        on_slide: called with the positions of the sliders, in standard deviations.
    """

    def __init__(self, scene: Scene, size: tuple[int, int], on_slide: Callable[[np.ndarray], None]) -> None:
        import panel as pn

        self.scene, self.on_slide, self.busy = scene, on_slide, False
        self.width = size[0] - 254
        self.text = pn.pane.HTML("", width=self.width, margin=0, stylesheets=[look.HTML])
        count = min(4, scene.ex.z.shape[1])
        self.sliders = [self._slider(i) for i in range(count)]
        self.note = pn.pane.HTML("", width=206, margin=0, stylesheets=[look.HTML])
        side = pn.Column(self.note, *self.sliders, width=218, margin=(0, 0, 0, 16))
        self.view = pn.Row(self.text, side, width=size[0], height=size[1], margin=0)

    def _slider(self, i: int) -> Any:  # noqa: ANN401
        import panel as pn

        slider = pn.widgets.FloatSlider(
            name=f"axis {i + 1}", start=-3.0, end=3.0, step=0.1, value=0.0, width=200, margin=(6, 8, 6, 8),
            format="+0.0", tooltips=False, css_classes=[f"axis{i}"], stylesheets=[look.SLIDER],
        )  # fmt: skip
        slider.param.watch(self._slid, "value")
        return slider

    def _slid(self, event: Any) -> None:  # noqa: ANN401
        if not self.busy:
            self.on_slide(np.array([slider.value for slider in self.sliders]))

    def rest(self, note: str) -> None:
        """Reset the sliders to zero; the note says from which point they start."""
        self.busy = True
        for slider in self.sliders:
            slider.value = 0.0
        self.busy = False
        self.note.object = f"<b>Along its principal axes</b><br><small>{note}, in standard deviations</small>"

    def choose(self, k: int) -> None:
        """Show a component."""
        ex, c = self.scene.ex, self.scene.ex.components
        columns = (self.width + 4) // (self.scene.pictures.size(2 * CELL, CELL)[0] + 4)
        samples = ex.samples(k, 3 * columns if not self.scene.pictures.together else 200)
        near = ex.x[ex.nearest(k, min(columns, len(ex.x)))]
        facts = f"weight {number(c.weight[k], 3)} · {c.hard[k]:,} rows (sum of p(c|x) {number(c.soft[k], 1)})"
        self.text.object = (
            f"<h2>{dot(self.scene.colours[k])}Component {k}</h2> &nbsp;<small>{facts}</small>"
            + self._grid(samples, "samples", "samples of it")
            + self._grid(near, "near", "data nearest to its mean")
        )

    def _grid(self, x: np.ndarray, name: str, title: str) -> str:
        pictures = self.scene.pictures
        size = pictures.size(150, 100) if pictures.together else pictures.size(2 * CELL, CELL)
        images = "".join(img(source, size) for source in pictures.sources(x))
        return f'<p><small>{title}</small></p><div class="grid {name}">{images}</div>'
