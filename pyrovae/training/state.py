"""The whole state of a training run, saved and restored as one thing.

A run that was killed goes on bit for bit, so everything that decides its future belongs here: weights,
the optimiser's moments, the random state, the position in the epoch, the sums of the current epoch,
the history, and the best weights' epoch. All of it is tensors and plain values, so a checkpoint is
read with `weights_only=True`: reading one runs no code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.objectives import Objective
from pyrovae.terms import Program, arguments

__all__ = [
    "Position",
    "State",
    "load_objective",
    "load_weights",
    "make_optimizer",
    "parameters",
    "parameters_of",
    "weights",
    "weights_of",
]

_OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "radam": torch.optim.RAdam,
    "sgd": torch.optim.SGD,
}
_FUSED = {"adam", "adamw", "sgd"}


@dataclass
class Position:
    """Where a run is: `epoch` epochs are done, and `batch` batches of the next one."""

    epoch: int = 0
    batch: int = 0
    step: int = 0


@dataclass
class State:
    """What a checkpoint holds beside the weights."""

    position: Position = field(default_factory=Position)
    sums: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))
    history: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0
    best_validation: float = -float("inf")
    captured: bool | None = None
    planned: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The state as tensors and plain values."""
        return vars(self) | {"position": vars(self.position), "sums": self.sums.cpu()}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> State:
        """The state that `to_dict` gave."""
        return cls(**(saved | {"position": Position(**saved["position"])}))


def parameters(program: Program, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
    """The trainable tensors by name: the module's, or those that the pair keeps in Pyro's store.

    Raises:
        InputError: when there are none.
    """
    if program.module is not None:
        named = program.module.named_parameters()
        found: dict[str, Tensor] = {n: p for n, p in named if p.requires_grad}
    else:
        found = _stored_parameters(program, x, context)
    if not found:
        raise InputError("the program has no parameters to train")
    return found


def _stored_parameters(program: Program, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
    args = arguments(x[:2], None if context is None else context[:2])
    with poutine.trace(param_only=True) as seen, torch.no_grad():
        guide = poutine.trace(program.guide).get_trace(*args)
        poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(*args)
    store = pyro.get_param_store()
    return {name: store._params[name] for name in seen.trace.nodes if name in store._params}


def weights(program: Program, trained: dict[str, Tensor]) -> dict[str, Tensor]:
    """Everything learned, as a state_dict: parameters and persistent buffers."""
    source = trained if program.module is None else program.module.state_dict()
    return {name: tensor.detach().cpu().clone() for name, tensor in source.items()}


def load_weights(program: Program, trained: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """Put back what `weights` gave.

    Raises:
        InputError: when names or shapes differ.
    """
    target = trained if program.module is None else program.module.state_dict()
    wrong = [n for n in target.keys() ^ saved.keys()]
    wrong += [n for n in target.keys() & saved.keys() if target[n].shape != saved[n].shape]
    if wrong:
        raise InputError(f"the checkpoint belongs to another declaration: {min(wrong)!r} does not fit")
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(saved[name])


def parameters_of(objective: Objective) -> dict[str, Tensor]:
    """What an objective learns beside the program (a classifier), by name."""
    if not isinstance(objective, torch.nn.Module):
        return {}
    return {f"objective.{name}": p for name, p in objective.named_parameters()}


def weights_of(objective: Objective) -> dict[str, Tensor]:
    """Everything that an objective has learned."""
    if not isinstance(objective, torch.nn.Module):
        return {}
    return {name: tensor.detach().cpu().clone() for name, tensor in objective.state_dict().items()}


def load_objective(objective: Objective, saved: dict[str, Tensor]) -> None:
    """Put back what `weights_of` gave."""
    if isinstance(objective, torch.nn.Module):
        objective.load_state_dict(saved)


def make_optimizer(name: str, trained: dict[str, Tensor], lr: float) -> torch.optim.Optimizer:
    """One torch optimiser over all parameters, fused where torch has it.

    Raises:
        InputError: for an unknown name.
    """
    if name not in _OPTIMIZERS:
        raise InputError(f"unknown optimizer {name!r}: choose one of {', '.join(_OPTIMIZERS)}")
    tensors = list(trained.values())
    fused = {"fused": True} if name in _FUSED and all(p.is_floating_point() for p in tensors) else {}
    return _OPTIMIZERS[name](tensors, lr=lr, **fused)
