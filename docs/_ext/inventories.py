"""Inventories for intersphinx, made from `docs/elsewhere.txt`, so that a build needs no network."""

from __future__ import annotations

import zlib
from pathlib import Path

__all__ = ["inventories", "names"]


def _projects(table: Path) -> dict[str, tuple[str, list[list[str]]]]:
    """Each project's address, and the name, kind and page of each of its objects."""
    found: dict[str, tuple[str, list[list[str]]]] = {}
    rows: list[list[str]] = []
    for line in table.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if line.startswith("#") or not words:
            continue
        if words[1].startswith("https://"):
            found[words[0]] = words[1], (rows := [])
        else:
            rows.append(words)
    return found


def names(table: Path) -> set[str]:
    """The full names in the table."""
    return {row[0] for _, rows in _projects(table).values() for row in rows}


def inventories(table: Path, folder: Path) -> dict[str, tuple[str, str]]:
    """Write one inventory for each project; returns `intersphinx_mapping`."""
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for project, (address, rows) in _projects(table).items():
        head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
        head += "# The remainder of this file is compressed using zlib.\n"
        lines = "".join(f"{name} py:{kind} 1 {_place(page)} -\n" for name, kind, page in rows)
        path = folder / f"{project}.inv"
        path.write_bytes(head.encode() + zlib.compress(lines.encode()))
        mapping[project] = (address, str(path))
    return mapping


def _place(page: str) -> str:
    """A page and an anchor, which is by default the name ("$")."""
    return page if "#" in page else f"{page}#$"
