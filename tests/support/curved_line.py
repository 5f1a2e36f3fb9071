"""A curved line with one latent, many copies of one observation, and exact values for the gradients."""

import math
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch

from pyrovae.objectives import Objective
from pyrovae.terms import run

SIGMAS = 5.0
ROWS = 30_000
S, BEND, LEAN, OBSERVED = 1.0, 0.15, 0.4, 1.8
START = {"a": -0.3, "w": 1.0, "m": 0.5, "raw": 0.1}
MODEL, GUIDE = ("a", "w"), ("m", "raw")


class Line:
    """The program with parameters (rows, 1) of their own for each row."""

    def __init__(self, rows: int, *, bend: float = BEND, **start: float) -> None:
        self.rows, self.bend = rows, bend
        self.leaf = {
            name: torch.full((rows, 1), value, requires_grad=True) for name, value in (START | start).items()
        }
        self.x = torch.full((rows, 1), OBSERVED)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.leaf["a"], 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.leaf["w"] * z + self.bend * z**2, S).to_event(1), obs=x)

    def guide(self, x):
        m, raw = (self.leaf[name].repeat(len(x) // self.rows, 1) for name in GUIDE)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(m + LEAN * x, raw.exp()).to_event(1))


def ascended(program: Any, objective: Objective, kl_weight: float | None = None, seed: int = 0, **how: Any):
    """What is ascended for each row, and the gradients of all rows by name."""
    pyro.set_rng_seed(seed)
    how = {"particles": objective.particles, "draws": objective.draws} | how
    for leaf in program.leaf.values():
        leaf.grad = None
    pair = run(program.model, program.guide, program.x, **how)
    found = objective.ascended(pair, kl_weight)
    found.sum().backward()
    zeros = {name: torch.zeros_like(leaf) for name, leaf in program.leaf.items()}
    grads = {name: zeros[name] if leaf.grad is None else leaf.grad for name, leaf in program.leaf.items()}
    return found.detach(), {name: g.reshape(len(g), -1) for name, g in grads.items()}


def agrees(rows: torch.Tensor, exact: torch.Tensor) -> None:
    """Independent values (B, ...) have this mean, and could tell it from another."""
    error = rows.std(0) / math.sqrt(len(rows))
    assert (error < 0.05 * exact.abs().clamp(min=1)).all(), f"the test is blind: {error}"
    assert ((rows.mean(0) - exact).abs() <= SIGMAS * error + 1e-12).all(), (rows.mean(0), exact, error)


def nodes(draws: int, points: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Standard normal noise (draws, M) with weights (M,)."""
    e, weight = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(points))
    grid = torch.stack(torch.meshgrid(*[e] * draws, indexing="ij")).flatten(1)
    weights = torch.stack(torch.meshgrid(*[weight / weight.sum()] * draws, indexing="ij")).flatten(1).prod(0)
    return grid, weights


def log_n(value, loc, scale):
    return -0.5 * ((value - loc) / scale) ** 2 - torch.as_tensor(scale).log() - 0.5 * math.log(2 * math.pi)
