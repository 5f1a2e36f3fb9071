"""Runs on disk: the VAE of a run folder, and the data it was trained on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from pyrovae import datasets
from pyrovae.errors import InputError
from pyrovae.training import load
from pyrovae.vae import VAE

__all__ = ["Split", "load_data", "names", "open_run", "split_of"]

Split = Literal["train", "validation", "test"]


def open_run(run: str, data: str | None) -> tuple[VAE, datasets.Data]:
    """The VAE of a run folder with its best weights, and its data, or others by name.

    Raises:
        InputError: when the folder holds no run, or its data have no name.
    """
    vae = load(run).eval()
    try:
        config = dict(yaml.safe_load((Path(run) / "config.yaml").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise InputError(
            f"{run}/config.yaml cannot be read ({error.__class__.__name__}); is this a run?"
        ) from None
    sets = load_data(config | ({"data": data} if data else {}))
    return vae, replace(sets, context=None) if vae.prior.labels else sets  # log p(x), not log p(x, y)


def load_data(given: dict[str, Any]) -> datasets.Data:
    """The data that options name; the options of `datasets.load` are taken out of the mapping."""
    options = {name: given.pop(name) for name in names(datasets.load) if name in given}
    name = given.pop("data", None)
    if not name:
        raise InputError(
            "the data have no name (those of a run from memory have none): name them with --data"
        )
    return datasets.load(name, **options)


def names(function: Callable) -> list[str]:
    """The arguments of a function."""
    return list(inspect.signature(function).parameters)


def split_of(sets: datasets.Data, split: Split, rows: int | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The first rows of one part of the data, and their context."""
    if rows is not None and rows < 1:
        raise InputError(f"the number of data must be 1 or more, not {rows}")
    x = sets.epoch(0, 0) if split == "train" else getattr(sets, split)
    context = None if sets.context is None else getattr(sets.context, split)[:rows]
    return x[:rows], context
