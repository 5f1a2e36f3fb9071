"""`sample`: samples from a trained VAE."""

from __future__ import annotations

from pathlib import Path

import torch

from pyrovae import plots, report
from pyrovae.checks import whole
from pyrovae.cli.runs import check_table, open_run, save_array, save_frame
from pyrovae.sharing import print_first
from pyrovae.training import load

__all__ = ["sample"]

SHOWN = 1000  # images in a figure


def sample(
    run: str,
    *,
    count: int = 100,
    mean: bool = True,
    data: str | None = None,
    array: bool = False,
    out: str | None = None,
    seed: int = 0,
    trust: str | None = None,
) -> None:
    """Draw samples from p(x) and plot them, or write them as rows of a table.

    Arguments:
        run: the run folder.
        count: number of samples.
        mean: for images, show E[x|z] of each drawn z instead of a sample of p(x|z).
        data: name, file or folder, if the run's data came from memory or have moved.
        array: also write samples.npy.
        out: a .csv or .parquet file for the samples, in the columns, words and units of the data.
        seed: seed of the samples.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.
    """
    whole("count", count)
    whole("seed", seed, 0)
    vae = load(run, trust=trust).eval()
    vae.check_count(count)
    if out is not None:
        check_table(vae, out)
    image, context = report.is_image(vae.event_shape), None
    needs_data = vae.context_shape is not None or not (image or out)
    data_set = open_run(run, data, trust)[1] if needs_data else None
    if data_set is not None and data_set.test.context is not None:
        context = data_set.test.context[torch.arange(count) % len(data_set.test)]
    if out is not None:  # a figure shows the test rows too, and the data may be gone
        frame = vae.sample(count, context, as_frame=True, seed=seed)
        print_first(f"written: {save_frame(Path(out), frame)}, {count:,} rows")
        return
    x = vae.sample(count, context, mean=mean and image, seed=seed).numpy()
    observed = x[:0] if data_set is None else report.whole_rows(data_set.test.x).flatten(1).numpy()
    if image or len(observed):
        if image and count > SHOWN:
            print_first(f"the figure shows the first {SHOWN:,} of {count:,} samples")
        ax = plots.image_grid(x[:SHOWN]) if image else plots.compare(observed, x.reshape(count, -1))
        print_first(f"written: {plots.save(ax, Path(run) / 'figures' / 'samples.png')}")
    if array:
        save_array(Path(run) / "samples.npy", x)
