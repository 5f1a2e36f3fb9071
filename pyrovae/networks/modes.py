"""Modules in training or evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["in_mode", "tried_in_mode"]


@contextmanager
def in_mode(module: nn.Module | None, *, training: bool | None) -> Iterator[None]:
    """Run a module in training or evaluation mode, or with None in its current mode.

    Afterwards, every submodule has the mode that it had before.
    """
    modes = {} if module is None else {part: part.training for part in module.modules()}
    try:
        if module is not None and training is not None:
            module.train(training)
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def tried_in_mode(module: nn.Module | None, *, training: bool | None) -> Iterator[None]:
    """As `in_mode`, but buffers such as running averages have their values again afterwards."""
    own = [] if module is None else list(module.buffers())
    buffers = [(buffer, buffer.clone()) for buffer in own if not _is_lazy(buffer)]
    try:
        with in_mode(module, training=training):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def _is_lazy(tensor: Any) -> bool:  # noqa: ANN401
    return bool(nn.parameter.is_lazy(tensor))
