"""The finalists of a search: the best trials, refitted with several seeds, and the winner's test.

    finalists/0007/seed-0     an ordinary run folder, with its outcome in trial.json
    test.json                 log p(x) of the test set by each winner

The seeds differ from those of the trials. A trial was chosen because its value was the largest of
many, so the value itself is too optimistic.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovae.errors import InputError
from pyrovae.evidence import Method
from pyrovae.files import write_whole
from pyrovae.numerics import stderr_of_mean
from pyrovae.searching.folder import SearchFolder
from pyrovae.searching.outcomes import read_outcome, write_outcome
from pyrovae.searching.ranking import rank_scored
from pyrovae.searching.space import Space
from pyrovae.searching.study import Final
from pyrovae.searching.trial import Score, Scored, Trained, scored, trained
from pyrovae.searching.workers import Done, Failed, Pool, Task

if TYPE_CHECKING:
    import optuna

__all__ = ["Finalists"]

APART = 1_000_000  # between the seeds of trials and those of finalists
_RESULT = ("test", "test_stderr", "verdict")
_RECORD = {"folder", "method", *_RESULT}  # of test.json


class Finalists:
    """The finalists of a search.

    Arguments:
        folder: the folder of the search.
        pool: where they are trained.
        count: the number of finalists.
        seeds: the number of seeds.
        method: how log p(x) is estimated.
        say: print one line for each fit.
    """

    def __init__(
        self, folder: SearchFolder, pool: Pool, *, count: int, seeds: int, method: Method, say: bool
    ) -> None:
        self.folder, self.pool, self.count, self.seeds, self.say = folder, pool, count, seeds, say
        self.score = Score("validation", method)
        self.note: str | None = None
        self.best_folder = Path()

    def run(
        self, best: Sequence[optuna.trial.FrozenTrial], space: Space, particles: int, seed: int
    ) -> Final | None:
        """Refit the first of these trials, and score the winner on the test set.

        Arguments:
            best: the trials that were trained to the end, the best first.
            space: the space of their values.
            particles: K of the bound that is reported.
            seed: seed of the search.
        """
        trials = {_name(trial): trial for trial in _distinct(best, self.count)}
        points = {name: space.at(trial.params) for name, trial in trials.items()}
        tasks = (
            ((name, s), {"options": points[name].options, "seed": seed + APART + s, "particles": particles})
            for name in trials
            for s in range(self.seeds)
        )
        outcomes = {outcome.key: outcome for outcome in self._outcomes(tasks)}
        scores: dict[str, list[Scored]] = {}
        failures: dict[str, str] = {}
        for (name, _), outcome in sorted(outcomes.items()):
            if isinstance(outcome, Failed):
                failures[name] = outcome.sentence
            else:
                scores.setdefault(name, []).append(outcome.value.scored)
        scores = {name: scores[name] for name in trials if name in scores and name not in failures}
        if not scores:  # none was asked for, or all failed
            self.note = _all_failed(failures)
            return None
        ranking = rank_scored(scores)
        winner = ranking.names[0]
        means = [score.log_px.mean() for score in scores[winner]]
        self.best_folder = self._path(winner, means.index(max(means)))
        test = self._test()
        return Final(
            ranking,
            winner,
            **test,
            method=repr(self.score.method),
            points={name: points[name].values for name in ranking.names},
            failures=failures,
        )

    def _path(self, name: str, number: int) -> Path:
        return self.folder.path / "finalists" / name.removeprefix("trial ").zfill(4) / f"seed-{number}"

    def _outcomes(self, tasks: Iterator[tuple[tuple[str, int], dict[str, Any]]]) -> Iterator[Done | Failed]:
        """The outcomes of fits: those that are in the folder, and then new ones."""
        new = []
        for key, options in tasks:
            path = self._path(*key)
            outcome = read_outcome(path, key, self.score)
            if isinstance(outcome, Done):
                yield outcome
            else:
                new.append((key, Task(trained, {**options, "folder": str(path), "score": self.score})))
        queue = iter(new)
        for outcome in self.pool.run(lambda: next(queue, None)):
            write_outcome(self._path(*outcome.key), outcome, self.score)
            self._print(outcome)
            yield outcome

    def _print(self, outcome: Done | Failed) -> None:
        if not self.say:
            return
        name, number = outcome.key
        if isinstance(outcome, Failed):
            print(f"{name}, seed {number}: failed: {outcome.sentence}", flush=True)
            return
        result: Trained = outcome.value
        assert result.scored is not None
        mean = result.scored.log_px.mean()
        print(f"{name}, seed {number}: {result.scored.quantity} {mean:.3f} of the validation set", flush=True)

    def _test(self) -> dict[str, Any]:
        """log p(x) of the test set by the winner's best run; from test.json if it is there."""
        path = self.folder.path / "test.json"
        about = {
            "folder": str(self.best_folder.relative_to(self.folder.path)),
            "method": repr(self.score.method),
        }
        before = _read(path)
        values = next((known for known in before if about.items() <= known.items()), None)
        if values is None:
            values = about | self._scored_test()
            before.append(values)
            text = json.dumps(before, indent=2)
            write_whole(path, lambda file: file.write(text.encode()))
        return {name: values[name] for name in _RESULT} | {"tests": len(before)}

    def _scored_test(self) -> dict[str, Any]:
        score = Score("test", self.score.method)
        queue = iter([("test", Task(scored, {"folder": str(self.best_folder), "score": score}))])
        (outcome,) = self.pool.run(lambda: next(queue, None))
        if isinstance(outcome, Failed):
            raise InputError(f"{self.best_folder} cannot score the test set: {outcome.sentence}")
        result: Scored = outcome.value
        log_px = result.log_px
        return {
            "test": float(log_px.mean()),
            "test_stderr": float(stderr_of_mean(log_px)),
            "verdict": result.verdict,
        }


def _read(path: Path) -> list[dict[str, Any]]:
    """The results on the test set so far.

    Raises:
        InputError: for a damaged file, since nobody knows then how often the test set was used.
    """
    try:
        known = json.loads(path.read_text())
        if all(record.keys() >= _RECORD for record in known):
            return known
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, AttributeError):
        pass
    raise InputError(
        f"{path} is damaged, and says how often the test set was used: restore it, or delete it to use the "
        "test set once more"
    )


def _all_failed(failures: dict[str, str]) -> str | None:
    if not failures:
        return None
    reason = next(iter(failures.values()))
    return (
        f"No finalist could be refitted, so nothing is known of the test set, and the best run is that of "
        f"the best trial; the first failed with: {reason}"
    )


def _name(trial: optuna.trial.FrozenTrial) -> str:
    return f"trial {trial.number}"


def _distinct(trials: Sequence[optuna.trial.FrozenTrial], count: int) -> list[optuna.trial.FrozenTrial]:
    """The first trials with different values."""
    kept: list[optuna.trial.FrozenTrial] = []
    for trial in trials:
        if len(kept) < count and all(trial.params != other.params for other in kept):
            kept.append(trial)
    return kept
