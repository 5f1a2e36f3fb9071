"""`impute`: the empty cells of a table in memory, filled with their means, and with samples."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyrovae.datasets.incoming import Asked, Incoming, incoming
from pyrovae.datasets.matching import Unknown
from pyrovae.datasets.readers.memory import is_table
from pyrovae.display import Displayed, Html, html
from pyrovae.errors import InputError, visible
from pyrovae.evidence.methods import Method
from pyrovae.evidence.run import shown
from pyrovae.sharing import is_first
from pyrovae.tasks.imputing import Imputed, Imputer, schema_of
from pyrovae.tasks.imputing_cells import Cells, filled
from pyrovae.tasks.runs import loaded

if TYPE_CHECKING:
    import pandas

__all__ = ["PIECE", "Imputation", "impute", "opened"]

PIECE = 2000  # rows of a table that are imputed together
SHOWN, COLUMNS = 8, 12  # of the table that a notebook shows
Fills = list[tuple[int, np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False, repr=False)
class Imputation(Displayed):
    """A table whose empty cells are filled.

    Attributes:
        frame: the table with single imputations: the most probable word, the rounded mean of
            counts, the mean of other numbers and dates. Other cells are as they were.
        doubt: how little the known cells say about the others (`impute`), (N,); NaN in rows without
            empty cells.
        trusted: whether the samples of a row can be trusted, (N,); True in rows without empty
            cells.
        cells: the number of cells that were filled.
        notes: remarks.
    """

    frame: pandas.DataFrame
    doubt: np.ndarray
    trusted: np.ndarray
    cells: int
    notes: tuple[str, ...] = ()
    _table: Any = None
    _fills: Sequence[Fills] = field(default=())
    _cells: Any = None

    @cached_property
    def frames(self) -> list[pandas.DataFrame]:
        """The multiple imputations: M tables, each with one sample of the empty cells."""
        return [_filled(self._table, fills, self._cells) for fills in self._fills]

    def __str__(self) -> str:
        rows = int((~np.isnan(self.doubt)).sum())
        text = [f"{self.cells:,} empty cells of {rows:,} rows filled, of {len(self.doubt):,} rows"]
        if rows:
            text.append(f"  mean doubt {np.nanmean(self.doubt):.2f}")
        poor = int((~self.trusted).sum())
        if poor:
            text.append(f"  the samples of {poor:,} rows come from few weights: give more particles")
        return "\n".join([*text, *(f"  note: {visible(note)}" for note in self.notes)])

    def _html(self) -> str:
        head, *others = str(self).splitlines()
        return html.page(head, *(html.paragraph(line.strip()) for line in others), self._filled_rows())

    def _filled_rows(self) -> Html:
        """The first rows that were filled, with the new cells marked."""
        rows = np.flatnonzero(~np.isnan(self.doubt))[:SHOWN]
        if self._table is None or not len(rows):
            return Html()
        now, before = (frame.iloc[rows, :COLUMNS] for frame in (self.frame, self._table))
        cells = [
            [f"{row}", f"{self.doubt[row]:.2f}", *(_cell(*each) for each in zip(new, old, strict=True))]
            for row, new, old in zip(rows, now.to_numpy(object), before.to_numpy(object), strict=True)
        ]
        total = self.frame.shape[1]
        part = f", {COLUMNS} of {total:,} columns" if total > COLUMNS else ""
        title = f"the first {len(rows)} rows that were filled{part}"
        return html.section(title, html.table(["row", "doubt", *now.columns], cells), is_open=True)


def _cell(new: Any, old: Any) -> Html | str:  # noqa: ANN401
    """A cell of a table; one that was filled is marked."""
    words = f"{new:.6g}" if isinstance(new, float) else str(new)
    return words if new == old or str(new) == str(old) else Html(f"<mark>{html.escaped(words)}</mark>")


def impute(
    run: Any,  # noqa: ANN401
    frame: Any,  # noqa: ANN401
    *,
    draws: int = 20,
    particles: int | None = None,
    method: str | Method = "auto",
    seed: int = 0,
    unknown: Unknown = "refuse",
    labels: str | None = None,
    device: str | None = None,
    progress: bool = False,
    trust: str | Sequence[str] | None = None,
) -> Imputation:
    r"""Fill the empty cells of a table with a model that was trained on such tables.

    \[x_{\text{missing}} \sim p(x_{\text{missing}} \mid x_{\text{known}})
    = \int p(x_{\text{missing}}|z)\, p(z|x_{\text{known}})\, dz\]

    The single imputations are modes and means. They are too regular for a further analysis, which
    would underestimate its errors: analyse each of the M multiple imputations, and pool the results
    by Rubin's rules. The doubt of a row is the mean over its filled cells of the standard deviation
    of a number given the known cells, divided by its standard deviation under the model; and of one
    minus the probability of the word that was filled in.

    Arguments:
        run: a run folder, or a VAE in memory.
        frame: a DataFrame or a dict of columns, matched by name.
        draws: M, the number of multiple imputations.
        particles: the number of weighted samples of each row; by default 200, or 5 M.
        method: how the posterior of z is found, see `condition`.
        seed: seed of the samples. Those of a row depend on its values and its number.
        unknown: "refuse" words that have no number or level, or read them as "missing"; their cells
            are kept.
        labels: the column of the labels, for a model that is conditioned on labels.
        device: the device to compute on; by default that of the VAE, or CUDA for a run folder.
        progress: show a bar.
        trust: trusted modules outside PyroVAE that a run folder may name; see `load`.

    Raises:
        InputError: for a model of other data than tables, or a table that it cannot read.

    References:
        Rubin (1987), "Multiple Imputation for Nonresponse in Surveys"; Mattei & Frellsen (2019),
        "MIWAE: deep generative modelling and imputation of incomplete data sets".

    Example:
        >>> import pandas, pyrovae as pv
        >>> table = pandas.DataFrame({"size": [1.5, 2.5, None, 3.5] * 5, "new": ["yes", "no"] * 10})
        >>> data = pv.datasets.load(table)
        >>> vae = pv.VAE.suited(data, latent_dim=1, encoder=pv.networks.MLP(8))
        >>> vae.schema = data.schema  # as `fit` does
        >>> result = impute(vae, table, draws=3)
        >>> result.cells, len(result.frames), bool(result.frame.isna().any().any())
        (5, 3, False)
    """
    import pandas

    if isinstance(frame, (str, os.PathLike)):
        raise InputError("impute takes a table in memory: give a DataFrame, or use impute_file for a file")
    vae, new, cells = opened(run, frame, Asked(unknown, None, labels, seed), device, trust)
    imputer = Imputer(vae, draws=draws, particles=particles, method=method, seed=seed)
    parts: list[tuple[int, Imputed, np.ndarray]] = []
    with shown("imputing", new.rows, show=progress and is_first()) as advance:
        for piece in new.pieces(PIECE, 0):
            assert piece.table is not None
            empty = cells.empty(piece.table, piece.rows.x.isnan().numpy())
            first = piece.table.first
            parts.append((first, imputer(piece.rows, first, empty), empty))
            advance(len(piece))
    assert new.head is not None
    table = new.head.frame
    if isinstance(frame, pandas.DataFrame):  # whose names of columns may be other than text
        table = table.set_axis(frame.columns, axis=1)
    return _joined(parts, table, new.notes, cells, draws)


def opened(
    run: Any,  # noqa: ANN401
    data: Any,  # noqa: ANN401
    asked: Asked,
    device: str | None,
    trust: str | Sequence[str] | None,
) -> tuple[Any, Incoming, Cells]:
    """The VAE, the table to fill, and its cells."""
    vae = loaded(run, device, trust)
    schema = schema_of(vae)
    if not isinstance(data, (str, os.PathLike)) and not is_table(data):
        raise InputError(f"impute fills a table, not a {type(data).__name__}: give a DataFrame")
    new = incoming(schema, data, asked)
    assert new.head is not None
    return vae, new, Cells(schema, new.head, asked.unknown)


def _joined(
    parts: list[tuple[int, Imputed, np.ndarray]],
    table: pandas.DataFrame,
    notes: list[str],
    cells: Cells,
    draws: int,
) -> Imputation:
    size = len(table)
    doubt, trusted = np.full(size, np.nan), np.ones(size, dtype=bool)
    for first, imputed, _ in parts:
        doubt[first + imputed.rows], trusted[first + imputed.rows] = imputed.doubt, imputed.trusted
    single = [_fills([(f, i, e, i.mode) for f, i, e in parts])]
    several = [_fills([(f, i, e, i.draws[draw]) for f, i, e in parts]) for draw in range(draws)]
    count = sum(int(empty.sum()) for _, _, empty in parts)
    frame = _filled(table, single[0], cells)
    return Imputation(frame, doubt, trusted, count, tuple(notes), table, several, cells)


def _fills(parts: list[tuple[int, Imputed, np.ndarray, torch.Tensor]]) -> Fills:
    """For each column of the model with empty cells, their rows and imputed numbers."""
    fills = []
    for column in range(parts[0][2].shape[1] if parts else 0):
        rows, values = [], []
        for first, imputed, empty, x in parts:
            chosen = empty[imputed.rows, column]
            rows.append(first + imputed.rows[chosen])
            values.append(x[:, column].numpy()[chosen])
        if sum(map(len, rows)):
            fills.append((column, np.concatenate(rows), np.concatenate(values)))
    return fills


def _filled(table: pandas.DataFrame, fills: Fills, cells: Cells) -> pandas.DataFrame:
    import pandas

    columns = [table.iloc[:, i] for i in range(table.shape[1])]
    for column, rows, values in fills:
        place = cells.places[column]
        columns[place] = filled(columns[place], rows, values, cells.columns[column], cells.styles[column])
    return pandas.concat(columns, axis=1).set_axis(table.columns, axis=1)
