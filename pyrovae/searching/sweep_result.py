"""The result of a sweep: a table, a ranking with errors, and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae import plots
from pyrovae.display import Displayed, html
from pyrovae.errors import InputError
from pyrovae.evidence import Importance
from pyrovae.files import write_whole
from pyrovae.names import meant_by
from pyrovae.searching.folder import safe_name
from pyrovae.searching.ranking import Ranking, alike, rank_scored
from pyrovae.searching.runs import run_of
from pyrovae.searching.space import Point
from pyrovae.searching.trial import Score, Scored, Trained
from pyrovae.searching.workers import Done, Failed

if TYPE_CHECKING:
    import pandas

    from pyrovae.plots.style import Axes
    from pyrovae.training import Run

__all__ = ["Sweep"]


@dataclass(frozen=True, eq=False, repr=False)
class Sweep(Displayed):
    """The runs of a grid, each with several seeds, and their log p(x) of the same rows.

    Attributes:
        points: the points of the grid.
        seeds: the seeds.
        outcomes: (name of the point, seed) -> the outcome of that run, in the order of the grid.
        folder: the folder of the run folders, the table and the figure.
        score: how log p(x) is estimated, and of which rows.
        partial: whether the sweep was stopped before all runs were done.
    """

    points: tuple[Point, ...]
    seeds: tuple[int, ...]
    outcomes: dict[tuple[str, int], Done | Failed]
    folder: Path
    score: Score
    partial: bool = False

    @cached_property
    def runs(self) -> dict[str, dict[int, Trained]]:
        """Name of a point -> seed -> its run, without those that failed."""
        runs: dict[str, dict[int, Trained]] = {}
        for (name, seed), outcome in self.outcomes.items():
            if isinstance(outcome, Done):
                runs.setdefault(name, {})[seed] = outcome.value
        return runs

    def run(self, name: str, seed: int = 0) -> Run:
        """A finished run with its VAE and its history, as from `fit`.

        Arguments:
            name: the name of its point.
            seed: its seed.

        Raises:
            InputError: if there is no such run, or its folder is damaged.
        """
        if seed not in self.runs.get(name, {}):
            known = [point for point, runs in self.runs.items() if seed in runs]
            raise InputError(
                f"there is no finished run of {name!r} with seed {seed}: {meant_by(name, known, repr)}see "
                "the table"
            )
        return run_of(self.folder / safe_name(name) / f"seed-{seed}")

    @property
    def failures(self) -> dict[tuple[str, int], str]:
        """(name of the point, seed) -> the sentence with which that run failed."""
        return {key: out.sentence for key, out in self.outcomes.items() if isinstance(out, Failed)}

    @cached_property
    def rankings(self) -> list[Ranking]:
        """The points in falling order of log p(x); a ranking for each kind of log p(x)."""
        scores = {name: [_scored(run) for run in runs.values()] for name, runs in self.runs.items()}
        return [rank_scored(group) for group in alike(scores)]

    @property
    def best(self) -> str:
        """The name of the point with the highest mean log p(x).

        Raises:
            InputError: if log p(x) of the points cannot be ranked, or no run is finished.
        """
        if len(self.rankings) != 1:
            raise InputError(
                f"the sweep has {len(self.rankings)} kinds of log p(x) and no single best point: use rankings"
            )
        return self.rankings[0].names[0]

    @cached_property
    def table(self) -> pandas.DataFrame:
        """One row for each point in the order of the grid.

        The columns are the values of the choices; mean, stderr, spread, seeds, difference and
        difference_stderr as in `Ranking`; validation (the mean bound on the validation rows);
        epochs, seconds and parameters (means over seeds); failed (how many runs); and units.
        """
        import pandas

        ranked = pandas.concat(
            [ranking.table.assign(units=r.units) for r in self.rankings for ranking in [r]]
        )
        rows = []
        for point in self.points:
            runs = list(self.runs.get(point.name, {}).values())
            failed = sum(name == point.name for name, _ in self.failures)
            means = {name: _mean(runs, name) for name in ("epochs", "seconds", "parameters")}
            own = {"validation": _mean(runs, "value"), **means, "failed": failed}
            errors = ranked.loc[point.name].to_dict() if runs else {"seeds": 0}
            rows.append({"name": point.name, **point.values, **errors, **own})
        table = pandas.DataFrame(rows).set_index("name")
        order = [name for name in table.columns if name != "units"]
        return table[[*order, "units"]]

    def __str__(self) -> str:
        parts = [self._head()]
        for ranking in self.rankings:
            parts += [f"{ranking.quantity}: {ranking.units}"] if len(self.rankings) > 1 else []
            parts.append(str(ranking))
        for ranking in self.rankings:
            name = ranking.names[0]
            seed, run = next(iter(self.runs[name].items()))
            parts.append(f"{name}, seed {seed}: {_scored(run).verdict}")
        return "\n".join([*parts, *self._failed()])

    def _html(self) -> str:
        head, *others = self._head().splitlines()
        tables = [
            html.joined(html.paragraph(r.units) if len(self.rankings) > 1 else "", r.as_table())
            for r in self.rankings
        ]
        return html.page(head, *map(html.paragraph, others), *tables, *map(html.paragraph, self._failed()))

    def _failed(self) -> list[str]:
        """A line for each reason of each point."""
        seeds: dict[tuple[str, str], list[int]] = {}
        for (name, seed), sentence in self.failures.items():
            seeds.setdefault((name, sentence), []).append(seed)
        return [
            f"{name}, seed{'s' * (len(which) > 1)} {', '.join(map(str, which))}: failed, {sentence}"
            for (name, sentence), which in seeds.items()
        ]

    def _head(self) -> str:
        rows = len(_scored(next(iter(next(iter(self.runs.values())).values()))).log_px)
        total = len(self.points) * len(self.seeds)
        done = f", {len(self.outcomes)} of {total} runs (stopped early)" if self.partial else ""
        seeds = f"{len(self.seeds)} seeds" if len(self.seeds) > 1 else "one seed"
        method = self.score.method or Importance()
        samples = self.score.particles or method.particles
        word = "chains" if method.annealed else "particles"
        bound = ", a lower bound" if method.is_bound else ""
        return (
            f"{len(self.points)} points with {seeds}{done}: nats per observation, {rows:,} rows of the "
            f"{self.score.split} set\n{method.name} with {samples:,} {word}{bound}"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Mean log p(x) against a choice, with the spread over seeds; a line for each other choice.

        The horizontal axis is the choice of numbers with the most values, or else the choice with
        the most values.
        """
        name, others = self._axes()
        at = list(dict.fromkeys(point.values[name] for point in self.points if name in point.values))
        curves: dict[str, np.ndarray] = {}
        for point in self.points:
            if name not in point.values:
                continue
            label = " ".join(
                f"{other}={_word(point.values[other])}" for other in others if other in point.values
            )
            curve = curves.setdefault(label, np.full((len(self.seeds), len(at)), np.nan))
            for seed, run in self.runs.get(point.name, {}).items():
                curve[self.seeds.index(seed), at.index(point.values[name])] = _scored(run).log_px.mean()
        quantity = f"{self.score.split} {self.rankings[0].quantity}"
        return plots.sweep_curves(at, curves, name=name, quantity=quantity, ax=ax)

    def save(self) -> list[Path]:
        """Write table.csv and sweep.png into the folder; returns their paths."""
        text = self.table.to_csv()
        write_whole(self.folder / "table.csv", lambda file: file.write(text.encode()))
        return [self.folder / "table.csv", plots.save(self.plot(), self.folder / "sweep.png")]

    def _axes(self) -> tuple[str, list[str]]:
        """The choice on the horizontal axis, and the others."""
        values: dict[str, list[Any]] = {}
        for point in self.points:
            for name, value in point.values.items():
                values.setdefault(name, []).append(value)
        if not values:
            raise InputError("the sweep has a single point, and nothing to draw: vary something")

        def rank(name: str) -> tuple[bool, int]:
            numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values[name])
            return numeric, len(set(map(str, values[name])))

        name = max(values, key=rank)
        return name, [other for other in values if other != name]


def _scored(run: Trained) -> Scored:
    assert run.scored is not None
    return run.scored


def _mean(runs: Sequence[Trained], name: str) -> float:
    return float(np.mean([getattr(run, name) for run in runs])) if runs else np.nan


def _word(value: Any) -> str:  # noqa: ANN401
    return f"{value:g}" if isinstance(value, float) else str(value)
