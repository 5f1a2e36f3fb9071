"""Machine code for a graph on a CPU, kept on disk."""

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

KEPT = 256  # compiled graphs on disk; the ones that were not loaded for longest go first
OPTIONS = {
    "fallback_random": True,  # the generator and the order of torch itself
    "aot_inductor.compile_wrapper_opt_level": "O0",  # it only calls kernels; -O1 doubles the time
}


def loaded(module: torch.fx.GraphModule, key: str, inputs: list[Tensor]) -> Run:
    """The machine code of a graph, compiled first when it does not lie on the disk.

    Raises:
        Uncapturable: for an operation that this code would not find when it runs.
    """
    _refuse(module)
    began, place = time.perf_counter(), stored(key)
    if place.exists():
        with contextlib.suppress(RuntimeError):  # cut off by a full disk: it is made again
            return _load(place)
    _build(module, place, inputs)
    _remember(time.perf_counter() - began)
    return _load(place)


def _refuse(module: torch.fx.GraphModule) -> None:
    if any(node.target is torch.ops.aten.linalg_solve_triangular.default for node in module.graph.nodes):
        raise Uncapturable(
            "compiled code solves no triangular systems, which the density of a MultivariateNormal asks for"
        )


def is_stored(key: str) -> bool:
    """Whether the machine code of a graph lies on the disk."""
    try:
        return stored(key).exists()
    except OSError:
        return False


def stored(key: str) -> Path:
    """Where the machine code of a graph lies, or will lie."""
    return cache_folder() / f"{key}.so"


def cache_folder() -> Path:
    """Where compiled graphs are kept: $PYROVAE_CACHE, or pyrovae in the user's cache folder."""
    given = os.environ.get("PYROVAE_CACHE")
    return Path(given) if given else files.cache_folder()


def compile_seconds() -> float:
    """What the last compilation on this machine took; a usual value before the first."""
    with contextlib.suppress(OSError, ValueError):
        return float((cache_folder() / "seconds").read_text())
    return 30.0


def _load(place: Path) -> Run:
    os.utime(place)  # the last use, for `_forget_oldest`
    return torch._C._aoti.AOTIModelContainerRunnerCpu(str(place), 1).run


def _build(module: torch.fx.GraphModule, place: Path, inputs: list[Tensor]) -> None:
    """Compile beside the place and rename: another process sees the whole file or none."""
    folder = place.parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as beside, compiling():
        from torch._inductor import aot_compile

        path = aot_compile(module, tuple(inputs), options=OPTIONS)
        copy = Path(beside) / "graph.so"
        shutil.copyfile(str(path), copy)
        os.replace(copy, place)
    _forget_oldest(folder)


def _remember(seconds: float) -> None:
    with contextlib.suppress(OSError):
        (cache_folder() / "seconds").write_text(f"{seconds:.1f}\n")


def _forget_oldest(folder: Path) -> None:
    kept = sorted(folder.glob("*.so"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[KEPT:]:
        path.unlink(missing_ok=True)
