"""Optional dependencies, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from pyrovae.errors import InputError

__all__ = ["require"]


def require(module: str, extra: str, what: str) -> ModuleType:
    """Import a module of an optional dependency.

    Arguments:
        module: its import path.
        extra: the name of the extra in pyproject.toml.
        what: what needs it, as the subject of the message.

    Raises:
        InputError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise InputError(f"{what} needs the extra `{extra}`: pip install 'pyrovae[{extra}]'") from None
