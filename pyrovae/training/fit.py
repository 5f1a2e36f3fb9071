"""`fit`: train a program on data, in a folder that a killed run goes on from.

Where torch.distributed is initialised, its processes train together (`exchange`); what one of them is refused
ends all, and the first alone writes and shows.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from pyrovae import report, sharing
from pyrovae.errors import InputError, NumericalError
from pyrovae.networks import Precision
from pyrovae.objectives import ELBO, Balanced, Objective, as_objective
from pyrovae.terms import Program
from pyrovae.training.checks import as_data, check_data, check_program, moved, usable_device
from pyrovae.training.exchange import Exchange
from pyrovae.training.folder import RunFolder, read_checkpoint
from pyrovae.training.loop import Loop
from pyrovae.training.progress import Progress
from pyrovae.training.saver import Saver
from pyrovae.training.schedules import KLSchedule, LRSchedule
from pyrovae.training.settings import Compile, Settings
from pyrovae.training.state import State, load_weights, make_optimizer, parameters, parameters_of
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from pyrovae.datasets import Data

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
    kl_schedule: KLSchedule = "linear",
) -> Run:
    r"""Train a program by stochastic variational inference.

    Each step ascends the objective's bound on \(\log p(x)\), averaged over a minibatch. The program ends with
    the weights that were best on the validation set. The caller's random state is left as it was.

    Under torchrun (in a script of one's own: once torch.distributed is initialised) all processes call this
    alike and share each batch. A run may go on with another number of processes; it has other noise then.
    What looks at a batch as a whole (free bits, a penalty on q(z), an optimal scale) is refused there.

    Arguments:
        vae: a `VAE`, any object with a Pyro `model` and `guide`, or a pair (model, guide).
        data: what `datasets.load` gives, or a tensor or array (N, *event), a tenth of which validates.
        objective: `ELBO()` unless given; one of Pyro's is read as the one here that it stands for.
        optimizer: adam, adamw, adamax, radam or sgd.
        lr: the learning rate.
        epochs: passes over the training data.
        batch_size: data in a minibatch, in all processes together.
        seed: of the order of the data, the dynamic binarisation and the noise.
        device: where to train; "cuda" when there is one (each process its own), else "cpu", unless given.
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
        precision: float32; bf16 for the networks' matrix products; or tf32 for all products of a step, on
            CUDA. The weights and the validation bound keep their own.
        kl_schedule: with kl_warmup, "linear" stays at 1 after it; "cyclic" starts again from 0 after as many
            epochs at 1, until the last epoch.

    Raises:
        InputError: for data that the program cannot weigh, an option that makes no sense, or a folder
            that cannot be used.
        NumericalError: when the loss is no finite number; the last good checkpoint is kept.
        Lost: when another process of the run ended.
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
    program, objective = Program(vae), as_objective(ELBO() if objective is None else objective).clone()
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
        kl_schedule,
    )
    if settings.kl_warmup and not objective.anneals:
        raise InputError(
            f"{type(objective).__name__} has no divergence on which a weight could grow: leave kl_warmup out"
        )
    where, data = sharing.together(lambda: _checked(program, data, device, settings.batch_size))
    cuda = [where] if where.type == "cuda" else []
    with program.isolated(), torch.random.fork_rng(devices=cuda), torch.enable_grad(), ExitStack() as held:
        torch.manual_seed(settings.seed)
        loop = sharing.together(lambda: _prepared(program, moved(program, data, where), objective, settings))
        folder = sharing.together(lambda: _folder(out, held, program, resume=resume))
        run = _train(loop, folder, None if out is None else Path(out), show=progress)
        if figures and isinstance(vae, VAE):
            sharing.together(lambda: _draw(loop, folder, run))
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


def _checked(
    program: Program,
    data: Any,  # noqa: ANN401
    device: str | None,
    batch_size: int,
) -> tuple[torch.device, Data]:
    where, data = usable_device(device), as_data(data, program)
    check_data(program, data, batch_size)
    return where, data


def _folder(
    out: str | os.PathLike | None, held: ExitStack, program: Program, *, resume: bool
) -> RunFolder | None:
    """The run folder, locked until `held` is left; of several processes only the first has it."""
    if out is None or not sharing.is_first():
        return None
    if isinstance(program.target, VAE):
        program.target.to_dict()  # what cannot be written is refused before there is a folder
    folder = RunFolder(out, resume=resume)
    held.enter_context(folder.locked())
    return folder


