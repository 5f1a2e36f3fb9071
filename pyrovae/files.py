"""Write files atomically, open files and folders for one process, and find the cache folder.

Another user who can write to a folder may put a link there, under the name of a file that PyroVAE
is about to write. So temporary files have random names and are created by the call that opens
them, and no other file is opened through a link.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pyrovae.errors import InputError

__all__ = [
    "cache_folder",
    "locked",
    "new_folder",
    "open_owned",
    "reason_of",
    "temporary_path",
    "whole_file",
    "write_whole",
]

# Flags that some systems lack: follow no links, no inherited descriptor, no converted line ends.
_PLAIN = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_BINARY"))


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file completely or not at all: to a temporary file, flushed to disk and then renamed.

    Raises:
        InputError: when the folder cannot be written or the disk is full; the old file is kept.
    """
    try:
        with whole_file(path) as file:
            write(file)
    except RuntimeError as error:  # torch.save reports a full disk as an error of its zip writer
        raise _cannot_write(path, error) from error


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A temporary file that replaces `path` at the end of the block, unless the block fails.

    Raises:
        InputError: when the folder cannot be written or the disk is full; the old file is kept.
    """
    temporary = temporary_path(path)
    try:
        _check_replaceable(path)
        created = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN, 0o666)
        with open(created, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _check_replaceable(path: Path) -> None:
    """Refuse to replace a device or a pipe; a link is replaced, not what it points to."""
    with suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if stat.S_IFMT(mode) not in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR):
            raise InputError(f"{path} is not a regular file, so it is not replaced: give another name")


def temporary_path(path: Path, ending: str = "tmp") -> Path:
    """A hidden name next to a path, which nobody can guess."""
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.{ending}")


def _cannot_write(path: Path, error: BaseException) -> InputError:
    return InputError(f"cannot write {path}: {reason_of(error)}; free space or choose another folder")


def open_owned(path: Path) -> BinaryIO:
    """Open a file to be locked or continued: it is created if missing, and its content is kept.

    Raises:
        InputError: for a link, a device or a pipe of this name.
        OSError: when the file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _PLAIN, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise _is_no_file(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _is_no_file(path)
    return open(descriptor, "ab")


@contextmanager
def locked(folder: Path, refusal: str) -> Iterator[None]:
    """Lock a folder by its file .lock; the system releases it when the process ends.

    Arguments:
        folder: a folder that exists.
        refusal: the message if another process has the lock.

    Raises:
        InputError: when another process has the lock, or the folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # no advisory locks on this system
        yield
        return
    with _lock_file(folder) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(refusal) from error
        yield


def _lock_file(folder: Path) -> BinaryIO:
    try:
        return open_owned(folder / ".lock")
    except OSError as error:
        raise InputError(
            f"cannot write to the folder {folder}: {reason_of(error)}; choose another"
        ) from error


def _is_no_file(path: Path) -> InputError:
    return InputError(
        f"{path} is a link or a device, but PyroVAE needs a regular file of this name: remove it"
    )


def new_folder(parent: Path, stem: str) -> Path:
    """Create the first folder of `stem`-1, `stem`-2, ... that does not exist.

    The folder is created, not only chosen, so two processes never get the same one.

    Raises:
        InputError: when it cannot be created.
    """
    number, tries = 1, 0
    while True:
        path = parent / f"{stem}-{number}"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError:
            if not parent.is_dir():
                raise InputError(f"{parent} is a file: remove it, or give another folder") from None
            number += 1
        except OSError as error:
            tries += 1
            # Another process may have removed the empty parent.
            if isinstance(error, FileNotFoundError) and tries < 10:
                continue
            raise InputError(f"cannot create the folder {path}: {reason_of(error)}; choose another") from None
        else:
            return path


def cache_folder() -> Path:
    """The folder of downloads and compiled code: `pyrovae` in XDG_CACHE_HOME, else in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pyrovae"


def reason_of(error: BaseException) -> str:
    """The reason why writing failed, in the words of the operating system."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return "the disk may be full" if isinstance(error, RuntimeError) else str(error)
