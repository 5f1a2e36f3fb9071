"""Compiling in another process, while this one goes on.

    this process    the graph, and the shapes of its inputs       ->   standard input
    the other one   compiles, and stores the machine code as any compilation does (`storage`)
    this process    sees that the other has ended, and loads the code from disk

The other process imports torch and the compiler, so neither their memory nor their time is this
one's. It ends as soon as this one does, even if that is killed: it then reads the end of a pipe.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx.node import map_arg

from pyrovae.compiling import native, storage
from pyrovae.compiling.quiet import first_line
from pyrovae.errors import Uncapturable

__all__ = ["Build", "can_start", "work"]

# Started by this text, so that the other process has the import path of this one.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from pyrovae.compiling.background import work; work({pipe})"


class _Input(NamedTuple):
    """What the compiler needs to know of an input."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class _Name(NamedTuple):
    """A node of the graph, as an argument of another one."""

    name: str


class _Node(NamedTuple):
    """A node of the graph."""

    name: str
    kind: str
    target: Any
    given: tuple[Any, Any]


class _Task(NamedTuple):
    """What the other process is told."""

    nodes: list[_Node]
    key: str
    inputs: list[_Input]
    threads: int
    number: torch.dtype


def can_start() -> bool:
    """Whether another process can compile for this one."""
    return os.name == "posix" and bool(sys.executable)


class Build:
    """The compilation of a graph in another process, which starts at once.

    Arguments:
        module: the graph.
        key: the hash under which its code is stored.
        inputs: its inputs, on a CPU.

    Raises:
        Uncapturable: when there is no folder for the code, or no process can be started.
    """

    def __init__(self, module: torch.fx.GraphModule, key: str, inputs: Sequence[Tensor]) -> None:
        kinds = [_Input(tuple(t.shape), t.stride(), t.dtype) for t in inputs]
        self.began = time.perf_counter()
        try:
            self.folder = storage.folder_to_write()
            options = torch.get_num_threads(), torch.get_default_dtype()
            task = pickle.dumps(_Task(_nodes(module.graph), key, kinds, *options))
            self.process, self.pipe = self._started(task)
        except Exception as error:  # a graph that cannot be sent is compiled by nobody
            raise Uncapturable(f"it could not be compiled: {first_line(error)}") from error

    def _started(self, task: bytes) -> tuple[subprocess.Popen[bytes], int]:
        theirs, ours = os.pipe()
        command = [sys.executable, "-c", _PROGRAM.format(path=sys.path, pipe=theirs)]
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        # The folder may be a private one of this process. A new session gets no Ctrl-C.
        environment = os.environ | {"PYROVAE_CACHE": str(self.folder)}
        try:
            with tempfile.TemporaryFile() as file:
                file.write(task)
                file.seek(0)
                process = subprocess.Popen(
                    command, stdin=file, pass_fds=[theirs], env=environment, start_new_session=True, **options
                )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return process, ours

    @property
    def is_done(self) -> bool:
        """Whether the other process has ended."""
        return self.process.poll() is not None

    def finish(self) -> float:
        """Wait for the end of the compilation; returns the seconds since it began.

        Raises:
            Uncapturable: with the reason, when it failed.
        """
        assert self.process.stdout is not None
        words = self.process.stdout.read().decode(errors="replace").strip()
        status = self.process.wait()
        self._close()
        if status:
            raise Uncapturable(words or "it could not be compiled: the compiling process was ended")
        return time.perf_counter() - self.began

    def cancel(self) -> None:
        """End the compilation; its files are removed."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._close()
        storage.remove_builds(self.folder, self.process.pid)

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.pipe)
        self.pipe = -1
        if self.process.stdout is not None:
            self.process.stdout.close()


def _nodes(graph: torch.fx.Graph) -> list[_Node]:
    """The graph as plain values.

    A graph that is pickled runs what has no inputs when it is read: noise would become a constant.
    """
    nodes = []
    for node in graph.nodes:
        target = node.target
        if isinstance(target, torch._ops.OpOverload):
            target = (target.namespace, target._opname, target._overloadname)
        given = map_arg((node.args, node.kwargs), lambda n: _Name(n.name))
        nodes.append(_Node(node.name, node.op, target, given))
    return nodes


def _module(nodes: Sequence[_Node]) -> torch.fx.GraphModule:
    """The graph of these nodes."""
    graph, known = torch.fx.Graph(), dict[str, torch.fx.Node]()
    for node in nodes:
        target, (args, kwargs) = node.target, _with_nodes(node.given, known)
        if isinstance(target, tuple):
            space, operation, overload = target
            target = getattr(getattr(getattr(torch.ops, space), operation), overload)
        known[node.name] = graph.create_node(node.kind, target, args, kwargs, node.name)
    return torch.fx.GraphModule(torch.nn.Module(), graph)


def _with_nodes(given: Any, known: Mapping[str, torch.fx.Node]) -> Any:  # noqa: ANN401
    """Arguments with nodes in place of their names."""
    if isinstance(given, _Name):
        return known[given.name]
    if isinstance(given, (tuple, list)):
        return type(given)(_with_nodes(part, known) for part in given)
    if isinstance(given, dict):
        return {name: _with_nodes(part, known) for name, part in given.items()}
    return given


def work(pipe: int) -> None:
    """Compile the task on standard input; ends the process with 1 and a reason if that fails.

    Arguments:
        pipe: the end of a pipe that the process which waits holds open.
    """
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    try:
        import torch._inductor.compile_fx  # before a graph is read: torch expects it

        task: _Task = pickle.load(sys.stdin.buffer)
        torch.set_num_threads(task.threads)
        torch.set_default_dtype(task.number)  # of tensors that the graph creates
        inputs = [torch.empty_strided(shape, stride, dtype=dtype) for shape, stride, dtype in task.inputs]
        native.stored(_module(task.nodes), task.key, inputs)
    except Exception as error:
        known = isinstance(error, Uncapturable)
        print(error if known else f"it could not be compiled: {first_line(error)}")
        sys.stdout.flush()
        os._exit(1)
    os._exit(0)


def _end_with(pipe: int) -> None:
    """End this process and its compilers when the other end of the pipe is closed."""
    os.read(pipe, 1)
    with contextlib.suppress(OSError):
        storage.remove_builds(storage.cache_folder(), os.getpid())
    os.killpg(0, signal.SIGKILL)
