"""`search`: the declaration with the best log p(x) among those that a space describes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovae import datasets, plots, searching
from pyrovae.cli import varying
from pyrovae.cli.commands.fit import named_folder
from pyrovae.cli.helping import Section
from pyrovae.cli.runs import load_data, options_of, save_frame
from pyrovae.cures import command
from pyrovae.errors import InputError
from pyrovae.searching import Study

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from pyrovae.cli.parsing import Option

__all__ = ["SECTIONS", "add_options", "completed", "search"]

SECTIONS = varying.sections(
    Section(
        "search",
        "vary space trials hours sampler pruner finalists seeds jobs seed out",
        of=searching.search,
    )
)
FIGURES = ("history", "curves", "slices", "parallel", "importance")


def search(**options: Any) -> None:  # noqa: ANN401
    """Find the best VAE by Bayesian optimisation with pruning.

    --vary gives choices for options of `pyrovae fit`; the other options apply to all trials. Writes
    the trials, table.csv and figures into --out (studies/NAME-1 by default). The same command with
    --out resumes a search that was stopped. The best trials are refitted with several seeds.

    Example:
        pyrovae search --data mnist --vary latent_dim=2..64 lr=1e-4..1e-2:log
        pyrovae search --data digits --vary prior=StandardNormal,VampPrior --trials 20
    """
    space = varying.space_of(options["vary"], options["space"], options)
    if not space.has_choices:
        raise InputError(
            "nothing is varied: give choices with --vary, as in --vary latent_dim=2..64 lr=1e-4..1e-2:log, "
            "or a file with --space"
        )
    data = load_data(options)
    if data.columns is not None:
        print(datasets.describe(data, lines=12))
    with named_folder(options["out"], data.name, "studies") as out:
        settings = options_of(searching.search, options | {"space": space, "data": data, "out": out})
        study = searching.search(**settings)
        print(study)
        _write(study, Path(out))


def add_options(parser: ArgumentParser) -> None:
    """Add --vary, --space and the options of `searching.search`, and those of `fit`."""
    about = "options of fit and their choices, as in latent_dim=2..64 lr=1e-4..1e-2:log prior=A,B"
    parser.add_argument("--vary", type=list[str] | None, default=None, help=about)
    about = "YAML file of a space: options of fit, some of them with choices"
    parser.add_argument("--space", type=str | None, default=None, help=about)
    parser.add_function_arguments(searching.search, skip={"space", "data", "progress"})
    varying.add_fit_options(parser)


def completed(options: list[Option]) -> list[Option]:
    """Read config files, and put all --vary into one list."""
    return varying.completed(options, "vary")


def _write(study: Study, folder: Path) -> None:
    """The table of trials and the figures."""
    save_frame(folder / "table.csv", study.table.reset_index())
    drawn = []
    for kind in FIGURES:
        try:
            ax = study.plot(kind)
        except InputError:  # there are too few trials for this figure
            continue
        drawn.append(plots.save(ax, folder / f"{kind}.png").name)
    print(f"written: {folder}: table.csv, {', '.join(drawn)}")
    if study.best is not None and study.best.folder is not None:
        print(f"the best run: {study.best.folder} (evaluate: {command('evaluate', study.best.folder)})")
