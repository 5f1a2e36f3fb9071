"""Runs on disk: the VAE of a run folder, and the data it was trained on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml

from pyrovae import datasets
from pyrovae.checks import whole
from pyrovae.datasets import Data, Rows, Schema
from pyrovae.errors import InputError
from pyrovae.files import write_whole
from pyrovae.training import load
from pyrovae.training.checkpoint import upgraded_config
from pyrovae.vae import VAE

__all__ = ["Split", "load_data", "open_run", "options_of", "rows_of", "save_array", "save_text", "set_seed"]

Split = Literal["train", "validation", "test"]


def open_run(run: str, data: str | None) -> tuple[VAE, Data]:
    """The VAE of a run folder with its best weights, and the data of the run or those given.

    Raises:
        InputError: if the folder holds no run, or its data have no name.
    """
    vae = load(run).eval()
    try:
        config = dict(yaml.safe_load((Path(run) / "config.yaml").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise InputError(
            f"{run}/config.yaml cannot be read ({error.__class__.__name__}); is this a run?"
        ) from None
    # a table is read in the columns and words of the run, whatever their order in the file
    loaded = load_data(upgraded_config(config) | ({"data": data} if data else {}), vae.schema)
    if vae.schema is not None:
        vae.schema.check_same(loaded.schema, loaded.name)
    return vae, loaded


def load_data(options: Mapping[str, Any], schema: Schema | None = None) -> Data:
    """Load the data set named in options or a run's config; with a schema, in its columns."""
    if not options.get("data"):
        raise InputError(
            "the data have no name (those of a run from memory have none): name them with --data"
        )
    return datasets.load(options["data"], **options_of(datasets.load, options), schema=schema)


def options_of(function: Callable, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a function takes."""
    return {name: options[name] for name in inspect.signature(function).parameters if name in options}


def rows_of(data: Data, split: Split, count: int | None) -> Rows:
    """The first rows of one part of the data, without labels, so that log p(x) is estimated."""
    # After the distinct training rows come copies of the rows with a known label.
    rows = data.epoch(0, 0)[: data.distinct] if split == "train" else getattr(data, split)
    return rows[: None if count is None else whole("rows", count)].unlabelled()


def set_seed(seed: int) -> None:
    """Seed torch's random numbers."""
    torch.manual_seed(whole("seed", seed, 0))


def save_text(path: Path, text: str) -> Path:
    """Write a text file whole or not at all; returns its path."""
    write_whole(path, lambda file: file.write(text.encode()))
    return path


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file whole or not at all, and say so."""
    write_whole(path, lambda file: np.save(file, array))
    print(f"written: {path}, {array.shape}")
