"""Machine code of graphs for a CPU, stored on disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pyrovae import files
from pyrovae.compiling.quiet import compiling
from pyrovae.errors import Uncapturable

__all__ = ["OPTIONS", "cache_folder", "compile_seconds", "is_stored", "loaded", "stored"]

Run = Callable[[list[Tensor]], list[Tensor]]

STORED = 256  # compiled graphs on disk; the least recently used ones are removed
OPTIONS = {
    "fallback_random": True,  # torch's own generator and order
    "aot_inductor.compile_wrapper_opt_level": "O0",  # it only calls kernels, and -O1 takes twice as long
}


def loaded(module: torch.fx.GraphModule, key: str, inputs: list[Tensor]) -> Run:
    """Load the machine code of a graph, and compile it first if it is not on disk.

    Raises:
        Uncapturable: for an operation that the code could not call.
    """
    _refuse(module)
    start, path = time.perf_counter(), stored(key)
    if path.exists():
        with contextlib.suppress(RuntimeError):  # cut off by a full disk: compile it again
            return _load(path)
    _build(module, path, inputs)
    _remember(time.perf_counter() - start)
    return _load(path)


def _refuse(module: torch.fx.GraphModule) -> None:
    if any(node.target is torch.ops.aten.linalg_solve_triangular.default for node in module.graph.nodes):
        raise Uncapturable(
            "compiled code cannot solve triangular systems, which the density of a MultivariateNormal needs"
        )


def is_stored(key: str) -> bool:
    """Whether the machine code of a graph is on disk."""
    try:
        return stored(key).exists()
    except OSError:
        return False


def stored(key: str) -> Path:
    """The path of the machine code of a graph."""
    return cache_folder() / f"{key}.so"


def cache_folder() -> Path:
    """The folder of compiled graphs: $PYROVAE_CACHE, or pyrovae in the user's cache folder."""
    folder = os.environ.get("PYROVAE_CACHE")
    return Path(folder) if folder else files.cache_folder()


def compile_seconds() -> float:
    """The time of the last compilation on this machine, or a typical one before the first."""
    with contextlib.suppress(OSError, ValueError):
        return float((cache_folder() / "seconds").read_text())
    return 30.0


def _load(path: Path) -> Run:
    os.utime(path)  # the last use, for `_forget_oldest`
    return torch._C._aoti.AOTIModelContainerRunnerCpu(str(path), 1).run


def _build(module: torch.fx.GraphModule, path: Path, inputs: list[Tensor]) -> None:
    """Compile to a temporary file and rename it, for other processes that read it."""
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as temporary, compiling():
        from torch._inductor import aot_compile

        library = aot_compile(module, tuple(inputs), options=OPTIONS)
        copy = Path(temporary) / "graph.so"
        shutil.copyfile(str(library), copy)
        os.replace(copy, path)
    _forget_oldest(folder)


def _remember(seconds: float) -> None:
    with contextlib.suppress(OSError):
        (cache_folder() / "seconds").write_text(f"{seconds:.1f}\n")


def _forget_oldest(folder: Path) -> None:
    newest_first = sorted(folder.glob("*.so"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[STORED:]:
        path.unlink(missing_ok=True)
