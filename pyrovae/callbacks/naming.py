"""Trackers by the names that the command line has for them."""

from __future__ import annotations

from collections.abc import Sequence

from pyrovae.callbacks.mlflow import MLflow
from pyrovae.callbacks.tensorboard import TensorBoard
from pyrovae.callbacks.tracker import Tracker
from pyrovae.callbacks.wandb import WandB
from pyrovae.checks import shown
from pyrovae.errors import InputError
from pyrovae.names import meant_by

__all__ = ["trackers"]

NAMED: dict[str, type[Tracker]] = {str(cls.word): cls for cls in (TensorBoard, MLflow, WandB)}


def trackers(names: str | Sequence[str] | None) -> list[Tracker]:
    """The trackers of these names, with their defaults.

    Raises:
        InputError: for an unknown name, or a tracker whose extra is not installed.

    Example:
        >>> trackers(["tensorboard", "mlflow"])
        [TensorBoard(folder=None), MLflow(experiment=None)]
    """
    words = [names] if isinstance(names, str) else list(names or ())
    for word in words:
        if word not in NAMED:
            meant = meant_by(word, list(NAMED))
            raise InputError(f"there is no tracker {shown(word)}: {meant}choose from {', '.join(NAMED)}")
    return [NAMED[word]() for word in dict.fromkeys(words)]
