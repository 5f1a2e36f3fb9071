"""What `pyrovae --help` prints: the commands by purpose, read from their source without torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from pyrovae.cli.commands import PURPOSES

__all__ = ["overview", "summary_of"]

SUMMARY = "Variational autoencoders as probabilistic programs."


def overview(files: Mapping[str, Path]) -> str:
    """The commands with their summaries, in the order in which they are used.

    Arguments:
        files: name of a command -> its file.
    """
    lines = ["usage: pyrovae COMMAND [options]", "", SUMMARY]
    for purpose, names in _grouped(files):
        lines += ["", purpose]
        lines += [f"    {name:<12} {summary_of(files[name]).rstrip('.')}" for name in names]
    return "\n".join([*lines, "", "`pyrovae COMMAND --help` shows the options of a command, with examples."])


def _grouped(files: Mapping[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """The purposes with the commands that exist; one without a purpose comes last."""
    rest = dict.fromkeys(files)
    for purpose, names in PURPOSES.items():
        present = [name for name in names if name in files]
        for name in present:
            del rest[name]
        if present:
            yield purpose, present
    if rest:
        yield "other", list(rest)


def summary_of(file: Path) -> str:
    """The first line of the docstring of a command."""
    functions = ast.parse(file.read_text(encoding="utf-8")).body
    function = next(f for f in functions if isinstance(f, ast.FunctionDef) and f.name == file.stem)
    return (ast.get_docstring(function) or "").partition("\n")[0]
