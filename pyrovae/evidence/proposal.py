r"""A proposal for each row: Gaussians and Student-t distributions at its modes, guide and prior.

    q(u) = sum_m s_m [a N(u; m, A_m^-1) + (1 - a) t_v(u; m, A_m^-1)] + s_q q(u|x) + s_p p(u)
    w    = p(x, u) / q(u)                                       the balance heuristic

The numbers of samples of the components are fixed in advance. With components of known integral
the weights have control variates: E[q_j / q] = 1, so the mean of w - sum_j b_j (q_j / q - 1) is
p(x) for any b, and b is chosen by least squares. A posterior that is a mixture of the components
leaves no variance.

Reference:
    Owen & Zhou (2000), "Safe and effective importance sampling"; Veach & Guibas (1995), "Optimally
    combining sampling techniques for Monte Carlo rendering".
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae.evidence.draws import KeyedNoise
from pyrovae.evidence.modes import Modes
from pyrovae.evidence.surface import Surface

__all__ = ["Draws", "Proposal", "draw", "samples_of"]

FREEDOM = 10  # degrees of freedom of the Student-t distributions, an even number
UNTIED = 0.4967  # near a half, but no sum of shares falls on it, where rounding would decide
NORMAL = 0.1  # the share of the Gaussian at a mode, small because its tails are light
GUIDE, PRIOR = 0.1, 0.05


@dataclass
class Draws:
    """Samples of a proposal, u (K, B, D), and the densities there, (K, B).

    `components` (J, K, B) are the log-densities of the components of the proposal, and `log_shares`
    (J, B) the logarithms of their shares.
    """

    u: Tensor
    log_prior: Tensor
    log_guide: Tensor
    joint: Tensor
    components: Tensor
    log_shares: Tensor

    def join(self, other: Draws) -> Draws:
        """The samples of both, without the densities of components."""
        u = torch.cat([self.u.transpose(0, 1), other.u.transpose(0, 1)], 1).transpose(0, 1)
        densities = zip(self.parts[1:], other.parts[1:], strict=True)
        log_prior, log_guide, joint = map(torch.cat, densities)
        return Draws(u, log_prior, log_guide, joint, self.components[:0], self.log_shares[:0])

    def rows(self, index: Tensor) -> Draws:
        """The samples of some rows."""
        u, log_prior, log_guide, joint = (part[:, index] for part in self.parts)
        components, log_shares = self.components[..., index], self.log_shares[:, index]
        return Draws(u, log_prior, log_guide, joint, components, log_shares)

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Samples, and the densities there that do not depend on the proposal."""
        return self.u, self.log_prior, self.log_guide, self.joint

    @property
    def log_q(self) -> Tensor:
        """The logarithm of the density of the mixture, (K, B)."""
        return torch.logsumexp(self.components + self.log_shares.unsqueeze(1), 0)

    @property
    def log_w(self) -> Tensor:
        """The logarithm of the weights, (K, B)."""
        return self.joint - self.log_q


