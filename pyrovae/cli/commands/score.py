"""`score`: log p(x) of every row of a new file, and how anomalous it is."""

from __future__ import annotations

from typing import Literal

from pyrovae.cli.helping import Section
from pyrovae.compiling import Compile
from pyrovae.errors import InputError
from pyrovae.evidence import Method
from pyrovae.sharing import print_first
from pyrovae.tasks import KindName, score_file

__all__ = ["SECTIONS", "score"]

SECTIONS = (
    Section("output", "out kind background id overwrite", "percentiles"),
    Section("estimate", "particles method seed device", "compile trust"),
    Section("reading", "unknown labels", "separator decimal header"),
)


def score(
    run: str,
    data: str | None = None,
    *,
    out: str | None = None,
    kind: KindName = "log_px",
    background: str | None = None,
    id: str | None = None,
    particles: int | None = None,
    method: Method | None = None,
    unknown: Literal["refuse", "missing"] = "refuse",
    labels: str | None = None,
    percentiles: bool | None = None,
    overwrite: bool = False,
    separator: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
    seed: int = 0,
    compile: Compile = "auto",
    device: str | None = None,
    trust: str | None = None,
) -> None:
    """Estimate log p(x) of every row of a new file.

    Writes a line for each row: row number, id, log p(x) in nats, its Monte Carlo error, effective
    sample size, k-hat and percentile; with another --kind also how anomalous the row is. The
    percentile is the percentage of training rows that are more anomalous. Columns are matched by
    name. Files larger than memory are read in pieces. If the command is stopped, run it again, and
    it continues where it stopped.

    Arguments:
        run: the run folder.
        data: the file to score (.csv, .parquet, .npy and others), or a folder of images.
        out: the .csv file to write.
        kind: how anomalous a row is (higher is more): -log p(x), or see docs/anomalies.md.
        background: the run folder of the second model, for --kind ratio.
        id: a column to copy to the output.
        particles: K, the number of samples for each row; by default 100, or 16 chains for AIS.
        method: how log p(x) is estimated; Importance by default.
        unknown: refuse words that the model does not know, or read them as missing.
        labels: the column of the labels, for a model that is conditioned on labels.
        percentiles: whether percentiles are needed; by default they are written if possible.
        overwrite: replace the output, and the scores that a stopped command has left.
        separator: the separator of a CSV file; detected by default.
        decimal: the decimal mark of a CSV file; detected by default.
        header: whether a CSV file has a header; detected by default.
        seed: seed of the samples.
        compile: whether to compile the estimate; auto compiles if that saves time.
        device: the device to compute on; CUDA by default, if available.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae score runs/table new.csv --out scores.csv
        pyrovae score runs/table new.csv --out scores.csv --kind typicality
    """
    if data is None:
        raise InputError("which file? give it after the run, as in `pyrovae score RUN new.csv`")
    if out is None:
        raise InputError("where should the scores be written? give a name, as in --out scores.csv")
    written = score_file(
        run,
        data,
        out,
        kind=kind,
        background=background,
        particles=particles,
        method=method or "importance",
        seed=seed,
        id=id,
        unknown=unknown,
        labels=labels,
        percentiles=percentiles,
        separator=separator,
        decimal=decimal,
        header=header,
        overwrite=overwrite,
        compile=compile,
        device=device,
        progress=True,
        trust=trust,
    )
    print_first(written)
