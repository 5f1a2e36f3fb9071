"""From words to a call: commands by file name, options from the function's signature.

    evaluate runs/a --method AIS --method.temperatures 200
        -> evaluate("runs/a", method=AIS(temperatures=200))

Commands need no registration. For input that cannot be used, the message is one sentence that names
the option and what it takes.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn, get_args

from jsonargparse import ArgumentError, ArgumentParser

import pyrovae
from pyrovae.checks import shown
from pyrovae.cli import commands
from pyrovae.cli.docstrings import Described, described
from pyrovae.cli.helping import help_of, part_help
from pyrovae.cli.messages import sentence
from pyrovae.cli.overview import overview
from pyrovae.errors import InputError, visible
from pyrovae.names import meant_by, named_classes, names_of
from pyrovae.trust import foreign_paths, importable_from, object_at

__all__ = ["bases_of", "command_files", "parse", "parser_of"]

Option = tuple[str, str | None]  # "" is the name of a positional argument

_TRUTH = {"true", "false", "yes", "no"}
_ALONE = {"print_config"}  # these never take the next word


def parse(words: Sequence[str]) -> Callable[[], None]:
    """The call that a command line describes.

    Raises:
        InputError: for an unknown command, option, part or value.
        SystemExit: after a command's `--help` and `--print_config`.
    """
    for word in words:
        if "\0" in word:
            raise InputError(f"{shown(word)} contains a NUL character: leave it out")
    name, *rest = words or ["--help"]
    if name in ("--help", "-h", "help"):
        name, rest = (rest[0], ["--help", *rest[1:2]]) if rest else ("--help", [])
    if name in ("--help", "-h", "help", "all"):
        return partial(print, overview(command_files()))
    if name == "--version":
        return partial(print, f"pyrovae {pyrovae.__version__}")
    name = name.replace("_", "-")
    if name not in (names := sorted(command_files())):
        meant = meant_by(name, [*names, "--help", "--version"])
        raise InputError(f"there is no command {shown(name)}: {meant}choose one of {', '.join(names)}")
    return _call(name, rest)


def command_files() -> dict[str, Path]:
    """The file of each command."""
    folder = Path(next(iter(commands.__path__)))
    return {file.stem.replace("_", "-"): file for file in sorted(folder.glob("[!_]*.py"))}


def _call(name: str, words: Sequence[str]) -> Callable[[], None]:
    stem = name.replace("-", "_")
    module = importlib.import_module(f"{commands.__name__}.{stem}")
    function = getattr(module, stem)
    parser = parser_of(name, function, getattr(module, "add_options", None))
    bases = bases_of(parser)
    options = list(_options(words, parser))
    topics = [value for key, value in options if key == "help"]
    if topics:
        help = help_of(name, function, parser, getattr(module, "SECTIONS", ()))
        _print(_parts_called(topics[0], bases, name) or help.on(topics[0]))
    options = [(key, _class_name(key, value, bases)) for key, value in options]
    asked = [(key, value) for key, value in options if key.endswith(".help")]
    options = asked[:1] or options  # only the help of a class is printed
    if any(_is_of_user(key, value, bases) for key, value in options):
        importable_from()
    for key, value in asked:
        _print_part(key.removesuffix(".help"), value, bases, name)
    if hasattr(module, "completed"):
        options = module.completed(options)
    try:
        chosen = parser.instantiate(parser.parse_args(_words(options)))
    except InputError:
        raise
    except (ArgumentError, ValueError, TypeError) as error:
        known = [option for action in parser._actions for option in action.option_strings]
        parts = {option: names_of(base) for option, base in bases.items()}
        raise InputError(sentence(str(error), known, parts)) from None
    return partial(function, **vars(chosen))


def _print(text: str) -> NoReturn:
    """Print a help and leave."""
    print(visible(text, lines=True))
    raise SystemExit(0)


def _parts_called(name: str | None, bases: dict[str, type], command: str) -> str:
    """The options of the parts of this name, ignoring case; empty if there are none."""
    parts = [
        part_help(role, cls, command)
        for role, base in bases.items()
        for known, cls in named_classes(base, "pyrovae.").items()
        if name is not None and known.lower() == name.lower()
    ]
    return "\n\n".join(parts)


def _print_part(role: str, value: str | None, bases: dict[str, type], command: str) -> None:
    """Print the options of a part and leave; the parser refuses what is none."""
    base = bases.get(role)
    cls = None if base is None or value is None else named_classes(base).get(value) or object_at(value)
    if base is not None and isinstance(cls, type) and issubclass(cls, base):
        _print(part_help(role, cls, command))


# -------------------------------------------------------------------- the parser of a command


def parser_of(
    name: str, function: Callable, add_options: Callable[[ArgumentParser], None] | None
) -> ArgumentParser:
    """The parser of a command: of its parameters, or of what `add_options` adds."""
    text = described(function)
    description = f"{text.summary} {text.body}".strip()
    parser = ArgumentParser(prog=f"pyrovae {name}", description=description, exit_on_error=False)
    if add_options is not None:
        add_options(parser)
    else:
        words = _add_words(parser, function, text)
        parser.add_function_arguments(function, as_group=False, skip=words)
    return parser


def _add_words(parser: ArgumentParser, function: Callable, text: Described) -> set[str | int]:
    """Add the positional parameters, several words for a list; returns their names."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    words = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    about = dict(text.arguments)
    for p in words:
        count = "+" if p.annotation == list[str] else None if p.default is p.empty else "?"
        default = {} if p.default is p.empty else {"default": p.default}
        parser.add_argument(p.name, type=str, nargs=count, help=about.get(p.name, ""), **default)
    return {p.name for p in words}


