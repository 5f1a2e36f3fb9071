"""Pictures that can be clicked: HTML whose buttons tell the server which one it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from html import escape
from typing import Any

from pyrovae.app import look
from pyrovae.app.words import TIP

__all__ = ["Gallery", "grid", "strip"]

SCRIPT = """
export function render({model, el}) {
  const box = document.createElement('div')
  el.append(box)
  const fill = () => { box.innerHTML = model.html }
  box.onclick = event => {
    const one = event.target.closest('[data-key]')
    if (one) model.clicked = {key: one.dataset.key, at: Date.now()}
  }
  model.on('html', fill)
  fill()
}
"""


@cache
def _component() -> Any:  # noqa: ANN401
    import param
    from panel.custom import JSComponent

    class Pictures(JSComponent):  # type: ignore[misc]
        html = param.String("")
        clicked = param.Dict({})
        _esm = SCRIPT

    return Pictures


class Gallery:
    """A piece of HTML; a click on a button with `data-key` runs an action with the key.

    Arguments:
        on_click: the action.
        names: CSS classes.
    """

    def __init__(self, on_click: Callable[[str], None], names: Sequence[str] = ()) -> None:
        self.view = _component()(
            sizing_mode="stretch_width", margin=0, stylesheets=[look.HTML, TIP], css_classes=list(names)
        )
        self.view.param.watch(lambda event: on_click(str(event.new["key"])), "clicked")

    def put(self, html: str) -> None:
        """Show other HTML."""
        self.view.html = html


def grid(sources: Sequence[str], keys: Sequence[object], names: Sequence[str], least: int = 52) -> str:
    """Pictures as buttons in as many columns as fit.

    Arguments:
        sources: the addresses of the pictures.
        keys: what is said of a click on each.
        names: what each shows, for a pointer and for screen readers.
        least: the least width of a picture in pixels.
    """
    each = (_button(*one) for one in zip(sources, keys, names, strict=True))
    return f'<div class="rows" style="--least:{least}px">{"".join(each)}</div>'


def strip(sources: Sequence[str], keys: Sequence[object], names: Sequence[str]) -> str:
    """Pictures as buttons in one line, as wide as the card."""
    each = (f"<div>{_button(*one)}</div>" for one in zip(sources, keys, names, strict=True))
    return f'<div class="strip">{"".join(each)}</div>'


def _button(source: str, key: object, name: str) -> str:
    text = escape(name)
    return (
        f'<button type="button" data-key="{escape(str(key))}" title="{text}" aria-label="{text}">'
        f'<img src="{source}" alt=""></button>'
    )
