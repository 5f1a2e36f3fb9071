"""What an option takes, in words: from its type hint and its name.

lr: float | None                      --lr NUMBER
epochs: int                           --epochs N
precision: Literal["float32", ...]    --precision CHOICE, with the choices in the text
prior: Prior | None                   --prior NAME, one of the parts of the package
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pyrovae.names import names_of

__all__ = ["FILES", "Kind", "kind_of"]

# What a word names on this machine, by the name of the option; a shell completes it so.
FILES = {
    "data": "data",
    "run": "run",
    "runs": "run",
    "background": "run",
    "name": "part",
    **dict.fromkeys(("arms", "config", "file", "images", "measured", "out", "root", "space"), "file"),
}
_WORDS = {
    "data": "DATA",
    "name": "NAME",
    "run": "RUN",
    "runs": "RUN",
    "background": "RUN",
    "root": "FOLDER",
    "config": "FILE",
}
_NAMES = {int: "N", float: "NUMBER", str: "WORD", dict: "{NAME: WORD}"}
_LONGEST = 15  # characters of choices in place of CHOICE


@dataclass(frozen=True)
class Kind:
    """What an option takes.

    Attributes:
        word: stands for the value, as in `--lr NUMBER`; empty for an option that needs none.
        choices: all values, if there are few.
        parts: the names of parts, if it takes one.
    """

    word: str
    choices: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def unsaid(self) -> tuple[str, ...]:
        """The choices that the word does not name, without true and false next to others."""
        if not self.word or self.word == "|".join(self.choices):
            return ()
        others = tuple(choice for choice in self.choices if choice not in ("true", "false"))
        return others if others or self.word != "CHOICE" else self.choices


def kind_of(name: str, hint: object, default: object = None) -> Kind:
    """What an option takes.

    Example:
        >>> kind_of("lr", float | None)
        Kind(word='NUMBER', choices=(), parts=())
        >>> kind_of("compile", Union[bool, Literal["auto"]]).word
        'true|false|auto'
        >>> kind_of("resume", bool, False).word
        ''
    """
    kinds = [kind for kind in _flat(hint) if kind is not type(None)]
    part = next((kind for kind in kinds if _is_part(kind)), None)
    if part is not None:
        return Kind("NAME", parts=tuple(names_of(part, "pyrovae.")))
    choices = tuple(word for kind in kinds for word in _choices(kind))
    if kinds == [bool]:
        return Kind("" if default is False else "true|false", choices)
    if name in FILES and any(kind in (str, os.PathLike) for kind in kinds):
        word = _WORDS.get(name, "PATH")
        return Kind(f"{word} ..." if list[str] in kinds else word)
    words = [_word(kind) for kind in kinds if kind is not bool and get_origin(kind) is not Literal]
    if list[str] in kinds:
        words = ["WORD ..."]
    if words and "N" in words and "NUMBER" in words:
        words = ["NUMBER"]
    literals = [word for kind in kinds if kind is not bool for word in _choices(kind)]
    whole = "|".join([*dict.fromkeys(words), *(literals if words else choices)])
    if len(whole) > _LONGEST:
        whole = words[0] if words else "CHOICE"
    return Kind(whole, choices)


def _flat(hint: object) -> Iterator[Any]:
    """The members of a union, or the type itself."""
    if get_origin(hint) in (Union, UnionType):
        for one in get_args(hint):
            yield from _flat(one)
    else:
        yield os.PathLike if get_origin(hint) is os.PathLike else hint


def _is_part(kind: object) -> bool:
    return isinstance(kind, type) and kind.__module__.startswith("pyrovae.")


def _choices(kind: object) -> Iterator[str]:
    if kind is bool:
        yield from ("true", "false")
    elif get_origin(kind) is Literal:
        yield from map(str, get_args(kind))


def _word(kind: object) -> str:
    """The word for a value of a type."""
    origin = get_origin(kind)
    if origin in (dict, list, tuple) or getattr(origin, "__name__", "") == "Sequence":
        inner = _NAMES.get(get_args(kind)[0], "WORD") if origin is not dict else ""
        return f"[{inner},...]" if inner else _NAMES[dict]
    if kind is os.PathLike:
        return "FILE"
    return _NAMES.get(kind, "WORD") if isinstance(kind, type) else "WORD"