class Proposal:
    """The mixture of B rows.

    Arguments:
        modes: places and curvatures of the M modes.
        shares: the shares of the modes, (M, B), with sum 1.
        guide, prior: the shares of guide and prior, (B,).
        normal: the share of the Gaussian of a mode.
    """

    def __init__(
        self, modes: Modes, shares: Tensor, guide: Tensor, prior: Tensor, normal: float = NORMAL
    ) -> None:
        self.modes, self.guide, self.prior = modes, guide, prior
        of_modes = shares * (1 - guide - prior)
        self.shares = torch.cat([normal * of_modes, (1 - normal) * of_modes, torch.stack([guide, prior])])

    @classmethod
    def at(cls, modes: Modes) -> Proposal:
        """The proposal at modes, each with a share that grows with its mass."""
        mass = torch.where(modes.mask, modes.log_mass(), -math.inf)
        even = modes.mask / modes.mask.sum(0).clamp(min=1)
        shares = (0.7 * torch.softmax(mass, 0) + 0.3 * even).nan_to_num(nan=0.0)
        has_mode = modes.mask.any(0)
        prior = torch.full_like(shares[0], PRIOR)
        return cls(modes, shares, torch.where(has_mode, GUIDE, 1 - PRIOR).to(prior), prior)

    def with_components(self, others: Modes, shares: Tensor, part: float) -> Proposal:
        """A proposal in which other components have a part of the share of the modes."""
        count = len(self.modes.place)
        own = self.shares[:count] + self.shares[count : 2 * count]
        own = own / own.sum(0).clamp(min=1e-9)
        both = torch.cat([part * shares, (1 - part) * own])
        return Proposal(others.beside(self.modes), both, self.guide, self.prior)

    def rows(self, index: Tensor) -> Proposal:
        """The mixtures of some rows."""
        other = copy.copy(self)
        other.modes, other.shares = self.modes.rows(index), self.shares[:, index]
        other.guide, other.prior = self.guide[index], self.prior[index]
        return other

    def only_modes(self) -> Proposal:
        """The same mixture without guide and prior; the prior alone for a row without modes."""
        count = len(self.modes.place)
        shares = (self.shares[:count] + self.shares[count : 2 * count]).clone()
        total = shares.sum(0)
        shares = shares / torch.where(total > 0, total, 1.0)
        prior = torch.where(total > 0, 0.0, 1.0).to(total)
        return Proposal(self.modes, shares, torch.zeros_like(prior), prior, normal=0.5)

    def counts(self, particles: int, offset: Tensor | float = UNTIED) -> Tensor:
        """The number of samples of each component, (J, B).

        With an offset (B,) that is uniform between 0 and 1, its mean is the share times K.
        """
        ends = (self.shares.cumsum(0) * particles - offset).ceil().clamp(0, particles)
        ends[-1] = particles
        return torch.diff(ends, dim=0, prepend=torch.zeros_like(ends[:1])).long()

    def densities(self, u: Tensor, log_guide: Tensor, log_prior: Tensor) -> Tensor:
        """The log-densities of the components, (J, K, B)."""
        each = [self._of_mode(u, m) for m in range(len(self.modes.place))]
        normal, student = zip(*each, strict=True)
        return torch.stack([*normal, *student, log_guide, log_prior]).nan_to_num(nan=-math.inf)

    def log_density(self, u: Tensor, log_guide: Tensor, log_prior: Tensor) -> Tensor:
        """The log-density of the mixture, (K, B)."""
        return torch.logsumexp(self.densities(u, log_guide, log_prior) + self.shares.log().unsqueeze(1), 0)

    def of_modes(self, u: Tensor) -> Tensor:
        """The log-density of the Student-t distribution at each mode, (M, K, B)."""
        return torch.stack([self._of_mode(u, m)[1] for m in range(len(self.modes.place))])

    def _of_mode(self, u: Tensor, m: int) -> tuple[Tensor, Tensor]:
        """The log-densities of the Gaussian and the Student-t distribution at a mode, (K, B).

        They are -inf, and not computed, for rows in which both have share 0.
        """
        rows = (self.shares[m] + self.shares[len(self.modes.place) + m] > 0).nonzero().flatten()
        dim, curvature = u.shape[-1], self.modes.curvature.take(m).take(rows)
        away = _of_rows(u.transpose(0, 1), rows) - self.modes.place[m, rows].unsqueeze(1)
        energy, half = curvature.energy(away).mT, 0.5 * curvature.log_det()
        normal = half - 0.5 * dim * math.log(2 * math.pi) - 0.5 * energy
        return _among(u, rows, normal), _among(u, rows, half + _student(energy, dim))


def _of_rows(values: Tensor, rows: Tensor) -> Tensor:
    """Some rows of values (B, *); no copy is made if these are all rows."""
    return values if len(rows) == len(values) else values[rows]


def _among(u: Tensor, rows: Tensor, log_density: Tensor) -> Tensor:
    """Log-densities (K, B) for all rows of u (K, B, D) from those of some; -inf elsewhere."""
    if len(rows) == u.shape[1]:
        return log_density
    everywhere = torch.full(u.shape[:2], -math.inf, dtype=log_density.dtype, device=u.device)
    return everywhere.index_copy(1, rows, log_density)


