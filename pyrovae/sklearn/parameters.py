"""Hyperparameters of parts as nested parameters: prior__components, encoder__sizes.

A part declares its hyperparameters as an estimator does, so both conventions join: a nested
parameter is read from the part, and setting it declares a new part.
"""
# ruff: noqa: ANN401

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyrovae.errors import InputError
from pyrovae.part import Declared

__all__ = ["nested_parameters", "with_parameters"]


def nested_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of all parts among some parameters, named role__name.

    Example:
        >>> from pyrovae.priors import GaussianMixture
        >>> nested_parameters({"prior": GaussianMixture(5)})["prior__components"]
        5
    """
    nested: dict[str, Any] = {}
    for role, part in parameters.items():
        if isinstance(part, Declared):
            own = part.hyperparameters()
            every = own | nested_parameters(own)
            nested |= {f"{role}__{name}": value for name, value in every.items()}
    return nested


def with_parameters(role: str, part: Any, changes: Mapping[str, Any]) -> Declared:
    """A new part with other hyperparameters.

    Raises:
        InputError: for something that is not a part, or an unknown hyperparameter.
    """
    if not isinstance(part, Declared):
        raise InputError(
            f"{role} is {part!r}, which has no parameter {next(iter(changes))!r}: give {role} as a part first"
        )
    options, inner = part.hyperparameters(), dict[str, dict[str, Any]]()
    for name, value in changes.items():
        first, _, rest = name.partition("__")
        if first not in options:
            raise InputError(
                f"Invalid parameter {first!r} for {role} {part!r}: its parameters are {', '.join(options)}"
            )
        if rest:
            inner.setdefault(first, {})[rest] = value
        else:
            options[first] = value
    for first, values in inner.items():
        options[first] = with_parameters(first, options[first], values)
    return type(part)(**options)
