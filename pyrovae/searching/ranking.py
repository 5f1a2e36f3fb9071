r"""Declarations ranked by log p(x), with errors over seeds and rows.

Every declaration A is trained with S seeds and scored on the same N rows. With the paired
difference \(D_{sn}\) from the best declaration, its mean has the standard error e,

    e^2 = var_s(mean_n D) / S + var_n(mean_s D) / N

The first term is the spread of the training, the second that of the rows. Both contain the
variation that is neither of the seed nor of the row, so e is slightly too large. With one seed, the
first term is unknown and e is the error over rows alone. Declarations with different numbers of
seeds are not paired over seeds, and each adds its own first term.

Reference:
    Owen (2007), "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), for means of crossed
    rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from pyrovae import plots
from pyrovae.display import Displayed, Html, html
from pyrovae.errors import InputError
from pyrovae.numerics import Array, numbers, stderr_of_mean
from pyrovae.plots.style import Axes
from pyrovae.searching.trial import Scored

if TYPE_CHECKING:
    import pandas

__all__ = ["Ranking", "alike", "rank", "rank_scored"]


@dataclass(frozen=True, eq=False, repr=False)
class Ranking(Displayed):
    """Declarations in falling order of mean log p(x), in nats per observation.

    Attributes:
        names: their names, (M,).
        mean: the mean log p(x) over seeds and rows, (M,).
        stderr: its standard error over seeds and rows, (M,).
        spread: the standard deviation over seeds of the mean over rows, (M,); nan for one seed.
        seeds: the number of seeds of each, (M,).
        difference: the paired difference from the first, (M,); at most 0.
        difference_stderr: its standard error, (M,).
        quantity: what is compared, such as "log p(x)".
        units: whether log p(x) is that of a probability or of a density, and in which units.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    stderr: np.ndarray
    spread: np.ndarray
    seeds: np.ndarray
    difference: np.ndarray
    difference_stderr: np.ndarray
    quantity: str = "log p(x)"
    units: str = ""

    @property
    def table(self) -> pandas.DataFrame:
        """One row for each declaration, with the attributes as columns."""
        import pandas

        columns = ("mean", "stderr", "spread", "seeds", "difference", "difference_stderr")
        index = pandas.Index(self.names, name="name")
        return pandas.DataFrame({column: getattr(self, column) for column in columns}, index=index)

    def __str__(self) -> str:
        width = max(5, *map(len, self.names))
        has_spread = bool((self.seeds > 1).any())
        spread_head = f" {'seeds':>6} {'spread':>7}" if has_spread else ""
        own = f"{self.quantity:>10} {'error':>7}{spread_head}"
        lines = [f"{'':<{width}}  {own}   {'to best':>8} {'paired error':>12}"]
        for i, name in enumerate(self.names):
            spread = f" {self.seeds[i]:6d} {self.spread[i]:7.3f}" if has_spread else ""
            lines.append(
                f"{name:<{width}}  {self.mean[i]:10.3f} {self.stderr[i]:7.3f}{spread}   "
                f"{self.difference[i]:8.3f} {self.difference_stderr[i]:12.3f}"
            )
        return "\n".join(lines)

    def _html(self) -> str:
        return html.page(f"{self.names[0]} has the highest {self.quantity}", self.as_table())

    def as_table(self) -> Html:
        """The declarations as a table in HTML, in nats per observation."""
        arrays = {self.quantity: self.mean, "error": self.stderr}
        if bool((self.seeds > 1).any()):
            arrays |= {"seeds": self.seeds, "spread": self.spread}
        arrays |= {"to best": self.difference, "paired error": self.difference_stderr}
        cells = [
            [f"{v}" if values is self.seeds else f"{v:.3f}" for v in values] for values in arrays.values()
        ]
        return html.table(["declaration", *arrays], zip(self.names, *cells, strict=True))

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the differences from the best, with two paired standard errors."""
        gaps = self.difference, self.difference_stderr
        return plots.ranking(self.names, *gaps, quantity=self.quantity, ax=ax)


def rank(log_px: Mapping[str, ArrayLike], *, quantity: str = "log p(x)", units: str = "") -> Ranking:
    """Rank declarations by the mean log p(x) of the same rows.

    Arguments:
        log_px: name -> log p(x) of each row with each seed, (S, N) or (N,) for one seed, in nats;
            equal rows for all, and seeds in the same order. S may differ.
        quantity: what the numbers are.
        units: their units.

    Raises:
        InputError: if there are none, the numbers of rows differ, or a number is not finite.

    Example:
        >>> ranking = rank({"a": [[-2.0, -4.0], [-3.0, -5.0]], "b": [[-1.0, -3.5], [-1.5, -3.0]]})
        >>> ranking.names, ranking.difference.tolist()
        (('b', 'a'), [0.0, -1.25])
    """
    if not log_px:
        raise InputError("there is nothing to rank: give log p(x) of at least one declaration")
    values = {name: _matrix(array, name) for name, array in log_px.items()}
    counts = {name: array.shape[1] for name, array in values.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"the numbers of rows differ ({counts}): score all declarations on the same rows")
    ranked = dict(sorted(values.items(), key=lambda item: -item[1].mean()))
    best = next(iter(ranked.values()))
    arrays = list(ranked.values())
    return Ranking(
        tuple(ranked),
        np.array([array.mean() for array in arrays]),
        np.array([_stderr(array) for array in arrays]),
        np.array([array.mean(1).std(ddof=1) if len(array) > 1 else np.nan for array in arrays]),
        np.array([len(array) for array in arrays]),
        np.array([array.mean() - best.mean() for array in arrays]),
        np.array([0.0 if array is best else _stderr_of_difference(array, best) for array in arrays]),
        quantity,
        units,
    )


def rank_scored(scores: Mapping[str, Sequence[Scored]]) -> Ranking:
    """Rank declarations by the scores of their trials, one for each seed.

    Raises:
        InputError: if there are none; if rows or quantities differ, or log p(x) is that of a
            probability for some and of a density for others, or has different units.
    """
    if not scores or not all(scores.values()):
        raise InputError("there is nothing to rank: score at least one trial of each declaration")
    (first_name, (first, *_)), *_ = scores.items()
    for name, trials in scores.items():
        for trial in trials:
            _check_same_rows(first_name, first, name, trial)
            if not first.units.is_like(trial.units):
                raise InputError(
                    f"{name} has {trial.quantity} of another kind ({trial.units}) than {first_name} "
                    f"({first.units}), and they cannot be ranked with each other: rank them separately"
                )
    arrays = {name: np.stack([trial.log_px for trial in trials]) for name, trials in scores.items()}
    return rank(arrays, quantity=first.quantity, units=str(first.units))


def alike(scores: Mapping[str, Sequence[Scored]]) -> list[dict[str, Sequence[Scored]]]:
    """The scores in groups of the same units, each of which can be ranked."""
    groups: list[dict[str, Sequence[Scored]]] = []
    for name, trials in scores.items():
        for group in groups:
            first = next(iter(group.values()))[0]
            if first.quantity == trials[0].quantity and first.units.is_like(trials[0].units):
                group[name] = trials
                break
        else:
            groups.append({name: trials})
    return groups


def _check_same_rows(first_name: str, first: Scored, name: str, trial: Scored) -> None:
    same_index = first.index is None or trial.index is None or np.array_equal(first.index, trial.index)
    if len(first.log_px) != len(trial.log_px) or not same_index:
        raise InputError(f"{name} was scored on other rows than {first_name}: score both on the same rows")
    if first.quantity != trial.quantity:
        raise InputError(
            f"{name} has {trial.quantity} and {first_name} has {first.quantity}, which cannot be ranked with "
            "each other: rank them separately"
        )


def _matrix(value: ArrayLike, name: str) -> Array:
    array = numbers(value, f"log p(x) of {name}")
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise InputError(f"log p(x) of {name} has shape {array.shape}: give an array (seeds, rows)")
    return array


def _stderr(array: Array) -> float:
    """The standard error of the mean over seeds and rows."""
    return float(np.hypot(_over_seeds(array), stderr_of_mean(array.mean(0))))


def _stderr_of_difference(one: Array, other: Array) -> float:
    if len(one) == len(other):
        return _stderr(one - other)
    over_rows = stderr_of_mean(one.mean(0) - other.mean(0))
    return float(np.sqrt(_over_seeds(one) ** 2 + _over_seeds(other) ** 2 + over_rows**2))


def _over_seeds(array: Array) -> float:
    return float(stderr_of_mean(array.mean(1))) if len(array) > 1 else 0.0
