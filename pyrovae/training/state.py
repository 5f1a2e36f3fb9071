"""The position and history of a run, and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.terms import Runner

__all__ = ["Position", "State", "copies", "load_weights", "parameters", "parameters_of", "weights"]


@dataclass
class Position:
    """The position of a run: `epoch` epochs are done, and `batch` batches of the next one."""

    epoch: int = 0
    batch: int = 0
    step: int = 0


@dataclass
class State:
    """The position and history of a run, for a checkpoint.

    Attributes:
        best_epoch: the epoch of the weights that are kept.
        best_validation: its objective or bound on the validation set, whichever chooses them.
        captured: whether steps are compiled, or None before the choice.
        planned: the number of epochs for which eager steps were chosen.
        seconds: the times of the eager steps that were timed for the choice.
    """

    position: Position = field(default_factory=Position)
    sums: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))
    history: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0
    best_validation: float = -float("inf")
    captured: bool | None = None
    planned: int = 0
    seconds: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The state as tensors and plain values."""
        return vars(self) | {
            "position": dict(vars(self.position)),
            "sums": self.sums.cpu(),
            "seconds": list(self.seconds),
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> State:
        """The state from the result of `to_dict`."""
        return cls(**(saved | {"position": Position(**saved["position"])}))


def parameters(runner: Runner, rows: Rows) -> dict[str, Tensor]:
    """The trainable tensors by name, from the module or, for a pair, from Pyro's store.

    Raises:
        InputError: when there are none.
    """
    trained: dict[str, Tensor]
    if runner.module is not None:
        trained = {n: p for n, p in runner.module.named_parameters() if p.requires_grad}
    else:
        trained = _stored_parameters(runner, rows.arguments)
    if not trained:
        raise InputError("the program has no parameters to train")
    return trained


def _stored_parameters(runner: Runner, args: tuple[Any, ...]) -> dict[str, Tensor]:
    with poutine.trace(param_only=True) as params, torch.no_grad():
        guide = poutine.trace(runner.guide).get_trace(*args)
        poutine.trace(poutine.replay(runner.model, trace=guide)).get_trace(*args)
    store = pyro.get_param_store()
    return {name: store._params[name] for name in params.trace.nodes if name in store._params}


def weights(runner: Runner, trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of parameters and persistent buffers, as a state_dict."""
    return copies(trained if runner.module is None else runner.module.state_dict())


def load_weights(runner: Runner, trained: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Load the result of `weights`.

    Buffers that are newer than the checkpoint (`added` of their part) keep their values.

    Raises:
        InputError: when names or shapes differ.
    """
    target = dict(trained if runner.module is None else runner.module.state_dict())
    for name in _added(runner.module) - saved.keys():
        target.pop(name, None)
    wrong = [n for n in target.keys() ^ saved.keys()]
    wrong += [n for n in target.keys() & saved.keys() if target[n].shape != saved[n].shape]
    if wrong:
        raise InputError(
            f"the checkpoint is of another model: the tensor {min(wrong)!r} is missing in one of them or has "
            "another shape; declare the model as it was saved"
        )
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(saved[name])


def _added(module: torch.nn.Module | None) -> set[str]:
    """The names of buffers that an older checkpoint may lack."""
    parts = {} if module is None else dict(module.named_modules())
    return {f"{path}.{name}" for path, part in parts.items() for name in getattr(part, "added", ())}


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def parameters_of(objective: Any) -> dict[str, Tensor]:  # noqa: ANN401
    """The parameters of an objective (a classifier, say), by name."""
    named = objective.named_parameters() if isinstance(objective, torch.nn.Module) else ()
    return {f"objective.{name}": parameter for name, parameter in named}
