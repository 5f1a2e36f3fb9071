"""Drawn data sets by name: "sprites", "faces", and their options in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyrovae.datasets.catalogue import canonical
from pyrovae.datasets.drawing import DRAWN, Drawing
from pyrovae.datasets.drawn import Drawn
from pyrovae.datasets.drawn_faces import faces
from pyrovae.datasets.drawn_sprites import sprites
from pyrovae.errors import InputError

__all__ = ["drawn_set", "is_drawn"]

FUNCTIONS: dict[str, Callable[..., Drawn]] = {"sprites": sprites, "faces": faces}


def is_drawn(name: Any) -> bool:  # noqa: ANN401
    """Whether data are the name of a drawn set, with or without options.

    Example:
        >>> is_drawn("sprites size 32"), is_drawn("mnist")
        (True, False)
    """
    word = canonical(name) if isinstance(name, str) else None
    return word is not None and word.split()[0] in DRAWN


def drawn_set(name: str, count: int | None = None) -> Drawn:
    """Draw a set by its name.

    Raises:
        InputError: for options that the set does not have.

    Example:
        >>> drawn_set("Sprites: size 16, grid 2 4 4 4", 50)  # doctest: +ELLIPSIS
        Drawn(sprites size 16, grid 2 4 4 4): 50 images (1, 16, 16), Factors(50 rows: shape ...
    """
    word, _, words = (canonical(name) or name).partition(" ")
    options: dict[str, Any] = dict(vars(Drawing.of(words)))
    if word == "faces":
        for option in ("binary", "colour"):
            if options.pop(option):
                raise InputError(f"{option} is for sprites, and faces are grey: leave {option} out")
    return FUNCTIONS[word](count, **options)
