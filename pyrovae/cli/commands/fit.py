"""`fit`: from the name of a data set to a trained VAE in a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pyrovae import datasets, training
from pyrovae.cli.runs import load_data, options_of, set_seed
from pyrovae.errors import InputError
from pyrovae.files import new_folder
from pyrovae.sharing import agreed, in_turn, is_first, print_first, together
from pyrovae.training.checkpoint import upgraded_config
from pyrovae.vae import VAE, likelihood_for

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from pyrovae.cli.parsing import Option

__all__ = ["add_options", "completed", "fit"]


def fit(**options: Any) -> None:  # noqa: ANN401
    """Train a VAE on data.

    Writes a run folder, --out (runs/NAME-1 by default), with config, checkpoints, metrics and
    figures.
    """
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
    with _folder(settings["out"], data.name) as settings["out"]:
        print_first(training.fit(vae, **settings))


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `datasets.load`, `VAE.suited` and `training.fit`."""
    parser.add_argument("--config", action="config", help="YAML file of these options, as in a run folder")
    about = "a known name (see `pyrovae datasets`), a file or a folder of images"
    parser.add_argument("--data", type=str | None, default="digits", help=about)
    parser.add_function_arguments(datasets.load, skip={"layer", "name", "schema", "stream"})
    parser.add_method_arguments(VAE, "suited", skip={"data"})
    parser.add_function_arguments(training.fit, skip={"vae", "data", "progress"})


def completed(options: list[Option]) -> list[Option]:
    """Upgrade config files; `--out RUN --resume` reads RUN/config.yaml unless another is named.

    Raises:
        InputError: for `--out RUN --resume` without other options, if there is no run in RUN.
    """
    values = dict(options)
    resumes = (values.get("resume") or "").lower() in ("true", "yes")
    config = Path(values.get("out") or "", "config.yaml")
    if resumes and set(values) == {"out", "resume"} and not config.is_file():
        raise InputError(
            f"there is no run to resume in {values['out']}: give the options of a new run as well"
        )
    if resumes and values.get("out") and "config" not in values and config.is_file():
        options = [("config", str(config)), *options]
    return [(name, _upgraded(value) if name == "config" else value) for name, value in options]


def _upgraded(path: str | None) -> str | None:
    """The path of a config file, or its content if another version of the package wrote it."""
    try:
        config = yaml.safe_load(Path(path or "").read_text(encoding="utf-8"))
        upgraded = upgraded_config(dict(config))
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        return path  # the parser says what is wrong with it
    return path if upgraded == config else yaml.safe_dump(upgraded)


@contextmanager
def _folder(out: str | None, name: str) -> Iterator[str]:
    """The run folder; a new one, named after the data, is removed if nothing was written to it."""
    stem = Path(name).stem or "run"
    made = None if out else together(lambda: new_folder(Path("runs"), stem) if is_first() else None)
    try:
        yield out or agreed(str(made))
    finally:
        if made is not None and not (made / "config.yaml").exists():
            (made / ".lock").unlink(missing_ok=True)
            with suppress(OSError):
                (made / "figures").rmdir()
            with suppress(OSError):
                made.rmdir()
