"""Scores of rows: log p(x) with its error, and percentiles among the training rows."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyrovae.errors import InputError, visible
from pyrovae.extras import require
from pyrovae.files import write_whole
from pyrovae.numerics import khat_threshold

if TYPE_CHECKING:
    import pandas

__all__ = ["Scores", "header", "lines"]

SHOWN = 5


@dataclass(frozen=True, eq=False)
class Scores:
    """log p(x) of N rows, in nats, in the order of the data.

    Attributes:
        row: the number of each row in the data, (N,).
        log_px: the estimate of log p(x), (N,); -inf for a row without any probability.
        mc_stderr: its Monte Carlo standard error, (N,).
        ess: the effective sample size, at most `particles`, (N,).
        khat: the Pareto index of the weights, (N,); nan below 25 particles.
        percentile: the percentage of training rows with a lower log p(x), (N,): near 0 for an
            anomaly. None if the training rows are not known.
        id: the cells of the id column, (N,), or None.
        id_name: the name of the id column.
        particles: samples per row.
        method: the name of the method.
        quantity: "log p(x)", or "log p(x | c)".
        reference_rows: the number of training rows of the percentiles.
        notes: remarks.
    """

    row: np.ndarray = field(repr=False)
    log_px: np.ndarray = field(repr=False)
    mc_stderr: np.ndarray = field(repr=False)
    ess: np.ndarray = field(repr=False)
    khat: np.ndarray = field(repr=False)
    percentile: np.ndarray | None = field(default=None, repr=False)
    id: np.ndarray | None = field(default=None, repr=False)
    id_name: str = "id"
    particles: int = 100
    method: str = "importance sampling"
    quantity: str = "log p(x)"
    reference_rows: int = 0
    notes: tuple[str, ...] = ()

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
        for name in ("log_px", "mc_stderr", "ess", "khat"):
            yield name, getattr(self, name)
        if self.percentile is not None:
            yield "percentile", self.percentile

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the table to a .csv or .parquet file; returns its path.

        Raises:
            InputError: for another kind of file, or one that cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() == ".csv":
            text = header(
                self.id_name if self.id is not None else None, percentiles=self.percentile is not None
            )
            text += lines(self)
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
            text.append(
                f"  {low:,} rows are below the 1st percentile of {self.reference_rows:,} training rows"
            )
        if len(self):
            text.append(f"  lowest: {', '.join(self._lowest())}")
        return "\n".join([*text, *(f"  note: {visible(note)}" for note in self.notes)])

    def _lowest(self) -> Iterator[str]:
        for i in np.argsort(self.log_px, kind="stable")[:SHOWN]:
            name = f"row {self.row[i]}" if self.id is None else f"{self.id_name} {self.id[i]}"
            yield f"{visible(name)} ({self.log_px[i]:.2f})"


def header(id_name: str | None, *, percentiles: bool) -> str:
    """The first line of a CSV file of scores."""
    names = ["row", *([id_name] if id_name is not None else []), "log_px", "mc_stderr", "ess", "khat"]
    return _csv([[*names, *(["percentile"] if percentiles else [])]])


def lines(scores: Scores) -> str:
    """One line of CSV for each row."""
    columns: list[Sequence[object]] = [scores.row.tolist()]
    if scores.id is not None:
        columns.append(scores.id.tolist())
    columns += [_numbers(getattr(scores, name), digits) for name, digits in _DIGITS.items()]
    if scores.percentile is not None:
        columns.append(_numbers(scores.percentile, 6))
    return _csv(zip(*columns, strict=True))


# Far below the Monte Carlo error.
_DIGITS = {"log_px": 10, "mc_stderr": 6, "ess": 6, "khat": 6}


def _numbers(values: np.ndarray, digits: int) -> list[str]:
    return ["" if value != value else f"{value:.{digits}g}" for value in values.tolist()]


def _csv(rows: object) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)  # type: ignore[arg-type]
    return text.getvalue()
