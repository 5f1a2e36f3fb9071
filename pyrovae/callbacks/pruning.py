"""Trials of optuna that end early."""

from __future__ import annotations

from typing import Any

from pyrovae.errors import InputError
from pyrovae.extras import require
from pyrovae.part import Declared
from pyrovae.training import Callback, Running

__all__ = ["Pruning"]

BOUNDS = ("train", "validation", "objective", "log_px")


class Pruning(Declared, Callback):
    """Report a metric of each epoch to a trial of optuna, and end the run if it is pruned.

    `fit` then raises `optuna.TrialPruned`, which `study.optimize` expects. The run is saved first.
    `pv.search` needs no callback: it reports L_K by itself, and ranks the best trials with errors.

    Arguments:
        trial: the trial, in a study with the direction "maximize".
        metric: the metric; epochs that do not have it are not reported.

    Raises:
        InputError: without the extra `search`, and for a bound in a study that minimises.

    Example:
        >>> import optuna
        >>> import pyrovae as pv
        >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
        >>> data = pv.datasets.load("digits", binarize="threshold", count=200)
        >>> def objective(trial):
        ...     vae = pv.VAE(data.event_shape, latent_dim=trial.suggest_int("latent_dim", 1, 5))
        ...     pruning = pv.callbacks.Pruning(trial)
        ...     run = pv.fit(vae, data, epochs=3, progress=False, callbacks=[pruning])
        ...     return run.history["validation"][-1]
        >>> pruner = optuna.pruners.ThresholdPruner(lower=0.0, n_warmup_steps=1)
        >>> study = optuna.create_study(direction="maximize", pruner=pruner)
        >>> study.optimize(objective, n_trials=1)
        >>> [trial.state.name for trial in study.trials], len(study.trials[0].intermediate_values)
        (['PRUNED'], 1)
    """

    comes_last = True

    def __init__(self, trial: Any, metric: str = "validation") -> None:  # noqa: ANN401
        require("optuna", "search", "Pruning")
        directions = getattr(getattr(trial, "study", None), "directions", ())
        if metric in BOUNDS and "MINIMIZE" in [direction.name for direction in directions]:
            raise InputError(
                f"the study of Pruning minimises, and a larger {metric!r} is better, so the best trials "
                "would end: create the study with direction='maximize'"
            )
        self.trial, self.metric = trial, metric

    def on_epoch(self, run: Running) -> None:
        """Report the metric.

        Raises:
            optuna.TrialPruned: if the trial is pruned.
        """
        import optuna

        if self.metric not in run.metrics:
            return
        self.trial.report(run.metrics[self.metric], run.epoch)
        if self.trial.should_prune():
            run.stop()
            raise optuna.TrialPruned(f"pruned after epoch {run.epoch}")
