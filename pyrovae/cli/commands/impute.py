"""`impute`: the empty cells of a table filled."""

from __future__ import annotations

from typing import Literal

from pyrovae.cli.helping import Section
from pyrovae.errors import InputError
from pyrovae.evidence import Method
from pyrovae.sharing import print_first
from pyrovae.tasks import impute_file

__all__ = ["SECTIONS", "impute"]

SECTIONS = (
    Section("output", "out draws overwrite"),
    Section("posterior", "particles method seed device", "trust"),
    Section("reading", "unknown labels", "separator decimal header"),
)


def impute(
    run: str,
    data: str | None = None,
    *,
    out: str | None = None,
    draws: int = 0,
    particles: int | None = None,
    method: Method | None = None,
    unknown: Literal["refuse", "missing"] = "refuse",
    labels: str | None = None,
    overwrite: bool = False,
    separator: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
    seed: int = 0,
    device: str | None = None,
    trust: str | None = None,
) -> None:
    """Fill the empty cells of a table, with multiple imputations.

    Only empty cells change. They get the most probable word, the rounded mean of counts, or the
    mean of other numbers and dates, in the format of their column. A column `doubt` is added: 0
    where the known cells of a row determine the others, near 1 where they say nothing about a
    number. With --out filled.csv and --draws M, the file filled.draws.csv has M samples of each
    row: analyse each of the M tables, and pool the results by Rubin's rules. If the command is
    stopped, run it again, and it continues where it stopped.

    Arguments:
        run: the run folder of a model that was trained on a table.
        data: a .csv, .tsv, .txt or .parquet file; its columns are matched by name.
        out: the file to write, of the same kind as the input.
        draws: M, the number of multiple imputations; 0 writes no file of them.
        particles: the number of weighted samples of each row; by default 200, or 5 M.
        method: how the posterior is found; by default the cheapest whose diagnostics are good.
        unknown: refuse words that the model does not know, or read them as missing.
        labels: the column of the labels, for a model that is conditioned on labels.
        overwrite: replace the output, and the part that a stopped command has left.
        separator: the separator of a CSV file; detected by default.
        decimal: the decimal mark of a CSV file; detected by default.
        header: whether a CSV file has a header; detected by default.
        seed: seed of the samples.
        device: the device to compute on; CUDA by default, if available.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae impute runs/table new.csv --out filled.csv
        pyrovae impute runs/table new.csv --out filled.csv --draws 20
    """
    if data is None:
        raise InputError("which file? give it after the run, as in `pyrovae impute RUN table.csv`")
    if out is None:
        raise InputError("where should the table be written? give a name, as in --out filled.csv")
    written = impute_file(
        run,
        data,
        out,
        draws=draws,
        particles=particles,
        method=method or "auto",
        seed=seed,
        unknown=unknown,
        labels=labels,
        separator=separator,
        decimal=decimal,
        header=header,
        overwrite=overwrite,
        device=device,
        progress=True,
        trust=trust,
    )
    print_first(written)
