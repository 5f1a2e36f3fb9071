"""The help of a command: the common options in at most 40 lines, or all of them.

    pyrovae fit --help                          what most people need, with examples
    pyrovae fit --help all                      every option, in the order of use
    pyrovae fit --help training                 one section
    pyrovae fit --help lr                       one option
    pyrovae fit --prior.help GaussianMixture    the options of a part

Everything comes from the docstring and the options of the command. Its module may also define
`SECTIONS`, which say in which order the options are shown and which of them are common.
"""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyrovae.cli.docstrings import Described, described, plain
from pyrovae.cli.kinds import Kind, kind_of
from pyrovae.errors import InputError
from pyrovae.names import meant_by

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["Entry", "Help", "Section", "help_of", "part_entries", "part_help"]

LEAST, MOST = 60, 100  # columns
COLUMN = 26  # where the descriptions start
RUN = "RUN"


@dataclass(frozen=True)
class Section:
    """Options that are shown together.

    Attributes:
        title: its name; `--help TITLE` shows it alone.
        common: the names of the options that `--help` shows, in this order.
        more: the names of options that only `--help all` shows, before the others.
        of: a function whose other parameters belong here too.
    """

    title: str
    common: str = ""
    more: str = ""
    of: Callable[..., Any] | None = None

    @property
    def named(self) -> tuple[str, ...]:
        """The options that it names."""
        return (*self.common.split(), *self.more.split())

    def parameters(self) -> list[str]:
        """The parameters of `of`."""
        return [] if self.of is None else list(inspect.signature(self.of).parameters)


@dataclass(frozen=True)
class Entry:
    """One option, or one word, of a command.

    Attributes:
        name: as it is typed, without dashes.
        kind: what it takes.
        about: its description.
        default: as it is typed; empty if there is none to show.
        is_word: whether it is given without a name, as RUN.
        is_optional: whether it may be left out.
    """

    name: str
    kind: Kind
    about: str = ""
    default: str = ""
    is_word: bool = False
    is_optional: bool = True

    @property
    def typed(self) -> str:
        """The option with what it takes, as in `--lr NUMBER`."""
        return self.kind.word if self.is_word else f"--{self.name} {self.kind.word}".rstrip()

    def line(self) -> str:
        """The first clauses of the description that fit into a line, with choices and default."""
        room = _width() - COLUMN
        texts = [self._ended(text) for text in _beginnings(self.about)]
        return _columns(f"  {self.typed}", next((t for t in texts if len(t) <= room), texts[-1]))

    def _ended(self, text: str) -> str:
        """A beginning of the description, with choices that it does not name and the default."""
        if not set(self.kind.unsaid) <= set(re.findall(r"[\w.]+", text)):
            text += f": {', '.join(self.kind.unsaid)}"
        is_cut = "by default" in self.about and "by default" not in text
        default = self.default or ("auto" if is_cut else "")
        return _with(text, default)

    def lines(self) -> str:
        """The option with its whole description."""
        return _columns(f"  {self.typed}", _with(self.whole(), self.default))

    def whole(self) -> str:
        """The whole description, with the choices that it does not name."""
        words = re.findall(r"[\w.]+", self.about)
        choices = () if set(self.kind.unsaid) <= set(words) else self.kind.unsaid
        parts = [*self.kind.parts, "or the import path of a custom one"] if self.kind.parts else []
        one_of = f"one of {', '.join(parts or choices)}" if parts or choices else ""
        return "; ".join(filter(None, (self.about, one_of)))


