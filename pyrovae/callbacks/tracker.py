"""What all trackers have in common: which numbers they get, and what happens if they fail."""

from __future__ import annotations

import math
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.errors import InputError
from pyrovae.part import Declared
from pyrovae.training import Callback, Running

__all__ = ["Tracker", "flat", "quiet"]

# After a failure the next try is this number of times as long away as the failure took, in seconds.
PATIENCE, LEAST = 20.0, 60.0


class Tracker(Declared, Callback):
    """The base of trackers, which write what a run does where another tool shows it.

    Each epoch has its number as the step, and all its metrics, in nats where they are bounds. A
    run that is resumed goes on where it was, and a tracker that was not there before also gets the
    earlier epochs.

    If a tracker cannot be opened, the run does not start. If it fails later, for example because
    its server is gone, it warns once, the run goes on, and it tries again from time to time and at
    the end. No epoch is lost if it then works.
    """

    comes_last = True

    def __init__(self) -> None:
        self._logged = 0
        self._is_open = self._has_warned = False
        self._paused_until = -math.inf

    # ---------------------------------------------------------------- what a tracker defines

    @abstractmethod
    def open(self, run: Running) -> None:
        """Open it; the run is resumed if `_logged` is above 0."""

    @abstractmethod
    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Write the finite metrics of an epoch."""

    @abstractmethod
    def show(self, name: str, picture: np.ndarray, epoch: int) -> None:
        """Write a picture, (H, W, 3) of bytes."""

    @abstractmethod
    def close(self, run: Running) -> None:
        """Write what is known at the end, such as `run.status`, and close it."""

    # ---------------------------------------------------------------- what `fit` calls

    def on_start(self, run: Running) -> None:
        """Open the tracker, and write the epochs that it lacks.

        Raises:
            InputError: if it cannot be opened.
        """
        self._is_open = self._has_warned = False
        self._paused_until = -math.inf
        self._logged = min(self._logged, run.epoch)
        try:
            with quiet():
                self.open(run)
                self._is_open = True
                self._log_missing(run)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{type(self).__name__} cannot be opened: {_reason(error)}; correct this, or leave it out"
            ) from error

    def on_epoch(self, run: Running) -> None:
        """Write the metrics of the last epoch, and its pictures."""
        if time.monotonic() < self._paused_until:
            return

        def work() -> None:
            self._log_missing(run)
            if run.epoch > self._logged:
                self.log(_finite(run.metrics), run.epoch)
                self._logged = run.epoch
            for name, picture in run.images.items():
                self.show(name, picture, run.epoch)

        self._attempt(work)

    def on_end(self, run: Running) -> None:
        """Write what is missing, and the figures, and close the tracker."""
        if not self._is_open:
            return
        self._is_open = False
        self._attempt(lambda: self._log_missing(run))
        if run.status in ("finished", "stopped"):
            self._attempt(lambda: self._show_figures(run))
        self._attempt(lambda: self.close(run))

    def state(self) -> dict[str, Any]:
        """The number of epochs that were written."""
        return {"logged": self._logged} if self._logged or self._is_open else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._logged = int(state.get("logged", 0))

    # ---------------------------------------------------------------- pieces

    def _log_missing(self, run: Running) -> None:
        count = max(map(len, run.history.values()), default=0)
        for epoch in range(self._logged + 1, count + 1):
            self.log(_finite({name: values[epoch - 1] for name, values in run.history.items()}), epoch)
            self._logged = epoch

    def _show_figures(self, run: Running) -> None:
        for path in figures_of(run):
            self.show(f"figures/{path.stem}", _read(path), run.epoch)

    def _attempt(self, work: Callable[[], object]) -> None:
        """Do what may fail; a failure is a warning."""
        start = time.monotonic()
        try:
            with quiet():
                work()
        except Exception as error:
            now = time.monotonic()
            self._paused_until = now + max(LEAST, PATIENCE * (now - start))
            if not self._has_warned:
                self._has_warned = True
                warnings.warn(
                    f"{type(self).__name__} has failed, and the run goes on without it; it will try again "
                    f"({type(error).__name__}: {_reason(error)})",
                    RuntimeWarning,
                    stacklevel=2,
                )


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of libraries about what they use themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


def figures_of(run: Running) -> list[Path]:
    """The figures in the run folder."""
    return [] if run.folder is None else sorted((run.folder / "figures").glob("*.png"))


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run as the command line names them, with plain values.

    Example:
        >>> prior = {"class_path": "pyrovae.priors.GaussianMixture", "init_args": {"components": 5}}
        >>> flat({"lr": 0.1, "prior": prior, "sizes": [8, 8]})
        {'lr': 0.1, 'prior': 'GaussianMixture', 'prior.components': 5, 'sizes': '[8, 8]'}
    """
    options: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and "class_path" in value:
            path = str(value["class_path"])
            options[name] = path.rpartition(".")[2] if path.startswith("pyrovae.") else path
            inner = flat(value.get("init_args") or {})
            options |= {f"{name}.{key}": item for key, item in inner.items()}
        else:
            is_plain = value is None or isinstance(value, (bool, int, float, str))
            options[name] = value if is_plain else str(value)
    return options


def _reason(error: Exception) -> str:
    """The first sentence of an error."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name != "epoch" and math.isfinite(value)}


def _read(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
