"""One trial: a VAE is declared, trained in a run folder, and scored.

The functions here are tasks of a `workers.Pool`, whose context is the data. A trial is what
`pyrovae fit` does with the same options and seed, so its folder is an ordinary run. A trial that
was killed goes on from its checkpoint, to the result of one that was not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from pyrovae.checks import whole
from pyrovae.cures import again, cure
from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.evidence import Evidence, Importance, Method, log_evidence
from pyrovae.evidence.units import Units
from pyrovae.files import locked
from pyrovae.searching.worker import GRACE
from pyrovae.seeds import random_kept
from pyrovae.tasks.runs import loaded, options_of
from pyrovae.threads import alone
from pyrovae.training import Callback, Running
from pyrovae.training import fit_to_end as fit
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrovae.datasets import Data

__all__ = ["Score", "Scored", "Trained", "refuse_other_units", "rows_of", "scored", "trained"]

Split = Literal["train", "validation", "test"]


class Score(NamedTuple):
    """How log p(x) of each row is estimated.

    Attributes:
        split: the part of the data.
        method: the method; None is importance sampling, a lower bound.
        particles: samples (or chains) for each row; None is the method's own number.
        rows: only this many rows, starting with the first.
        seed: seed of the samples; the same for all trials.
    """

    split: Split = "validation"
    method: Method | None = None
    particles: int | None = None
    rows: int | None = None
    seed: int = 0


class Scored(NamedTuple):
    """log p(x) of rows, in nats per observation.

    Attributes:
        log_px: (N,).
        index: the row numbers in the source, (N,), or None.
        units: of which measure, in which units.
        quantity: "log p(x)", or "log p(x | c)" with a context.
        verdict: whether the numbers can be trusted.
    """

    log_px: Any
    index: Any
    units: Units
    quantity: str
    verdict: str


class Trained(NamedTuple):
    """The result of a trial.

    Attributes:
        value: the mean of L_K on validation rows, of the weights that are kept.
        stopped: whether a report was answered with a stop.
        epochs: the number of epochs that were done.
        best_epoch: the epoch of the weights that are kept.
        seconds: the time of the training.
        parameters: the number of parameters.
        units: of which measure L_K is, in words; only equal ones can be compared.
        scored: log p(x) of each row, if it was asked for.
    """

    value: float
    stopped: bool
    epochs: int
    best_epoch: int
    seconds: float
    parameters: int
    units: str = ""
    scored: Scored | None = None


def trained(
    data: Data,
    report: Callable[[int, float], bool],
    *,
    options: Mapping[str, Any],
    folder: str | os.PathLike[str],
    seed: int = 0,
    particles: int = 50,
    rows: int | None = None,
    score: Score | None = None,
    reports: bool = True,
    units: str | None = None,
) -> Trained:
    r"""Train a VAE in a folder, or go on with the run that is there, and report every epoch.

    The report of an epoch is the importance-weighted bound on the first validation rows,
    \[\mathcal L_K = \frac1N \sum_n \log \frac1K \sum_k
    \frac{p(x_n|z_k)\, p(z_k)}{q(z_k|x_n)},\]
    a bound on log p(x) for every objective, prior and guide, so trials can be compared.

    Arguments:
        data: the data set.
        report: gets the epoch and the bound; returns whether to go on.
        options: arguments of `VAE.suited` and of `fit`; others are ignored.
        folder: the run folder.
        seed: seed of the first weights and of the training.
        particles: K of the bound.
        rows: the number of validation rows of the bound; None takes all.
        score: also estimate log p(x) of each row in this way.
        reports: whether to report each epoch; the bound of the kept weights is always computed.
        units: the measure of other trials, as in `Trained.units`, with which this one is compared.

    Raises:
        InputError: for options that cannot be used, another run in the folder, or other units.
        NumericalError: if the loss is not finite.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint was written.

    Example:
        >>> import tempfile
        >>> from pyrovae import datasets
        >>> data = datasets.load("digits", binarize="threshold")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trial = trained(data, lambda step, value: step < 2, folder=f"{folder}/run",
        ...                     options={"latent_dim": 2, "epochs": 5}, particles=5)
        >>> trial.stopped, trial.epochs
        (True, 2)
    """
    with alone, random_kept():  # as `pyrovae fit --seed` does
        torch.manual_seed(whole("seed", seed, 0))
        vae = VAE.suited(data, **options_of(VAE.suited, options))
    _wait_for_lock(Path(folder))
    bound = Score("validation", particles=particles, rows=rows)
    reporter = _Reporter(report, rows_of(data, bound), particles, units)
    settings = {name: value for name, value in options_of(fit, options).items() if name not in _OWN}
    run = fit(
        vae,
        data,
        **settings,
        seed=seed,
        out=folder,
        resume=True,
        figures=False,
        progress=False,
        callbacks=[reporter] if reports else [],
    )
    kept = _evidence(vae, data, bound)
    return Trained(
        float(kept.mean),
        reporter.is_stopped,
        len(run.history["epoch"]),
        run.best_epoch,
        float(run.history["seconds"].sum()),
        sum(parameter.numel() for parameter in vae.parameters()),
        _units_in(kept),
        None if score is None else _plain(_evidence(vae, data, score)),
    )


def scored(
    data: Data,
    report: Callable[[int, float], bool],
    *,
    folder: str | os.PathLike[str],
    score: Score,
    trust: str | None = None,
) -> Scored:
    """log p(x) of each row by the VAE in a run folder.

    Raises:
        InputError: if the folder has no run, or its VAE cannot score the data.
    """
    return _plain(_evidence(loaded(folder, None, trust), data, score))


def rows_of(data: Data, score: Score) -> Rows:
    """The rows that are scored, without labels, so that log p(x) is estimated."""
    rows = data.without_jitter() if score.split == "train" else getattr(data, score.split)
    return rows[: None if score.rows is None else whole("rows", score.rows)].unlabelled()


_OWN = {"vae", "data", "seed", "out", "resume", "figures", "progress", "callbacks"}  # of a trial


def _wait_for_lock(folder: Path) -> None:
    """Wait for a process that still writes its last checkpoint, since its parent was killed."""
    until = time.monotonic() + GRACE + 5
    while folder.is_dir() and time.monotonic() < until:
        try:
            with locked(folder, "locked"):
                return
        except InputError:
            time.sleep(0.1)


class _Reporter(Callback):
    """Reports the bound of each epoch, and stops the run if the answer is no."""

    def __init__(
        self, report: Callable[[int, float], bool], rows: Rows, particles: int, units: str | None
    ) -> None:
        self.report, self.rows, self.particles, self.units = report, rows, particles, units
        self.is_stopped = False

    def on_epoch(self, run: Running) -> Mapping[str, float]:
        bound = log_evidence(run.program, self.rows, particles=self.particles, compile=False)
        _refuse_partial(bound)
        refuse_other_units(_units_in(bound), self.units)  # before others are compared with it
        if not self.report(run.epoch, bound.mean):
            self.is_stopped = run.epoch < run.epochs
            run.stop()
        return {f"L_{self.particles}": bound.mean}


def refuse_other_units(units: str, others: str | None) -> None:
    """Refuse a bound that cannot be compared with those of other trials.

    Raises:
        InputError: with both units.
    """
    if others is not None and units != others:
        raise InputError(
            f"its bound is on {units}, and that of other trials on {others}, which cannot be compared: "
            "search these likelihoods in separate searches"
        )


def _units_in(evidence: Evidence) -> str:
    return f"{evidence.quantity}, {evidence.units}"


def _evidence(vae: VAE, data: Data, score: Score) -> Evidence:
    evidence = log_evidence(
        vae,
        rows_of(data, score),
        method=score.method or Importance(),
        particles=score.particles,
        seed=score.seed,
    )
    _refuse_partial(evidence)
    return evidence


def _refuse_partial(evidence: Evidence) -> None:
    """Ctrl-C ends an evaluation early, with the rows that are done."""
    if evidence.partial:
        raise KeyboardInterrupt(f"stopped early: continue with {cure('the same call', again())}")


def _plain(evidence: Evidence) -> Scored:
    if evidence.weightless.any():
        raise InputError(
            f"log p(x) of {int(evidence.weightless.sum())} rows is minus infinity, since no sample has any "
            "weight: use more particles or another method"
        )
    about = (evidence.units, evidence.quantity, evidence.verdict)
    return Scored(evidence.log_px, evidence.index, *about)
