"""`fit`: train a program on data, in a folder that a killed run goes on from."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from pyrovae import report
from pyrovae.errors import InputError, NumericalError
from pyrovae.networks import Precision
from pyrovae.objectives import ELBO, Objective
from pyrovae.terms import Program
from pyrovae.training.checks import as_data, check_data, check_program, moved, usable_device
from pyrovae.training.folder import RunFolder, read_checkpoint
from pyrovae.training.loop import Loop
from pyrovae.training.progress import Progress
from pyrovae.training.saver import Saver
from pyrovae.training.schedules import LRSchedule
from pyrovae.training.settings import Compile, Settings
from pyrovae.training.state import State, load_weights, make_optimizer, parameters
from pyrovae.vae import VAE

__all__ = ["Run", "fit", "load"]


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
    compile: Compile = "auto",
    precision: Precision = "float32",
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
        out: the run folder; without one nothing is left on disk (the command line takes runs/NAME-1).
        resume: go on with the run in `out`, to the same weights as one never stopped; begins it when there
            is none.
        checkpoint_seconds: at least so often `last.ckpt` is written, also within an epoch.
        figures: draw the pictures that apply into the run folder at the end.
        progress: False shows nothing.
        compile: run the step as compiled code instead of in Python: "auto" where the steps to come pay for
            the compilation, True always (or be told why it cannot be), False never.
        precision: of the networks' matrix products: float32, bf16, or tf32 on CUDA. Log-densities, the
            weights and the validation bound keep their own.

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
    settings = Settings(
        optimizer,
        lr,
        epochs,
        batch_size,
        seed,
        lr_schedule,
        kl_warmup,
        clip,
        patience,
        checkpoint_seconds,
        compile,
        precision,
    )
    where, data = usable_device(device), as_data(data, program)
    check_data(program, data, settings.batch_size)
    cuda = [where] if where.type == "cuda" else []
    with program.isolated(), torch.random.fork_rng(devices=cuda), torch.enable_grad():
        torch.manual_seed(settings.seed)
        loop = _prepared(program, moved(program, data, where), objective, settings)
        if out is None:
            return _train(loop, None, resume=False, show=progress)
        folder = RunFolder(out, resume=resume)
        with folder.locked():
            run = _train(loop, folder, resume=resume, show=progress)
            if figures and isinstance(vae, VAE):
                report.save_figures(vae, loop.data, folder.figures, history=run.history)
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
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and then not used
        vae = VAE.from_dict(saved["declaration"])
    dtypes = [w.dtype for w in saved["weights"].values() if w.is_floating_point()]
    vae.to(dtypes[0])
    load_weights(Program(vae), {}, saved["weights"])
    return vae


def _prepared(program: Program, data: Any, objective: Objective, settings: Settings) -> Loop:  # noqa: ANN401
    """A run at its first step; whatever cannot be trained is refused here, before there is a folder."""
    context = data.context.validation if data.context else None
    check_program(program, data)
    trained = parameters(program, data.validation, context)
    optimizer = make_optimizer(settings.optimizer, trained, settings.lr)
    return Loop(program, data, objective, settings, trained, optimizer, State())


def _train(loop: Loop, folder: RunFolder | None, *, resume: bool, show: bool) -> Run:
    saver = Saver(folder, loop.settings.checkpoint_seconds)
    with _stop_requests() as stopped:
        loop.save, loop.stop = saver, stopped
        if folder is not None and resume and folder.last.exists():
            saver.restore(loop)
        else:
            saver.start(loop)
        _run(loop, saver, show=show)
    if saver.best is not None:
        load_weights(loop.program, loop.trained, saver.best)
    history = {name: np.asarray(values) for name, values in loop.state.history.items()}
    return Run(loop.program.target, history, loop.state.best_epoch, folder.path if folder else None)


def _run(loop: Loop, saver: Saver, *, show: bool) -> None:
    folder = saver.folder
    kept = f"; the last good checkpoint is {folder.last}" if folder else ""
    try:
        with Progress(loop.settings.epochs, loop.batch_count, loop.state.position.step, show=show) as bar:
            loop.run(bar)
    except NumericalError as error:
        raise NumericalError(f"{error}{kept}") from None
    if not loop.over():
        saver(loop, True)
        again = f"; go on with resume=True (--resume true) in {folder.path}" if folder else ""
        raise KeyboardInterrupt(f"stopped after {loop.state.position.step} steps{again}")


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
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
