"""Run a program for its weights, in pieces that fit, and change nothing by it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pyro
import torch
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae.errors import InputError, sizes
from pyrovae.evidence.captured import Piece, eager
from pyrovae.evidence.draws import BLOCK, data_keys
from pyrovae.evidence.path import Latents
from pyrovae.numerics import keep_freed_memory
from pyrovae.terms import DATA, Program, Terms
from pyrovae.vae import VAE

__all__ = ["Pieces", "checked", "evaluating", "inputs", "shown", "whole_number"]

# Cells (particles x data x elements of a datum) of one piece: small enough for the processor's cache.
CELLS = 2**21
# On a GPU: four bytes a number, and room for the activations and log-densities that live at once.
BYTES_A_CELL = 256


@contextmanager
def evaluating(program: Program) -> Iterator[None]:
    """No gradients, no training mode, nothing of the caller's touched."""
    module = program.module
    training = {m: m.training for m in module.modules()} if module is not None else {}
    if module is not None:
        module.eval()
    cuda = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    # Without a module the parameters are the store's, and a guide that never ran would add its own there.
    store = pyro.get_param_store()
    params = store.get_state() if module is None else None
    try:
        with (
            store.scope(params),
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
    like = _parameter(program.module)
    if hasattr(x, "test") and hasattr(x, "event_shape"):
        raise InputError("log p(x) is of a tensor of data: give one part of the set, as in data.test")
    x, context = _tensor(x, like), None if context is None else _tensor(context, like)
    if x.dim() == 0 or len(x) == 0:
        raise InputError("there are no data to evaluate: x has no rows")
    if context is not None and len(context) != len(x):
        raise InputError(f"x has {len(x)} rows and context {len(context)}: give one context for each datum")
    if isinstance(program.target, VAE):
        vae = program.target
        if tuple(x.shape[1:]) != vae.event_shape:
            raise InputError(f"x must have shape (N, {sizes(vae.event_shape)}), not {tuple(x.shape)}")
        vae.likelihood.check(x, "x")
    return x, context


def checked(program: Program, x: Tensor, context: Tensor | None) -> Program:
    """`Program.check`; a program that is no VAE also runs once over all data with validation on.

    Raises:
        InputError: as `Program.check`; for data that the program cannot take; for a value outside the
            support of its site, with the number of its datum.
    """
    if isinstance(program.target, VAE):
        return program.check(x, context)
    with pyro.validation_enabled(True):
        try:
            program.check(x, context)
            for rows in Pieces(program, x, context, seed=0, chunk=None).rows(1):
                _validate(program, x, context, rows)
        except (InputError, torch.OutOfMemoryError):
            raise
        except (ValueError, RuntimeError, IndexError) as error:
            raise InputError(_refusal(x, error)) from error
    return program


def _refusal(x: Tensor, error: Exception) -> str:
    reason = str(error).splitlines()[0].rstrip(":")  # Pyro appends the shapes of a whole trace
    odd = (~x.isfinite()).nonzero()
    if len(odd):
        return f"x is not finite at datum {int(odd[0, 0])}, which the program cannot take: {reason}"
    return f"the program cannot take x of shape {tuple(x.shape)}: {reason}"


def _validate(program: Program, x: Tensor, context: Tensor | None, rows: slice) -> None:
    pair = program.run(x[rows], None if context is None else context[rows])
    site: Any
    for site in (*pair.guide.nodes.values(), *pair.model.nodes.values()):
        plate = {frame.name: frame.dim for frame in site.get("cond_indep_stack", ())}
        if site["type"] != "sample" or site_is_subsample(site) or DATA not in plate:
            continue
        outside = ~site["fn"].support.check(site["value"])
        if outside.any() and getattr(site["fn"], "_validate_args", True):
            datum = rows.start + int(outside.nonzero()[0][plate[DATA]])
            whose = "x is" if site["is_observed"] else "the guide draws a value"
            raise InputError(f"{whose} outside the support of the site {site['name']!r} at datum {datum}")
    pair.terms()


class Pieces:
    """The weights of a program on data, piece by piece.

    Arguments:
        program: checked.
        x, context: from `inputs`.
        seed: of the draws.
        chunk: how many (particle, datum) pairs run at once; None chooses.
        keys: of the data, when they are known.

    Attributes:
        evaluate: gives the terms of a piece; the program in Python unless another way is put here.
    """

    def __init__(
        self,
        program: Program,
        x: Tensor,
        context: Tensor | None,
        *,
        seed: int,
        chunk: int | None,
        keys: list[int] | None = None,
    ) -> None:
        if chunk is not None:
            whole_number("chunk", chunk)
        self.program, self.x, self.context, self.seed = program, x, context, seed
        self.keys = data_keys(x, context) if keys is None else keys
        self.evaluate: Callable[[Piece], Terms] = partial(eager, program, seed=seed)
        keep_freed_memory()
        self.pairs = chunk or max(1, _cells(x.device) // max(64, math.prod(x.shape[1:])))

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
            yield self.evaluate(Piece(self.x[rows], context, self.keys[rows], first, count))

    def shapes(self, particles: int) -> Counter[tuple[int, int]]:
        """How many pieces there are of each shape (K_i, B)."""
        found = Counter[tuple[int, int]]()
        for rows in self.rows(particles):
            found.update((count, rows.stop - rows.start) for _, count in self.cuts(rows, particles))
        return found

    def few(self, count: int) -> Pieces:
        """Some of the data, chosen by their keys: the same ones in any order."""
        return self.take(sorted(range(len(self.keys)), key=self.keys.__getitem__)[:count])

    def take(self, index: list[int]) -> Pieces:
        """Some of the data, by their numbers, with the draws they have here."""
        context = None if self.context is None else self.context[index]
        keys = [self.keys[i] for i in index]
        return Pieces(self.program, self.x[index], context, seed=self.seed, chunk=self.pairs, keys=keys)

    def latents(self, rows: slice) -> Latents:
        """The latents of some data, for methods that move them."""
        context = None if self.context is None else self.context[rows]
        return Latents(self.program, self.x[rows], context, self.keys[rows], self.seed)


@contextmanager
def shown(what: str, total: int, *, show: bool) -> Iterator[Callable[[int], None]]:
    """A bar with the time left, when it is wanted and there is a terminal; gives what moves it on."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console()
    with Progress(console=console, disable=not (show and console.is_terminal), transient=True) as bar:
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


def _cells(device: torch.device) -> int:
    """Cells of one piece: what a processor's cache likes, or a part of what is free on a GPU."""
    if device.type != "cuda":
        return CELLS
    return max(CELLS, torch.cuda.mem_get_info(device)[0] // BYTES_A_CELL)


def _parameter(module: torch.nn.Module | None) -> Tensor | None:
    """A floating tensor of the module, for its device and dtype."""
    if module is None:
        return None
    return next((t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()), None)


def _tensor(given: Any, like: Tensor | None) -> Tensor:  # noqa: ANN401
    tensor = torch.as_tensor(given)
    if like is None:
        return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
    return tensor.to(device=like.device, dtype=like.dtype)
