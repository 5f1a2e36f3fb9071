r"""Graphs: a function of tensors, run once in Python and then as compiled code.

    trace     run the function on tensors without data; every operation it does becomes a node
    lift      whatever else it touched (parameters, buffers, closed-over tensors) becomes an input too
    compile   to machine code, kept on disk under a hash of the graph, and loaded from there next time

Pyro's handlers, distributions and networks are all gone from the graph: what is left is the arithmetic.
Random numbers are drawn inside it from torch's own generator, in the order in which the function draws
them, so a graph and its function give the same numbers from the same random state.

What a graph cannot hold is refused with the reason: a Python branch on a tensor's value, a number taken out
of a tensor (`.item()`), a change of Python state, output on the terminal.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyrovae.errors import Uncapturable

__all__ = [
    "Compiled",
    "Graph",
    "cache_folder",
    "compile_seconds",
    "random_state",
    "set_random_state",
    "traced",
]

KEPT = 256  # compiled graphs on disk; the ones that were not loaded for longest go first
OPTIONS = {
    "fallback_random": True,  # the generator and the order of torch itself
    "aot_inductor.compile_wrapper_opt_level": "O0",  # it only calls kernels; -O1 doubles the time
}


@dataclass(frozen=True)
class Graph:
    """A traced function.

    Attributes:
        module: the operations; its inputs are those of the function and then the lifted ones.
        lifted: the tensors that the function touched beside its inputs.
        key: a hash of all that decides the machine code.
    """

    module: torch.fx.GraphModule
    lifted: list[Tensor]
    key: str

    @property
    def stored(self) -> Path:
        """Where the machine code lies, or will lie."""
        return cache_folder() / f"{self.key}.so"

    @property
    def is_stored(self) -> bool:
        """Whether it was compiled before, on this machine or one like it."""
        return self.stored.exists()

    def compiled(self, inputs: Sequence[Tensor]) -> Compiled:
        """Machine code for this graph, from the disk when it is there.

        Raises:
            Uncapturable: when there is no compiler, or the cache cannot be written.
        """
        began = time.perf_counter()
        try:
            if not self.is_stored:
                _build(self, [*inputs, *self.lifted])
                _remember(time.perf_counter() - began)
            os.utime(self.stored)  # the last use, for `_forget_oldest`
            code = torch._C._aoti.AOTIModelContainerRunnerCpu(str(self.stored), 1)
        except Exception as error:
            raise Uncapturable(f"it could not be compiled: {_first_line(error)}") from error
        return Compiled(code.run, self.lifted, time.perf_counter() - began)


@dataclass(frozen=True)
class Compiled:
    """A compiled graph: called with the inputs of the function, gives its outputs as a list.

    Attributes:
        seconds: what it took to compile or to load.
    """

    run: Callable[[list[Tensor]], list[Tensor]]
    lifted: list[Tensor]
    seconds: float

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        return self.run([*inputs, *self.lifted])


def traced(
    function: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Tensor],
    *,
    watched: Sequence[Any] = (),
) -> Graph:
    """The graph of a function of tensors; nothing is computed, drawn or changed.

    Arguments:
        function: called once with stand-ins for `inputs`; gives a tuple of tensors.
        inputs: tensors of the shapes, types and devices that the graph will have.
        watched: what the function must not change beside tensors: modules, functions, containers.

    Raises:
        Uncapturable: with the reason, when no graph can do what the function does.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    def without_numbers(*args: Tensor) -> Sequence[Tensor]:
        with _NoNumbers():
            return function(*args)

    before, printed, random = _python_state(watched), io.StringIO(), torch.get_rng_state()
    capture = make_fx(without_numbers, tracing_mode="fake", _allow_non_fake_inputs=True)
    try:
        with contextlib.redirect_stdout(printed), _validation_kept():
            module = capture(*inputs)
    except Exception as error:
        raise Uncapturable(_reason(error)) from error
    finally:
        torch.set_rng_state(random)
    changed = sorted(name for name, value in _python_state(watched).items() if before.get(name) != value)
    if changed:
        raise Uncapturable(f"it changes {changed[0]} in Python at every call")
    if printed.getvalue():
        raise Uncapturable(f"it prints at every call ({printed.getvalue().splitlines()[0][:40]!r})")
    return _lifted(module, inputs)


