"""The callbacks of a run: when they are called, what they keep, and what happens if one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae import sharing
from pyrovae.compiling import random_state, set_random_state
from pyrovae.errors import InputError
from pyrovae.networks import products_in
from pyrovae.networks.modes import in_mode
from pyrovae.part import Declared
from pyrovae.training.callbacks import Callback, Running, Status, has_own

if TYPE_CHECKING:
    from pyrovae.training.job import Job

__all__ = ["Callbacks"]

OF_SOME_RUNS = (
    "objective",
    "global_kl",
)  # metrics of `fit` that not every run has; the first chooses weights


class Callbacks:
    """The callbacks of a run, called in their order by the first process.

    An error of a callback is raised after the run was saved.

    Arguments:
        all: the callbacks.
        job: the run.
        folder: its folder, or None.

    Attributes:
        steppers: those that are called after each step.
        failure: the error to raise after the next checkpoint.
        all_failed: whether all processes have one.
    """

    def __init__(self, all: Sequence[Callback], job: Job, folder: Path | None) -> None:
        self.all, self.job = all, job
        self.run = Running(job, folder)
        self.steppers = [c for c in all if has_own(c, "on_step") and sharing.is_first()]
        self.averaging = next((c for c in all if has_own(c, "kept_weights")), None)
        self.failure: Exception | None = None
        self.all_failed = False
        self._names = _names(all)
        self._started: list[Callback] = []
        self._unused: dict[str, Any] = {}

    def start(self) -> None:
        """Call `on_start`."""

        def call(callback: Callback) -> None:
            self._call(callback, "on_start")
            self._started.append(callback)

        self._each(call)

    def step(self) -> None:
        """Call `on_step`."""
        device = self.job.data.validation.x.device
        random = random_state(device)
        try:
            with torch.no_grad():
                for callback in self.steppers:
                    self._call(callback, "on_step")
        except Exception as error:
            self.failure = error
        set_random_state(random, device)

    def change(self) -> None:
        """Call `on_change`."""
        self._each(lambda callback: self._call(callback, "on_change"))

    def epoch(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Call `on_epoch`; returns the metrics that were added, and stops the run if asked."""
        added: dict[str, float] = {}
        self.run.images = {}

        def call(callback: Callback) -> None:
            self.run.metrics = {**metrics, **added}
            added.update(_numbers(self._call(callback, "on_epoch"), callback, self.run.metrics))

        try:
            self._each(call)
        except Exception as error:  # the epoch is saved first
            self.failure, self.all_failed = self.failure or error, True
            return added
        added, self.job.is_ended = (
            sharing.agreed((added, self.run.is_stopped)) if self.all else (added, False)
        )
        return added

    def checkpoint(self, path: Path) -> None:
        """Call `on_checkpoint`, in the process that wrote it."""
        called = [callback for callback in self._started if has_own(callback, "on_checkpoint")]
        if called:
            with self._apart():
                for callback in called:
                    self._call(callback, "on_checkpoint", path)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Call `on_end` at the end of the context, also after an error."""
        try:
            yield
        except BaseException as error:
            self._end(_status(error, self.run), error)
            raise
        # In a notebook an interrupt ends the context without an error.
        is_interrupted = self.job.exchange.stopped and not self.job.is_over
        self._end("interrupted" if is_interrupted else "stopped" if self.run.is_stopped else "finished")

    def raise_failure(self) -> None:
        """Raise the error of a callback."""
        if self.failure is not None:
            raise self.failure

    @contextmanager
    def kept_weights(self) -> Iterator[None]:
        """Inside the context the program has the weights that are validated and kept."""
        if self.averaging is None:
            yield
            return
        trained, kept = self.job.trained, self._kept_weights(self.averaging)
        before = {name: trained[name].detach().clone() for name in kept}
        try:
            _put(trained, kept)
            yield
        finally:
            _put(trained, before)

    # ---------------------------------------------------------------- what is stored

    @property
    def average(self) -> str | None:
        """What chooses the weights that are kept, in words; a resumed run needs the same."""
        own = self.averaging
        return None if own is None else repr(own) if isinstance(own, Declared) else type(own).__name__

    @property
    def words(self) -> list[str]:
        """The names of the trackers on the command line."""
        return [callback.word for callback in self.all if callback.word is not None]

    def states(self) -> dict[str, Any]:
        """The states of all callbacks by name, for a checkpoint."""
        if not sharing.is_first():
            return {}
        own = {name: _plain(callback.state(), name) for name, callback in self._names.items()}
        return self._unused | {name: state for name, state in own.items() if state}

    def load(self, states: Mapping[str, Any] | None) -> None:
        """Load the result of `states`; those of other callbacks are kept for a later checkpoint.

        Raises:
            InputError: if a callback cannot read its state.
        """
        if not sharing.is_first():
            return
        self._unused = dict(states or {})
        for name, callback in self._names.items():
            try:
                callback.load_state(self._unused.pop(name, {}))
            except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(
                    f"the state of {name} in the checkpoint does not match ({error!r}): give the callback "
                    "with which the run was started"
                ) from error

    # ---------------------------------------------------------------- pieces

    def _each(self, call: Callable[[Callback], object]) -> None:
        if not self.all:
            return

        def work() -> None:
            if sharing.is_first():
                with self._apart():
                    for callback in self.all:
                        call(callback)

        sharing.together(work)

    def _end(self, status: Status, error: BaseException | None = None) -> None:
        """Call `on_end` of each callback that was started, even if others fail."""
        self.run.status = status
        if error is not None:  # other processes may be gone
            if sharing.is_first():
                for failure in self._ended():
                    error.add_note(f"then {failure!r}, {'; '.join(getattr(failure, '__notes__', []))}")
        elif self.all:
            sharing.together(self._end_well)

    def _end_well(self) -> None:
        for failure in self._ended() if sharing.is_first() else []:
            raise failure

    def _ended(self) -> list[Exception]:
        """Call `on_end`; returns the errors."""
        failures = []
        started, self._started = self._started, []
        for callback in started:
            try:
                with self._apart():
                    self._call(callback, "on_end")
            except Exception as error:
                failures.append(error)
        return failures

    def _call(self, callback: Callback, method: str, *args: Any) -> Any:  # noqa: ANN401
        """Call a method; an error says whose it is."""
        try:
            return getattr(callback, method)(self.run, *args)
        except Exception as error:
            if not self.run.is_stopped:  # else it ends the run on purpose
                error.add_note(f"raised by {method} of the callback {type(callback).__name__}")
            raise

    def _kept_weights(self, callback: Callback) -> dict[str, Tensor]:
        """The weights that are kept, the same in all processes."""

        def work() -> dict[str, Tensor]:
            if not sharing.is_first():
                return {}
            return dict(self._call(callback, "kept_weights") or {})

        kept, trained = sharing.together(work), self.job.trained
        for name, weight in kept.items():
            if name not in trained or weight.shape != trained[name].shape:
                raise InputError(
                    f"kept_weights of {type(callback).__name__} returns {name!r}, which is not a trained "
                    f"tensor of the shape {tuple(weight.shape)}: use the names and shapes of run.weights"
                )
        if sharing.is_shared():
            kept = sharing.agreed({name: weight.cpu() for name, weight in kept.items()})
        return kept

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Evaluation mode, full precision, random numbers of its own, and no other processes."""
        device = self.job.data.validation.x.device
        module = self.job.runner.module
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), in_mode(module, training=False), sharing.by_itself():
            with products_in("float32", device), torch.no_grad():
                yield


