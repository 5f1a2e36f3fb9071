"""Models for other people and other programs: one file with a model card, the Hub, ONNX.

share("runs/a", "digits.pyrovae")            one file and its model card
push_to_hub("runs/a", "user/digits")         the same on the Hugging Face Hub
export(vae, "onnx", out="folder")            encoder, decoder and log p(x) for other programs
"""

from typing import TYPE_CHECKING

from pyrovae.lazy import lazy

if TYPE_CHECKING:
    from pyrovae.exporting.card import model_card
    from pyrovae.exporting.exported import Exported, export
    from pyrovae.exporting.shared import SharedModel, push_to_hub, share

__all__ = ["Exported", "SharedModel", "export", "model_card", "push_to_hub", "share"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "card": ["model_card"],
            "exported": ["Exported", "export"],
            "shared": ["SharedModel", "push_to_hub", "share"],
        },
    )
