"""`bandit`: the best of several declarations, for less than the cost of training all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovae import datasets, searching
from pyrovae.cli import varying
from pyrovae.cli.commands.fit import named_folder
from pyrovae.cli.helping import Section
from pyrovae.cli.runs import load_data, options_of, save_frame
from pyrovae.cures import command
from pyrovae.errors import InputError
from pyrovae.searching import Policy, Space
from pyrovae.searching.arms import read_arms
from pyrovae.trust import trusting

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from pyrovae.cli.parsing import Option

__all__ = ["SECTIONS", "add_options", "bandit", "completed"]

SECTIONS = varying.sections(
    Section(
        "bandit",
        "vary arms policy pulls epochs_a_pull reward shared seed out figures",
        of=searching.bandit,
    )
)


def bandit(**options: Any) -> None:  # noqa: ANN401
    """Find the best of several VAEs by training promising ones more.

    --vary gives choices for options of `pyrovae fit`, each combination of which is an arm; --arms
    names whole declarations. The other options apply to all arms. Writes a run folder for each arm,
    pulls.csv, table.csv and figures into --out (bandits/NAME-1 by default). The same command with
    --out resumes a bandit that was stopped.

    Example:
        pyrovae bandit --data mnist --vary decoder=MLP,ConvDecoder latent_dim=2,8
    """
    arms = _arms(options)
    data = load_data(options)
    if data.columns is not None:
        print(datasets.describe(data, lines=12))
    with named_folder(options["out"], data.name, "bandits") as out:
        settings = options_of(searching.bandit, options | {"arms": arms, "data": data, "out": out})
        settings |= {"policy": options["policy"] or "ucb"} | _common(arms, options)
        result = searching.bandit(**settings)
        print(result)
        save_frame(Path(out) / "table.csv", result.table.reset_index())
        print(f"written: {out}: a run folder for each arm in arms, pulls.csv, table.csv, figures")
        best = result.arms[result.chosen].folder
        print(f"the best run: {best} (evaluate: {command('evaluate', best)})")


def add_options(parser: ArgumentParser) -> None:
    """Add --vary, --arms and the options of `searching.bandit`, and those of `fit`."""
    about = "options of fit and their choices, as in decoder=MLP,ConvDecoder latent_dim=2,8"
    parser.add_argument("--vary", type=list[str] | None, default=None, help=about)
    about = "YAML file of arms: a name for each, and its options as in a config file"
    parser.add_argument("--arms", type=str | None, default=None, help=about)
    about = "which arm is next: UCB, Thompson, EXP3, Halving or Turns; UCB by default"
    parser.add_argument("--policy", type=Policy | None, default=None, help=about)
    parser.add_function_arguments(searching.bandit, skip={"arms", "data", "policy", "options", "progress"})
    varying.add_fit_options(parser)


def completed(options: list[Option]) -> list[Option]:
    """Read config files, and put all --vary into one list."""
    return varying.completed(options, "vary")


def _arms(options: dict[str, Any]) -> Any:  # noqa: ANN401
    """The arms of --arms, or the space of --vary."""
    if options["arms"] is not None and options["vary"]:
        raise InputError("the arms are given twice: use --arms or --vary, not both")
    if options["arms"] is not None:
        with trusting(options.get("trust")):
            return read_arms(Path(options["arms"]))
    space = Space.of(options["vary"] or [], varying.fixed(options))
    if not space.has_choices:
        raise InputError(
            "there are no arms: give choices with --vary, as in --vary decoder=MLP,ConvDecoder, or a file "
            "with --arms"
        )
    return space


def _common(arms: Any, options: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """The options of all arms, which a space has already."""
    return {} if isinstance(arms, Space) else varying.fixed(options)
