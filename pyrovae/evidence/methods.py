r"""How log p(x) is estimated: which weights, from which draws. One class a method.

    importance   z ~ q(z|x)                                    the bound L_K of the papers
    psis         the same draws, the largest weights smoothed
    defensive    z ~ (1/J) sum_j q_j: the guide, the guide widened about its mean, the prior
    ais          z annealed from the guide (or the prior) to the posterior by HMC

A method turns data into the rows log_px, mc_stderr, ess, khat; the loop over data, the draws and the
sums are shared.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Self, get_args

import torch
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.evidence.annealing import Annealer, Schedule
from pyrovae.evidence.path import Latents, Start
from pyrovae.evidence.run import Pieces, whole_number
from pyrovae.evidence.weights import WeightSums
from pyrovae.part import Declared

__all__ = ["AIS", "PSIS", "Defensive", "Importance", "Method", "as_method"]


class Method(Declared, ABC):
    """Base class of methods.

    Attributes:
        name: as it is shown.
        particles: how many draws for each datum unless the caller says so.
        capturable: whether all its work is the terms of pieces, which can be compiled code.
    """

    name: str
    particles: int = 1000
    capturable: bool = False

    def __init__(self) -> None:
        """Most methods have nothing to choose."""

    def prepared(self, pieces: Pieces, particles: int) -> Self:
        """The method with everything chosen that it left open."""
        return self

    @abstractmethod
    def summary(self, pieces: Pieces, rows: slice, particles: int) -> Tensor:
        """Rows log_px, mc_stderr, ess and khat of some data, (4, B), float64."""


class Importance(Method):
    """Importance sampling with the guide as proposal; a lower bound in expectation.

    Reference:
        Burda, Grosse & Salakhutdinov (2016), "Importance Weighted Autoencoders".
    """

    name = "importance sampling"
    capturable = True
    smooth = False

    def summary(self, pieces: Pieces, rows: slice, particles: int) -> Tensor:
        sums = WeightSums(rows.stop - rows.start, particles, pieces.x.device)
        for log_w in self.log_weights(pieces, rows, particles):
            sums.add(log_w)
        return sums.summary(smooth=self.smooth)

    def log_weights(self, pieces: Pieces, rows: slice, particles: int) -> Iterator[Tensor]:
        """The log weights in pieces (K_i, B)."""
        for terms in pieces.terms(rows, particles):
            yield terms.log_w


class PSIS(Importance):
    """Importance sampling whose largest weights are replaced by quantiles of a fitted Pareto law.

    Reference:
        Vehtari, Simpson, Gelman, Yao & Gabry (2024), "Pareto Smoothed Importance Sampling".
    """

    name = "Pareto-smoothed importance sampling"
    smooth = True


class Defensive(Importance):
    r"""Importance sampling from a mixture that a too narrow guide cannot spoil, stratified.

    \[w = \frac{p(x, z)}{\frac1J \sum_j q_j(z)}, \quad
    q_j(z) = c_j^{-D} q\big(m + (z - m) / c_j \mid x\big)\ \text{or}\ p(z)\]

    Each of the J components draws K/J of the particles; every weight has the whole mixture below it (the
    balance heuristic). The latents are those on the real line; m is the mean of a pilot set of draws. The
    error is that of stratified draws: the variance between components does not enter it.

    Arguments:
        widths: the factors c_j of the widened guides; 1 is the guide itself.
        prior: whether p(z) is a component.

    Raises:
        InputError: when no width is given or one is not above 0.

    References:
        Hesterberg (1995), "Weighted average importance sampling and defensive mixture distributions"; Veach &
        Guibas (1995), "Optimally combining sampling techniques for Monte Carlo rendering".
    """

    name = "defensive importance sampling"
    capturable = False

    def __init__(self, widths: Sequence[float] = (1.0, 1.5, 2.0, 3.0), *, prior: bool = True) -> None:
        self.widths = tuple(widths)
        self.prior = prior
        if not self.widths or not all(0 < c < math.inf for c in self.widths):
            raise InputError(f"Defensive needs widths above 0, not {list(self.widths)}")

    def summary(self, pieces: Pieces, rows: slice, particles: int) -> Tensor:
        whole = WeightSums(rows.stop - rows.start, particles, pieces.x.device)
        strata: dict[int, WeightSums] = {}
        for component, log_w in self.log_weights_of(pieces, rows, particles):
            whole.add(log_w)
            if component not in strata:
                strata[component] = WeightSums(rows.stop - rows.start, 1, pieces.x.device)
            strata[component].add(log_w)
        summary = whole.summary()
        if particles >= 2 * len(strata):
            variances = [stratum.variance_beside(whole.log_s1) for stratum in strata.values()]
            summary[1] = torch.stack(variances).sum(0).sqrt()
        return summary

    def log_weights(self, pieces: Pieces, rows: slice, particles: int) -> Iterator[Tensor]:
        """The log weights of every component's draws, (K_i, B)."""
        for _, log_w in self.log_weights_of(pieces, rows, particles):
            yield log_w

    def log_weights_of(self, pieces: Pieces, rows: slice, particles: int) -> Iterator[tuple[int, Tensor]]:
        """The number of each component and the log weights of its draws, (K_i, B)."""
        latents = pieces.latents(rows)
        centre = latents.pack(latents.from_guide(50, first=10**9)[0]).mean(0)
        components = [*self.widths, None] if self.prior else [*self.widths]
        shares = _shares(particles, len(components))
        for number, (width, share) in enumerate(zip(components, shares, strict=True)):
            for first, count in pieces.cuts(rows, share):
                u = self._draw(latents, width, count, number * 10**7 + first, centre)
                yield number, self._log_w(latents, u, centre, shares)

    def _draw(self, latents: Latents, width: float | None, count: int, first: int, centre: Tensor) -> Tensor:
        if width is None:
            return latents.pack(latents.from_prior(count, first))
        u = latents.pack(latents.from_guide(count, first)[0])
        return centre + width * (u - centre)

    def _log_w(self, latents: Latents, u: Tensor, centre: Tensor, shares: list[int]) -> Tensor:
        log_p, joint = latents.log_densities(u, "prior")
        laws = []
        for width in self.widths:
            inner = latents.log_start(centre + (u - centre) / width, "guide")
            laws.append(inner - u.shape[-1] * math.log(width))
        laws += [log_p] if self.prior else []
        share = torch.tensor(shares, dtype=torch.float64, device=u.device).log() - math.log(sum(shares))
        return joint - torch.logsumexp(torch.stack(laws) + share.reshape(-1, 1, 1), 0)


