"""What a shell completes: commands, options and their values, parts and their options.

A value is completed by its words, or by what it names on the machine: "@run" a run folder, "@data"
a known data set or a file, "@file" a file.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

from pyrovae.cli.commands.parts import AXES, classes_of
from pyrovae.cli.helping import Entry, Help, help_of, part_entries
from pyrovae.cli.kinds import FILES, kind_of
from pyrovae.cli.overview import summary_of
from pyrovae.cli.parsing import bases_of, command_files, parser_of
from pyrovae.datasets.catalogue import NAMES
from pyrovae.names import named_classes

__all__ = ["DATA", "Argument", "Command", "PartOptions", "all_commands"]

DATA = tuple(NAMES)
SHOWN = 70  # characters of a description in a list of completions


@dataclass(frozen=True)
class Argument:
    """An option, or a word that is given without one.

    Attributes:
        name: with its dashes; the name of a word.
        about: a short description.
        values: the words that it takes, or one that starts with @.
        is_flag: whether it takes no value.
        is_list: whether it may be repeated, as the runs of `compare`.
    """

    name: str
    about: str = ""
    values: tuple[str, ...] = ()
    is_flag: bool = False
    is_list: bool = False


@dataclass(frozen=True)
class Command:
    """A command with its options and words, and the options that take parts by their base class."""

    name: str
    summary: str
    options: tuple[Argument, ...]
    words: tuple[Argument, ...] = ()
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class PartOptions:
    """A part for a role such as "prior", with its options."""

    role: str
    name: str
    options: tuple[Argument, ...]


def all_commands() -> tuple[list[Command], list[PartOptions]]:
    """The commands with what they take, and the parts for the roles of all commands."""
    commands: list[Command] = []
    roles: dict[str, type] = {}
    for name, file in command_files().items():
        module = importlib.import_module(f"pyrovae.cli.commands.{file.stem}")
        function = getattr(module, file.stem)
        parser = parser_of(name, function, getattr(module, "add_options", None))
        roles |= bases_of(parser)
        about = help_of(name, function, parser, getattr(module, "SECTIONS", ()))
        commands.append(_command(about, summary_of(file), function))
    return commands, _parts(roles)


def _command(about: Help, summary: str, function: Callable) -> Command:
    options = [_argument(entry) for entry in about.entries() if not entry.is_word]
    options += [Argument(f"--{role}.help", f"explain a {role}", _named(about, role)) for role in about.parts]
    options.append(Argument("--help", "show the options", ("all", *about.sections)))
    words = tuple(_word(entry, function) for entry in about.entries() if entry.is_word)
    return Command(about.command, summary.rstrip("."), tuple(options), words, about.parts)


def _word(entry: Entry, function: Callable) -> Argument:
    """A word of a command, whose choices only its annotation has."""
    word, parameters = _argument(entry), inspect.signature(function, eval_str=True).parameters
    hint = parameters[entry.name].annotation if entry.name in parameters else None
    values = kind_of(entry.name, hint).choices or word.values
    if values == ("@part",):
        values = tuple(name for axis in AXES for name in classes_of(axis))
    return replace(word, values=tuple(dict.fromkeys(values)), is_list=hint == list[str])


def _named(about: Help, role: str) -> tuple[str, ...]:
    return next(entry.kind.parts for entry in about.entries() if entry.name == role)


def _argument(entry: Entry, prefix: str = "") -> Argument:
    name = entry.name if entry.is_word else f"--{prefix}{entry.name}"
    file = "" if prefix or entry.kind.choices else FILES.get(entry.name, "")
    values = entry.kind.parts or entry.kind.choices or ((f"@{file}",) if file else ())
    return Argument(name, _short(entry.about), values, is_flag=not entry.kind.word)


def _short(text: str) -> str:
    """A description in a few words, without what a shell would read."""
    first = text.partition("; ")[0].partition(": ")[0]
    plain = "".join(c for c in first if c.isalnum() or c in " .,|()[]-+/=")
    return plain if len(plain) <= SHOWN else f"{plain[:SHOWN].rpartition(' ')[0].rstrip(',')} ..."


def _parts(roles: dict[str, type]) -> list[PartOptions]:
    """The parts for each role, by its base class."""
    return [
        PartOptions(role, name, tuple(_argument(entry, f"{role}.") for entry in part_entries(cls)))
        for role, base in roles.items()
        for name, cls in named_classes(base, "pyrovae.").items()
    ]
