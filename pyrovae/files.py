"""Atomic writing of files, and the cache folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pyrovae.errors import InputError

__all__ = ["cache_folder", "reason_of", "write_whole"]


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file completely or not at all: to a temporary file, flushed to disk and then renamed.

    Raises:
        InputError: when the folder cannot be written or the disk is full; the old file is kept.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        # torch.save reports a full disk as a RuntimeError of its zip writer.
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"cannot write {path}: {reason_of(error)}; free space or choose another folder"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
