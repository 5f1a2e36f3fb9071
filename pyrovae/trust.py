"""Decide which import paths a file may name.

A run folder and a config file name the classes of their parts by import paths. Importing a module
runs it, so reading a file imports only

    pyrovae.*           the package itself
    torch.nn.*          the classes of torch's layers, for `Wrapped`
    parts that the program has already imported
    modules that the reader trusts by name: trust=["mypackage"], or --trust mypackage

Everything else is refused before it is imported. Import paths that a user writes in Python or on
the command line need no trust.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import yaml

from pyrovae.cures import cure
from pyrovae.errors import InputError
from pyrovae.names import meant_by, names_of

__all__ = [
    "check_callable",
    "check_paths",
    "class_at",
    "foreign_paths",
    "importable_folder",
    "importable_from",
    "object_at",
    "origins",
    "reading",
    "trusted_names",
    "trusting",
    "vouch",
    "working_folder",
]

PACKAGE = "pyrovae"
LAYERS = "torch.nn"
_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")

_trusted: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())
_is_reading: ContextVar[bool] = ContextVar("is_reading", default=False)
_vouched: set[str] = set()  # import paths that the running program itself has named
_folder: list[str] = []  # the working folder of the command line


# ------------------------------------------------------------------ trusted names


@contextmanager
def trusting(names: str | Sequence[str] | None) -> Iterator[None]:
    """Trust modules and packages by name, inside the block.

    Arguments:
        names: import paths, or one string with commas; None trusts nothing more.

    Raises:
        InputError: for what is not a name.

    Example:
        >>> with trusting("mypackage"):
        ...     check_paths({"class_path": "mypackage.priors.Horseshoe"}, "config.yaml", int)
    """
    token = _trusted.set((*_trusted.get(), *trusted_names(names)))
    try:
        yield
    finally:
        _trusted.reset(token)


def trusted_names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names in an option.

    Raises:
        InputError: for what is not a name.

    Example:
        >>> trusted_names("mypackage, other.parts")
        ('mypackage', 'other.parts')
    """
    if names is None:
        return ()
    several = isinstance(names, (list, tuple, set, frozenset))
    words: list[Any] = list(names) if several else names.split(",") if isinstance(names, str) else [names]
    for word in words:
        if not isinstance(word, str) or not all(part.isidentifier() for part in word.strip().split(".")):
            wrong = repr(word) if isinstance(word, str) else f"a value of type {type(word).__name__}"
            raise InputError(f"trust takes names of modules, as in ['mypackage'], not {wrong}: name one")
    return tuple(word.strip() for word in words)


@contextmanager
def reading() -> Iterator[None]:
    """Mark a block in which a declaration comes from a file, not from Python."""
    token = _is_reading.set(True)
    try:
        yield
    finally:
        _is_reading.reset(token)


def vouch(path: str) -> None:
    """Remember in this process that the running program, not a file, has named an import path."""
    if not _is_reading.get():
        _vouched.add(path)


# ------------------------------------------------------------------ names in a file


def foreign_paths(value: Any) -> Iterator[str]:  # noqa: ANN401
    """The import paths outside the package in a declaration, wherever they may be.

    Example:
        >>> prior = {"class_path": "mypackage.Mine", "init_args": {"a": "pyrovae.priors.VampPrior"}}
        >>> list(foreign_paths({"prior": prior, "lr": 0.1}))
        ['mypackage.Mine']
    """
    return (path for path in _paths(value) if not _is_own(path))


def _paths(value: Any) -> Iterator[str]:  # noqa: ANN401
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _paths(name)
            yield from _paths(item)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _paths(item)
    elif isinstance(value, str):
        if _IMPORT_PATH.fullmatch(value.strip()):
            yield value.strip()
        else:  # a parser may read it as YAML
            yield from _paths(_inner(value))


def _inner(text: str) -> Any:  # noqa: ANN401
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise InputError(f"the text {text[:40]!r} has a YAML alias: write its value out")
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return None
    return None if value == text else value


def check_paths(value: Any, where: str, base: type) -> None:  # noqa: ANN401
    """Refuse a declaration that names code that is not trusted.

    Arguments:
        value: the declaration, in plain values.
        where: the file that it is from.
        base: a path may always name a subclass of this class that is in the package or already
            imported.

    Raises:
        InputError: with the path and the name to trust.
    """
    for path in _paths(value):
        if _is_own(path):
            if not _is_class(_own(path), base):
                folder = ".".join(path.split(".")[:2])
                meant = meant_by(path.rpartition(".")[2], names_of(base, folder))
                cure = meant.strip() or "`pyrovae parts` lists them"
                raise InputError(f"{where} names {path!r}, which is not a part of PyroVAE: {cure}")
        elif not (_is_allowed(path) or _is_layer(path) or _is_class(_loaded(path), base)):
            raise _refusal(path, f"{where} names ")


