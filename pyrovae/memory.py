"""Compare the memory that a request needs with the memory that is free.

A request that cannot fit is refused before anything is computed, with its size. Linux allocates
more memory than there is and kills the process that uses it, so there may be no error to catch.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyrovae.errors import InputError

__all__ = ["available", "in_bytes", "is_exhausted", "refuse_too_large"]

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_LIMITS = (  # of a container: the folder, the limit, and the memory in use
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def in_bytes(size: float) -> str:
    """A number of bytes with its unit.

    Example:
        >>> in_bytes(3_136_000_000_000), in_bytes(512)
        ('2.9 TiB', '512 bytes')
    """
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    number = f"{size:.1f}" if unit != "bytes" and size < 100 else f"{size:,.0f}"
    return f"{number} {unit}"


def available() -> int | None:
    """The bytes that this process can still use; None if the system does not say."""
    found = [_of_machine(), _of_process(), *(_of_container(*names) for names in _LIMITS)]
    return min((size for size in found if size is not None), default=None)


def refuse_too_large(what: str, size: int, cure: str = "ask for fewer") -> None:
    """Refuse a request that needs more memory than is free.

    Arguments:
        what: the request, in the plural: "1,000 samples of 784 values".
        size: the bytes that it needs.
        cure: what the user can do instead.

    Raises:
        InputError: with both sizes.
    """
    if size < 2**26:  # looking up the free memory costs more than a small request
        return
    free = available()
    if free is not None and size > free:
        raise InputError(f"{what} need {in_bytes(size)}; this machine has {in_bytes(free)} free: {cure}")


def is_exhausted(error: BaseException) -> bool:
    """Whether an error of Python, numpy or torch says that memory is exhausted."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and ("allocate memory" in text or "out of memory" in text))
        or (isinstance(error, (RuntimeError, ValueError)) and _is_too_many(text))
    )


def _is_too_many(text: str) -> bool:
    """Whether numpy or torch refuse a shape because its number of bytes overflows."""
    return "calculation overflowed" in text or "array is too big" in text or "Maximum allowed dim" in text


def _of_machine() -> int | None:
    for name, value in _fields("/proc/meminfo"):
        if name == "MemAvailable":
            return 1024 * int(value.split()[0])
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _of_process() -> int | None:
    """What a limit of the process (`ulimit -v`) leaves."""
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most == resource.RLIM_INFINITY:
        return None
    used = next((1024 * int(v.split()[0]) for name, v in _fields("/proc/self/status") if name == "VmSize"), 0)
    return max(0, most - used)


def _of_container(folder: str, limit: str, usage: str) -> int | None:
    try:
        most, used = (Path(folder, name).read_text().strip() for name in (limit, usage))
        lines = Path(folder, "memory.stat").read_text().splitlines()
        cache = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
        return max(0, int(most) - int(used) + cache) if most.isdigit() else None
    except (OSError, ValueError):
        return None


def _fields(path: str) -> list[tuple[str, str]]:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return []
    pairs = (line.partition(":") for line in lines)
    return [(name, value.strip()) for name, _, value in pairs if value.strip()]
