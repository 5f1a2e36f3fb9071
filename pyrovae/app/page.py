"""One page of the app: its cards, in one column on a phone and in two or three on a screen.

    left     the map, the decoded point, a path between two points, and the sliders
    middle   the chosen row, an uploaded one, and what a part of it says about the rest
    right    the components of a mixture, and the nearest rows; below the middle on a small screen

Each card is a class (`frame`), which the `Session` of its tab calls after each change.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from pyrovae.app import look
from pyrovae.app.component_views import ComponentCard, ComponentsCard
from pyrovae.app.frame import Frame
from pyrovae.app.latent_map import MapCard
from pyrovae.app.point_card import NeighbourCard, PathCard, PointCard
from pyrovae.app.rows import ConditionCard, RowCard, UploadCard
from pyrovae.app.session import Session
from pyrovae.app.sliders_card import SlidersCard
from pyrovae.errors import visible

if TYPE_CHECKING:
    from pyrovae.app.scene import Scene

__all__ = ["Page"]

LEFT = (MapCard, PointCard, PathCard, SlidersCard)
MIDDLE = (RowCard, ConditionCard, UploadCard)
RIGHT = (NeighbourCard,)
OF_MIXTURES = (ComponentsCard, ComponentCard)


class Page:
    """The page of one browser tab.

    Arguments:
        scene: the data that all pages share.
    """

    def __init__(self, scene: Scene) -> None:
        import panel as pn

        self.session = Session(scene)
        self.session.on_edit = self.build
        self.session.on_error = self._say
        self.message = pn.pane.HTML(
            "", visible=False, margin=(0, 12, 8, 12), sizing_mode="stretch_width", stylesheets=[look.MESSAGE]
        )
        self.header = pn.pane.HTML(
            "", sizing_mode="stretch_width", margin=(12, 16, 10, 16), stylesheets=[look.HEADER]
        )
        self.stacks = [self._stack() for _ in range(3)]
        pair = self._stack("pair")
        pair.objects = self.stacks[1:]
        self.columns = pn.Column(
            self.stacks[0], pair, sizing_mode="stretch_width", margin=0, css_classes=["columns"],
            stylesheets=[look.COLUMNS],
        )  # fmt: skip
        self.build()

    def build(self) -> None:
        """Make all cards, for a new tab or after an edit."""
        session, scene = self.session, self.session.scene
        mixture = () if scene.mixture is None else OF_MIXTURES
        session.retire()
        groups = [
            [Frame(card(scene, session), session) for card in classes]
            for classes in (LEFT, MIDDLE, (*mixture, *RIGHT))
        ]
        session.frames = [frame for frames in groups for frame in frames]
        session.tell("show", session.chosen.rows, session.chosen.name)
        for stack, frames in zip(
            self.stacks, groups, strict=True
        ):  # last, so that the browser gets them whole
            stack.objects = [frame.view for frame in frames]
        facts = "".join(f"<span>{escape(fact)}</span>" for fact in scene.facts())
        self.header.object = f"<h1>{escape(scene.title)}</h1>{facts}"

    def _stack(self, *names: str) -> Any:  # noqa: ANN401
        """Cards below each other."""
        import panel as pn

        classes = ["stack", *names]
        return pn.Column(sizing_mode="stretch_width", margin=0, css_classes=classes, stylesheets=[look.STACK])

    def card(self, kind: type) -> Any:  # noqa: ANN401
        """The card of a class."""
        return next(frame.card for frame in self.session.frames if isinstance(frame.card, kind))

    def _say(self, text: str) -> None:
        self.message.object = escape(visible(text))
        self.message.visible = bool(text)

    def view(self) -> Any:  # noqa: ANN401
        """The page."""
        import panel as pn

        return pn.Column(self.header, self.message, self.columns, sizing_mode="stretch_width", margin=0)
