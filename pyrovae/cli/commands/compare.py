"""`compare`: several runs ranked by log p(x) of the same data."""

from __future__ import annotations

from functools import partial

import torch

from pyrovae import evidence
from pyrovae.cli.commands.evaluate import opened
from pyrovae.cli.quoting import caveats
from pyrovae.cli.results import Part
from pyrovae.datasets import Data, Rows
from pyrovae.errors import InputError
from pyrovae.evidence import Evidence, Importance, Method, log_evidence
from pyrovae.sharing import in_turn, print_first

__all__ = ["compare"]


def compare(
    runs: list[str],
    *,
    particles: int = 1000,
    method: Method | None = None,
    chains: int = 16,
    split: Part = "test",
    rows: int | None = None,
    data: str | None = None,
    seed: int = 0,
    device: str | None = None,
    trust: str | None = None,
) -> None:
    """Rank runs by log p(x) of the same data, with paired errors.

    Probabilities and densities, or data prepared in different ways, get separate tables.

    Arguments:
        runs: the run folders.
        particles: number of samples for each observation.
        method: how log p(x) is estimated; Importance by default.
        chains: chains of AIS for each observation.
        split: the part of the data to use, as split for the training; all takes every row.
        rows: use only this many rows, starting with the first.
        data: name or file of the runs' data, if they have moved; any data with --split all.
        seed: seed of the samples.
        device: the device to compute on; CUDA by default, if available.
        trust: trusted modules outside PyroVAE that the runs may name, separated by commas.

    Example:
        pyrovae compare runs/mog runs/normal
        pyrovae compare runs/* --method Laplace
    """
    method = method or Importance()
    count = chains if method.annealed else particles
    evidences: dict[str, Evidence] = {}
    first: tuple[Data | None, Rows] | None = None
    for run in runs:
        vae, loaded, x = in_turn(partial(opened, run, data, split, rows, device, trust))
        first = first or (loaded, x)
        if not _is_of_same_rows(*first, loaded, x):
            raise InputError(
                f"{run} has different data from {runs[0]}: compare runs on one data set and split"
            )
        evidences[run] = log_evidence(vae, x, method=method, particles=count, seed=seed, progress=True)
        if evidences[run].partial:
            raise KeyboardInterrupt("stopped early: nothing was compared")
    print_first(evidence.compare(evidences))
    print_first(caveats(evidences))


def _is_of_same_rows(data: Data | None, rows: Rows, other: Data | None, others: Rows) -> bool:
    """Whether both are the same rows of one data set, perhaps prepared in different ways."""
    if rows.x.shape != others.x.shape:
        return False
    if torch.allclose(rows.x.double(), others.x.double(), rtol=0, atol=0, equal_nan=True):
        return True
    if data is None or other is None:
        return False
    one, two = ((d.schema.binarize, d.schema.dequantize) for d in (data, other))
    same_index = rows.index is not None and others.index is not None and torch.equal(rows.index, others.index)
    return one != two and same_index and data.name == other.name and data.levels == other.levels
