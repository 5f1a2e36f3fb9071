"""`reconstruct`: data next to their reconstructions by a trained VAE."""

from __future__ import annotations

from pyrovae import plots, report
from pyrovae.checks import whole
from pyrovae.cli.runs import Split, open_run, results_of, rows_of, save_array
from pyrovae.errors import InputError
from pyrovae.sharing import print_first

__all__ = ["reconstruct"]

SHOWN = 1000  # pairs of images in a figure


def reconstruct(
    run: str,
    *,
    count: int = 10,
    split: Split = "test",
    data: str | None = None,
    array: bool = False,
    seed: int = 0,
    trust: str | None = None,
) -> None:
    """Plot rows of data next to their reconstructions.

    Arguments:
        run: the run folder.
        count: number of rows.
        split: the part of the data to use.
        data: name, file or folder, if the run's data came from memory or have moved.
        array: also write reconstructions.npy.
        seed: seed of the samples from q(z|x).
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae reconstruct runs/mog
        pyrovae reconstruct runs/mog --count 50 --split validation
    """
    whole("seed", seed, 0)
    vae, data_set = open_run(run, data, trust)
    rows = rows_of(data_set, split, whole("count", count))
    x, x_hat = rows.x, vae.reconstruct(rows, seed=seed)
    if report.is_image(vae.event_shape):
        x = report.original_images(data_set.derived, rows)
        ax = plots.reconstructions(x.numpy(), x_hat.numpy(), pairs=min(len(x), SHOWN))
    else:
        complete = ~x.flatten(1).isnan().any(1)
        if not complete.any():
            raise InputError("every row has missing entries: there is no complete row to plot")
        ax = plots.compare(x[complete].flatten(1).numpy(), x_hat[complete].flatten(1).numpy())
    print_first(f"written: {plots.save(ax, results_of(run) / 'figures' / 'reconstructions.png')}")
    if array:
        save_array(results_of(run) / "reconstructions.npy", x_hat.numpy())