def cache_folder() -> Path:
    """Where compiled graphs are kept: $PYROVAE_CACHE, or pyrovae in the user's cache folder."""
    given = os.environ.get("PYROVAE_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyrovae"


def compile_seconds() -> float:
    """What the last compilation on this machine took; a usual value before the first."""
    with contextlib.suppress(OSError, ValueError):
        return float((cache_folder() / "seconds").read_text())
    return 30.0


def random_state(device: torch.device) -> Tensor:
    """The state of the generator that draws on a device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_random_state(state: Tensor, device: torch.device) -> None:
    """Put back what `random_state` gave."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


# ------------------------------------------------------------------ inputs


def _lifted(module: torch.fx.GraphModule, inputs: Sequence[Tensor]) -> Graph:
    """Turn the tensors that the tracer met on its way into inputs: they may change, and are not copied."""
    graph, own = module.graph, {id(tensor): i for i, tensor in enumerate(inputs)}
    graph.eliminate_dead_code()
    places = [node for node in graph.nodes if node.op == "placeholder"]
    lifted: list[Tensor] = []
    for node in [n for n in graph.nodes if n.op == "get_attr"]:
        tensor = getattr(module, str(node.target))
        if id(tensor) not in own:
            own[id(tensor)] = len(places)
            lifted.append(tensor)
            with graph.inserting_before(places[-1].next):
                places.append(graph.placeholder(f"lifted_{len(lifted)}"))
                places[-1].meta = dict(node.meta)
        node.replace_all_uses_with(places[own[id(tensor)]])
        graph.erase_node(node)
    # What stays on the module would become an input a second time.
    module = torch.fx.GraphModule(torch.nn.Module(), graph)
    return Graph(module, lifted, _key(module, [*inputs, *lifted]))


def _key(module: torch.fx.GraphModule, tensors: Sequence[Tensor]) -> str:
    shapes = [(tuple(t.shape), t.stride(), t.dtype, t.device.type) for t in tensors]
    machine = (platform.machine(), torch.backends.cpu.get_cpu_capability(), _processor())
    # Loops are cut for a number of threads at compilation.
    settings = (torch.__version__, torch.get_num_threads(), sys.platform, OPTIONS)
    return hashlib.sha256(repr((str(module.graph), shapes, machine, settings)).encode()).hexdigest()[:32]


def _processor() -> str:
    """What this processor can do, where the system tells: code for one need not run on another."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        return next((line for line in file if line.startswith(("flags", "Features"))), "")
    return platform.processor()


# ------------------------------------------------------------------ machine code


def _build(graph: Graph, inputs: Sequence[Tensor]) -> None:
    """Compile beside the place and rename: another process sees the whole file or none."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as place, _quiet(), _validation_kept():
        from torch._inductor import aot_compile

        with torch.no_grad():
            path = aot_compile(graph.module, tuple(inputs), options=OPTIONS)
        copy = Path(place) / "graph.so"
        shutil.copyfile(str(path), copy)
        os.replace(copy, graph.stored)
    _forget_oldest(folder)


def _remember(seconds: float) -> None:
    with contextlib.suppress(OSError):
        (cache_folder() / "seconds").write_text(f"{seconds:.1f}\n")


def _forget_oldest(folder: Path) -> None:
    kept = sorted(folder.glob("*.so"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[KEPT:]:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the compiler's remarks on missing CUDA tools off the terminal."""
    log = logging.getLogger("torch.utils.cpp_extension")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def _validation_kept() -> Iterator[None]:
    """torch up to 2.13 switches the validation of distributions off where it compiles."""
    law = torch.distributions.Distribution
    before = law._validate_args
    try:
        yield
    finally:
        law.set_default_validate_args(before)


# ------------------------------------------------------------------ reasons


class _NumberTaken(Exception):
    """A number was taken out of a tensor; the graph would keep today's for ever."""


class _NoNumbers(TorchFunctionMode):
    """Refuses numbers out of any tensor, also of parameters, whose values tracing would know."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        if func in _TAKES_NUMBERS:
            raise _NumberTaken("it takes a number out of a tensor (a branch on a value, .item())")
        return func(*args, **(kwargs or {}))


_TAKES_NUMBERS = {
    getattr(Tensor, name)
    for name in ("item", "tolist", "numpy", "__array__", "__bool__", "__float__", "__int__", "__index__")
}


def _reason(error: BaseException) -> str:
    """Why a function has no graph, and where in the user's code."""
    why = str(error) if isinstance(error, _NumberTaken) else _first_line(error)
    return f"{why}{_place(error)}"


def _place(error: BaseException) -> str:
    """The innermost frame outside torch and Pyro, with the module whose code it is."""
    found, trace = "", error.__traceback__
    libraries = ("torch", "pyro", "contextlib", "functools")
    while trace is not None:
        frame = trace.tb_frame
        name = str(frame.f_globals.get("__name__", ""))
        if name.split(".")[0] not in libraries and name != __name__:
            owner = frame.f_locals.get("self")
            whose = f"{type(owner).__name__}, " if isinstance(owner, torch.nn.Module) else ""
            found = f", in {whose}{Path(frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


# ------------------------------------------------------------------ Python state


def _python_state(watched: Sequence[Any]) -> dict[str, Any]:
    """The plain values (numbers, words, sizes of containers) that hang on modules and functions."""
    found: dict[str, Any] = {}
    for thing in watched:
        if isinstance(thing, torch.nn.Module):
            for name, module in thing.named_modules():
                _note(found, f"{type(module).__name__}{f' ({name})' if name else ''}", vars(module))
        elif callable(thing):
            _note(found, getattr(thing, "__name__", repr(thing)), _surroundings(thing))
    return found


def _surroundings(function: Any) -> dict[str, Any]:  # noqa: ANN401
    """What a function's code refers to by name beyond its arguments."""
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return vars(function) if hasattr(function, "__dict__") else {}
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=False))
    near = {name: cell.cell_contents for name, cell in cells.items() if cell is not None}
    return {n: function.__globals__[n] for n in code.co_names if n in function.__globals__} | near


def _note(found: dict[str, Any], owner: str, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if name.startswith("_") or name == "training":
            continue
        if isinstance(value, (bool, int, float, str)):
            found[f"{owner}.{name}"] = value
        elif isinstance(value, (list, dict, set, tuple)):
            found[f"{owner}.{name}"] = (
                len(value),
                [v for v in _plain(value) if isinstance(v, (int, float, str))],
            )


def _plain(value: Any) -> list[Any]:  # noqa: ANN401
    return list(value.values()) if isinstance(value, dict) else list(value)
