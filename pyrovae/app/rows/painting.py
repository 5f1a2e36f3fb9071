"""The brush on an image, with completions of what it erased."""

from __future__ import annotations

import base64
import io
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyrovae.app import look
from pyrovae.app.pictures import img
from pyrovae.app.rows.browser import BRUSH_STYLE, brush
from pyrovae.app.rows.latest import Latest
from pyrovae.app.rows.style import ROWS
from pyrovae.app.rows.values import chosen_code, completion_facts, condition_code
from pyrovae.app.words import TIP, tip
from pyrovae.datasets import Rows
from pyrovae.errors import visible
from pyrovae.tasks import Completion, condition

if TYPE_CHECKING:
    from pyrovae.app.frame import Picture
    from pyrovae.app.scene import Scene
    from pyrovae.app.session import Session

__all__ = ["Painting"]

DRAWS = 8
HINT = "Drag over the image to erase pixels. The completions are samples of the whole image given the rest."


class Painting:
    """An image with a brush, and its completions.

    Arguments:
        scene: the exploration and what is drawn of it.
        session: what this tab works on.
        card: the card in which an error becomes a sentence.
    """

    title = "Erase and complete"

    def __init__(self, scene: Scene, session: Session, card: Any) -> None:  # noqa: ANN401
        import panel as pn

        self.scene, self.session, self.card = scene, session, card
        self.latest = Latest(session, card, self._refuse)
        self.completion: Completion | None = None
        self.shape = tuple(session.vae.event_shape)
        self.brush = brush()(
            across=self.shape[2], down=self.shape[1], erased="0" * self.count, margin=0,
            sizing_mode="stretch_width", stylesheets=[BRUSH_STYLE], css_classes=["painting"],
            styles={"flex": "1 1 210px", "max-width": "300px", "min-width": "190px"},
        )  # fmt: skip
        self.brush.param.watch(self._painted, "stroke")
        self.html = pn.pane.HTML(
            "", margin=0, sizing_mode="stretch_width", stylesheets=[look.HTML, TIP, ROWS],
            styles={"flex": "2 1 250px", "min-width": "0"}, css_classes=["completions"],
        )  # fmt: skip
        self.view = pn.FlexBox(self.brush, self.html, gap="16px", sizing_mode="stretch_width", margin=0)

    @property
    def count(self) -> int:
        """The number of pixels."""
        return self.shape[1] * self.shape[2]

    @property
    def mask(self) -> np.ndarray:
        """Whether each pixel is erased, (height, width)."""
        return np.array([one == "1" for one in self.brush.erased]).reshape(self.shape[1:])

    @property
    def known(self) -> Rows:
        """The row with NaN for each erased pixel."""
        gone = torch.as_tensor(self.mask, device=self.rows.x.device)
        return Rows(torch.where(gone, torch.nan, self.rows.x), self.rows.context)

    # ---------------------------------------------------------------- events

    def show(self, rows: Rows, name: str) -> None:
        """Start from another image, of which only missing pixels are erased."""
        self.rows, self.name = rows, name
        self.latest.cancel()
        self.completion = None
        x = np.asarray(rows.x[0].cpu())
        missing = np.isnan(x).any(0).reshape(-1)
        self.brush.param.update(
            image=self.scene.pictures.source(x),
            erased="".join("1" if gone else "0" for gone in missing),
            version=self.brush.version + 1,
        )
        self.complete()

    def _painted(self, event: Any) -> None:  # noqa: ANN401
        if event.new["version"] == self.brush.version:
            self.brush.erased = event.new["erased"]
            self.session.soon(self.complete, self.card)

    def complete(self) -> None:
        """Ask for completions of what is erased now."""
        self.latest.cancel()
        if not self.mask.any():
            self.completion, self.html.object = None, f"<small>{HINT}</small>"
            return
        if self.completion is None:
            self.html.object = "<small>sampling …</small>"
        vae, seed = self.session.vae, self.session.ex.seed
        self.latest.ask(partial(condition, vae, self.known, draws=DRAWS, seed=seed), self._completed)

    def _refuse(self, text: str) -> None:
        self.completion, self.html.object = None, f"<p>{escape(visible(text))}</p>"

    def _completed(self, completion: Completion) -> None:
        self.completion = completion
        size = self.scene.pictures.size(64)
        each = [(x, "completion") for x in completion.x[:, 0]]
        images = "".join(self._img(x, size, name) for x, name in each)
        mean = self._img(completion.mean[0], self.scene.pictures.size(132), "mean")
        self.html.object = (
            f'<div class="split"><figure>{mean}<figcaption>{tip("mean", "the mean, E[x|y]")}</figcaption>'
            f'</figure><div class="facts">{completion_facts(completion)}</div></div>'
            f"<p><small>{tip('completion', f'{DRAWS} completions')}</small></p>"
            f'<div class="grid">{images}</div>'
        )

    def _img(self, x: torch.Tensor, size: tuple[int, int], name: str) -> str:
        return img(self.scene.pictures.source(x.cpu()), size, name)

    # ---------------------------------------------------------------- what is taken away

    def code(self) -> str:
        """Python that gives the same completions."""
        lines = [*chosen_code(self.session, "rows"), *self._erasing()]
        return condition_code(self.session, lines, "pv.Rows(y, rows.context)", DRAWS, "completion.plot()")

    def _erasing(self) -> list[str]:
        """Lines of Python that set the erased pixels of y to NaN."""
        mask, (height, width) = self.mask, self.shape[1:]
        lines = ["y = rows.x.clone()"]
        for name, columns in (("left", slice(0, width // 2)), ("right", slice(width - width // 2, None))):
            half = np.zeros_like(mask)
            half[:, columns] = True
            if (mask == half).all():
                text = f": {width // 2}" if name == "left" else f"{width - width // 2} :"
                return [*lines, f"y[..., {text.replace(': ', ':')}] = np.nan  # the {name} half is erased"]
        bits = np.packbits(mask).tobytes().hex()
        pieces = [bits[i : i + 90] for i in range(0, len(bits), 90)]
        return [
            *lines,
            "import torch",
            "bits = bytes.fromhex(",
            *(f'    "{piece}"' for piece in pieces),
            ")",
            f'erased = np.unpackbits(np.frombuffer(bits, "uint8"))[: {height * width}]',
            f"erased = erased.reshape({height}, {width})",
            "y[..., torch.as_tensor(erased == 1)] = np.nan",
        ]

    def picture(self) -> Picture:
        """The known pixels, the mean and the completions in one image, each magnified."""
        from PIL import Image

        from pyrovae.app.frame import Picture

        parts = [self.known.x[0]]
        if self.completion is not None:
            parts += [self.completion.mean[0], *self.completion.x[:, 0]]
        files = [self.scene.pictures.source(part.cpu()).partition(",")[2] for part in parts]
        images = [Image.open(io.BytesIO(base64.b64decode(file))) for file in files]
        width, height, scale = self.shape[2], self.shape[1], max(4, -(-128 // self.shape[2]))
        sheet = Image.new(images[0].mode, ((width + 1) * len(images) * scale, height * scale), "white")
        for i, one in enumerate(images):
            large = one.resize((width * scale, height * scale), Image.Resampling.NEAREST)
            sheet.paste(large, (i * (width + 1) * scale, 0))
        file = io.BytesIO()
        sheet.save(file, "PNG")
        return Picture("completions.png", file.getvalue())
