"""Compiling in another process, while this one goes on.

    this process    the graph, and the shapes of its inputs       ->   standard input
    the other one   compiles, and stores the machine code as any compilation does (`storage`)
    this process    sees that the other has ended, and loads the code from disk

The other process imports torch and the compiler, which therefore take no time and memory of this
one. It holds the reading end of a pipe. When this process ends, even by a kill, the system closes
the writing end, and the other process ends too.
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
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrovae.compiling import native, storage
from pyrovae.compiling.quiet import first_line
from pyrovae.compiling.sending import Line, received, sent
from pyrovae.compiling.tools import remove_headers
from pyrovae.errors import Uncapturable

__all__ = ["Build", "can_start", "work"]

# The program of the other process, which gets the import path of this one.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from pyrovae.compiling.background import work; work({pipe})"

# Held while this process removes its files, since the other one has ended: it must not exit before.
_ending = threading.Lock()


class _Input(NamedTuple):
    """What the compiler needs to know of an input."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class _Task(NamedTuple):
    """What the other process gets."""

    lines: list[Line]
    key: str
    inputs: list[_Input]
    threads: int
    dtype: torch.dtype


def can_start() -> bool:
    """Whether another process can compile for this one."""
    return os.name == "posix" and bool(sys.executable) and os.access(sys.executable, os.X_OK)


def _paths() -> list[str]:
    """The import path, without entries that Python ignores."""
    return [entry for entry in sys.path if isinstance(entry, str)]


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
        self.began = time.time()
        try:
            self.folder = storage.folder_to_write()
            options = torch.get_num_threads(), torch.get_default_dtype()
            task = pickle.dumps(_Task(sent(module), key, kinds, *options))
            self.process, self.pipe = self._started(task)
        except Exception as error:  # a graph that cannot be sent is not compiled
            raise Uncapturable(f"it could not be compiled: {first_line(error)}") from error

    def _started(self, task: bytes) -> tuple[subprocess.Popen[bytes], int]:
        theirs, ours = os.pipe()
        command = [sys.executable, "-c", _PROGRAM.format(path=_paths(), pipe=theirs)]
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        # The folder may belong to this process only. A process in a new session gets no Ctrl-C.
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
        """Wait for the end of the compilation; returns the seconds since its start.

        Raises:
            Uncapturable: with the reason, if it failed.
        """
        assert self.process.stdout is not None
        words = self.process.stdout.read().decode(errors="replace").strip()
        status = self.process.wait()
        self._close()
        if status:
            storage.remove_builds(self.folder, self.process.pid)  # it may have been killed
            raise Uncapturable(words or "it could not be compiled: the compiling process ended early")
        return time.time() - self.began

    def cancel(self) -> None:
        """End the compilation and remove its files."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._close()
        storage.remove_builds(self.folder, self.process.pid)
        remove_headers(self.folder / "tools" / "headers", self.began)

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.pipe)
        self.pipe = -1
        if self.process.stdout is not None:
            self.process.stdout.close()


def work(pipe: int) -> None:
    """Compile the task on standard input; exit with 1 and print the reason if this fails.

    Arguments:
        pipe: the reading end of a pipe; the process that waits holds the other end open.
    """
    signal.signal(signal.SIGTERM, lambda *_: None)  # for the compilers, in the same process group
    threading.Thread(target=_end_with, args=(pipe, time.time()), daemon=True).start()
    try:
        import torch._inductor.compile_fx  # torch needs this import before it reads a graph

        task: _Task = pickle.load(sys.stdin.buffer)
        torch.set_num_threads(task.threads)
        torch.set_default_dtype(task.dtype)  # of tensors that the graph creates
        inputs = [torch.empty_strided(shape, stride, dtype=dtype) for shape, stride, dtype in task.inputs]
        native.stored(received(task.lines), task.key, inputs)
    except Exception as error:
        known = isinstance(error, Uncapturable)
        print(error if known else f"it could not be compiled: {first_line(error)}")
        sys.stdout.flush()
        with _ending:
            os._exit(1)
    with _ending:
        os._exit(0)


def _end_with(pipe: int, start: float) -> None:
    """End this process and its compilers when the other end of the pipe is closed."""
    os.read(pipe, 1)
    _ending.acquire()
    folder = storage.cache_folder()
    with contextlib.suppress(OSError):
        os.killpg(0, signal.SIGTERM)
        storage.remove_builds(folder, os.getpid())
        remove_headers(folder / "tools" / "headers", start)
    os.killpg(0, signal.SIGKILL)
