"""Files that are written piece by piece, and go on after the last piece if the call was stopped.

    scores.csv.part         the text that is done
    scores.csv.part.json    what is computed, and how many rows and bytes are done

The first file grows by one piece at a time; then the second is replaced. What was written after the
last state is cut off. At the end the first file gets its final name, and the second is removed.
Several files grow together.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pyrovae.cures import again, cure
from pyrovae.errors import InputError
from pyrovae.files import open_owned, reason_of, write_whole

__all__ = ["Growing", "file_key", "target_of"]

WORDS = {
    "run": "weights of the run",
    "reading": "options of the file",
    "background": "weights of the background",
}


def target_of(out: str | os.PathLike[str], endings: Sequence[str], *, overwrite: bool) -> Path:
    """The file to write.

    Raises:
        InputError: for another ending, a file that exists, or a folder that does not.
    """
    target = Path(out)
    if target.suffix.lower() not in endings:
        names = " or ".join(endings)
        raise InputError(f"{target} is not a {names} file: give a name that ends in {names}")
    if target.exists() and not overwrite:
        how = cure("overwrite=True", again(overwrite=True))
        raise InputError(f"{target} exists: choose another name, or replace it with {how}")
    if not target.absolute().parent.is_dir():
        raise InputError(f"the folder {target.absolute().parent} does not exist: make it, or choose another")
    return target


class Growing:
    """What is done of some files, next to their final names.

    Arguments:
        targets: the files.
        identity: what is computed, in plain values.
        overwrite: whether the work of another call may be thrown away.
        holds: what the files hold, in messages.

    Attributes:
        rows: the number of rows that are done.
    """

    def __init__(
        self, targets: Sequence[Path], identity: dict[str, Any], *, overwrite: bool, holds: str
    ) -> None:
        self.targets, self.holds, self.overwrite = list(targets), holds, overwrite
        self.identity = json.loads(json.dumps(identity))
        self.paths = [target.with_name(f"{target.name}.part") for target in targets]
        self.state = targets[0].with_name(f"{targets[0].name}.part.json")
        self._files: list[BinaryIO] = []
        self._digests = [hashlib.sha256() for _ in targets]
        self.rows = 0

    @property
    def path(self) -> Path:
        """The first file while it grows."""
        return self.paths[0]

    # ---------------------------------------------------------------- begin

    def begin(self, headers: Callable[[], Sequence[str]]) -> dict[str, Any] | None:
        """Open the files after the last piece that is done; returns what `add` was given with it.

        Arguments:
            headers: gives the first text of each file.

        Raises:
            InputError: for files of another call, or that cannot be written.
        """
        before = self._before()
        for path in self.paths:
            try:
                self._files.append(open_owned(path))
            except OSError as error:
                raise InputError(f"cannot write {path}: {reason_of(error)}; choose another folder") from None
            self._lock(path)
        sizes = [0] * len(self.paths) if before is None else before["bytes"]
        for file, size in zip(self._files, sizes, strict=True):
            file.truncate(size)
        if before is not None:
            self.rows = before["rows"]
            return before["used"]
        self._write(headers())
        self._save(0, None)
        return None

    def close(self) -> None:
        """Close the files, and remove them if nothing is lost."""
        for file in self._files:
            file.close()
        if self._files and not self.rows:
            for path in (*self.paths, self.state):
                path.unlink(missing_ok=True)

    def _before(self) -> dict[str, Any] | None:
        """The state of an earlier call, or None."""
        if not self.state.exists() or self.overwrite:
            return None
        try:
            before = json.loads(self.state.read_text(encoding="utf-8"))
            identity = dict(before["identity"])
            is_whole = before.pop("check") == _check_of(before)
            sizes = list(zip(self.paths, before["bytes"], before["digests"], strict=True))
            is_whole = is_whole and all(path.stat().st_size >= size for path, size, _ in sizes)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        names = [*self.identity, *identity]
        different = [name for name in names if identity.get(name) != self.identity.get(name)]
        if different:
            other = WORDS.get(different[0], different[0])
            raise InputError(
                f"{self.path} has {self.holds} of an earlier call with other {other}: give the same again "
                f"to go on, or start again with {cure('overwrite=True', again(overwrite=True))}"
            )
        return before if is_whole and self._are_undamaged(before) else None

    def _are_undamaged(self, before: dict[str, Any]) -> bool:
        """Whether what is done is what was written."""
        digests = [_digest(path, size) for path, size in zip(self.paths, before["bytes"], strict=True)]
        same = [digest.hexdigest() for digest in digests] == before["digests"]
        self._digests = digests if same else self._digests
        return same

    def _lock(self, path: Path) -> None:
        file = self._files[-1]
        if os.fstat(file.fileno()).st_nlink > 1:
            raise self._is_not_ours(f"{path} is a hard link to another file: remove it")
        try:
            import fcntl
        except ImportError:  # no advisory locks on this system
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise self._is_not_ours(
                f"another process is writing {path}: wait for it, or choose another name"
            ) from None

    def _is_not_ours(self, why: str) -> InputError:
        """Leave the files as they are."""
        for file in self._files:
            file.close()
        self._files = []
        return InputError(why)

    # ---------------------------------------------------------------- go on

    def add(self, texts: Sequence[str], rows: int, used: dict[str, Any] | None) -> None:
        """Add the text of a piece to each file.

        Arguments:
            texts: one for each file.
            rows: the number of rows that are done then.
            used: plain values that `begin` of the next call returns.

        Raises:
            InputError: if the disk is full.
        """
        try:
            self._write(texts)
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {reason_of(error)}; free space and go on") from None
        self._save(rows, used)

    def finish(self) -> None:
        """Give the files their names."""
        for path, target in reversed(list(zip(self.paths, self.targets, strict=True))):
            os.replace(path, target)
        self.state.unlink(missing_ok=True)

    def _write(self, texts: Sequence[str]) -> None:
        for file, digest, text in zip(self._files, self._digests, texts, strict=True):
            file.write(text.encode())
            digest.update(text.encode())

    def _save(self, rows: int, used: dict[str, Any] | None) -> None:
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        state = {"identity": self.identity, "rows": rows, "used": used}
        state["bytes"] = [file.tell() for file in self._files]
        state["digests"] = [digest.hexdigest() for digest in self._digests]
        state["check"] = _check_of(state)
        write_whole(self.state, lambda file: file.write(json.dumps(state).encode()))
        self.rows = rows


def file_key(data: str | os.PathLike[str]) -> str:
    """A hash of the bytes of a file, or of the names, sizes and times of the files of a folder."""
    path = Path(data).expanduser()
    digest = hashlib.blake2b(digest_size=8)
    if path.is_dir():
        for member in sorted(path.rglob("*")):
            facts = member.stat()
            digest.update(repr((str(member.relative_to(path)), facts.st_size, facts.st_mtime_ns)).encode())
    elif path.is_file():
        with open(path, "rb") as file:
            while block := file.read(2**22):
                digest.update(block)
    else:
        digest.update(os.fspath(data).encode())
    return digest.hexdigest()


def _digest(path: Path, size: int) -> Any:  # noqa: ANN401
    """A hash of the first bytes of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while size and (block := file.read(min(size, 2**22))):
            digest.update(block)
            size -= len(block)
    return digest


def _check_of(state: dict[str, Any]) -> str:
    """A hash of the state of a call, by which a damaged one is recognised."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
