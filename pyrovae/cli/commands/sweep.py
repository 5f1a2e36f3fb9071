"""`sweep`: a grid of declarations, each trained with several seeds, compared by log p(x)."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

from pyrovae import datasets, training
from pyrovae.cli.commands import fit
from pyrovae.cli.runs import load_data, options_of
from pyrovae.errors import InputError
from pyrovae.searching import Space, sweep as run_sweep
from pyrovae.searching.reading import NAMES
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from pyrovae.cli.parsing import Option

__all__ = ["add_options", "completed", "sweep"]


def sweep(**options: Any) -> None:  # noqa: ANN401
    """Train a grid of VAEs with several seeds each, and compare their log p(x).

    All options of `pyrovae fit` apply to every run, and each --grid replaces one of them by several
    values. The same command goes on where it was stopped. Writes a run folder for each point and
    seed into --out (sweeps/NAME-1 by default), with table.csv and sweep.png.
    """
    if not options["grid"]:
        raise InputError("nothing is varied: give at least one --grid, as in --grid latent_dim=2,5,10")
    space = Space.of(options["grid"], _fixed(options))
    data = load_data(options)
    if data.columns is not None:
        print(datasets.describe(data, lines=12))
    result = run_sweep(space, data, **options_of(run_sweep, options | {"space": None, "data": None} ))
