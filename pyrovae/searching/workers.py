"""A pool of processes that do trials, with reports on the way that are answered.

    with Pool(jobs=2, context=data) as pool:
        for outcome in pool.run(next_task, on_report):
            ...                        # Done(key, value) or Failed(key, sentence, kind)

`next_task` is called only when a process is free, after all earlier outcomes were handled, so a
study gets each result before it is asked for the next trial. With one job everything runs in the
calling process.

A process that dies is replaced, and its task fails with a sentence. No process outlives the pool,
also if the parent is killed (see `worker`). The context is sent once to each process, with
cloudpickle, so it may have classes that a script or a notebook defines.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Self

from pyrovae.checks import whole
from pyrovae.cures import cure
from pyrovae.errors import InputError
from pyrovae.interrupts import STATUS
from pyrovae.searching.worker import GRACE, pickled, reason_for

__all__ = ["Done", "Failed", "Pool", "Report", "Task"]

Report = Callable[[int, float], bool]
"""What a task calls with a step and a value; it returns whether to go on."""

# The paths of the parent, in place of those that Python would choose.
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from pyrovae.searching.worker import main
main(int(sys.argv[1]))
"""


class Task(NamedTuple):
    """A call `function(context, report, **options)`.

    Attributes:
        function: a function of a module; it gets the context of the pool and a `Report`.
        options: its keyword arguments.
    """

    function: Callable[..., Any]
    options: Mapping[str, Any] = {}


class Done(NamedTuple):
    """The outcome of a task: what its function returned."""

    key: Any
    value: Any


class Failed(NamedTuple):
    """The outcome of a task that failed.

    Attributes:
        sentence: the reason.
        kind: "input" for an `InputError`, "numerical" for a `NumericalError`, "memory", "killed"
            for a process that died, or "error" for any other exception.
    """

    key: Any
    sentence: str
    kind: str


@dataclass(eq=False)
class _Worker:
    """A process and the task that it does."""

    process: subprocess.Popen
    connection: Connection
    key: Any = None
    is_busy: bool = field(default=False)