def _put(trained: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in values.items():
            trained[name].copy_(value)


def _status(error: BaseException, run: Running) -> Status:
    """How a run with an error ended: a callback may stop it by one, as `Pruning` does."""
    if run.is_stopped and isinstance(error, Exception):
        return "stopped"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


def _names(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """The callbacks by the name of their class; the second of a class is "Name 2"."""
    names: dict[str, Callback] = {}
    for callback in callbacks:
        name = type(callback).__name__
        count = sum(type(other).__name__ == name for other in names.values())
        names[f"{name} {count + 1}" if count else name] = callback
    return names


def _plain(value: Any, name: str) -> Any:  # noqa: ANN401
    """A state as tensors in memory and plain values, which a checkpoint can hold."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {_plain(key, name): _plain(item, name) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, name) for item in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise InputError(
        f"state of {name} has an object that a checkpoint cannot hold ({type(value).__name__}): use tensors, "
        "numbers, strings, and dicts and lists of these"
    )


def _numbers(
    metrics: Mapping[str, float] | None, callback: Callback, known: Mapping[str, float]
) -> dict[str, float]:
    if metrics is None:
        return {}
    name = type(callback).__name__
    if not isinstance(metrics, Mapping):
        raise InputError(f"on_epoch of {name} must return metrics by name or None, not {metrics!r}")
    for metric, value in metrics.items():
        if str(metric) in (*known, *OF_SOME_RUNS):
            raise InputError(f"on_epoch of {name} returns {metric!r}, which exists: choose another name")
        try:
            float(value)
        except (TypeError, ValueError):
            raise InputError(f"{metric!r} of {name} must be a number, not {value!r}") from None
    return {str(metric): float(value) for metric, value in metrics.items()}
