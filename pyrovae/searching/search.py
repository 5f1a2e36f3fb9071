r"""`search`: choose a declaration by its bound on log p(x) of the validation set.

    trials      train with pruning; the reward is L_K of the validation set, reported every epoch
    finalists   the best trials, refitted with several seeds, ranked by log p(x) with paired errors
    test        log p(x) of the test set by the winner, once

L_K is a bound on log p(x) for every objective and prior, so trials with different ones can be
compared. The maximum over many trials is optimistic: finalists are therefore trained again, with
other seeds, and the test set is not used before the winner is known.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pyrovae.checks import flags, number, path_of, whole
from pyrovae.choices import OneOf
from pyrovae.cures import again, cure
from pyrovae.errors import InputError
from pyrovae.evidence import Laplace, Method
from pyrovae.evidence.methods import as_method
from pyrovae.searching.finalists import Finalists
from pyrovae.searching.folder import SearchFolder, data_plan
from pyrovae.searching.runs import run_of
from pyrovae.searching.space import Point, Space
from pyrovae.searching.study import Final, Study, TrialRecord
from pyrovae.searching.trial import Trained, refuse_other_units, trained
from pyrovae.searching.trials import Pruner, Sampler, Trials
from pyrovae.searching.workers import Done, Failed, Pool, Task
from pyrovae.sharing import is_shared
from pyrovae.training.defaults import Facts, chosen
from pyrovae.training.preparing import as_data

if TYPE_CHECKING:
    import optuna

    from pyrovae.datasets import Data
    from pyrovae.training import Run

__all__ = ["search"]

HOPELESS = 10  # a search ends if this number of trials were done and all failed


def search(
    space: Space | Mapping[str, Any],
    data: Any,  # noqa: ANN401
    *,
    trials: int = 40,
    hours: float | None = None,
    sampler: Sampler = "tpe",
    pruner: Pruner = "hyperband",
    particles: int = 50,
    rows: int | None = 1000,
    finalists: int = 3,
    seeds: int = 3,
    method: Method | None = None,
    jobs: int = 1,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    progress: bool = True,
) -> Study:
    r"""Search a space for the declaration with the best log p(x).

    Each trial is a point of the space, trained as by `fit`. After each epoch it reports

    \[\mathcal L_K = \frac1N \sum_n \log \frac1K \sum_k
    \frac{p(x_n, z_k)}{q(z_k|x_n)}\]

    of the validation set, and ends early if others are far ahead. The best trials are refitted with
    new seeds and ranked by log p(x) of the validation set, with paired errors. The winner's log
    p(x) of the test set is estimated once, at the end.

    With `out`, a search that was stopped or killed is continued by the same call: finished trials
    are kept, and those that were running go on from their checkpoints.

    Arguments:
        space: a `Space`, or a mapping of arguments of `VAE.suited` and `fit`, some of them choices.
        data: the result of `datasets.load`, or observations (N, *event).
        trials: the number of trials, including those that are already in `out`.
        hours: start no trial after this time, except the first.
        sampler: "tpe" (tree-structured Parzen estimator), "gp" (Bayesian optimisation with a
            Gaussian process), "cma" (CMA-ES), "random", or "grid" (all points).
        pruner: what ends trials early: "hyperband", "halving" (successive halving), "median" or
            "none".
        particles: K of the bound by which trials are compared.
        rows: validation rows for the bound; None takes all.
        finalists: the number of trials that are refitted; 0 leaves this and the test out.
        seeds: the number of seeds with which each of them is refitted.
        method: how log p(x) of finalists is estimated; by default `Laplace()`.
        jobs: the number of trials at a time, each in a process.
        seed: seed of the search; trial n is trained with seed + n.
        out: the folder of the search; by default studies/NAME-1. In Python, a temporary one.
        progress: print one line for each trial.

    Returns:
        A `Study`.

    Raises:
        InputError: for a space without choices, an invalid option, or a folder that holds another
            search; the failure of the trials if all of them fail.
        KeyboardInterrupt: on Ctrl-C, after the study so far was printed (with `progress`); trials
            that were running have written a checkpoint.

    Reference:
        Akiba et al. (2019), "Optuna"; Bergstra et al. (2011), "Algorithms for hyper-parameter
        optimization"; Li et al. (2018), "Hyperband"; Snoek et al. (2012), "Practical Bayesian
        optimization of machine learning algorithms".

    Example:
        >>> import pyrovae as pv
        >>> from pyrovae.choices import OneOf, Real
        >>> data = pv.datasets.load("digits", binarize="threshold", count=200)
        >>> space = {"latent_dim": OneOf(2, 8), "lr": Real(1e-3, 1e-2, log=True), "epochs": 2}
        >>> study = pv.search(space, data, trials=3, finalists=0, progress=False)
        >>> study.table.shape
        (3, 7)
    """
    flags(progress=progress)
    space = space if isinstance(space, Space) else Space(space)
    if not space.has_choices:
        raise InputError("the space has no choices: vary something, as in latent_dim=2..64")
    if is_shared():
        several = cure("jobs=2", "--jobs 2")
        raise InputError(f"a search starts its own processes: run it without torchrun, with {several}")
    data = as_data(data)
    limits = {
        "trials": whole("trials", trials),
        "hours": None if hours is None else number("hours", hours, above=0.0),
        "finalists": whole("finalists", finalists, 0),
        "seeds": whole("seeds", seeds),
        "method": Laplace() if method is None else as_method(method),
    }
    reward = {
        "particles": whole("particles", particles),
        "rows": None if rows is None else whole("rows", rows),
    }
    how: dict[str, Any] = {"sampler": sampler, "pruner": pruner, "seed": whole("seed", seed, 0)}
    jobs, folder = whole("jobs", jobs), None if out is None else path_of("out", out)
    with _folder(folder) as place:
        with place.locked():
            plan = {"space": space.to_dict(), **how, **reward, "data": data_plan(data)}
            known = Trials(space, epochs=_epochs(space, data), **how, folder=None)  # checks the options
            place.begin(plan)
            known = Trials(space, epochs=known.epochs, **how, folder=place.path)
            with Pool(jobs, data) as pool:
                searcher = _Searcher(known, place, pool, reward, limits, say=progress)
                return searcher.run(is_kept=folder is not None)


def _epochs(space: Space, data: Data) -> int:
    """The largest number of epochs of a trial."""
    size = space.values.get("batch_size")
    size = size if isinstance(size, int) else None
    default = chosen({"batch_size": size, "epochs": None}, Facts(len(data.train)))["epochs"]
    numbers = _largest(space.values.get("epochs"))
    return max(whole("epochs", default if value is None else value) for value in numbers)


def _largest(value: Any) -> list[Any]:  # noqa: ANN401
    """The largest value of each range in a choice, and its other values."""
    if isinstance(value, OneOf):
        return [number for option in value.options for number in _largest(option)]
    return [getattr(value, "high", value)]


@contextmanager
def _folder(out: Path | None) -> Iterator[SearchFolder]:
    if out is not None:
        yield SearchFolder(out, "search")
        return
    with TemporaryDirectory(prefix="pyrovae-search-") as temporary:
        yield SearchFolder(temporary, "search")


class _Searcher:
    """A search in progress."""

    def __init__(
        self,
        trials: Trials,
        folder: SearchFolder,
        pool: Pool,
        reward: dict[str, Any],
        limits: dict[str, Any],
        *,
        say: bool,
    ) -> None:
        self.trials, self.folder, self.pool, self.reward, self.say = trials, folder, pool, reward, say
        self.most = min(limits["trials"], trials.most)
        self.until = time.monotonic() + 3600 * limits["hours"] if limits["hours"] else float("inf")
        self.finalists = Finalists(
            folder, pool, count=limits["finalists"], seeds=limits["seeds"], method=limits["method"], say=say
        )
        self.left = trials.running()
        self.active: dict[int, tuple[optuna.Trial, Point]] = {}

    def run(self, *, is_kept: bool) -> Study:
        """Do the trials and the finalists."""
        try:
            for outcome in self.pool.run(self._next, self._report):
                self._note(outcome)
                self._refuse_hopeless()
            best = self.trials.complete
            if not best:
                self._refuse_hopeless(least=1)
            final = self.finalists.run(best, self.trials.space, self.reward["particles"], self.trials.seed)
        except KeyboardInterrupt:
            self.pool.close()  # running trials write their checkpoints
            if self.trials.finished:
                self._print(str(self._study(None, is_kept=is_kept)))
            path = self.folder.path
            how = cure(f"the same search with the folder {path}", again(out=path))
            how = f"; go on with {how}" if is_kept else ""
            done = f"{len(self.trials.finished)} of {self.most} trials"
            raise KeyboardInterrupt(f"stopped after {done}{how}") from None
        return self._study(final, is_kept=is_kept)

    def _study(self, final: Final | None, *, is_kept: bool) -> Study:
        best = self._best_run(final)
        if best is not None and not is_kept:
            best = replace(best, folder=None)
        return Study(
            tuple(map(_record, self.trials.all)),
            self.reward["particles"],
            final,
            best,
            self.folder.path if is_kept else None,
            self.trials.logs,
            self.finalists.note,
        )

    def _best_run(self, final: Final | None) -> Run | None:
        if final is not None:
            return run_of(self.finalists.best_folder)
        best = self.trials.complete
        if not best:
            return None
        folder = self._path(best[0].number)
        try:
            return run_of(folder)
        except InputError as error:
            raise InputError(
                f"the run of the best trial, {folder}, cannot be read ({error}): restore it, or use "
                f"{cure('finalists=1', '--finalists 1')}, which trains it again"
            ) from None

    # ---------------------------------------------------------------- trials

    def _next(self) -> tuple[int, Task] | None:
        """The task of the next trial; one whose values cannot be combined fails at once."""
        while (trial := self._ask()) is not None:
            try:
                point = self.trials.point(trial)
            except InputError as error:
                self.trials.fail(trial, str(error))
                self._print(f"trial {trial.number}: failed: {error}")
                self._refuse_hopeless()
                continue
            self.active[trial.number] = trial, point
            own: dict[str, Any] = {
                "seed": self.trials.seed + trial.number,
                "folder": str(self._path(trial.number)),
            }
            own["units"] = self.trials.units
            return trial.number, Task(trained, {"options": point.options, **own, **self.reward})
        return None

    def _ask(self) -> optuna.Trial | None:
        if self.left:
            return self.trials.again(self.left.pop(0))
        count = len(self.trials.all)
        if count < self.most and (time.monotonic() < self.until or not count):
            return self.trials.next()
        return None

    def _report(self, number: int, epoch: int, value: float) -> bool:
        return self.trials.report(self.active[number][0], epoch, value)

    def _note(self, outcome: Done | Failed) -> None:
        trial, point = self.active.pop(outcome.key)
        reason = self._reason(outcome)
        if reason is not None:
            self.trials.fail(trial, reason)
            self._print(f"trial {trial.number}: failed: {reason}  ({point.name})")
            return
        assert isinstance(outcome, Done)
        result: Trained = outcome.value
        about = {
            "epochs": result.epochs,
            "seconds": round(result.seconds, 2),
            "parameters": result.parameters,
            "units": result.units,
        }
        self.trials.tell(trial, result.value, pruned=result.stopped, about=about)
        word = "pruned" if result.stopped else f"{result.value:.3f}"
        at = f"{result.epochs} epochs, {result.seconds:.0f} s"
        self._print(f"trial {trial.number}: {word} ({at})  {point.name}")

    def _reason(self, outcome: Done | Failed) -> str | None:
        """Why a trial failed, or None."""
        if isinstance(outcome, Failed):
            return outcome.sentence
        result: Trained = outcome.value
        if not math.isfinite(result.value):
            return f"its bound is {result.value}: use a lower lr, more particles or another likelihood"
        try:  # trials that began at the same time could not know it
            refuse_other_units(result.units, self.trials.units)
        except InputError as error:
            return str(error)
        return None

    def _refuse_hopeless(self, least: int = HOPELESS) -> None:
        finished = self.trials.finished
        reasons = [trial.user_attrs.get("reason") for trial in finished]
        if len(finished) >= least and all(reasons):
            raise InputError(f"all {len(finished)} trials failed, the last with: {reasons[-1]}")

    # ---------------------------------------------------------------- result

    def _path(self, number: int) -> Path:
        return self.folder.path / "trials" / f"{number:04d}"

    def _print(self, line: str) -> None:
        if self.say:
            print(line, flush=True)


def _record(trial: optuna.trial.FrozenTrial) -> TrialRecord:
    state = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}.get(trial.state.name, "running")
    value = trial.value if trial.value is not None else float("nan")
    about = {name: content for name, content in trial.user_attrs.items() if name != "units"}
    reports = dict(sorted(trial.intermediate_values.items()))
    return TrialRecord(trial.number, state, value, dict(trial.params), reports, about)