def _draw(loop: Loop, folder: RunFolder | None, run: Run) -> None:
    if folder is not None:
        report.save_figures(loop.program.target, loop.data, folder.figures, history=run.history)


def _prepared(program: Program, data: Any, objective: Objective, settings: Settings) -> Loop:  # noqa: ANN401
    """A run at its first step; whatever cannot be trained is refused here, before there is a folder."""
    context = data.context.validation if data.context else None
    target = program.target
    if objective.of_batch and sharing.is_shared():
        raise InputError(
            f"{objective!r} looks at a batch as a whole, which several processes share out: train it in one"
        )
    if isinstance(target, VAE) and target.likelihood.of_batch and sharing.is_shared():
        raise InputError(
            f"{target.likelihood!r} looks at a batch as a whole, which several processes share out: train it "
            "in one, or use scale='learned'"
        )
    if isinstance(target, VAE) and target.prior.waits_for >= settings.epochs:
        raise InputError(
            f"the prior {target.prior!r} would not start in {settings.epochs} epochs: use more, or a "
            "start_epoch below that"
        )
    waits = target.prior.waits_for if isinstance(target, VAE) and target.q.states is None else 0
    if isinstance(objective, Balanced) and waits > objective.start:
        raise InputError(
            f"{objective!r} begins before the prior {target.prior!r} has components: give it start={waits}"
        )
    objective.begin(len(data.train), target.prior.size if isinstance(target, VAE) else 0)
    _move(objective, data.validation)
    check_program(program, data, objective)
    trained = parameters(program, data.validation, context) | parameters_of(objective)
    optimizer = make_optimizer(settings.optimizer, trained, settings.lr)
    return Loop(program, data, objective, settings, trained, optimizer, State())


def _move(objective: Objective, like: Tensor) -> None:
    if isinstance(objective, torch.nn.Module):
        objective.to(like)


def _train(loop: Loop, folder: RunFolder | None, out: Path | None, *, show: bool) -> Run:
    """Train from the start, or from the checkpoint in the folder; `out` is where others see its files."""
    saver = Saver(folder, loop.settings.checkpoint_seconds)
    with _stop_requests() as asked:
        loop.save, loop.stop = saver, asked
        sharing.together(lambda: _begin(loop, saver))
        if sharing.is_shared():
            saver.spread(loop)
            exchange = Exchange(loop.trained.values(), loop.settings.seed, asked, loop.explain)
            loop.exchange = exchange
            loop.save = lambda loop, now: exchange.announced(lambda: saver(loop, now))
            loop.stop = lambda: exchange.stopped
        _run(loop, saver, out, show=show and sharing.is_first())
    if saver.best is not None:
        load_weights(loop.program, loop.trained, saver.best)
    history = {name: np.asarray(values) for name, values in loop.state.history.items()}
    return Run(loop.program.target, history, loop.state.best_epoch, out)


def _begin(loop: Loop, saver: Saver) -> None:
    if saver.folder is not None and saver.folder.resume and saver.folder.last.exists():
        saver.restore(loop)
        return
    _start_from_data(loop)
    saver.start(loop)


def _start_from_data(loop: Loop) -> None:
    """Show the parts the training data; of a stream, which has no tensor, the validation data."""
    vae, data = loop.program.target, loop.data
    if isinstance(vae, VAE):
        x = data.validation if data.streams else data.epoch(0, loop.settings.seed)
        vae.start_from(x.to(loop.precise))


def _run(loop: Loop, saver: Saver, out: Path | None, *, show: bool) -> None:
    kept = f"; the last good checkpoint is {out / 'last.ckpt'}" if out else ""
    again = f"; go on with resume=True (--resume true) in {out}" if out else ""
    try:
        with Progress(loop.settings.epochs, loop.batch_count, loop.state.position.step, show=show) as bar:
            loop.run(bar)
        if not loop.over():
            loop.save(loop, True)
        if loop.exchange is not None:
            loop.exchange.finish()
    except NumericalError as error:
        raise NumericalError(f"{error}{kept}") from None
    except sharing.Lost as error:
        with suppress(InputError):  # nothing of the step was moved, so this is as good as any
            saver(loop, True)
        raise sharing.Lost(f"{error}, in step {loop.state.position.step + 1}{again}") from error
    if not loop.over():
        raise KeyboardInterrupt(f"stopped after {loop.state.position.step} steps{again}")


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request that is met between two steps.

    A second one stops at once, but not under torchrun: there it is sent on by itself.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, _: object) -> None:
        if asked.is_set() and not sharing.is_shared():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
