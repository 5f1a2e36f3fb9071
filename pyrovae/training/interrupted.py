"""What a run that was killed has not written, from its last checkpoint.

A process that is killed between two writes leaves an older and a newer file, or none. `last.ckpt`
has everything that the other files of a run folder hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pyrovae.errors import InputError
from pyrovae.files import locked
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.training.folder import RunFolder
from pyrovae.training.state import State

__all__ = ["RunProgress", "complete", "progress_of"]


@dataclass(frozen=True, eq=False)
class RunProgress:
    """How far a run has come.

    Attributes:
        history: name -> array with one entry per epoch.
        best_epoch: the epoch of the weights that are kept; 0 before the end of the first epoch.
    """

    history: dict[str, np.ndarray]
    best_epoch: int


def progress_of(run: str | os.PathLike[str]) -> RunProgress | None:
    """How far the run in a folder has come; None for a run without last.ckpt, as of `fit-prior`.

    Raises:
        InputError: if last.ckpt is damaged.
    """
    path = Path(run) / "last.ckpt"
    if not path.is_file():
        return None
    saved = Checkpoint.read(path, to_resume=True)
    state = State.from_dict(saved.state or {})
    history = {name: np.asarray(values) for name, values in state.history.items()}
    return RunProgress(history, state.best_epoch)


def complete(run: str | os.PathLike[str]) -> list[Path]:
    """Write the files of an interrupted run that are missing or older than its last checkpoint.

    Returns:
        The files that were written, of config.yaml, best.ckpt and metrics.csv. There are none if
            another process is training in the folder, or the folder cannot be written.

    Raises:
        InputError: if last.ckpt is damaged.
    """
    path = Path(run)
    if not (path / "last.ckpt").is_file() or not os.access(path, os.W_OK):
        return []
    saved = Checkpoint.read(path / "last.ckpt", to_resume=True)
    try:
        with locked(path, f"another process is training in {path}"):
            return list(_written(RunFolder(path, resume=True), saved))
    except InputError as error:
        if not isinstance(error.__cause__, BlockingIOError):  # the folder cannot be written
            raise
        return []


def _written(folder: RunFolder, saved: Checkpoint) -> Iterator[Path]:
    """Write each file whose content the last checkpoint has and the folder has not."""
    state = State.from_dict(saved.state or {})
    config = folder.path / "config.yaml"
    if saved.config is not None and not config.is_file():
        folder.write_config(saved.config)
        yield config
    if saved.best is not None and _best_epoch(folder.best) < state.best_epoch:
        best = replace(saved, weights=saved.best, best=None, epoch=state.best_epoch)
        best = replace(best, of_objective=None, optimizer=None, state=None, random=None, callbacks=None)
        best.write(folder.best)
        yield folder.best
    metrics = folder.path / "metrics.csv"
    if state.history and _rows(metrics) < len(state.history["epoch"]):
        folder.write_metrics(state.history)
        yield metrics


def _best_epoch(path: Path) -> int:
    """The epoch of the weights in best.ckpt, 0 if they cannot be read."""
    try:
        return Checkpoint.read(path).epoch or 0
    except InputError:
        return 0


def _rows(metrics: Path) -> int:
    """The number of epochs in metrics.csv, 0 if there is none."""
    try:
        return len(metrics.read_text(encoding="utf-8").splitlines()) - 1
    except OSError:
        return 0
