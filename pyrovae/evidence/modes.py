r"""Modes of log p(x, u) in the latents of each row, and the curvature at each.

    u <- u + t A^-1 grad log p(x, u),     t halved until log p(x, u) rises

A is the matrix of second derivatives with absolute eigenvalues (Dauphin et al., 2014), and is kept
for a few steps, since a gradient is much cheaper than A. The first climb starts at the mean of the
guide. Others start where samples of guide and prior have the largest log p(x, u) outside the
ellipsoid of the first mode. Two climbs that end in one place are one mode.

Reference:
    Dauphin et al. (2014), "Identifying and attacking the saddle point problem in high-dimensional
    non-convex optimization".
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae.evidence.surface import Curvature, Surface

__all__ = ["Climb", "Modes", "Scout", "is_near"]

STEPS = 40
REFRESH = 4  # the number of steps with one curvature
SCOUTS = 50  # samples of guide and of prior that are tried as starts
FLAT = 0.1  # the smallest curvature, in units of one over the largest variance under the prior
FEW = 8  # up to this number of latents more starts are tried, since a climb costs little
FIRST = 10**9  # the number of the first scout


@dataclass
class Modes:
    """M points of each row: place u (M, B, D), log p(x, u) (M, B) and the curvature, batch (M, B).

    `mask` (M, B) says which are distinct modes.
    """

    place: Tensor
    height: Tensor
    curvature: Curvature
    mask: Tensor

    def join(self, other: Modes) -> Modes:
        """These modes, and those of another set that are not among them."""
        mask = other.mask & other.height.isfinite()
        rows: list[Tensor] = []
        for i in range(len(other.place)):
            own = mask[i] & ~is_near(self, other.place[i])
            for j in range(i):
                twin = is_near(other.only(j), other.place[i]) & rows[j]
                own = own & ~twin
            rows.append(own)
        return self.beside(Modes(other.place, other.height, other.curvature, torch.stack(rows))).packed()

    def beside(self, other: Modes) -> Modes:
        """These points and the others."""
        curvature = Curvature(*map(torch.cat, zip(self.curvature, other.curvature, strict=True)))
        parts = ((self.place, other.place), (self.height, other.height), (self.mask, other.mask))
        place, height, mask = map(torch.cat, parts)
        return Modes(place, height, curvature, mask)

    def only(self, j: int) -> Modes:
        """One of the modes."""
        part = slice(j, j + 1)
        return Modes(self.place[part], self.height[part], self.curvature.take(part), self.mask[part])

    def packed(self, most: int = 6) -> Modes:
        """The modes of each row by mass, at most `most`, without those that no row needs."""
        mass = torch.where(self.mask, self.log_mass(), -math.inf)
        keep = self.mask & (mass > mass.amax(0) - LEAST)
        order = torch.where(keep, mass, -math.inf).argsort(dim=0, descending=True, stable=True)
        order = order[: max(1, min(most, int(keep.sum(0).max())))]
        rows = torch.arange(self.place.shape[1], device=order.device)
        curvature = Curvature(*(part[order, rows] for part in self.curvature))
        return Modes(self.place[order, rows], self.height[order, rows], curvature, keep[order, rows])

    def log_mass(self) -> Tensor:
        """Laplace's approximation of the mass at each mode, (M, B)."""
        dim = self.place.shape[-1]
        return self.height + 0.5 * dim * math.log(2 * math.pi) - 0.5 * self.curvature.log_det()

    def rows(self, index: Tensor) -> Modes:
        """The modes of some of the rows."""
        return Modes(
            self.place[:, index], self.height[:, index], self.curvature.rows(index), self.mask[:, index]
        )


CAUGHT = 4.0  # the squared distance from a known mode at which a climb ends
LEAST = 25.0  # a mode whose mass is this much smaller in the logarithm is left out


def is_near(modes: Modes, u: Tensor, most: float = 1.0) -> Tensor:
    """Whether a mode is within a squared distance `most` of the points u (B, D), (B,)."""
    energy = modes.curvature.energy((u - modes.place).unsqueeze(-2)).squeeze(-1)
    return ((energy < most) & modes.mask).any(0)


