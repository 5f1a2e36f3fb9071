"""A space: a declaration of VAE and training in which some values are choices.

    Space({"latent_dim": Whole(2, 64), "prior": OneOf(StandardNormal(), GaussianMixture())})
    Space.of(["latent_dim=2..64", "prior=StandardNormal,GaussianMixture", "prior.components=2..50"])

A `Point` has a value in place of each choice. In YAML and on the command line

    2..64, 1e-4..1e-2:log          a range, of whole numbers if both ends are
    32,64,128  or  [32, 64, 128]   one of these values
    {choose: [[200], [500, 500]]}  the same inside a part, where a list is a value
    prior.components=2..50         an option of the prior, where the prior that is chosen has it
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovae.choices import Choice, OneOf, Real, Whole
from pyrovae.errors import InputError
from pyrovae.names import meant_by, named_classes
from pyrovae.part import Declared
from pyrovae.searching.parts import (
    ROLES,
    Choose,
    chosen,
    first_of,
    has_choice,
    labelled,
    options_of,
    options_of_part,
    part_of,
    paths_in,
    plain,
    replaced,
    takes,
    word,
)
from pyrovae.searching.reading import checked_name, from_text, read_value
from pyrovae.training.config import read_config
from pyrovae.trust import class_at, trusting

if TYPE_CHECKING:
    import optuna

__all__ = ["Point", "Space"]


@dataclass(frozen=True, eq=False)
class Point:
    """A declaration without choices.

    Attributes:
        name: its values in words.
        values: path -> the value of each choice, or its label if it is a part or a list.
        options: the arguments of `VAE.suited` and `fit`, with parts as objects.
    """

    name: str
    values: dict[str, Any]
    options: dict[str, Any]


class Space:
    """Arguments of `VAE.suited` and `fit`, of which some are choices.

    Arguments:
        values: name -> a value, a choice, or a part with choices. A name with a dot, such as
            "prior.components", is an option of the part that is chosen, where it has that option.
        trust: modules outside PyroVAE whose parts may be named in words, as in ["mypackage"].

    Raises:
        InputError: for a name that does not exist or cannot vary, or code that is not trusted.

    Example:
        >>> space = Space.of(["latent_dim=2,5", "prior=StandardNormal,GaussianMixture",
        ...                   "prior.components=3,4"])
        >>> for point in space.grid()[:3]:
        ...     print(point.name)
        latent_dim=2 prior=StandardNormal
        latent_dim=2 prior=GaussianMixture prior.components=3
        latent_dim=2 prior=GaussianMixture prior.components=4
    """

    def __init__(self, values: Mapping[str, Any], trust: str | Sequence[str] | None = None) -> None:
        if not isinstance(values, Mapping):
            raise InputError(f"a space is a mapping from names to values and choices, not {values!r}")
        self.values = {checked_name(name): read_value(value, name) for name, value in values.items()}
        for name, value in self.values.items():
            if name in ROLES:
                _import_parts(value, trust)
        for name in self.values:
            if "." in name:
                self._check_inner(name)

    @classmethod
    def of(cls, words: Iterable[str], fixed: Mapping[str, Any] | None = None) -> Space:
        """A space from words such as "lr=1e-4..1e-2:log", and values that are the same everywhere.

        Raises:
            InputError: for words without "=", or a name that occurs twice.
        """
        values = dict(fixed or {})
        seen = set()
        for given in words:
            name, equals, text = given.partition("=")
            if not equals or not text.strip():
                raise InputError(
                    f"{given!r} is not of the form name=values: write it as in latent_dim=2,5,10 or "
                    "lr=1e-4..1e-2:log"
                )
            name = name.strip().replace("-", "_")
            if name in seen:
                raise InputError(f"{name} is varied twice: give all its values at once")
            seen.add(name)
            values[name] = from_text(text, name)
        named = [path for name in seen & ROLES.keys() for path in paths_in(values[name])]
        return cls(values, trust=[path.rpartition(".")[0] for path in named])

    @classmethod
    def read(
        cls,
        path: str | Path,
        fixed: Mapping[str, Any] | None = None,
        trust: str | Sequence[str] | None = None,
    ) -> Space:
        """A space from a YAML file, and values for the names that it leaves out.

        Arguments:
            path: the file.
            fixed: values for all points; those of the file come first.
            trust: modules outside PyroVAE whose parts the file may name.

        Raises:
            InputError: if the file cannot be read, is not a space, or names code that is not
                trusted.
        """
        return cls({**(fixed or {}), **read_config(path)}, trust)

    # ---------------------------------------------------------------- points

    @property
    def has_choices(self) -> bool:
        """Whether there is anything to choose."""
        return any(has_choice(value) for value in self.values.values())

    def grid(self) -> list[Point]:
        """All points, the last choice fastest.

        Raises:
            InputError: for a range of real numbers, which has no list of values.
        """
        return list(self._all())

    def suggest(self, trial: optuna.trial.BaseTrial) -> Point:
        """The point that a trial of optuna suggests."""

        def choose(choice: Choice, path: str) -> tuple[Any, Any]:
            if isinstance(choice, Real):
                value = trial.suggest_float(path, choice.low, choice.high, log=choice.log)
                return value, value
            if isinstance(choice, Whole):
                whole = trial.suggest_int(path, choice.low, choice.high, log=choice.log)
                return whole, whole
            by_label = labelled(choice)
            label = trial.suggest_categorical(path, list(by_label))
            return label, by_label[label]

        return self._point(choose)

    def at(self, values: Mapping[str, Any]) -> Point:
        """The point with these values, as in `Point.values`.

        Raises:
            InputError: if the value of a choice is missing, or is not one of its values.
        """

        def choose(choice: Choice, path: str) -> tuple[Any, Any]:
            if path not in values:
                raise InputError(f"{path} has no value here: give one of {choice}")
            if not isinstance(choice, OneOf):
                return values[path], values[path]
            by_label = labelled(choice)
            if values[path] not in by_label:
                raise InputError(f"{path} cannot be {values[path]!r}: choose one of {list(by_label)}")
            return values[path], by_label[values[path]]

        return self._point(choose)

    def _all(self) -> Iterator[Point]:
        """Each point once, as an odometer counts: the last choice moves first."""
        decided: list[int] = []
        while True:
            taken: list[tuple[int, int]] = []
            yield self._point(partial(_decide, decided, taken))
            while taken and taken[-1][0] + 1 == taken[-1][1]:
                taken.pop()
            if not taken:
                return
            decided = [number for number, _ in taken]
            decided[-1] += 1

    def _point(self, choose: Choose) -> Point:
        values: dict[str, Any] = {}
        words: list[str] = []

        def noted(choice: Choice, path: str) -> tuple[Any, Any]:
            label, value = choose(choice, path)
            values[path] = label
            words.append(f"{path}={word(label) if isinstance(choice, Real) else _exact(label)}")
            return label, value

        options: dict[str, Any] = {}
        for name, value in self.values.items():
            if "." not in name:
                base = ROLES.get(name)
                options[name] = part_of(chosen(value, name, noted), base, name)
                for inner in self._inner.get(name, ()):
                    options[name] = self._with(options[name], inner, noted)
        return Point(" ".join(words), values, options)

    # ---------------------------------------------------------------- options of parts

    @cached_property
    def _inner(self) -> dict[str, list[str]]:
        roles: dict[str, list[str]] = {}
        for name in self.values:
            if "." in name:
                roles.setdefault(name.partition(".")[0], []).append(name)
        return roles

    def _with(self, part: Any, name: str, choose: Choose) -> Any:  # noqa: ANN401
        """The part with the option of this name, if it has it."""
        path = name.split(".")[1:]
        if not takes(part, path):
            return part
        return replaced(part, path, chosen(self.values[name], name, choose))

    def _check_inner(self, name: str) -> None:
        role, *path = name.split(".")
        if role not in self.values:
            raise InputError(
                f"{name} is an option of the {role}, which is not named: add {role}, as in "
                f"{role}={next(iter(named_classes(ROLES[role])))}"
            )
        value = self.values[role]
        parts = [part_of(first_of(option), ROLES[role], role) for option in options_of(value)]
        if not any(takes(part, path) for part in parts):
            known = sorted({option for part in parts for option in options_of_part(part)})
            raise InputError(
                f"no {role} of this space has the option {'.'.join(path)!r}: {meant_by(path[0], known)}"
                f"choose one of {', '.join(known) or 'none'}"
            )

    # ---------------------------------------------------------------- words

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which YAML can write and `Space` reads."""
        return {name: plain(value) for name, value in self.values.items()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self.to_dict() == other.to_dict()

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"Space({', '.join(f'{name}={value}' for name, value in self.values.items())})"


def _import_parts(value: Any, trust: str | Sequence[str] | None) -> None:  # noqa: ANN401
    """Import the user's own parts that are named in words; later, they are known."""
    with trusting(trust):
        for path in paths_in(value):
            class_at(path, Declared)


def _exact(label: Any) -> str:  # noqa: ANN401
    """A label in words that no other label of its choice has."""
    short = word(label)
    return short if not isinstance(label, float) or float(short) == label else repr(label)


def _decide(decided: list[int], taken: list[tuple[int, int]], choice: Choice, _: str) -> tuple[Any, Any]:
    """The decided value of a choice, or its first one; notes how many there are."""
    pairs = list(labelled(choice).items())
    number = decided[len(taken)] if len(taken) < len(decided) else 0
    taken.append((number, len(pairs)))
    return pairs[number]
