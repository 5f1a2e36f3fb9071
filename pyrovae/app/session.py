"""What one browser tab works on: the chosen row, the point to decode, the component, and edits.

    row        a row of the exploration, or an uploaded one        -> card.show(rows, name)
    point      latents to decode, moved by the map and by sliders  -> card.moved()
    component  a component of a mixture                            -> card.chose()
    edit       another prior, in this tab only                     -> all cards are built again

For each change, cards have the methods on the right, which are all optional but `show`. A
change that a card asks for in an event runs in `soon`, so that an error becomes a sentence in that
card.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyrovae.app.chosen import Chosen
from pyrovae.app.sentences import sentence_of
from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.numerics import Array

if TYPE_CHECKING:
    from pyrovae.app.scene import Scene
    from pyrovae.exploring import Exploration
    from pyrovae.exploring.slices import Slice
    from pyrovae.vae import VAE

__all__ = ["Session"]

SOON = 30  # milliseconds: the browser shows the first results before more are computed


class Session:
    """The state of one tab.

    Arguments:
        scene: the exploration, shared by all tabs until this one edits the mixture.

    Attributes:
        scene: what is shown.
        chosen: the chosen row.
        z: the point to decode, (D,).
        where: a description of the point.
        component: the chosen component of a mixture, else 0.
        history: the scenes before each edit, with the component and the notice of then.
        notice: what the last edit did to log p(x).
        paths: paths between two points, each (S, D).
        choices: what is chosen in the cards, kept when they are built again.
    """

    def __init__(self, scene: Scene) -> None:
        import panel as pn
        from bokeh.plotting import curdoc

        served = pn.state.curdoc  # of the tab, which bokeh does not know with Panel 1.7
        self.document, self.closed = curdoc() if served is None else served, False
        self.document.on_session_destroyed(self._close)
        self.scene = scene
        self.frames: list[Any] = []
        self.retired: list[Any] = []
        self.history: list[tuple[Scene, int, str]] = []
        self.notice = ""
        self.paths: list[Array] = []
        self.choices: dict[str, Any] = {}
        self.on_edit: Callable[[], None] = lambda: None
        self.on_error: Callable[[str], None] = lambda text: None
        self.component = scene.largest
        self.chosen = self._row(0)
        self.z, self.where = self.chosen.z, f"the encoding of {self.chosen.name}"
        if scene.mixture is not None:
            self._go_to_mean()

    @property
    def ex(self) -> Exploration:
        """The exploration of this tab."""
        return self.scene.ex

    @property
    def vae(self) -> VAE:
        """The VAE of this tab, with its edits."""
        return self.ex.vae

    @property
    def run(self) -> str:
        """The run folder or model file, for copied code; empty for a VAE from memory."""
        return self.scene.run

    # ---------------------------------------------------------------- changes

    def choose_row(self, i: int) -> None:
        """Choose a row of the exploration."""
        self._choose(self._row(i))

    def choose_rows(self, rows: Rows, name: str) -> None:
        """Choose another row, such as an uploaded one; all cards follow.

        Arguments:
            rows: one row.
            name: a word for it.
        """
        self._choose(self._other(rows, name))

    def move(self, z: Array, where: str) -> None:
        """Move the point to latents z (D,), and describe it."""
        self.forget()
        self.z, self.where = np.asarray(z, dtype=float), where
        self.tell("moved")

    def forget(self) -> None:
        """Drop moves that are not answered yet, so that they do not undo this one."""
        for frame in self.frames:
            getattr(frame.card, "forget", lambda: None)()

    def choose_component(self, k: int) -> None:
        """Choose a component, and move the point to its mean."""
        self.component = k
        self.forget()
        self.tell("chose")
        self._go_to_mean()
        self.tell("moved")

    def walk(self, paths: list[Array]) -> None:
        """Show paths, each (S, D), on the map."""
        self.paths = paths
        self.tell("walked")

    def edit(self, scene: Scene, component: int, notice: str) -> None:
        """Replace the scene in this tab by one with another prior; the notice says what it did."""
        self.history.append((self.scene, self.component, self.notice))
        self._put(scene, component, notice)

    def undo(self) -> None:
        """Return to the scene before the last edit."""
        if self.history:
            self._put(*self.history.pop())

    def _put(self, scene: Scene, component: int, notice: str) -> None:
        self.scene, self.component, self.notice, self.paths = scene, component, notice, []
        old = self.chosen
        self.chosen = self._other(old.rows, old.name) if old.index is None else self._row(old.index)
        self._go_to_mean()
        self.on_edit()

    def _choose(self, chosen: Chosen) -> None:
        moved = self.scene.follows_row(self.chosen, chosen)
        self.chosen = chosen
        self.tell("show", chosen.rows, chosen.name)
        if moved:  # the point is decoded with the context of the chosen row
            self.tell("moved")

    def tell(self, what: str, *args: Any) -> None:  # noqa: ANN401
        for frame in list(self.frames):
            action = getattr(frame.card, what, None)
            if action is not None:
                frame.guarded(partial(action, *args))

    # ---------------------------------------------------------------- values

    def decode(self, z: Array) -> NDArray:
        """E[x|z] at latents (..., D), with the context or class of the chosen row or component."""
        return self.slice.decoded(z)

    @property
    def slice(self) -> Slice:
        """The real latents, with what else the decoder reads."""
        if self.scene.mixture is not None and self.scene.mixture.classed:
            return self.chosen.slice.of_class(self.component)
        return self.chosen.slice

    def _row(self, i: int) -> Chosen:
        ex = self.ex
        return Chosen(
            ex.rows[i : i + 1], f"row {ex.index[i]}", i, ex.points[i], ex.z[i], ex.encoding.sd[i], ex.slice(i)
        )

    def _other(self, rows: Rows, name: str) -> Chosen:
        encoding, points, of_row = self.ex.read(rows)
        return Chosen(rows, name, None, points[0], encoding.mean[0], encoding.sd[0], of_row)

    def _go_to_mean(self) -> None:
        assert self.scene.mixture is not None
        self.z, self.where = (
            self.scene.mixture.mean[self.component],
            f"the mean of component {self.component}",
        )

    # ---------------------------------------------------------------- events

    def soon(self, action: Callable[[], None], card: Any = None, *, wait: int = 0) -> None:  # noqa: ANN401
        """Run an action with the lock of the document; an error becomes a sentence in its card.

        Arguments:
            action: what to do.
            card: the card that asked for it; by default the one whose method it is.
            wait: milliseconds.
        """
        if self.closed:
            return
        guarded = partial(self.guarded, action, card)
        if wait:
            self.document.add_timeout_callback(guarded, wait)
        else:
            self.document.add_next_tick_callback(guarded)

    def guarded(self, action: Callable[[], None], card: Any = None) -> None:  # noqa: ANN401
        """Run an action now; an error becomes a sentence in its card, or on top of the page."""
        owner = _owner(action) if card is None else card
        card = getattr(owner, "card", owner)  # a part of a card names it
        if self.closed or any(card is old for old in self.retired):
            return  # an answer to a card that was replaced after an edit
        frame = next((frame for frame in self.frames if frame.card is card), None)
        if frame is not None:
            frame.guarded(action)
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001
            self.on_error(sentence_of(error))

    def _close(self, session_context: Any) -> None:  # noqa: ANN401
        """The tab was closed: what is still computed for it is dropped."""
        self.closed = True
        self.retire()

    def retire(self) -> None:
        """Forget all cards, before others are made; what they still wait for is dropped."""
        self.retired = [*self.retired, *(frame.card for frame in self.frames)]
        self.frames = []

    # ---------------------------------------------------------------- code

    def literal(self, z: Array | None = None) -> str:
        """Latents as Python; those of the point by default."""
        return f"np.array({np.asarray(self.z if z is None else z, dtype=float).tolist()!r})"

    def reads(self, chosen: Chosen | None = None, component: int | None = None) -> str:
        """The option of `ex.decode` for what the decoder reads besides z.

        Arguments:
            chosen: the row whose context it reads; the chosen one by default.
            component: the class that it reads; the chosen one by default.
        """
        mixture, chosen = self.scene.mixture, self.chosen if chosen is None else chosen
        if mixture is not None:
            return f", k={self.component if component is None else component}" if mixture.classed else ""
        if chosen.slice.context is None and not len(chosen.slice.tail):
            return ""
        if chosen.index is None:
            raise InputError("an uploaded row has no number in the data: choose a row of the data first")
        return f", row={chosen.index}"


def _owner(action: Any) -> Any:  # noqa: ANN401
    """The object whose method an action is."""
    return getattr(getattr(action, "func", action), "__self__", None)
