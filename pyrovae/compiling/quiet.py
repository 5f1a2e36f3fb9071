"""What compiling changes in a process, and does not here; the state of the generators."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["compiling", "first_line", "random_state", "set_random_state", "validation_kept"]


@contextlib.contextmanager
def _no_remarks() -> Iterator[None]:
    """Keep the compiler's remarks on missing CUDA tools off the terminal."""
    log = logging.getLogger("torch.utils.cpp_extension")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def validation_kept() -> Iterator[None]:
    """torch up to 2.13 switches the validation of distributions off where it compiles."""
    law = torch.distributions.Distribution
    before = law._validate_args
    try:
        yield
    finally:
        law.set_default_validate_args(before)


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """No gradients, no remarks, and the validation of distributions as it was."""
    with torch.no_grad(), _no_remarks(), validation_kept():
        yield


def random_state(device: torch.device) -> Tensor:
    """The state of the generator that draws on a device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_random_state(state: Tensor, device: torch.device) -> None:
    """Put back what `random_state` gave."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def first_line(error: BaseException) -> str:
    """An error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
