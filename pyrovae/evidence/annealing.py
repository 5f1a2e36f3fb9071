r"""Annealed importance sampling: from modes, guide or prior to the posterior in small steps.

    u_0 ~ start,   log w = sum_t (b_t - b_{t-1}) [log p(x, u_{t-1}) - log start(u_{t-1})],
    u_t ~ HMC step that leaves f_t invariant,          E[w] = p(x)

All chains of all rows run at the same time. Step sizes are tuned in a first round, one for each row
and temperature, and then frozen. The weights come from a second round with new samples, since a
step that adapts to its own chain does not leave the distribution invariant. Weights and energies
are kept in float64.

Gradients are computed by compiled code if this saves time (`captured`). The noise is the same, and
so are the chains up to rounding, unless rounding changes whether a trajectory is accepted.

From an exact posterior sample the same steps in reverse order give E[1/w] = 1/p(x), an upper bound.

References:
    As for `AIS` and `sandwich`; Neal (2011), "MCMC Using Hamiltonian Dynamics".
"""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pyrovae.evidence.draws import BLOCK, KeyedNoise
from pyrovae.evidence.hmc import hmc
from pyrovae.evidence.origin import Start, origin_of
from pyrovae.evidence.run import Pieces
from pyrovae.memory import refuse_too_large

__all__ = ["Annealer", "Schedule", "temperatures_of"]

Schedule = Literal["linear", "sigmoid"]
ACCEPTANCE = 0.75
# Temperatures of the coarse round, and the length of a step there.
SCAN, COARSE = 40, 0.7
# The variance of log w that the number of temperatures aims at, and the limits of this number.
VARIANCE, FEWEST, MOST = 0.15, 10, 1600


def temperatures_of(schedule: Schedule, count: int) -> Tensor:
    """The inverse temperatures b_0 = 0 .. b_T = 1, (T + 1,).

    Example:
        >>> temperatures_of("linear", 4)
        tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000], dtype=torch.float64)
    """
    t = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    if schedule == "linear":
        return t
    s = torch.sigmoid(4 * (2 * t - 1))
    return (s - s[0]) / (s[-1] - s[0])


class _State(NamedTuple):
    """The chains: u (C, B, D), both log-densities (C, B) and their gradients (C, B, D)."""

    u: Tensor
    log_start: Tensor
    joint: Tensor
    start_gradient: Tensor
    joint_gradient: Tensor

    def log_path(self, beta: Tensor) -> Tensor:
        return (1 - beta) * self.log_start + beta * self.joint

    def gradient(self, beta: Tensor) -> Tensor:
        beta = beta.to(self.u).unsqueeze(-1)
        return (1 - beta) * self.start_gradient + beta * self.joint_gradient


