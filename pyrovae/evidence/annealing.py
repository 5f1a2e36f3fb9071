r"""Annealed importance sampling: from the guide or the prior to the posterior in small steps.

    u_0 ~ start,   log w = sum_t (b_t - b_{t-1}) [log p(x, u_{t-1}) - log start(u_{t-1})],
    u_t ~ HMC step that leaves f_t invariant,          E[w] = p(x)

All chains of all rows run at the same time. Step sizes are tuned in a first round, one for each row
and temperature, and then frozen. The weights come from a second round with new samples, since a
step that adapts to its own chain does not leave the distribution invariant. Weights and energies
are kept in float64.

From an exact posterior sample the same steps in reverse order give E[1/w] = 1/p(x), an upper bound.

References:
    As for `AIS` and `sandwich`; Neal (2011), "MCMC Using Hamiltonian Dynamics".
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pyrovae.evidence.draws import KeyedNoise
from pyrovae.evidence.path import Latents, Start
from pyrovae.evidence.run import Pieces

__all__ = ["Annealer", "Schedule", "temperatures_of"]

Schedule = Literal["linear", "sigmoid"]
ACCEPTANCE = 0.75
PILOT = 50


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

    def log_path(self, beta: float) -> Tensor:
        return (1 - beta) * self.log_start + beta * self.joint

    def gradient(self, beta: float) -> Tensor:
        return (1 - beta) * self.start_gradient + beta * self.joint_gradient


class Annealer:
    """Anneals the latents of B rows with C chains each.

    Arguments:
        pieces: B rows, with a checked program.
        chains: C.
        temperatures, start, schedule, leapfrog: as for `AIS`.
    """

    def __init__(
        self,
        pieces: Pieces,
        *,
        chains: int,
        temperatures: int,
        start: Start,
        schedule: Schedule,
        leapfrog: int,
    ) -> None:
        self.pieces, self.latents = pieces, Latents(pieces)
        self.chains, self.start, self.leapfrog = chains, start, leapfrog
        self.betas = temperatures_of(schedule, temperatures).tolist()
        self.scale = (
            self._starts(PILOT, first=10**9).std(0).clamp(min=1e-6)
        )  # (B, D): HMC moves in these units
        self.steps = self._tuned()

    def _starts(self, count: int, first: int = 0) -> Tensor:
        """Samples of the start distribution, (count, B, D)."""
        if self.start == "prior":
            return self.latents.pack(self.latents.from_prior(count, first))
        return self.latents.pack(self.latents.from_guide(count, first)[0])

    # ---------------------------------------------------------------- the two directions

    def forward(self) -> Tensor:
        """log w of each chain, (C, B): the mean of w is p(x)."""
        noise = self._noise("ais forward")
        state = self._at(self._starts(self.chains))
        log_w = torch.zeros_like(state.joint)
        for i, (before, beta) in enumerate(pairwise(self.betas)):
            log_w += (beta - before) * (state.joint - state.log_start)
            if beta < 1:  # at 1 the weight is complete
                state, _ = self._hmc(state, beta, self.steps[i], noise)
        return log_w

    def reverse(self, values: dict[str, Tensor]) -> Tensor:
        """log w of chains from posterior samples (1, B, *shape), (C, B): 1/w has mean 1/p(x)."""
        noise = self._noise("ais reverse")
        u = self.latents.pack(values)
        state = self._at(u.expand(self.chains, *u.shape[1:]))
        log_w = torch.zeros_like(state.joint)
        for i, (before, beta) in reversed(list(enumerate(pairwise(self.betas)))):
            if beta < 1:
                state, _ = self._hmc(state, beta, self.steps[i], noise)
            log_w += (beta - before) * (state.joint - state.log_start)
        return log_w

    # ---------------------------------------------------------------- one step

    def _noise(self, name: str) -> KeyedNoise:
        return KeyedNoise(self.pieces.keys, self.pieces.seed, name)

    def _at(self, u: Tensor) -> _State:
        return _State(u, *self.latents.gradients(u, self.start))

    def _hmc(self, state: _State, beta: float, step: Tensor, noise: KeyedNoise) -> tuple[_State, Tensor]:
        """One Metropolis-adjusted trajectory: the new state and the acceptance probability."""
        momentum = noise(state.u, Tensor.normal_)
        move = step.to(state.u).unsqueeze(-1) * self.scale
        energy = _kinetic(momentum) - state.log_path(beta)
        new = state
        for _ in range(self.leapfrog):
            momentum = momentum + 0.5 * move * new.gradient(beta)
            new = self._at(new.u + move * momentum)
            momentum = momentum + 0.5 * move * new.gradient(beta)
        change = energy - _kinetic(momentum) + new.log_path(beta)
        accept = change.nan_to_num(nan=-torch.inf).clamp(max=0).exp()
        taken = noise(accept, Tensor.uniform_) < accept
        return _State(*(_where(taken, a, b) for a, b in zip(new, state, strict=True))), accept

    # ---------------------------------------------------------------- tuning

    def _tuned(self) -> Tensor:
        """Step sizes for each temperature and row, (T, B), from a round that is then discarded."""
        noise = self._noise("ais tuning")
        state = self._at(self._starts(self.chains, first=2 * 10**9))
        log_step = torch.full_like(state.joint[0], -0.5 - 0.25 * math.log(self.latents.dim))
        steps = []
        for beta in self.betas[1:]:
            state, accept = self._hmc(state, beta, log_step.exp(), noise)
            log_step = log_step + 0.3 * (accept.mean(0) - ACCEPTANCE)
            steps.append(log_step)
        return _smoothed(torch.stack(steps)).exp()


def _smoothed(log_steps: Tensor, width: int = 9) -> Tensor:
    # The step size of a single temperature is noisy; the mean over its neighbours is better.
    before, after = (end.expand(width // 2, -1) for end in (log_steps[:1], log_steps[-1:]))
    return torch.cat([before, log_steps, after]).unfold(0, width, 1).mean(-1)


def _kinetic(momentum: Tensor) -> Tensor:
    return 0.5 * momentum.double().square().sum(-1)


def _where(taken: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(taken.unsqueeze(-1) if new.dim() == 3 else taken, new, old)
