r"""Hamiltonian Monte Carlo: one trajectory, and moves that turn rough samples into better ones.

    p ~ N(0, I);   u, p  leapfrog steps;   accepted with probability min(1, exp(H_old - H_new))

A move leaves the distribution invariant, so samples of the posterior stay samples of it. Samples
that were resampled from few weights, or that are not quite of the posterior, come closer to it and
become different from each other. The step size of each row is tuned on moves of a few of them,
which are discarded, and then frozen.

References:
    Neal (2011), "MCMC Using Hamiltonian Dynamics"; Gilks & Berzuini (2001), "Following a Moving
    Target: Monte Carlo Inference for Dynamic Bayesian Models" (resample and move).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from pyrovae.evidence.draws import KeyedNoise

__all__ = ["hmc", "moved"]

MOVES, TUNING = 4, 8  # trajectories that count, and that tune the step size
LEAPFROG = 4
FIRST_STEP = 0.35  # in standard deviations of the posterior
ACCEPTANCE = 0.8
State = TypeVar("State", bound=tuple[Tensor, ...])


def hmc(
    state: State,
    at: Callable[[Tensor], State],
    log_density: Callable[[Any], Tensor],
    gradient: Callable[[Any], Tensor],
    stretch: Callable[[Tensor], Tensor],
    step: Tensor,
    leapfrog: int,
    noise: KeyedNoise,
) -> tuple[State, Tensor]:
    """One Metropolis-adjusted trajectory: the new state and the acceptance probability, (C, B).

    Arguments:
        state: the chains, a tuple whose first part is u (C, B, D).
        at: the state at other places.
        log_density: of a state, (C, B).
        gradient: of the log-density of a state, (C, B, D).
        stretch: multiplies vectors (C, B, D) by a matrix of each row, the unit of the steps.
        step: the step size of each row, (B,).
        leapfrog: the number of steps.
        noise: the streams of noise of the rows.
    """
    u: Tensor = state[0]
    momentum = noise(u, Tensor.normal_)
    size = step.to(u).unsqueeze(-1)
    energy = _kinetic(momentum) - log_density(state)
    new = state
    for _ in range(leapfrog):
        momentum = momentum + 0.5 * size * stretch(gradient(new))
        new = at(new[0] + size * stretch(momentum))
        momentum = momentum + 0.5 * size * stretch(gradient(new))
    change = energy - _kinetic(momentum) + log_density(new)
    accept = change.nan_to_num(nan=-torch.inf).clamp(max=0).exp()
    taken = noise(accept, Tensor.uniform_) < accept
    both = zip(new, state, strict=True)
    return type(state)(*(_where(taken, a, b) for a, b in both)), accept


class _At(NamedTuple):
    """Chains u (C, B, D), log p(x, u) (C, B) and its gradient."""

    u: Tensor
    joint: Tensor
    gradient: Tensor


def moved(
    u: Tensor,
    slopes: Callable[[Tensor], tuple[Tensor, Tensor]],
    stretch: Callable[[Tensor, int], Tensor],
    noise: KeyedNoise,
) -> tuple[Tensor, Tensor]:
    """Samples after a few moves, and the mean acceptance probability of each row, (B,).

    Arguments:
        u: samples, (C, B, D).
        slopes: log p(x, u) and its gradient.
        stretch: v (C, B, D) in the units of a move, by the number of the move.
        noise: the streams of noise of the rows.
    """

    def at(u: Tensor) -> _At:
        return _At(u, *slopes(u))

    def move(state: _At, number: int, step: Tensor) -> tuple[_At, Tensor]:
        def units(v: Tensor) -> Tensor:
            return stretch(v, number)

        return hmc(state, at, lambda s: s.joint, lambda s: s.gradient, units, step, LEAPFROG, noise)

    state = at(u[:16])
    log_step = torch.full_like(state.joint[0], FIRST_STEP).log()
    for number in range(TUNING):
        state, accept = move(state, number, log_step.exp())
        log_step = (log_step + 0.5 * (accept.mean(0) - ACCEPTANCE)).clamp(max=-0.7)
    state, accepted = at(u), []
    for number in range(MOVES):
        state, accept = move(state, number, log_step.exp())
        accepted.append(accept.mean(0))
    return state.u, torch.stack(accepted).mean(0)


def _kinetic(momentum: Tensor) -> Tensor:
    return 0.5 * momentum.double().square().sum(-1)


def _where(taken: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(taken.unsqueeze(-1) if new.dim() == 3 else taken, new, old)
