r"""Policies: which arm of a bandit to pull next, a pure function of the rewards so far.

    UCB        the largest optimistic value        value_i + bonus_i
    Thompson   the largest of random values        N(value_i, error_i^2)
    EXP3       drawn with probabilities            (1 - gamma) w_i / sum w + gamma / K
    Halving    all, then the better half, ...      a fixed number of pulls in each round
    Turns      one after the other                 every arm is trained to the end

An arm is a model that each pull trains further, so its reward rises, at first fast and then slowly.
A mean of its rewards says how it was. What matters is how it will be: the value of an arm is its
predicted reward at the end of a complete training (`Curve`). `Mean` is the textbook's value, with
discounting or a sliding window as the plain way to follow a drift.

To add a policy, subclass `Policy`; it is then known by the name of its class.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from pyrovae.checks import number
from pyrovae.errors import InputError
from pyrovae.names import meant_by, named_classes
from pyrovae.numerics import Array
from pyrovae.part import Declared
from pyrovae.searching.history import History
from pyrovae.searching.values import Curve, Value

__all__ = ["EXP3", "UCB", "Halving", "Policy", "Thompson", "Turns", "as_policy"]

Indices = np.ndarray[Any, np.dtype[np.int_]]


class Policy(Declared, ABC):
    """Base class of policies."""

    def next(self, history: History) -> int:
        """The arm to pull next, never one that failed or is trained to the end.

        Raises:
            InputError: when there is none.
        """
        if not len(history.alive):
            raise InputError("all arms have failed: change the arms")
        if not len(history.open):
            raise InputError("all arms are trained to the end: give a larger `full`, or fewer pulls")
        if len(history.open) == 1:
            return int(history.open[0])
        return int(self.choose(history))

    @abstractmethod
    def choose(self, history: History) -> int:
        """The arm to pull next, of two or more that are open; the first of equal ones."""

    def best(self, history: History) -> int:
        """The arm to recommend: that with the highest value of which one standard error is left.

        Raises:
            InputError: when all arms have failed, or none was pulled.
        """
        pulled = [arm for arm in history.alive if history.counts[arm]]
        if not pulled:
            raise InputError("no arm has a reward: pull one first")
        value, error = Curve().estimate(history)
        return int(pulled[int(np.argmax((value - error)[pulled]))])


class _ByValue(Policy):
    """Base class of policies that compare the values of arms; each arm is pulled once at first."""

    def __init__(self, value: Value | None = None) -> None:
        self.value = Curve() if value is None else value

    def choose(self, history: History) -> int:
        new = history.open[history.counts[history.open] == 0]
        if len(new):
            return int(new[0])
        return int(history.open[int(np.argmax(self.index(history)[history.open]))])

    @abstractmethod
    def index(self, history: History) -> Array:
        """The number that is compared, (K,)."""


class UCB(_ByValue):
    r"""Optimism: pull the arm with the largest value plus bonus, \(\arg\max_i \bar x_i + b_i\).

    The value is the predicted final reward and the bonus two of its standard errors. With
    `UCB(Mean())` it is UCB1, with `UCB(Mean(discount=0.95))` the discounted and with
    `UCB(Mean(window=20))` the sliding-window UCB.

    Arguments:
        value: the value of an arm; `Curve()` by default.

    References:
        Auer, Cesa-Bianchi & Fischer (2002), "Finite-time Analysis of the Multiarmed Bandit
        Problem"; Garivier & Moulines (2011), "On Upper-Confidence Bound Policies for Switching
        Bandit Problems".

    Example:
        >>> from pyrovae.searching.values import Mean
        >>> UCB(Mean()).next(History(2, 9, [(0, 1.0), (0, 0.0), (1, 1.0)]))
        1
        >>> UCB()
        UCB(value=Curve(discount=0.9))
    """

    def index(self, history: History) -> Array:
        return self.value.estimate(history)[0] + self.value.bonus(history)


class Thompson(_ByValue):
    r"""Thompson sampling: draw a value of each arm from its posterior, and pull the largest.

    \[\theta_i \sim N(\bar x_i, e_i^2), \qquad \arg\max_i \theta_i\]

    Arguments:
        value: the value of an arm; `Curve()` by default.

    References:
        Thompson (1933), "On the Likelihood that One Unknown Probability Exceeds Another in View of
        the Evidence of Two Samples"; Chapelle & Li (2011), "An Empirical Evaluation of Thompson
        Sampling".

    Example:
        >>> from pyrovae.searching.values import Mean
        >>> seen = [(0, 1.0), (0, 1.1), (0, 1.0), (1, 0.0), (1, 0.1)]
        >>> [Thompson(Mean()).next(History(2, 9, seen, seed=seed)) for seed in range(5)]
        [0, 0, 0, 0, 0]
    """

    def index(self, history: History) -> Array:
        value, error = self.value.estimate(history)
        return value + error * history.generator().standard_normal(history.arms)


class EXP3(Policy):
    r"""Exponential weights, which assume nothing about how rewards change.

    \[p_i = (1 - \gamma) \frac{w_i}{\sum_j w_j} + \frac{\gamma}{K}\]

    \[w_i \leftarrow w_i \exp\Bigl(\frac{\gamma}{K} \frac{x_i}{p_i} 1[I = i]\Bigr)
    + \frac{e \alpha}{K} \sum_j w_j\]

    \(\alpha = 0\) is EXP3. EXP3.S shares weights with \(\alpha > 0\), so that it can follow a best
    arm that changes. The gain x in [0, 1] is the reward between `low` and `high`. Without these, it
    is the reward between the lowest and the highest of the arms' latest rewards at that time: a
    gain says how an arm compares with the others now, and does not rise when all improve.

    Arguments:
        gamma: the share of pulls that are uniform; by default sqrt(K ln K / ((e - 1) T)), at most
            1, for which the regret is at most 2.63 sqrt(T K ln K).
        alpha: the share of weight that is spread; by default 1 / T. 0 is EXP3.
        low, high: the range of the rewards, if it is known.

    Reference:
        Auer, Cesa-Bianchi, Freund & Schapire (2002), "The Nonstochastic Multiarmed Bandit Problem".

    Example:
        >>> policy = EXP3(gamma=0.5, alpha=0.0, low=0.0, high=1.0)
        >>> policy.probabilities(History(2, 9, [(0, 1.0)])).round(4)  # w = e^0.5, 1
        array([0.5612, 0.4388])
    """

    def __init__(
        self,
        gamma: float | None = None,
        alpha: float | None = None,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        self.gamma = None if gamma is None else number("gamma of EXP3", gamma, above=0.0, most=1.0)
        self.alpha = None if alpha is None else number("alpha of EXP3", alpha, least=0.0)
        self.low = None if low is None else number("low of EXP3", low)
        self.high = None if high is None else number("high of EXP3", high)
        if (low is None) != (high is None) or (low is not None and not self.low < self.high):  # type: ignore[operator]
            raise InputError(f"low and high of EXP3 are a range, not {low} and {high}: give low < high")

    def choose(self, history: History) -> int:
        share = self.probabilities(history)[history.open]
        return int(history.generator().choice(history.open, p=share / share.sum()))

    def probabilities(self, history: History) -> Array:
        """The probability of each arm, (K,); 0 for those that failed."""
        alive = np.isin(np.arange(history.arms), history.alive)
        arms = int(alive.sum())
        log_w = np.where(alive, 0.0, -np.inf)
        gamma, alpha = self._rates(arms, history.pulls)
        seen = [(arm, gain) for arm, gain in self._gains(history) if alive[arm]]
        for arm, gain in seen:
            p = self._mixed(log_w, gamma, arms)
            spread = np.logaddexp.reduce(log_w[alive]) + math.log(math.e * alpha / arms) if alpha else -np.inf
            log_w[arm] += gamma * gain / (p[arm] * arms)
            log_w[alive] = np.logaddexp(log_w[alive], spread)
            log_w -= log_w.max()
        return self._mixed(log_w, gamma, arms)

    def _rates(self, arms: int, pulls: int) -> tuple[float, float]:
        best = min(1.0, math.sqrt(arms * math.log(arms) / ((math.e - 1) * pulls))) if arms > 1 else 1.0
        return best if self.gamma is None else self.gamma, 1 / pulls if self.alpha is None else self.alpha

    @staticmethod
    def _mixed(log_w: Array, gamma: float, arms: int) -> Array:
        share = np.exp(log_w - log_w.max())
        return (1 - gamma) * share / share.sum() + gamma / arms * (share > 0)

    def _gains(self, history: History) -> list[tuple[int, float]]:
        """The arm and the gain in [0, 1] of each pull."""
        gains, latest = [], dict[int, float]()
        for arm, reward in history.seen:
            latest[arm] = reward
            known = [value for value in latest.values() if math.isfinite(value)] or [0.0]
            low = min(known) if self.low is None else self.low
            high = max(known) if self.high is None else self.high
            gains.append((arm, min(1.0, max(0.0, (reward - low) / (high - low))) if high > low else 0.5))
        return gains


class Halving(Policy):
    r"""Successive halving: pull all arms, keep the best of them, pull those more, and so on.

    In each of \(R = \lceil \log_\eta K \rceil\) rounds, each of the arms S that are left is pulled
    \(\lfloor T / (|S| R) \rfloor\) times, at least once, and the \(\lceil |S| / \eta \rceil\) best
    are kept. Pulls that are left over go to the last arm.

    Arguments:
        eta: the factor by which the arms become fewer in a round, above 1.
        value: what is compared; by default the last reward, as in the sources. `Curve()` compares
            predictions.

    References:
        Karnin, Koren & Somekh (2013), "Almost Optimal Exploration in Multi-Armed Bandits"; Jamieson
        & Talwalkar (2016), "Non-stochastic Best Arm Identification and Hyperparameter
        Optimization".

    Example:
        >>> Halving().schedule(arms=5, pulls=40)  # (arms, pulls of each) in each round
        [(5, 2), (3, 4), (2, 6)]
    """

    def __init__(self, eta: float = 2.0, value: Value | None = None) -> None:
        self.eta = number("eta of Halving", eta, above=1.0)
        self.value = value

    def schedule(self, arms: int, pulls: int) -> list[tuple[int, int]]:
        """The number of arms, and of pulls of each of them, in each round."""
        sizes = [arms]
        while sizes[-1] > 1:
            sizes.append(min(sizes[-1] - 1, math.ceil(sizes[-1] / self.eta)))
        rounds = max(1, len(sizes) - 1)
        return [(size, max(1, pulls // (size * rounds))) for size in sizes[:rounds]]

    def choose(self, history: History) -> int:
        left, needed = np.arange(history.arms, dtype=int), 0
        for size, pulls in self.schedule(history.arms, history.pulls):
            # Of the first pulls of each arm only, so that the choice of an earlier round stays.
            left = self._kept(history, left, size, needed)
            needed += pulls
            due = [arm for arm in left if arm in history.open and history.counts[arm] < needed]
            if due:
                return int(min(due, key=lambda arm: history.counts[arm]))
        last = self._kept(history, left, 1, needed)[0]
        return int(last if last in history.open else self._kept(history, history.open, 1, needed)[0])

    def _kept(self, history: History, left: Indices, size: int, needed: int) -> Indices:
        """The `size` best arms after `needed` pulls of each, of those that have not failed."""
        if not needed:
            return left
        count, seen = np.zeros(history.arms, dtype=int), []
        for arm, reward in history.seen:
            count[arm] += 1
            if count[arm] <= needed:
                seen.append((arm, reward))
        before = History(history.arms, history.pulls, seen, history.full, history.seed)
        value = before.latest() if self.value is None else self.value.estimate(before)[0]
        alive = np.intersect1d(left, history.alive)
        alive = alive if len(alive) else history.alive  # the arms that were kept have failed
        return np.sort(alive[np.argsort(-value[alive], kind="stable")[:size]])


class Turns(Policy):
    """Pull the arms in turns: with K times `full` pulls, each of K arms is trained to the end.

    This is what the others are compared with (`Bandit.regret`).

    Example:
        >>> Turns().next(History(3, 9, [(0, 1.0), (1, 5.0)]))
        2
    """

    def choose(self, history: History) -> int:
        return int(history.open[int(np.argmin(history.counts[history.open]))])


def as_policy(policy: str | Policy) -> Policy:
    """Return a policy unchanged, or look one up by name (upper or lower case), with its defaults.

    Raises:
        InputError: for an unknown name.

    Example:
        >>> as_policy("thompson"), as_policy("halving")
        (Thompson(value=Curve(discount=0.9)), Halving(eta=2.0))
    """
    if isinstance(policy, Policy):
        return policy
    classes = named_classes(Policy)
    name = next((name for name in classes if name.lower() == str(policy).lower()), None)
    if name is None:
        advice = meant_by(str(policy), [*classes]).strip() or f"choose one of {', '.join(classes)}"
        raise InputError(f"there is no policy {policy!r}: {advice}")
    return classes[name]()