class Annealer:
    """Anneals the latents of B rows with C chains each.

    Arguments:
        pieces: B rows, with a checked program.
        chains: C.
        temperatures: the number of steps; None chooses it for each row.
        start, schedule, leapfrog: as for `AIS`.
    """

    def __init__(
        self,
        pieces: Pieces,
        *,
        chains: int,
        temperatures: int | None,
        start: Start,
        schedule: Schedule,
        leapfrog: int,
    ) -> None:
        self.stream = 0  # the number of the stream of random numbers
        self.pieces, self.origin = pieces, origin_of(pieces, start)
        self.chains, self.leapfrog = chains, leapfrog
        refuse_too_large(f"the weights of {chains:,} chains", 4 * 8 * chains * len(pieces))
        steps = 3 * 8 * (temperatures or 0) * len(pieces)
        refuse_too_large(f"the steps of {temperatures or 0:,} temperatures", steps)
        if temperatures is None or start == "modes":
            self.betas, self.steps = self._placed(temperatures)
        else:
            betas = temperatures_of(schedule, temperatures).to(pieces.device)
            self.betas = betas.unsqueeze(1).expand(-1, len(pieces))
            self.steps = self._tuned()

    # ---------------------------------------------------------------- the two directions

    def forward(self, chains: int | None = None) -> Tensor:
        """log w of each chain, (C, B): the mean of w is p(x)."""
        return self.samples(chains, moves=0)[1]

    def samples(self, chains: int | None = None, moves: int = 3) -> tuple[Tensor, Tensor]:
        """The ends of the chains, (C, B, D), and their log w, (C, B).

        With these weights they are samples of the posterior, which the last `moves` do not change.
        """
        chains = chains or self.chains
        log_w = torch.zeros(chains, len(self.pieces), dtype=torch.float64, device=self.pieces.device)
        u = log_w.new_zeros(*log_w.shape, self.origin.latents.dim, dtype=self.origin.latents.dtype)
        for rows in self._alike():
            part = self._rows(rows)
            ends = [part._some_forward(first, count, moves) for first, count in part._at_once(chains)]
            u[:, rows], log_w[:, rows] = map(torch.cat, zip(*ends, strict=True))
        return u, log_w

    def _some_forward(self, first: int, chains: int, moves: int) -> tuple[Tensor, Tensor]:
        noise = self._noise("ais forward", first)
        self._announce(chains, moves)
        state = self._at(self.origin.samples(chains, 10**6 * self.stream + first))
        log_w = torch.zeros_like(state.joint)
        for i, (before, beta) in enumerate(pairwise(self.betas)):
            log_w += (beta - before) * (state.joint - state.log_start)
            if i + 2 < len(self.betas):  # at 1 the weight is complete
                state, _ = self._hmc(state, beta, self.steps[i], i, noise)
        for number in range(moves):
            state, _ = self._hmc(state, self.betas[-1], self.steps[-1], number, noise)
        return state.u, log_w

    def reverse(self, values: dict[str, Tensor]) -> Tensor:
        """log w of chains from posterior samples (1, B, *shape), (C, B): 1/w has mean 1/p(x)."""
        u = self.origin.latents.pack(values)
        return torch.cat([self._some_reverse(u, *cut) for cut in self._at_once(self.chains)])

    def _some_reverse(self, u: Tensor, first: int, chains: int) -> Tensor:
        noise = self._noise("ais reverse", first)
        self._announce(chains)
        state = self._at(u.expand(chains, *u.shape[1:]))
        log_w = torch.zeros_like(state.joint)
        for i, (before, beta) in reversed(list(enumerate(pairwise(self.betas)))):
            if i + 2 < len(self.betas):
                state, _ = self._hmc(state, beta, self.steps[i], i, noise)
            log_w += (beta - before) * (state.joint - state.log_start)
        return log_w

    def _alike(self) -> list[Tensor]:
        """The rows in groups with similar numbers of temperatures."""
        order = self.lengths.argsort(stable=True)
        cuts = [
            i
            for i in range(1, len(order))
            if _group(self.lengths[order[i]]) > _group(self.lengths[order[i - 1]])
        ]
        return [rows.sort().values for rows in order.tensor_split(cuts)]

    @property
    def lengths(self) -> Tensor:
        """The number of temperatures of each row, (B,)."""
        return (self.betas[:-1] < 1).sum(0)

    def _rows(self, rows: Tensor) -> Annealer:
        """The annealer of some rows."""
        if len(rows) == len(self.pieces):
            return self
        part = copy.copy(self)
        part.origin = self.origin.rows(rows)
        part.pieces = part.origin.pieces
        most = int(self.lengths[rows].max())
        part.betas, part.steps = self.betas[: most + 1, rows], self.steps[:most, rows]
        return part

    def finer(self, factor: int, rows: Tensor) -> Annealer:
        """An annealer of some rows with more temperatures."""
        part = copy.copy(self._rows(rows))
        grid = torch.arange(factor, device=rows.device).reshape(1, -1, 1) / factor
        inner = part.betas[:-1].unsqueeze(1) + grid * part.betas.diff(dim=0).unsqueeze(1)
        part.betas = torch.cat([inner.flatten(0, 1), part.betas[-1:]])
        part.steps = part.steps.repeat_interleave(factor, 0)
        part.stream = factor
        return part

    # ---------------------------------------------------------------- one step

    def _noise(self, name: str, first: int = 0) -> KeyedNoise:
        """A stream of noise; chains that run later have a separate one."""
        stream = f"{self.stream} {first}" if first else str(self.stream)
        return KeyedNoise(self.pieces.keys, self.pieces.seed, f"{name} {stream}")

    def _at_once(self, chains: int) -> list[tuple[int, int]]:
        """The ranges (first, count) of chains that run together; one unless there are many."""
        usual = self.pieces.pairs // len(self.pieces)
        if chains <= max(BLOCK, max(1, self.stream) * usual):  # a finer schedule has more chains
            return [(0, chains)]
        size = BLOCK * max(1, usual // BLOCK)
        return [(first, min(size, chains - first)) for first in range(0, chains, size)]

    def _announce(self, chains: int, moves: int = 0) -> None:
        """Announce how many gradients will be needed, so that they are compiled if this pays."""
        trajectories = len(self.betas) - 2 + moves
        self.origin.announce(self.leapfrog * trajectories * chains * len(self.pieces))

    def _at(self, u: Tensor) -> _State:
        return _State(u, *self.origin.gradients(u))

    def _hmc(
        self, state: _State, beta: Tensor, step: Tensor, number: int, noise: KeyedNoise
    ) -> tuple[_State, Tensor]:
        """One Metropolis-adjusted trajectory: the new state and the acceptance probability."""
        return hmc(
            state,
            self._at,
            lambda at: at.log_path(beta),
            lambda at: at.gradient(beta),
            lambda v: self.origin.stretch(v, number),
            step,
            self.leapfrog,
            noise,
        )

    # ---------------------------------------------------------------- tuning

    def _tuned(self) -> Tensor:
        """Step sizes for each temperature and row, (T, B), from a round that is then discarded."""
        noise = self._noise("ais tuning")
        chains = self._at_once(self.chains)[0][1]
        self._announce(chains)
        self._announce(self.chains)  # the round that counts
        state = self._at(self.origin.samples(chains, 2 * 10**9))
        log_step, steps = self._first_step(state), []
        for number, beta in enumerate(self.betas[1:]):
            state, accept = self._hmc(state, beta, log_step.exp(), number, noise)
            log_step = log_step + 0.3 * (accept.mean(0) - ACCEPTANCE)
            steps.append(log_step)
        return _smoothed(torch.stack(steps)).exp()

    def _first_step(self, state: _State) -> Tensor:
        return torch.full_like(state.joint[0], -0.5 - 0.25 * math.log(self.origin.latents.dim))

    def _placed(self, temperatures: int | None) -> tuple[Tensor, Tensor]:
        """Temperatures (T + 1, B) and step sizes (T, B) from a coarse round, which is discarded.

        A step from b to b + d adds about (d s)^2 to the variance of log w, where s is the standard
        deviation of log p(x, u) - log start(u) at b. With T steps of equal d s the variance is
        L^2 / T, where L is the integral of s over b.
        """
        knots, lengths, log_steps = self._scanned()
        total = lengths[-1]
        needed = (total.square() / VARIANCE).ceil().clamp(FEWEST, MOST)
        count = torch.full_like(total, temperatures) if temperatures else needed
        t = torch.arange(int(count.max()) + 1, device=total.device).unsqueeze(1)
        target = (t / count).clamp(max=1)  # (T + 1, B), shares of the length
        # A tenth of the steps are placed evenly, where the coarse round may have missed something.
        share = 0.9 * lengths / total.clamp(min=1e-12) + 0.1 * knots
        betas = _interpolated(target, share, knots)
        betas = torch.where(target >= 1, 1.0, betas)
        return betas, _interpolated(betas[1:], knots, log_steps).exp()

    def _scanned(self) -> tuple[Tensor, Tensor, Tensor]:
        """Temperatures of a coarse round, the length up to each, and log step sizes, (N, B)."""
        noise = self._noise("ais scan")
        state = self._at(self.origin.samples(self._at_once(self.chains)[0][1], 2 * 10**9))
        beta, length = torch.zeros_like(state.joint[0]), torch.zeros_like(state.joint[0])
        log_step = self._first_step(state)
        rows = [(beta, length, log_step)]
        while len(rows) < SCAN and bool((beta < 1).any()):
            s = _spread(state.joint - state.log_start)
            last = len(rows) == SCAN - 1
            move = torch.maximum(COARSE / s.clamp(min=1e-12), (1 - beta) / (SCAN - len(rows)))
            move = (1 - beta) if last else torch.minimum(move, (1 - beta).clamp(max=0.25))
            beta, length = beta + move, length + move * s
            beta = torch.where(beta > 1 - 1e-9, 1.0, beta)
            for number in (2 * len(rows), 2 * len(rows) + 1):
                state, accept = self._hmc(state, beta, log_step.exp(), number, noise)
                log_step = log_step + 0.4 * (accept.mean(0) - ACCEPTANCE)
            rows.append((beta, length, log_step))
        betas, lengths, log_steps = map(torch.stack, zip(*rows, strict=True))
        return betas, lengths, log_steps


def _group(length: Tensor) -> int:
    """Rows of one group differ by less than a factor of 1.5 in their numbers of temperatures."""
    return int(math.log(max(1, int(length))) / math.log(1.5))


def _spread(values: Tensor) -> Tensor:
    """The standard deviation of values (C, B), without regard to outliers, (B,)."""
    values = values.nan_to_num(nan=-1e9, neginf=-1e9)
    if len(values) < 4:
        return values.std(0) if len(values) > 1 else torch.ones_like(values[0])
    low, high = torch.quantile(
        values, torch.tensor([0.25, 0.75], dtype=values.dtype, device=values.device), dim=0
    )
    return torch.minimum(values.std(0), 1.5 * (high - low) / 1.35)


def _interpolated(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """y (N, B) at x (N, B), ascending, interpolated at other points (T, B)."""
    right = torch.searchsorted(x.mT.contiguous(), at.mT.contiguous()).mT.clamp(1, len(x) - 1)
    x0, x1 = x.gather(0, right - 1), x.gather(0, right)
    y0, y1 = y.gather(0, right - 1), y.gather(0, right)
    share = ((at - x0) / (x1 - x0).clamp(min=1e-12)).clamp(0, 1)
    return y0 + share * (y1 - y0)


def _smoothed(log_steps: Tensor, width: int = 9) -> Tensor:
    # The step size of a single temperature is noisy; the mean over its neighbours is better.
    before, after = (end.expand(width // 2, -1) for end in (log_steps[:1], log_steps[-1:]))
    return torch.cat([before, log_steps, after]).unfold(0, width, 1).mean(-1)
