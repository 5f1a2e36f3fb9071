"""`sweep`: a grid of declarations, each trained with several seeds, compared by log p(x)."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

from pyrovae import datasets, searching, training
from pyrovae.checks import whole
from pyrovae.cli.commands import fit
from pyrovae.cli.runs import load_data, options_of
from pyrovae.errors import InputError
from pyrovae.searching.reading import NAMES
from pyrovae.sharing import print_first
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from pyrovae.cli.parsing import Option

__all__ = ["add_options", "completed", "sweep"]


def sweep(**options: Any) -> None:  # noqa: ANN401
    """Train a grid of VAEs with several seeds each, and compare their log p(x).

    Each --grid gives several values to an option of `pyrovae fit`; the other options apply to all
    runs. Writes a run folder for each point and seed, table.csv and sweep.png into --out
    (sweeps/NAME-1 by default). The same command with --out goes on where it was stopped.
    """
    if not options["grid"]:
        raise InputError("nothing is varied: give at least one --grid, as in --grid latent_dim=2,5,10")
    space = searching.Space.of(options["grid"], _fixed(options))
    data = load_data(options)
    if data.columns is not None:
        print_first(datasets.describe(data, lines=12))
    settings = options_of(searching.sweep, options | {"space": space, "data": data})
    result = searching.sweep(**settings | {"seeds": _seeds(options)})
    print_first(result, f"written: {result.folder}: a run folder for each run, table.csv, sweep.png")
    if result.partial:
        raise KeyboardInterrupt(f"stopped early; the same command with --out {result.folder} goes on")


def add_options(parser: ArgumentParser) -> None:
    """Add --grid and the options of `searching.sweep`, and those of `fit` for all runs."""
    parser.add_argument("--config", action="config", help="YAML file of these options, as in a run folder")
    about = "an option of fit and its values, as in latent_dim=2,5,10; may be given several times"
    parser.add_argument("--grid", type=list[str] | None, default=None, help=about)
    parser.add_function_arguments(searching.sweep, skip={"space", "data", "progress"})
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds")
    about = "a known name (see `pyrovae datasets`), a file or a folder of images"
    parser.add_argument("--data", type=str | None, default="digits", help=about)
    about = "trusted modules outside PyroVAE that the config file may name, separated by commas"
    parser.add_argument("--trust", type=str | None, default=None, help=about)
    parser.add_function_arguments(datasets.load, skip={"layer", "name", "schema", "stream"})
    parser.add_method_arguments(VAE, "suited", skip={"data"})
    own: set[str | int] = {"vae", "data", "seed", "out", "resume", "figures", "progress", "callbacks"}
    parser.add_function_arguments(training.fit, skip=own)


def completed(options: list[Option]) -> list[Option]:
    """Read config files as `fit` does, and put all --grid into one list."""
    grids = [word for name, value in options if name == "grid" for word in _words(value)]
    others = fit.completed([(name, value) for name, value in options if name != "grid"])
    return [*others, *([("grid", json.dumps(grids))] if grids else [])]


def _words(value: str | None) -> list[str]:
    """The words of one --grid, which are a list in JSON if there are several."""
    try:
        words = json.loads(value or "")
    except ValueError:
        words = None
    is_list = isinstance(words, list) and all(isinstance(word, str) for word in words)
    return words if is_list else [value or ""]


def _fixed(options: dict[str, Any]) -> dict[str, Any]:
    """The options of fit that are the same in all runs and are not left at their defaults."""
    signatures = [inspect.signature(function).parameters for function in (VAE.suited, training.fit)]
    defaults = {name: p.default for parameters in signatures for name, p in parameters.items()}
    return {
        name: options[name] for name in NAMES if name in options and not _is(options[name], defaults[name])
    }


def _is(value: Any, default: Any) -> bool:  # noqa: ANN401
    return value is default or (type(value) is type(default) and value == default)


def _seeds(options: dict[str, Any]) -> Any:  # noqa: ANN401
    """The seeds from --seed on, or those that --seeds lists."""
    seeds, first = options["seeds"], whole("seed", options["seed"], 0)
    return seeds if isinstance(seeds, list) else list(range(first, first + whole("seeds", seeds)))
