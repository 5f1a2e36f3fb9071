r"""Where annealing starts: the guide, the prior, or the modes of the posterior; and units for HMC.

    guide, prior   HMC moves in units of their standard deviations
    modes          a mixture of normal and Student-t distributions; HMC moves in units of A^-1/2,
                   with the curvature A of the modes in turn

A unit may depend on the number of a step, but not on the sample, since the steps would then not
leave the distribution invariant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, get_args

import torch
from torch import Tensor

from pyrovae.evidence.adapting import Adapter
from pyrovae.evidence.draws import KeyedNoise
from pyrovae.evidence.modes import Scout
from pyrovae.evidence.path import Latents
from pyrovae.evidence.path import Start as Plain
from pyrovae.evidence.proposal import Proposal, draw, samples_of
from pyrovae.evidence.run import Pieces
from pyrovae.evidence.surface import Surface

__all__ = ["Origin", "Start", "origin_of"]

Start = Literal["modes", "guide", "prior"]
PILOT = 50
ROUNDS, ADAPTING = 2, 250  # rounds and samples in which the mixture at the modes is adapted


class Origin(ABC):
    """The start distribution of B rows, and the joint density."""

    pieces: Pieces
    latents: Latents

    @abstractmethod
    def samples(self, count: int, stream: int) -> Tensor:
        """Samples, (count, B, D)."""

    @abstractmethod
    def gradients(self, u: Tensor) -> tuple[Tensor, ...]:
        """log start(u) and log p(x, u), (K, B), and their gradients, (K, B, D)."""

    @abstractmethod
    def announce(self, pairs: int) -> None:
        """Announce for how many pairs of chain and row gradients will be computed."""

    @abstractmethod
    def stretch(self, v: Tensor, step: int) -> Tensor:
        """v (K, B, D) in the units of a step."""

    @abstractmethod
    def rows(self, index: Tensor) -> Origin:
        """The origin of some rows."""


class PlainOrigin(Origin):
    """The guide or the prior.

    Arguments:
        pieces: B rows, with a checked program.
        start: which of the two.
    """

    def __init__(self, pieces: Pieces, start: Plain) -> None:
        self.pieces, self.start, self.latents = pieces, start, Latents(pieces)
        self.scale = self.samples(PILOT, 10**9).std(0).clamp(min=1e-6)  # (B, D)

    def samples(self, count: int, stream: int) -> Tensor:
        if self.start == "prior":
            return self.latents.pack(self.latents.from_prior(count, stream))
        return self.latents.pack(self.latents.guide_values(count, stream))

    def gradients(self, u: Tensor) -> tuple[Tensor, ...]:
        return self.latents.gradients(u, self.start)

    def announce(self, pairs: int) -> None:
        self.latents.announce(self.start, pairs)

    def stretch(self, v: Tensor, step: int) -> Tensor:
        return v * self.scale

    def rows(self, index: Tensor) -> Origin:
        return PlainOrigin(self.pieces.take(index.cpu().numpy()), self.start)


class ModesOrigin(Origin):
    """The mixture at the modes of each row, adapted to its posterior.

    Arguments:
        surface: the surface of B rows.
        proposal: their mixtures.
    """

    def __init__(self, surface: Surface, proposal: Proposal) -> None:
        self.surface, self.modes = surface, proposal.modes
        self.pieces, self.latents, modes = surface.pieces, surface.latents, proposal.modes
        self.proposal = proposal.only_modes()
        self.count = modes.mask.sum(0).clamp(min=1)
        self.order = modes.mask.float().argsort(dim=0, descending=True, stable=True)
        eye = torch.eye(self.latents.dim, dtype=torch.float64, device=self.count.device)
        self.units = modes.curvature.power(eye, -0.5).to(self.latents.dtype)  # (M, B, D, D)

    def samples(self, count: int, stream: int) -> Tensor:
        noise = KeyedNoise(self.pieces.keys, self.pieces.seed, f"modes {stream}")
        offset = noise(self.proposal.shares[:1], Tensor.uniform_)[0]  # each sample is one of the mixture
        counts = self.proposal.counts(count, offset)
        return samples_of(self.surface, self.modes, counts, 100 + stream).to(self.latents.dtype)

    def gradients(self, u: Tensor) -> tuple[Tensor, ...]:
        log_prior, joint, of_prior, of_joint = self.latents.gradients(u, "prior")
        with torch.enable_grad():
            u, log_prior = u.detach().requires_grad_(), log_prior.requires_grad_()
            nothing = torch.full_like(log_prior, -1e30)
            log_start = self.proposal.log_density(u.double(), nothing, log_prior)
            of_modes, share = torch.autograd.grad(log_start.sum(), (u, log_prior))
        of_start = of_modes + share.to(u).unsqueeze(-1) * of_prior
        return log_start.detach(), joint, of_start, of_joint

    def announce(self, pairs: int) -> None:
        self.latents.announce("prior", pairs)

    def stretch(self, v: Tensor, step: int, units: Tensor | None = None) -> Tensor:
        rows = torch.arange(len(self.count), device=v.device)
        which = self.order[step % self.count, rows]  # the modes of a row in turn
        every = self.units if units is None else units
        units = every[which, rows] if len(every) > 1 else every[0]
        return (v.transpose(0, 1) @ units).transpose(0, 1)

    def rows(self, index: Tensor) -> Origin:
        pieces = self.pieces.take(index.cpu().numpy())
        return ModesOrigin(Surface(pieces), self.proposal.rows(index))


def origin_of(pieces: Pieces, start: Start) -> Origin:
    """The origin with a name."""
    if start in get_args(Plain):
        return PlainOrigin(pieces, start)  # type: ignore[arg-type]
    scout = Scout(Surface(pieces))
    modes = scout.modes()
    draws = draw(scout.surface, Proposal.at(modes), ADAPTING, 60)
    adapter = Adapter(scout, modes, draws, stream=60)
    return ModesOrigin(scout.surface, adapter.run(ROUNDS, ADAPTING))
