"""What the page says of an error."""

from __future__ import annotations

import logging

from pyrovae.errors import InputError

__all__ = ["sentence_of"]


def sentence_of(error: Exception) -> str:
    """What to say of an error: its message if it is for users; others are also logged.

    Example:
        >>> sentence_of(InputError("z has 3 entries: give 2"))
        'z has 3 entries: give 2'
    """
    if isinstance(error, InputError):
        return str(error)
    logging.getLogger(__name__).error("a card failed", exc_info=error)
    return f"this could not be computed ({type(error).__name__}); the terminal shows more"
