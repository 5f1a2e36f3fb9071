"""`fit`: train a program on data, in a folder that a killed run goes on from."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import yaml
from torch import Tensor

from pyrovae import datasets, report
from pyrovae.errors import InputError, NumericalError
from pyrovae.objectives import ELBO, Objective
from pyrovae.terms import Program
from pyrovae.training.folder import RunFolder, read_checkpoint
from pyrovae.training.loop import Loop, Settings
from pyrovae.training.progress import Progress
from pyrovae.training.schedules import LRSchedule
from pyrovae.training.state import State, load_weights, make_optimizer, parameters, weights
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from pyrovae.datasets import Data

__all__ = ["Run", "fit", "load"]

# What may change between a run and its continuation.
_FREE = {"epochs", "patience", "checkpoint_seconds"}


@dataclass(frozen=True, eq=False)
class Run:
    """What `fit` returns.

    Attributes:
        program: the VAE (or pair) that was trained, holding the best weights.
        history: name -> array with one entry an epoch; bounds in nats per datum.
        best_epoch: the epoch whose weights were best on the validation set.
        folder: the run folder, or None.
    """

    program: Any
    history: dict[str, np.ndarray] = field(repr=False)
    best_epoch: int
    folder: Path | None = None

    def __str__(self) -> str:
        best = self.best_epoch - 1
        where = f", in {self.folder}" if self.folder else ""
        return (
            f"{len(self.history['epoch'])} epochs, best at {self.best_epoch}: validation "
            f"{self.history['validation'][best]:.3f} nats per datum{where}"
        )


def fit(
    vae: Any,  # noqa: ANN401
    data: Any,  # noqa: ANN401
    objective: Objective | None = None,
    *,
    optimizer: Literal["adam", "adamw", "adamax", "radam", "sgd"] = "adam",
    lr: float = 1e-3,
    epochs: int = 50,
    batch_size: int = 100,
    seed: int = 0,
    device: str | None = None,
    lr_schedule: LRSchedule = "constant",
    kl_warmup: float = 0.0,
    clip: float | None = None,
    patience: int | None = None,
    out: str | os.PathLike | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 30.0,
    figures: bool = True,
    progress: bool = True,
) -> Run:
    r"""Train a program by stochastic variational inference.

    Each step ascends the objective's bound on \(\log p(x)\), averaged over a minibatch. The program ends with
    the weights that were best on the validation set. The caller's random state is left as it was.

    Arguments:
        vae: a `VAE`, any object with a Pyro `model` and `guide`, or a pair (model, guide).
        data: what `datasets.load` gives, or a tensor or array (N, *event), a tenth of which validates.
        objective: `ELBO()` unless given.
        optimizer: adam, adamw, adamax, radam or sgd.
        lr: the learning rate.
        epochs: passes over the training data.
        batch_size: data in a minibatch.
        seed: of the order of the data, the dynamic binarisation and the noise.
        device: where to train; "cuda" when there is one, else "cpu", unless given.
        lr_schedule: constant, linear or cosine (to zero at the last step).
        kl_warmup: epochs over which the weight of the KL divergence grows from 0 to 1.
        clip: the largest norm of the gradient; None does not clip.
        patience: stop after so many epochs without a better validation bound; None never does.
        out: the run folder; None leaves nothing on disk.
        resume: go on with the run in `out`; begins it when there is none.
        checkpoint_seconds: at least so often `last.ckpt` is written, also within an epoch.
        figures: draw the pictures that apply into the run folder at the end.
        progress: False shows nothing.

    Raises:
        InputError: for data that the program cannot weigh, an option that makes no sense, or a folder
            that cannot be used.
        NumericalError: when the loss is no finite number; the last good checkpoint is kept.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint was written.

    Reference:
        Kingma & Welling (2014), "Auto-Encoding Variational Bayes"; Hoffman et al. (2013), "Stochastic
        Variational Inference".

    Example:
        >>> import pyrovae as pv
        >>> data = pv.datasets.load("digits", binarize="threshold")
        >>> vae = pv.VAE(data.event_shape, latent_dim=2)
        >>> run = pv.fit(vae, data, epochs=2, progress=False)
        >>> len(run.history["train"])
        2
    """
    program, objective = Program(vae), ELBO() if objective is None else objective
    if not isinstance(objective, Objective):
        raise InputError(f"objective must be a pyrovae.objectives.Objective, as in ELBO(), not {objective!r}")
    where = _device(device)
    data = as_data(data)
    _check(program, data, epochs, batch_size)
    settings = Settings(
        optimizer, lr, epochs, batch_size, seed, lr_schedule, kl_warmup, clip, patience, checkpoint_seconds
    )
    folder = None if out is None else RunFolder(out, resume=resume)
    cuda = [where] if where.type == "cuda" else []
    with (
        nullcontext() if folder is None else folder.locked(),
        program.isolated(),
        torch.random.fork_rng(devices=cuda),
    ):
        torch.manual_seed(seed)
        if program.module is not None:
            program.module.to(where)
        run = _train(program, data.to(where), objective, settings, folder, resume=resume, show=progress)
        if figures and folder is not None and isinstance(vae, VAE):
            report.save_figures(vae, data, folder.figures, history=run.history)
        return run


def load(folder: str | os.PathLike, *, which: Literal["best", "last"] = "best") -> VAE:
    """The VAE of a run folder, with its best weights or its last.

    Raises:
        InputError: when the folder holds no run, a checkpoint is cut off, or the run was not of a VAE.
    """
    saved = read_checkpoint(Path(folder) / f"{which}.ckpt")
    if saved["declaration"] is None:
        raise InputError(
            f"{folder} holds a run of a hand-written program: build it and load its weights yourself"
        )
    vae = VAE.from_dict(saved["declaration"])
    load_weights(Program(vae), {}, saved["weights"])
    return vae


def as_data(given: Any) -> Data:  # noqa: ANN401
    """Data as they are; a tensor or array split into nine tenths for training and one for validation."""
    return given if isinstance(given, datasets.Data) else datasets.load(given, test=1)


def _device(given: str | None) -> torch.device:
    device = torch.device(given or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' was asked for but torch finds none: use device='cpu' or leave it out")
    return device


def _check(program: Program, data: Data, epochs: int, batch_size: int) -> None:
    if epochs < 1 or batch_size < 1:
        raise InputError(f"epochs and batch_size must be 1 or more, not {epochs} and {batch_size}")
    rows = len(data.train)  # type: ignore[arg-type]
    if batch_size > rows:
        raise InputError(
            f"batch_size {batch_size} is larger than the {rows} training data: use {rows} or less"
        )
    if isinstance(program.target, VAE):
        check_support(program.target, data)


def check_support(vae: VAE, data: Data) -> None:
    """Refuse data whose shape or values a VAE cannot weigh.

    Raises:
        InputError: for another event shape, a missing context, or values outside the likelihood's support.
    """
    if tuple(data.event_shape) != vae.event_shape:
        raise InputError(
            f"the VAE was declared for events {vae.event_shape}, the data have {data.event_shape}"
        )
    if vae.context_shape is not None and data.context is None:
        raise InputError(
            "the VAE was declared with a context, the data have none: load them with context='labels'"
        )
    if not data.streams:
        vae.likelihood.check(data.epoch(0, 0), "the training data")
    vae.likelihood.check(data.validation, "the validation data")
    vae.likelihood.check(data.test, "the test data")


def _train(
    program: Program,
    data: Data,
    objective: Objective,
    settings: Settings,
    folder: RunFolder | None,
    *,
    resume: bool,
    show: bool,
) -> Run:
    context = data.context.validation if data.context else None
    program.check(data.validation, context)
    trained = parameters(program, data.validation, context)
    optimizer = make_optimizer(settings.optimizer, trained, settings.lr)
    saver = _Saver(folder, settings, objective, data)
    with _stop_requests() as stopped:
        loop = Loop(program, data, objective, settings, trained, optimizer, State(), saver, stopped)
        if folder is not None and resume and folder.last.exists():
            saver.restore(loop)
        elif folder is not None:
            folder.write_config(_config(program, data, objective, settings))
            saver(loop, True)
        steps = -(-len(data.train) // settings.batch_size)  # type: ignore[arg-type]
        _run(loop, saver, Progress(settings.epochs, steps, loop.state.position.epoch, show=show), stopped)
    if saver.best is not None:
        load_weights(program, trained, saver.best)
    history = {name: np.asarray(values) for name, values in loop.state.history.items()}
    return Run(program.target, history, loop.state.best_epoch, folder.path if folder else None)


def _run(loop: Loop, saver: _Saver, progress: Progress, stopped: Callable[[], bool]) -> None:
    kept = f"; the last good checkpoint is {saver.folder.last}" if saver.folder else ""
    try:
        with progress:
            loop.run(progress)
    except NumericalError as error:
        raise NumericalError(f"{error}{kept}") from None
    if stopped() and not loop.state.finished:
        saver(loop, True)
        again = f"; go on with resume=True (--resume true) in {saver.folder.path}" if saver.folder else ""
        raise KeyboardInterrupt(f"stopped after {loop.state.position.step} steps{again}")


class _Saver:
    """Writes checkpoints where they are due and keeps the best weights."""

    def __init__(
        self, folder: RunFolder | None, settings: Settings, objective: Objective, data: Data
    ) -> None:
        self.folder = folder
        self.identity = {
            "objective": objective.to_dict(),
            "data": data.record,
            **{name: value for name, value in vars(settings).items() if name not in _FREE},
        }
        self.best: dict[str, Tensor] | None = None
        self.written = time.monotonic()
        self.seconds = settings.checkpoint_seconds

    def __call__(self, loop: Loop, now: bool) -> None:  # noqa: FBT001
        position, improved = loop.state.position, False
        if position.batch == 0 and position.epoch and position.epoch == loop.state.best_epoch:
            improved = not loop.state.finished or self.best is None
            self.best = weights(loop.program, loop.trained) if improved else self.best
        due = now or time.monotonic() - self.written >= self.seconds
        if self.folder is None or not due:
            return
        self._write(loop, self.folder, improved=improved)
        self.written = time.monotonic()

    def _write(self, loop: Loop, folder: RunFolder, *, improved: bool) -> None:
        learned = weights(loop.program, loop.trained)
        if not all(torch.isfinite(w).all() for w in learned.values() if w.is_floating_point()):
            return  # the next loss says so; the last good checkpoint stays
        target = loop.program.target
        declaration = target.to_dict() if isinstance(target, VAE) else None
        content = {"declaration": declaration, "weights": learned, "identity": self.identity}
        if improved:
            folder.write_checkpoint(folder.best, content | {"epoch": loop.state.best_epoch})
        folder.write_checkpoint(
            folder.last,
            content
            | {"optimizer": loop.optimizer.state_dict(), "random": _random(), "state": loop.state.to_dict()}
            | {"best": self.best},
        )
        folder.write_metrics(loop.state.history)

    def restore(self, loop: Loop) -> None:
        """Put a loop where the checkpoint in the folder left it."""
        assert self.folder is not None
        saved = read_checkpoint(self.folder.last)
        self._check_same(loop, saved)
        load_weights(loop.program, loop.trained, saved["weights"])
        loop.optimizer.load_state_dict(saved["optimizer"])
        loop.state = State.from_dict(saved["state"])
        loop.state.finished = loop.state.finished and loop.state.position.epoch >= loop.settings.epochs
        self.best = saved["best"]
        torch.set_rng_state(saved["random"]["cpu"])
        if saved["random"]["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(saved["random"]["cuda"])

    def _check_same(self, loop: Loop, saved: dict[str, Any]) -> None:
        assert self.folder is not None
        target = loop.program.target
        declaration = target.to_dict() if isinstance(target, VAE) else None
        if saved["declaration"] != declaration:
            raise InputError(
                f"{self.folder.last} belongs to another declaration; choose a new name for this one"
            )
        for name, value in self.identity.items():
            if saved["identity"].get(name) != value:
                raise InputError(
                    f"{self.folder.path} holds a run with another {name} ({saved['identity'].get(name)}, now "
                    f"{value}); resume with the same or choose a new name"
                )


def _random() -> dict[str, Tensor | None]:
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _config(program: Program, data: Data, objective: Objective, settings: Settings) -> dict[str, Any]:
    """The run as the command line reads it: data, declaration and training in one flat mapping."""
    target = program.target
    declaration = dict(target.to_dict()) if isinstance(target, VAE) else {}
    for derived in ("event_shape", "context_shape"):  # the data give these
        declaration.pop(derived, None)
    return yaml.safe_load(
        yaml.safe_dump(
            {**data.declaration, **declaration, "objective": objective.to_dict(), **vars(settings)},
            sort_keys=False,
        )
    )


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request that is met between two steps."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, _: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
