"""`disentangle`: how well the latents of a run stand for the known factors of its data."""

from __future__ import annotations

import json

from pyrovae import factors, plots
from pyrovae.cli.runs import Split, open_run, results_of, save_text
from pyrovae.sharing import print_first

__all__ = ["disentangle"]


def disentangle(
    run: str,
    *,
    metrics: list[str] | None = None,
    rows: int = 10_000,
    split: Split = "test",
    errors: bool = True,
    data: str | None = None,
    seed: int = 0,
    trust: str | None = None,
) -> None:
    """Measure how well latents stand for known factors of the data.

    Prints a table of metrics with errors. Writes disentanglement.json, and a figure of the mutual
    information between latents and factors.

    Arguments:
        run: the run folder, of data with factors such as sprites.
        metrics: class names of the metrics, as in [MIG,DCI]; all by default.
        rows: maximum number of rows, chosen at random if there are more.
        split: the part of the data to use.
        errors: estimate the error of each score, which takes most of the time.
        data: name, file or folder, if the run's data came from memory or have moved.
        seed: seed of the rows and the samples.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae disentangle runs/sprites
        pyrovae disentangle runs/sprites --metrics MIG DCI
    """
    vae, data_set = open_run(run, data, trust)
    result = factors.disentanglement(
        vae, data_set, split=split, rows=rows, metrics=metrics, errors=errors, seed=seed
    )
    print_first(result)
    folder = results_of(run)
    written = [
        save_text(folder / "disentanglement.json", json.dumps(result.to_dict(), indent=2)),
        plots.save(result.plot(), folder / "figures" / "disentanglement.png"),
    ]
    print_first("written: " + ", ".join(map(str, written)))
