"""`sample`: samples from a trained VAE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyrovae import plots, report
from pyrovae.checks import whole
from pyrovae.cli.runs import check_table, open_run, results_of, save_array, save_frame
from pyrovae.datasets import Data, Rows
from pyrovae.datasets.asked_labels import class_index, one_hot_of
from pyrovae.errors import InputError
from pyrovae.sharing import print_first
from pyrovae.training import load
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["sample"]

SHOWN = 1000  # images in a figure


def sample(
    run: str,
    *,
    count: int = 100,
    label: str | None = None,
    mean: bool = True,
    data: str | None = None,
    array: bool = False,
    out: str | None = None,
    seed: int = 0,
    trust: str | None = None,
) -> None:
    """Draw samples from p(x): a figure, or rows of a table.

    A conditional VAE gets the contexts of test rows, or --label. If the context is an image, such
    as half of x, the figure shows what is given, ten samples for each, and the original.

    Arguments:
        run: the run folder.
        count: number of samples.
        label: sample this label only, for a VAE with labels as context or in its prior.
        mean: for images, show E[x|z] of each drawn z instead of a sample of p(x|z).
        data: name, file or folder, if the run's data came from memory or have moved.
        array: also write samples.npy.
        out: a .csv or .parquet file for the samples, in the columns, words and units of the data.
        seed: seed of the samples.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae sample runs/mog --count 64
        pyrovae sample runs/table --count 1000 --out samples.csv
    """
    whole("count", count)
    whole("seed", seed, 0)
    vae = load(run, trust=trust).eval()
    vae.check_count(count)
    if out is not None:
        check_table(vae, out)
    image = report.is_image(vae.event_shape)
    context, y = (None, None) if label is None else _labelled(vae, label, count)
    needs_data = (vae.context_shape is not None and context is None) or not (image or out)
    data_set = open_run(run, data, trust)[1] if needs_data else None
    rows = None if data_set is None else _conditions(data_set, count)
    if context is None and rows is not None:
        context = rows.context
    if out is not None:  # a figure shows the test rows too, and the data may be gone
        frame = vae.sample(count, context, y, as_frame=True, seed=seed)
        print_first(f"written: {save_frame(Path(out), frame)}, {count:,} rows")
        return
    x = vae.sample(count, context, y, mean=mean and image, seed=seed)
    ax = _figure(vae, x, rows, data_set)
    if ax is not None:
        print_first(f"written: {plots.save(ax, results_of(run) / 'figures' / 'samples.png')}")
    if array:
        save_array(results_of(run) / "samples.npy", x.numpy())


def _labelled(vae: VAE, label: str, count: int) -> tuple[Tensor | None, Tensor | None]:
    """The contexts or class indices y of samples with a label, (count, *)."""
    is_context = vae.schema is not None and vae.schema.context == "labels"
    if not (is_context or vae.prior.labels):
        raise InputError(
            "the model has no labels to sample from: leave --label out, or train it with --context "
            "labels or a prior with labels"
        )
    index = torch.full((count,), class_index(vae.schema, label))
    context = one_hot_of(vae.schema, [label]).expand(count, -1) if is_context else None
    return context, index if vae.prior.labels else None


def _conditions(data: Data, count: int) -> Rows | None:
    """Test rows whose contexts the samples get: in turn, or each for ten if it is an image."""
    test = data.test
    if test.context is None:
        return None
    places = torch.arange(count)
    if report.given_images(data.derived, test[:1]) is not None:
        places = places // report.EACH
    return test[places % len(test)]


def _figure(vae: VAE, x: Tensor, rows: Rows | None, data: Data | None) -> Axes | None:
    """Samples as images, next to what was given if that is an image; or next to the data."""
    count, each = len(x), report.EACH
    if not report.is_image(vae.event_shape):
        observed = report.whole_rows(data.test.x).flatten(1).numpy() if data is not None else x[:0].numpy()
        return plots.compare(observed, x.reshape(count, -1).numpy()) if len(observed) else None
    if count > SHOWN:
        print_first(f"the figure shows the first {SHOWN:,} of {count:,} samples")
    x = x[:SHOWN]
    derived = None if data is None else data.derived
    if derived is None or rows is None or report.given_images(derived, rows[:1]) is None:
        return plots.image_grid(x.numpy())
    each = min(each, len(x))
    shown = len(x) // each * each  # whole rows of the figure
    return report.conditional_figure(derived, rows[:shown:each], x[:shown], each)
