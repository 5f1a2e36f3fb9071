"""The value of an arm: how it was (`Mean`), or how it will be (`Curve`)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np

from pyrovae.checks import number, whole
from pyrovae.numerics import Array
from pyrovae.part import Declared
from pyrovae.searching.curves import final_values
from pyrovae.searching.history import History

__all__ = ["Curve", "Mean", "Value"]


class Value(Declared, ABC):
    """Base class of the values of arms."""

    @abstractmethod
    def estimate(self, history: History) -> tuple[Array, Array]:
        """The value of each arm and its standard error, (K,) each."""

    def bonus(self, history: History) -> Array:
        """The optimism that UCB adds to the value, (K,); by default two standard errors."""
        return 2 * self.estimate(history)[1]


class Curve(Value):
    """The predicted reward of an arm after H pulls, from its learning curve (`curves`).

    Arguments:
        discount: how much less precise the reward before counts, above 0 and up to 1.

    Reference:
        Domhan, Springenberg & Hutter (2015), "Speeding up Automatic Hyperparameter Optimization of
        Deep Neural Networks by Extrapolation of Learning Curves".

    Example:
        >>> history = History(2, 40, [(a, y) for n in range(9) for a, y in
        ...     [(0, 10 - 5 * 0.5**n), (1, 12 - 12 * 0.9**n)]])
        >>> history.latest().round(1), Curve().estimate(history)[0].round()
        (array([10. ,  6.8]), array([10., 12.]))
    """

    def __init__(self, discount: float = 0.9) -> None:
        self.discount = number("discount of Curve", discount, above=0.0, most=1.0)

    def estimate(self, history: History) -> tuple[Array, Array]:
        value, error = np.full(history.arms, -np.inf), np.zeros(history.arms)
        curves = [history.curve(arm) for arm in history.alive]
        if any(map(len, curves)):
            value[history.alive], error[history.alive] = final_values(curves, history.last, self.discount)
        return value, error


class Mean(Value):
    r"""The mean of the rewards of an arm, in which old ones count less.

    \[\bar x_i = \frac{1}{N_i} \sum_s \gamma^{t-s}\, 1[I_s = i]\, x_s\]

    \[N_i = \sum_s \gamma^{t-s}\, 1[I_s = i]\]

    \[\text{bonus}_i = 2 B \sqrt{\xi \log \textstyle\sum_j N_j / N_i}\]

    With a window w, the last w pulls count and \(\gamma = 1\). With \(\gamma = 1\), \(\xi = 1/2\)
    and rewards in [0, 1] this is UCB1, with bonus \(\sqrt{2 \log t / N_i}\).

    Arguments:
        discount: the factor for each pull that was made since, above 0 and up to 1.
        window: the number of last pulls that count; None counts all.
        xi: the size of the bonus.
        scale: B, the range of the rewards; None takes that of the rewards that count.

    References:
        Auer, Cesa-Bianchi & Fischer (2002), "Finite-time Analysis of the Multiarmed Bandit
        Problem"; Garivier & Moulines (2011), "On Upper-Confidence Bound Policies for Switching
        Bandit Problems".

    Example:
        >>> history = History(2, 9, [(0, 1.0), (0, 0.0), (1, 1.0)])
        >>> Mean().estimate(history)[0], Mean(scale=1.0).bonus(history).round(4)
        (array([0.5, 1. ]), array([1.0481, 1.4823]))
    """

    def __init__(
        self,
        discount: float = 1.0,
        window: int | None = None,
        xi: float = 0.5,
        scale: float | None = None,
    ) -> None:
        self.discount = number("discount of Mean", discount, above=0.0, most=1.0)
        self.window = None if window is None else whole("window of Mean", window)
        self.xi = number("xi of Mean", xi, above=0.0)
        self.scale = None if scale is None else number("scale of Mean", scale, above=0.0)

    def estimate(self, history: History) -> tuple[Array, Array]:
        weight, count = self._weights(history)
        reward = np.where(weight > 0, history.reward, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = np.bincount(history.arm, weight * reward, history.arms) / count
            apart = weight @ np.square(reward - value[history.arm]) if len(history) else 0.0
            free = max(weight.sum() - len(np.unique(history.arm[weight > 0])), 0.0)
            spread = math.sqrt(apart / free) if free > 0 and apart > 0 else self._scale(reward, weight) / 2
            error = spread / np.sqrt(count)
        # An arm without a reward in the window may have any value; one that failed is never pulled.
        value = np.where(count > 0, value, reward.mean() if len(reward) else 0.0)
        failed = ~np.isin(np.arange(history.arms), history.alive)
        return np.where(failed, -np.inf, value), np.where(failed, 0.0, error)

    def bonus(self, history: History) -> Array:
        weight, count = self._weights(history)
        with np.errstate(divide="ignore", invalid="ignore"):
            padding = np.sqrt(self.xi * math.log(max(count.sum(), 1.0)) / count)
        padding = np.where(count > 0, padding, np.inf)
        failed = ~np.isin(np.arange(history.arms), history.alive)
        return np.where(failed, 0.0, 2 * self._scale(history.reward, weight) * padding)

    def _weights(self, history: History) -> tuple[Array, Array]:
        """The weight of each pull, and its sum for each arm."""
        weight = self.discount ** np.arange(len(history) - 1.0, -1.0, -1.0)
        if self.window is not None:
            weight[: -self.window] = 0.0
        weight = np.where(np.isin(history.arm, history.alive), weight, 0.0)
        return weight, np.bincount(history.arm, weight, history.arms).astype(float)

    def _scale(self, reward: Array, weight: Array) -> float:
        counted = reward[weight > 0]
        if self.scale is not None or not len(counted):
            return self.scale or 1.0
        return float(np.ptp(counted)) or 1.0
