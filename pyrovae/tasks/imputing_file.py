"""`impute_file`: the empty cells of a file of any size, filled while it is read.

filled.csv          the file with its empty cells filled, and a column of doubt
filled.draws.csv    M times each row: draw, row, and all columns; for multiple imputation
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.checks import whole
from pyrovae.cures import again, cure
from pyrovae.datasets.incoming import Asked, Incoming, Piece
from pyrovae.datasets.matching import Unknown
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.datasets.readers.text import ending_of
from pyrovae.display import Displayed
from pyrovae.errors import InputError, visible
from pyrovae.evidence.methods import Method, as_method
from pyrovae.evidence.run import shown
from pyrovae.sharing import is_first, is_shared
from pyrovae.tasks.growing import Growing, file_key, target_of
from pyrovae.tasks.imputation import PIECE, opened
from pyrovae.tasks.imputing import Imputed, Imputer
from pyrovae.tasks.imputing_cells import Cells
from pyrovae.tasks.imputing_text import Layout, Record, records_of
from pyrovae.tasks.reference import run_key

__all__ = ["Filled", "impute_file"]

TEXT = (".csv", ".tsv", ".txt")


@dataclass(frozen=True, repr=False)
class Filled(Displayed):
    """A file whose empty cells are filled.

    Attributes:
        path: the file.
        draws_path: the file of multiple imputations, or None.
        rows: the number of rows.
        resumed: the number of rows that were there before.
        imputed_rows: the rows with empty cells among those of this call.
        cells: the number of cells that were filled in them.
        doubt: the mean of their doubts.
        poor: the number of these rows whose samples cannot be trusted.
        notes: remarks.
    """

    path: Path
    draws_path: Path | None
    rows: int
    resumed: int
    imputed_rows: int
    cells: int
    doubt: float
    poor: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = [f"written: {visible(self.path)}, {self.rows:,} rows"]
        if self.draws_path is not None:
            text.append(f"written: {visible(self.draws_path)}, the multiple imputations")
        if self.resumed:
            text.append(f"  {self.resumed:,} of the rows were there from an earlier run")
        text.append(f"  {self.cells:,} empty cells of {self.imputed_rows:,} rows filled")
        if self.imputed_rows:
            text.append(f"  mean doubt {self.doubt:.2f}")
        if self.poor:
            text.append(f"  the samples of {self.poor:,} rows come from few weights: give more particles")
        return "\n".join([*text, *(f"  note: {visible(note)}" for note in self.notes)])


def impute_file(
    run: str | os.PathLike[str],
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    draws: int = 0,
    particles: int | None = None,
    method: str | Method = "auto",
    seed: int = 0,
    unknown: Unknown = "refuse",
    labels: str | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
    overwrite: bool = False,
    piece: int | None = None,
    device: str | None = None,
    progress: bool = False,
    trust: str | Sequence[str] | None = None,
) -> Filled:
    """Fill the empty cells of a .csv or .parquet file; memory does not grow with the file.

    Every other cell stays as it is, character for character, and a column `doubt` is added
    (`impute`). For text files, a call that was stopped continues when it is made again with the
    same run, file and options.

    Arguments:
        run: a run folder.
        data: the file. Columns that the model does not know are kept.
        out: the file to write, of the same kind.
        draws: M, the number of multiple imputations, which are written to NAME.draws.csv.
        particles, method, seed, unknown, labels: as for `impute`.
        separator, decimal, header: how a CSV file is read, if it is not clear from the file.
        overwrite: replace `out`, and what another call that was stopped has left.
        piece: rows that are filled between two writes; None chooses. It changes no value.
        device, progress, trust: as for `impute`.

    Raises:
        InputError: for data that cannot be read; the rows before are kept.
        KeyboardInterrupt: on Ctrl-C; the pieces that are done are kept.
    """
    if is_shared():
        raise InputError("impute runs in one process: start it without torchrun")
    source, endings = Path(data).expanduser(), _endings(data)
    target = target_of(out, endings, overwrite=overwrite)
    several = target.with_name(f"{target.stem}.draws{target.suffix}")
    targets = (
        [target, target_of(several, endings, overwrite=overwrite)] if whole("draws", draws, 0) else [target]
    )
    if source.exists() and any(one.exists() and one.samefile(source) for one in targets):
        raise InputError(f"{target} is the file that is read: choose another name")
    reading = ReadOptions.of({"separator": separator, "decimal": decimal, "header": header})
    asked = Asked(unknown, None, labels, seed, reading)
    vae, new, cells = opened(run, os.fspath(data), asked, device, trust)
    imputer = Imputer(vae, draws=draws, particles=particles, method=method, seed=seed)
    imputer.start(new.first(PIECE).rows)
    work = _Work(new, cells, imputer, piece or PIECE)
    if target.suffix.lower() == ".parquet":
        from pyrovae.tasks.imputing_parquet import write_parquet

        write_parquet(source, targets, work, progress=progress)
        return work.result(targets)
    identity = {
        "run": run_key(run),
        "data": file_key(data),
        "draws": draws,
        "particles": imputer.particles,
        "method": method if method == "auto" else as_method(method).to_dict(),
        "seed": seed,
        "unknown": unknown,
        "labels": labels,
        "reading": [separator, decimal, header],
    }
    part = Growing(targets, identity, overwrite=overwrite, holds="cells")
    _write_text(source, part, work, progress=progress)
    return work.result(targets)


def _endings(data: str | os.PathLike[str]) -> tuple[str, ...]:
    """The endings of the file to write, by the kind of the file that is read."""
    ending = ending_of(Path(data).expanduser())
    if ending in TEXT:
        return TEXT
    if ending == ".parquet":
        return (".parquet",)
    raise InputError(
        f"impute fills .csv, .tsv, .txt and .parquet files, not {os.fspath(data)}: save the table as one of "
        "these, or use pv.impute with a DataFrame"
    )


class _Work:
    """Imputes pieces of a file, and counts."""

    def __init__(self, new: Incoming, cells: Cells, imputer: Imputer, size: int) -> None:
        self.new, self.cells, self.imputer, self.size = new, cells, imputer, size
        self.rows = self.resumed = self.imputed = self.filled = self.poor = 0
        self.doubt = 0.0

    @property
    def draws(self) -> int:
        """M, the number of multiple imputations."""
        return self.imputer.draws

    def pieces(self, skip: int) -> Iterator[tuple[Piece, Imputed, np.ndarray]]:
        """Each piece with its imputations, and the cells to fill, (n, C), of its rows with some."""
        self.rows = self.resumed = skip
        for piece in self.new.pieces(self.size, skip):
            assert piece.table is not None
            empty = self.cells.empty(piece.table, piece.rows.x.isnan().numpy())
            imputed = self.imputer(piece.rows, piece.table.first, empty)
            self.imputed += len(imputed.rows)
            self.filled += int(empty.sum())
            self.doubt += float(imputed.doubt.sum())
            self.poor += int((imputed.trusted == 0).sum())
            yield piece, imputed, empty[imputed.rows]
            self.rows += len(piece)

    def result(self, targets: Sequence[Path]) -> Filled:
        """What was done."""
        several = targets[1] if len(targets) > 1 else None
        doubt = self.doubt / max(1, self.imputed)
        counts = (self.rows, self.resumed, self.imputed, self.filled, doubt, self.poor)
        return Filled(targets[0], several, *counts, tuple(self.new.notes))

    def texts(self, values: Any, empty: np.ndarray) -> dict[int, str]:  # noqa: ANN401
        """The new cells of a row by their place in the table, from its imputed numbers (C,)."""
        columns = empty.nonzero()[0]
        return {self.cells.places[i]: self.cells.styles[i](float(values[i])) for i in columns}


# -------------------------------------------------------------------- text


def _write_text(source: Path, part: Growing, work: _Work, *, progress: bool) -> None:
    head = work.new.head
    assert head is not None
    copy = _Copy(source, Layout.of(source, head), work)
    try:
        used = part.begin(lambda: copy.header()[: len(part.targets)])
        copy.skip(0 if used is None else used["line"])
        with shown("imputing", max(1, work.new.rows), show=progress and is_first()) as advance:
            advance(part.rows)
            for piece, imputed, empty in work.pieces(part.rows):
                texts = copy.piece(piece, imputed, empty)[: len(part.targets)]
                part.add(texts, part.rows + len(piece), {"line": copy.line})
                advance(len(piece))
        part.add([copy.rest(), ""][: len(part.targets)], part.rows, {"line": copy.line})
        part.finish()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped after {part.rows:,} rows, which are in {part.path}; "
            f"go on with {cure('the same call', again())}"
        ) from None
    finally:
        part.close()


class _Copy:
    """Copies the records of a file, with cells filled."""

    def __init__(self, source: Path, layout: Layout, work: _Work) -> None:
        self.layout, self.work = layout, work
        self.top, self.records = records_of(source, layout.separator)
        self.source, self.line = source, 0
        head = work.new.head
        assert head is not None
        self.head, self.names = head, list(map(str, head.frame.columns))
        self.first = (head.lines or [0])[0]

    def header(self) -> list[str]:
        """The text above the first row, in the filled file and in that of the draws."""
        every = records_of(self.source, self.layout.separator)[1]
        above = list(itertools.takewhile(lambda record: record.line < self.first, every))
        if not self.head.layout.get("header"):
            return [self.top + "".join(record.text for record in above), ""]
        titles = [i for i, record in enumerate(above) if not record.is_blank]
        if titles:
            texts = [record.text for record in above]
            names = texts[titles[-1]]
            texts[titles[-1]] = self.layout.with_last(names, self._new_name("doubt"))
            return [self.top + "".join(texts), self._names_of_draws(names)]
        *lines, names = self.top.splitlines(keepends=True)  # the names are in a comment
        return ["".join([*lines, self.layout.with_last(names, self._new_name("doubt"))]), names]

    def _names_of_draws(self, names: str) -> str:
        mark = self.layout.added
        has_row_names = len(self.layout.fields(names)) < self.layout.width
        front = [self._new_name("draw"), self._new_name("row"), *(['""'] if has_row_names else [])]
        return mark.join([*front, names.lstrip("\ufeff")])

    def _new_name(self, name: str) -> str:
        return f'"{name} (imputed)"' if name in self.names else name

    def skip(self, line: int) -> None:
        """Leave out what is above the first row, or up to a line that is done."""
        self.line = line or self.first - 1

    def piece(self, piece: Piece, imputed: Imputed, empty: np.ndarray) -> list[str]:
        """The text of the rows of a piece, in the filled file and in that of the draws."""
        assert piece.table is not None
        assert piece.table.lines is not None
        places = {int(row): i for i, row in enumerate(imputed.rows)}
        filled: list[str] = []
        several: list[str] = []
        for row, line in enumerate(piece.table.lines):
            for record in self._up_to(line):
                if record.line != line:
                    filled.append(record.text)
                    continue
                i = places.get(row)
                number = piece.table.first + row
                filled.append(self._single(record.text, i, imputed, empty))
                several += self._several(record.text, number, i, imputed, empty)
        return ["".join(filled), "".join(several)]

    def rest(self) -> str:
        """The text below the last row."""
        every = list(self._up_to(2**62))
        return "".join(r.text if r.is_blank else self.layout.with_last(r.text, "") for r in every)

    def _up_to(self, line: int) -> Iterator[Record]:
        if self.line >= line:
            return
        for record in self.records:
            if record.line <= self.line:
                continue
            self.line = record.last
            yield record
            if record.line >= line:
                return

    def _single(self, text: str, i: int | None, imputed: Imputed, empty: np.ndarray) -> str:
        if i is None:
            return self.layout.with_last(text, "")
        text = self.layout.with_cells(text, self.work.texts(imputed.mode[i], empty[i]))
        return self.layout.with_last(text, self._decimal(f"{imputed.doubt[i]:.3f}"))

    def _decimal(self, number: str) -> str:
        return number.replace(".", self.head.decimal) if self.layout.added != self.head.decimal else number

    def _several(
        self, text: str, number: int, i: int | None, imputed: Imputed, empty: np.ndarray
    ) -> Iterator[str]:
        end = "" if text.endswith(("\n", "\r")) else "\n"
        spans = None if i is None else self.layout.fields(text)
        for draw in range(self.work.draws):
            cells = {} if i is None else self.work.texts(imputed.draws[draw, i], empty[i])
            row = text if i is None else self.layout.with_cells(text, cells, spans)
            yield self.layout.added.join([str(draw), str(number), row]) + end
