"""Runs on disk: the VAE of a run folder or a model file, its data, and the results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from pyrovae.checks import whole
from pyrovae.datasets import Data, Rows
from pyrovae.errors import InputError
from pyrovae.extras import require
from pyrovae.files import reason_of, write_whole
from pyrovae.sharing import print_first
from pyrovae.tasks.runs import data_of, load_data, options_of
from pyrovae.training import load
from pyrovae.training.hub import is_on_hub
from pyrovae.vae import VAE

if TYPE_CHECKING:
    import pandas

__all__ = [
    "Split",
    "check_table",
    "load_data",
    "open_run",
    "options_of",
    "results_of",
    "rows_of",
    "save_array",
    "save_frame",
    "save_text",
    "set_seed",
]

Split = Literal["train", "validation", "test"]


def open_run(run: str, data: str | None, trust: str | None = None) -> tuple[VAE, Data]:
    """The VAE of a run with its best weights, and the data of the run with its own split.

    Arguments:
        run: the run folder or model file.
        data: where the data are now, if they came from memory or have moved.
        trust: trusted modules outside the package that the run may name.

    Raises:
        InputError: if there is no run, or it names code that is not trusted, or the data are not
            those of the run.
    """
    vae = load(run, trust=trust).eval()
    return vae, data_of(run, vae.schema, data)


def results_of(run: str) -> Path:
    """The folder for the results of a command: the run folder, or NAME-results for a model file.

    The latter is created in the working folder.

    Raises:
        InputError: if it cannot be created.
    """
    if not is_on_hub(run) and not os.path.isfile(run):
        return Path(run)
    folder = Path(f"{Path(run).name.removesuffix('.pyrovae').partition('@')[0]}-results")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the folder {folder}: {reason_of(error)}; remove it") from None
    return folder


def rows_of(data: Data, split: Split, count: int | None) -> Rows:
    """The first rows of one part of the data, without labels, so that log p(x) is estimated."""
    rows = data.without_jitter() if split == "train" else getattr(data, split)
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
    print_first(f"written: {path}, {array.shape}")


def check_table(vae: VAE, out: str) -> None:
    """Refuse a file for rows of a table that cannot be written.

    Raises:
        InputError: for another kind of file, or a model of rows without columns.
    """
    if Path(out).suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"{out} is neither .csv nor .parquet: give a name that ends in one of them")
    if vae.schema is None or vae.schema.columns is None:
        raise InputError("the run was not trained on a table: leave --out out, and use --array")


def save_frame(path: Path, frame: pandas.DataFrame) -> Path:
    """Write a table to a .csv or .parquet file whole or not at all; returns its path."""
    if path.suffix.lower() == ".csv":
        return save_text(path, frame.to_csv(index=False))
    require("pyarrow", "parquet", f"writing {path}")
    write_whole(path, lambda file: frame.to_parquet(file, index=False))
    return path
