"""Run a program for its weights, in pieces that fit, and change nothing by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.evidence.draws import BLOCK, KeyedDraws, data_keys
from pyrovae.evidence.path import Latents
from pyrovae.terms import Program, Terms
from pyrovae.vae import VAE

__all__ = ["Pieces", "evaluating", "inputs", "shown", "whole_number"]

# Cells (particles x data x elements of a datum) of one piece: small enough for the processor's cache.
CELLS = 2**21


@contextmanager
def evaluating(program: Program) -> Iterator[None]:
    """No gradients, no training mode, nothing of the caller's touched."""
    module = program.module
    training = {m: m.training for m in module.modules()} if module is not None else {}
    if module is not None:
        module.eval()
    cuda = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with (
            program.isolated(),
            torch.no_grad(),
            torch.random.fork_rng(devices=cuda),
            pyro.validation_enabled(False),
        ):
            yield
    finally:
        for m, mode in training.items():
            m.training = mode


def inputs(program: Program, x: Any, context: Any = None) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401
    """x and context as tensors where the program's parameters are.

    Raises:
        InputError: for no data, another event shape, missing numbers or values outside the support.
    """
    like = next(program.module.parameters(), None) if program.module is not None else None
    x, context = _tensor(x, like), None if context is None else _tensor(context, like)
    if x.dim() == 0 or len(x) == 0:
        raise InputError("there are no data to evaluate: x has no rows")
    if context is not None and len(context) != len(x):
        raise InputError(f"x has {len(x)} rows and context {len(context)}: give one context for each datum")
    if isinstance(program.target, VAE):
        vae = program.target
        if tuple(x.shape[1:]) != vae.event_shape:
            raise InputError(f"x must have shape (N, {str(vae.event_shape)[1:-1]}), not {tuple(x.shape)}")
        vae.likelihood.check(x, "x")
    return x, context


class Pieces:
    """The weights of a program on data, piece by piece.

    Arguments:
        program: checked.
        x, context: from `inputs`.
        seed: of the draws.
        chunk: how many (particle, datum) pairs run at once; None chooses.
    """

    def __init__(
        self, program: Program, x: Tensor, context: Tensor | None, *, seed: int, chunk: int | None
    ) -> None:
        if chunk is not None:
            whole_number("chunk", chunk)
        self.program, self.x, self.context, self.seed = program, x, context, seed
        self.keys = data_keys(x, context)
        self.pairs = chunk or max(1, CELLS // max(64, math.prod(x.shape[1:])))

    def rows(self, particles: int) -> Iterator[slice]:
        """Data that run together, so that their particles fill a piece."""
        blocks = min(particles, BLOCK * max(1, self.pairs // BLOCK))
        size = max(1, self.pairs // blocks)
        for start in range(0, len(self.x), size):
            yield slice(start, min(start + size, len(self.x)))

    def cuts(self, rows: slice, particles: int) -> Iterator[tuple[int, int]]:
        """The particles of some data in runs (first, count) that fit a piece, cut at whole blocks."""
        size = BLOCK * max(1, self.pairs // (BLOCK * (rows.stop - rows.start)))
        for first in range(0, particles, size):
            yield first, min(size, particles - first)

    def terms(self, rows: slice, particles: int) -> Iterator[Terms]:
        """The terms of some data, in pieces (K_i, B) of the K particles."""
        context = None if self.context is None else self.context[rows]
        for first, count in self.cuts(rows, particles):
            with KeyedDraws(self.keys[rows], self.seed, first):
                yield self.program.terms(self.x[rows], context, particles=count)

    def latents(self, rows: slice) -> Latents:
        """The latents of some data, for methods that move them."""
        context = None if self.context is None else self.context[rows]
        return Latents(self.program, self.x[rows], context, self.keys[rows], self.seed)


@contextmanager
def shown(what: str, total: int, *, show: bool) -> Iterator[Callable[[int], None]]:
    """A bar with the time left, when it is wanted and there is a terminal; gives what moves it on."""
    from rich.progress import Progress

    with Progress(disable=not show, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def whole_number(name: str, value: Any) -> int:  # noqa: ANN401
    """A whole number of 1 or more.

    Raises:
        InputError: when it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InputError(f"{name} must be a whole number of 1 or more, not {value!r}")
    return int(value)


def _tensor(given: Any, like: Tensor | None) -> Tensor:  # noqa: ANN401
    tensor = torch.as_tensor(given)
    if like is None:
        return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
    return tensor.to(device=like.device, dtype=like.dtype)
