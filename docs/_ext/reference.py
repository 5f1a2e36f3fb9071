"""The pages of the reference: one for each public module, with every name of its `__all__`.

They are written when the site is built, into docs/api, so a new name needs no new file.
"""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["Reference", "public_modules"]

# Modules for those who write parts; they are not in `pyrovae.__all__`.
FURTHER = ["distributions", "terms", "variables", "part", "errors", "baselines", "numerics"]


def public_modules(package: str = "pyrovae") -> list[str]:
    """The package, the modules that its `__all__` names, theirs, and those for authors of parts."""
    modules = _below(package) + [f"{package}.{name}" for name in FURTHER]
    return list(dict.fromkeys(modules))


def _below(name: str) -> list[str]:
    module = importlib.import_module(name)
    names = [f"{name}.{each}" for each in module.__all__ if inspect.ismodule(getattr(module, each))]
    return [name, *(each for below in names for each in _below(below))]


class Reference:
    """Where each public name is documented, and the pages."""

    def __init__(self) -> None:
        self.modules = {name: importlib.import_module(name) for name in public_modules()}
        self.homes: dict[int, str] = {}
        self.short: dict[str, str] = {}
        for name, module in self.modules.items():
            self.short.setdefault(name, name)
            for each, value in self._members(module):
                home = self.homes.setdefault(id(value), f"{name}.{each}")
                self.short.setdefault(each, home)

    def link(self, code: str, inside: str) -> str | None:
        """The full name for `code` in docs of a module, as in "Evidence" or "Normal(sd=1)"."""
        name = re.sub(r"\(.*\)$", "", code)
        if re.search(r"[^\w.]", name) or re.search(r"[<>`]", code):
            return None
        name = re.sub(r"^(pv|pyrovae)\.", "pyrovae.", name)
        module, dot, last = name.rpartition(".")
        place = self.modules.get(module if dot else inside)
        if place is not None and last in getattr(place, "__all__", ()):
            value = getattr(place, last)
            return value.__name__ if inspect.ismodule(value) else self.homes[id(value)]
        if f"pyrovae.{name}" in self.modules:
            return f"pyrovae.{name}" if dot or code != name else None
        owner, dot, attribute = name.partition(".")
        if dot and owner in self.short:
            return f"{self.short[owner]}.{attribute}"
        return self.short.get(name)

    def public_bases(self, cls: type) -> list[type]:
        """The nearest base classes that are described here or are those of another package."""
        bases: list[type] = []
        for base in cls.__bases__:
            own = base.__module__.startswith("pyrovae")
            is_shown = id(base) in self.homes if own else base.__module__ not in ("builtins", "typing", "abc")
            bases += [base] if is_shown else self.public_bases(base)
        return list(dict.fromkeys(bases))

    def write(self, folder: Path) -> None:
        """Write the pages that changed, and remove those of modules that are gone."""
        pages = {f"{name}.rst": self._page(name) for name in self.modules}
        for path in folder.glob("*.rst"):
            if path.name not in pages:
                path.unlink()
        for name, text in pages.items():
            path = folder / name
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")

    def _page(self, name: str) -> str:
        entries = [self._entry(name, each, value) for each, value in self._members(self.modules[name])]
        head = f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n\n.. py:currentmodule:: {name}\n"
        names = "".join(f"* :py:obj:`{each}`\n" for each, _ in self._members(self.modules[name]))
        return "\n".join([head, f".. container:: names\n\n{textwrap.indent(names, '    ')}", *entries])

    def _members(self, module: ModuleType) -> list[tuple[str, Any]]:
        values = [(name, getattr(module, name)) for name in sorted(module.__all__, key=str.lower)]
        return [(name, value) for name, value in values if not inspect.ismodule(value)]

    def _entry(self, module: str, name: str, value: object) -> str:
        kind = "class" if inspect.isclass(value) else "function" if inspect.isroutine(value) else "data"
        home = self.homes[id(value)]
        if home == f"{module}.{name}":
            options = "    :members:\n" if kind == "class" else ""
            options += "    :show-inheritance:\n" if options and self.public_bases(value) else ""
            return f".. auto{kind}:: {name}\n{options}"
        arguments = "" if kind == "data" else "(...)"
        return f".. py:{kind}:: {name}{arguments}\n\n    The same as :py:obj:`{home}`.\n"
