"""The pulls of a bandit so far, as numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pyrovae.checks import whole
from pyrovae.errors import InputError
from pyrovae.numerics import Array

__all__ = ["History"]


@dataclass(frozen=True)
class History:
    """The pulls of K arms so far, with everything that a policy may use.

    Attributes:
        arms: the number of arms K.
        pulls: the number of pulls T that there will be in all.
        seen: (arm, reward) of each pull; a reward that is not finite marks an arm that failed.
        full: the number of pulls of an arm that is trained to the end; by default T.
        seed: the seed of policies that draw.

    Example:
        >>> history = History(3, 10, [(0, -5.0), (2, float("nan")), (0, -4.0)])
        >>> history.counts, history.alive, history.curve(0)
        (array([2, 0, 1]), array([0, 1]), array([-5., -4.]))
    """

    arms: int
    pulls: int
    seen: Iterable[tuple[int, float]] = ()
    full: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: for a number below 1, or an arm that does not exist.
        """
        seen = tuple((int(arm), float(reward)) for arm, reward in self.seen)
        for name, value, least in (("arms", self.arms, 1), ("pulls", self.pulls, 1), ("seed", self.seed, 0)):
            object.__setattr__(self, name, whole(name, value, least))
        if self.full is not None:
            object.__setattr__(self, "full", whole("full", self.full))
        wrong = [arm for arm, _ in seen if not 0 <= arm < self.arms]
        if wrong:
            raise InputError(f"there is no arm {wrong[0]}: number the {self.arms} arms from 0")
        object.__setattr__(self, "seen", seen)

    def __len__(self) -> int:
        return len(self.arm)

    @cached_property
    def arm(self) -> np.ndarray:
        """The arm of each pull, (t,)."""
        return np.array([arm for arm, _ in self.seen], dtype=int)

    @cached_property
    def reward(self) -> Array:
        """The reward of each pull, (t,)."""
        return np.array([reward for _, reward in self.seen], dtype=float)

    @cached_property
    def counts(self) -> np.ndarray:
        """The number of pulls of each arm, (K,)."""
        return np.bincount(self.arm, minlength=self.arms)

    @cached_property
    def alive(self) -> np.ndarray:
        """The arms that have not failed."""
        return np.setdiff1d(np.arange(self.arms), self.arm[~np.isfinite(self.reward)])

    @cached_property
    def open(self) -> np.ndarray:
        """The arms that may be pulled: they have not failed and are not trained to the end."""
        return self.alive[self.counts[self.alive] < self.last]

    @property
    def last(self) -> int:
        """The number of pulls H of an arm that is trained to the end."""
        return self.pulls if self.full is None else self.full

    def curve(self, arm: int) -> Array:
        """The rewards of one arm."""
        return self.reward[self.arm == arm]

    def latest(self) -> Array:
        """The last reward of each arm, (K,); -inf without one, or if the arm failed."""
        latest = np.full(self.arms, -np.inf)
        latest[self.arm] = self.reward  # the last of several values stays
        return np.where(np.isfinite(latest), latest, -np.inf)

    def generator(self) -> np.random.Generator:
        """Random numbers of the next pull, a function of the seed and the number of pulls."""
        return np.random.default_rng([self.seed, len(self)])
