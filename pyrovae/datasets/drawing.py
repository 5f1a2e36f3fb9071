"""Options of drawn data sets, in words: "sprites size 32, colour, dependent x y .8".

    size 32                images of 32 x 32 pixels
    binary                 pixels of 0 and 1, for sprites
    colour                 a hue as a further factor, for sprites
    noise .1               uniform noise of this standard deviation, in every pixel
    grid, grid 4 8 10 10   the values of a grid and not of an interval
    dependent x y .8       a correlation between two factors
    fixed rotation 0       a value that is the same in all images; this is not a factor then
    seed 3                 the seed of all random numbers

The words are part of the name of the data, so a run and its configuration say how it was drawn.
On the command line, "sprites:size=32,dependent=x/y/.8" needs no quotation marks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from pyrovae.checks import flags, number, shown, whole
from pyrovae.errors import InputError
from pyrovae.names import meant_by

__all__ = ["DRAWN", "Drawing", "titled"]

DRAWN = {"sprites": 64, "faces": 48}  # the usual sizes

EXAMPLE = "size 32, noise .1, dependent x y .8"
SMALLEST, LARGEST = 8, 1024


@dataclass(frozen=True)
class Drawing:
    """How a set is drawn.

    Attributes:
        size: height and width in pixels, or None for that of the set.
        binary: whether pixels are 0 and 1.
        colour: whether a hue is a factor.
        noise: the standard deviation of the noise of a pixel, whose range is 0 to 1.
        grid: the number of values of each numeric factor, () for the usual numbers of the set, or
            None for intervals.
        dependent: triples (a, b, correlation).
        fixed: pairs (factor, value), where a value is a number or a word.
        seed: the seed of all random numbers.

    Example:
        >>> drawing = Drawing.of("colour, size 32, dependent x y .8")
        >>> drawing.size, drawing.dependent
        (32, (('x', 'y', 0.8),))
        >>> str(drawing)
        'size 32, colour, dependent x y 0.8'
    """

    size: int | None = None
    binary: bool = False
    colour: bool = False
    noise: float = 0.0
    grid: tuple[int, ...] | None = None
    dependent: tuple[tuple[str, str, float], ...] = ()
    fixed: tuple[tuple[str, float | str], ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options, and write each in its plain form."""
        flags(binary=self.binary, colour=self.colour)
        plain: dict[str, Any] = {
            "size": None if self.size is None else whole("size", self.size, SMALLEST, LARGEST),
            "noise": number("noise", self.noise, least=0.0, most=1.0),
            "grid": _grid(self.grid),
            "dependent": tuple(_dependent(one) for one in _triples(self.dependent)),
            "fixed": tuple(_fixed(one) for one in _pairs(self.fixed)),
            "seed": whole("seed", self.seed, 0),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        if self.binary and (self.colour or self.noise):
            other = "colour" if self.colour else "noise"
            raise InputError(f"binary pixels are 0 or 1 and have no {other}: leave one of the two out")

    @classmethod
    def of(cls, words: str) -> Drawing:
        """Read the options from words.

        Raises:
            InputError: for an unknown option, or a value that cannot be used.
        """
        options: dict[str, Any] = {}
        for clause in filter(None, map(_words, words.split(","))):
            name, values = clause[0].lower(), clause[1:]
            known = [field.name for field in fields(cls)]
            if name not in known:
                raise InputError(
                    f"a drawn data set has no option {shown(name)}: {meant_by(name, known)}it has "
                    f"{', '.join(known)}, as in {EXAMPLE!r}"
                )
            several = name in ("dependent", "fixed")
            if name in options and not several:
                raise InputError(f"{name} is given twice: give it once")
            value = _value(name, values)
            options[name] = (*options.get(name, ()), value) if several else value
        return cls(**options)

    def __str__(self) -> str:
        parts = [f"size {self.size}"] if self.size is not None else []
        parts += [name for name in ("binary", "colour") if getattr(self, name)]
        parts += [f"noise {self.noise!r}"] if self.noise else []
        parts += [" ".join(["grid", *map(str, self.grid)])] if self.grid is not None else []
        parts += [f"dependent {a} {b} {correlation!r}" for a, b, correlation in self.dependent]
        parts += [f"fixed {name} {value}" for name, value in self.fixed]
        return ", ".join(parts + ([f"seed {self.seed}"] if self.seed else []))


def _words(clause: str) -> list[str]:
    """The name of an option and its values, between blanks, "=", ":" or "/"."""
    return [word for word in re.split(r"[\s=:/]+", clause) if word]


def titled(name: str, drawing: Drawing) -> str:
    """The name of a set with its options in words, without a size that is the usual one.

    Example:
        >>> titled("sprites", Drawing(size=64, seed=3))
        'sprites seed 3'
    """
    is_usual = drawing.size == DRAWN[name]
    return f"{name} {replace(drawing, size=None) if is_usual else drawing}".strip()


def _value(name: str, values: list[str]) -> Any:  # noqa: ANN401
    """The value of an option from its words."""
    if name in ("binary", "colour"):
        if values:
            raise InputError(f"{name} takes no value, and {shown(values[0])} follows it: leave it out")
        return True
    if name == "grid":
        return tuple(_number(name, value) for value in values)
    if name == "dependent":
        return (*values[:2], *(_number(name, value) for value in values[2:]))
    if name == "fixed":
        return tuple(values)
    if len(values) != 1:
        raise InputError(f"{name} takes one number, not {len(values)}: write it as in {EXAMPLE!r}")
    return _number(name, values[0])


def _number(name: str, text: str) -> int | float:
    try:
        return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)
    except ValueError:
        raise InputError(f"{name} takes numbers, not {shown(text)}: write it as in {EXAMPLE!r}") from None


def _grid(grid: Any) -> tuple[int, ...] | None:  # noqa: ANN401
    if grid is None or grid is False:
        return None
    if grid is True:
        return ()
    if isinstance(grid, str) or not isinstance(grid, Sequence):
        raise InputError(f"grid must be True, or the numbers of values of the factors, not {shown(grid)}")
    return tuple(whole("a number of values of the grid", steps, 2, 10**6) for steps in grid)


def _triples(dependent: Any) -> Sequence[Any]:  # noqa: ANN401
    """One triple, or several."""
    is_one = len(dependent) == 3 and isinstance(dependent[0], str) if dependent else False
    return (dependent,) if is_one else dependent


def _dependent(triple: Any) -> tuple[str, str, float]:  # noqa: ANN401
    if not isinstance(triple, Sequence) or isinstance(triple, str) or len(triple) != 3:
        raise InputError(
            f"dependent takes two factors and a correlation, as in 'dependent x y .8', not {shown(triple)}"
        )
    a, b, correlation = triple
    if a == b:
        raise InputError(f"dependent names the factor {a!r} twice: name two factors")
    return str(a), str(b), number("the correlation of dependent factors", correlation, least=-1.0, most=1.0)


def _pairs(fixed: Any) -> Sequence[Any]:  # noqa: ANN401
    return tuple(fixed.items()) if isinstance(fixed, Mapping) else fixed


def _fixed(pair: Any) -> tuple[str, float | str]:  # noqa: ANN401
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        raise InputError(f"fixed takes a factor and its value, as in 'fixed rotation 0', not {shown(pair)}")
    name, value = pair
    try:
        return str(name), number(f"the value of {name}", float(value))
    except (TypeError, ValueError):
        return str(name), str(value)
