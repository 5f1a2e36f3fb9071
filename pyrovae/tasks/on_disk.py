"""`score_file`: scores of a file of any size, written as they are computed.

A run that was stopped or killed goes on after the last piece (`growing`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.compiling import Compile
from pyrovae.cures import again, cure
from pyrovae.datasets.incoming import Asked
from pyrovae.datasets.matching import Unknown
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.display import Displayed
from pyrovae.errors import InputError, visible
from pyrovae.evidence import Method
from pyrovae.evidence.run import shown
from pyrovae.sharing import agreed, is_first, together
from pyrovae.tasks import result
from pyrovae.tasks.growing import Growing, file_key, target_of
from pyrovae.tasks.in_memory import Task, task_of
from pyrovae.tasks.kinds import KindName
from pyrovae.tasks.reference import run_key
from pyrovae.tasks.result import Scores

__all__ = ["Written", "file_key", "score_file"]


@dataclass(frozen=True, repr=False)
class Written(Displayed):
    """A file of scores.

    Attributes:
        path: the file.
        rows: the number of rows.
        resumed: the number of rows that were there before.
        mean: the mean of the finite log p(x) of the rows that were scored now, in nats.
        lowest: the most anomalous of these rows: the lowest log p(x), or the highest score of
            another kind.
        notes: remarks.
    """

    path: Path
    rows: int
    resumed: int
    mean: float
    lowest: Scores | None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = [f"written: {visible(self.path)}, {self.rows:,} rows"]
        if self.resumed:
            text.append(f"  {self.resumed:,} of them were there from an earlier run")
        if self.lowest is not None:
            text.append(f"  mean of {self.lowest.quantity} {self.mean:.3f} nats")
            text.append(f"  {self.lowest.most_anomalous()}")
            if self.lowest.percentile is not None:
                text.append(f"  percentiles are among {self.lowest.reference_rows:,} training rows")
        return "\n".join([*text, *(f"  note: {visible(note)}" for note in self.notes)])


def score_file(
    run: str | os.PathLike[str],
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    kind: KindName = "log_px",
    background: str | os.PathLike[str] | None = None,
    particles: int | None = None,
    method: str | Method = "importance",
    seed: int = 0,
    id: str | None = None,
    unknown: Unknown = "refuse",
    labels: str | None = None,
    percentiles: bool | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
    overwrite: bool = False,
    piece: int | None = None,
    compile: Compile = "auto",
    device: str | None = None,
    progress: bool = False,
    trust: str | Sequence[str] | None = None,
) -> Written:
    """Score every row of a file, and write one line for each; memory does not grow with the file.

    A call that was stopped continues when it is made again with the same run, file and options.
    The processes of torchrun share the rows of each piece.

    Arguments:
        run: a run folder.
        data: the name of a file (or a folder of images, or a known data set).
        out: the .csv file to write.
        kind, background, particles, method, seed, id, unknown, labels, percentiles: as for `score`.
        separator, decimal, header: how a CSV file is read, if it is not clear from the file.
        overwrite: replace `out`, and scores of another call that was stopped.
        piece: rows that are scored between two writes; None chooses. It changes no score.
        compile, device, progress, trust: as for `score`.

    Raises:
        InputError: for data that cannot be read or scored; the rows before are kept.
        KeyboardInterrupt: on Ctrl-C; the pieces that are done are kept.
    """
    reading = ReadOptions.of({"separator": separator, "decimal": decimal, "header": header})
    asked = Asked(unknown, id, labels, seed, reading)
    options: dict[str, Any] = {"particles": particles, "method": method, "seed": seed, "compile": compile}
    target = target_of(out, [".csv"], overwrite=overwrite)
    of_run: dict[str, Any] = {"percentiles": percentiles, "device": device, "trust": trust}
    of_run |= {"kind": kind, "background": None if background is None else os.fspath(background)}
    task = task_of(run, os.fspath(data), asked, **of_run, **options)
    identity = {
        "run": run_key(run),
        "data": agreed(file_key(data) if is_first() else None),
        "particles": task.scorer.particles,
        "method": task.scorer.identity["method"],
        "seed": seed,
        "id": id,
        "unknown": unknown,
        "labels": labels,
        "reading": [separator, decimal, header],
        "percentiles": task.reference is not None,
        **({} if kind == "log_px" else task.kind.identity),
    }
    part = _Part([target], identity, overwrite=overwrite, holds="scores")
    with part.opened(task) as done:
        return _write(task, part, target, done, piece, progress=progress)


def _write(task: Task, part: _Part, target: Path, done: int, piece: int | None, *, progress: bool) -> Written:
    """Score the rows that are left, and give the file its name."""
    rows, total, count, lowest = done, 0.0, 0, None
    try:
        with shown("scoring", max(1, task.data.rows), show=progress and is_first()) as advance:
            advance(done)
            for scores in task.scores(done, piece):
                together(part.writer(scores, rows + len(scores), task.kind.used(task.scorer)))
                rows += len(scores)
                finite = scores.log_px[np.isfinite(scores.log_px)]
                total, count = total + float(finite.sum()), count + len(finite)
                lowest = _most_anomalous(scores, lowest)
                advance(len(scores))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped after {rows:,} rows, which are in {part.path}; "
            f"go on with {cure('the same call', again())}"
        ) from None
    if not rows:
        raise InputError(f"{task.data.name} has no rows to score: give at least one")
    together(part.finish if is_first() else _nothing)
    mean = total / count if count else np.nan
    return Written(target, rows, done, mean, lowest, tuple(task.notes))


def _most_anomalous(scores: Scores, before: Scores | None) -> Scores:
    """The most anomalous rows so far."""
    names = [name for name, value in vars(scores).items() if isinstance(value, np.ndarray)]
    both = [scores] if before is None else [before, scores]
    joined: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in both]) for name in names}
    every = replace(scores, **joined)
    return replace(every, **{name: joined[name][every.top()] for name in names})


class _Part(Growing):
    """The lines that are done, in the first of several processes."""

    @contextmanager
    def opened(self, task: Task) -> Iterator[int]:
        """Open the file in the first process; gives the number of rows that are done."""

        def first() -> list[str]:
            has = {"background": task.kind.has_background, "percentiles": task.reference is not None}
            return [result.header(task.id_name, list(result.columns_of(task.kind.name, **has)))]

        def begin() -> tuple[int, dict[str, Any] | None]:
            used = self.begin(first)
            return self.rows, used

        try:
            done, used = agreed(together(begin if is_first() else lambda: (0, None)))
            if used is not None:  # the method with the options that were chosen
                task.kind.prepare(task.scorer, used)
            yield done
        finally:
            self.close()

    def writer(self, scores: Scores, rows: int, used: dict[str, Any]) -> Any:  # noqa: ANN401
        """The function that adds the lines of a piece, in the first process."""
        add = lambda: self.add([result.lines(scores)], rows, used)  # noqa: E731
        return add if is_first() else _nothing


def _nothing() -> None:
    return None
