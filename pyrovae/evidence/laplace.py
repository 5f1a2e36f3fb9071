r"""Importance sampling from proposals at the modes of the posterior.

    q = mixture of Gaussians and Student-t distributions at the modes, guide and prior  (`proposal`)
    log p(x) = log E_q[w],   w = p(x, u) / q(u)

The modes and curvatures are those of log p(x, u) (`modes`). Rows whose weights still have a heavy
tail get a better proposal in a few rounds: the sample with the largest weight starts a search for
another mode, and places and covariances are estimated from all samples so far, with tempered
weights. The samples that count are new, since weights of samples that shaped the proposal, or that
decided whether to adapt it, are biased.

References:
    Owen & Zhou (2000), "Safe and effective importance sampling"; Cappe, Douc, Guillin, Marin &
    Robert (2008), "Adaptive importance sampling in general mixture classes"; Cornuet, Marin, Mira &
    Robert (2012), "Adaptive Multiple Importance Sampling".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pyrovae.checks import whole
from pyrovae.evidence.adapting import Adapter
from pyrovae.evidence.draws import KeyedNoise
from pyrovae.evidence.hmc import moved
from pyrovae.evidence.methods import Method
from pyrovae.evidence.modes import Modes, Scout
from pyrovae.evidence.origin import ModesOrigin
from pyrovae.evidence.pareto import SMALLEST_SAMPLE
from pyrovae.evidence.path import Latents
from pyrovae.evidence.posterior import Posterior
from pyrovae.evidence.proposal import Draws, Proposal, draw
from pyrovae.evidence.run import Pieces
from pyrovae.evidence.surface import Surface
from pyrovae.evidence.weights import WeightSums
from pyrovae.numerics import khat_threshold

__all__ = ["Laplace"]

TOGETHER = 128  # rows that run together, at most
MEMORY = 2**22  # numbers in the samples of the rows that run together
ENOUGH = 0.12  # the effective sample size, as a share of K, above which the proposal is not improved
STEEP = 1.5  # the largest coefficient of a control variate, in units of the mean weight
PILOT = 500  # samples of the first proposal, which decide whether to adapt it
MOVED = 100  # samples that are moved, if fewer are wanted
FRESH = 50  # the stream of the samples that count
APART = 1000  # between the streams of their pieces
MARGIN = 0.2  # k-hat must be this far below its threshold


class Laplace(Method):
    r"""Importance sampling from Student-t and normal distributions at the posterior's modes.

    Arguments:
        rounds: the number of rounds in which the proposal of a row is adapted, if its weights have
            a heavy tail; 0 for none.

    Raises:
        InputError: if rounds is below 0.

    Reference:
        Owen & Zhou (2000), "Safe and effective importance sampling"; Cornuet, Marin, Mira & Robert
        (2012), "Adaptive Multiple Importance Sampling".
    """

    name = "Laplace importance sampling"
    finds_modes = True

    def __init__(self, rounds: int = 3) -> None:
        self.rounds = whole("rounds", rounds, least=0)

    def parts(self, pieces: Pieces, particles: int) -> Iterator[Pieces]:
        numbers = particles * Latents(pieces.take(slice(1))).dim
        size = max(1, min(TOGETHER, pieces.pairs // 16, MEMORY // numbers))
        for start in range(0, len(pieces), size):
            yield pieces.take(slice(start, min(start + size, len(pieces))))

    def summary(self, pieces: Pieces, particles: int) -> Tensor:
        scout = Scout(Surface(pieces))
        summary = torch.empty(4, len(pieces), dtype=torch.float64, device=pieces.device)
        for rows, proposal in self._proposals(scout, scout.modes(), particles):
            surface = scout.rows(rows).surface
            summary[:, rows] = summary_of(_counted(surface, proposal, particles))
        return _with_rounding(summary, scout.surface.latents.dtype)

    def posterior(self, pieces: Pieces, particles: int) -> Posterior:
        scout = Scout(Surface(pieces))
        latents = scout.surface.latents
        summary = torch.empty(4, len(pieces), dtype=torch.float64, device=pieces.device)
        log_w = summary.new_empty(particles, len(pieces))
        u = summary.new_empty(*log_w.shape, latents.dim)
        groups = list(self._proposals(scout, scout.modes(), particles))
        for rows, proposal in groups:
            draws = draw(scout.rows(rows).surface, proposal, particles, FRESH)
            u[:, rows], log_w[:, rows], summary[:, rows] = draws.u, draws.log_w, summary_of(draws)
        summary = _with_rounding(summary, latents.dtype)
        values = latents.unpack(u.to(latents.dtype))[0]
        return Posterior(values, log_w, summary, mover=_Mover(scout, groups, u, log_w, summary))

    def _proposals(self, scout: Scout, modes: Modes, particles: int) -> Iterator[tuple[Tensor, Proposal]]:
        """The proposals of the rows, in groups with the numbers of their rows."""
        plain = Proposal.at(modes)
        every = torch.arange(len(scout.floor), device=scout.floor.device)
        if not self.rounds or particles < SMALLEST_SAMPLE:
            yield every, plain
            return
        # Samples that decide, or that shape a proposal, are not counted: they would be biased.
        pilot = draw(scout.surface, plain, PILOT, 0)
        is_poor = _is_poor(summary_of(pilot), PILOT)
        good, poor = every[~is_poor], every[is_poor]
        if len(good):
            yield good, plain.rows(good)
        if len(poor):
            adapter = Adapter(scout.rows(poor), modes.rows(poor), pilot.rows(poor))
            adapted = adapter.run(self.rounds, min(max(PILOT, particles), _most(scout.surface)))
            for worse, proposal in ((False, adapted), (True, plain.rows(poor))):
                rows = (adapter.is_worse == worse).nonzero().flatten()
                if len(rows):
                    yield poor[rows], proposal.rows(rows)


class _Mover:
    """Moves samples of some rows by HMC, in units of the modes.

    Arguments:
        scout: of all rows.
        groups: the proposals of the rows, in groups with the numbers of their rows.
        u, log_w, summary: weighted samples of all rows.
    """

    def __init__(
        self,
        scout: Scout,
        groups: Sequence[tuple[Tensor, Proposal]],
        u: Tensor,
        log_w: Tensor,
        summary: Tensor,
    ) -> None:
        self.scout, self.groups, self.u, self.log_w, self.summary = scout, groups, u, log_w, summary

    def __call__(self, index: Tensor, count: int) -> Posterior:
        """At least `count` samples of some rows, in ascending order, without weights."""
        count, latents = max(count, MOVED), self.scout.surface.latents
        u = self.u.new_empty(count, len(index), latents.dim)
        acceptance = self.u.new_empty(len(index))
        for rows, proposal in self.groups:
            inner = torch.isin(rows, index).nonzero().flatten()
            if len(inner):
                places = torch.searchsorted(index, rows[inner])
                u[:, places], acceptance[places] = self._moved(rows[inner], proposal.rows(inner), count)
        even = self.log_w.new_zeros(count, len(index))
        values = latents.unpack(u.to(latents.dtype))[0]
        return Posterior(values, even, self.summary[:, index], acceptance)

    def _moved(self, rows: Tensor, proposal: Proposal, count: int) -> tuple[Tensor, Tensor]:
        surface = self.scout.rows(rows).surface
        keys, seed, log_w = surface.pieces.keys, surface.pieces.seed, self.log_w[:, rows]
        u = Posterior({"u": self.u[:, rows]}, log_w, self.summary[:, rows]).resampled(count, keys, seed)["u"]
        origin = ModesOrigin(surface, proposal)
        units = origin.units.double()

        def stretch(v: Tensor, number: int) -> Tensor:
            return origin.stretch(v, number, units)

        return moved(u, surface.slopes, stretch, KeyedNoise(keys, seed, "moves"))


def _counted(surface: Surface, proposal: Proposal, particles: int) -> Draws:
    """The K samples of each row that count; without their places if they are very many."""
    most = _most(surface)
    if particles <= most:
        return draw(surface, proposal, particles, FRESH)
    parts = []
    for number, first in enumerate(range(0, particles, most)):
        some = draw(surface, proposal, min(most, particles - first), FRESH + APART * number)
        parts.append(replace(some, u=some.u[:0]))
    u, log_prior, log_guide, joint = map(torch.cat, zip(*(part.parts for part in parts), strict=True))
    shares = [part.log_shares + math.log(len(part.joint) / particles) for part in parts]
    components = torch.cat([part.components for part in parts], 1)
    log_shares = torch.logsumexp(torch.stack(shares), 0)
    return Draws(u, log_prior, log_guide, joint, components, log_shares)


def _most(surface: Surface) -> int:
    """The largest number of samples of a row that are kept together."""
    return max(PILOT, MEMORY // surface.dim)


def _with_rounding(summary: Tensor, dtype: torch.dtype) -> Tensor:
    """The summary with the rounding of log p(x) in its error, which matters where it is exact."""
    summary[1] = torch.hypot(summary[1], 4 * torch.finfo(dtype).eps * (1 + summary[0].abs()))
    return summary


def _is_poor(summary: Tensor, particles: int) -> Tensor:
    _, _, ess, khat = summary
    return (khat > khat_threshold(particles) - MARGIN) | (ess < ENOUGH * particles)


def summary_of(draws: Draws) -> Tensor:
    """log_px, mc_stderr, ess and khat of samples, (4, B), with control variates where they help."""
    log_w = draws.log_w
    particles, rows = log_w.shape
    sums = WeightSums(rows, particles, log_w.device)
    sums.add(log_w)
    summary = sums.summary()
    used = draws.log_shares.isfinite().clone()
    used[(len(used) - 2) // 2 : -2] = False  # the Gaussians and the guide
    used[-1] = False
    if not used.any():  # fewer samples than components
        return summary
    ratio = torch.where(used.unsqueeze(1), (draws.components - draws.log_q).exp() - 1, 0.0)
    best, error = _regressed(log_w, ratio[used.any(1)])
    use = (error < summary[1]) & (summary[3] < khat_threshold(particles))
    summary[0] = torch.where(use, best, summary[0])
    summary[1] = torch.where(use, error, summary[1])
    return summary


def _regressed(log_w: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithm of the mean weight with control variates (J, K, B), and its error, each (B,).

    The coefficients for one half of the samples come from the other half, since coefficients that
    are fitted to the same samples give a bias. Where they are far from those of a mixture, 0 to 1
    in units of the mean weight, the error is infinite: they would rest on samples where few are.
    """
    scale = torch.logsumexp(log_w, 0) - math.log(len(log_w))
    w, c = (log_w - scale).exp().mT, ratio.permute(2, 1, 0)  # (B, K), mean 1, and (B, K, J)
    one, other = slice(0, None, 2), slice(1, None, 2)  # each has samples of all components
    slopes = [_slopes(w[:, half], c[:, half]) for half in (one, other)]
    rest = torch.empty_like(w)
    for half, slope in ((one, slopes[1]), (other, slopes[0])):
        rest[:, half] = w[:, half] - (c[:, half] @ slope.unsqueeze(-1)).squeeze(-1)
    mean, count = rest.mean(1), w.shape[1]
    error = rest.std(1) / math.sqrt(count) / mean
    steepest = torch.stack(slopes).abs().amax((0, 2))
    good = (mean > 0.5) & (steepest < STEEP) & (count > 20 * c.shape[-1])
    return torch.where(good, mean, 1.0).log() + scale, torch.where(good, error, math.inf)


def _slopes(w: Tensor, c: Tensor) -> Tensor:
    """The coefficients of a least-squares fit of w (B, K) by c (B, K, J), (B, J)."""
    x = c - c.mean(1, keepdim=True)
    y = (w - w.mean(1, keepdim=True)).unsqueeze(-1)
    values, vectors = torch.linalg.eigh(x.mT @ x / len(x[0]))
    inverse = torch.where(values > 1e-8, 1 / values, 0.0).unsqueeze(-1)
    return (vectors @ (inverse * (vectors.mT @ (x.mT @ y / len(x[0]))))).squeeze(-1)