class Climb:
    """Climbs from P starts; each start has the number of its row.

    Arguments:
        surface: the surface of the rows.
        rows: the row of each start, (P,).
        u: the starts, (P, D).
        floor: the smallest curvature, (P,).
        known: modes of the rows; a climb that comes close to one of them ends.
    """

    def __init__(
        self, surface: Surface, rows: Tensor, u: Tensor, floor: Tensor, known: Modes | None = None
    ) -> None:
        self.every, self.rows, self.u, self.floor, self.known = surface, rows, u.double(), floor, known
        everyone = torch.arange(len(rows), device=u.device)
        self._narrow(everyone)
        self.height, self.slope = self._slopes(everyone)
        self.curvature = self._first_curvature(everyone)
        self.size, self.age = torch.ones_like(self.height), torch.zeros_like(self.height)
        self.alive = self.height.isfinite()
        self.is_known = torch.zeros_like(self.alive)
        self.tolerance = 1e-5 if self.surface.latents.dtype == torch.float32 else 1e-10

    def run(self, steps: int = STEPS) -> tuple[Tensor, Tensor, Curvature]:
        """The places (P, D), heights (P,) and curvatures of the ends."""
        # Whether the curvature is that of another point.
        moved = torch.full_like(self.alive, self.known is not None)
        for _ in range(steps):
            slope = self.slope.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
            move = self.curvature.power(slope.unsqueeze(-2), -1.0).squeeze(-2)
            gain = 0.5 * (slope * move).sum(-1)  # of a full step, if the surface is quadratic
            active = (self.alive & (gain > self.tolerance)).nonzero().flatten()
            if len(active) == 0:
                break
            better = self._step(active, move[active], gain[active])
            moved[active[better]] = True
            self._leave(active)
            age = self.age[active]
            stale = active[
                self.alive[active] & (gain[active] > 1e-3) & ((age >= REFRESH) | (~better & (age > 1)))
            ]
            if len(stale):
                self.curvature.put(stale, self._curvature(stale))
                self.age[stale], moved[stale] = 0.0, False
        last = (moved & ~self.is_known).nonzero().flatten()
        if len(last):
            self.curvature.put(last, self._curvature(last))
        return self.u, self.height, self.curvature

    def _step(self, active: Tensor, move: Tensor, gain: Tensor) -> Tensor:
        """Try one step of some climbs; returns which were better."""
        size, old = self.size[active], self.u[active]
        self.u[active] = old + size.unsqueeze(-1) * move
        height, slope = self._slopes(active)
        before = self.height[active]
        rounding = 1e-7 * before.abs() if self.tolerance == 1e-5 else 1e-14 * before.abs()
        better = height >= before + 0.1 * size * gain - rounding
        self.u[active] = torch.where(better.unsqueeze(-1), self.u[active], old)
        self.height[active] = torch.where(better, height, before)
        self.slope[active] = torch.where(better.unsqueeze(-1), slope, self.slope[active])
        self.size[active] = torch.where(better, (2 * size).clamp(max=1), size / 4)
        self.age[active] += 1
        self.alive[active] = self.size[active] > 1e-4
        return better

    def _leave(self, active: Tensor) -> None:
        """End climbs that have come close to a known mode."""
        if self.known is None:
            return
        rows = self.rows[active]
        near = is_near(self.known.rows(rows), self.u[active], CAUGHT)
        self.is_known[active[near]] = True
        self.alive[active[near]] = False

    # ---------------------------------------------------------------- climbs that still move

    def _narrow(self, climbs: Tensor) -> None:
        self.climbs = climbs
        self.surface = self.every.of_model(self.rows[climbs])

    def _places(self, climbs: Tensor) -> Tensor:
        """The positions of some climbs on a surface that has them."""
        if len(climbs) < 0.7 * len(self.climbs) or not torch.isin(climbs, self.climbs).all():
            self._narrow(climbs)
        return torch.searchsorted(self.climbs, climbs)

    def _slopes(self, climbs: Tensor) -> tuple[Tensor, Tensor]:
        at = self._places(climbs)
        height, slope = self.surface.slopes(self.u[self.climbs].unsqueeze(0))
        return height[0, at], slope[0, at]

    def _first_curvature(self, climbs: Tensor) -> Curvature:
        """The curvature at the known mode, where most climbs end, or that at the start."""
        if self.known is None:
            return self._curvature(climbs)
        first = self.known.rows(self.rows)
        curvature = Curvature(*(part.clone() for part in first.curvature.take(0)))
        unknown = climbs[~first.mask[0]]
        if len(unknown):
            curvature.put(unknown, self._curvature(unknown))
        return curvature

    def _curvature(self, climbs: Tensor) -> Curvature:
        self._narrow(climbs)
        found = self.surface.curvature(self.u[climbs].unsqueeze(0), self.floor[climbs])
        return found.take(0)


