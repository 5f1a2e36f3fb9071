"""config.yaml: the options of a run as plain values, and the copy of them in its checkpoints.

A config file has options only: no references between its parts (YAML aliases, with which a short
file can describe gigabytes), and at most a megabyte. That of a run is compared with the copy in the
checkpoint, so a file that was cut off, changed, or is of another run is noticed; comments and blanks
may be changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pyrovae.errors import InputError
from pyrovae.training.checkpoint import Checkpoint, upgraded_config

__all__ = ["LARGEST", "check_config", "config_of_run", "read_config", "resumed_config"]

LARGEST = 2**20
_ABSENT = "absent"


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
        InputError: for a file that cannot be read, is too large, has aliases, or is no mapping.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise InputError(f"{path} is larger than a megabyte: is this a config file? name another")
        config = yaml.load(text.decode(), _Loader)  # noqa: S506: its base is SafeLoader
    except (OSError, RecursionError, UnicodeDecodeError) as error:
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else "it is not plain YAML"
        raise InputError(f"{path} cannot be read: {reason}; name a config file") from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read: {_problem(error)}; correct the file or name another") from None
    if not isinstance(config, dict) or not all(isinstance(name, str) for name in config):
        raise InputError(f"{path} has no options: write one in each line, as in 'epochs: 20'")
    return config


def _problem(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    line = f" in line {mark.line + 1}" if mark is not None else ""
    return f"{problem or str(error).splitlines()[0]}{line}"


def config_of_run(run: str | os.PathLike[str], saved: Checkpoint | None = None) -> dict[str, Any]:
    """The options of a run, in the form of this version.

    Arguments:
        run: the run folder.
        saved: a checkpoint of the run; its copy is used when config.yaml is missing.

    Raises:
        InputError: if the folder holds no run, or its config.yaml is not that of the checkpoint.
    """
    path = Path(run) / "config.yaml"
    copy = None if saved is None else saved.config
    if copy is not None:
        check_config(run, copy)
        return upgraded_config(copy)
    if not path.is_file():
        raise InputError(f"there is no {path}: is this the folder of a run?")
    return upgraded_config(read_config(path))


def resumed_config(run: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The options with which the run in a folder is resumed; None without a run.

    Raises:
        InputError: if its last checkpoint is damaged, or config.yaml is not that of the run.
    """
    folder = Path(run)
    if not (folder / "last.ckpt").is_file():
        path = folder / "config.yaml"
        return upgraded_config(read_config(path)) if path.is_file() else None
    last = Checkpoint.read(folder / "last.ckpt", to_resume=True)
    if last.config is None:
        return config_of_run(run, last)
    try:
        check_config(run, last.config)
    except InputError:  # a run that was killed while it was resumed has an older best.ckpt
        if not (folder / "best.ckpt").is_file():
            raise
        check_config(run, last.config, Checkpoint.read(folder / "best.ckpt").config)
    return upgraded_config(last.config)


def check_config(run: str | os.PathLike[str], *copies: Mapping[str, Any] | None) -> None:
    """Check that config.yaml of a run, if there is one, is one of the copies in its checkpoints.

    Raises:
        InputError: with what is different, and the cure.
    """
    path = Path(run) / "config.yaml"
    known = [copy for copy in copies if copy is not None]
    if not known or not path.is_file():
        return
    cure = "the checkpoints have a copy, so delete the file, or put it back as it was"
    try:
        now = read_config(path)
    except InputError as error:
        raise InputError(f"{str(error).rpartition(';')[0]}; {cure}") from None
    if all(_text(now) != _text(copy) for copy in known):
        raise InputError(
            f"{path} is not that of the checkpoint ({_difference(known[0], now)}): {cure}, and give other "
            "options on the command line"
        )


def _text(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(config), sort_keys=True)


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first option that differs, in words."""
    names = [*before, *(name for name in now if name not in before)]
    for name in names:
        was, is_now = (_text({"": config[name]}) if name in config else _ABSENT for config in (before, now))
        if was != is_now:
            return f"{name} was {_short(before, name)} and is {_short(now, name)}"
    return "another order"


def _short(config: Mapping[str, Any], name: str) -> str:
    words = str(config[name]) if name in config else "not there"
    return words if len(words) <= 60 else f"{words[:57]}..."
