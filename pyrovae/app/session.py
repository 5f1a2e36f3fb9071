"""What one browser tab works on: the chosen row, the point to decode, the component, and edits.

    row        a row of the exploration, or an uploaded one        -> card.show(rows, name)
    point      latents to decode, moved by the map and by sliders  -> card.moved()
    component  a component of a mixture                            -> card.chose()
    edit       another prior, in this tab only                     -> all cards are built again

Cards are told of each change by the methods on the right, which are all optional but `show`. A
change that a card asks for in an event runs in `soon`, so that an error becomes a sentence in that
card.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyrovae.datasets import Rows
from pyrovae.numerics import Array

if TYPE_CHECKING:
    from pyrovae.app.scene import Scene
    from pyrovae.exploring import Exploration
    from pyrovae.exploring.slices import Slice
    from pyrovae.vae import VAE

__all__ = ["Chosen", "Session"]

SOON = 30  # milliseconds: the browser shows the first results before more are computed


@dataclass(frozen=True)
class Chosen:
    """The chosen row.

    Attributes:
        rows: one row, with its context.
        name: "row 36", or "uploaded".
        index: its number in the exploration, or None for another row.
        z: latents that stand for it, (D,).
        sd: the standard deviations of q(z|x), (D,).
        slice: the real latents, with the context and the class of this row.
    """

    rows: Rows
    name: str
    index: int | None
    z: Array
    sd: Array
    slice: Slice


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
        history: the scenes before each edit, with the component that was chosen then.
    """

    def __init__(self, scene: Scene) -> None:
        from bokeh.plotting import curdoc

        self.document = curdoc()
        self.scene = scene
        self.frames: list[Any] = []
        self.history: list[tuple[Scene, int]] = []
        self.on_edit: Callable[[], None] = lambda: None
        self.on_error: Callable[[str], None] = lambda text: None
        self.component = scene.largest
        self.chosen = self._row(0)
        self.z, self.where = self.chosen.z, f"the encoding of {self.chosen.name}"
        if scene.mixture is not None:
            self.z, self.where = scene.mixture.mean[self.component], self._mean()

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
        self.z, self.where = np.asarray(z, dtype=float), where
        self._tell("moved")

    def choose_component(self, k: int) -> None:
        """Choose a component, and move the point to its mean."""
        self.component = k
        self._tell("chose")
        self.move(self.scene.mixture.mean[k], self._mean())

    def edit(self, scene: Scene, component: int) -> None:
        """Replace the scene in this tab by one with another prior."""
        self.history.append((self.scene, self.component))
        self._put(scene, component)

    def undo(self) -> None:
        """Return to the scene before the last edit."""
        if self.history:
            self._put(*self.history.pop())

    def _put(self, scene: Scene, component: int) -> None:
        self.scene, self.component = scene, component
        old = self.chosen
        self.chosen = self._other(old.rows, old.name) if old.index is None else self._row(old.index)
        self.z, self.where = scene.mixture.mean[component], self._mean()
        self.on_edit()

    def _choose(self, chosen: Chosen) -> None:
        moved = self.scene.follows_row(self.chosen, chosen)
        self.chosen = chosen
        self._tell("show", chosen.rows, chosen.name)
        if moved:  # the point is decoded with the context of the chosen row
            self._tell("moved")

    def _tell(self, what: str, *args: Any) -> None:  # noqa: ANN401
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
            ex.rows[i : i + 1], f"row {ex.index[i]}", i, ex.points[i], ex.encoding.sd[i], ex.slice(i)
        )

    def _other(self, rows: Rows, name: str) -> Chosen:
        rows = self.ex.space.rows(rows)
        if rows.index is None:
            rows = replace(rows, index=torch.full((1,), -1))
        encoding, points, slices = self.ex.read(rows)
        return Chosen(rows, name, None, points[0], encoding.sd[0], slices)

    def _mean(self) -> str:
        return f"the mean of component {self.component}"

    # ---------------------------------------------------------------- events

    def soon(self, action: Callable[[], None], card: Any = None, *, wait: int = 0) -> None:  # noqa: ANN401
        """Run an action with the lock of the document; an error becomes a sentence in its card.

        Arguments:
            action: what to do.
            card: the card that asked for it; by default the one whose method it is.
            wait: milliseconds.
        """
        frame = self._frame_of(card if card is not None else _owner(action))
        guarded = partial(frame.guarded, action) if frame is not None else partial(self._guarded, action)
        if wait:
            self.document.add_timeout_callback(guarded, wait)
        else:
            self.document.add_next_tick_callback(guarded)

    def _frame_of(self, card: Any) -> Any:  # noqa: ANN401
        return next((frame for frame in self.frames if frame.card is card), None)

    def _guarded(self, action: Callable[[], None]) -> None:
        from pyrovae.app.frame import sentence_of

        try:
            action()
        except Exception as error:  # noqa: BLE001
            self.on_error(sentence_of(error))


def _owner(action: Any) -> Any:  # noqa: ANN401
    """The object whose method an action is."""
    return getattr(getattr(action, "func", action), "__self__", None)
