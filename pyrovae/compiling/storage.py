"""The folder of compiled code, which only its owner may write.

    KEY-DIGEST.so   the machine code of a graph; its digest is checked before it is loaded
    seconds         the time of the last compilation
    tools           files that the compiler keeps: checks of the processor, and headers
    .build-*        one compilation; removed at its end, or by a later one if it was killed

Machine code runs with all rights of the user. A folder that another user owns or can write is
therefore not used; a private temporary folder replaces it. A truncated or damaged library would
crash the process, so the name of each file contains its digest.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pyrovae import files, sharing

__all__ = ["add", "building", "cache_folder", "find", "folder_to_read", "folder_to_write", "remove_builds"]

STORED = 256  # compiled graphs on disk; the least recently used ones are removed
MINUTES = 60.0
DAYS = 86_400.0
ENDING = 2.0  # seconds, in which killed compilers stop writing


def cache_folder() -> Path:
    """The folder of compiled graphs: $PYROVAE_CACHE, or `compiled` in the cache folder."""
    folder = os.environ.get("PYROVAE_CACHE")
    return Path(folder).expanduser() if folder else files.cache_folder() / "compiled"


def folder_to_read() -> Path | None:
    """The folder with compiled code, or None if there is none that may be used."""
    folder = cache_folder()
    if _unsafe(folder) is None:
        return folder if folder.is_dir() else None
    return _TEMPORARY.get(folder)


def folder_to_write() -> Path:
    """The folder for compiled code, created if missing; prints once if it is a temporary one."""
    folder = cache_folder()
    reason = _created(folder) or _unsafe(folder)
    return folder if reason is None else _temporary(folder, reason)


_TEMPORARY: dict[Path, Path] = {}


def _temporary(folder: Path, reason: str) -> Path:
    """The private folder that this process uses instead."""
    if folder not in _TEMPORARY:
        _TEMPORARY[folder] = Path(tempfile.mkdtemp(prefix="pyrovae-"))
        atexit.register(shutil.rmtree, _TEMPORARY[folder], ignore_errors=True)
        if sharing.is_first():
            print(
                f"compiled code is not kept, because the folder {folder} {reason}: "
                "set PYROVAE_CACHE to a folder that only you can write",
                file=sys.stderr,
            )
    return _TEMPORARY[folder]


def _created(folder: Path) -> str | None:
    """Create a folder for its owner alone; returns why it cannot be used."""
    try:
        is_new = not folder.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if is_new and "PYROVAE_CACHE" not in os.environ:
            _forget_former(folder.parent)
    except OSError as error:
        return f"cannot be created ({files.reason_of(error)})"
    return None if os.access(folder, os.W_OK | os.X_OK) else "cannot be written (permission denied)"


def _unsafe(folder: Path) -> str | None:
    """Why a folder cannot be trusted, if it exists."""
    try:
        facts = folder.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"cannot be read ({files.reason_of(error)})"
    if not folder.is_dir():
        return "is a file"
    if not hasattr(os, "getuid"):  # Windows has other permissions
        return None
    if facts.st_uid != os.getuid():
        return "belongs to another user"
    return "can be written by other users" if facts.st_mode & 0o022 else None


# ---------------------------------------------------------------- files


def find(folder: Path, key: str, *, check: bool = True) -> Path | None:
    """The file of a graph, or None; a damaged one is removed."""
    for path in folder.glob(f"{key}-*.so"):
        with contextlib.suppress(OSError):  # another process was first, or it is not a file
            if not check or path.stem == f"{key}-{_digest(path.read_bytes())}":
                return path
            path.unlink(missing_ok=True)
    return None


def add(folder: Path, key: str, code: bytes) -> Path:
    """Store the machine code of a graph, flushed to disk before it gets its name."""
    path = folder / f"{key}-{_digest(code)}.so"
    files.write_whole(path, lambda file: file.write(code))
    for old in sorted(folder.glob("*.so"), key=_age)[STORED:]:
        with contextlib.suppress(OSError):
            old.unlink(missing_ok=True)
    return path


def _digest(code: bytes) -> str:
    return hashlib.sha256(code).hexdigest()[:32]


# ---------------------------------------------------------------- building


@contextlib.contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A new private folder for one compilation, and for all temporary files of the compilers."""
    _sweep(folder)
    prefix = f".build-{_host()}-{os.getpid()}-"
    with tempfile.TemporaryDirectory(dir=folder, prefix=prefix, ignore_cleanup_errors=True) as build:
        yield Path(build)


def remove_builds(folder: Path, process: int) -> None:
    """Remove the build folders of a process on this machine; compilers may still write there."""
    end = time.monotonic() + ENDING
    while paths := list(folder.glob(f".build-{_host()}-{process}-*")):
        for path in paths:
            shutil.rmtree(path, ignore_errors=True)
        if time.monotonic() > end:
            return
        time.sleep(0.01)


@functools.cache
def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.]", "", platform.node()) or "host"


def _sweep(folder: Path) -> None:
    """Remove the files of killed compilations, and tools older than 60 days."""
    for path in folder.glob(".build-*"):
        if _age(path) > (10 * MINUTES if _is_dead(path.name) else DAYS):
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".*.tmp"):
        if _age(path) > DAYS:
            path.unlink(missing_ok=True)
    for path in (folder / "tools").rglob("*"):
        if path.is_file() and _age(path) > 60 * DAYS:
            path.unlink(missing_ok=True)


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:  # another process removed it
        return 0.0


def _is_dead(name: str) -> bool:
    """Whether the process of a build folder ran on this machine and has ended."""
    match = re.fullmatch(r"\.build-(.+)-(\d+)-\w+", name)
    if match is None or match[1] != _host() or os.name != "posix":
        return False
    try:
        os.kill(int(match[2]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _forget_former(folder: Path) -> None:
    """Remove the code that earlier versions kept in the cache folder itself."""
    for path in folder.glob("*.so"):
        if re.fullmatch(r"[0-9a-f]{32}", path.stem):
            path.unlink(missing_ok=True)
    (folder / "seconds").unlink(missing_ok=True)
    for path in folder.glob(".build-*"):
        shutil.rmtree(path, ignore_errors=True)
