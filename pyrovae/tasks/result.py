"""Scores of rows: log p(x) with its error, how anomalous it is, and percentiles."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyrovae.display import Displayed
from pyrovae.errors import InputError, visible
from pyrovae.extras import require
from pyrovae.files import write_whole
from pyrovae.numerics import khat_threshold

if TYPE_CHECKING:
    import pandas

__all__ = ["ANOMALY", "Scores", "columns_of", "header", "lines"]

SHOWN = 5
ANOMALY = ("background", "anomaly", "anomaly_stderr")


@dataclass(frozen=True, eq=False, repr=False)
class Scores(Displayed):
    """log p(x) of N rows, in nats, in the order of the data.

    Attributes:
        row: the number of each row in the data, (N,).
        log_px: the estimate of log p(x), (N,); -inf for a row without any probability.
        mc_stderr: its Monte Carlo standard error, (N,).
        ess: the effective sample size, at most `particles`, (N,).
        khat: the Pareto index of the weights, (N,); nan below 25 particles.
        percentile: the percentage of training rows that are more anomalous, (N,), near 0 for an
            anomaly; for the kind "log_px", those with a lower log p(x). None if the training rows
            are not known.
        id: the cells of the id column, (N,), or None.
        id_name: the name of the id column.
        particles: samples per row.
        method: the name of the method.
        quantity: "log p(x)", or "log p(x | c)".
        reference_rows: the number of training rows of the percentiles.
        notes: remarks.
        kind: how `anomaly` is computed, see `score`.
        anomaly: how anomalous each row is, in nats, (N,); higher is more anomalous.
        anomaly_stderr: its Monte Carlo standard error, (N,).
        background: log p_0(x) of the background model or compressor in nats, (N,); None for kinds
            without one.
    """

    row: np.ndarray
    log_px: np.ndarray
    mc_stderr: np.ndarray
    ess: np.ndarray
    khat: np.ndarray
    percentile: np.ndarray | None = None
    id: np.ndarray | None = None
    id_name: str = "id"
    particles: int = 100
    method: str = "importance sampling"
    quantity: str = "log p(x)"
    reference_rows: int = 0
    notes: tuple[str, ...] = ()
    kind: str = "log_px"
    anomaly: np.ndarray = None  # type: ignore[assignment]
    anomaly_stderr: np.ndarray = None  # type: ignore[assignment]
    background: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Without another score, that of "log_px"."""
        if self.anomaly is None:
            object.__setattr__(self, "anomaly", -self.log_px)
            object.__setattr__(self, "anomaly_stderr", self.mc_stderr)

    def __len__(self) -> int:
        return len(self.log_px)

    def to_frame(self) -> pandas.DataFrame:
        """The scores as a table, one row for each row of the data."""
        import pandas

        return pandas.DataFrame(dict(self._columns()))

    def _columns(self) -> Iterator[tuple[str, np.ndarray]]:
        yield "row", self.row
        if self.id is not None:
            yield self.id_name, self.id
        for name in self._digits():
            yield name, getattr(self, name)

    def _digits(self) -> dict[str, int]:
        """The columns of numbers, and the digits with which they are written."""
        return columns_of(
            self.kind, background=self.background is not None, percentiles=self.percentile is not None
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the table to a .csv or .parquet file; returns its path.

        Raises:
            InputError: for another kind of file, or one that cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() == ".csv":
            text = header(self.id_name if self.id is not None else None, list(self._digits())) + lines(self)
            write_whole(path, lambda file: file.write(text.encode()))
        elif path.suffix.lower() == ".parquet":
            require("pyarrow", "parquet", f"writing {path}")
            write_whole(path, lambda file: self.to_frame().to_parquet(file, index=False))
        else:
            raise InputError(f"{path} is neither .csv nor .parquet: give a name that ends in one of them")
        return path

    def __str__(self) -> str:
        finite = self.log_px[np.isfinite(self.log_px)]
        mean = f"{finite.mean():.3f}" if len(finite) else "none"
        text = [
            f"{self.quantity} of {len(self):,} rows by {self.method}, {self.particles:,} particles",
            f"  mean {mean} nats, from {self.log_px.min():.3f} to {self.log_px.max():.3f}"
            if len(self)
            else "  no rows",
        ]
        known = self.khat[~np.isnan(self.khat)]
        if len(known):
            limit = khat_threshold(self.particles)
            text.append(f"  k-hat above {limit:.2f} for {(known > limit).mean():.1%} of the rows")
        if self.percentile is not None:
            low = int((self.percentile < 1).sum())
            what = "" if self.kind == "log_px" else f"by {self.kind}, "
            text.append(
                f"  {what}{low:,} rows are below the 1st percentile of {self.reference_rows:,} training rows"
            )
        if len(self):
            text.append(f"  {self.most_anomalous()}")
        return "\n".join([*text, *(f"  note: {visible(note)}" for note in self.notes)])

    def top(self) -> np.ndarray:
        """The places of the most anomalous rows, at most 5."""
        return np.argsort(-self.anomaly, kind="stable")[:SHOWN]

    def most_anomalous(self) -> str:
        """These rows in words: the lowest log p(x), or the highest score of another kind."""
        names = self.row if self.id is None else self.id
        of = "row" if self.id is None else self.id_name
        values = self.log_px if self.kind == "log_px" else self.anomaly
        rows = (f"{visible(f'{of} {names[i]}')} ({values[i]:.2f})" for i in self.top())
        return f"{'lowest' if self.kind == 'log_px' else f'highest {self.kind}'}: {', '.join(rows)}"


def columns_of(kind: str, *, background: bool, percentiles: bool) -> dict[str, int]:
    """The columns of numbers of a table of scores, and the digits of each."""
    digits = dict(_DIGITS)
    if background:
        digits["background"] = 10
    if kind != "log_px":
        digits |= {"anomaly": 10, "anomaly_stderr": 6}
    return digits | ({"percentile": 6} if percentiles else {})


def header(id_name: str | None, columns: Sequence[str]) -> str:
    """The first line of a CSV file of scores."""
    return _csv([["row", *([id_name] if id_name is not None else []), *columns]])


def lines(scores: Scores) -> str:
    """One line of CSV for each row."""
    columns: list[Sequence[object]] = [scores.row.tolist()]
    if scores.id is not None:
        columns.append(scores.id.tolist())
    columns += [_numbers(getattr(scores, name), digits) for name, digits in scores._digits().items()]
    return _csv(zip(*columns, strict=True))


# Far below the Monte Carlo error.
_DIGITS = {"log_px": 10, "mc_stderr": 6, "ess": 6, "khat": 6}


def _numbers(values: np.ndarray, digits: int) -> list[str]:
    return ["" if value != value else f"{value:.{digits}g}" for value in values.tolist()]


def _csv(rows: object) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)  # type: ignore[arg-type]
    return text.getvalue()
