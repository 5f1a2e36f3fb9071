"""`sweep`: a grid of declarations, each trained with several seeds, compared by log p(x)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrovae import datasets, searching
from pyrovae.checks import whole
from pyrovae.cli import varying
from pyrovae.cli.helping import Section
from pyrovae.cli.runs import load_data, options_of
from pyrovae.errors import InputError
from pyrovae.sharing import print_first

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from pyrovae.cli.parsing import Option

__all__ = ["SECTIONS", "add_options", "completed", "sweep"]

SECTIONS = varying.sections(
    Section(
        "sweep",
        "grid seeds seed jobs split method particles rows out",
        of=searching.sweep,
    )
)


def sweep(**options: Any) -> None:  # noqa: ANN401
    """Train a grid of VAEs with several seeds, and compare them.

    Each --grid gives several values to an option of `pyrovae fit`; the other options apply to all
    runs. Writes a run folder for each point and seed, table.csv and sweep.png into --out
    (sweeps/NAME-1 by default). The same command with --out resumes a sweep that was stopped.

    Example:
        pyrovae sweep --data digits --grid latent_dim=2,5,10 --seeds 3
    """
    if not options["grid"]:
        raise InputError("nothing is varied: give at least one --grid, as in --grid latent_dim=2,5,10")
    space = varying.space_of(options["grid"], None, options)
    data = load_data(options)
    if data.columns is not None:
        print_first(datasets.describe(data, lines=12))
    settings = options_of(searching.sweep, options | {"space": space, "data": data})
    result = searching.sweep(**settings | {"seeds": _seeds(options)})
    print_first(result, f"written: {result.folder}: a run folder for each run, table.csv, sweep.png")


def add_options(parser: ArgumentParser) -> None:
    """Add --grid and the options of `searching.sweep`, and those of `fit` for all runs."""
    about = "an option of fit and its values, as in latent_dim=2,5,10; may be given several times"
    parser.add_argument("--grid", type=list[str] | None, default=None, help=about)
    parser.add_function_arguments(searching.sweep, skip={"space", "data", "progress"})
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds")
    varying.add_fit_options(parser)


def completed(options: list[Option]) -> list[Option]:
    """Read config files as `fit` does, and put all --grid into one list."""
    return varying.completed(options, "grid")


def _seeds(options: dict[str, Any]) -> Any:  # noqa: ANN401
    """The seeds from --seed on, or those that --seeds lists."""
    seeds, first = options["seeds"], whole("seed", options["seed"], 0)
    return seeds if isinstance(seeds, list) else list(range(first, first + whole("seeds", seeds)))
