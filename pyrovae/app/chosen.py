"""The row that is chosen in a tab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyrovae.datasets import Rows
from pyrovae.numerics import Array

if TYPE_CHECKING:
    from pyrovae.exploring.slices import Slice

__all__ = ["Chosen"]


@dataclass(frozen=True)
class Chosen:
    """The chosen row.

    Attributes:
        rows: one row, with its context.
        name: "row 36", or "uploaded".
        index: its number in the exploration, or None for another row.
        z: latents that stand for it, (D,).
        mean: the mean of q(z|x), (D,); z itself, if the latents are real.
        sd: the standard deviations of q(z|x), (D,).
        slice: the real latents, with the context and the class of this row.
    """

    rows: Rows
    name: str
    index: int | None
    z: Array
    mean: Array
    sd: Array
    slice: Slice