@dataclass(frozen=True)
class Help:
    """What is known of a command.

    Attributes:
        command: its name.
        text: its docstring.
        sections: the entries by the title of their section, in the order in which they are shown.
        common: the names of the entries that `--help` shows, or None for all.
    """

    command: str
    text: Described
    sections: Mapping[str, Sequence[Entry]]
    common: frozenset[str] | None = None
    parts: tuple[str, ...] = field(default=())

    def entries(self) -> list[Entry]:
        """All entries."""
        return [entry for entries in self.sections.values() for entry in entries]

    def on(self, topic: str | None = None) -> str:
        """What `--help` prints, or `--help TOPIC`.

        Raises:
            InputError: if there is no such topic.
        """
        if topic is None:
            return self._short()
        name = topic.strip("-").replace("-", "_").lower()
        if name == "all":
            return "\n".join([*self._head(), *self._sections(Entry.lines, between=""), *self._foot()])
        if name in self.sections:
            return "\n".join([name, *(entry.lines() for entry in self.sections[name])])
        entry = next((entry for entry in self.entries() if entry.name == name), None)
        if entry is None:
            names = ["all", *self.sections, *(entry.name for entry in self.entries())]
            meant = meant_by(name, names) or f"give all, {', '.join(self.sections)} or the name of an option"
            raise InputError(f"there is no help on {topic!r} of {self.command}: {meant.strip()}")
        more = f"\n\n--{name}.help NAME explains one" if entry.kind.parts else ""
        return entry.lines() + more

    def _short(self) -> str:
        lines = self._sections(Entry.line, self.common)
        return "\n".join([*self._head(), *lines, *self._foot(is_short=True)])

    def _head(self) -> list[str]:
        words = [entry for entry in self.entries() if entry.is_word]
        typed = [f"[{word.typed}]" if word.is_optional else word.typed for word in words]
        usage = " ".join(["usage: pyrovae", self.command, *typed, "[options]"])
        paragraphs = [self.text.summary, *filter(None, self.text.body.split("\n\n"))]
        examples = ["examples", *(f"  {example}" for example in self.text.examples), ""]
        return [usage, "", _filled(" ".join(paragraphs)), "", *(examples if self.text.examples else [])]

    def _sections(
        self,
        shown: Callable[[Entry], str],
        names: frozenset[str] | None = None,
        between: str | None = None,
    ) -> Iterator[str]:
        """The lines of the sections, of these entries only, and what is between two sections."""
        for i, (title, entries) in enumerate(self.sections.items()):
            some = [entry for entry in entries if names is None or entry.name in names]
            if some:
                yield from [] if between is None or i == 0 else [between]
                yield title
                yield from map(shown, some)

    def _foot(self, *, is_short: bool = False) -> Iterator[str]:
        words = ["--help all shows the rest"] if is_short and self._short_leaves_out() else []
        if self.parts:
            part = self.parts[0]
            words += [f"--help {part} lists the names for --{part}"] if is_short else []
            words += [f"--{part}.help NAME explains one"]
        if words:
            yield ""
            yield _filled("; ".join(words))

    def _short_leaves_out(self) -> bool:
        """Whether `--help` leaves out an option, or the end of a description."""
        return self.common is not None or any(entry.line() != entry.lines() for entry in self.entries())


def help_of(command: str, function: Callable, parser: ArgumentParser, sections: Sequence[Section]) -> Help:
    """The help of a command.

    Arguments:
        command: its name.
        function: its function.
        parser: its options.
        sections: which options are shown together; those in none of them are in "options".
    """
    text = described(function)
    entries = {entry.name: entry for entry in _entries(parser)}
    words = [entry for entry in entries.values() if entry.is_word]
    placed: dict[str, list[Entry]] = {"arguments": words} if words else {}
    rest = {name: entry for name, entry in entries.items() if not entry.is_word}
    explicit = {name for section in sections for name in section.named}
    for section in sections:
        names = [*section.named, *(name for name in section.parameters() if name not in explicit)]
        placed[section.title] = [rest.pop(name) for name in names if name in rest]
    if rest:
        placed["other options" if sections else "options"] = list(rest.values())
    common = {name for section in sections for name in section.common.split()}
    parts = tuple(entry.name for entry in entries.values() if entry.kind.parts)
    chosen = frozenset(common | {word.name for word in words}) if common else None
    return Help(command, text, {k: v for k, v in placed.items() if v}, chosen, parts)


def part_help(role: str, cls: type, command: str) -> str:
    """The options of a part, as they are typed after its name."""
    lines = [f"{cls.__name__}: {_worded(described(cls).summary)}", ""]
    for entry in part_entries(cls):
        default = f"default: {entry.default}" if entry.is_optional else "required"
        text = "; ".join(filter(None, (entry.whole(), default)))
        lines.append(_columns(f"  --{role}.{entry.typed[2:]}", text))
    lines += ["", f"usage: pyrovae {command} --{role} {cls.__name__} [--{role}.OPTION VALUE ...]"]
    return "\n".join([*lines, f"theory and source: pyrovae parts {_path(cls)}"])


