"""The base class of the parts of a probabilistic program.

The constructor of a part only stores its hyperparameters under their own names, so every part can
be printed, compared, copied and written to YAML. The program that uses the part calls `attach(...)`
once, with the sizes that depend on the whole program. `attach` checks the hyperparameters and
creates parameters and buffers.

    GaussianMixture(components=10)
      <-> {"class_path": "pyrovae.priors.GaussianMixture", "init_args": {"components": 10}}

The convention is scikit-learn's (Buitinck et al., 2013, "API design for machine learning
software").
"""

from __future__ import annotations

import copy
import inspect
import sys
from abc import ABC
from collections.abc import Collection, Mapping
from typing import Any, Self

import numpy as np
from torch import Tensor, nn

from pyrovae import checks, trust
from pyrovae.errors import InputError

__all__ = ["Declared", "Part", "filled", "public_path"]


class Declared:
    """An object described by its constructor's keyword arguments.

    Attributes:
        import_paths: the hyperparameters that are import paths of code outside the package.
    """

    import_paths: tuple[str, ...] = ()

    def hyperparameters(self) -> dict[str, Any]:
        """The keyword arguments that declare this object, read back from its attributes.

        Raises:
            InputError: if the constructor did not store an argument under its own name.
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
        """A new object with the same declaration, without learned parameters."""
        return type(self)(**copy.deepcopy(self.hyperparameters()))

    def to_dict(self) -> dict[str, Any]:
        """The declaration as plain values, in the form that YAML and the command line read."""
        cls = type(self)
        init_args = {name: _plain(value) for name, value in self.hyperparameters().items()}
        return {"class_path": public_path(cls), "init_args": init_args}

    @classmethod
    def from_dict(cls, declaration: Mapping[str, Any]) -> Self:
        """Build the object that `to_dict` wrote.

        A class outside the package is used if it was imported already, or if its module is trusted
        (`trust.trusting`): importing it would run its code.

        Raises:
            InputError: for a class that is not trusted, cannot be imported, is not a subclass, or
                rejects its arguments.
        """
        if "class_path" not in declaration:
            raise InputError(
                "a declaration needs a class_path, as in 'pyrovae.priors.GaussianMixture', not "
                f"{dict(declaration)}"
            )
        declared: Any = trust.class_at(declaration["class_path"], cls)
        options = declaration.get("init_args") or {}
        if not isinstance(options, Mapping):
            raise InputError(f"init_args of {declaration['class_path']} must be a mapping, not {options!r}")
        for name in declared.import_paths:
            if isinstance(options.get(name), str):
                trust.check_callable(options[name])
        try:
            with trust.reading():
                return declared(**_built(options))
        except TypeError as error:
            raise InputError(f"{declaration['class_path']} cannot be built: {error}") from None

    def _same_declaration(self, other: object) -> bool:
        return type(self) is type(other) and self.hyperparameters() == other.hyperparameters()  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        # The first hyperparameter, and those of the others that differ from their defaults.
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        values = self.hyperparameters().items()
        shown = [f"{k}={v!r}" for i, (k, v) in enumerate(values) if i == 0 or v != defaults[k]]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        return self is other or self._same_declaration(other)  # identity first: it is fast

    # torch stores modules in sets, where two parts with equal declarations (for example an encoder
    # and a decoder) must both stay.
    __hash__ = object.__hash__


class Part(Declared, nn.Module, ABC):
    """A `torch.nn.Module` whose constructor only declares and whose `attach` creates parameters.

    A part without hyperparameters needs no constructor.
    """

    def __init__(self) -> None:
        super().__init__()

    def attach(self, *sizes: Any, **named: Any) -> None:  # noqa: ANN401
        """Create parameters and buffers; called once by the program that uses the part."""

    def start_from(self, x: Tensor) -> None:
        """Initialise from training data (N, *event), once, before the first step of a new run.

        Pseudo-inputs and scales of columns are initialised from data; most parts do nothing here.
        """

    # Checks for `attach`. Each raises an InputError with a one-sentence message, or stores the
    # plain value, so that 3.0 or a numpy scalar is printed, compared and written as 3.

    def check_whole(self, *names: str, least: int = 1) -> None:
        """Check hyperparameters that are whole numbers of `least` or more."""
        for name in names:
            setattr(self, name, checks.whole(self._called(name), getattr(self, name), least))

    def check_number(self, name: str, words: Collection[str] = (), **limits: float) -> None:
        """Check a hyperparameter: a number within limits (`checks.number`), or a word."""
        value, called = getattr(self, name), self._called(name)
        if isinstance(value, str) and value in words:
            return
        if words:
            called = f"{called}, unless it is {' or '.join(map(repr, words))},"
        setattr(self, name, checks.number(called, value, **limits))

    def check_sizes(self, name: str, *, count: int = 0) -> None:
        """Check a hyperparameter that is a list of sizes, at least `count` of them."""
        values = tuple(checks.whole(f"a size in {self._called(name)}", size) for size in getattr(self, name))
        if len(values) < count:
            raise InputError(f"{self._called(name)} must hold at least {count} size, not {list(values)}")
        setattr(self, name, values)

    def check_one_of(self, name: str, choices: Collection[Any]) -> None:
        """Check a hyperparameter that is one of some words."""
        checks.one_of(self._called(name), getattr(self, name), choices)

    def _called(self, name: str) -> str:
        return f"{name} of {type(self).__name__}"

    def forward(self, *inputs: Any, **named: Any) -> Any:  # noqa: ANN401
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    __repr__ = Declared.__repr__
    __hash__ = object.__hash__


def filled(declaration: Any) -> Any:  # noqa: ANN401
    """Complete a declaration of an older version: missing options get their defaults.

    Example:
        >>> old = {"class_path": "pyrovae.networks.dense.MLP", "init_args": {"sizes": [8]}}
        >>> filled(old)["init_args"]["activation"]
        'relu'
    """
    if isinstance(declaration, (list, tuple)):
        return [filled(item) for item in declaration]
    if not isinstance(declaration, Mapping):
        return declaration
    if "class_path" not in declaration:
        return {key: filled(item) for key, item in declaration.items()}
    try:
        declared: Any = trust.class_at(declaration["class_path"], Declared)
    except InputError:  # not a declaration that was built here
        return dict(declaration)
    parameters = inspect.signature(declared).parameters.values()
    defaults = {p.name: _plain(p.default) for p in parameters if p.default is not p.empty}
    options = {key: filled(item) for key, item in (declaration.get("init_args") or {}).items()}
    return {"class_path": public_path(declared), "init_args": defaults | options}


def public_path(cls: type) -> str:
    """The shortest import path of a class; it does not change when a file moves in the package."""
    module = cls.__module__
    above = module.rpartition(".")[0]
    while "." in above and getattr(sys.modules.get(above), cls.__name__, None) is cls:
        module, above = above, above.rpartition(".")[0]
    return f"{module}.{cls.__qualname__}"


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Declared):
        return value.to_dict()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.generic):  # YAML and checkpoints accept no numpy numbers
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
