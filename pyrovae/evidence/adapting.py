r"""Better proposals from weighted samples, in a few rounds.

    v_k    ~ w_k^t            t as large as the effective sample size of v allows
    m_j    = sum_k v_k r_jk u_k / sum_k v_k r_jk,      S_j likewise from (u_k - m_j)(u_k - m_j)'
    S_j   <- (e_j S_j + 2 D S_j0) / (e_j + 2 D)        e_j: effective sample size of the component

r_jk is the responsibility of component j for sample k, and S_j0 is the inverse curvature at the
mode. All samples so far are used, each weighted with the mixture of all proposals so far. They are
discarded at the end: an estimate from samples that shaped their proposal is biased.

Reference:
    Cappe, Douc, Guillin, Marin & Robert (2008), "Adaptive importance sampling in general mixture
    classes"; Cornuet, Marin, Mira & Robert (2012), "Adaptive Multiple Importance Sampling".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrovae.evidence.modes import Modes, Scout
from pyrovae.evidence.proposal import Draws, Proposal, draw
from pyrovae.evidence.surface import Curvature, positive_eigenvalues

__all__ = ["Adapter"]

LARGE = 0.03  # the share of one weight in the sum from which its sample starts a climb
KEPT = 0.25  # the share of the components at the modes, next to the adapted ones
MANY = 64  # the largest number of latents whose covariance is estimated
WORSE = 0.8  # an adapted proposal is worse if its share of effective samples falls by this factor


class Adapter:
    """Improves the proposals of rows.

    Arguments:
        scout: finds modes of B rows.
        modes: their modes.
        draws: samples of the proposal at the modes.
        stream: the number of the stream of random numbers of these samples.
    """

    def __init__(self, scout: Scout, modes: Modes, draws: Draws, stream: int = 0) -> None:
        self.stream = stream
        self.scout, self.surface, self.modes = scout, scout.surface, modes
        self.proposals = [Proposal.at(modes)]
        self.pool = draws
        self.log_q = [draws.log_q]
        self.counts = [len(draws.u)]
        self.first = self.last = draws.log_w

    def run(self, rounds: int, particles: int) -> Proposal:
        """The proposal after some rounds, in each of which `particles` samples are drawn."""
        if self.surface.dim > MANY:
            return self._searched(rounds, particles)
        for number in range(1, rounds + 1):
            proposal = self._improved()
            draws = draw(self.surface, proposal, particles, self.stream + number)
            self._add(proposal, draws)
            self.last = draws.log_w
        return self._improved()

    def _searched(self, rounds: int, particles: int) -> Proposal:
        """The proposal after a search for modes only, with too many latents for covariances."""
        self._discover(self.pool.u, self.first)
        for number in range(1, rounds):
            draws = draw(self.surface, Proposal.at(self.modes), particles, self.stream + number)
            self.last = draws.log_w
            self._discover(draws.u, self.last)
        return Proposal.at(self.modes)

    @property
    def is_worse(self) -> Tensor:
        """Whether the samples of the last round are worse than those of the first, (B,)."""
        first, last = (_ess(log_w) / len(log_w) for log_w in (self.first, self.last))
        return last < WORSE * first

    def _add(self, proposal: Proposal, draws: Draws) -> None:
        of_old = [old.log_density(draws.u, draws.log_guide, draws.log_prior) for old in self.proposals]
        pool = self.pool
        self.log_q = [torch.cat(pair) for pair in zip(self.log_q, of_old, strict=True)]
        self.log_q.append(
            torch.cat([proposal.log_density(pool.u, pool.log_guide, pool.log_prior), draws.log_q])
        )
        self.pool = pool.join(draws)
        self.proposals.append(proposal)
        self.counts.append(len(draws.u))

    def _log_w(self) -> Tensor:
        """The weights of all samples below the mixture of all proposals, (N, B)."""
        share = torch.tensor(self.counts, dtype=torch.float64) / sum(self.counts)
        log_q = torch.stack(self.log_q) + share.log().to(self.log_q[0].device).reshape(-1, 1, 1)
        return (self.pool.joint - torch.logsumexp(log_q, 0)).nan_to_num(nan=-math.inf)

    def _improved(self) -> Proposal:
        log_w = self._log_w()
        self._discover(self.pool.u, log_w)
        return self._fitted(log_w)

    def _discover(self, u: Tensor, log_w: Tensor) -> None:
        """Climb from the sample with the largest weight, where one weight is a large share."""
        share, best = log_w.nan_to_num(nan=-math.inf).softmax(0).max(0)
        mask = share > LARGE
        rows = torch.arange(len(best), device=best.device)
        starts = u[best, rows].unsqueeze(0)
        self.modes = self.scout.more(self.modes, starts, mask.unsqueeze(0))

    def _fitted(self, log_w: Tensor) -> Proposal:
        """Components with the weighted means and covariances of the samples, next to the modes."""
        u, modes, dim = self.pool.u.transpose(0, 1), self.modes, self.surface.dim  # (B, N, D)
        v = tempered(log_w, min(max(6 * dim, 50), len(log_w) // 4))
        parts = [self._component(modes.only(m), u, (v * r).mT) for m, r in enumerate(self._owners())]
        place, curvature, share = zip(*parts, strict=True)
        stacked = Curvature(*map(torch.stack, zip(*curvature, strict=True)))
        adapted = Modes(torch.stack(place), modes.height, stacked, modes.mask)
        shares = torch.stack(share) + 0.1 * modes.mask / modes.mask.sum(0).clamp(min=1)
        shares = shares / shares.sum(0).clamp(min=1e-300)
        return Proposal.at(modes).with_components(adapted, shares, 1 - KEPT)

    def _owners(self) -> Tensor:
        """The responsibility of each mode for each sample, (M, N, B)."""
        proposal = Proposal.at(self.modes)
        densities = proposal.of_modes(self.pool.u)
        return (densities + proposal.shares[: len(densities)].log().unsqueeze(1)).softmax(0).nan_to_num()

    def _component(self, mode: Modes, u: Tensor, v: Tensor) -> tuple[Tensor, Curvature, Tensor]:
        """Place (B, D), curvature and share (B,) from samples (B, N, D) with weights (B, N)."""
        rows = mode.mask[0].nonzero().flatten()
        if len(rows) < len(u):
            return self._among(mode, rows, self._component(mode.rows(rows), u[rows], v[rows]))
        dim, total = u.shape[-1], v.sum(1)
        ess = total.square() / v.square().sum(1).clamp(min=1e-300)
        keep = (ess / (ess + 2 * dim)).reshape(-1, 1, 1)
        v = (v / total.unsqueeze(1).clamp(min=1e-300)).unsqueeze(-1)
        mean = v.mT @ u
        mean = keep * mean + (1 - keep) * mode.place[0].unsqueeze(1)
        away = u - mean
        before = mode.curvature.take(0).power(torch.eye(dim, dtype=u.dtype, device=u.device), -1.0)
        covariance = keep * ((v * away).mT @ away) + (1 - keep) * before
        return mean.squeeze(1), positive_eigenvalues((covariance + covariance.mT) / 2), total

    def _among(
        self, mode: Modes, rows: Tensor, some: tuple[Tensor, Curvature, Tensor]
    ) -> tuple[Tensor, Curvature, Tensor]:
        """Components for all rows from those of some; the others keep their mode, with share 0."""
        place, curvature = mode.place[0].clone(), Curvature(*(p.clone() for p in mode.curvature.take(0)))
        place[rows] = some[0]
        curvature.put(rows, some[1])
        return place, curvature, some[2].new_zeros(len(place)).index_copy(0, rows, some[2])


def tempered(log_w: Tensor, target: float) -> Tensor:
    """Weights (N, B) to a power of at most 1 at which the effective sample size is a target."""
    low, high = torch.zeros_like(log_w[0]), torch.ones_like(log_w[0])
    for _ in range(20):
        power = torch.where(_ess(log_w) >= target, high, (low + high) / 2)
        enough = _ess(power * log_w) >= target
        low, high = torch.where(enough, power, low), torch.where(enough, high, power)
    return (torch.where(low > 0, low, 1e-6) * log_w).nan_to_num(neginf=-1e300).softmax(0)


def _ess(log_w: Tensor) -> Tensor:
    return torch.exp(2 * torch.logsumexp(log_w, 0) - torch.logsumexp(2 * log_w, 0))
