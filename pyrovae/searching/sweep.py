"""`sweep`: all points of a grid, each trained with several seeds, compared by log p(x).

    OUT/sweep.yaml                    the plan: the space and the data
    OUT/latent_dim=2,lr=0.001/seed-0  a run folder for each point and seed
    OUT/table.csv, OUT/sweep.png      the result

A second call with the same space and data does only what is missing: new seeds, runs that failed or
were interrupted, and new scores if the rows or the method have changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pyrovae.checks import flags, one_of, path_of, whole
from pyrovae.cures import again, cure
from pyrovae.errors import InputError
from pyrovae.evidence import Method
from pyrovae.files import new_folder
from pyrovae.searching.folder import SearchFolder, data_plan
from pyrovae.searching.outcomes import read_outcome, write_outcome
from pyrovae.searching.space import Point, Space
from pyrovae.searching.sweep_result import Sweep
from pyrovae.searching.trial import Score, trained
from pyrovae.searching.workers import Done, Failed, Pool, Task
from pyrovae.sharing import is_shared, print_first
from pyrovae.training.preparing import as_data

if TYPE_CHECKING:
    from pyrovae.datasets import Data

__all__ = ["sweep"]

FREE = {"checkpoint_seconds", "compile", "device"}  # options that change no result


def sweep(
    space: Space | Mapping[str, Any],
    data: Any,  # noqa: ANN401
    *,
    seeds: int | Sequence[int] = 5,
    jobs: int = 1,
    out: str | os.PathLike[str] | None = None,
    split: Literal["validation", "test"] = "test",
    method: Method | None = None,
    particles: int | None = None,
    rows: int | None = None,
    progress: bool = True,
) -> Sweep:
    """Train every point of a grid with several seeds, and compare their log p(x).

    Each run is the run of `pyrovae fit` with the same options and seed. Differences are paired: all
    points are scored on the same rows with the same samples, and trained with the same seeds.

    Arguments:
        space: arguments of `VAE.suited` and `fit`, of which some are choices, such as
            `{"latent_dim": OneOf(2, 5, 10), "epochs": 50}`.
        data: the result of `datasets.load`, or rows, a tensor or an array (N, *event).
        seeds: the number of seeds, counted from 0, or the seeds.
        jobs: the number of runs at a time, each in its own process; 1 trains in this process.
        out: the folder of the sweep; by default sweeps/NAME-1. An existing sweep is resumed.
        split: the rows whose log p(x) is compared: the validation or the test set.
        method: how log p(x) is estimated; importance sampling by default.
        particles: samples for each row; by default 1000, or 16 chains.
        rows: score only this many rows, starting with the first.
        progress: print a line for each run.

    Returns:
        `Sweep`, whose text is the ranking. table.csv and sweep.png are written into the folder.

    Raises:
        InputError: for a space or data that cannot be used; for a folder with another sweep; if all
            runs fail, with the sentence of the first.
        KeyboardInterrupt: on Ctrl-C, after the table so far was written, and printed with
            `progress`.

    Example:
        >>> import tempfile
        >>> import pyrovae as pv
        >>> from pyrovae.choices import OneOf
        >>> data = pv.datasets.load("digits", binarize="threshold", count=200)
        >>> space = {"latent_dim": OneOf(1, 2), "epochs": 1}
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     result = sweep(space, data, seeds=2, out=f"{parent}/latent", progress=False)
        >>> list(result.table.index), result.table.seeds.tolist()
        (['latent_dim=1', 'latent_dim=2'], [2, 2])
    """
    space = space if isinstance(space, Space) else Space(space)
    points, data = _points(space), as_data(data)
    flags(progress=progress)
    score = Score(one_of("split", split, ("validation", "test")), method, particles, rows)
    numbers = _seeds(seeds)
    jobs, plan = whole("jobs", jobs), {"space": _plan(space), "data": data_plan(data), "seeds": numbers}
    folder = SearchFolder(_folder(out, data), "sweep")
    with folder.locked():
        folder.begin(plan, free={"seeds"})
        runs = _Runs(folder, points, numbers, score, progress=progress)
        is_partial = runs.finish(jobs, data)
        outcomes = {key: runs.outcomes[key] for key in runs.keys if key in runs.outcomes}
        _refuse_failed(outcomes)
        result = Sweep(tuple(points), tuple(numbers), outcomes, folder.path, score, is_partial)
        result.save()
    if is_partial:
        if progress:
            print_first(result)
        done = f"{len(outcomes)} of {len(runs.keys)} runs"
        how = cure(f"the same sweep with the folder {folder.path}", again(out=folder.path))
        raise KeyboardInterrupt(f"stopped after {done}; go on with {how}")
    return result


class _Runs:
    """The runs of a sweep: those that are done, and those to do."""

    def __init__(
        self,
        folder: SearchFolder,
        points: Sequence[Point],
        seeds: Sequence[int],
        score: Score,
        *,
        progress: bool,
    ) -> None:
        self.folder, self.score, self.progress = folder, score, progress
        self.points = {point.name: point for point in points}
        self.keys = [(point.name, seed) for point in points for seed in seeds]
        found = {key: read_outcome(folder.run(*key), key, score) for key in self.keys}
        self.outcomes: dict[tuple[str, int], Done | Failed] = {
            key: outcome for key, outcome in found.items() if isinstance(outcome, Done)
        }

    def finish(self, jobs: int, data: Data) -> bool:
        """Do the runs that are missing; returns whether Ctrl-C stopped them."""
        if self.progress and self.outcomes:
            print_first(f"{len(self.outcomes)} of {len(self.keys)} runs are done")
        try:
            with Pool(jobs, data) as pool:
                self._finish(pool)
        except KeyboardInterrupt:
            if not any(isinstance(outcome, Done) for outcome in self.outcomes.values()):
                raise
            return True
        return False

    def _finish(self, pool: Pool) -> None:
        tasks = self._tasks()
        for outcome in pool.run(lambda: next(tasks, None)):
            write_outcome(self.folder.run(*outcome.key), outcome, self.score)
            self.outcomes[outcome.key] = outcome
            if self.progress:
                print_first(self._line(outcome))

    def _tasks(self) -> Iterator[tuple[tuple[str, int], Task]]:
        """One seed of all points after the other, so that a table is complete early."""
        for name, seed in sorted(self.keys, key=lambda key: key[1]):
            if (name, seed) not in self.outcomes:
                options = {
                    "options": self.points[name].options,
                    "folder": self.folder.run(name, seed),
                    "seed": seed,
                    "score": self.score,
                    "reports": False,
                }
                yield (name, seed), Task(trained, options)

    def _line(self, outcome: Done | Failed) -> str:
        name, seed = outcome.key
        count = f"{len(self.outcomes)}/{len(self.keys)}"
        if isinstance(outcome, Failed):
            return f"{count}  {name}, seed {seed}: failed, {outcome.sentence}"
        run = outcome.value
        return (
            f"{count}  {name}, seed {seed}: {self.score.split} {run.scored.log_px.mean():.3f}, "
            f"{run.epochs} epochs, {run.seconds:.0f} s"
        )


def _points(space: Space) -> list[Point]:
    if is_shared():
        jobs = cure("jobs=2", "--jobs 2")
        raise InputError(f"a sweep starts its own processes: run it without torchrun, with {jobs}")
    if not space.has_choices:
        raise InputError(
            "the space has no choices, so there is nothing to compare: vary something, as in latent_dim=2,5"
        )
    return space.grid()


def _plan(space: Space) -> dict[str, Any]:
    return {name: value for name, value in space.to_dict().items() if name not in FREE}


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, (list, tuple, range)):
        numbers = [whole("a seed", seed, 0) for seed in seeds]
        if not numbers or len(set(numbers)) < len(numbers):
            raise InputError(f"seeds must be different whole numbers, at least one, not {list(seeds)}")
        return numbers
    return list(range(whole("seeds", seeds)))


def _folder(out: str | os.PathLike[str] | None, data: Data) -> Path:
    return new_folder(Path("sweeps"), Path(data.name).stem or "sweep") if out is None else path_of("out", out)


def _refuse_failed(outcomes: Mapping[tuple[str, int], Done | Failed]) -> None:
    if any(isinstance(outcome, Done) for outcome in outcomes.values()):
        return
    (name, _), first = next(iter(outcomes.items()))
    assert isinstance(first, Failed)
    raise InputError(f"all {len(outcomes)} runs failed, the first ({name}) with: {first.sentence}")
