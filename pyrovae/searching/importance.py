r"""The importance of hyperparameters: how much of the variance of the value each explains.

    T_j = 1/2 E[(f(x) - f(x with x_j of another trial))^2] / sum over all hyperparameters

f is the expected value of a trial with hyperparameters x. It is estimated by extremely randomised
trees, and T_j by the increase of their squared error on held-out trials when x_j is replaced:

    T_j = 1/2 E[(y - f(x with x_j replaced))^2 - (y - f(x))^2],   at least 0

A hyperparameter without influence has T_j near 0, also if the trees use it by mistake. Trees miss
some of a small influence: shares of 0.80 and 0.20 are measured as 0.85 and 0.15 with 40 trials.

In a conditional space, an option of a part exists only if the part is chosen. Two rules keep every
replacement possible. An option is replaced only in trials that have it, by values of trials that
have it. If a choice is replaced, the options that come with the new choice are those of the other
trial, those that both have stay, and the others are removed.

Other methods: fANOVA, as in optuna, leaves out the hyperparameters that some trials lack, so their
variance is given to others. Conditional PED-ANOVA, the default of `optuna.importance`, takes them
into account. It answers another question, what separates the best tenth of the trials from the
rest, so with 40 trials it rests on 4. It gives no error.

Reference:
    Breiman (2001), "Random Forests", section 10: permutation importance.
    Geurts, Ernst & Wehenkel (2006), "Extremely randomized trees".
    Hoeffding (1948), "A class of statistics with asymptotically normal distribution": the error.
    Jansen (1999), "Analysis of variance designs for model output": T_j from replaced inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.checks import whole
from pyrovae.display import Displayed, Summary
from pyrovae.errors import InputError
from pyrovae.numerics import Array
from pyrovae.plots.trials import Column, columns_of, low_fence, trials_of

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["LEAST", "Importance", "importance", "predicted_ends"]

LEAST = 20  # trials, below which the trees are not tried
EXPLAINED = 0.2  # the share of the variance on held-out trials below which importances are noise
FOLDS, DONORS, TREES = 10, 20, 100
ABSENT = -0.5  # the place of a missing value; ranks are from 0 to 1


@dataclass(frozen=True, repr=False)
class Importance(Displayed):
    """The importance of each hyperparameter, the most important first; prints a table.

    Attributes:
        names: the paths of the hyperparameters, (P,).
        shares: their shares, (P,), which add up to 1; NaN if they cannot be measured.
        errors: the standard errors of the shares over the trials, (P,). The trees see the same
            trials, so an error is a lower bound.
        explained: the share of the variance that the trees explain on held-out trials, or NaN.
        trials: the number of trials used.
        note: why the shares are NaN, or None.
    """

    names: tuple[str, ...]
    shares: Array
    errors: Array
    explained: float
    trials: int
    note: str | None = None

    def _summary(self) -> Summary:
        head = f"shares of the variance of the bound over {self.trials} trials"
        pairs = zip(self.names, self.shares, self.errors, strict=True)
        lines = [(name, f"{share:6.1%} +- {error:.1%}") for name, share, error in pairs]
        wide = max(map(len, self.names), default=0)
        return Summary(head, [] if self.note else lines, self.note or "", wide)

    def frame(self) -> DataFrame:
        """A table with the columns hyperparameter, share and error."""
        from pandas import DataFrame

        return DataFrame({"hyperparameter": self.names, "share": self.shares, "error": self.errors})


def importance(
    parameters: Mapping[str, Sequence[Any]],
    values: ArrayLike,
    states: Sequence[str] | None = None,
    *,
    parents: Mapping[str, str] | None = None,
    pruned: bool = False,
    seed: int = 0,
) -> Importance:
    r"""The share of each hyperparameter in the variance of the value over the finished trials.

    \[T_j \propto \tfrac12 \mathbb{E}\bigl[(f(x) - f(x_{-j}, x_j'))^2\bigr]\]

    A hyperparameter that acts only together with another counts for both. Values below
    `low_fence` count as the fence, since one diverged trial would otherwise have most of the
    variance. If the sampler prefers good regions, the shares are those of the trials that it made.

    Args:
        parameters: path -> numbers or words, (N,); None or NaN where it does not exist.
        values: the value of each trial, (N,), nats per observation; NaN for none.
        states: "complete", "pruned", "failed" or "running" for each trial; without them, trials
            with a value are complete.
        parents: option -> the choice on which its existence depends; by default read from the
            trials: the hyperparameter whose value tells whether the option exists.
        pruned: whether to use the values of pruned trials too. They were measured after fewer
            epochs: give `predicted_ends`, since the finished trials alone are few and alike.
        seed: of the trees and the replacements.

    Returns:
        The importances. The shares are NaN, and `note` says why, if there are fewer than 20 trials,
        all values or hyperparameters are the same, or the trees explain less than 20 % of the
        variance on held-out trials.

    Raises:
        InputError: if lengths differ, no trial has a value, or `parents` names an unknown path.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> lr, width = rng.uniform(size=60), rng.uniform(size=60)
        >>> result = importance({"lr": lr, "width": width}, 10 * lr)
        >>> result.names, result.shares.round(2).tolist()
        (('lr', 'width'), [1.0, 0.0])
    """
    trials = trials_of(values, states)
    used = trials.complete | (trials.pruned & np.isfinite(trials.values) & bool(pruned))
    every = columns_of(parameters, len(trials.values))
    columns = [Column(c.name, c.values[used], c.words) for c in every]
    tree = _parents(columns) if parents is None else _given_parents(columns, parents)
    y = trials.values[used]
    varied = [j for j, c in enumerate(columns) if len(np.unique(c.values[c.exists])) > 1]
    note = _too_little(y, varied)
    if note:
        return _unmeasured(columns, len(y), note)
    y = np.maximum(y, low_fence(y))
    loss, rest = _losses(columns, tree, varied, y, whole("seed", seed, 0))
    explained = float(1 - rest.mean() / y.var())
    if explained < EXPLAINED or loss.mean(0).max() <= 0:
        return _unmeasured(columns, len(y), _UNCLEAR.format(len(y), max(explained, 0.0)), explained)
    return _ranked(columns, loss, explained)


def predicted_ends(curves: Sequence[Mapping[int, float]], states: Sequence[str]) -> Array:
    r"""The value of each trial at its end; of a pruned trial, what it would have gained is added.

    \[\hat v_i = v_i(e_i) + \operatorname{median}_{j \text{ complete}} (v_j - v_j(e_i))\]

    e_i is the last epoch of pruned trial i. Trials are pruned because they are behind, and such a
    trial gains more or less than the median, so this is for an overview and not for a ranking.

    Args:
        curves: epoch -> value of each trial, nats per observation.
        states: "complete", "pruned", "failed" or "running" for each trial.

    Returns:
        The values, (N,); NaN for failed and running trials, trials without a value, and pruned
        trials whose last epoch no complete trial reported.

    Raises:
        InputError: if lengths differ, or no trial has a value.

    Example:
        >>> curves = [{1: -30.0, 2: -22.0, 3: -20.0}, {1: -29.0, 2: -23.0}]
        >>> predicted_ends(curves, ["complete", "pruned"]).tolist()
        [-20.0, -21.0]
    """
    paths = [{e: v for e, v in sorted(curve.items()) if np.isfinite(v)} for curve in curves]
    last = np.array([list(path.values())[-1] if path else np.nan for path in paths])
    trials = trials_of(last, states)
    values = trials.values.copy()
    for i in np.flatnonzero(trials.pruned & ~np.isnan(values)):
        end = list(paths[i])[-1]
        gains = [values[j] - paths[j][end] for j in np.flatnonzero(trials.complete) if end in paths[j]]
        values[i] += np.median(gains) if gains else np.nan
    return values


_UNCLEAR = (
    "the hyperparameters of {} trials explain {:.0%} of the variance on held-out trials, too little to "
    "measure importances: run more trials"
)


def _too_little(y: Array, varied: list[int]) -> str | None:
    if len(y) < LEAST:
        return f"{len(y)} trials are finished and importances need {LEAST}: run more trials"
    if y.std() <= 1e-9 * max(1.0, float(np.abs(y).max())):
        return f"all {len(y)} trials have the same value, so no hyperparameter matters: widen the space"
    return None if varied else "no hyperparameter differs between the finished trials: widen the space"


def _unmeasured(columns: list[Column], count: int, note: str, explained: float = np.nan) -> Importance:
    nan = np.full(len(columns), np.nan)
    return Importance(tuple(c.name for c in columns), nan, nan.copy(), explained, count, note)


def _ranked(columns: list[Column], loss: Array, explained: float) -> Importance:
    """Shares from the losses of each trial, (N, P), of hyperparameters in descending order."""
    total = np.clip(loss.mean(0), 0.0, None)
    order = np.argsort(-total, kind="stable")
    shares = total / total.sum()
    # the error of a ratio, to first order: that of the losses minus their share of the sum
    around = loss - shares * loss.sum(1, keepdims=True)
    # Each trial also gives values to the others. The mean over pairs is a U-statistic, whose error
    # is twice that of a mean over trials (Hoeffding, 1948).
    errors = 2 * around.std(0, ddof=1) / np.sqrt(len(loss)) / total.sum()
    names = tuple(columns[j].name for j in order)
    return Importance(names, shares[order], errors[order], explained, len(loss))


def _losses(
    columns: list[Column], tree: list[int | None], varied: list[int], y: Array, seed: int
) -> tuple[Array, Array]:
    """Increases of the squared error of each trial, (N, P), and its squared error, (N,)."""
    from sklearn.ensemble import ExtraTreesRegressor

    rng = np.random.default_rng(seed)
    X, owner = _encoded(columns)
    exists = np.stack([column.exists for column in columns], 1)
    loss, rest = np.zeros(exists.shape), np.zeros(len(y))
    for test in np.array_split(rng.permutation(len(y)), FOLDS):
        train = np.setdiff1d(np.arange(len(y)), test)
        model = ExtraTreesRegressor(TREES, random_state=int(rng.integers(2**31))).fit(X[train], y[train])
        rest[test] = (y[test] - model.predict(X[test])) ** 2
        for j in varied:
            rows = test[exists[test, j]]
            if len(rows):
                donors = rng.choice(np.flatnonzero(exists[:, j]), size=DONORS * len(rows))
                takers = np.tile(rows, DONORS)
                from_donor = _moved(j, tree, exists[takers], exists[donors])[:, owner]
                replaced = model.predict(np.where(from_donor, X[donors], X[takers]))
                error = ((y[takers] - replaced) ** 2).reshape(DONORS, -1).mean(0)
                loss[rows, j] = error - rest[rows]
    return loss, rest


def _moved(j: int, tree: list[int | None], here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Which hyperparameters come from the other trial if `j` does, (M, P).

    `here` and `there` say what exists in the trials and in the others, (M, P). An option of `j`
    that both have stays, with the options below it.
    """
    moved = np.zeros(here.shape, dtype=bool)
    moved[:, j] = True
    order = sorted(range(len(tree)), key=lambda c: _depth(c, tree))
    for c in order:
        parent = tree[c]
        if parent == j:
            moved[:, c] = ~(here[:, c] & there[:, c])
        elif parent is not None and c != j:
            moved[:, c] = moved[:, parent]
    return moved


def _depth(c: int, tree: list[int | None]) -> int:
    depth, parent = 0, tree[c]
    while parent is not None:
        depth, parent = depth + 1, tree[parent]
    return depth


def _encoded(columns: list[Column]) -> tuple[Array, np.ndarray]:
    """Ranks from 0 to 1 and indicators of words, (N, E), and the hyperparameter of each, (E,).

    Ranks make the trees independent of the scale of a hyperparameter.
    """
    from scipy.stats import rankdata

    parts, owner = [], []
    for j, column in enumerate(columns):
        if column.words:
            levels = np.arange(len(column.words))
            parts.append((column.values[:, None] == levels).astype(float))
        else:
            ranks = rankdata(column.values, nan_policy="omit")
            top = max(float(np.nanmax(ranks, initial=1.0)) - 1, 1.0)
            parts.append(np.nan_to_num((ranks - 1) / top, nan=ABSENT)[:, None])
        owner += [j] * parts[-1].shape[1]
    return np.concatenate(parts, 1), np.array(owner)


def _parents(columns: list[Column]) -> list[int | None]:
    """The hyperparameter whose value tells whether each option exists, or None.

    Its values must repeat, since distinct numbers would tell anything. Of several, it is the one
    that the fewest trials have, which is the nearest.
    """
    found: list[int | None] = []
    for column in columns:
        fits = [j for j, other in enumerate(columns) if other is not column and _tells(other, column)]
        found.append(min(fits, key=lambda j: int(columns[j].exists.sum())) if fits else None)
    return found


def _tells(parent: Column, option: Column) -> bool:
    at, exists = parent.values[parent.exists], option.exists[parent.exists]
    levels = np.unique(at)
    if (option.exists & ~parent.exists).any() or len(levels) > len(at) / 2 or len(set(exists.tolist())) < 2:
        return False
    return all(len(set(exists[at == level].tolist())) == 1 for level in levels)


def _given_parents(columns: list[Column], parents: Mapping[str, str]) -> list[int | None]:
    at = {column.name: j for j, column in enumerate(columns)}
    for name in (*parents, *parents.values()):
        if name not in at:
            raise InputError(f"parents names {name!r}, which is not one of {', '.join(at)}")
    tree = [at[parents[column.name]] if column.name in parents else None for column in columns]
    for j in range(len(tree)):
        seen: set[int | None] = set()
        step: int | None = j
        while step is not None:
            if step in seen:
                raise InputError(
                    f"parents leads from {columns[j].name!r} back to it: name the choice above it"
                )
            seen.add(step)
            step = tree[step]
    return tree
