"""Options for reading tables and images."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyrovae.checks import shown, whole
from pyrovae.cures import cure
from pyrovae.errors import InputError
from pyrovae.names import meant_by

__all__ = ["ReadOptions", "check_names", "dropping"]

SEPARATORS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";"}


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file, as far as its content does not show it.

    Attributes:
        kinds: kinds of some columns, by name.
        drop: names of columns to leave out.
        na: further words that stand for a missing entry.
        separator: the separator of a CSV file, or None to find it.
        decimal: "." or ",", or None to find it.
        header: whether a CSV file has a header, or None to find it.
        context: names of columns that condition the model.
        labels: the name of the column that holds labels, or None.
        resize: height and width of the images of a folder or a known set, or None.
    """

    kinds: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    na: tuple[str, ...] = ()
    separator: str | None = None
    decimal: str | None = None
    header: bool | None = None
    context: tuple[str, ...] = ()
    labels: str | None = None
    resize: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> ReadOptions:
        """Take the options of `load` that say how a file is read.

        Raises:
            InputError: for a value that cannot be used.
        """
        context, labels = options.get("context"), options.get("labels")
        resize = options.get("resize")
        return cls(
            kinds=dict(options.get("kinds") or {}),
            drop=strings("drop", options.get("drop")),
            na=strings("na", options.get("na"), split=True),
            separator=_separator(options.get("separator")),
            decimal=_decimal(options.get("decimal")),
            header=options.get("header"),
            context=() if context == "labels" else strings("context", context),
            labels=labels if isinstance(labels, str) else None,
            resize=None if resize is None else whole("resize", resize),
        )

    def refuse_for(self, name: str) -> None:
        """Refuse options for tables or image folders if the data are neither.

        Raises:
            InputError: with the name of the first such option.
        """
        if self.context:
            first = self.context[0] if len(self.context) == 1 else list(self.context)
            raise InputError(
                f"context must be 'labels' or None, not {first!r}, as {name} is not a table with columns"
            )
        if self.labels:
            raise InputError(
                f"labels must be True or False, not {self.labels!r}, as {name} is not a table with columns"
            )
        for option, value in vars(self).items():
            if value in (None, (), {}) or option == "resize":
                continue
            verb = "describe" if option == "kinds" else "describes"
            raise InputError(
                f"{option} {verb} the columns of a table, and {name} is not a table: leave {option} out"
            )
        self.refuse_resize_for(name)

    def refuse_resize_for(self, name: str) -> None:
        """Refuse `resize` for data that are not images of a known set or of a folder."""
        if self.resize is not None:
            raise InputError(
                f"resize is for a folder of images or a known set of them, and {name} is neither: leave "
                "resize out"
            )


def strings(name: str, value: object, *, split: bool = False) -> tuple[str, ...]:
    """One word or several as a tuple; with `split`, a word is divided at commas.

    Raises:
        InputError: for anything else.

    Example:
        >>> strings("na", "-9,unknown", split=True)
        ('-9', 'unknown')
    """
    if value is None:
        return ()
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, Sequence) or not all(isinstance(word, (str, int)) for word in words):
        raise InputError(f"{name} must be a word or a list of words, not {shown(value)}")
    texts = [str(word) for word in words]
    return tuple(part.strip() for text in texts for part in text.split(",")) if split else tuple(texts)


def dropping(*names: str) -> str:
    """How to leave columns out, in Python or on the command line.

    Example:
        >>> from pyrovae.cures import typed
        >>> print(dropping("id"))
        drop='id'
        >>> with typed(["fit"]):
        ...     print(dropping("id", "first name"))
        --drop id 'first name'
    """
    words = " ".join(map(shlex.quote, names))
    if len(names) == 1 and (names[0] in ("null", "~") or names[0].startswith("[")):
        words = shlex.quote(json.dumps(names))
    mark = "=" if words.startswith("-") else " "
    python = repr(names[0] if len(names) == 1 else list(names))
    return cure(f"drop={python}", f"--drop{mark}{words}")


def check_names(option: str, asked: Sequence[str], names: Sequence[str], where: object) -> None:
    """Refuse names of columns that are not in a table, and suggest the nearest name.

    Raises:
        InputError: with the first such name.
    """
    for name in asked:
        if name not in names:
            meant = meant_by(name, names, repr)
            shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise InputError(
                f"{option} names a column {name!r} that {where} does not have: {meant}its columns are {shown}"
            )


def _separator(value: str | None) -> str | None:
    if value is None:
        return None
    one = SEPARATORS.get(value, value) if isinstance(value, str) else value
    if not isinstance(one, str) or len(one) != 1 or one in '"\n\r':
        raise InputError(f"separator must be one character, or 'tab' or 'space', not {shown(value)}")
    return one


def _decimal(value: str | None) -> str | None:
    if value is not None and (not isinstance(value, str) or value not in (".", ",")):
        raise InputError(f"decimal must be '.' or ',', not {shown(value)}")
    return value
