"""The cards of a mixture: a table of the components, edits, and samples of one component."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.app import look
from pyrovae.app.files import pictures_svg
from pyrovae.app.frame import Card, Picture
from pyrovae.app.gallery import Gallery, grid
from pyrovae.app.pictures import img
from pyrovae.app.scene import Scene, dot, number
from pyrovae.app.words import TIP, tip

if TYPE_CHECKING:
    from pyrovae.app.session import Session
    from pyrovae.exploring.editing import Edit

__all__ = ["ComponentCard", "ComponentsCard", "what_it_did"]

THUMB = 20
SAMPLES, NEAR = 12, 8
WAIT = 30  # milliseconds, in which the browser shows what is being computed


class ComponentsCard(Card):
    """A row for each component, and buttons that merge, split and remove components in this tab."""

    title = "Components"

    def __init__(self, scene: Scene, session: Session) -> None:
        import panel as pn

        super().__init__(scene, session)
        self.busy = False
        self.table = _table(scene)
        self.table.param.watch(self._selected, "selection")
        words = " · ".join(tip(name) for name in ("weight", "data", "component KL", "overlap", "doubt"))
        hint = pn.pane.HTML(
            f"<small>{words}</small>", margin=(6, 0, 8, 0), sizing_mode="stretch_width",
            stylesheets=[look.HTML, TIP],
        )  # fmt: skip
        self.notice = pn.pane.HTML(
            session.notice, margin=(8, 0, 0, 0), sizing_mode="stretch_width", stylesheets=[look.HTML, TIP],
            css_classes=["notice"],
        )  # fmt: skip
        self.view = pn.Column(
            self.table, hint, self._edits(), self.notice, sizing_mode="stretch_width", margin=0
        )
        self.chose()

    def _edits(self) -> Any:  # noqa: ANN401
        import panel as pn

        self.other = look.select(self._others(), None, lambda value: None, ("other",))
        self.other.width = 64
        each: tuple[tuple[str, Callable[[], None]], ...] = (
            ("Merge with", lambda: self._edit("merge", int(self.other.value))),
            ("Split", lambda: self._edit("split")),
            ("Remove", lambda: self._edit("remove")),
            ("Undo", lambda: self.soon(self.session.undo)),
        )
        buttons = [
            look.button(text, action, small=True, names=(text.split()[0].lower(),)) for text, action in each
        ]
        buttons[3].disabled = not self.session.history
        return pn.FlexBox(buttons[0], self.other, *buttons[1:], gap="6px", margin=0, align_items="center")

    def _others(self) -> dict[str, int]:
        """The components with which the chosen one can be merged, the closest first."""
        k, overlap = self.session.component, self.scene.ex.components.overlap[self.session.component]
        return {str(j): int(j) for j in np.argsort(-overlap, kind="stable") if j != k} or {"–": k}

    def chose(self) -> None:
        """Show a component as the chosen one."""
        self.busy = True
        self.table.selection = [self.session.component]
        self.busy = False
        self.other.options = self._others()
        self.other.value = next(iter(self.other.options.values()))

    def _selected(self, event: Any) -> None:  # noqa: ANN401
        if self.busy:
            return
        if event.new and event.new[0] != self.session.component:
            self.soon(partial(self.session.choose_component, int(event.new[0])))
        elif not event.new:  # a second click on the row would leave no component chosen
            self.chose()

    # ---------------------------------------------------------------- edits

    def _edit(self, verb: str, *others: int) -> None:
        self.notice.object = "<small>computing log p(x) before and after …</small>"
        self.soon(partial(self.edit, verb, *others), wait=WAIT)

    def edit(self, verb: str, *others: int) -> None:
        """Change the mixture of this tab.

        Arguments:
            verb: "merge", "split" or "remove", of the chosen component.
            others: the other component of a merge.

        Raises:
            InputError: for an edit that the prior refuses.
        """
        k, session = self.session.component, self.session
        self.notice.object = session.notice
        result: Edit = getattr(self.scene.ex, verb)(k, *others)
        scene = self.scene.edited(result.vae, f"ex.{verb}({', '.join(map(str, (k, *others)))})")
        session.edit(scene, min(k, *others, len(scene.colours) - 1), what_it_did(result))

    def code(self) -> str:
        """Python that prints the table, after the edits."""
        return self.scene.code("print(ex.components)")


def what_it_did(edit: Edit) -> str:
    """What an edit did to log p(x), in plain words, as HTML."""
    gain, error = edit.difference, edit.se
    if abs(gain) <= 2 * error or not np.isfinite(error):
        size = f"{number(gain, 4)} ± {number(error, 4)} nats per row"
        verdict = f"{tip('log p(x)')} changes by {size}: no clear difference"
    else:
        size = f"{number(abs(gain), 4)} ± {number(error, 4)} nats per row"
        way, word = ("rises", "better") if gain > 0 else ("falls", "worse")
        verdict = f"{tip('log p(x)')} {way} by {size}: clearly {word}"
    means = f"{number(edit.before.mean)} before, {number(edit.after.mean)} after"
    what = edit.what[:1].upper() + edit.what[1:]
    return f"<b>{escape(what)}.</b> {verdict} <small>({means})</small>"


def _table(scene: Scene) -> Any:  # noqa: ANN401
    import pandas as pd
    import panel as pn

    columns = _columns(scene)
    numbers = [name for name in columns if name not in ("c", "mean")]
    height = min(34 + 27 * len(scene.colours), 330)
    return pn.widgets.Tabulator(
        pd.DataFrame(columns),
        show_index=False, disabled=True, selectable=1, theme="simple", layout="fit_data_fill",
        formatters={name: {"type": "html"} for name in ("c", "mean")},
        widths={"c": 50, "mean": scene.pictures.size(60, THUMB)[0] + 40},
        text_align=dict.fromkeys(numbers, "right"),
        header_align=dict.fromkeys(numbers, "right"),
        configuration={"columnDefaults": {"headerSortTristate": True, "resizable": False}},
        sizing_mode="stretch_width", height=height, margin=0, stylesheets=[look.TABLE],
    )  # fmt: skip


def _columns(scene: Scene) -> dict[str, Any]:
    c, ex = scene.ex.components, scene.ex
    size = scene.pictures.size(60, THUMB)
    apart = np.array(c.overlap, dtype=float)
    np.fill_diagonal(apart, -1.0)
    near = apart.argmax(1)
    alone = len(near) == 1 or ex.reader.mixture.classed  # type: ignore[attr-defined]
    columns: dict[str, Any] = {
        "c": [f"{dot(colour)}{k}" for k, colour in enumerate(scene.colours)],
        "mean": [img(scene.pictures.source(x), size) for x in _means(scene)],
        "weight": [f"{w:.3f}" for w in c.weight],
        "data": np.asarray(c.hard, dtype=int),
        "KL, nats": np.asarray(c.kl, dtype=float).round(1),
        "overlap": ["–" if alone else f"{apart[k, j]:.2f} with {j}" for k, j in enumerate(near)],
        "doubt": [
            number(float(ex.doubt[ex.assignment == k].mean())) if n else "–" for k, n in enumerate(c.hard)
        ],
    }
    if ex.labels is not None:
        columns["label"] = [_majority(scene, ex.labels[ex.assignment == k]) for k in range(len(near))]
    return columns


def _means(scene: Scene) -> list[Any]:
    return [scene.ex.decode(m, k=k) for k, m in enumerate(scene.ex.components.mean)]  # type: ignore[call-arg]


def _majority(scene: Scene, labels: np.ndarray) -> str:
    """The most frequent label and its share."""
    if not len(labels):
        return "–"
    values, counts = np.unique(labels, return_counts=True)
    return f"{scene.label(int(values[counts.argmax()]))}, {100 * counts.max() / counts.sum():.0f} %"


class ComponentCard(Card):
    """Samples of one component, and the rows nearest to its mean."""

    title = "One component"

    def __init__(self, scene: Scene, session: Session) -> None:
        super().__init__(scene, session)
        self.gallery = Gallery(self._clicked, ["component"])
        self.view = self.gallery.view
        self.chose()

    def chose(self) -> None:
        """Show another component."""
        ex, k, c = self.scene.ex, self.session.component, self.scene.ex.components
        facts = f"weight {number(c.weight[k], 3)} · {c.hard[k]:,} rows (sum of p(c|x) {number(c.soft[k], 1)})"
        near = self._near()
        names = [f"row {ex.index[i]}" for i in near]
        sources = [self.scene.pictures.source(ex.x[i]) for i in near]
        least = 48 if len(ex.vae.event_shape) == 3 else 110
        self.gallery.put(
            f"<h2>{dot(self.scene.colours[k])}Component {k}</h2> &nbsp;<small>{facts}</small>"
            f'<p><small>samples of it</small></p><div class="samples">{self._samples(least)}</div>'
            "<p><small>rows nearest to its mean</small></p>"
            f'<div class="near">{grid(sources, near, names, least)}</div>'
        )

    def _samples(self, least: int) -> str:
        pictures = self.scene.pictures
        if pictures.together:
            return img(pictures.sources(self._sampled())[0], pictures.size(150, 100))
        each = "".join(img(source, (least, least)) for source in pictures.sources(self._sampled()))
        return f'<div class="rows" style="--least:{least}px">{each}</div>'

    def _sampled(self) -> np.ndarray:
        return self.scene.ex.samples(self.session.component, 200 if self.scene.pictures.together else SAMPLES)

    def _near(self) -> Any:  # noqa: ANN401
        return self.scene.ex.nearest(self.session.component, min(NEAR, len(self.scene.ex)))

    def _clicked(self, key: str) -> None:
        self.soon(partial(self.session.choose_row, int(key)))

    def code(self) -> str:
        """Python for the samples and the nearest rows."""
        k = self.session.component
        return self.scene.code(
            f"samples = ex.samples({k}, {len(self._sampled())})",
            f"near = ex.nearest({k}, {len(self._near())})",
            "print(samples.shape, ex.index[near])",
        )

    def picture(self) -> Picture:
        """Samples and nearest rows, in one file."""
        pictures = self.scene.pictures
        shown = {"samples": pictures.sources(self._sampled())}
        shown["nearest rows"] = pictures.sources(self.scene.ex.x[self._near()])
        return Picture(f"component-{self.session.component}.svg", pictures_svg(shown, pictures.shape))
