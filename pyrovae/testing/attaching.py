"""Attached copies of a part, with noise on all parameters.

Special values, such as a gate of zeros or equal components, could hide a mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pyrovae import variables
from pyrovae.guides import Guide
from pyrovae.priors import Prior
from pyrovae.variables import Variable

__all__ = ["Options", "attached", "drawn_variables", "params", "perturb"]

P = TypeVar("P", bound=nn.Module)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Options:
    """The options of `check_part`; where an option is None, the checks choose."""

    latent_dim: int | None = None
    event_shape: Shape | None = None
    context_shape: Shape | None = None
    prior: Prior | None = None
    guide: Guide | None = None


@contextmanager
def drawn_variables(module: nn.Module) -> Iterator[Tensor | float]:
    """Hold the variables that all rows share at samples; returns the sum of their divergences.

    Samples and divergences have gradients for the parameters of the priors and posteriors.
    """
    shared = [part for part in module.modules() if isinstance(part, Variable)]
    with variables.holding({v: v.posterior().rsample() for v in shared}):
        yield sum(v.divergence() for v in shared)


def attached(part: Any, *sizes: Any, seed: int = 0, **named: Any) -> Any:  # noqa: ANN401
    """A copy of a part, attached and perturbed."""
    part = part.clone()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        part.attach(*sizes, **named)
        perturb(part)
    return part


@torch.no_grad()
def perturb(module: P, size: float = 0.3) -> P:
    """Add noise to every parameter, and mark a prior that waits for encodings as initialised."""
    for parameter in module.parameters():
        parameter.add_(size * torch.randn_like(parameter))
    for name, buffer in module.named_buffers():
        if name.endswith("begun"):
            buffer.fill_(True)
    return module


def params(shapes: Mapping[str, Shape], *lead: int, seed: int = 1) -> dict[str, Tensor]:
    """Random parameters of the shapes `param_shapes`, with leading dimensions."""
    rng = torch.Generator().manual_seed(seed)
    return {name: torch.randn(*lead, *shape, generator=rng) for name, shape in shapes.items()}
