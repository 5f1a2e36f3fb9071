"""Classes by name: a part or a method is known because its class exists."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Sequence

__all__ = ["named_classes", "names_of", "near_names"]


def names_of(base: type) -> list[str]:
    """The names of the subclasses of a class that can be built."""
    return list(named_classes(base))


def named_classes(base: type) -> dict[str, type]:
    """The subclasses of a class that can be built, by name."""
    classes = [c for c in _subclasses(base) if not inspect.isabstract(c) and not c.__name__.startswith("_")]
    return {cls.__name__: cls for cls in sorted(classes, key=lambda cls: cls.__name__.lower())}


def near_names(name: str, names: Sequence[str]) -> list[str]:
    """The names, at most two, that a misspelt one may mean."""
    lower = {n.lower(): n for n in names}
    return [lower[n] for n in difflib.get_close_matches(name.lower(), lower, n=2, cutoff=0.6)]


def _subclasses(base: type) -> Iterator[type]:
    cls: type
    for cls in base.__subclasses__():
        yield cls
        yield from _subclasses(cls)
