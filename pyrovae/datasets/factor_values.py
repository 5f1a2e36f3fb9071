"""Factors of data: the known causes of each observation, such as the position of a drawn shape.

    categorical   values 0, 1, ... without an order (a shape)
    ordinal       a few ordered numbers (one of six sizes)
    continuous    any number between two bounds (a position)
    angle         any number of a period, whose two ends are the same (a rotation)

Drawn data sets (`sprites`, `faces`) have factors, and so do files that store them, as dSprites
does. A model does not see them; they measure what it has learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from pyrovae.checks import whole
from pyrovae.datasets.rows import numbers
from pyrovae.errors import InputError
from pyrovae.names import meant_by

__all__ = ["FactorSplits", "Factors", "Kind", "factors_of"]

Kind = Literal["categorical", "ordinal", "continuous", "angle"]

DISCRETE = ("categorical", "ordinal")
# An edge between two bins belongs to the upper one, also if it was rounded down a little.
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Factors:
    """The values of F factors for N observations.

    Arguments:
        values: the values, (N, F), kept in float64.
        names: the name of each factor.
        kinds: the kind of each factor: "categorical", "ordinal", "continuous" or "angle".
        domains: for each factor the values that it may take: all of them, ascending, of a
            categorical or ordinal factor, and the two bounds of a continuous factor or an angle.
            By default those of the values; 0, 1, ... of a factor with words; 0 and 2 pi of an
            angle.
        words: for each factor the words that the values of its domain stand for, or None.

    Raises:
        InputError: for parts that do not fit to each other, an unknown kind, and a value that is
            not a number.

    Example:
        >>> factors = Factors([[0, 0.5], [1, 0.25], [1, 1.0]], ["shape", "x"],
        ...                   ["categorical", "continuous"])
        >>> len(factors), factors["x"].tolist(), factors.domains
        (3, [0.5, 0.25, 1.0], ((0.0, 1.0), (0.25, 1.0)))
        >>> factors.take([2, 0]).values.tolist()
        [[1.0, 1.0], [0.0, 0.5]]
        >>> factors.classes(bins=3).tolist()
        [[0, 1], [1, 0], [1, 2]]
    """

    values: Tensor
    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    domains: tuple[tuple[float, ...], ...] = ()
    words: tuple[tuple[str, ...] | None, ...] = ()

    def __post_init__(self) -> None:
        """Check the parts, and complete the domains."""
        values = numbers("factors", self.values).detach().cpu().double()
        names, kinds = tuple(self.names), tuple(self.kinds)
        _check(values, names, kinds)
        words = tuple(None if some is None else tuple(some) for some in self.words) or (None,) * len(names)
        domains = tuple(tuple(map(float, domain)) for domain in self.domains)
        if not len(words) == len(domains or names) == len(names):
            raise InputError(f"{len(names)} factors need one domain and one entry of words each: add them")
        columns = list(zip(names, kinds, values.T, words, strict=True))
        domains = domains or tuple(_domain(kind, column, some) for _, kind, column, some in columns)
        for (name, kind, column, some), domain in zip(columns, domains, strict=True):
            _check_domain(name, kind, column, domain)
            if some is not None and (kind not in DISCRETE or len(some) != len(domain)):
                raise InputError(
                    f"the {kind} factor {name!r} has {len(some)} words for the domain {domain}: give one "
                    "word for each value of a categorical or ordinal factor"
                )
        parts = {"values": values, "names": names, "kinds": kinds, "domains": domains, "words": words}
        for field, part in parts.items():
            object.__setattr__(self, field, part)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, name: str) -> Tensor:
        """The values of one factor, (N,).

        Raises:
            InputError: for a name that no factor has.
        """
        return self.values[:, self.position(name)]

    def position(self, name: str) -> int:
        """The position of a factor among the names.

        Raises:
            InputError: for a name that no factor has.
        """
        if name in self.names:
            return self.names.index(name)
        meant = meant_by(str(name), self.names, repr)
        raise InputError(f"there is no factor {name!r}: {meant}the factors are {', '.join(self.names)}")

    def take(self, index: Any) -> Factors:  # noqa: ANN401
        """The factors of some rows, by indices, a mask or a slice; the domains stay."""
        rows = index if isinstance(index, (slice, Tensor)) else torch.as_tensor(index)
        return replace(self, values=self.values[rows])

    def classes(self, bins: int = 20) -> Tensor:
        """Each value as a class index, int64 (N, F).

        A categorical or ordinal factor has one class for each value of its domain. The domain of a
        continuous factor or an angle is divided into `bins` intervals of equal width. The classes
        depend on the domain and not on the rows, so they are the same in every part of a split.

        Raises:
            InputError: if `bins` is not a whole number of 1 or more.
        """
        bins = whole("bins", bins)
        columns = zip(self.kinds, self.values.T, self.domains, strict=True)
        return torch.stack([_classes(kind, column, domain, bins) for kind, column, domain in columns], dim=-1)

    def scaled(self) -> Tensor:
        """Each value as a share of its factor's range, 0 to 1, (N, F).

        Example:
            >>> Factors([[10.0], [20.0], [15.0]], ["size"], ["continuous"]).scaled().flatten()
            tensor([0.0000, 1.0000, 0.5000], dtype=torch.float64)
        """
        low = torch.tensor([domain[0] for domain in self.domains], dtype=torch.float64)
        high = torch.tensor([domain[-1] for domain in self.domains], dtype=torch.float64)
        return (self.values - low) / torch.where(high > low, high - low, 1.0)

    def __repr__(self) -> str:
        each = ", ".join(f"{name} ({kind})" for name, kind in zip(self.names, self.kinds, strict=True))
        return f"Factors({len(self):,} rows: {each})"


@dataclass(frozen=True, eq=False)
class FactorSplits:
    """The factors of each part of a data set, in the order of its rows."""

    train: Factors
    validation: Factors
    test: Factors

    @classmethod
    def of(cls, factors: Factors, train: Tensor, validation: Tensor, test: Tensor) -> FactorSplits:
        """Take the rows (N,) of each part."""
        return cls(factors.take(train), factors.take(validation), factors.take(test))


def factors_of(dataset: object, rows: int) -> Factors | None:
    """The attribute `factors` of a data set, if it is the factors of its rows.

    Raises:
        InputError: for another number of rows.
    """
    factors = getattr(dataset, "factors", None)
    if not isinstance(factors, Factors):
        return None
    if len(factors) != rows:
        raise InputError(f"the data have {rows} rows and factors of {len(factors)}: give one for each row")
    return factors


def _check(values: Tensor, names: tuple[str, ...], kinds: tuple[str, ...]) -> None:
    if values.dim() != 2 or values.shape[1] != len(names) or len(names) != len(kinds):
        raise InputError(
            f"factors have values of shape {tuple(values.shape)}, {len(names)} names and {len(kinds)} kinds: "
            "give values of shape (N, F), and F names and kinds"
        )
    if len(set(names)) < len(names):
        raise InputError(f"the factors {', '.join(names)} do not have different names: rename one")
    for name, kind in zip(names, kinds, strict=True):
        if kind not in get_args(Kind):
            raise InputError(
                f"the kind of the factor {name!r} is {kind!r}: use one of {', '.join(get_args(Kind))}"
            )
    if not bool(values.isfinite().all()):
        name = names[int((~values.isfinite()).any(0).nonzero()[0])]
        raise InputError(f"the factor {name!r} has a value that is not finite: remove such rows")


def _domain(kind: str, column: Tensor, words: tuple[str, ...] | None) -> tuple[float, ...]:
    """The domain of a factor from its words, or from its values (N,)."""
    if words is not None:
        return tuple(map(float, range(len(words))))
    if kind in DISCRETE:
        return tuple(column.unique().tolist())
    if kind == "angle":
        return (0.0, 2 * math.pi)
    return (column.min().item(), column.max().item()) if len(column) else (0.0, 1.0)


def _check_domain(name: str, kind: str, column: Tensor, domain: tuple[float, ...]) -> None:
    """Refuse a domain that does not contain every value (N,)."""
    is_discrete = kind in DISCRETE
    ascending = domain == tuple(sorted(set(domain)))
    bounds = len(domain) == 2 and domain[0] <= domain[1]
    if not (ascending if is_discrete else bounds):
        need = "different values, ascending" if is_discrete else "two bounds, low and high"
        raise InputError(f"the domain of the {kind} factor {name!r} is {domain}: give {need}")
    if is_discrete:
        inside = torch.isin(column, torch.tensor(domain, dtype=torch.float64))
    else:
        inside = (column >= domain[0]) & (column <= domain[1])
    if not bool(inside.all()):
        value = column[~inside][0].item()
        raise InputError(f"the factor {name!r} has the value {value:g} outside {domain}: correct it")


def _classes(kind: str, column: Tensor, domain: tuple[float, ...], bins: int) -> Tensor:
    if kind in DISCRETE:
        return torch.searchsorted(torch.tensor(domain, dtype=torch.float64), column.contiguous())
    low, high = domain
    share = (column - low) / (high - low) if high > low else torch.zeros_like(column)
    return (share * bins + ROUNDING).floor().long().clamp(0, bins - 1)
