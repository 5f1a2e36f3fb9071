"""Read config files, and compare config.yaml with its copy in the checkpoints of a run.

A config file contains options as plain values and has at most one megabyte. YAML aliases are
refused, since a short file with aliases can describe gigabytes. The config.yaml of a run is
compared with the copy in its checkpoints, so a truncated or edited file, or that of another run, is
noticed. Comments and blank lines may be changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pyrovae.errors import InputError
from pyrovae.training.checkpoint import Checkpoint, upgraded_config
from pyrovae.vae import filling_for

if TYPE_CHECKING:
    from pyrovae.training.job import Job

__all__ = [
    "FREE",
    "LARGEST",
    "check_config",
    "config_of_job",
    "config_of_run",
    "read_config",
    "resumed_config",
]

LARGEST = 2**20
# Settings that may change when a run is resumed.
FREE = {"epochs", "patience", "checkpoint_seconds", "compile", "track"}


class _Loader(yaml.SafeLoader):
    """YAML of plain values without aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(None, None, "it has the alias *" + event.anchor, event.start_mark)
        return super().compose_node(parent, index)


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The options in a config file, as they are written.

    Raises:
        InputError: if the file cannot be read, is too large, has aliases or is not a mapping.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise InputError(f"{path} is larger than a megabyte, too large for a config file; name another")
        config = yaml.load(text.decode(), _Loader)  # a subclass of SafeLoader
    except (OSError, RecursionError, UnicodeDecodeError) as error:
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else "it is not plain YAML"
        raise InputError(f"{path} cannot be read: {reason}; name a config file") from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} cannot be read: {_problem(error)}; correct the file or name another"
        ) from None
    if not isinstance(config, dict) or not all(isinstance(name, str) for name in config):
        raise InputError(f"{path} has no options; write one on each line, as in 'epochs: 20'")
    return config


def _problem(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    line = f" in line {mark.line + 1}" if mark is not None else ""
    return f"{problem or str(error).splitlines()[0]}{line}"


def config_of_job(job: Job) -> dict[str, Any]:
    """The options of the run as the command line reads them, in one flat mapping."""
    declaration = dict(job.runner.program.declaration() or {})
    for derived in ("event_shape", "context_shape", "missing"):  # the data give these
        declaration.pop(derived, None)
    filling = getattr(job.runner.program, "missing", None)  # what the encoder of a VAE reads
    if filling is not None and filling != filling_for(job.data):
        declaration["missing"] = filling
    training = {"objective": job.objective.to_dict(), **vars(job.settings)}
    return yaml.safe_load(
        yaml.safe_dump({**job.data.declaration, **declaration, **training}, sort_keys=False)
    )


def config_of_run(run: str | os.PathLike[str], saved: Checkpoint) -> dict[str, Any]:
    """The options of a run in the current format; from the copy if config.yaml is missing.

    Arguments:
        run: the run folder.
        saved: a checkpoint of the run.

    Raises:
        InputError: if the folder has no run, or its config.yaml does not match the checkpoint.
    """
    path = Path(run) / "config.yaml"
    # options that earlier runs did not have
    before = {name: saved.identity.get(name) for name in ("keep", "global_warmup")}
    if saved.config is not None:
        check_config(run, saved)
        return before | upgraded_config(saved.config)
    if not path.is_file():
        raise InputError(f"there is no {path}: is this the folder of a run?")
    return before | upgraded_config(read_config(path))


def resumed_config(run: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The options with which the run in a folder is resumed; None if there is no run.

    Raises:
        InputError: if the last checkpoint is damaged, or config.yaml does not match it.
    """
    folder = Path(run)
    if (folder / "last.ckpt").is_file():
        return config_of_run(run, Checkpoint.read(folder / "last.ckpt", to_resume=True))
    path = folder / "config.yaml"
    return upgraded_config(read_config(path)) if path.is_file() else None


def check_config(run: str | os.PathLike[str], saved: Checkpoint) -> None:
    """Check that config.yaml of a run, if there is one, matches the copy in a checkpoint.

    Raises:
        InputError: with the difference and what to do.
    """
    path, copy = Path(run) / "config.yaml", saved.config
    if not path.is_file():
        return
    if copy is None:
        _check_settings(path, saved)
        return
    cure = "restore the file, or delete it, as the checkpoints have a copy"
    try:
        now = read_config(path)
    except InputError as error:
        raise InputError(f"{str(error).rpartition(';')[0]}; {cure}") from None
    different = _different(copy, now)
    if different and not (different <= FREE and _is_in_a_checkpoint(now, Path(run))):
        raise InputError(
            f"{path} does not match the checkpoint ({_words(copy, now, different)}): {cure}; give other "
            "options on the command line"
        )


def _check_settings(path: Path, saved: Checkpoint) -> None:
    """Check the settings that are stored in a checkpoint of an older version."""
    try:
        now = read_config(path)
    except InputError:  # a later read reports the error
        return
    known = saved.identity | {"latent_dim": (saved.declaration or {}).get("latent_dim")}
    both = {
        name: value for name, value in known.items() if name in now and isinstance(value, (int, float, str))
    }
    different = _different(both, {name: now[name] for name in both})
    if different:
        raise InputError(
            f"{path} does not match the checkpoint ({_words(both, now, different)}): restore the file"
        )


def _is_in_a_checkpoint(config: Mapping[str, Any], run: Path) -> bool:
    """Whether a checkpoint has this copy; a run that was resumed and killed has two versions."""
    for name in ("last.ckpt", "best.ckpt"):
        with suppress(InputError):
            copy = Checkpoint.read(run / name).config
            if copy is not None and not _different(copy, config):
                return True
    return False


def _different(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """The names of the options that differ."""
    absent = object()
    return {
        name
        for name in before.keys() | now.keys()
        if _text(before.get(name, absent)) != _text(now.get(name, absent))
    }


def _text(value: Any) -> str:  # noqa: ANN401
    """A value as text, so that nan equals nan and 1 differs from True."""
    return (
        repr(value)
        if not isinstance(value, Mapping)
        else repr(sorted((repr(k), _text(v)) for k, v in value.items()))
    )


def _words(before: Mapping[str, Any], now: Mapping[str, Any], different: set[str]) -> str:
    """The first option that differs, in words."""
    name = next(name for name in (*before, *now) if name in different)
    return f"{name} was {_short(before, name)} and is {_short(now, name)}"


def _short(config: Mapping[str, Any], name: str) -> str:
    words = str(config[name]) if name in config else "missing"
    return words if len(words) <= 60 else f"{words[:57]}..."