def origins(paths: Sequence[str]) -> dict[str, str | None]:
    """Where the top-level packages of import paths are found, without importing them."""
    with working_folder():
        return {top: _origin(top) for top in sorted({path.partition(".")[0] for path in paths})}


def _origin(top: str) -> str | None:
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ())
    return os.path.realpath(spec.origin) if spec.has_location and spec.origin else ":".join(places) or None


# ------------------------------------------------------------------ importing


def class_at(path: str, base: type) -> type:
    """The class at an import path of a declaration, a subclass of `base`.

    A class of the package is also found when its file has moved: for
    "pyrovae.priors.mixture.GaussianMixture" it also tries "pyrovae.priors.GaussianMixture".

    Raises:
        InputError: if the path is not trusted, cannot be imported or is not such a class.
    """
    found = _found(str(path), base)
    if found is None:
        raise InputError(
            f"{path!r} cannot be imported; give the import path of a class, as in "
            "'pyrovae.priors.GaussianMixture'"
        )
    if not (isinstance(found, type) and issubclass(found, base)):
        raise InputError(f"{path} is not a {base.__name__}: name one")
    return found


def _found(path: str, base: type) -> object:
    if not _IMPORT_PATH.fullmatch(path):
        return None
    if _is_own(path):
        return _own(path)
    if _is_allowed(path):
        return object_at(path)
    # A part of the wrong kind is reported as such.
    kinds = tuple(cls for cls in base.__mro__ if cls.__module__.partition(".")[0] == PACKAGE)
    if _is_class(_loaded(path), kinds):
        return _loaded(path)
    raise _refusal(path)


def _own(path: str) -> object:
    """The object at a path of the package; its file may have moved."""
    module, _, name = path.rpartition(".")
    places = (module, ".".join(module.split(".")[:2]))
    return next((found for place in places if (found := _imported(place, name)) is not None), None)


def object_at(path: str) -> object:
    """The object at an import path that is trusted; None if it cannot be imported."""
    if not _IMPORT_PATH.fullmatch(path):  # nor was it checked as one
        return None
    module, _, name = path.rpartition(".")
    if not _is_layer(path):
        importable_from()
    return _imported(module, name)


def check_callable(path: str) -> None:
    """Refuse the import path of a function or class in a file, unless it is trusted.

    Raises:
        InputError: with the name to trust.
    """
    if _is_allowed(path) or _is_layer(path):
        return
    if _is_own(path):
        raise InputError(f"{path!r} is not a layer, but code of PyroVAE: name one of torch.nn or your own")
    if not _IMPORT_PATH.fullmatch(path):
        raise InputError(f"{path!r} is not an import path, as in 'mynets.Encoder': give one")
    raise _refusal(path)


def _imported(module: str, name: str) -> object:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None


def _loaded(path: str) -> object:
    """The object at a path of a module that is already imported; runs no code."""
    module, _, name = path.rpartition(".")
    return vars(sys.modules[module]).get(name) if module in sys.modules else None


def _is_class(found: object, base: type | tuple[type, ...]) -> bool:
    return isinstance(found, type) and issubclass(found, base)


def _is_own(path: str) -> bool:
    return path.partition(".")[0] == PACKAGE


def _is_allowed(path: str) -> bool:
    names = (*_trusted.get(), *_vouched)
    return any(path == name or path.startswith(f"{name}.") for name in names)


def _is_layer(path: str) -> bool:
    """Whether a path is that of one of torch's layers."""
    module = path.rpartition(".")[0]
    if module != LAYERS and not module.startswith(f"{LAYERS}.modules"):
        return False
    from torch import nn

    found = _loaded(path)
    home = f"{LAYERS}.modules."
    return isinstance(found, type) and issubclass(found, nn.Module) and found.__module__.startswith(home)


def _refusal(path: str, start: str = "") -> InputError:
    top = path.partition(".")[0]
    return InputError(
        f"{start}{path!r}{',' if start else ' is'} an import path outside PyroVAE, and importing it runs "
        f"code: if you trust it, add {cure(f'trust=[{top!r}]', f'--trust {top}')}"
    )


# ------------------------------------------------------------------ the working folder


@contextmanager
def importable_folder(folder: str) -> Iterator[None]:
    """Allow imports of trusted modules from a folder too, as `python -m` does, inside a block."""
    _folder.append(folder)
    before = list(sys.path)
    try:
        yield
    finally:
        _folder.remove(folder)
        if folder not in before and folder in sys.path:
            sys.path.remove(folder)


def importable_from() -> None:
    """Add the working folder of the command line to the module search path, when it is needed."""
    sys.path.extend(folder for folder in _folder if folder not in sys.path and "" not in sys.path)


@contextmanager
def working_folder() -> Iterator[None]:
    """Look for modules in the working folder too, inside the block."""
    before = list(sys.path)
    importable_from()
    try:
        yield
    finally:
        sys.path[:] = before
