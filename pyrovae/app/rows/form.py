"""A form with the columns of a row: each is known, or has its distribution given the others."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyrovae.app import look
from pyrovae.app.pictures import cells
from pyrovae.app.rows.answers import answer
from pyrovae.app.rows.latest import Latest
from pyrovae.app.rows.style import ROWS
from pyrovae.app.rows.values import completion_facts, condition_code, rows_code
from pyrovae.app.words import TIP
from pyrovae.datasets import Rows
from pyrovae.datasets.columns import Column
from pyrovae.datasets.frames import as_frame
from pyrovae.datasets.matching import match, opened
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.errors import InputError, visible
from pyrovae.numerics import as_array
from pyrovae.tasks import Completion, condition

if TYPE_CHECKING:
    from pyrovae.app.frame import Picture
    from pyrovae.app.scene import Scene
    from pyrovae.app.session import Session

__all__ = ["DRAWS", "Form"]

DRAWS = 1000
HINT = "Untick a column to see its distribution given the values of the others."


class Field:
    """One column: a tick that says whether it is known, its value, and else its distribution.

    Arguments:
        column: the column.
        on_change: called when the tick or the value changes.
    """

    def __init__(self, column: Column, on_change: Any) -> None:  # noqa: ANN401
        import panel as pn

        self.column, self.on_change, self.busy, self.original = column, on_change, False, ""
        self.tick = pn.widgets.Checkbox(
            name="",
            value=True,
            margin=(7, 0, 0, 0),
            width=18,
            stylesheets=[look.FIELD],
            css_classes=["known"],
        )
        name = pn.pane.HTML(
            f'<div class="name">{escape(column.name)}</div>', margin=(6, 0, 0, 0), width=110,
            stylesheets=[look.HTML, ROWS],
        )  # fmt: skip
        self.input: Any
        common: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": 0, "stylesheets": [look.FIELD]}
        if column.levels is not None:
            self.input = pn.widgets.Select(options=list(column.levels), **common)
        else:
            self.input = pn.widgets.TextInput(**common)
        self.answer = pn.pane.HTML(
            "", visible=False, margin=(2, 0, 0, 0), sizing_mode="stretch_width",
            stylesheets=[look.HTML, TIP, ROWS], css_classes=["answer"],
        )  # fmt: skip
        self.view = pn.Row(
            self.tick, name, self.input, self.answer, margin=(0, 0, 4, 0), sizing_mode="stretch_width",
            css_classes=["field"],
        )  # fmt: skip
        self.tick.param.watch(self._ticked, "value")
        self.input.param.watch(self._changed, "value")

    @property
    def is_known(self) -> bool:
        """Whether the value is given."""
        return bool(self.tick.value)

    @property
    def text(self) -> str:
        """The value in the words of the user; empty if it is unknown."""
        return str(self.input.value or "") if self.is_known else ""

    def put(self, text: str, *, is_known: bool) -> None:
        """Fill the field without telling anybody."""
        self.busy, self.original = True, text
        if self.column.levels is None or text in self.column.levels:
            self.input.value = text
        self.tick.value = is_known
        self._show()
        self.busy = False

    def _show(self) -> None:
        self.input.visible, self.answer.visible = self.is_known, not self.is_known

    def _ticked(self, event: Any) -> None:  # noqa: ANN401
        self._show()
        self._changed(event)

    def _changed(self, event: Any) -> None:  # noqa: ANN401
        if self.busy:
            return
        if self.is_known and not self.input.value:  # an empty field is an unknown value
            self.tick.value = False
        else:
            self.on_change()


class Form:
    """The columns of a row, some of them unknown.

    Arguments:
        scene: the exploration and what is drawn of it.
        session: what this tab works on.
        card: the card in which an error becomes a sentence.
    """

    title = "What if a value is unknown?"

    def __init__(self, scene: Scene, session: Session, card: Any) -> None:  # noqa: ANN401
        import panel as pn

        self.scene, self.session, self.card = scene, session, card
        self.latest = Latest(session, card, self._refuse)
        self.completion: Completion | None = None
        schema = session.vae.schema
        self.schema = schema if schema is not None and schema.columns is not None else None
        count = session.vae.event_shape[0]
        plain = tuple(Column(f"x[{i}]", "normal") for i in range(count))
        self.columns = plain if self.schema is None else self.schema.columns or ()
        self.fields = [Field(column, self._changed) for column in self.columns]
        self.facts = pn.pane.HTML(
            "", margin=(8, 0, 0, 0), sizing_mode="stretch_width", stylesheets=[look.HTML, TIP, ROWS],
            css_classes=["completion-facts"],
        )  # fmt: skip
        hint = pn.pane.HTML(
            f"<small>{HINT}</small>",
            margin=(0, 0, 8, 0),
            sizing_mode="stretch_width",
            stylesheets=[look.HTML],
        )
        fields = pn.Column(
            *(field.view for field in self.fields), margin=0, sizing_mode="stretch_width",
            styles={"max-height": "560px", "overflow-y": "auto"},
        )  # fmt: skip
        self.view = pn.Column(hint, fields, self.facts, margin=0, sizing_mode="stretch_width")

    # ---------------------------------------------------------------- events

    def show(self, rows: Rows, name: str) -> None:
        """Fill in another row; what it misses is unknown, or else the last column."""
        self.rows, self.name = rows, name
        x = as_array(rows.x[0]).astype(float)
        missing = np.isnan(x)
        if not missing.any():
            missing[-1] = True
        for field, text, gone in zip(self.fields, self._texts(x), missing, strict=True):
            field.put(text, is_known=not gone)
        self.complete()

    def _texts(self, x: np.ndarray) -> list[str]:
        """The values as text that is read back to the same numbers."""
        if self.schema is None:
            return ["" if np.isnan(one) else repr(float(one)) for one in x]
        row = as_frame(torch.as_tensor(x)[None], self.columns).iloc[0]
        texts = ["" if np.isnan(one) else str(text) for one, text in zip(x, row, strict=True)]
        return [text.removesuffix(" 00:00:00") for text in texts]  # dates

    def _changed(self) -> None:
        self.session.soon(self.complete, self.card)

    def complete(self) -> None:
        """Ask for the distribution of what is unknown now."""
        self.latest.cancel()
        self.completion, self.facts.object = None, ""
        for field in self.fields:
            field.answer.object = "<small>…</small>"
        self.known = self._known()
        self.facts.object = "<small>sampling …</small>"
        vae, seed = self.session.vae, self.session.ex.seed
        self.latest.ask(partial(condition, vae, self.known, draws=DRAWS, seed=seed), self._completed)

    def _refuse(self, text: str) -> None:
        self.facts.object = f"<p>{escape(visible(text))}</p>"
        for field in self.fields:
            field.answer.object = "<small>–</small>"

    def _known(self) -> Rows:
        """The row as the form says, with NaN for what is unknown.

        Raises:
            InputError: for a value that the column cannot have.
        """
        read = self._read()
        x = self.rows.x.clone()
        for i, field in enumerate(self.fields):
            if field.text != field.original or not field.is_known:  # others keep every digit
                x[0, i] = float(read[i])
        return Rows(x, self.rows.context)

    def _read(self) -> np.ndarray:
        texts = [field.text for field in self.fields]
        if self.schema is not None:
            frame = {column.name: [text] for column, text in zip(self.columns, texts, strict=True)}
            na = self.schema.na
            table = opened(frame, "the form", ReadOptions(na=na))
            try:
                return match(table, self.columns, "the form", na=na)[0]
            except InputError as error:
                said = str(error).partition(": correct")[0].replace(" in row 0", "")
                raise InputError(f"{said}: correct the value, or untick it") from None
        return np.array([_number(field) for field in self.fields])

    def _completed(self, completion: Completion) -> None:
        self.completion = completion
        samples, mean = as_array(completion.x[:, 0]), as_array(completion.mean[0])
        own = as_array(self.rows.x[0]).astype(float)
        words = cells(own, self.columns)
        for i, field in enumerate(self.fields):
            if not field.is_known:
                note = "" if np.isnan(own[i]) else words[i]
                field.answer.object = answer(field.column, samples[:, i], float(mean[i]), note)
        self.facts.object = completion_facts(completion)

    # ---------------------------------------------------------------- what is taken away

    def code(self) -> str:
        """Python that gives the same distributions."""
        end = "print(completion.to_frame())" if self.schema is not None else "print(completion.mean)"
        lines = ["import numpy as np", *rows_code(self.known, "y")]
        if self.schema is not None and self.known.context is None:
            frame = {
                c.name: [_value(one)] for c, one in zip(self.columns, self._texts(self._x()), strict=True)
            }
            inside = [f"    {name!r}: {value!r}," for name, value in frame.items()]
            lines = ["y = vae.schema.rows({", *inside, "})"]
        return condition_code(self.session, lines, "y", DRAWS, end)

    def _x(self) -> np.ndarray:
        return as_array(self.known.x[0]).astype(float)

    def picture(self) -> Picture:
        """The known values as a file."""
        from pyrovae.app.frame import Picture
        from pyrovae.app.pictures import file_of

        ending, content = file_of(self.scene.pictures.source(self._x()))
        return Picture(f"row{ending}", content)


def _number(field: Field) -> float:
    """The value of a column without a schema; NaN if it is unknown."""
    try:
        return float(field.text or "nan")
    except ValueError:
        name = field.column.name
        raise InputError(f"{name} is {field.text!r} in the form: write a number, or untick it") from None


def _value(text: str) -> Any:  # noqa: ANN401
    """A cell of copied code: a number where it is one, and None where there is nothing."""
    if not text:
        return None
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text
