r"""Metrics that ask which factor was held fixed in a group of rows.

A vote holds one factor fixed, chosen at random, and reduces a group of rows that agree in it to a
few numbers. A classifier then names the factor from these numbers; the score is its accuracy. The
groups are made of the data set's own rows, and a continuous factor counts as fixed within one of
its 20 intervals. Votes for fitting use the first half of the rows, those for testing the second.

The groups keep the dependence between factors that the data have: in data whose factors are
dependent, fixing one fixes others in part.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pyrovae.checks import number, whole
from pyrovae.errors import InputError
from pyrovae.factors.base import Coded, Integers, Metric
from pyrovae.numerics import Array

__all__ = ["BetaVAEScore", "FactorVAEScore"]

GROUP, VOTES = 64, 5000


class _OfVotes(Metric):
    """The accuracy with which votes name the fixed factor."""

    replicates = 10

    def __init__(self, group: int = GROUP, votes: int = VOTES) -> None:
        self.group, self.votes = whole("group", group), whole("votes", votes, 20)

    def chance(self, factors: int) -> float:
        return 1 / factors


class BetaVAEScore(_OfVotes):
    r"""The beta-VAE score: the fixed factor should show in the differences of pairs of rows.

    \[\text{vote} = \frac1L \sum_{l=1}^L |z_l - z'_l|, \qquad v_k(x_l) = v_k(x'_l)\]

    A logistic regression names k from the vote, a vector of D differences. Each pair agrees in
    factor k; its value may differ from pair to pair.

    Arguments:
        group: L, pairs in a vote.
        votes: votes for fitting, and the same number for testing.

    Reference:
        Higgins et al. (2017), "beta-VAE: Learning Basic Visual Concepts with a Constrained
        Variational Framework".

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 5, (1000, 2))
        >>> BetaVAEScore(votes=500)(factors, factors)["beta-VAE score"]
        1.0
    """

    source = "Higgins et al. (2017)"

    def scores(self, rows: Coded, rng: np.random.Generator) -> dict[str, float]:
        from sklearn.linear_model import LogisticRegression

        rows = Coded(rows.scaled(), rows.factors, rows.classes)
        (x, k), (new, truth) = (self._votes(half, rng) for half in rows.halves)
        model = LogisticRegression(C=100.0, max_iter=1000).fit(x, k)
        return {"beta-VAE score": float((model.predict(new) == truth).mean())}

    def _votes(self, rows: Coded, rng: np.random.Generator) -> tuple[Array, Integers]:
        """Mean differences (V, D) and the fixed factors (V,)."""
        features, fixed = [], []
        for k, count in _counts(rows, self.votes, rng):
            groups = _Groups(rows, k)
            first = groups.some(rng, (count, self.group))
            apart = np.abs(rows.codes[first] - rows.codes[groups.partners(first, rng)])
            features.append(apart.mean(1))
            fixed.append(np.full(count, k))
        return np.concatenate(features), np.concatenate(fixed)


class FactorVAEScore(_OfVotes):
    r"""The FactorVAE score: the latent that varies least in a group should name the fixed factor.

    \[\text{vote} = \arg\min_j \frac{\mathrm{Var}_{\text{group}}(z_j)}{\mathrm{Var}(z_j)}\]

    All rows of a group have the same value of factor k. Each latent stands for the factor that it
    was voted for most often. Latents whose codes have a standard deviation below `least` take no
    part: they have collapsed.

    Arguments:
        group: rows in a vote.
        votes: votes for fitting, and the same number for testing.
        least: the smallest standard deviation of a latent that takes part.

    Reference:
        Kim & Mnih (2018), "Disentangling by Factorising"; the size of the groups and `least` are
        those of Locatello et al. (2019).

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 5, (1000, 2))
        >>> FactorVAEScore(votes=500)(factors, factors)["FactorVAE score"]
        1.0
    """

    source = "Kim & Mnih (2018)"

    def __init__(self, group: int = GROUP, votes: int = VOTES, least: float = 0.05) -> None:
        super().__init__(whole("group", group, 2), votes)
        self.least = number("least", least, least=0)

    def scores(self, rows: Coded, rng: np.random.Generator) -> dict[str, float]:
        takes_part = (rows.sd >= self.least) & (rows.sd > 0)
        if not takes_part.any():
            return {"FactorVAE score": self.chance(len(rows.factors.names))}
        rows = Coded(rows.scaled()[:, takes_part], rows.factors, rows.classes)
        table, tested = (self._votes(half, rng) for half in rows.halves)
        named = table.argmax(1)
        right = tested[np.arange(len(tested)), named].sum()
        return {"FactorVAE score": float(right / tested.sum())}

    def _votes(self, rows: Coded, rng: np.random.Generator) -> Integers:
        """The number of votes for each latent and factor, (D, F)."""
        table = np.zeros((rows.codes.shape[1], len(rows.factors.names)), dtype=np.int64)
        for k, count in _counts(rows, self.votes, rng):
            groups = _Groups(rows, k)
            first = groups.some(rng, (count, 1))
            members = groups.members(first, rng, self.group)
            least = rows.codes[members].var(1).argmin(1)
            table[:, k] = np.bincount(least, minlength=len(table))
        return table


def _counts(rows: Coded, votes: int, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Each factor with its number of votes, when each vote chooses one at random."""
    count = len(rows.factors.names)
    yield from enumerate(rng.multinomial(votes, np.full(count, 1 / count)).tolist())


class _Groups:
    """The rows grouped by their value of one factor."""

    def __init__(self, rows: Coded, k: int) -> None:
        values = rows.classes[:, k]
        self.order = np.argsort(values, kind="stable")
        self.place = np.empty(len(values), dtype=np.int64)
        self.place[self.order] = np.arange(len(values))
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        self.start, self.size = (np.cumsum(counts) - counts)[inverse], counts[inverse]
        self.usable = np.flatnonzero(self.size > 1)
        if not len(self.usable):
            raise InputError(
                f"no two of {len(values):,} rows agree in the factor {rows.factors.names[k]!r}: give more "
                "rows, or declare the factor as continuous"
            )

    def some(self, rng: np.random.Generator, shape: tuple[int, int]) -> Integers:
        """Rows that are not alone in their group."""
        return self.usable[rng.integers(len(self.usable), size=shape)]

    def partners(self, first: Integers, rng: np.random.Generator) -> Integers:
        """Another row of each row's group."""
        size, start = self.size[first], self.start[first]
        step = 1 + (rng.random(first.shape) * (size - 1)).astype(np.int64)
        return self.order[start + (self.place[first] - start + step) % size]

    def members(self, first: Integers, rng: np.random.Generator, count: int) -> Integers:
        """This number of rows of each row's group, with replacement."""
        steps = (rng.random((len(first), count)) * self.size[first]).astype(np.int64)
        return self.order[self.start[first] + steps]
