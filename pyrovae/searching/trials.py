"""The trials of a search: a study of optuna, in memory or in a journal file that optuna reads too.

The parent process asks for points and tells results; the processes that train know nothing of the
study. A trial that was running when the search was killed is running in the journal, and is taken
up again. A trial's point depends on the seed, its number and the trials before it, so a search with
one job that was killed and resumed suggests what it would have suggested without.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from pyrovae.checks import one_of
from pyrovae.errors import InputError, visible
from pyrovae.extras import require
from pyrovae.files import reason_of
from pyrovae.searching.space import Point, Space
from pyrovae.threads import alone

if TYPE_CHECKING:
    import optuna

__all__ = ["JOURNAL", "Pruner", "Sampler", "Trials"]

Sampler = Literal["tpe", "gp", "cma", "random", "grid"]
Pruner = Literal["hyperband", "halving", "median", "none"]

JOURNAL, NAME = "journal.log", "pyrovae"
FIRST = 8  # random points before a model of the points is used
RUNGS = 10  # no trial is pruned before this part of all epochs


class Trials:
    """The trials of a search.

    Arguments:
        space: the space.
        sampler: what suggests points: tpe, gp (Bayesian optimisation with a Gaussian process), cma,
            random, or grid (all points, in random order).
        pruner: what ends trials early: hyperband, halving, median or none.
        epochs: the largest number of epochs of a trial.
        seed: seed of the sampler.
        folder: where the journal is; None keeps the trials in memory.

    Raises:
        InputError: for an unknown sampler or pruner, a space that the sampler cannot list, or a
            journal that cannot be read.
    """

    def __init__(
        self,
        space: Space,
        *,
        sampler: Sampler,
        pruner: Pruner,
        epochs: int,
        seed: int,
        folder: Path | None = None,
    ) -> None:
        self.space, self.seed, self.epochs = space, seed, epochs
        self.sampler = one_of("sampler", sampler, get_args(Sampler))
        self.pruner = one_of("pruner", pruner, get_args(Pruner))
        self.optuna = require("optuna", "search", "a search")
        if sampler == "cma":
            require("cmaes", "search", "the sampler cma")
        self.points = _shuffled(space.grid(), seed) if sampler == "grid" else []
        storage = None if folder is None else _storage(folder)
        with _quiet(self.optuna):
            self.study = self.optuna.create_study(
                study_name=NAME,
                direction="maximize",
                storage=storage,
                pruner=self._pruner(),
                load_if_exists=True,
            )

    @property
    def all(self) -> list[optuna.trial.FrozenTrial]:
        """All trials that were started, in order."""
        waiting = self.optuna.trial.TrialState.WAITING
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state != waiting]

    @property
    def finished(self) -> list[optuna.trial.FrozenTrial]:
        """The trials that have a result, or failed."""
        return [trial for trial in self.all if trial.state.is_finished()]

    @property
    def complete(self) -> list[optuna.trial.FrozenTrial]:
        """The trials that were trained to the end, the best first."""
        done = [trial for trial in self.all if trial.state == self.optuna.trial.TrialState.COMPLETE]
        return sorted(done, key=lambda trial: -(trial.value or 0.0))

    def running(self) -> list[int]:
        """The numbers of trials without a result: those that a killed search left."""
        return [trial.number for trial in self.all if not trial.state.is_finished()]

    @property
    def most(self) -> float:
        """The largest number of trials: the points of a grid."""
        return len(self.points) if self.sampler == "grid" else math.inf

    @property
    def units(self) -> str | None:
        """What the bounds of the trials are of, in words; None before the first."""
        known = (trial.user_attrs.get("units") for trial in self.all)
        return next((units for units in known if units is not None), None)

    @property
    def logs(self) -> frozenset[str]:
        """The choices on a logarithmic scale."""
        every = (pair for trial in self.all for pair in trial.distributions.items())
        return frozenset(name for name, distribution in every if getattr(distribution, "log", False))

    def next(self) -> optuna.Trial:
        """A new trial."""
        number = len(self.all)
        with _quiet(self.optuna):
            if self.points and len(self.study.get_trials(deepcopy=False)) == number:  # none waits
                self.study.enqueue_trial(self.points[number].values)
            self.study.sampler = self._sampler(number)
            return self.study.ask()

    def again(self, number: int) -> optuna.Trial:
        """A trial that was running, with its values."""
        with _quiet(self.optuna):
            self.study.sampler = self._sampler(number)
            return self.optuna.trial.Trial(self.study, self.all[number]._trial_id)

    def point(self, trial: optuna.Trial) -> Point:
        """The point of a trial.

        Raises:
            InputError: if its values cannot be combined.
        """
        with _quiet(self.optuna):
            return self.space.suggest(trial)

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        """Note the value of an epoch; returns whether the trial goes on."""
        with _quiet(self.optuna):
            if math.isfinite(value) and epoch not in self.all[trial.number].intermediate_values:
                trial.report(value, epoch)
            return not trial.should_prune()

    def tell(self, trial: optuna.Trial, value: float, *, pruned: bool, about: dict[str, Any]) -> None:
        """Note the result of a trial."""
        with _quiet(self.optuna):
            for name, content in about.items():
                trial.set_user_attr(name, content)
            if pruned:
                self.study.tell(trial, state=self.optuna.trial.TrialState.PRUNED)
            else:
                self.study.tell(trial, value)

    def fail(self, trial: optuna.Trial, reason: str) -> None:
        """Note why a trial failed."""
        with _quiet(self.optuna):
            trial.set_user_attr("reason", reason)
            self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """The sampler of a trial; searches with other seeds share no points."""
        samplers = self.optuna.samplers
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        if self.sampler == "tpe":
            return samplers.TPESampler(n_startup_trials=FIRST, multivariate=True, group=True, seed=seed)
        if self.sampler == "gp":
            return samplers.GPSampler(n_startup_trials=FIRST, seed=seed)
        if self.sampler == "cma":
            return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        return samplers.RandomSampler(seed=seed)

    def _pruner(self) -> optuna.pruners.BasePruner:
        pruners, first = self.optuna.pruners, max(1, self.epochs // RUNGS)
        if self.pruner == "hyperband":
            return pruners.HyperbandPruner(min_resource=first, max_resource=max(self.epochs, first + 1))
        if self.pruner == "halving":
            return pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=3)
        if self.pruner == "median":
            return pruners.MedianPruner(n_startup_trials=FIRST // 2, n_warmup_steps=first)
        return pruners.NopPruner()


def _shuffled(points: list[Point], seed: int) -> list[Point]:
    random.Random(seed).shuffle(points)
    return points


def _storage(folder: Path) -> Any:  # noqa: ANN401
    """The journal in a folder, without what a killed process left in it."""
    path = folder / JOURNAL
    journal = require("optuna.storages.journal", "search", "a search")
    storages = require("optuna.storages", "search", "a search")
    try:
        _tidy(path)
        return storages.JournalStorage(journal.JournalFileBackend(str(path)))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        words = " ".join(visible(error).split()).rstrip(".")
        raise InputError(f"{path} is damaged ({words}): restore it, or choose a new name") from None


def _tidy(path: Path) -> None:
    """Remove a lock that a killed process left, and a last line that it did not finish."""
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.exists():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            with path.open("r+b") as file:
                file.truncate(len(whole))


@contextmanager
def _quiet(optuna: ModuleType) -> Iterator[None]:
    """Without optuna's messages and its warnings of experimental parts.

    Both are settings of the process, so threads take turns.

    Raises:
        InputError: if the journal cannot be written, as on a full disk.
    """
    with alone, warnings.catch_warnings():
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.CRITICAL)
        warnings.simplefilter("ignore")
        try:
            yield
        except OSError as error:
            raise InputError(
                f"the trials cannot be written to {JOURNAL} ({reason_of(error)}): make room or change the "
                "permissions, and start the same search again, which continues this one"
            ) from error
        finally:
            optuna.logging.set_verbosity(before)
