"""Attached copies of a part, with noise on all parameters.

Special values, such as a gate of zeros or equal components, could hide a mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pyrovae.guides import Guide
from pyrovae.priors import Prior

__all__ = ["Options", "attached", "params", "perturb"]

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
