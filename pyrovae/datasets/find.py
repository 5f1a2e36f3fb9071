"""Find data by name: a known set, a file, or a folder of images.

A known name takes precedence over a file of the same name; write `./digits` for the file.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import replace
from pathlib import Path

from pyrovae.checks import shown, whole
from pyrovae.datasets.archive import LAYOUTS, read_known
from pyrovae.datasets.catalogue import NAMES, canonical
from pyrovae.datasets.drawn_sets import drawn_set, is_drawn
from pyrovae.datasets.files import READERS, is_readable, read_file
from pyrovae.datasets.images import read_folder, resized
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.datasets.source import Source, as_source
from pyrovae.datasets.toys import TOYS
from pyrovae.errors import InputError

__all__ = ["find"]


def find(
    name: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    count: int | None = None,
    options: ReadOptions | None = None,
) -> Source:
    """Read a known set, a file or a folder of images.

    `count` is the number of rows of a toy, a drawn set or dSprites.

    Raises:
        InputError: for an unknown name, with the known ones.
    """
    word = canonical(name) if isinstance(name, str) else None
    options = options or ReadOptions()
    if word is not None:
        has_images = word == "digits" or word in LAYOUTS
        (replace(options, resize=None) if has_images else options).refuse_for(word)
    if word == "digits":
        return _digits(options.resize)
    if is_drawn(word):
        return drawn_set(str(word), count).source()
    if word in TOYS:
        toy = TOYS[word](5000 if count is None else whole("count", count, 3))
        return as_source(word, toy.x, toy.labels)
    if word is not None:
        return read_known(word, root, options.resize)
    path = _path(name)
    if path.is_dir():
        replace(options, resize=None).refuse_for(f"the folder {path}")
        return read_folder(path, options)
    if path.is_file() and is_readable(path):
        return read_file(path, options, count)
    raise InputError(_not_found(name, path))


def _path(name: str | os.PathLike[str]) -> Path:
    """The path for a name.

    Raises:
        InputError: if it cannot be the name of a file.
    """
    try:
        path = Path(name).expanduser()
        path.is_dir()
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise InputError(
            f"{shown(name)} cannot be a data set or a file ({reason.lower()}): give a known name, a file "
            "or a folder"
        ) from None
    return path


def _digits(resize: int | None) -> Source:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images[:, None]
    images = images if resize is None else resized(images, resize, levels=17)
    return as_source("digits", images, digits.target, levels=17)


def _not_found(name: str | os.PathLike[str], path: Path) -> str:
    kinds = f"a file ({', '.join(READERS)}) or a folder of images"
    text = os.fspath(name)
    if path.is_file():
        return f"{text} is a file of an unknown kind: give one of {', '.join(NAMES)}, {kinds}"
    near = difflib.get_close_matches(str(text).lower().replace("-", "_"), NAMES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}, or " if near else "use "
    return (
        f"{shown(text)} is not a known data set, and no file or folder has this name: {hint}one of "
        f"{', '.join(NAMES)}, {kinds}"
    )
