"""A `Run` from its folder."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.training import Run
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.training.loading import load
from pyrovae.training.settings import Settings

__all__ = ["run_of"]


def run_of(folder: Path) -> Run:
    """The run in a folder, with the weights that it keeps and its history.

    Raises:
        InputError: if there is no run, or a checkpoint is damaged.
    """
    state = Checkpoint.read(folder / "last.ckpt", to_resume=True).state or {}
    history = {name: np.asarray(values) for name, values in state["history"].items()}
    settings = Checkpoint.read(folder / "best.ckpt").identity
    keep: Any = settings.get("keep") or "bound"
    own = {field.name: settings[field.name] for field in fields(Settings) if field.name in settings}
    return Run(load(folder), history, state["best_epoch"], folder, keep, own)
