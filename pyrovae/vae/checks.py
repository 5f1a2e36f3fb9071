"""What a declaration is refused for, and the dry run's draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro.distributions as dist
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.part import Part, public_path

__all__ = ["Shape", "covers", "draw", "naming", "part_of", "shape_of", "size_of", "space"]

Shape = tuple[int, ...]

_SPACES = {
    "Real": "the reals",
    "IntegerGreaterThan": "whole numbers",
    "Sphere": "the sphere",
    "OneHot": "one-hot vectors",
    "RealAndOneHot": "the reals with a class",
}


def draw(law: dist.TorchDistribution, event_shape: Shape) -> Tensor:
    """Two data of a law, weighed by it."""
    if tuple(law.event_shape) != event_shape:
        raise ValueError(f"its distribution has event shape {tuple(law.event_shape)}, expected {event_shape}")
    law = law if tuple(law.batch_shape) == (2,) else law.expand((2,))
    draw = law.sample()
    law.log_prob(draw)
    return draw


def covers(law: dist.TorchDistribution, other: dist.TorchDistribution) -> bool:
    """Whether draws of the other law have a density under this one."""
    draws = (other if tuple(other.batch_shape) == (2,) else other.expand((2,))).sample()
    try:
        support = law.support
    except NotImplementedError:
        return True
    return support is None or bool(support.check(draws).all())


def space(law: dist.TorchDistribution) -> str:
    """The space of a law in words, as far as its support says."""
    support = law.support
    name = type(getattr(support, "base_constraint", support)).__name__.strip("_")
    return _SPACES.get(name, name.lower())


@contextmanager
def naming(role: str, *parts: Part) -> Iterator[None]:
    """Say of an error of any kind which parts raised it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        shown = " with ".join(map(repr, parts))
        reason = " ".join(str(error).split())
        raise InputError(f"the {role} {shown} cannot be used here: {reason}") from error


def part_of(role: str, given: Part | None, default: type[Part], base: type[Part]) -> Any:  # noqa: ANN401
    """A copy of the part that was given, or the default one."""
    part = default() if given is None else given
    if not isinstance(part, base):
        raise InputError(f"{role} must be a {public_path(base)}, as in {default.__name__}(), not {part!r}")
    return part.clone()


def shape_of(name: str, given: Any) -> Shape:  # noqa: ANN401
    """A shape, or an InputError."""
    if isinstance(given, str) or not isinstance(given, (int, Sequence)):
        raise InputError(f"{name} must be a shape, as in (1, 28, 28), not {given!r}")
    sizes = (given,) if isinstance(given, int) else given
    return tuple(size_of(name, size) for size in sizes)


def size_of(name: str, size: Any) -> int:  # noqa: ANN401
    """A whole number of 1 or more, or an InputError."""
    try:
        whole = not isinstance(size, bool) and int(size) == size and size >= 1
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise InputError(f"{name} must be made of whole numbers of 1 or more, not {size!r}")
    return int(size)
