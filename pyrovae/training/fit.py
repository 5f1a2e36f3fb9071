"""`fit`: train a program on data, in a folder from which a killed run resumes.

If torch.distributed is initialised, its processes train together (`exchange`): an error in one ends
all, and only the first writes and prints.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from pyrovae import report, sharing
from pyrovae.checks import flags, path_of, whole
from pyrovae.compiling import Compile
from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.interrupts import Cell
from pyrovae.networks import Precision
from pyrovae.networks.modes import in_mode
from pyrovae.objectives import ELBO, Objective, as_objective
from pyrovae.seeds import random_kept
from pyrovae.terms import Runner
from pyrovae.threads import alone, claimed, taking_turns
from pyrovae.training.callbacks import Callback, check_callbacks
from pyrovae.training.calling import Callbacks
from pyrovae.training.defaults import Facts, chosen, settings_of_run
from pyrovae.training.exchange import exchange_of
from pyrovae.training.folder import RunFolder
from pyrovae.training.job import Job
from pyrovae.training.loop import Loop
from pyrovae.training.optimizers import OPTIMIZERS
from pyrovae.training.preparing import as_data, check_data, check_program, placed, two_rows, usable_device
from pyrovae.training.progress import Progress
from pyrovae.training.run import Run
from pyrovae.training.saver import Saver
from pyrovae.training.schedules import KLSchedule, LRSchedule
from pyrovae.training.settings import Keep, Settings
from pyrovae.training.state import State, parameters, parameters_of
from pyrovae.training.stopping import failures, is_stopped, load_best, stop_message, stop_requests
from pyrovae.vae import VAE, likelihood_for

if TYPE_CHECKING:
    from pyrovae.datasets import Data

__all__ = ["Run", "fit", "fit_to_end"]


def fit(
    vae: Any,  # noqa: ANN401
    data: Any,  # noqa: ANN401
    objective: Objective | None = None,
    *,
    optimizer: Literal["adam", "adamw", "adamax", "radam", "sgd"] = "adam",
    lr: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | None = None,
    lr_schedule: LRSchedule | None = None,
    kl_warmup: float | None = None,
    clip: float | None = None,
    patience: int | Literal["auto"] | None = "auto",
    out: str | os.PathLike | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 30.0,
    figures: bool = True,
    progress: bool = True,
    compile: Compile = "auto",
    precision: Precision = "float32",
    kl_schedule: KLSchedule = "linear",
    keep: Keep | None = None,
    global_warmup: float | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    r"""Train a program by stochastic variational inference.

    Each step follows the gradient of the objective's bound on \(\log p(x)\), averaged over a
    minibatch. At the end the program has the weights with the best objective on the validation set
    (`keep`). The caller's random state does not change. Several threads may train at once: they
    take turns at steps, and each gets the result that it would get alone.

    Under torchrun (in your own script: once torch.distributed is initialised) all processes make
    the same call and share each batch. A run may be resumed with another number of processes; its
    random numbers will then differ. Objectives and likelihoods that use a batch as a whole (free
    bits, a penalty on q(z), an optimal scale) need a single process.

    Settings that are left open suit the size of the data, or are those of the run that is resumed.

    Arguments:
        vae: a `VAE`, any object with a Pyro `model` and `guide`, or a pair (model, guide); None
            declares `VAE.suited(data)`.
        data: the result of `datasets.load`, or rows, a tensor or an array (N, *event), of which a
            tenth is used for validation.
        objective: what is maximised; `ELBO()` by default. In Python also an objective of Pyro,
            which is replaced by its equivalent here.
        optimizer: the optimiser: adam, adamw, adamax, radam or sgd.
        lr: the learning rate; by default 0.003 for 10,000 training rows or more, else 0.002.
        epochs: passes over the training data; by default enough for 15,000 steps, but at least 25
            and at most 200.
        batch_size: rows in a minibatch, in all processes together; by default a twentieth of the
            training rows, but at least 16 and at most 100.
        seed: seed of the run: of the order of the data, the dynamic binarisation and the noise.
        device: the device to train on; by default "cuda" if available (one per process), else
            "cpu". In Python, a hand-written pair is trained on the device of the data by default,
            since its parameters are not moved.
        lr_schedule: cosine or linear, to zero at the last step, or constant; by default cosine, and
            constant for a prior whose components start after some epochs.
        kl_warmup: epochs over which the weight of the KL divergence grows from 0 to 1; by default a
            tenth of all epochs, and 0 for an objective without a KL divergence.
        clip: the largest norm of the gradient; None does not clip.
        patience: stop after this number of epochs without a better validation objective (or bound,
            see `keep`); "auto" is half of all epochs and at least 20, None never stops.
        out: the run folder; by default runs/NAME-1. In Python, nothing is written by default.
        resume: resume the run in `out`; it ends with the weights of an uninterrupted run. A new one
            is started if `out` does not exist.
        checkpoint_seconds: maximum number of seconds between two checkpoints.
        figures: save figures in the run folder at the end.
        progress: show progress.
        compile: run the step as compiled code: "auto" if the remaining steps pay for the
            compilation, True always (or raise an error with the reason), False never.
        precision: of a step: float32; bf16 for the networks' matrix products; or tf32 for all
            products of a step, on CUDA. Weights and validation bound keep their precision.
        kl_schedule: the weight of the KL divergence with kl_warmup: "linear" stays at 1 after the
            warm-up; "cyclic" stays at 1 for the same number of epochs and then starts again from 0.
        keep: the weights to keep: those with the best objective on the validation set, by default;
            those with the best bound on log p(x), which differs if the objective is not a bound; or
            those of the last epoch. The objective is that after the warm-up.
        global_warmup: epochs over which the weight of the KL divergence of variables that all rows
            share (the weights of a Bayesian decoder) grows from 0 to 1; by default a tenth of all
            epochs for a VAE that has some, and 0 for other programs.
        callbacks: objects of subclasses of `Callback`, such as those in `pyrovae.callbacks`, called
            at the start, after each epoch and at the end. They may add metrics and stop the run.

    Raises:
        InputError: for data that the program cannot score, an invalid option, or a folder that
            cannot be used; for a program or a callback that another fit uses at the same time.
        NumericalError: when the loss is not finite; the last good checkpoint is kept.
        Lost: when another process of the run ended.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint was written. The program then has the best
            weights so far. In IPython and notebooks, an interrupt returns the run instead, with
            `Run.stopped`; a second one raises, and so does another fit in the same cell.

    Reference:
        Kingma & Welling (2014), "Auto-Encoding Variational Bayes"; Hoffman et al. (2013),
        "Stochastic Variational Inference".

    Example:
        >>> import pyrovae as pv
        >>> data = pv.datasets.load("digits", binarize="threshold")
        >>> vae = pv.VAE(data.event_shape, latent_dim=2)
        >>> run = pv.fit(vae, data, epochs=2, progress=False)
        >>> len(run.history["train"])
        2
    """
    Cell.check()
    out = None if out is None else path_of("out", out)
    flags(resume=resume, figures=figures, progress=progress)
    callbacks = check_callbacks(callbacks)
    runner, data = sharing.together(lambda: _program_and_data(vae, data, seed, say=progress))
    objective = as_objective(ELBO() if objective is None else objective).clone()
    steps = {"optimizer": optimizer, "lr": lr, "lr_schedule": lr_schedule, "clip": clip}
    passes = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "keep": keep, "patience": patience}
    annealing = {"kl_warmup": kl_warmup, "kl_schedule": kl_schedule, "global_warmup": global_warmup}
    running = {"checkpoint_seconds": checkpoint_seconds, "compile": compile, "precision": precision}
    options = steps | passes | annealing | running
    saved = sharing.agreed(settings_of_run(Path(out)) if resume and out is not None else {})
    settings = sharing.together(lambda: _settings(options, runner, data, objective, saved))
    where = sharing.together(lambda: _checked(runner, data, device, settings.batch_size))
    with _own_state(runner, callbacks) as give_way, ExitStack() as stack:
        torch.manual_seed(settings.seed)
        data = placed(runner, data, where)
        trained = sharing.together(lambda: _trained(runner, data, objective, settings))
        stack.enter_context(claimed(trained.values(), "trains this program", "train a copy (vae.clone())"))
        folder = sharing.together(lambda: _folder(out, stack, runner, resume=resume))
        with stop_requests() as request:
            job = _job(runner, data, objective, settings, trained, request.is_set)
            called = Callbacks(callbacks, job, None if out is None else Path(out))
            saver, shown = _saver(job, folder, called), Progress(job, show=progress and sharing.is_first())
            stack.enter_context(called.ending())
            with failures(job, saver, out, request), shown:
                Loop(job, saver, shown, called, give_way).run()
                job.exchange.finish()
        result = _finished(job, saver, out)
        if figures and not result.stopped:  # in all processes; only the first has a folder
            sharing.together(lambda: _draw(result, data, folder))
        shown.end(result)
        return result


@wraps(fit, assigned=())  # for its signature
def fit_to_end(*args: Any, **options: Any) -> Run:  # noqa: ANN401
    """As `fit`, but an interrupt raises KeyboardInterrupt everywhere.

    For functions that use the result, which half a training would falsify.
    """
    run = fit(*args, **options)
    if run.stopped:
        raise KeyboardInterrupt(run.stopped)
    return run


@contextmanager
def _own_state(runner: Runner, callbacks: Sequence[Callback]) -> Iterator[Callable[[], None]]:
    """Keep the state of torch, of Pyro and of callbacks for a run; yields what lets threads run."""
    with (
        taking_turns() as give_way,
        claimed(callbacks, "uses one of these callbacks", "give each fit its own"),
        runner.isolated(),
        random_kept(),
        torch.enable_grad(),
    ):
        yield give_way


def _program_and_data(vae: Any, data: Any, seed: int, *, say: bool) -> tuple[Runner, Data]:  # noqa: ANN401
    """The program and its data; without a program, the VAE that suits the data."""
    if vae is not None:
        runner = Runner(vae)
        return runner, as_data(data, runner)
    data = as_data(data)
    with alone, random_kept():  # initial weights are random
        torch.manual_seed(whole("seed", seed, 0))
        choice = likelihood_for(data)
        if say:
            sharing.print_first(choice)
        return Runner(VAE.suited(data, likelihood=choice.likelihood)), data


def _settings(
    options: dict[str, Any], runner: Runner, data: Data, objective: Objective, saved: dict[str, Any]
) -> Settings:
    """The settings, with a value for each that was left open."""
    program = runner.program
    facts = Facts(
        len(data.train), objective.anneals, late=program.waits_for > 0, has_globals=program.has_globals
    )
    return Settings(**chosen(options, facts, saved))


def _checked(runner: Runner, data: Data, device: str | None, batch_size: int) -> torch.device:
    runner.refuse_few_digits()
    if device is None and runner.module is None:  # the parameters of a pair cannot be moved
        device = str(data.validation.x.device)
    where = usable_device(device)
    check_data(runner, data, batch_size)
    return where


def _trained(runner: Runner, data: Data, objective: Objective, settings: Settings) -> dict[str, Tensor]:
    """The tensors to learn; refuses what cannot be trained, before a folder is created."""
    if settings.kl_warmup and not objective.anneals:
        raise InputError(
            f"{type(objective).__name__} has no KL divergence that could be weighted: leave kl_warmup out"
        )
    if objective.of_batch and sharing.is_shared():
        raise InputError(
            f"{objective!r} needs the whole batch, and several processes split it: train in one process"
        )
    runner.program.check_run(settings.epochs, sharing.world())
    objective.begin(len(data.train), runner.program)
    if isinstance(objective, torch.nn.Module):
        objective.to(data.validation.x)
    check_program(runner, data, objective)
    if settings.global_warmup and not runner.global_sites:
        raise InputError(
            "global_warmup is for variables that all rows share, and the program has none: leave it out"
        )
    return parameters(runner, two_rows(data)) | parameters_of(objective)


def _folder(
    out: str | os.PathLike | None, stack: ExitStack, runner: Runner, *, resume: bool
) -> RunFolder | None:
    """The run folder, locked until the stack is closed; only the first process has it."""
    if out is None or not sharing.is_first():
        return None
    runner.program.declaration()  # raises an error before a folder is created
    folder = RunFolder(out, resume=resume)
    stack.enter_context(folder.locked())
    return folder


def _job(
    runner: Runner,
    data: Data,
    objective: Objective,
    settings: Settings,
    trained: dict[str, Tensor],
    asked: Callable[[], bool],
) -> Job:
    optimizer = OPTIMIZERS[settings.optimizer].over(trained, settings.lr)
    exchange = exchange_of(asked, settings.seed)
    return Job(runner, data, objective, settings, trained, optimizer, State(), exchange)


def _saver(job: Job, folder: RunFolder | None, called: Callbacks) -> Saver:
    """The saver of a run that has begun, or is resumed."""
    saver = Saver(job, folder, called)
    sharing.together(saver.begin)
    saver.spread()
    return saver


def _finished(job: Job, saver: Saver, out: str | os.PathLike | None) -> Run:
    """The run with the weights that are kept."""
    load_best(job, saver)
    with torch.no_grad(), in_mode(job.runner.module, training=False):
        if job.runner.program.finish(partial(_training_rows, job.data), job.data.distinct):
            sharing.together(saver.finish)
    history = {name: np.asarray(values) for name, values in job.state.history.items()}
    folder = None if out is None else Path(out)
    stopped = stop_message(job, folder) if is_stopped(job) else ""
    settings = vars(job.settings)
    return Run(job.runner.target, history, job.state.best_epoch, folder, job.settings.keep, settings, stopped)


def _training_rows(data: Data, count: int) -> Rows:
    """Some distinct training rows, as the program reads them; validation rows of a stream."""
    if not isinstance(data.train, Rows):
        return data.validation[:count]
    rows = data.without_jitter()
    count = min(count, len(rows))  # spread, since rows may be sorted
    return rows[torch.arange(count) * len(rows) // count].as_in(data.validation)


def _draw(result: Run, data: Data, folder: RunFolder | None) -> None:
    if folder is not None:
        report.save_figures(
            result.program, data, folder.figures, history=result.history, best=result.best_epoch
        )
