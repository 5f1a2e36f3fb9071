"""Lazy imports: names of a package that are imported at their first use (PEP 562)."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["lazy"]


def lazy(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make `__getattr__` and `__dir__` of a package.

    Arguments:
        package: its `__name__`.
        names: for each submodule, the names that the package exports from it; the submodule itself
            is exported too.

    Example:
        >>> import xml
        >>> get, names = lazy("xml", {"dom": ["Node"]})
        >>> get("Node") is get("dom").Node
        True
    """
    homes = {name: module for module, exports in names.items() for name in exports}

    def get(name: str) -> Any:  # noqa: ANN401
        path = f"{package}.{homes.get(name, name)}"
        try:
            if name.startswith("_"):
                raise ModuleNotFoundError(name=path)
            with warnings.catch_warnings():  # Pyro imports tqdm, which asks for widgets that we do not use
                warnings.filterwarnings("ignore", "IProgress not found")
                module = importlib.import_module(path)
        except ModuleNotFoundError as error:
            if error.name != path:
                raise
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
        value = getattr(module, name) if name in homes else module
        setattr(sys.modules[package], name, value)
        return value

    def public() -> list[str]:
        module = vars(sys.modules[package])
        return sorted({*module, *module.get("__all__", ())})

    return get, public