def _student(energy: Tensor, dim: int) -> Tensor:
    """The log-density of a Student-t distribution with unit scale, from squared distances."""
    both = FREEDOM + dim
    constant = math.lgamma(both / 2) - math.lgamma(FREEDOM / 2) - 0.5 * dim * math.log(FREEDOM * math.pi)
    return constant - 0.5 * both * (energy / FREEDOM).log1p()


def draw(surface: Surface, proposal: Proposal, particles: int, stream: int) -> Draws:
    """Draw K samples of the proposal of each row, and evaluate them.

    Arguments:
        surface: the surface of the rows.
        proposal: their proposals.
        particles: K.
        stream: the number of the stream of random numbers.
    """
    counts = proposal.counts(particles)
    u = samples_of(surface, proposal.modes, counts, stream)
    log_prior, joint = surface.densities(u)
    log_prior, log_guide = (part.nan_to_num(nan=-math.inf) for part in (log_prior, surface.log_guide(u)))
    components = proposal.densities(u, log_guide, log_prior)
    return Draws(u, log_prior, log_guide, joint, components, (counts.double() / particles).log())


def samples_of(surface: Surface, modes: Modes, counts: Tensor, stream: int) -> Tensor:
    """Samples (K, B, D) of which the components have the counts (J, B), one after another."""
    ends, count = counts.cumsum(0), len(modes.place)
    place = torch.arange(int(ends[-1, 0]), device=counts.device).unsqueeze(1)  # (K, 1)
    which = (place.unsqueeze(0) >= ends.unsqueeze(1)).sum(0)  # (K, B), the component of each sample
    # The samples of a row are contiguous in memory, for the matrix products of the row.
    rows, dim = modes.place.shape[1:]
    by_row = modes.place.new_zeros(rows, len(place), dim)
    u = by_row.transpose(0, 1)
    normal, heavy = (part.transpose(0, 1) for part in _noise(surface, u, stream))
    for m in range(count):
        own = (counts[m] + counts[count + m] > 0).nonzero().flatten()
        component = which.mT[own].unsqueeze(-1)
        factor = torch.where(component == m, 1.0, heavy[own])
        spread = modes.curvature.take(m).take(own).power(_of_rows(normal, own), -0.5)
        sample = torch.addcmul(modes.place[m, own].unsqueeze(1), spread, factor)
        is_own = (component == m) | (component == count + m)
        by_row[own] = torch.where(is_own, sample, by_row[own])
    for j, source in ((2 * count, _from_guide), (2 * count + 1, _from_prior)):
        # Samples of some distributions depend on how many there are, so each number has its own.
        for number in counts[j].unique().tolist():
            if number:
                drawn = source(surface, number, 10**7 * (1 + stream)).double()
                index = (place - ends[j] + counts[j]).clamp(0, number - 1).unsqueeze(-1)
                chosen = (which == j) & (counts[j] == number)
                u = torch.where(chosen.unsqueeze(-1), drawn.gather(0, index.expand_as(u)), u)
    return u.to(surface.latents.dtype).double()


def _noise(surface: Surface, like: Tensor, stream: int) -> tuple[Tensor, Tensor]:
    """Normal noise (K, B, D), and the factors (K, B, 1) that make it Student-t noise."""
    noise = KeyedNoise(surface.pieces.keys, surface.pieces.seed, f"laplace {stream}")
    normal = noise(like, Tensor.normal_)
    chi = 2 * noise(like.new_empty(*like.shape[:2], FREEDOM // 2), Tensor.exponential_).sum(-1, keepdim=True)
    return normal, (FREEDOM / chi).sqrt()


def _from_guide(surface: Surface, count: int, first: int) -> Tensor:
    return surface.latents.pack(surface.latents.guide_values(count, first))


def _from_prior(surface: Surface, count: int, first: int) -> Tensor:
    return surface.latents.pack(surface.latents.from_prior(count, first))
