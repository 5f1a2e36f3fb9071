"""Writing checkpoints, and resuming a run from them.

    best.ckpt   written when the validation objective (or what `keep` names) improves
    last.ckpt   written then, and every `checkpoint_seconds`

`last.ckpt` also has the best weights, so it is enough to resume, and `best.ckpt` is restored from
it. Weights in a checkpoint are always finite. Each checkpoint has program, objective, data and
settings of its run, and a different run cannot resume from it. Of several processes only the first
writes and reads; the others get its state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae import sharing
from pyrovae.compiling import random_state, set_random_state
from pyrovae.errors import InputError
from pyrovae.part import filled
from pyrovae.training.calling import Callbacks
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.training.config import FREE, config_of_job
from pyrovae.training.folder import RunFolder
from pyrovae.training.marks import mark_of, names_marked
from pyrovae.training.sources import source_of
from pyrovae.training.state import State, copies, load_weights, weights

if TYPE_CHECKING:
    from pyrovae.training.job import Job

__all__ = ["Saver"]


class Saver:
    """Keeps the best weights and writes checkpoints.

    Arguments:
        job: the run.
        folder: the run folder; None keeps the best weights in memory only.
        callbacks: the callbacks, whose states are stored and which are called; None for none.
    """

    def __init__(self, job: Job, folder: RunFolder | None, callbacks: Callbacks | None = None) -> None:
        self.job, self.folder = job, folder
        self.callbacks = Callbacks((), job, None) if callbacks is None else callbacks
        self.best: dict[str, Tensor] | None = None
        self._written = time.monotonic()

    def keep(self) -> None:
        """Keep the weights as they are now, until others are better."""
        self.best = weights(self.job.runner, self.job.trained)

    def save(self, *, now: bool, settle: Callable[[], None] = lambda: None) -> None:
        """Write checkpoints, if it is time to.

        Arguments:
            now: write at once.
            settle: called before weights and optimiser are read, to give them torch's form.
        """
        position, state = self.job.state.position, self.job.state
        improved = position.batch == 0 and 0 < position.epoch == state.best_epoch
        if self.folder is not None and (
            now or time.monotonic() - self._written >= self.job.settings.checkpoint_seconds
        ):
            settle()
            self._write(self.folder, improved=improved)
            self._written = time.monotonic()

    def finish(self) -> None:
        """Keep the weights as they are now, after `Program.finish`, and write best.ckpt."""
        self.keep()
        if self.folder is not None and self.best is not None:
            self._write_best(self.folder, self.best)
            self.callbacks.checkpoint(self.folder.best)

    def forget(self) -> None:
        """Remove the files of a run that could not start."""
        if self.folder is not None:
            self.folder.forget()

    def begin(self) -> None:
        """Resume the run in the folder, or start a new one; a failure leaves the folder unchanged.

        Raises:
            InputError: when the folder holds another run or cannot be written, or a checkpoint
                cannot be read.
        """
        folder = self.folder
        if folder is not None and folder.resume and folder.last.exists():
            self._restore(folder)
            return
        self.callbacks.load({})
        data, settings = self.job.data, self.job.settings
        rows = data.validation if data.streams else data.epoch(0, settings.seed)
        self.job.runner.program.start_from(rows.x.to(data.validation.x.dtype))
        self.job.objective.prepare(self.job.runner.program)
        if folder is None:
            return
        folder.refuse_another_run()
        try:
            self._write(folder, improved=False)
            folder.write_config(self._about["config"])
        except BaseException:
            folder.forget()
            raise

    def _restore(self, folder: RunFolder) -> None:
        saved = Checkpoint.read(folder.last, to_resume=True)
        try:
            self._check_same(folder, saved)
            self._take_up(saved)
            _put_random(saved.random or {}, self.job.data.validation.x.device)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{folder.last} does not match this version of PyroVAE or this program: fit again"
            ) from error
        if not names_marked(saved.declarations(), saved.mark):  # trust by name is not stored
            self._about["mark"] = None
        # A run that was killed between two writes has an older and a newer file: write all again,
        # in this order (`config`).
        if saved.config != self._about["config"]:
            self._write(folder, improved=False)
        folder.write_config(self._about["config"])
        if self.best is not None:
            self._write_best(folder, self.best)
        folder.write_metrics(self.job.state.history)

    def spread(self) -> None:
        """Give all processes the state of the first.

        Raises:
            InputError: in every process, if one has another run than the first.
        """
        if not sharing.is_shared():
            return
        own = self._checkpoint()
        # With the settings that may change when a run is resumed.
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
        self.callbacks.load(saved.callbacks)

    # ---------------------------------------------------------------- files

    @cached_property
    def _about(self) -> dict[str, Any]:
        """The record of a run's data, options and author in its checkpoints."""
        if self.folder is None:
            return {}
        job, now = self.job, self._of_run({})
        return {"source": source_of(job.data), "config": self._config(), "mark": mark_of(now.declarations())}

    def _write(self, folder: RunFolder, *, improved: bool) -> None:
        checkpoint = self._checkpoint()
        learned = checkpoint.weights
        if not all(torch.isfinite(w).all() for w in learned.values() if w.is_floating_point()):
            return  # keep the last good checkpoint; the next loss raises an error
        if improved and self.best is not None:
            self._write_best(folder, self.best)
        replace(checkpoint, best=self.best, random=_random(self.job.data.validation.x.device)).write(
            folder.last
        )
        folder.write_metrics(self.job.state.history)
        for path in (folder.best, folder.last) if improved else (folder.last,):
            self.callbacks.checkpoint(path)

    def _write_best(self, folder: RunFolder, best: dict[str, Tensor]) -> None:
        saved = replace(self._of_run(best), epoch=self.job.state.best_epoch, **self._about)
        saved.write(folder.best)

    def _checkpoint(self) -> Checkpoint:
        """The state of the run."""
        job, objective = self.job, self.job.objective
        return replace(
            self._of_run(weights(job.runner, job.trained)),
            of_objective=copies(objective.state_dict()) if isinstance(objective, torch.nn.Module) else {},
            optimizer=job.optimizer.state_dict(),
            state=job.state.to_dict(),
            callbacks=self.callbacks.states(),
            **self._about,
        )

    def _of_run(self, learned: dict[str, Tensor]) -> Checkpoint:
        """A checkpoint of these weights, with everything that must not change in a resumed run."""
        job, settings = self.job, self.job.settings
        # A schedule that ends at the last step depends on the number of epochs.
        free = FREE if settings.lr_schedule == "constant" else FREE - {"epochs"}
        fixed = {"lr_schedule": settings.lr_schedule}  # compared first
        fixed |= {name: value for name, value in vars(settings).items() if name not in free}
        # what was read is for people: the same numbers are the same data
        data = {name: value for name, value in job.data.record.items() if name != "reading"}
        about = {"objective": job.objective.to_dict(), "data": data}
        identity = {**about, **fixed, "average": self.callbacks.average}
        return Checkpoint(job.runner.program.declaration(), identity, job.data.schema.to_dict(), learned)

    def _config(self) -> dict[str, Any]:
        """The options in config.yaml."""
        words = self.callbacks.words
        return config_of_job(self.job) | ({"track": words} if words else {})

    def _check_same(self, folder: RunFolder, saved: Checkpoint) -> None:
        now, settings = self._of_run({}), self.job.settings
        if filled(saved.declaration) != filled(now.declaration):
            raise InputError(
                f"{folder.last} belongs to another declaration: declare as in {folder.path / 'config.yaml'}, "
                "or choose a new name for this run"
            )
        for name, value in now.identity.items():
            before = saved.identity.get(name)
            if name == "data" and before:  # a record of an older version may have fewer keys
                value = {key: value.get(key) for key in before}
            if filled(before) != filled(value):
                ends = f", at which its {settings.lr_schedule} schedule ends" if name == "epochs" else ""
                raise InputError(
                    f"{folder.path} holds a run with another {name} ({_difference(before, value)}){ends}: "
                    "resume with the same, or choose a new name"
                )
        assert saved.state is not None
        done, epochs = saved.state["position"], settings.epochs
        if (done["epoch"], done["batch"]) > (epochs, 0):
            raise InputError(
                f"{folder.path} holds a run that is already in epoch {done['epoch'] + (done['batch'] > 0)}: "
                f"resume with more than epochs={epochs}, or choose a new name"
            )


def _refuse_another(own: Checkpoint, first: Checkpoint) -> None:
    """Check that all processes have the same run."""
    if own.declaration != first.declaration:
        raise InputError("the processes were given different declarations: give all of them the same VAE")
    for name, value in own.identity.items():
        if first.identity[name] != value:
            raise InputError(
                f"the processes were given different {name} ({_difference(first.identity[name], value)}): "
                "give all of them the same"
            )


def _difference(before: Any, now: Any) -> str:  # noqa: ANN401
    if isinstance(before, dict) and isinstance(now, dict):
        absent = object()
        name = next(key for key in (*now, *before) if before.get(key, absent) != now.get(key, absent))
        return f"{name} was {before.get(name)} and is {now.get(name)}"
    return f"was {before} and is {now}"


def _random(device: torch.device) -> dict[str, Tensor | None]:
    """The random state of a run on a device, which may not be torch's current device."""
    return {"cpu": torch.get_rng_state(), "cuda": random_state(device) if device.type == "cuda" else None}


def _put_random(state: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] is not None and device.type == "cuda":
        set_random_state(state["cuda"], device)
