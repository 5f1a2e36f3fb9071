"""Keep the files of TorchInductor and the C++ compiler inside the private folder.

By default, TorchInductor keeps its files in the system's temporary folder, in a folder named after
the user. Another user may create that folder first, and the code in it would be compiled and run.
While PyroVAE compiles, the files go to private folders instead: the files of one compilation to
its build folder, and those that every compilation needs (headers, checks of the processor) to
`tools`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["private_tools", "remove_headers"]


@contextlib.contextmanager
def private_tools(folder: Path, build: Path | None = None) -> Iterator[None]:
    """Let TorchInductor and the compiler write to private folders only.

    Arguments:
        folder: the folder of compiled code.
        build: the folder of one compilation; by default its files stay in `tools`, where code for
            a GPU is read again later.
    """
    tools, start = folder / "tools", time.time()
    tools.mkdir(mode=0o700, exist_ok=True)
    try:
        with _headers_in(tools / "headers"):
            if build is not None:
                with _environment({"TORCHINDUCTOR_CACHE_DIR": tools, "TMPDIR": build}):
                    _check_processor()
            place = build or tools
            with _environment({"TORCHINDUCTOR_CACHE_DIR": place, "TMPDIR": place}):
                yield
    except BaseException as error:
        if build is not None:
            _end_compilers(build)
        failed = type(error).__name__ == "CppCompileError"  # possibly because of a truncated header
        remove_headers(tools / "headers", 0.0 if failed else start)
        raise


@contextlib.contextmanager
def _environment(values: Mapping[str, Path]) -> Iterator[None]:
    """Set variables, but keep a folder that the user has chosen for TorchInductor."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    before = {name: os.environ.get(name) for name in values}
    chosen = before["TORCHINDUCTOR_CACHE_DIR"]
    is_ours = chosen is None or os.path.abspath(chosen) == os.path.abspath(default_cache_dir())
    for name, value in values.items():
        if is_ours or name != "TORCHINDUCTOR_CACHE_DIR":
            os.environ[name] = str(value.absolute())
    try:
        yield
    finally:
        for name, old in before.items():
            os.environ.pop(name, None)
            if old is not None:
                os.environ[name] = old


@contextlib.contextmanager
def _headers_in(folder: Path) -> Iterator[None]:
    """Keep precompiled headers in a folder; TorchInductor has no option for it."""
    from torch._inductor import codecache

    names: dict[str, Any] = {"_HEADER_DIR": folder, "_HEADER_LOCK_DIR": folder / "locks"}
    before = {name: getattr(codecache, name) for name in names if hasattr(codecache, name)}
    for name in before:
        setattr(codecache, name, str(names[name].absolute()))
    try:
        yield
    finally:
        for name, old in before.items():
            setattr(codecache, name, old)


def _check_processor() -> None:
    """Detect the vector instructions, which takes ten seconds the first time on a machine."""
    with contextlib.suppress(Exception):
        from torch._inductor.cpu_vec_isa import pick_vec_isa

        pick_vec_isa()


def _end_compilers(build: Path) -> None:
    """End the compilers of an interrupted build, which would otherwise continue."""
    mark = b"TMPDIR=" + os.fsencode(build.absolute())
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name = (process / "comm").read_text()
            if mark in (process / "environ").read_bytes().split(b"\0") and not name.startswith("py"):
                os.kill(int(process.name), signal.SIGKILL)


def remove_headers(folder: Path, since: float) -> None:
    """Remove precompiled headers that may be truncated: those made since a time."""
    for path in folder.glob("*.gch"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime >= since:
                path.unlink()