class Scout:
    """Starts for the climbs of B rows.

    Arguments:
        surface: the surface of the rows.
    """

    def __init__(self, surface: Surface) -> None:
        latents = surface.latents
        self.surface = surface
        self.of_guide = latents.pack(latents.guide_values(SCOUTS, FIRST)).double()
        count = 4 * SCOUTS if surface.dim <= FEW else SCOUTS
        self.of_prior = latents.pack(latents.from_prior(count, FIRST)).double()
        spread = self.of_prior.var(0).nan_to_num(nan=0.0, posinf=0.0).amax(-1)
        self.floor = FLAT / spread.clamp(min=1e-6, max=1e6)  # (B,)

    def rows(self, index: Tensor) -> Scout:
        """The scout of some rows."""
        part = copy.copy(self)
        part.surface = Surface(self.surface.pieces.take(index.cpu().numpy()))
        part.of_guide, part.of_prior, part.floor = (
            self.of_guide[:, index],
            self.of_prior[:, index],
            self.floor[index],
        )
        return part

    def modes(self) -> Modes:
        """The modes that were found."""
        first = self.climbed(self.of_guide.mean(0, keepdim=True))
        starts, useful = self._others(first)
        return self.more(first, starts, useful)

    def more(self, modes: Modes, starts: Tensor, mask: Tensor) -> Modes:
        """Modes, and those that climbs from starts (M, B, D) find where the mask (M, B) is true."""
        if not mask.any():
            return modes
        return modes.join(self.climbed(starts, mask, modes))

    def climbed(self, starts: Tensor, mask: Tensor | None = None, known: Modes | None = None) -> Modes:
        """The ends of climbs from starts (M, B, D), where the mask (M, B) is true."""
        made = torch.ones_like(starts[..., 0], dtype=torch.bool) if mask is None else mask
        order, rows = made.nonzero().unbind(1)
        climb = Climb(self.surface, rows, starts[order, rows], self.floor[rows], known)
        u, height, curvature = climb.run()

        def spread(part: Tensor) -> Tensor:
            out = part[:1].expand(made.numel(), *part.shape[1:]).clone().unflatten(0, made.shape)
            out[order, rows] = part
            return out

        new = made & spread(height.isfinite() & ~climb.is_known)
        return Modes(spread(u), spread(height), Curvature(*map(spread, curvature)), new)

    def _others(self, first: Modes) -> tuple[Tensor, Tensor]:
        """Starts outside the ellipsoid of the first mode, (S, B, D), and which are useful."""
        starts, dim = [2 * self.of_prior.mean(0) - first.place[0]], self.surface.dim
        for samples in (self.of_guide, self.of_prior):
            _, height = self.surface.densities(samples)
            height = height.nan_to_num(nan=-math.inf)
            summits = _is_summit(samples, height) if dim <= FEW else torch.ones_like(height, dtype=torch.bool)
            height = torch.where(_is_far(first, samples) & summits, height, -math.inf)
            best = height.topk(6 if dim <= FEW else 1, 0)
            chosen = samples.gather(0, best.indices.unsqueeze(-1).expand(*best.indices.shape, dim))
            starts += torch.where(best.values.isfinite().unsqueeze(-1), chosen, math.nan).unbind(0)
        every = torch.stack(starts)
        return every, _is_far(first, every) & every.isfinite().all(-1)


def _is_summit(samples: Tensor, height: Tensor, count: int = 4) -> Tensor:
    """Whether the nearest of the samples (K, B, D) are all lower, (K, B)."""
    spread = samples.std(0).clamp(min=1e-9)
    u = (samples / spread).transpose(0, 1)
    nearest = torch.cdist(u, u).topk(count + 1, largest=False).indices  # (B, K, count + 1)
    others = height.mT.unsqueeze(1).expand(-1, len(samples), -1).gather(2, nearest)
    return (height.mT >= others.amax(-1)).mT


def _is_far(modes: Modes, u: Tensor) -> Tensor:
    """Whether points u (K, B, D) are outside the ellipsoid of the first mode, (K, B)."""
    dim = u.shape[-1]
    energy = modes.curvature.take(0).energy((u - modes.place[0]).transpose(0, 1)).mT
    return energy > dim + 4 * math.sqrt(2 * dim)
