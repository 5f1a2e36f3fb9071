r"""Methods to estimate log p(x), one class for each.

    Importance   z ~ q(z|x)                                    the bound L_K of the papers
    PSIS         the same samples, the largest weights smoothed
    Defensive    z ~ (1/J) sum_j q_j: the guide, the guide widened about its mean, the prior
    AIS          z annealed from the guide (or the prior) to the posterior by HMC

A method turns rows into log_px, mc_stderr, ess and khat. The loop over the rows, the samples and
the sums are shared. To add a method, subclass `Method`; it is then known by the name of its class.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Self, get_args

import torch
from torch import Tensor

from pyrovae.checks import count_of, number, one_of
from pyrovae.errors import InputError
from pyrovae.evidence.annealing import Annealer, Schedule
from pyrovae.evidence.draws import KeyedDraws
from pyrovae.evidence.origin import Start
from pyrovae.evidence.path import Latents
from pyrovae.evidence.posterior import Posterior
from pyrovae.evidence.run import Pieces
from pyrovae.evidence.weights import WeightSums
from pyrovae.names import meant_by, named_classes
from pyrovae.part import Declared
from pyrovae.terms.sites import sites_of

__all__ = ["AIS", "PSIS", "Defensive", "Importance", "Method", "as_method"]


class Method(Declared, ABC):
    """Base class of methods.

    Attributes:
        name: the name that is printed.
        particles: the default number of samples per row.
        is_bound: whether the result is the lower bound L_K, not an estimate of log p(x).
        annealed: whether the particles are chains that move to the posterior.
        smooth: whether the largest weights are smoothed.
        finds_modes: whether it looks for modes of the posterior, and does not rely on the guide.
        compilable: whether it only computes the terms of pieces, which can be compiled.
    """

    name: str
    particles: int = 1000
    is_bound: bool = False
    annealed: bool = False
    smooth: bool = False
    finds_modes: bool = False
    compilable: bool = False
    outputs: int = 4

    def __init__(self) -> None:
        """Most methods have no options."""

    def prepared(self, pieces: Pieces, particles: int) -> Self:
        """The method with all options that were left open chosen."""
        return self

    def parts(self, pieces: Pieces, particles: int) -> Iterator[Pieces]:
        """Split the rows into groups for `summary`."""
        return pieces.parts(particles)

    @abstractmethod
    def summary(self, pieces: Pieces, particles: int) -> Tensor:
        """log_px, mc_stderr, ess and khat of B rows that run together, (4, B), float64.

        A method with 5 outputs adds the bias of log_px, nan where it is unknown.
        """

    def posterior(self, pieces: Pieces, particles: int) -> Posterior:
        """Weighted samples of the posterior of B rows that run together.

        Raises:
            InputError: by a method that gives no samples.
        """
        raise InputError(f"{self.name} gives log p(x) only: use method='importance', 'laplace' or 'ais'")


class Importance(Method):
    """Importance sampling with the guide as proposal; a lower bound in expectation.

    Reference:
        Burda, Grosse & Salakhutdinov (2016), "Importance Weighted Autoencoders".
    """

    name = "importance sampling"
    is_bound = True
    compilable = True

    def summary(self, pieces: Pieces, particles: int) -> Tensor:
        sums = WeightSums(len(pieces), particles, pieces.device)
        for terms in pieces.terms(particles):
            sums.add(terms.log_w)
        return sums.summary(smooth=self.smooth)

    def posterior(self, pieces: Pieces, particles: int) -> Posterior:
        parts = []
        for first, count in pieces.cuts(particles):
            with KeyedDraws(pieces.keys, pieces.seed, first):
                pair = pieces.runner.run(pieces.rows, particles=count)
            values: dict[str, Tensor] = {name: site["value"] for name, site in sites_of(pair.guide)}
            parts.append((values, pair.terms().log_w.double()))
        return Posterior.of(parts)


class PSIS(Importance):
    """Importance sampling whose largest weights are smoothed by a Pareto distribution.

    Reference:
        Vehtari, Simpson, Gelman, Yao & Gabry (2024), "Pareto Smoothed Importance Sampling".
    """

    name = "Pareto-smoothed importance sampling"
    is_bound = False
    smooth = True
    outputs = 5

    posterior = Method.posterior  # the smoothed weights are not those of single samples


class Defensive(Method):
    r"""Stratified importance sampling from a mixture that a narrow guide cannot spoil.

    \[w = \frac{p(x, z)}{\frac1J \sum_j q_j(z)}, \quad
    q_j(z) = c_j^{-D} q\big(m + (z - m) / c_j \mid x\big)\ \text{or}\ p(z)\]

    Each of the J components draws K/J of the particles, and every weight is divided by the whole
    mixture (the balance heuristic). Latents are mapped to the real line; m is the mean of a pilot
    sample. The error is that of a stratified sample, without the variance between components.

    Arguments:
        widths: the factors c_j of the widened guides; 1 is the guide itself.
        prior: whether p(z) is a component.

    Raises:
        InputError: if there is no width, or a width is not above 0.

    References:
        Hesterberg (1995), "Weighted average importance sampling and defensive mixture
        distributions"; Veach & Guibas (1995), "Optimally combining sampling techniques for Monte
        Carlo rendering".
    """

    name = "defensive importance sampling"

    def __init__(self, widths: Sequence[float] = (1.0, 1.5, 2.0, 3.0), *, prior: bool = True) -> None:
        self.widths = tuple(number("a width of Defensive", width, above=0) for width in widths)
        self.prior = prior
        if not self.widths:
            raise InputError("Defensive needs at least one width, as in (1.0, 2.0)")

    def summary(self, pieces: Pieces, particles: int) -> Tensor:
        total = WeightSums(len(pieces), particles, pieces.device)
        strata: dict[int, WeightSums] = {}
        for component, log_w in self._log_weights(pieces, particles):
            total.add(log_w)
            strata.setdefault(component, WeightSums(len(pieces), 1, pieces.device)).add(log_w)
        summary = total.summary()
        if particles >= 2 * len(strata):
            variances = [stratum.relative_variance(total.log_s1) for stratum in strata.values()]
            summary[1] = torch.stack(variances).sum(0).sqrt()
        return summary

    def _log_weights(self, pieces: Pieces, particles: int) -> Iterator[tuple[int, Tensor]]:
        """The index of each component and the log weights of its samples, (K_i, B)."""
        latents = Latents(pieces)
        centre = latents.pack(latents.from_guide(50, first=10**9)[0]).mean(0)
        components = [*self.widths, *([None] if self.prior else [])]
        shares = _shares(particles, len(components))
        for component, (width, share) in enumerate(zip(components, shares, strict=True)):
            for first, count in pieces.cuts(share):
                first += component * 10**7
                if width is None:
                    u = latents.pack(latents.from_prior(count, first))
                else:
                    u = latents.pack(latents.from_guide(count, first)[0])
                    u = centre + width * (u - centre)
                yield component, self._log_w(latents, u, centre, shares)

    def _log_w(self, latents: Latents, u: Tensor, centre: Tensor, shares: list[int]) -> Tensor:
        log_prior, joint = latents.log_densities(u, "prior")
        proposals = []
        for width in self.widths:
            inner = latents.log_guide(centre + (u - centre) / width)
            proposals.append(inner - u.shape[-1] * math.log(width))
        proposals += [log_prior] if self.prior else []
        share = torch.tensor(shares, dtype=torch.float64, device=u.device).log() - math.log(sum(shares))
        return joint - torch.logsumexp(torch.stack(proposals) + share.reshape(-1, 1, 1), 0)


class AIS(Method):
    """Annealed importance sampling with HMC: accurate and slow, a check of other estimates.

    Arguments:
        temperatures: the number of steps from the start distribution to the posterior. With None,
            a coarse round chooses it for each row, and rows whose chains disagree get more of them.
        start: the start distribution: "modes" (the mixture of `Laplace`), "guide" or "prior". From
            the guide, annealing misses modes of the posterior that the guide misses.
        schedule: the spacing of the inverse temperatures, linear or sigmoid.
        leapfrog: the number of steps of one HMC trajectory.

    Raises:
        InputError: when temperatures or leapfrog are below 1, or for an unknown start or schedule.

    References:
        Neal (2001), "Annealed Importance Sampling"; Wu, Burda, Salakhutdinov & Grosse (2017), "On
        the Quantitative Analysis of Decoder-Based Generative Models".
    """

    name = "annealed importance sampling"
    particles = 16
    annealed = True

    def __init__(
        self,
        temperatures: int | None = None,
        start: Start = "modes",
        schedule: Schedule = "linear",
        leapfrog: int = 2,
    ) -> None:
        self.temperatures = temperatures if temperatures is None else count_of("temperatures", temperatures)
        self.start = one_of("start", start, get_args(Start))
        self.finds_modes = start == "modes"
        self.schedule = one_of("schedule", schedule, get_args(Schedule))
        self.leapfrog = count_of("leapfrog", leapfrog)

    def summary(self, pieces: Pieces, particles: int) -> Tensor:
        annealer = self.annealer(pieces, particles)
        summary = _summed(annealer.forward())
        for factor in (2, 4) if self.temperatures is None and particles > 1 else ():
            rows = (summary[1] > DISAGREE).nonzero().flatten()
            if len(rows) == 0:
                break
            summary[:, rows] = _summed(annealer.finer(factor, rows).forward(factor * particles))
        return summary

    def posterior(self, pieces: Pieces, particles: int) -> Posterior:
        annealer = self.annealer(pieces, particles)
        u, log_w = annealer.samples()
        summary = _summed(log_w)
        for factor in (2, 4) if self.temperatures is None and particles > 1 else ():
            rows = (summary[1] > DISAGREE).nonzero().flatten()
            if len(rows) == 0:
                break
            u[:, rows], log_w[:, rows] = annealer.finer(factor, rows).samples(particles)
            summary[:, rows] = _summed(log_w[:, rows])
        return Posterior(annealer.origin.latents.unpack(u)[0], log_w, summary)

    def annealer(self, pieces: Pieces, chains: int) -> Annealer:
        """The annealer of some rows."""
        return Annealer(pieces, chains=chains, **self.hyperparameters())


DISAGREE = 0.2  # the error of a row from which it gets more chains and temperatures


def _summed(log_w: Tensor) -> Tensor:
    """log_px, mc_stderr, ess and khat of chains (C, B); few chains know their own error badly."""
    chains = len(log_w)
    sums = WeightSums(log_w.shape[1], chains, log_w.device)
    sums.add(log_w)
    summary = sums.summary()
    if chains > 3:  # the standard deviation of Student's t
        summary[1] *= math.sqrt((chains - 1) / (chains - 3))
    return summary


def as_method(method: str | Method) -> Method:
    """Return a method unchanged, or look one up by name (upper or lower case), with its defaults.

    Raises:
        InputError: for an unknown name, or a method that has options without defaults.

    Example:
        >>> as_method("ais"), as_method("Defensive")
        (AIS(temperatures=None), Defensive(widths=(1.0, 1.5, 2.0, 3.0)))
    """
    if isinstance(method, Method):
        return method
    classes = named_classes(Method)
    name = next((name for name in classes if name.lower() == str(method).lower()), None)
    if name is None:
        advice = meant_by(str(method), [*classes]).strip() or f"choose one of {', '.join(classes)}"
        raise InputError(f"there is no method {method!r}: {advice}")
    try:
        return classes[name]()
    except TypeError as error:
        raise InputError(f"{name} needs options ({error}): give the method, as in {name}(...)") from None


def _shares(particles: int, components: int) -> list[int]:
    if particles < components:
        raise InputError(
            f"a mixture of {components} proposals needs at least as many particles, not {particles}"
        )
    return [particles // components + (i < particles % components) for i in range(components)]
