"""Classes by name: parts and methods are found as subclasses of their base class."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Sequence

__all__ = ["meant_by", "named_classes", "names_of", "near_names"]


def names_of(base: type, folder: str = "") -> list[str]:
    """The names of the concrete subclasses of a class, of one folder of the package if given."""
    return list(named_classes(base, folder))


def named_classes(base: type, folder: str = "") -> dict[str, type]:
    """The concrete subclasses of a class, by name."""
    classes = [c for c in _subclasses(base) if not inspect.isabstract(c) and not c.__name__.startswith("_")]
    classes = [c for c in classes if c.__module__.startswith(folder)]
    return {cls.__name__: cls for cls in sorted(classes, key=lambda cls: cls.__name__.lower())}


def near_names(name: str, names: Sequence[str]) -> list[str]:
    """At most two names that a misspelt name may mean."""
    lower = {n.lower(): n for n in names}
    return [lower[n] for n in difflib.get_close_matches(name.lower(), lower, n=2, cutoff=0.6)]


def meant_by(name: str, names: Sequence[str], shown: Callable[[str], str] = str) -> str:
    """The question "did you mean ...? " for a misspelt name, with a space behind it; or nothing.

    Arguments:
        name: the name.
        names: the names that exist.
        shown: how a name is written; `repr` for names in data.

    Example:
        >>> meant_by("shfit", ["shift", "noise"]), meant_by("blur", ["shift", "noise"])
        ('did you mean shift? ', '')
    """
    near = near_names(name, names)
    return f"did you mean {' or '.join(map(shown, near))}? " if near else ""


def _subclasses(base: type) -> Iterator[type]:
    cls: type
    for cls in base.__subclasses__():
        yield cls
        yield from _subclasses(cls)
