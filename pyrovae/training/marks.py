"""The mark of a run that this user fitted on this machine.

A declaration with parts outside the package names code that a reader must trust. Users need not
trust their own runs by name: `fit` marks such a run with a hash (HMAC) of its declaration and of
the locations of its modules. The key is in the user's data folder and only the user can read it, so
nobody else can make a mark. A mark is valid only for the same modules in the same locations. Runs
that were copied to another machine, or whose modules have moved, need `trust`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyrovae.errors import InputError
from pyrovae.files import temporary_path
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.trust import foreign_paths, origins

__all__ = ["key_file", "mark_of", "marked_names", "names_marked"]

BYTES = 32


def mark_of(declarations: Any) -> str | None:  # noqa: ANN401
    """Make the mark of a user's declarations; None if they need none, or no key can be stored."""
    names = sorted(set(foreign_paths(declarations)))
    key = _key(create=True) if names else None
    return None if key is None else _hash(key, declarations, names)


def names_marked(declarations: Any, mark: str | None) -> tuple[str, ...]:  # noqa: ANN401
    """The import paths in declarations that a mark makes trusted."""
    names = sorted(set(foreign_paths(declarations))) if isinstance(mark, str) else []
    key = _key(create=False) if names else None
    if key is None:
        return ()
    try:
        own = _hash(key, declarations, names)
    except (TypeError, ValueError):  # no run of ours has values that JSON lacks
        return ()
    return tuple(names) if hmac.compare_digest(own.encode(), str(mark).encode(errors="replace")) else ()


def marked_names(run: str | os.PathLike[str], parts: Mapping[str, Any]) -> tuple[str, ...]:
    """The import paths that are trusted because the run in a folder has a mark of this user.

    Arguments:
        run: the run folder.
        parts: the parts in its config file; those that name code must be declared as in the run,
            since the mark is of the declaration.
    """
    try:
        saved = Checkpoint.read(Path(run) / "last.ckpt")
    except InputError:
        return ()
    names = names_marked(saved.declarations(), saved.mark)
    declared = (saved.declaration or {}) | {"objective": saved.identity.get("objective")}
    foreign = [name for name, part in parts.items() if next(foreign_paths({name: part}), None) is not None]
    return names if all(_words(parts[name]) == _words(declared.get(name)) for name in foreign) else ()


def _words(values: Any) -> str:  # noqa: ANN401
    """Plain values as text; lists and tuples are the same, as in a config file."""
    return json.dumps(values, sort_keys=True, default=str)


def key_file() -> Path:
    """The file of the key: in `pyrovae` in XDG_DATA_HOME, else in ~/.local/share."""
    home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(home) / "pyrovae" / "mark.key"


def _hash(key: bytes, declarations: Any, names: list[str]) -> str:  # noqa: ANN401
    words = json.dumps([declarations, origins(names)], sort_keys=True)
    return hmac.new(key, words.encode(), hashlib.sha256).hexdigest()


def _key(*, create: bool) -> bytes | None:
    """The key of this user; None unless there is one that only this user can read."""
    path = key_file()
    try:
        if create and not path.exists():
            _create(path)
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            facts = os.fstat(file.fileno())
            is_private = os.name == "nt" or (
                facts.st_uid == os.getuid() and not stat.S_IMODE(facts.st_mode) & 0o077
            )
            key = file.read(BYTES + 1)
    except OSError:
        return None
    return key if is_private and len(key) == BYTES else None


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = temporary_path(path)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(BYTES))
    try:
        os.link(temporary, path)  # the first of several processes wins
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)