class Pool:
    """Processes that do tasks; a context manager.

    Arguments:
        jobs: the number of tasks at a time; 1 runs them in the calling process.
        context: what all tasks share, such as the data.

    Raises:
        InputError: for jobs that are not a whole number of 1 or more, and for several on Windows.

    Example:
        >>> def total(context, report, power):
        ...     return sum(x**power for x in context)
        >>> tasks = iter([("cubes", Task(total, {"power": 3}))])
        >>> with Pool(1, [1, 2]) as pool:
        ...     list(pool.run(lambda: next(tasks, None)))
        [Done(key='cubes', value=9)]
    """

    def __init__(self, jobs: int, context: Any) -> None:  # noqa: ANN401
        self.jobs, self.context = whole("jobs", jobs), context
        if self.jobs > 1 and os.name == "nt":
            one = cure("jobs=1", "--jobs 1")
            raise InputError(f"several jobs at a time need Linux or macOS: use {one}")
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        next_task: Callable[[], tuple[Any, Task] | None],
        on_report: Callable[[Any, int, float], bool] = lambda *_: True,
    ) -> Iterator[Done | Failed]:
        """Do tasks, and yield their outcomes as they end.

        Arguments:
            next_task: gives the key and the task for a process that is free, or None if there is
                none; then it is asked again after the next outcome. The run ends when there is none
                and no task runs.
            on_report: gets (key, step, value) of a report, and returns whether the task goes on.

        Raises:
            InputError: if the context cannot be sent to a process.
            KeyboardInterrupt: on Ctrl-C; leaving the pool then stops the tasks.
        """
        if self.jobs == 1:
            yield from self._run_here(next_task, on_report)
            return
        while True:
            while sum(worker.is_busy for worker in self._workers) < self.jobs:
                following = next_task()
                if following is None:
                    break
                failed = self._begin(*following)
                if failed is not None:
                    yield failed
            if not any(worker.is_busy for worker in self._workers):
                return
            yield from self._outcomes(on_report)

    def close(self) -> None:
        """Interrupt all tasks, give them time to write their checkpoints, and end the processes."""
        workers, self._workers = self._workers, []
        until = time.monotonic() + GRACE + 1
        try:
            for worker in workers:
                worker.connection.close()
            for worker in workers:
                with suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(0.0, until - time.monotonic()))
        finally:  # also if the user presses Ctrl-C again
            for worker in workers:
                _end(worker.process)

    # ---------------------------------------------------------------- one process

    def _run_here(
        self,
        next_task: Callable[[], tuple[Any, Task] | None],
        on_report: Callable[[Any, int, float], bool],
    ) -> Iterator[Done | Failed]:
        while (following := next_task()) is not None:
            key, task = following

            def report(step: int, value: float, key: Any = key) -> bool:  # noqa: ANN401
                return on_report(key, step, value)

            try:
                outcome: Done | Failed = Done(key, task.function(self.context, report, **task.options))
            except Exception as error:
                outcome = Failed(key, *reason_for(error))
            yield outcome

    # ---------------------------------------------------------------- several processes

    def _begin(self, key: Any, task: Task) -> Failed | None:  # noqa: ANN401
        """Give a task to a process; returns its failure if it cannot be sent."""
        try:
            order = pickled((task.function, dict(task.options)))
        except Exception as error:
            sentence, _ = reason_for(error)
            return Failed(
                key, f"the trial cannot be sent to another process ({sentence}): use jobs=1", "input"
            )
        worker = next((w for w in self._workers if not w.is_busy), None) or self._start()
        worker.key, worker.is_busy = key, True
        with suppress(OSError):  # the process died, which `_outcomes` notices
            worker.connection.send_bytes(order)
        return None

    def _start(self) -> _Worker:
        """A new process that has the context."""
        try:
            context = pickled(self.context)
        except Exception as error:
            sentence, _ = reason_for(error)
            raise InputError(
                f"the data cannot be sent to another process ({sentence}): use jobs=1"
            ) from error
        mine, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(theirs.fileno()), json.dumps(sys.path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={"OMP_NUM_THREADS": str(max(1, _cpus() // self.jobs))} | os.environ,
            )
        worker = _Worker(process, Connection(mine.detach()))
        self._workers.append(worker)
        with suppress(OSError):
            worker.connection.send_bytes(context)
        return worker

    def _outcomes(self, on_report: Callable[[Any, int, float], bool]) -> Iterator[Done | Failed]:
        """Wait for messages; answer reports, and yield what has ended."""
        busy = [worker for worker in self._workers if worker.is_busy]
        ready = wait([worker.connection for worker in busy], timeout=1.0)
        for worker in busy:
            is_dead = worker.process.poll() is not None
            if worker.connection not in ready and not is_dead:
                continue
            try:
                if not worker.connection.poll():
                    raise EOFError
                word, *content = pickle.loads(worker.connection.recv_bytes())
            except (EOFError, OSError):
                yield self._lost(worker)
                continue
            if word == "report":
                goes_on = on_report(worker.key, *content)
                with suppress(OSError):
                    worker.connection.send_bytes(b"go" if goes_on else b"stop")
                continue
            worker.is_busy = False
            yield Done(worker.key, *content) if word == "done" else Failed(worker.key, *content)

    def _lost(self, worker: _Worker) -> Failed:
        """The failure of the task of a process that died."""
        self._workers.remove(worker)
        worker.connection.close()
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(GRACE)
        _end(worker.process)
        return Failed(worker.key, _death(worker.process.returncode), "killed")


def _death(status: int) -> str:
    """How a process ended, in a sentence."""
    if status == -signal.SIGKILL:
        return (
            "the process of this trial was killed (signal 9): it may have needed more memory than the "
            "machine has, so use fewer jobs or a smaller model"
        )
    if status == STATUS:
        return "the process of this trial was stopped from outside: run it again"
    how = cure("jobs=1", "--jobs 1")
    if status < 0:
        return f"the process of this trial was ended by signal {-status}: run it again, or use {how}"
    return f"the process of this trial ended with status {status}: use {how} to see its error"


def _end(process: subprocess.Popen) -> None:
    """Kill a process that still runs, with the processes that it started."""
    if process.poll() is None:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _cpus() -> int:
    """The number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