def bases_of(parser: ArgumentParser) -> dict[str, type]:
    """The options that take a class of the package, and the base of those classes."""
    hints = {action.dest: getattr(action, "_typehint", None) for action in parser._actions}
    return {
        name: kind
        for name, hint in hints.items()
        for kind in (get_args(hint) or (hint,))
        if isinstance(kind, type) and kind.__module__.startswith("pyrovae.")
    }


def _is_of_user(name: str, value: str | None, bases: Collection[str]) -> bool:
    """Whether an option names code by an import path, as a part or inside a part."""
    is_part = name.partition(".")[0] in bases
    return is_part and value is not None and next(foreign_paths(value), None) is not None


# -------------------------------------------------------------------- words


def _options(words: Sequence[str], parser: ArgumentParser) -> Iterator[Option]:
    """The options by name, with underscores, flags as true, and "" for positional words."""
    hints = {action.dest: getattr(action, "_typehint", None) for action in parser._actions}
    flags = {name for name, hint in hints.items() if hint is bool}
    perhaps = {name for name, hint in hints.items() if bool in get_args(hint)}  # a flag, or a word
    lists = {name for name, hint in hints.items() if list[str] in get_args(hint)}
    positional = {action.dest for action in parser._actions if not action.option_strings}
    rest = deque(words)
    while rest:
        word = rest.popleft()
        if not word.startswith("--"):
            if word != "-h":
                yield "", word
                continue
            word = "--help"
        name, equals, text = word[2:].partition("=")
        name, value = name.replace("-", "_"), text if equals else None
        following = rest[0] if rest and not rest[0].startswith("--") else None
        if value is None and name in flags and _is_flag(following, takes_words=bool(positional)):
            value = "true"
        elif value is None and name in perhaps and following is None:
            value = "true"
        elif value is None and name in lists and following is not None:
            value = _listed(rest)
        elif value is None and following is not None and name not in _ALONE:
            value = rest.popleft()
        yield "" if name in positional else name, value


def _listed(rest: deque[str]) -> str:
    """All words up to the next option, as a list when they are several."""
    words = []
    while rest and not rest[0].startswith("--"):
        words.append(rest.popleft())
    return words[0] if len(words) == 1 else json.dumps(words)


def _is_flag(following: str | None, *, takes_words: bool) -> bool:
    """Whether a boolean option stands alone, as in `sample --array RUN`."""
    return following is None or (takes_words and following.lower() not in _TRUTH)


def _words(options: Collection[Option]) -> list[str]:
    named = [f"--{name}" + ("" if value is None else f"={value}") for name, value in options if name]
    return [*(value for name, value in options if not name and value is not None), *named]


def _class_name(name: str, value: str | None, bases: dict[str, type]) -> str | None:
    """The class that a name means, ignoring case.

    Raises:
        InputError: if no class has that name; the message lists the existing names.
    """
    role = name.removesuffix(".help")
    base = bases.get(role)
    if base is None or (value and (any(mark in value for mark in ".{") or value in ("null", "None"))):
        return value
    known = names_of(base)
    for candidate in (value, *known):
        if value and candidate in known and candidate.lower() == value.lower():
            return candidate
    asked = f"there is no {role} {shown(value)}:" if value else f"which {role}?"
    module = f"{role[:-1]}ies" if role.endswith("y") else f"{role}s"
    raise InputError(
        f"{asked} {meant_by(value or '', known)}choose one of {', '.join(known)}, or give the import path of "
        f"a custom class, as in mypackage.{module}.My{base.__name__}"
    )
