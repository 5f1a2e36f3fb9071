"""`edit`: observations resynthesised with more or less of an attribute."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from pyrovae import plots, report
from pyrovae.checks import count_of, number, whole
from pyrovae.cli.runs import Split, open_run, results_of, rows_of, save_array
from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.sharing import print_first
from pyrovae.tasks import Attributes, attributes, measure_images
from pyrovae.tasks.known_attributes import chosen, known_attributes
from pyrovae.tasks.pixel_measures import MEASURES
from pyrovae.tasks.runs import training_rows

__all__ = ["edit"]

SHOWN = 100  # observations in a figure


def edit(
    run: str,
    *,
    attribute: str | list[str] | None = None,
    by: float = 2.0,
    count: int = 10,
    steps: int = 5,
    method: Literal["difference", "logistic"] = "difference",
    keep: str | list[str] | None = None,
    file: str | None = None,
    rows: int = 10_000,
    split: Split = "test",
    data: str | None = None,
    array: bool = False,
    seed: int = 0,
    trust: str | None = None,
) -> None:
    """Change an attribute of observations by moving in latent space.

    An attribute is thick, slant or width (measured from images), a class of the data by its name or
    number, a column of the data, a factor of drawn data, or a column of a file. Directions are
    found from training rows. The figure shows the observations and their edits, from less of the
    attribute (-BY) through the reconstruction (0) to more of it (BY).

    Arguments:
        run: the run folder.
        attribute: names of attributes, such as thick, 7 or Trouser.
        by: the largest edit, in standard deviations of the encodings along the direction.
        count: number of observations to edit.
        steps: number of steps from -BY to BY.
        method: the direction: a difference of means, or the normal of a logistic regression.
        keep: attributes that should not change, such as slant, or class for all classes.
        file: a table of attributes with a row for each row of the data, in the same order.
        rows: maximum number of training rows from which the directions are found.
        split: the part of the data to edit.
        data: name, file or folder, if the run's data came from memory or have moved.
        array: also write edited_ATTRIBUTE.npy, (steps, count, ...).
        seed: seed of the held-out rows and the samples.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae edit runs/mnist --attribute thick
        pyrovae edit runs/faces --attribute smile --keep class
    """
    by, steps = number("by", by, above=0), count_of("steps", steps, 2)
    whole("seed", seed, 0)
    vae, data_set = open_run(run, data, trust)
    train = training_rows(data_set, whole("rows", rows))
    labels = None if data_set.labels is None else data_set.labels.train[: len(train)]
    parts = data_set.factors
    factors = None if parts is None else parts.train.take(slice(len(train)))
    known = known_attributes(data_set, train, labels, file, factors)
    if not attribute:
        names = ", ".join(known.names[:20])
        raise InputError(f"which attribute? name one or several by --attribute: {names}")
    y, given = (chosen(known, _words(names)) for names in (attribute, keep))
    found = attributes(vae, train, y, given=given if keep else None, method=method, seed=seed)
    print_first(found)
    some = rows_of(data_set, split, whole("count", count))
    for name in found.names:
        _write(results_of(run), found, name, some, np.linspace(-by, by, steps), array=array)


def _words(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []


def _write(run: Path, found: Attributes, name: str, rows: Rows, by: np.ndarray, *, array: bool) -> None:
    """Draw the edits of one attribute, and say what is measured on them."""
    file = "".join(c if c.isalnum() else "_" for c in name)
    if name in MEASURES or array:
        edited = found.apply(rows, name, by[:, None])
        if name in MEASURES and report.is_image(found.vae.event_shape):
            print_first(f"mean {name}: {_means(edited, name, by)}")
        if array:
            save_array(run / f"edited_{file}.npy", edited)
    ax = found.plot(rows, name, float(by[-1]), len(by), count=SHOWN)
    print_first(f"written: {plots.save(ax, run / 'figures' / f'edit_{file}.png')}")


def _means(edited: np.ndarray, name: str, by: np.ndarray) -> str:
    """The mean of a measured attribute at each step."""
    values = measure_images(edited.reshape(-1, *edited.shape[2:]))[name].reshape(len(by), -1)
    means = zip(np.nanmean(values, 1), by, strict=True)
    return ", ".join(f"{value:.2f} at {f'{b:+.3g}' if abs(b) > 1e-9 else '0'}" for value, b in means)
