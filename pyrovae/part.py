"""One part of a probabilistic program: declared once, attached once.

A part has two moments. Its constructor stores hyperparameters under their own names and does
nothing else, so that a part can be printed, compared, copied and written to YAML without any
book-keeping. `attach(...)` is called once by the program that uses it, with the sizes that only
the whole program knows, and creates parameters and buffers.

    GaussianMixture(components=10)
      <-> {"class_path": "pyrovae.priors.GaussianMixture", "init_args": {"components": 10}}

The convention is scikit-learn's (Buitinck et al., 2013, "API design for machine learning software").
"""

from __future__ import annotations

import copy
import importlib
import inspect
from abc import ABC
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from torch import nn

from pyrovae.errors import InputError

__all__ = ["Declared", "Part"]


class Declared:
    """An object that is its constructor's keyword arguments: printable, comparable, writable."""

    def hyperparameters(self) -> dict[str, Any]:
        """The keyword arguments that declare this object, read back from its attributes.

        Raises:
            InputError: when the constructor did not store an argument under its own name.
        """
        names = [
            p.name
            for p in inspect.signature(type(self)).parameters.values()
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        missing = [name for name in names if not hasattr(self, name)]
        if missing:
            raise InputError(
                f"{type(self).__name__} does not store its argument {missing[0]!r}: "
                f"write `self.{missing[0]} = {missing[0]}` in its __init__"
            )
        return {name: getattr(self, name) for name in names}

    def clone(self) -> Self:
        """A new object with the same declaration and nothing learned."""
        return type(self)(**copy.deepcopy(self.hyperparameters()))

    def to_dict(self) -> dict[str, Any]:
        """The declaration as plain values, in the form that YAML and the command line read."""
        cls = type(self)
        init_args = {name: _plain(value) for name, value in self.hyperparameters().items()}
        return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": init_args}

    @classmethod
    def from_dict(cls, declaration: Mapping[str, Any]) -> Self:
        """Build the object that `to_dict` wrote.

        Raises:
            InputError: for a class that cannot be imported, is no subclass, or refuses its arguments.
        """
        found = _import(declaration["class_path"])
        if not (isinstance(found, type) and issubclass(found, cls)):
            raise InputError(f"{declaration['class_path']} is not a {cls.__name__}")
        try:
            return found(**_built(declaration.get("init_args") or {}))
        except TypeError as error:
            raise InputError(f"{declaration['class_path']} cannot be built: {error}") from None

    def _same_declaration(self, other: object) -> bool:
        return type(self) is type(other) and self.to_dict() == other.to_dict()  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in self.hyperparameters().items())
        return f"{type(self).__name__}({shown})"

    def __eq__(self, other: object) -> bool:
        return self is other or self._same_declaration(other)  # looked up at each step: identity first

    # Equal declarations are still different objects: torch keeps modules in sets, and two parts
    # declared alike (an encoder and a decoder, say) must both stay there.
    __hash__ = object.__hash__


class Part(Declared, nn.Module, ABC):
    """A `torch.nn.Module` whose constructor only declares and whose `attach` creates parameters."""

    def attach(self, *sizes: Any, **named: Any) -> None:  # noqa: ANN401
        """Create parameters and buffers; called once by the program that uses the part."""

    def forward(self, *inputs: Any, **named: Any) -> Any:  # noqa: ANN401
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    __repr__ = Declared.__repr__
    __hash__ = object.__hash__


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Declared):
        return value.to_dict()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.generic):  # np.float64 is a float, and neither YAML nor a checkpoint takes it
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InputError(
        f"a hyperparameter of type {type(value).__name__} cannot be written to a declaration; "
        "use numbers, strings, lists or other parts"
    )


def _built(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        if "class_path" in value:
            return Declared.from_dict(value)
        return {key: _built(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_built(item) for item in value]
    return value


def _import(path: str) -> object:
    module, _, name = str(path).rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        raise InputError(
            f"{path!r} cannot be imported; give the import path of a class, as in "
            "'pyrovae.priors.GaussianMixture'"
        ) from None
