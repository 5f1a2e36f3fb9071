"""Options of commands that train many VAEs: those of `fit` for all, and values that vary."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pyrovae import searching, training
from pyrovae.cli.commands import fit
from pyrovae.cli.helping import Section
from pyrovae.errors import InputError
from pyrovae.searching.reading import NAMES
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from pyrovae.cli.parsing import Option

__all__ = ["add_fit_options", "completed", "fixed", "sections", "space_of"]

_OWN = ("seed", "out", "resume", "figures", "track")  # of each run


def sections(own: Section) -> tuple[Section, ...]:
    """The section of a command, and those of `fit`, of which --help shows only --data."""
    hidden = {"data", *own.named, *_OWN}
    return own, *(
        Section(
            section.title,
            "data" if "data" in section.named else "",
            " ".join(name for name in section.named if name not in hidden),
            section.of,
        )
        for section in fit.SECTIONS
    )


def add_fit_options(parser: ArgumentParser) -> None:
    """Add the options of `fit` that apply to all runs."""
    fit.add_options(parser, skip=_OWN)


def completed(options: list[Option], name: str) -> list[Option]:
    """Read config files as `fit` does, and put all options of this name into one list."""
    words = [word for key, value in options if key == name for word in _words(value)]
    others = fit.completed([(key, value) for key, value in options if key != name])
    others = [(key, _untracked(value) if key == "config" else value) for key, value in others]
    return [*others, *([(name, json.dumps(words))] if words else [])]


def _untracked(config: str | None) -> str:
    """The options of a config file as text, without the trackers of its run."""
    values = {name: value for name, value in yaml.safe_load(config or "{}").items() if name != "track"}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def space_of(words: list[str] | None, file: str | None, options: Mapping[str, Any]) -> searching.Space:
    """The space of the words on the command line or of a file, with the other options fixed.

    Raises:
        InputError: if nothing varies, or both words and a file are given.
    """
    if file is not None and words:
        raise InputError("the space is given twice: use a file or --vary, not both")
    if file is not None:
        return searching.Space.read(Path(file), fixed(options), options.get("trust"))
    return searching.Space.of(words or [], fixed(options))


def fixed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `fit` that are not left at their defaults."""
    signatures = [inspect.signature(function).parameters for function in (VAE.suited, training.fit)]
    defaults = {name: p.default for parameters in signatures for name, p in parameters.items()}
    return {
        name: options[name] for name in NAMES if name in options and not _is(options[name], defaults[name])
    }


def _is(value: Any, default: Any) -> bool:  # noqa: ANN401
    return value is default or (type(value) is type(default) and value == default)


def _words(value: str | None) -> list[str]:
    """The words of an option, which are a list in JSON if there are several."""
    try:
        words = json.loads(value or "")
    except ValueError:
        words = None
    is_list = isinstance(words, list) and all(isinstance(word, str) for word in words)
    return words if is_list else [value or ""]