def part_entries(cls: type) -> Iterator[Entry]:
    """The options of a part."""
    about = dict(described(cls).arguments)
    for p in _parameters(cls):
        kind, is_optional = kind_of(p.name, p.annotation), p.default is not p.empty
        default = _default(p.default) or "null"
        yield Entry(p.name, kind, _worded(about.get(p.name, "")), default, is_optional=is_optional)


def _path(cls: type) -> str:
    return cls.__name__ if cls.__module__.startswith("pyrovae.") else f"{cls.__module__}.{cls.__name__}"


def _parameters(cls: type) -> list[inspect.Parameter]:
    try:
        signature = inspect.signature(cls, eval_str=True)
    except (NameError, AttributeError):  # an annotation that exists for a type checker only
        signature = inspect.signature(cls)
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p for p in signature.parameters.values() if p.kind in kinds]


# -------------------------------------------------------------------- entries


def _entries(parser: ArgumentParser) -> Iterator[Entry]:
    """The words and options of a parser, without the help of parts."""
    actions = [action for action in parser._actions if not action.dest.endswith("help")]
    names = [action.dest for action in actions]
    for action in actions:
        is_word = not action.option_strings
        if action.dest == "print_config":
            yield Entry(action.dest, Kind(""), "print the options as a config file, and do nothing else")
            continue
        kind = kind_of(action.dest, getattr(action, "_typehint", str), action.default)
        if is_word:
            kind = Kind(f"{RUN} [{RUN} ...]" if action.nargs == "+" else _upper(action.dest, kind))
        default = _default(action.default) if kind.word and not is_word else ""
        about = _worded(action.help or "", names)
        yield Entry(action.dest, kind, about, default, is_word, is_optional=action.nargs == "?")


def _upper(name: str, kind: Kind) -> str:
    """The word for a positional argument."""
    return name.upper() if kind.word == "WORD" else kind.word


def _default(value: object) -> str:
    """A default as it is typed; empty for None and for what is no plain value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(str, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, (int, str)) else ""


# -------------------------------------------------------------------- text


def _worded(text: str, names: Iterable[str] = ()) -> str:
    """A description for a command line: options as they are typed, without Python's values.

    Example:
        >>> _worded("resume the run in `out`; None does not. In Python, a path.", ["out"])
        'resume the run in --out; null does not'
    """
    names = set(names)
    text = plain(" ".join(text.replace("%%", "%").split()))
    text = re.sub(r"(^| )In Python,? .*?(\.(?= )|$)", "", text).rstrip(". ")
    text = re.sub(r"`(\w+)`", lambda m: f"--{m[1]}" if m[1] in names else m[1], text)
    text = re.sub(r"`(\w+)\(\)`", r"\1", text)
    text = re.sub(r"\b(\w+)=(?![\w\"'\[])", lambda m: f"--{m[1]}" if m[1] in names else m[0], text)
    text = re.sub(r"\b(\w+)=\"(\w+)\"", lambda m: f"--{m[1]} {m[2]}" if m[1] in names else m[0], text)
    return re.sub(r"\b(None|True|False)\b", lambda m: {"None": "null"}.get(m[1], m[1].lower()), text)


def _beginnings(text: str) -> list[str]:
    """A description, and its beginnings that end with a clause, from long to short.

    Example:
        >>> _beginnings("the size of z; by default half the elements of x, at most 32")[1:]
        ['the size of z']
    """
    ends = [m.start() for m in re.finditer(r"[;:.](?= )|, (?=by default)", text)]
    return [text, *dict.fromkeys(text[:end].rstrip(";:., ") for end in reversed(ends))]


def _with(text: str, default: str) -> str:
    """A description with a default, which has no brackets of its own."""
    return f"{text} [{default.strip('[]')}]" if default else text


def _width() -> int:
    return min(max(shutil.get_terminal_size().columns, LEAST), MOST)


def _columns(left: str, text: str) -> str:
    """A description in the second column, which starts on the next line if the first is long."""
    indent = " " * COLUMN
    if len(left) > COLUMN - 1:
        return "\n".join(filter(None, (left, _filled(text, indent))))
    return _filled(text, indent, first=left.ljust(COLUMN)) if text else left


def _filled(text: str, indent: str = "", *, first: str | None = None) -> str:
    return textwrap.fill(
        " ".join(text.split()),
        _width(),
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
