"""What the commands `complete`, `denoise` and `enlarge` have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pyrovae import plots, report
from pyrovae.checks import count_of, whole
from pyrovae.cli.runs import Split, open_run, results_of, rows_of, save_array
from pyrovae.datasets import Rows
from pyrovae.datasets.incoming import incoming
from pyrovae.errors import InputError
from pyrovae.evidence import Method
from pyrovae.measurements import Measurement
from pyrovae.sharing import is_first, is_shared, print_first
from pyrovae.tasks import Completion, condition
from pyrovae.tasks.restoring import error_line, levels_of, reconstructed
from pyrovae.tasks.runs import loaded

__all__ = ["Images", "images_of", "posterior", "write"]

SHOWN = 20  # images in a figure
PAIRS = 2**22  # pixels and levels of the (particle, image) pairs that run at once


@dataclass(frozen=True)
class Images:
    """A VAE of images, and images to measure.

    Attributes:
        vae: the VAE.
        rows: the images, or their measurements.
        has_truth: whether they are images.
    """

    vae: Any
    rows: Rows
    has_truth: bool

    @property
    def event(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self.vae.event_shape)

    @property
    def truth(self) -> Tensor | None:
        """The images with the pixels that a context gives, if they are known."""
        if not self.has_truth:
            return None
        derived = None if self.vae.schema is None else self.vae.schema.derived
        x, context = self.rows.x, self.rows.context
        return (x if derived is None or context is None else derived.completed(x, context)).cpu()


def images_of(
    run: str,
    *,
    command: str,
    count: int,
    split: Split,
    data: str | None,
    images: str | None,
    measured: str | None,
    device: str | None,
    trust: str | None,
) -> Images:
    """The images that a command restores: some of the run's, new ones, or measurements of such.

    Raises:
        InputError: for a run of other data than images, or a file that cannot be used.
    """
    count = whole("count", count)
    if is_shared():
        raise InputError(f"{command} runs in one process: start it without torchrun")
    if images is not None and measured is not None:
        raise InputError("--images and --measured exclude each other: give images, or measurements of such")
    vae = loaded(run, device, trust)
    event = tuple(vae.event_shape)
    if not report.is_image(event):
        cure = (
            "use impute" if vae.schema is not None and vae.schema.columns is not None else "use pv.condition"
        )
        raise InputError(
            f"{command} restores images, and the run was trained on rows of shape {event}: {cure}"
        )
    _refuse_parts(vae, command)
    if images is None and measured is None:
        rows = rows_of(open_run(run, data, trust)[1], split, count)
    elif vae.context_shape is not None:
        raise InputError(
            f"the run is conditioned on a context, which a file of images does not have: {command} rows of "
            "the run's data"
        )
    elif images is not None:
        rows = incoming(vae.schema, images).first(count).rows
    else:
        rows = Rows.of(_array(Path(str(measured)))[:count])
    return Images(vae, rows, measured is None)


def _refuse_parts(vae: Any, command: str) -> None:  # noqa: ANN401
    """Refuse to measure whole images where the run models a part of each, given the rest."""
    derived = None if vae.schema is None else vae.schema.derived
    if command != "complete" and derived is not None and derived.given(tuple(vae.event_shape)) is not None:
        raise InputError(
            f"the run models a part of each image, given the rest ({derived.words}), and {command} measures "
            "whole images: use a run without --context, or complete"
        )


def _array(path: Path) -> np.ndarray:
    """An array of measurements.

    Raises:
        InputError: for another file.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).splitlines()[0].rstrip(". ")
        raise InputError(f"{path} cannot be read as .npy ({reason}): give an array of measurements") from None
    has_numbers = isinstance(array, np.ndarray) and array.dtype.kind in "biuf"
    if not has_numbers or array.ndim < 2 or not len(array):
        raise InputError(f"{path} has no measurements of images: give a .npy file with one for each image")
    return array.astype(np.float32)


def posterior(
    found: Images,
    y: Tensor,
    through: Measurement,
    *,
    draws: int,
    particles: int | None,
    method: Method | None,
    seed: int,
) -> Completion:
    """Samples of the images given their measurements."""
    levels = levels_of(found.vae)
    chunk = None
    if levels > 2:
        chunk = max(16, PAIRS // (levels * int(np.prod(found.event))))
    return condition(
        found.vae,
        replace(found.rows, x=y),
        through=through,
        draws=count_of("draws", draws),
        particles=particles,
        method=method or "auto",
        seed=seed,
        chunk=chunk,
        progress=True,
    )


def write(
    run: str,
    name: str,
    found: Images,
    completion: Completion,
    through: Measurement,
    others: Mapping[str, Tensor],
    *,
    where: Tensor | None = None,
    array: bool = False,
) -> None:
    """Print the errors of the posterior mean and of its rivals, and write the figure.

    Arguments:
        run: the run folder.
        name: of the figure.
        found: the images.
        completion: samples of them.
        through: the measurement.
        others: other restored images by name.
        where: the pixels over which errors are averaged; by default all.
        array: also write the samples.
    """
    truth = found.truth
    print_first(completion)
    if truth is not None:
        rough = reconstructed(found.vae, replace(found.rows, x=completion.y), through)
        lines = {"posterior mean": completion.mean, "decode(encode(y))": rough, **others}
        width = max(map(len, lines))
        what = "of all pixels" if where is None else "of the removed pixels"
        print_first(f"errors {what}")
        for word, estimate in lines.items():
            print_first(f"  {word:<{width}}  {error_line(truth, estimate.cpu(), where)}")
    if is_first():
        ax = completion.plot(truth, rows=min(SHOWN, len(completion)))
        print_first(f"written: {plots.save(ax, results_of(run) / 'figures' / f'{name}.png')}")
    if array:
        save_array(results_of(run) / f"{name}.npy", completion.x.numpy())
