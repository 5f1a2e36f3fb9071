"""Compiling without side effects on the process, and the state of random generators."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["compiling", "first_line", "random_state", "set_random_state", "validation_kept"]


@contextlib.contextmanager
def _no_remarks() -> Iterator[None]:
    """Hide the compiler's warnings about missing CUDA tools and deprecated functions."""
    log = logging.getLogger("torch.utils.cpp_extension")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def validation_kept() -> Iterator[None]:
    """Restore the validation of distributions, which torch <= 2.13 switches off as it compiles."""
    base = torch.distributions.Distribution
    before = base._validate_args
    try:
        yield
    finally:
        base.set_default_validate_args(before)


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Compile without gradients and warnings, and restore the validation of distributions."""
    with torch.no_grad(), _no_remarks(), validation_kept():
        yield


def random_state(device: torch.device) -> Tensor:
    """The state of the random generator of a device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_random_state(state: Tensor, device: torch.device) -> None:
    """Restore a state returned by `random_state`."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def first_line(error: BaseException) -> str:
    """Describe an error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
