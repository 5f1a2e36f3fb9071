"""`fit`: from the name of a data set to a trained VAE in a run folder."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pyrovae import datasets, training
from pyrovae.callbacks import trackers
from pyrovae.cli.helping import Section
from pyrovae.cli.runs import load_data, options_of, set_seed
from pyrovae.datasets.drawn_sets import is_drawn
from pyrovae.errors import InputError
from pyrovae.files import new_folder
from pyrovae.part import Declared
from pyrovae.sharing import agreed, in_turn, is_first, print_first, together
from pyrovae.training.checkpoint import Checkpoint, upgraded_config
from pyrovae.training.config import check_config, read_config, resumed_config
from pyrovae.training.marks import marked_names
from pyrovae.trust import check_paths, foreign_paths, importable_from, trusting
from pyrovae.vae import VAE, likelihood_for

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from pyrovae.cli.parsing import Option

__all__ = ["PARTS", "SECTIONS", "add_options", "completed", "fit", "named_folder"]

# Options that name classes.
PARTS = ("prior", "likelihood", "guide", "encoder", "decoder", "mechanism", "objective")


# The order of use: what --help shows of each section, and which other options belong to it.
SECTIONS = (
    Section("data", "data binarize context labels count", of=datasets.load),
    Section("model", "latent_dim prior likelihood guide encoder decoder", of=VAE.suited),
    Section("training", "objective epochs batch_size lr seed device", of=training.fit),
    Section("output", "out resume config track", "figures checkpoint_seconds print_config trust"),
)


def fit(**options: Any) -> None:  # noqa: ANN401
    """Train a VAE on data.

    Writes a run folder, --out, with config, checkpoints, metrics and figures.

    Example:
        pyrovae fit --data mnist --binarize dynamic --epochs 50 --out runs/mnist
        pyrovae fit --data table.csv --prior GaussianMixture --prior.components 5
        pyrovae fit --out runs/mnist --resume
    """
    options["callbacks"] = together(lambda: trackers(options["track"]))
    data = in_turn(lambda: load_data(options))
    if data.columns is not None:
        print_first(datasets.describe(data, lines=12))
    settings = options_of(training.fit, options | {"data": data})
    set_seed(settings["seed"])
    if options["likelihood"] is None:
        choice = together(lambda: likelihood_for(data))
        options["likelihood"] = choice.likelihood
        print_first(f"{choice} (--likelihood names another)")
    vae = together(lambda: VAE.suited(**options_of(VAE.suited, options | {"data": data})))
    print_first(vae, data)
    with named_folder(settings["out"], data.name) as settings["out"]:
        print_first(training.fit(vae, **settings))


def add_options(parser: ArgumentParser, skip: Collection[str] = ()) -> None:
    """Add the options of `datasets.load`, `VAE.suited` and `training.fit`, but those to skip."""
    parser.add_argument("--config", action="config", help="YAML file of these options, as in a run folder")
    about = "a known name, a file or a folder of images; `pyrovae datasets` lists the names"
    parser.add_argument("--data", type=str | None, default="digits", help=about)
    about = "trusted modules outside PyroVAE that the config file may name, separated by commas"
    parser.add_argument("--trust", type=str | None, default=None, help=about)
    if "track" not in skip:
        about = "where to write metrics for other tools: tensorboard, mlflow, wandb, or several of them"
        parser.add_argument("--track", type=list[str] | str | None, default=None, help=about)
    parser.add_function_arguments(datasets.load, skip={"layer", "name", "schema", "workers"})
    parser.add_method_arguments(VAE, "suited", skip={"data"})
    parser.add_function_arguments(training.fit, skip={"vae", "data", "progress", "callbacks", *skip})


def completed(options: list[Option]) -> list[Option]:
    """Read config files; `--out RUN --resume` reads RUN/config.yaml unless another is named.

    Raises:
        InputError: for `--out RUN --resume` without other options, if there is no run in RUN; for a
            config file that cannot be read, or that names code that is not trusted.
    """
    values = dict(options)
    resumes = (values.get("resume") or "").lower() in ("true", "yes")
    if resumes and values.get("out") and "config" not in values:
        run = Path(values["out"] or "")
        config = resumed_config(run)
        if config is None and set(values) <= {"out", "resume", "trust"}:
            raise InputError(
                f"there is no run to resume in {values['out']}: give the options of a new run as well"
            )
        if config is not None:
            return [("config", _checked(config, run / "config.yaml", values)), *options]
    return [
        (name, _at(Path(value), values) if name == "config" and value is not None else value)
        for name, value in options
    ]


def _at(path: Path, values: dict[str, str | None]) -> str:
    """The options in a config file; that of a run must match its checkpoint."""
    config = upgraded_config(read_config(path))
    if path.name == "config.yaml":
        for name in ("last.ckpt", "best.ckpt"):
            try:
                saved = Checkpoint.read(path.with_name(name))
            except InputError:  # there is none, or it is damaged and the run is repeated
                continue
            check_config(path.parent, saved)
            break
    return _checked(config, path, values)


def _checked(config: dict[str, Any], path: Path, values: dict[str, str | None]) -> str:
    """The options of a config file as text, after a check that they name trusted code only."""
    for name in ("config", "trust"):
        if config.pop(name, None) is not None:
            raise InputError(f"{path} has the option {name}, which belongs on the command line: remove it")
    parts = {name: value for name, value in config.items() if name.partition(".")[0] in PARTS}
    marked = marked_names(path.parent, parts) if path.name == "config.yaml" else ()
    with trusting(values.get("trust")), trusting(marked):
        check_paths(parts, str(path), Declared)
    if next(foreign_paths(parts), None) is not None:
        importable_from()
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


@contextmanager
def named_folder(out: str | None, name: str, parent: str = "runs") -> Iterator[str]:
    """The folder `out`, or a new one named after the data, which is removed if it stays empty."""
    stem = name.split()[0] if is_drawn(name) else Path(name).stem or "run"
    made = None if out else together(lambda: new_folder(Path(parent), stem) if is_first() else None)
    try:
        yield out or agreed(str(made))
    finally:
        if made is not None and not any(made.glob("*.yaml")):
            (made / ".lock").unlink(missing_ok=True)
            for empty in (made / "figures", made, made.parent):
                with suppress(OSError):
                    empty.rmdir()