class AIS(Method):
    """Annealed importance sampling with HMC, started at the guide; the one to quote.

    Arguments:
        temperatures: steps from the start to the posterior. None doubles them, on some of the data, until
            that changes the mean by less than its error.
        start: "guide" needs far fewer than "prior".
        schedule: how the inverse temperatures are spaced, linear or sigmoid.
        leapfrog: steps of one HMC trajectory.

    Raises:
        InputError: when temperatures or leapfrog are below 1, or for an unknown start or schedule.

    References:
        Neal (2001), "Annealed Importance Sampling"; Wu, Burda, Salakhutdinov & Grosse (2017), "On the
        Quantitative Analysis of Decoder-Based Generative Models".
    """

    name = "annealed importance sampling"
    particles = 16

    def __init__(
        self,
        temperatures: int | None = None,
        start: Start = "guide",
        schedule: Schedule = "linear",
        leapfrog: int = 2,
    ) -> None:
        self.temperatures = None if temperatures is None else whole_number("temperatures", temperatures)
        self.start, self.schedule = start, schedule
        self.leapfrog = whole_number("leapfrog", leapfrog)
        for name, given, known in (("start", start, Start), ("schedule", schedule, Schedule)):
            if given not in get_args(known):
                raise InputError(f"unknown {name} {given!r}: choose one of {', '.join(get_args(known))}")

    def prepared(self, pieces: Pieces, particles: int) -> Self:
        if self.temperatures is not None:
            return self
        pieces = pieces.few(_PILOT_ROWS)
        count, chosen = _FEWEST, type(self)(_FEWEST, self.start, self.schedule, self.leapfrog)
        after = chosen._pilot(pieces, particles)
        while count < _MOST:
            count, before = 2 * count, after
            chosen = type(self)(count, self.start, self.schedule, self.leapfrog)
            after = chosen._pilot(pieces, particles)
            if _agree(before, after):
                break
        return chosen

    def _pilot(self, pieces: Pieces, particles: int) -> Tensor:
        return torch.cat([self.summary(pieces, rows, particles) for rows in pieces.rows(particles)], 1)

    def summary(self, pieces: Pieces, rows: slice, particles: int) -> Tensor:
        log_w = self.annealer(pieces.latents(rows), particles).forward()
        sums = WeightSums(log_w.shape[1], particles, log_w.device)
        sums.add(log_w)
        return sums.summary()

    def annealer(self, latents: Latents, chains: int) -> Annealer:
        """The annealer of some data."""
        return Annealer(
            latents,
            chains=chains,
            temperatures=self.temperatures or _FEWEST,
            start=self.start,
            schedule=self.schedule,
            leapfrog=self.leapfrog,
        )


_PILOT_ROWS = 64
_FEWEST = 25
_MOST = 3200
_METHODS = {"importance": Importance, "psis": PSIS, "defensive": Defensive, "ais": AIS}


def as_method(given: str | Method) -> Method:
    """A method by its name, with its defaults, or as it is.

    Raises:
        InputError: for an unknown name.
    """
    if isinstance(given, Method):
        return given
    if str(given).lower() not in _METHODS:
        raise InputError(f"unknown method {given!r}: choose one of {', '.join(_METHODS)}")
    return _METHODS[given.lower()]()


def _shares(particles: int, components: int) -> list[int]:
    if particles < components:
        raise InputError(
            f"a mixture of {components} proposals needs at least as many particles, not {particles}"
        )
    return [particles // components + (i < particles % components) for i in range(components)]


def _agree(before: Tensor, after: Tensor) -> bool:
    """Whether two estimates of the same data differ in the mean by less than the error of the difference."""
    difference = (after[0] - before[0]).mean()
    error = (before[1].square() + after[1].square()).sum().sqrt() / before.shape[1]
    return bool(difference.abs() < error)
