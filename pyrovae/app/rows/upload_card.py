"""The card for a row of the user: an image, a row of a table, or an array."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.app import look
from pyrovae.app.pictures import img
from pyrovae.app.rows.browser import FILES_STYLE, LIMIT, file_field
from pyrovae.app.rows.reading import MOST, Upload, kinds_of, read_file, read_text, too_large
from pyrovae.app.rows.style import ROWS
from pyrovae.app.rows.values import chosen_code
from pyrovae.app.tables import columns_of

if TYPE_CHECKING:
    from pyrovae.app.scene import Scene
    from pyrovae.app.session import Session
    from pyrovae.datasets import Rows
    from pyrovae.datasets.columns import Column

__all__ = ["UploadCard"]


class UploadCard:
    """A file of the user, of which one row is chosen for all cards.

    Arguments:
        scene: the exploration and what is drawn of it.
        session: what this tab works on.
    """

    title = "Your own data"

    def __init__(self, scene: Scene, session: Session) -> None:
        import panel as pn

        self.scene, self.session = scene, session
        self.upload: Upload | None = None
        kinds = kinds_of(session.vae)
        self.columns = columns_of(session.ex)
        self.files = file_field()(
            accept=",".join(kinds), note=self._note(), sizing_mode="stretch_width", margin=0,
            stylesheets=[FILES_STYLE], css_classes=["files"],
        )  # fmt: skip
        self.files.param.watch(self._sent, "sent")
        self.html = pn.pane.HTML(
            "", sizing_mode="stretch_width", margin=(8, 0, 0, 0), stylesheets=[look.HTML, ROWS]
        )
        self.number = pn.widgets.IntInput(
            name="row of the file", value=0, start=0, width=120, margin=(8, 0, 0, 0), visible=False,
            stylesheets=[look.FIELD], css_classes=["of-file"],
        )  # fmt: skip
        self.number.param.watch(self._picked, "value")
        parts = [self.files, *(self._lines(self.columns) if self.columns else ()), self.number, self.html]
        self.view = pn.Column(*parts, sizing_mode="stretch_width", margin=0)

    def _note(self) -> str:
        shape = self.session.vae.event_shape
        if self.columns:
            return f"a .csv, .parquet or .npy file with the columns of the training data, up to {LIMIT} MB"
        if len(shape) == 3 and kinds_of(self.session.vae)[0] == ".png":
            colour = "grey" if shape[0] == 1 else "in colour"
            return f"an image, read {colour} with {shape[2]} × {shape[1]} pixels, or a .npy; up to {LIMIT} MB"
        return f"a .npy file of shape {tuple(shape)} or {('N', *shape)}, up to {LIMIT} MB".replace("'", "")

    def _lines(self, columns: Sequence[Column]) -> tuple[Any, ...]:
        """A field for the values of one row."""
        import panel as pn

        names = ", ".join(column.name for column in columns)
        self.text = pn.widgets.TextAreaInput(
            placeholder=f"or write a row: {names}", rows=2, sizing_mode="stretch_width", margin=(8, 0, 0, 0),
            max_length=100_000, stylesheets=[look.FIELD], css_classes=["line"],
        )  # fmt: skip
        read = pn.widgets.Button(name="Read the row", margin=(6, 0, 0, 0), stylesheets=[look.BUTTON])
        read.on_click(lambda event: self.session.soon(self._written, self))
        return self.text, read

    # ---------------------------------------------------------------- events

    def show(self, rows: Rows, name: str) -> None:
        """Another row was chosen."""

    def _sent(self, event: Any) -> None:  # noqa: ANN401
        if event.new:
            self.session.soon(partial(self.read, event.new), self)

    def read(self, sent: dict[str, Any]) -> None:
        """Read a file that the browser sent.

        Raises:
            InputError: for a file that the model cannot read.
        """
        name, size = str(sent["name"]), int(sent["size"])
        if size > LIMIT * 10**6:
            raise too_large(name, size)
        content = base64.b64decode(sent["content"])
        x = self.session.ex.x
        is_binary = bool(np.isin(x, (0, 1)).all())
        self._take(read_file(self.session.vae, name, content, is_binary=is_binary))

    def _written(self) -> None:
        self._take(read_text(self.session.vae, self.text.value_input or self.text.value or ""))

    def _take(self, upload: Upload) -> None:
        self.upload = upload
        last = len(upload.rows) - 1
        self.number.param.update(value=0, end=last, visible=last > 0)
        self._choose(0)

    def _picked(self, event: Any) -> None:  # noqa: ANN401
        if self.upload is not None and event.new is not None and event.new != self.at:
            self.session.soon(partial(self._choose, int(event.new)), self)

    def _choose(self, i: int) -> None:
        assert self.upload is not None
        self.at, rows = i, self.upload.rows
        name = self.upload.name if len(rows) == 1 else f"row {i} of {self.upload.name}"
        self.html.object = self._said(name)
        self.session.choose_rows(rows[i : i + 1], name)

    def _said(self, name: str) -> str:
        assert self.upload is not None
        pictures, rows = self.scene.pictures, self.upload.rows
        source = pictures.source(np.asarray(rows.x[self.at].cpu()))
        few = f"the first {MOST:,} rows can be chosen" if len(rows) == MOST else ""
        notes = "".join(f"<p><small>{escape(note)}</small></p>" for note in (*self.upload.notes, few) if note)
        text = f"<b>{escape(name)}</b>, as the model reads it. All cards show it now."
        picture = img(source, pictures.size(240 if self.columns else 120), "uploaded")
        return f'<div class="split">{picture}<div class="facts"><div>{text}</div>{notes}</div></div>'

    # ---------------------------------------------------------------- what is taken away

    def code(self) -> str:
        """Python that reads the file and gives log p(x) of its rows."""
        read = chosen_code(self.session, "x") if self.upload is None else self.upload.code
        seed = self.session.ex.seed
        return self.scene.code("", *read, f"print(pv.score(vae, x, particles=1000, seed={seed}))")
