"""The frame of a card: its title, what it says of errors, its code and its pictures.

A card is a class with

    Card(scene, session)       built again when the session's mixture is edited
    title                      the text in its head
    view                       a Panel object with sizing_mode="stretch_width"
    code() -> str              Python that reproduces what the card shows ("copy as Python")
    show(rows, name)           called when the chosen row changes
    moved(), chose()           optional: the point, or the component, has changed
    picture() -> Picture       optional: the file that "save picture" writes

The button "copy as Python" copies to the clipboard. Where the browser refuses, the code is shown
with its text selected.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from pyrovae.app import look
from pyrovae.app.sentences import sentence_of
from pyrovae.errors import visible

if TYPE_CHECKING:
    from pyrovae.app.scene import Scene
    from pyrovae.app.session import Session
    from pyrovae.datasets import Rows

__all__ = ["Card", "Frame", "Picture", "sentence_of"]

COPY = """
const text = cb_obj.value
if (!text) return
const show = () => {
  area.visible = true
  note.text = 'Press Ctrl+C to copy the selected code.'
  setTimeout(() => {
    const view = Bokeh.index.find_one(area)
    view.input_el.focus()
    view.input_el.select()
  }, 100)
}
const done = () => { area.visible = false; note.text = 'Copied.'; setTimeout(() => { note.text = '' }, 3000) }
if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, show)
else show()
"""


@dataclass(frozen=True)
class Picture:
    """A file with the pictures of a card.

    Attributes:
        name: its name, such as "point.svg".
        content: its bytes.
    """

    name: str
    content: bytes


class Card:
    """A card without events; subclasses define what they use.

    Arguments:
        scene: the exploration and what is drawn of it.
        session: what this tab works on.
    """

    title = ""
    view: Any

    def __init__(self, scene: Scene, session: Session) -> None:
        self.scene, self.session = scene, session

    def code(self) -> str:
        """Python code that reproduces what the card shows."""
        return self.scene.code()

    def show(self, rows: Rows, name: str) -> None:
        """The chosen row has changed."""

    def soon(self, action: Callable[[], None], wait: int = 0) -> None:
        """Run an action of this card; an error is shown in it as a sentence."""
        self.session.soon(action, self, wait=wait)


class Frame:
    """A card with its head.

    Arguments:
        card: the card.
        session: what this tab works on.
        extra: widgets that go into the head.
    """

    def __init__(self, card: Any, session: Session) -> None:  # noqa: ANN401
        import panel as pn

        self.card, self.session = card, session
        self.message = pn.pane.HTML("", visible=False, margin=0, stylesheets=[look.MESSAGE])
        self.area = pn.widgets.TextAreaInput(
            value="", visible=False, rows=8, sizing_mode="stretch_width", margin=(6, 0, 0, 0),
            max_length=10**6, css_classes=["code"], stylesheets=[look.FIELD],
        )  # fmt: skip
        self.note = pn.pane.HTML("", margin=0, stylesheets=[look.HTML], css_classes=["copied"])
        self.area.jscallback(args={"area": self.area, "note": self.note}, value=COPY)
        self.view = pn.Column(
            self._head(), self.message, card.view, self.area, self.note,
            sizing_mode="stretch_width", margin=0, css_classes=["card"], stylesheets=[look.CARD],
        )  # fmt: skip

    def _head(self) -> Any:  # noqa: ANN401
        import panel as pn

        title = pn.pane.HTML(f"<h2>{self.card.title}</h2>", margin=0, stylesheets=[look.HTML])
        copy = partial(self.session.soon, self._copy, self.card)
        buttons = [look.button("Copy as Python", copy, small=True, names=("copy",))]
        if hasattr(self.card, "picture"):
            buttons.append(self._save())
        return pn.FlexBox(
            title, pn.Row(*buttons, margin=0),
            justify_content="space-between", align_items="center", gap="6px", margin=(0, 0, 10, 0),
        )  # fmt: skip

    def _save(self) -> Any:  # noqa: ANN401
        import panel as pn

        self.saving = pn.widgets.FileDownload(
            callback=self._saved, filename="picture.svg", label="Save picture", auto=True, embed=False,
            button_type="default", margin=(0, 0, 0, 6), stylesheets=[look.BUTTON, look.SMALL],
            css_classes=["save"],
        )  # fmt: skip
        return self.saving

    def _copy(self) -> None:
        self.area.value = ""
        self.area.value = self.card.code()

    def _saved(self) -> io.BytesIO:
        from param import Skip

        try:
            picture: Picture = self.card.picture()
        except Exception as error:
            self.say(sentence_of(error))
            raise Skip from None  # nothing is saved
        self.saving.filename = picture.name
        return io.BytesIO(picture.content)

    def say(self, text: str) -> None:
        """Show a sentence above the content; an empty text removes it."""
        self.message.object = escape(visible(text))
        self.message.visible = bool(text)

    def guarded(self, action: Callable[[], None]) -> None:
        """Run an action; an error becomes a sentence in the card."""
        try:
            action()
        except Exception as error:  # noqa: BLE001
            self.say(sentence_of(error))
        else:
            self.say("")
