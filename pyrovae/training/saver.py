"""When a checkpoint is written, and how a run resumes from it.

    best.ckpt   written when an epoch improves
    last.ckpt   then, and every `checkpoint_seconds`

`last.ckpt` also holds the best weights, so it alone is enough to resume; `best.ckpt` is made from it again
when it was lost. A checkpoint never holds a weight that is not finite. What a run is (program, objective,
data, settings) is in each, and a run that differs is refused. Of several processes only the first
writes and reads; the others start where it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import Tensor

from pyrovae import sharing
from pyrovae.errors import InputError
from pyrovae.part import filled
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.training.folder import RunFolder
from pyrovae.training.state import State, copies, load_weights, weights

if TYPE_CHECKING:
    from pyrovae.training.job import Job

__all__ = ["Saver"]

# What may change between a run and its continuation.
_FREE = {"epochs", "patience", "checkpoint_seconds", "compile"}


class Saver:
    """Keeps the best weights, and writes checkpoints where they are due.

    Arguments:
        job: the run.
        folder: where they go; None keeps the best weights in memory only.
    """

    def __init__(self, job: Job, folder: RunFolder | None) -> None:
        self.job, self.folder = job, folder
        self.best: dict[str, Tensor] | None = None
        self._written = time.monotonic()

    def save(self, *, now: bool, settle: Callable[[], None] = lambda: None) -> None:
        """Write what is due, between two steps.

        Arguments:
            now: write at once.
            settle: makes weights and optimiser as torch has them; called before they are read.
        """
        position, state = self.job.state.position, self.job.state
        improved = position.batch == 0 and 0 < position.epoch == state.best_epoch
        if improved:
            self.best = weights(self.job.runner, self.job.trained)
        if self.folder is not None and (
            now or time.monotonic() - self._written >= self.job.settings.checkpoint_seconds
        ):
            settle()
            self._write(self.folder, improved=improved)
            self._written = time.monotonic()

    def begin(self) -> None:
        """Resume the run in the folder, or start one there; when that fails, the folder is as it was.

        Raises:
            InputError: when the folder holds another run, cannot be written, or a checkpoint cannot be read.
        """
        folder = self.folder
        if folder is not None and folder.resume and folder.last.exists():
            self._restore(folder)
            return
        data, settings = self.job.data, self.job.settings
        rows = data.validation if data.streams else data.epoch(0, settings.seed)
        self.job.runner.program.start_from(rows.x.to(self.job.precise))
        if folder is None:
            return
        folder.refuse_another_run()
        try:
            self._write(folder, improved=False)
            folder.write_config(_config(self.job))
        except BaseException:
            folder.forget()
            raise

    def _restore(self, folder: RunFolder) -> None:
        saved = Checkpoint.read(folder.last, to_resume=True)
        self._check_same(folder, saved)
        self._take_up(saved)
        assert saved.random is not None
        torch.set_rng_state(saved.random["cpu"])
        if saved.random["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(saved.random["cuda"])
        # A kill between two files leaves one older than the other: all are written from the one just read.
        if self.best is not None:
            self._write_best(folder, self.best)
        folder.write_metrics(self.job.state.history)
        folder.write_config(_config(self.job))

    def spread(self) -> None:
        """Put the runs of all processes where that of the first is.

        Raises:
            InputError: in every process when one was given another run than the first.
        """
        if not sharing.is_shared():
            return
        own = self._checkpoint()
        # Also what may change when a run is resumed.
        own = replace(own, best=self.best, identity=own.identity | vars(self.job.settings))
        first = sharing.agreed(own)
        sharing.together(lambda: _refuse_another(own, first))
        self._take_up(first)

    def _take_up(self, saved: Checkpoint) -> None:
        job = self.job
        load_weights(job.runner, job.trained, saved.weights)
        if isinstance(job.objective, torch.nn.Module):
            job.objective.load_state_dict(saved.of_objective or {})
        assert saved.optimizer is not None
        assert saved.state is not None
        job.optimizer.load_state_dict(saved.optimizer)
        job.state = State.from_dict(saved.state)
        self.best = saved.best

    # ---------------------------------------------------------------- files

    def _write(self, folder: RunFolder, *, improved: bool) -> None:
        checkpoint = self._checkpoint()
        learned = checkpoint.weights
        if not all(torch.isfinite(w).all() for w in learned.values() if w.is_floating_point()):
            return  # the next loss says so; the last good checkpoint stays
        if improved:
            self._write_best(folder, learned)
        replace(checkpoint, best=self.best, random=_random()).write(folder.last)
        folder.write_metrics(self.job.state.history)

    def _write_best(self, folder: RunFolder, best: dict[str, Tensor]) -> None:
        replace(_of_run(self.job, best), epoch=self.job.state.best_epoch).write(folder.best)

    def _checkpoint(self) -> Checkpoint:
        """Where the run is, as tensors and plain values."""
        job, objective = self.job, self.job.objective
        return replace(
            _of_run(job, weights(job.runner, job.trained)),
            of_objective=copies(objective.state_dict()) if isinstance(objective, torch.nn.Module) else {},
            optimizer=job.optimizer.state_dict(),
            state=job.state.to_dict(),
        )

    def _check_same(self, folder: RunFolder, saved: Checkpoint) -> None:
        now = _of_run(self.job, {})
        if filled(saved.declaration) != filled(now.declaration):
            raise InputError(
                f"{folder.last} belongs to another declaration: declare as in {folder.path / 'config.yaml'}, "
                "or choose a new name for this run"
            )
        for name, value in now.identity.items():
            before = saved.identity[name]
            if name == "data":  # a record of an older version may have less in it
                value = {key: value.get(key) for key in before}
            if filled(before) != filled(value):
                raise InputError(
                    f"{folder.path} holds a run with another {name} ({_difference(before, value)}): resume "
                    "with the same, or choose a new name"
                )
        assert saved.state is not None
        done, epochs = saved.state["position"], self.job.settings.epochs
        if (done["epoch"], done["batch"]) > (epochs, 0):
            raise InputError(
                f"{folder.path} holds a run that is in epoch {done['epoch'] + (done['batch'] > 0)} already: "
                f"resume with more than epochs={epochs}, or choose a new name"
            )


def _of_run(job: Job, learned: dict[str, Tensor]) -> Checkpoint:
    """A checkpoint of these weights, with what must be the same in a run and its continuation."""
    settings = job.settings
    # A schedule that ends at the last step is another one when the last step moves.
    free = _FREE if settings.lr_schedule == "constant" else _FREE - {"epochs"}
    fixed = {"lr_schedule": settings.lr_schedule}  # the first that is compared
    fixed |= {name: value for name, value in vars(settings).items() if name not in free}
    identity = {"objective": job.objective.to_dict(), "data": job.data.record, **fixed}
    return Checkpoint(job.runner.program.declaration(), identity, job.data.schema.to_dict(), learned)


def _refuse_another(own: Checkpoint, first: Checkpoint) -> None:
    """Refuse that the processes of a run train different things."""
    if own.declaration != first.declaration:
        raise InputError("the processes were given different declarations: give all of them the same VAE")
    for name, value in own.identity.items():
        if first.identity[name] != value:
            raise InputError(
                f"the processes were given another {name} ({_difference(first.identity[name], value)}): "
                "give all of them the same"
            )


def _difference(before: Any, now: Any) -> str:  # noqa: ANN401
    if isinstance(before, dict) and isinstance(now, dict):
        gone = object()
        name = next(key for key in (*now, *before) if before.get(key, gone) != now.get(key, gone))
        return f"{name} was {before.get(name)} and is {now.get(name)}"
    return f"was {before} and is {now}"


def _random() -> dict[str, Tensor | None]:
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _config(job: Job) -> dict[str, Any]:
    """The run as the command line reads it: data, declaration and training in one flat mapping."""
    declaration = dict(job.runner.program.declaration() or {})
    for derived in ("event_shape", "context_shape"):  # the data give these
        declaration.pop(derived, None)
    training = {"objective": job.objective.to_dict(), **vars(job.settings)}
    return yaml.safe_load(
        yaml.safe_dump({**job.data.declaration, **declaration, **training}, sort_keys=False)
    )
