"""When a checkpoint is written, what it holds, and how a run goes on from it.

    best.ckpt   weights of the best epoch                       written when an epoch improves
    last.ckpt   all that decides the rest of the run            then, and every `checkpoint_seconds`

`last.ckpt` also holds the best weights, so it alone is enough to go on; `best.ckpt` is made from it again
when it was lost. A checkpoint never holds a weight that is not finite. What a run is (program, objective,
data, settings) stands in each, and a run that is another one is refused. Of several processes the first
alone writes and reads; the others begin where it stands.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import Tensor

from pyrovae import sharing
from pyrovae.errors import InputError
from pyrovae.part import filled
from pyrovae.training.folder import RunFolder, read_checkpoint
from pyrovae.training.state import State, load_objective, load_weights, weights, weights_of
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from pyrovae.training.loop import Loop

__all__ = ["Saver"]

# What may change between a run and its continuation.
_FREE = {"epochs", "patience", "checkpoint_seconds", "compile"}
# What runs had before it was an option.
_ADDED = {"precision": "float32", "kl_schedule": "linear"}
_ADDED_TO_RECORD: dict[str, Any] = {"columns": None, "known": None}


class Saver:
    """Keeps the best weights, and writes checkpoints where they are due.

    Arguments:
        folder: where they go; None keeps the best weights in memory only.
        seconds: at least so often `last.ckpt` is written.
    """

    def __init__(self, folder: RunFolder | None, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds
        self.best: dict[str, Tensor] | None = None
        self._written = time.monotonic()

    def __call__(self, loop: Loop, now: bool) -> None:  # noqa: FBT001
        """Called between two steps; `now` writes at once."""
        position = loop.state.position
        improved = position.batch == 0 and 0 < position.epoch == loop.state.best_epoch
        if improved:
            self.best = weights(loop.program, loop.trained)
        due = now or time.monotonic() - self._written >= self.seconds
        if self.folder is not None and due:
            self._write(loop, self.folder, improved=improved)
            self._written = time.monotonic()

    def start(self, loop: Loop) -> None:
        """Begin a run in the folder; when that fails, the folder is as it was.

        Raises:
            InputError: when the folder holds another run or cannot be written.
        """
        if self.folder is None:
            return
        self.folder.refuse_another_run()
        try:
            self._write(loop, self.folder, improved=False)
            self.folder.write_config(_config(loop))
        except BaseException:
            self.folder.forget()
            raise

    def restore(self, loop: Loop) -> None:
        """Put a loop where the checkpoint in the folder left it.

        Raises:
            InputError: when the checkpoint cannot be read or is of another run.
        """
        assert self.folder is not None
        saved = read_checkpoint(self.folder.last, to_resume=True)
        self._check_same(loop, saved)
        self._take_up(loop, saved)
        torch.set_rng_state(saved["random"]["cpu"])
        if saved["random"]["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(saved["random"]["cuda"])
        # A kill between two files leaves one older than the other: all are written from the one just read.
        if self.best is not None:
            self._write_best(loop, self.folder, self.best)
        self.folder.write_metrics(loop.state.history)
        self.folder.write_config(_config(loop))

    def spread(self, loop: Loop) -> None:
        """Put the loops of all processes where that of the first is.

        Raises:
            InputError: in every process when one was given another run than the first.
        """
        if not sharing.is_shared():
            return
        own = _identity(loop)
        own["identity"] |= vars(loop.settings)  # also what may change when a run goes on
        first, saved = sharing.agreed((own, _content(loop) | {"best": self.best}))
        sharing.together(lambda: _refuse_another(own, first))
        self._take_up(loop, saved)

    def _take_up(self, loop: Loop, saved: dict[str, Any]) -> None:
        load_weights(loop.program, loop.trained, saved["weights"])
        load_objective(loop.objective, saved.get("of_objective", {}))
        loop.optimizer.load_state_dict(saved["optimizer"])
        loop.state = State.from_dict(saved["state"])
        self.best = saved["best"]

    # ---------------------------------------------------------------- files

    def _write(self, loop: Loop, folder: RunFolder, *, improved: bool) -> None:
        loop.settle()
        content = _content(loop)
        learned = content["weights"]
        if not all(torch.isfinite(w).all() for w in learned.values() if w.is_floating_point()):
            return  # the next loss says so; the last good checkpoint stays
        if improved:
            self._write_best(loop, folder, learned)
        content |= {"best": self.best, "random": _random()}
        folder.write_checkpoint(folder.last, _identity(loop) | content)
        folder.write_metrics(loop.state.history)

    @staticmethod
    def _write_best(loop: Loop, folder: RunFolder, best: dict[str, Tensor]) -> None:
        folder.write_checkpoint(
            folder.best, _identity(loop) | {"weights": best, "epoch": loop.state.best_epoch}
        )

    def _check_same(self, loop: Loop, saved: dict[str, Any]) -> None:
        assert self.folder is not None
        now, path = _identity(loop), self.folder.path
        if filled(saved["declaration"]) != filled(now["declaration"]):
            raise InputError(
                f"{self.folder.last} belongs to another declaration: declare as in {path / 'config.yaml'}, "
                "or choose a new name for this run"
            )
        for name, value in now["identity"].items():
            before = saved["identity"].get(name, _ADDED.get(name))
            before = _ADDED_TO_RECORD | before if name == "data" else before
            if filled(before) != filled(value):
                raise InputError(
                    f"{path} holds a run with another {name} ({_difference(before, value)}): resume with the "
                    "same, or choose a new name"
                )
        done = saved["state"]["position"]
        if (done["epoch"], done["batch"]) > (loop.settings.epochs, 0):
            raise InputError(
                f"{path} holds a run that is in epoch {done['epoch'] + (done['batch'] > 0)} already: resume "
                f"with more than epochs={loop.settings.epochs}, or choose a new name"
            )


def _content(loop: Loop) -> dict[str, Any]:
    """Where a loop is, as tensors and plain values."""
    return {
        "weights": weights(loop.program, loop.trained),
        "of_objective": weights_of(loop.objective),
        "optimizer": loop.optimizer.state_dict(),
        "state": loop.state.to_dict(),
    }


def _refuse_another(own: dict[str, Any], first: dict[str, Any]) -> None:
    """Refuse that the processes of a run train different things."""
    if own["declaration"] != first["declaration"]:
        raise InputError("the processes were given different declarations: give all of them the same VAE")
    for name, value in own["identity"].items():
        if first["identity"][name] != value:
            raise InputError(
                f"the processes were given another {name} ({_difference(first['identity'][name], value)}): "
                "give all of them the same"
            )


def _identity(loop: Loop) -> dict[str, Any]:
    """What must be the same in a run and its continuation."""
    target, settings = loop.program.target, loop.settings
    # A schedule that ends at the last step is another one when the last step moves.
    free = _FREE if settings.lr_schedule == "constant" else _FREE - {"epochs"}
    fixed = {"lr_schedule": settings.lr_schedule}  # the first that is compared
    fixed |= {name: value for name, value in vars(settings).items() if name not in free}
    return {
        "declaration": target.to_dict() if isinstance(target, VAE) else None,
        "identity": {"objective": loop.objective.to_dict(), "data": loop.data.record, **fixed},
    }


def _difference(before: Any, now: Any) -> str:  # noqa: ANN401
    if isinstance(before, dict) and isinstance(now, dict):
        gone = object()
        name = next(key for key in (*now, *before) if before.get(key, gone) != now.get(key, gone))
        return f"{name} was {before.get(name)} and is {now.get(name)}"
    return f"was {before} and is {now}"


def _random() -> dict[str, Tensor | None]:
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _config(loop: Loop) -> dict[str, Any]:
    """The run as the command line reads it: data, declaration and training in one flat mapping."""
    target = loop.program.target
    declaration = dict(target.to_dict()) if isinstance(target, VAE) else {}
    for derived in ("event_shape", "context_shape"):  # the data give these
        declaration.pop(derived, None)
    training = {"objective": loop.objective.to_dict(), **vars(loop.settings)}
    return yaml.safe_load(
        yaml.safe_dump({**loop.data.declaration, **declaration, **training}, sort_keys=False)
    )
