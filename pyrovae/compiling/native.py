"""Machine code of graphs for a CPU, stored on disk (`storage`)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pyrovae import files
from pyrovae.compiling import storage
from pyrovae.compiling.quiet import compiling
from pyrovae.compiling.tools import private_tools
from pyrovae.errors import Uncapturable

__all__ = ["OPTIONS", "compile_seconds", "is_stored", "loaded", "refuse", "stored"]

Run = Callable[[list[Tensor]], list[Tensor]]

OPTIONS = {
    "fallback_random": True,  # torch's own generator and order
    "aot_inductor.compile_wrapper_opt_level": "O0",  # it only calls kernels, and -O1 takes twice as long
}


# Operations that compiled code cannot call: it would fail when it runs.
_MISSING = {
    torch.ops.aten.linalg_solve_triangular.default: (
        "solve triangular systems with this version of torch, which the density of a MultivariateNormal needs"
    ),
    torch.ops.aten.linalg_cholesky_ex.default: (
        "factorise a matrix (Cholesky), which the density of a LowRankMultivariateNormal needs"
    ),
}


def loaded(module: torch.fx.GraphModule, key: str, inputs: list[Tensor]) -> Run:
    """Load the machine code of a graph, and compile it first if it is not on disk.

    Raises:
        Uncapturable: for an operation that the code could not call.
    """
    refuse(module)
    folder = storage.folder_to_read()
    path = None if folder is None else storage.find(folder, key)
    if path is not None:
        with contextlib.suppress(RuntimeError, OSError):  # made on another system, or gone: compile it
            return _load(path)
    return _load(stored(module, key, inputs))


def stored(module: torch.fx.GraphModule, key: str, inputs: list[Tensor]) -> Path:
    """Compile a graph; returns the path of its machine code."""
    start = time.perf_counter()
    path = _built(module, key, inputs)
    _remember(path.parent, time.perf_counter() - start)
    return path


def refuse(module: torch.fx.GraphModule) -> None:
    """Refuse a graph with an operation that the code could not call.

    Raises:
        Uncapturable: with the first such operation.
    """
    for node in module.graph.nodes:
        for operation, words in _MISSING.items():
            if node.target is operation:
                raise Uncapturable(f"compiled code cannot {words}")


def is_stored(key: str) -> bool:
    """Whether the machine code of a graph is on disk."""
    try:
        folder = storage.folder_to_read()
        return folder is not None and storage.find(folder, key, check=False) is not None
    except OSError:
        return False


def compile_seconds() -> float:
    """The time of the last compilation on this machine, or a typical one before the first."""
    folder = storage.folder_to_read()
    if folder is not None:
        with contextlib.suppress(OSError, ValueError):
            return float((folder / "seconds").read_text())
    return 30.0


def _load(path: Path) -> Run:
    os.utime(path)  # marks the last use: the least recently used code is removed
    return torch._C._aoti.AOTIModelContainerRunnerCpu(str(path), 1).run


def _built(module: torch.fx.GraphModule, key: str, inputs: list[Tensor]) -> Path:
    folder = storage.folder_to_write()
    with compiling(), storage.building(folder) as build, private_tools(folder, build):
        from torch._inductor import aot_compile

        library = aot_compile(module, tuple(inputs), options=OPTIONS)
        return storage.add(folder, key, Path(str(library)).read_bytes())


def _remember(folder: Path, seconds: float) -> None:
    with contextlib.suppress(OSError, ValueError):
        files.write_whole(folder / "seconds", lambda file: file.write(f"{seconds:.1f}\n".encode()))
