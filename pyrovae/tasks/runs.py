"""Runs: their VAE, configuration, data with the run's own split, and training rows.

A run is a run folder, or a model file, which holds the model and no data (`load`).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from pyrovae import datasets
from pyrovae.cures import cure, scoring
from pyrovae.datasets import Data, Rows, Schema
from pyrovae.datasets.catalogue import canonical
from pyrovae.datasets.incoming import incoming
from pyrovae.datasets.preparation import generator_of
from pyrovae.datasets.streams import Stream
from pyrovae.errors import InputError
from pyrovae.training import load
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.training.config import config_of_run
from pyrovae.training.loading import model_file, saved_run
from pyrovae.training.preparing import usable_device
from pyrovae.training.sources import check_source
from pyrovae.vae import VAE

__all__ = ["all_rows", "data_of", "load_data", "loaded", "options_of", "training_rows"]


def loaded(run: Any, device: str | None, trust: str | Sequence[str] | None) -> Any:  # noqa: ANN401
    """The VAE of a run folder or a model file, or a program in memory as it is.

    Arguments:
        run: a run folder, a model file, or a program.
        device: where it goes; by default CUDA, if available, unless it is in memory.
        trust: trusted modules outside PyroVAE that the run may name; see `load`.
    """
    is_run = isinstance(run, (str, os.PathLike))
    vae = load(run, trust=trust).eval() if is_run else run
    if (is_run or device is not None) and hasattr(vae, "to"):
        vae.to(usable_device(device))
    return vae


def data_of(run: str | os.PathLike[str], schema: Schema | None, source: str | None = None) -> Data:
    """The data of a run, split as they were for its training.

    Arguments:
        run: the run folder or model file.
        schema: the schema of the run; a table is read in its columns and words.
        source: where the data are now, if they came from memory or have moved.

    Raises:
        InputError: if the data cannot be read, or are not those of the run.
    """
    saved = saved_run(run)[0]
    config = _config_of(run, saved, source)
    try:
        data = load_data(config, schema)
    except InputError as error:
        if "cannot be split" not in str(error) and "is more than the" not in str(error):
            raise
        raise InputError(
            f"{config['data']} has too few rows to be the data of {run} ({error}); score all rows of a file "
            f"with {scoring(run)}"
        ) from None
    if schema is not None:
        schema.check_same(data.schema, data.name)
    check_source(data, saved, run)
    return data


def _config_of(run: str | os.PathLike[str], saved: Checkpoint, source: str | None) -> dict[str, Any]:
    """The options with which the data of a run are loaded.

    Raises:
        InputError: for a model file that does not say what its data are, or where.
    """
    if model_file(run) is None:
        return config_of_run(run, saved) | ({"data": source} if source else {})
    if saved.config is None:
        raise InputError(
            f"{run} does not say how its data were split: give the run folder, or write the file with "
            "`pyrovae share RUN`"
        )
    config = dict(saved.config)
    if source is None and (config.get("data") is None or canonical(config["data"]) is None):
        raise InputError(
            f"{run} has the model without its data: name them with --data, or give the run folder"
        )
    return config | ({"data": source} if source else {})


def load_data(options: Mapping[str, Any], schema: Schema | None = None) -> Data:
    """Load the data set named in options or a run's config; with a schema, in its columns."""
    if not options.get("data"):
        raise InputError(
            "the data have no name (those of a run from memory have none): name them with "
            + cure("data=", "--data")
        )
    return datasets.load(options["data"], **options_of(datasets.load, options), schema=schema)


def options_of(function: Callable, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a function takes."""
    return {name: options[name] for name in inspect.signature(function).parameters if name in options}


def training_rows(data: Data, count: int) -> Rows:
    """The first training rows in the order of the split, which is random; without jitter."""
    if not isinstance(data.train, Stream):
        return data.without_jitter()[:count]
    numbers = list(range(min(count, len(data.train))))
    x = torch.stack([data.train[number] for number in numbers])
    return data.streamed(x, numbers, generator_of("reference"))


def all_rows(run: str | os.PathLike[str], vae: VAE, source: str | None) -> Rows:
    """Every row of a file, a folder or a known set (by default that of the run), without labels.

    Raises:
        InputError: if the model cannot read the data, or the data of the run have changed.
    """
    name = source
    if name is None:
        name = _config_of(run, saved_run(run)[0], None).get("data")
        if not name:
            name = cure("data=", "--data")
            raise InputError(f"the run was trained on data from memory: name data with {name}")
        data_of(run, vae.schema)
    return incoming(vae.schema, name).all_rows().unlabelled()
