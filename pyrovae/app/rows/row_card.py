"""The card of the chosen row: its reconstruction, log p(x) with its error, and p(c|x).

The pictures are shown at once, and the estimates when they are computed. L_K and log p(x) are from
the same samples, so the curve ends at log p(x).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.app import look
from pyrovae.app.observation_views import SHOWN, bars
from pyrovae.app.pictures import cells, file_of, img
from pyrovae.app.rows.latest import Latest
from pyrovae.app.rows.style import ROWS
from pyrovae.app.rows.values import (
    chosen_code,
    estimate,
    line,
    reconstruction,
    reliability,
)
from pyrovae.app.scene import dot, number
from pyrovae.app.words import TIP, tip
from pyrovae.errors import InputError, visible
from pyrovae.evidence import diagnose, iwae_bound, log_evidence
from pyrovae.exploring.gaussians import entropy

if TYPE_CHECKING:
    from pyrovae.app.frame import Picture
    from pyrovae.app.scene import Scene
    from pyrovae.app.session import Session
    from pyrovae.datasets import Rows
    from pyrovae.evidence import Diagnosis, Evidence

__all__ = ["COUNTS", "RowCard", "Values"]

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # K of the curve; the last is that of log p(x)


# `Evidence.verdict` says this of many rows, and in words of the command line where that serves.
POOR = (
    "Few of the samples carry the estimate. It is a lower bound, and its error does not include the bias: "
    "quote pv.log_evidence(..., method='laplace')."
)


@dataclass(frozen=True)
class Values:
    """What is computed of a row.

    Attributes:
        evidence: log p(x).
        bound: L_K for `COUNTS`.
        split: reconstruction and KL, or None if they are not defined.
    """

    evidence: Evidence
    bound: np.ndarray
    split: Diagnosis | None


def values_of(vae: Any, rows: Rows, seed: int) -> Values:  # noqa: ANN401
    """log p(x) of one row, its bounds and the parts of its ELBO."""
    evidence = log_evidence(vae, rows, particles=COUNTS[-1], seed=seed, compile=False)
    try:
        bound = iwae_bound(vae, rows, particles=COUNTS, seed=seed).bound[:, 0]
    except InputError:  # no sample has any weight
        bound = np.full(len(COUNTS), np.nan)
    try:  # the row twice: its other results are variances over rows
        split = diagnose(vae, rows[[0, 0]], particles=COUNTS[-1] // 2, seed=seed)
    except InputError:  # a program without an encoder of its own
        split = None
    return Values(evidence, bound, split)


class RowCard:
    """The chosen row, and buttons that choose others.

    Arguments:
        scene: the exploration and what is drawn of it.
        session: what this tab works on.
    """

    title = "Row"

    def __init__(self, scene: Scene, session: Session) -> None:
        import panel as pn

        self.scene, self.session = scene, session
        self.latest = Latest(session, self, self._refuse)
        self.turns = {"doubtful": 0, "far": 0}
        self.values: Values | None = None
        self.busy = False
        self.number = self._number()
        self.html = pn.pane.HTML(
            "", sizing_mode="stretch_width", margin=0, stylesheets=[look.HTML, TIP, ROWS]
        )
        self.view = pn.Column(self._buttons(), self.html, sizing_mode="stretch_width", margin=0)

    # ---------------------------------------------------------------- what is shown

    def show(self, rows: Rows, name: str) -> None:
        """Show a row; its log p(x) follows when it is computed."""
        self.rows, self.name, self.values, self.refusal = rows, name, None, ""
        i = self.session.chosen.index
        self.busy = True
        self.number.value = None  # so that the browser gets it again: it may show another
        self.number.value = i
        self.busy = False
        self.x = np.asarray(rows.x[0].cpu())
        self.again = reconstruction(self.session.vae, rows)[0]
        self._draw()
        vae, seed = self.session.vae, self.session.ex.seed
        self.latest.ask(partial(values_of, vae, rows, seed), self._computed)

    def _computed(self, values: Values) -> None:
        self.values = values
        self._draw()

    def _refuse(self, text: str) -> None:
        self.refusal = text
        self._draw()

    def _draw(self) -> None:
        self.html.object = "".join(
            [
                f'<div class="split"><div class="pictures">{self._pictures()}</div>',
                f'<div class="facts">{self._facts()}</div></div>',
                self._posterior(),
            ]
        )

    def _pictures(self) -> str:
        schema = self.session.vae.schema
        if schema is not None and schema.columns is not None:
            return self._table(schema.columns)
        pictures = self.scene.pictures
        size = pictures.size(132)
        both = (
            (self.x, "observation", escape(self.name)),
            (self.again, "reconstruction", tip("reconstructed", "reconstruction")),
        )
        return "".join(
            f"<figure>{img(pictures.source(x), size, name)}<figcaption>{text}</figcaption></figure>"
            for x, name, text in both
        )

    def _table(self, columns: Any) -> str:  # noqa: ANN401
        """A row of a table next to its reconstruction."""
        lines = "".join(
            f"<tr><th>{escape(column.name)}</th><td>{escape(one)}</td><td>{escape(other)}</td></tr>"
            for column, one, other in zip(
                columns, cells(self.x, columns), cells(self.again, columns), strict=True
            )
        )
        head = (
            f"<tr><th></th><th>{escape(self.name)}</th><th>{tip('reconstructed', 'reconstruction')}</th></tr>"
        )
        return f'<div class="scroll"><table class="observation reconstruction">{head}{lines}</table></div>'

    def _facts(self) -> str:
        label = self._label()
        if self.values is None:
            said = escape(visible(self.refusal)) or "sampling …"
            return f'{label}<div class="evidence">{tip("log p(x)")}<br><small>{said}</small></div>'
        evidence, split = self.values.evidence, self.values.split
        log_px, error = float(evidence.log_px[0]), float(evidence.mc_stderr[0])
        parts = [f'{label}<div class="evidence">{tip("log p(x)")}<br>{estimate(log_px, error)}</div>']
        if len(evidence.event_shape) == 3 and evidence.units.has_bits:
            parts.append(line(tip("bits/dim"), number(evidence.bits_per_dim, 3)))
        if split is not None:
            parts.append(line(tip("reconstruction"), number(float(split.reconstruction.mean()), 1)))
            parts.append(line(tip("KL"), number(float(split.kl.mean()), 1)))
        ess, khat = float(evidence.ess[0]), float(evidence.khat[0])
        trusted = bool(evidence.trusted[0])
        parts.append(reliability(trusted, ess, khat, evidence.particles, POOR))
        parts.append(curve(self.values.bound, log_px))
        return "".join(parts)

    def _label(self) -> str:
        i, ex = self.session.chosen.index, self.session.ex
        if i is None or ex.labels is None:
            return ""
        return f"<div><b>label {escape(self.scene.label(int(ex.labels[i])))}</b></div>"

    def _posterior(self) -> str:
        """p(c|x) of a mixture, as bars."""
        if self.scene.mixture is None:
            return ""
        ex, i = self.session.ex, self.session.chosen.index
        encoding: Any = ex.encoding if i is not None else ex.read(self.rows)[0]
        at = 0 if i is None else i
        share, sd = encoding.responsibilities[at], encoding.responsibility_sd[at]
        k, doubt = int(share.argmax()), number(float(entropy(share)))
        largest = "" if len(share) <= SHOWN else f", the {SHOWN} largest"
        text = f"{dot(self.scene.colours[k])}component {k} · {tip('doubt')} {doubt} nats"
        chart = bars(share, sd, self.scene.colours)
        head = line(text, f"<small>{tip('p(c|x)')}{largest}</small>")
        return f'<div class="posterior">{head}{chart}</div>'

    # ---------------------------------------------------------------- which row

    def _buttons(self) -> Any:  # noqa: ANN401
        import panel as pn

        last = len(self.session.ex) - 1
        step = {"previous": ("‹", partial(self._step, -1)), "next": ("›", partial(self._step, 1))}
        buttons = [
            _button(text, action, self.session, [name], label=f"{name} row")
            for name, (text, action) in step.items()
        ]
        ranked = [_button("Farthest", partial(self._ask, "far"), self.session, ["farthest"])]
        if self.scene.mixture is not None:
            ranked.insert(0, _button("Most doubtful", partial(self._ask, "doubtful"), self.session, ["most"]))
        of = pn.pane.HTML(f"<small>of 0 to {last:,}</small>", margin=0, stylesheets=[look.HTML])
        return pn.FlexBox(
            buttons[0],
            self.number,
            buttons[1],
            of,
            *ranked,
            gap="6px",
            align_items="center",
            margin=(0, 0, 8, 0),
        )

    def _number(self) -> Any:  # noqa: ANN401
        import panel as pn

        last = len(self.session.ex) - 1
        field = pn.widgets.IntInput(
            value=0, start=0, end=last, width=84, margin=0, css_classes=["number"], stylesheets=[look.FIELD]
        )
        field.param.watch(self._typed, "value")
        return field

    def _typed(self, event: Any) -> None:  # noqa: ANN401
        if event.new is not None and not self.busy and event.new != self.session.chosen.index:
            self.session.soon(partial(self.session.choose_row, int(event.new)), self)

    def _step(self, by: int) -> None:
        """Choose the next or previous row."""
        i = self.session.chosen.index
        self.session.choose_row(((-1 if i is None and by > 0 else i or 0) + by) % len(self.session.ex))

    def _ask(self, kind: str) -> None:
        """Choose the next of the most doubtful rows, or of those with the lowest log p(x)."""
        if kind == "far" and "far" not in self.scene.ranks:
            self.latest.cancel()
            self.latest.ask(partial(self.scene.ranked, kind), lambda _: self._next_of(kind))
            self.html.object = self.html.object.replace("sampling …", "log p(x) of all rows …")
        else:
            self._next_of(kind)

    def _next_of(self, kind: str) -> None:
        turn, ranked = self.turns[kind], self.scene.ranked(kind)
        self.turns[kind] = (turn + 1) % len(ranked)
        self.session.choose_row(int(ranked[turn]))

    # ---------------------------------------------------------------- what is taken away

    def code(self) -> str:
        """Python that gives the numbers of the card."""
        seed = self.session.ex.seed
        lines = [
            *chosen_code(self.session, "row"),
            f"evidence = pv.log_evidence(vae, row, particles={COUNTS[-1]}, seed={seed}, compile=False)",
            "print(evidence)",
            f"curve = pv.iwae_bound(vae, row, particles={COUNTS}, seed={seed})",
            "print(curve)",
        ]
        if self.values is not None and self.values.split is not None:
            lines += [
                "# the parts of the ELBO; diagnose needs two rows",
                f"split = pv.diagnose(vae, row[[0, 0]], particles={COUNTS[-1] // 2}, seed={seed})",
                'print("reconstruction", split.reconstruction.mean(), "KL", split.kl.mean())',
            ]
        return self.scene.code("", *lines)

    def picture(self) -> Picture:
        """The row as a file."""
        from pyrovae.app.frame import Picture

        ending, content = file_of(self.scene.pictures.source(self.x))
        return Picture(f"{self.name.replace(' ', '-')}{ending}", content)


def curve(bound: np.ndarray, log_px: float) -> str:
    """L_K against K on a logarithmic scale, below a line at log p(x), as SVG."""
    if not np.isfinite(bound).all() or not np.isfinite(log_px):
        return ""
    width, height, left, right, top, base = 290, 100, 3, 287, 16, 74
    low, high = float(bound.min()), max(float(bound.max()), log_px)
    places = np.linspace(left, right, len(bound))
    # the curve of an exact guide is flat, and rounding is no slope
    heights = base - (base - top) * (bound - low) / max(high - low, 0.01)
    line_at = base - (base - top) * (log_px - low) / max(high - low, 0.01)
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(places, heights, strict=True))
    text = "".join(
        f'<text x="{x:.1f}" y="{height - 6}" text-anchor="{anchor}" font-size="11">{k:,}</text>'
        for k, x, anchor in ((1, left, "start"), (COUNTS[5], places[5], "middle"), (COUNTS[-1], right, "end"))
    )
    return (
        f'<svg class="curve" viewBox="0 0 {width} {height}">'
        f'<path d="M{left} {line_at:.1f}H{right}" stroke="{look.MUTED}" stroke-dasharray="3 3"/>'
        f'<path d="{path}" stroke="{look.ACCENT}" fill="none" stroke-width="1.8"/>'
        f'<text x="{left}" y="{max(line_at - 5, 10):.1f}" font-size="11">log p(x)</text>'
        f'<text x="{right}" y="{base - 3:.1f}" text-anchor="end" font-size="11">'
        f"L₁ {number(float(bound[0]), 1)}, L₁₀₀₀ {number(float(bound[-1]), 1)}</text>{text}</svg>"
        f"<small>{tip('L_K', 'the bound L_K')} against the number of samples K</small>"
    )


def _button(text: str, action: Any, session: Session, names: list[str], label: str = "") -> Any:  # noqa: ANN401
    import panel as pn

    button = pn.widgets.Button(
        name=text, margin=0, css_classes=names, stylesheets=[look.BUTTON], description=label or None
    )
    button.on_click(lambda event: session.soon(action))
    return button
