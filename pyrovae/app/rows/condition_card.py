"""The card for what the known part of a row says about the rest, p(x|y)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrovae.app import look
from pyrovae.app.rows.form import Form
from pyrovae.app.rows.painting import Painting
from pyrovae.app.rows.values import chosen_code, condition_code
from pyrovae.report import is_image

if TYPE_CHECKING:
    from pyrovae.app.frame import Picture
    from pyrovae.app.scene import Scene
    from pyrovae.app.session import Session
    from pyrovae.datasets import Rows

__all__ = ["ConditionCard"]

FEW, MOST = 12, 60  # entries of a vector, and columns of a table, for which there is a form


class ConditionCard:
    """Erase a part of the chosen row, and see samples of it given the rest.

    Images have a brush; tables and short vectors have a form.

    Arguments:
        scene: the exploration and what is drawn of it.
        session: what this tab works on.
    """

    def __init__(self, scene: Scene, session: Session) -> None:
        shape, schema = tuple(session.vae.event_shape), session.vae.schema
        most = FEW if schema is None or schema.columns is None else MOST
        kind: Any = Advice
        if is_image(shape):
            kind = Painting
        elif len(shape) == 1 and shape[0] <= most:
            kind = Form
        self.part = kind(scene, session, self)
        self.title, self.view = self.part.title, self.part.view

    def show(self, rows: Rows, name: str) -> None:
        """Start from another row."""
        self.part.show(rows, name)

    def code(self) -> str:
        """Python that gives the same samples."""
        return self.part.code()

    def picture(self) -> Picture:
        """What is known and what it says about the rest, as a file."""
        return self.part.picture()


class Advice:
    """What to do for data that have neither a brush nor a form."""

    title = "Missing values"

    def __init__(self, scene: Scene, session: Session, card: ConditionCard) -> None:
        import panel as pn

        self.scene, self.session = scene, session
        text = (
            "A row of this shape has too many values for a form. In Python, set the unknown ones to NaN: "
            "<code>pv.condition(vae, y)</code> gives samples of them, their mean and log p(y). "
            "“Copy as Python” gives an example for the chosen row."
        )
        self.view = pn.pane.HTML(text, sizing_mode="stretch_width", margin=0, stylesheets=[look.HTML])

    def show(self, rows: Rows, name: str) -> None:
        """Take another row as the example."""
        self.rows = rows

    def code(self) -> str:
        """Python for the chosen row with its last half missing."""
        lines = [*chosen_code(self.session, "rows"), "y = rows.x.clone()"]
        lines.append("y.flatten(1)[:, y[0].numel() // 2 :] = np.nan  # unknown: the last half")
        return condition_code(self.session, lines, "pv.Rows(y, rows.context)", 100, "print(completion.mean)")

    def picture(self) -> Picture:
        """The chosen row as a file."""
        from pyrovae.app.frame import Picture
        from pyrovae.app.pictures import file_of

        ending, content = file_of(self.scene.pictures.source(self.rows.x[0].cpu()))
        return Picture(f"row{ending}", content)
