"""Callbacks: code of the user that `fit` calls at the start, after each epoch and at the end.

    on_start(run)    before the first step, also of a run that is resumed
    on_epoch(run)    after the validation of an epoch; may return more metrics, or stop the run
    on_end(run)      after the last step, also if the user stopped the run

A callback sees the program in evaluation mode with the weights of this moment. Random numbers that
it draws do not change those of the run. Of several processes only the first calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pyrovae import sharing
from pyrovae.errors import InputError
from pyrovae.networks import products_in
from pyrovae.networks.modes import in_mode

if TYPE_CHECKING:
    from pyrovae.datasets import Data
    from pyrovae.training.job import Job

__all__ = ["Callback", "Callbacks", "Running", "check_callbacks"]


class Running:
    """A run as a callback sees it.

    Attributes:
        metrics: the numbers of the last epoch by name, as in `Run.history`.
        is_stopped: whether a callback has stopped the run.
        folder: the run folder, or None.
    """

    def __init__(self, job: Job, folder: Path | None) -> None:
        self._job, self.folder = job, folder
        self.metrics: dict[str, float] = {}
        self.is_stopped = False

    @property
    def program(self) -> Any:  # noqa: ANN401
        """The VAE (or pair) that is trained."""
        return self._job.runner.target

    @property
    def data(self) -> Data:
        """The data, on the device of the run."""
        return self._job.data

    @property
    def epoch(self) -> int:
        """The number of epochs that are done."""
        return self._job.state.position.epoch

    @property
    def epochs(self) -> int:
        """The number of epochs that were asked for."""
        return self._job.settings.epochs

    @property
    def history(self) -> Mapping[str, Sequence[float]]:
        """Name -> the numbers of all epochs before the last."""
        return self._job.state.history

    def stop(self) -> None:
        """End the run after this epoch; it can be resumed."""
        self.is_stopped = True


class Callback:
    """The base of callbacks; each method does nothing unless a subclass defines it.

    Example:
        >>> import pyrovae as pv
        >>> class StopAt(pv.Callback):
        ...     def __init__(self, bound):
        ...         self.bound = bound
        ...
        ...     def on_epoch(self, run):
        ...         if run.metrics["validation"] > self.bound:
        ...             run.stop()
        ...         return {"gap": run.metrics["train"] - run.metrics["validation"]}
        >>> data = pv.datasets.load("digits", binarize="threshold")
        >>> vae = pv.VAE(data.event_shape, latent_dim=2)
        >>> run = pv.fit(vae, data, epochs=5, progress=False, callbacks=[StopAt(-1000.0)])
        >>> len(run.history["gap"])
        1
    """

    def on_start(self, run: Running) -> None:
        """Called before the first step."""

    def on_epoch(self, run: Running) -> Mapping[str, float] | None:
        """Called after each epoch; returns metrics for `Run.history`, if any."""

    def on_end(self, run: Running) -> None:
        """Called after the last step."""


class Callbacks:
    """The callbacks of a run, called in their order.

    Arguments:
        all: the callbacks.
        job: the run.
        folder: its folder, or None.
    """

    def __init__(self, all: Sequence[Callback], job: Job, folder: Path | None) -> None:
        self.all, self.job = all, job
        self.run = Running(job, folder)

    def start(self) -> None:
        """Call `on_start`."""
        self._each(lambda callback: callback.on_start(self.run))

    def epoch(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Call `on_epoch`; returns the metrics that were added, and stops the run if asked."""
        added: dict[str, float] = {}

        def call(callback: Callback) -> None:
            self.run.metrics = {**metrics, **added}
            added.update(_numbers(callback.on_epoch(self.run), callback, self.run.metrics))

        self._each(call)
        added, self.job.is_ended = (
            sharing.agreed((added, self.run.is_stopped)) if self.all else (added, False)
        )
        return added

    def end(self) -> None:
        """Call `on_end`."""
        self._each(lambda callback: callback.on_end(self.run))

    def _each(self, call: Callable[[Callback], None]) -> None:
        if not self.all:
            return

        def work() -> None:
            if sharing.is_first():
                with self._apart():
                    for callback in self.all:
                        call(callback)

        sharing.together(work)

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Evaluation mode, full precision and random numbers of its own."""
        device = self.job.data.validation.x.device
        module = self.job.runner.module
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), in_mode(module, training=False):
            with products_in("float32", device), torch.no_grad():
                yield


def check_callbacks(callbacks: Any) -> tuple[Callback, ...]:  # noqa: ANN401
    """The callbacks as a tuple.

    Raises:
        InputError: for anything else than a list of callbacks.
    """
    is_list = isinstance(callbacks, (list, tuple))
    given = tuple(callbacks) if is_list else (callbacks,)
    for callback in given:
        if not isinstance(callback, Callback):
            raise InputError(
                f"callbacks must be objects of subclasses of pyrovae.Callback, not {callback!r}: derive its "
                "class from it, and give an object"
            )
    return given


def _numbers(
    metrics: Mapping[str, float] | None, callback: Callback, known: Mapping[str, float]
) -> dict[str, float]:
    if metrics is None:
        return {}
    name = type(callback).__name__
    if not isinstance(metrics, Mapping):
        raise InputError(f"on_epoch of {name} must return metrics by name or None, not {metrics!r}")
    for metric, value in metrics.items():
        if metric in known:
            raise InputError(f"on_epoch of {name} returns {metric!r}, which exists: choose another name")
        try:
            float(value)
        except (TypeError, ValueError):
            raise InputError(f"{metric!r} of {name} must be a number, not {value!r}") from None
    return {str(metric): float(value) for metric, value in metrics.items()}
