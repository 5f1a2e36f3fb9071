"""The result of a search: its trials, the finalists with errors, and the best run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae import plots
from pyrovae.display import Displayed, Html, html
from pyrovae.errors import InputError
from pyrovae.searching.importance import Importance, importance, predicted_ends
from pyrovae.searching.parts import word
from pyrovae.searching.ranking import Ranking

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from pyrovae.training import Run

__all__ = ["Final", "Study", "TrialRecord"]

SHOWN = 10  # trials in the printed table


@dataclass(frozen=True, eq=False)
class TrialRecord:
    """One trial.

    Attributes:
        number: its number, from 0.
        state: "complete", "pruned", "failed" or "running".
        value: the bound L_K on validation rows, in nats per observation; nan if there is none.
        values: path -> the value of each choice.
        reports: the bound after each epoch.
        about: epochs, seconds and parameters; the reason of a failure.
    """

    number: int
    state: str
    value: float
    values: dict[str, Any]
    reports: dict[int, float] = field(repr=False)
    about: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, eq=False, repr=False)
class Final(Displayed):
    """The finalists, refitted with several seeds, and the winner's log p(x) of the test set.

    Attributes:
        ranking: the finalists by log p(x) of the validation set, with paired errors.
        winner: the name of the first.
        test, test_stderr: log p(x) of the test set by the winner's best run, with its error.
        verdict: whether the estimate of the test set can be trusted.
        tests: how often the test set was used in this search; more than once if it was continued
            after its end with another winner or another method.
        method: how log p(x) was estimated.
        points: name -> the values of each finalist.
        failures: name -> why a finalist could not be refitted.
    """

    ranking: Ranking
    winner: str
    test: float
    test_stderr: float
    verdict: str
    tests: int
    method: str
    points: dict[str, dict[str, Any]]
    failures: dict[str, str]

    def _html(self) -> str:
        return html.page(f"The winner is {self.winner}", self.as_blocks())

    def as_blocks(self) -> Html:
        """The finalists, and log p(x) of the winner on the test set, in HTML."""
        head, lines = str(self).split(str(self.ranking), 1)
        said = (html.paragraph(line) for line in lines.strip().splitlines())
        return html.joined(html.paragraph(head.strip()), self.ranking.as_table(), *said)

    def __str__(self) -> str:
        words = _words(self.points[self.winner])
        lines = [
            f"Finalists, refitted: {self.ranking.quantity} of the validation set ({self.method}), in nats "
            "per observation",
            str(self.ranking),
            f"The winner is {self.winner}: {words}",
            f"{self.ranking.quantity} of the test set: {self.test:.3f} +- {self.test_stderr:.3f} "
            f"({self.verdict})",
        ]
        if self.tests > 1:
            lines += [f"The test set was used {self.tests} times in this search"]
        lines += [f"{name} was not refitted: {reason}" for name, reason in self.failures.items()]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False, repr=False)
class Study(Displayed):
    """The result of `search`.

    Attributes:
        trials: the trials, in order.
        particles: K of the bound L_K by which they are compared.
        final: the finalists; None without any.
        best: the winner's best run, refitted; without finalists the run of the best trial.
        folder: the folder of the search, or None.
        logs: the choices on a logarithmic scale.
        note: why there are no finalists although some were asked for, or None.
    """

    trials: tuple[TrialRecord, ...]
    particles: int
    final: Final | None
    best: Run | None
    folder: Path | None = None
    logs: frozenset[str] = frozenset()
    note: str | None = None

    @property
    def table(self) -> pandas.DataFrame:
        """One row for each trial: its values, state, bound, epochs, seconds and parameters.

        If `epochs` is a choice, the number that was done is in `epochs_done`.
        """
        import pandas

        paths = list(dict.fromkeys(name for trial in self.trials for name in trial.values))
        rows = [
            {
                "number": trial.number,
                "state": trial.state,
                "value": trial.value,
                **trial.values,
                **{f"{name}_done" if name in paths else name: about for name, about in trial.about.items()},
            }
            for trial in self.trials
        ]
        others = list(dict.fromkeys(name for row in rows for name in row))
        ordered = ["number", "state", "value", *paths]
        columns = [*ordered, *(name for name in others if name not in ordered)]
        return pandas.DataFrame(rows, columns=columns).set_index("number")

    @property
    def parameters(self) -> dict[str, list[Any]]:
        """Path -> the value in each trial, None where the path does not exist."""
        paths = dict.fromkeys(name for trial in self.trials for name in trial.values)
        return {path: [trial.values.get(path) for trial in self.trials] for path in paths}

    @property
    def values(self) -> np.ndarray:
        """The bound of each trial, nan for those that failed."""
        return np.array([trial.value for trial in self.trials])

    @property
    def states(self) -> list[str]:
        """The state of each trial."""
        return [trial.state for trial in self.trials]

    @property
    def importance(self) -> Importance:
        """The share of each choice in the variance of the bound.

        Pruned trials count with the bound that they would have reached, as far as the gain of the
        others after that epoch says.

        Raises:
            InputError: if no trial has a bound.
        """
        ends = predicted_ends([trial.reports for trial in self.trials], self.states)
        return importance(self.parameters, ends, self.states, pruned=True)

    @property
    def label(self) -> str:
        """What the bound is, for axes."""
        return f"validation $L_{{{self.particles}}}$ (nats per observation)"

    def plot(self, kind: str = "history", **options: Any) -> Axes | Any:  # noqa: ANN401
        """Draw the study: "history", "slices", "parallel", "contour", "importance" or "curves".

        Arguments:
            kind: the figure.
            options: of the function in `pyrovae.plots`; a contour needs `x` and `y`, the paths.

        Raises:
            InputError: for another kind, or a study that has nothing to draw.
        """
        if kind not in (kinds := ("history", "slices", "parallel", "contour", "importance", "curves")):
            raise InputError(f"a study has no figure {kind!r}: choose one of {', '.join(kinds)}")
        draw = getattr(plots, f"search_{kind}")
        if kind == "importance":
            shares = self.importance
            if shares.note is not None:
                raise InputError(shares.note)
            return draw(shares.names, shares.shares, shares.errors, **options)
        options = {"label": self.label, **options}
        if kind == "history":
            return draw(self.values, self.states, **options)
        if kind == "curves":
            curves = {trial.number: trial.reports for trial in self.trials}
            return draw(curves, self.states, **options)
        options = {"log": self.logs, **options}
        return draw(self.parameters, self.values, states=self.states, **options)

    def _html(self) -> str:
        said = html.paragraph(f"best by L_{self.particles} of the validation set, in nats per observation")
        best = [[f"{t.number}", f"{t.value:.3f}", _words(t.values)] for t in self._ranked()[:SHOWN]]
        trials = html.joined(said, html.table(["trial", "bound", "values"], best))
        final = "" if self.final is None else self.final.as_blocks()
        others = [*_failures(self.trials), *filter(None, (self.note,)), *self._where()]
        return html.page(
            self._head(),
            final,
            html.section("trials", trials if best else "", is_open=self.final is None),
            *map(html.paragraph, others),
        )

    def _head(self) -> str:
        counts = {state: self.states.count(state) for state in ("complete", "pruned", "failed", "running")}
        said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        return f"{len(self.trials)} trial{'s' * (len(self.trials) != 1)}: {said}"

    def _ranked(self) -> list[TrialRecord]:
        return sorted((t for t in self.trials if t.state == "complete"), key=lambda trial: -trial.value)

    def _where(self) -> list[str]:
        return [] if self.folder is None else [f"in {self.folder}"]

    def __str__(self) -> str:
        lines, ranked = [self._head()], self._ranked()
        if ranked:
            lines += [f"Best by L_{self.particles} of the validation set, in nats per observation"]
            lines += [_line(trial) for trial in ranked[:SHOWN]]
        lines += _failures(self.trials)
        if self.final is not None:
            lines += ["", str(self.final)]
        if self.note is not None:
            lines += ["", self.note]
        lines += [line for where in self._where() for line in ("", where)]
        return "\n".join(lines)


def _line(trial: TrialRecord) -> str:
    return f"  trial {trial.number:<4} {trial.value:10.3f}   {_words(trial.values)}"


def _words(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={word(value)}" for name, value in values.items())


def _failures(trials: Sequence[TrialRecord]) -> list[str]:
    """One line for each reason of failures."""
    reasons: dict[str, list[int]] = {}
    for trial in trials:
        if trial.state == "failed":
            reasons.setdefault(str(trial.about.get("reason", "")), []).append(trial.number)
    return [
        f"failed: trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers[:5]))}"
        f"{' ...' if len(numbers) > 5 else ''}: {reason}"
        for reason, numbers in reasons.items()
    ]
