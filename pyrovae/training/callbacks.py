"""Callbacks: code of the user that `fit` calls during a run.

    on_start(run)               before the first step, also of a run that is resumed
    on_step(run)                after each step, in training mode
    on_change(run)              when a prior starts or loses components between two epochs
    on_epoch(run)               after the validation of an epoch; may return more metrics, or stop
    on_checkpoint(run, path)    after a checkpoint was written
    on_end(run)                 at the end; `run.status` says how the run ended

A callback sees the program in evaluation mode with the weights of this moment. Random numbers that
it draws do not change those of the run. Of several processes only the first calls it, and it may
evaluate the program as if it were alone.

What a callback keeps between epochs is lost when a run is killed, unless `state` returns it:
checkpoints contain it, and `load_state` gets it when the run is resumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.training.config import config_of_job

if TYPE_CHECKING:
    import numpy as np

    from pyrovae.datasets import Data
    from pyrovae.training.job import Job

__all__ = ["Callback", "Running", "Status", "check_callbacks", "has_own"]

Status = Literal["running", "finished", "stopped", "interrupted", "failed"]


class Running:
    """A run as a callback sees it.

    Attributes:
        metrics: the numbers of the last epoch by name, as in `Run.history`.
        images: pictures of the last epoch by name, (H, W, 3) of bytes, for trackers to show.
        status: "running"; at the end "finished", "stopped" by a callback, "interrupted" by Ctrl-C
            or another signal, or "failed" with an error.
        is_stopped: whether a callback has stopped the run.
        folder: the run folder, or None.
    """

    def __init__(self, job: Job, folder: Path | None) -> None:
        self._job, self.folder = job, folder
        self.metrics: dict[str, float] = {}
        self.images: dict[str, np.ndarray] = {}
        self.status: Status = "running"
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
    def weights(self) -> dict[str, Tensor]:
        """The tensors that are trained, by name; not copies, so they must not be changed."""
        return self._job.trained

    @property
    def config(self) -> dict[str, Any]:
        """The options of the run, as in config.yaml."""
        return config_of_job(self._job)

    @property
    def step(self) -> int:
        """The number of steps that are done."""
        return self._job.state.position.step

    @property
    def epoch(self) -> int:
        """The number of epochs that are done."""
        return self._job.state.position.epoch

    @property
    def epochs(self) -> int:
        """The number of epochs that were asked for."""
        return self._job.settings.epochs

    @property
    def best_epoch(self) -> int:
        """The epoch of the weights that are kept, without the last epoch; 0 for none."""
        return self._job.state.best_epoch

    @property
    def history(self) -> Mapping[str, Sequence[float]]:
        """Name -> the numbers of all epochs; in `on_epoch`, of those before the last."""
        return self._job.state.history

    def stop(self) -> None:
        """End the run after this epoch; it can be resumed."""
        self.is_stopped = True


class Callback:
    """The base of callbacks; each method does nothing unless a subclass defines it.

    If a method raises an error, the run is saved and ends with this error.

    Attributes:
        comes_last: whether it is called after all others, so that it sees their metrics.
        word: what `pyrovae fit --track` calls it; config.yaml then names it.

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

    comes_last: ClassVar[bool] = False
    word: ClassVar[str | None] = None

    def on_start(self, run: Running) -> None:
        """Called before the first step."""

    def on_step(self, run: Running) -> None:
        """Called after each step, in training mode; it should be fast, and must change nothing."""

    def on_change(self, run: Running) -> None:
        """Called when a prior has started or lost components, and before the next step."""

    def on_epoch(self, run: Running) -> Mapping[str, float] | None:
        """Called after each epoch; returns metrics for `Run.history`, if any."""

    def on_checkpoint(self, run: Running, path: Path) -> None:
        """Called after best.ckpt or last.ckpt was written."""

    def on_end(self, run: Running) -> None:
        """Called at the end, with the weights that are kept if the run ended without an error.

        Figures are in the run folder by then. `run.status` says how the run ended.
        """

    def kept_weights(self, run: Running) -> Mapping[str, Tensor] | None:
        """Weights by name to validate and to keep in place of those of the last step, or None.

        Called after each epoch. At most one callback of a run may define it.
        """

    def state(self) -> dict[str, Any]:
        """What a resumed run needs: tensors, plain values, and dicts and lists of these."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Called before `on_start` with what `state` returned, which is empty for a new run."""


def check_callbacks(callbacks: Any) -> tuple[Callback, ...]:  # noqa: ANN401
    """The callbacks in the order in which they are called.

    Raises:
        InputError: for anything else than a list of callbacks, one that is given twice, or two that
            choose the weights.
    """
    is_list = isinstance(callbacks, (list, tuple))
    items = tuple(callbacks) if is_list else (callbacks,)
    for callback in items:
        if not isinstance(callback, Callback):
            raise InputError(
                f"callbacks must be objects of subclasses of pyrovae.Callback, not {callback!r}: derive its "
                "class from it, and give an object"
            )
    if len({id(callback) for callback in items}) < len(items):
        raise InputError("callbacks names one object twice: give each once")
    average = [type(callback).__name__ for callback in items if has_own(callback, "kept_weights")]
    if len(average) > 1:
        raise InputError(f"both {average[0]} and {average[1]} choose the weights that are kept: give one")
    return tuple(sorted(items, key=lambda callback: callback.comes_last))


def has_own(callback: Callback, method: str) -> bool:
    """Whether a callback defines a method itself."""
    return getattr(type(callback), method) is not getattr(Callback, method)
