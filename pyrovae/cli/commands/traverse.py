"""`traverse`: what each latent of a trained VAE changes."""

from __future__ import annotations

from typing import Literal

from pyrovae import plots, tasks
from pyrovae.checks import whole
from pyrovae.cli.runs import Split, open_run, results_of, rows_of, save_array
from pyrovae.sharing import print_first

__all__ = ["traverse"]


def traverse(
    run: str,
    *,
    directions: Literal["latent", "principal"] = "latent",
    steps: int = 7,
    span: float = 3.0,
    row: int = 0,
    count: int = 10,
    rows: int = 2000,
    split: Split = "test",
    data: str | None = None,
    array: bool = False,
    seed: int = 0,
    trust: str | None = None,
) -> None:
    """Decode an observation along each latent or principal direction.

    The figure has a row for each direction. The direction that changes the observation most comes
    first.

    Arguments:
        run: the run folder.
        directions: latents, or principal directions of the encodings.
        steps: number of steps along each direction.
        span: the steps go from -SPAN to SPAN standard deviations of the encodings.
        row: the number of the observation at which the traversal starts, from 0.
        count: number of directions in the figure.
        rows: maximum number of rows from which the standard deviations are estimated.
        split: the part of the data to use.
        data: name, file or folder, if the run's data came from memory or have moved.
        array: also write traversal.npy, (directions, steps, ...).
        seed: seed of the samples.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae traverse runs/mog
        pyrovae traverse runs/mog --directions principal --row 3
    """
    whole("count", count)
    vae, data_set = open_run(run, data, trust)
    some = rows_of(data_set, split, whole("rows", rows, 2))
    row = whole("row", row, 0, len(some) - 1)
    found = tasks.traverse(vae, some, directions, steps, span, start=row, seed=seed)
    print_first(found)
    ax = found.plot(count)
    print_first(f"written: {plots.save(ax, results_of(run) / 'figures' / 'traversal.png')}")
    if array:
        save_array(results_of(run) / "traversal.npy", found.x)
