r"""Captured evaluation: the terms of a piece as compiled code, where that pays.

    outside   the guide runs and its sites are drawn from keyed generators         z (K, B, *shape)
    inside    guide, prior, decoder and likelihood at z and x         log_px, log_pz, log_qz (K, B)

The draws are those of the eager way, so a captured estimate is the same to rounding. Pieces have one shape
but for the last ones; code is made for that shape, and the others run eagerly. What cannot be captured, or
whose code does not give what the program gives, runs eagerly too.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyrovae import compiling
from pyrovae.errors import InputError, Uncapturable
from pyrovae.evidence.draws import KeyedDraws
from pyrovae.evidence.path import is_latent
from pyrovae.compiling import Compiled, traced
from pyrovae.networks import Precision
from pyrovae.terms import PARTICLES, Program, Terms, arguments

__all__ = ["Captured", "Compile", "Evaluator", "Piece", "eager"]

Compile = bool | Literal["auto"]

# Pieces that are timed before "auto" chooses; the first of them is not counted.
TIMED = 4
TRACING_SECONDS = 3.0
# What captured pieces save of eager ones: a quarter at the least on the dense networks of the benchmark.
SAVED = 0.25
# How far captured terms may lie from eager ones, as a part of the largest.
APART = {torch.float32: 1e-4, torch.float64: 1e-9, torch.bfloat16: 0.05}


@dataclass(frozen=True, eq=False)
class Piece:
    """Particles `first` to `first + count` of some data, with the keys of their draws."""

    x: Tensor
    context: Tensor | None
    keys: Sequence[int]
    first: int
    count: int

    @property
    def shape(self) -> tuple[int, int]:
        """(K, B)."""
        return self.count, len(self.x)


def eager(program: Program, piece: Piece, seed: int) -> Terms:
    """The terms of a piece, in Python."""
    with KeyedDraws(piece.keys, seed, piece.first):
        return program.terms(piece.x, piece.context, particles=piece.count)


class Evaluator:
    """The terms of pieces, of whichever kind is faster.

    Arguments:
        program: checked.
        seed: of the draws.
        compile: True, False, or "auto": a few eager pieces are timed; captured when what the pieces to come
            would save is more than the compilation costs.
        shapes: how many pieces there will be of each (K, B).
        precision: of the networks' products.

    Raises:
        InputError: when captured pieces are insisted on and cannot be had.
    """

    def __init__(
        self,
        program: Program,
        seed: int,
        compile: Compile,
        shapes: Counter[tuple[int, int]],
        precision: Precision,
    ) -> None:
        self.program, self.seed, self.compile, self.precision = program, seed, compile, precision
        self.shape, self.left = shapes.most_common(1)[0]
        self.captured: Captured | None = None
        self.open = compile is not False
        self.seconds: list[float] = []

    def __call__(self, piece: Piece) -> Terms:
        """The terms of a piece, each (K, B)."""
        if piece.shape != self.shape:
            return eager(self.program, piece, self.seed)
        if self.open:
            self._choose(piece)
        self.left -= 1
        if self.captured is not None:
            return self.captured(piece)
        began = time.perf_counter()
        terms = eager(self.program, piece, self.seed)
        if self.open:
            self.seconds.append(time.perf_counter() - began)
        return terms

    def _choose(self, piece: Piece) -> None:
        insisted = self.compile is True
        if not insisted and len(self.seconds) < TIMED:
            return
        self.open = False
        gain = float("inf") if insisted else SAVED * self.left * statistics.median(self.seconds[1:])
        if gain < TRACING_SECONDS:
            return
        try:
            # A program that draws outside its sites must not see that this was tried.
            with torch.random.fork_rng(devices=[]):
                self._capture(piece, gain)
        except Uncapturable as error:
            if insisted:
                raise InputError(
                    f"compile=True, but log p(x) cannot be captured: {error}; use compile='auto'"
                ) from error

    def _capture(self, piece: Piece, gain: float) -> None:
        captured = Captured(self.program, piece, self.seed)
        if not captured.graph.is_stored and gain < TRACING_SECONDS + compiling.compile_seconds():
            return
        captured.compile()
        captured.check(piece, self.precision)
        if self.compile is True or captured.seconds(piece) < statistics.median(self.seconds[1:]):
            self.captured = captured


class Captured:
    """The terms of pieces of one shape as a graph.

    Arguments:
        program: checked.
        piece: one of those to come.
        seed: of the draws.

    Raises:
        Uncapturable: when the program cannot become a graph.
    """

    def __init__(self, program: Program, piece: Piece, seed: int) -> None:
        if piece.x.device.type != "cpu":
            raise Uncapturable("code is made for processors, and the program is not on one")
        self.program, self.seed, self.count = program, seed, piece.count
        self.code: Compiled | None = None
        values = self._drawn(piece)
        self.names = list(values)
        inputs = self._inputs(values, piece)
        self.kinds = _kinds(inputs)
        self.example = inputs
        self.graph = traced(self._terms, inputs, watched=[program.module, program.model, program.guide])
        _refuse_draws(self.graph.module)

    def compile(self) -> float:
        """Make machine code of it, or find it on the disk; gives the seconds that took.

        Raises:
            Uncapturable: when that cannot be done here.
        """
        self.code = self.graph.compiled(self.example)
        return self.code.seconds

    def __call__(self, piece: Piece) -> Terms:
        """The terms of a piece, each (K, B)."""
        assert self.code is not None
        values = self._drawn(piece)
        if list(values) != self.names:
            return eager(self.program, piece, self.seed)
        inputs = self._inputs(values, piece)
        if _kinds(inputs) != self.kinds:
            return eager(self.program, piece, self.seed)
        return Terms(*self.code(inputs))

    def check(self, piece: Piece, precision: Precision) -> None:
        """Compare the terms of a piece with the eager ones.

        Raises:
            Uncapturable: when the two differ by more than rounding.
        """
        for found, wanted in zip(self(piece)[:3], eager(self.program, piece, self.seed)[:3], strict=True):
            dtype = torch.bfloat16 if precision == "bf16" else wanted.dtype
            apart = APART.get(dtype, 1e-2)
            finite = wanted[wanted.isfinite()].abs()
            largest = float(finite.max()) if len(finite) else 0.0
            if not torch.allclose(found, wanted, rtol=apart, atol=apart * (1 + largest), equal_nan=True):
                raise Uncapturable("the code was compared with the program and gives other terms")

    def seconds(self, piece: Piece) -> float:
        """How long a piece takes."""
        began = time.perf_counter()
        self(piece)
        return time.perf_counter() - began

    # ---------------------------------------------------------------- the graph

    def _drawn(self, piece: Piece) -> dict[str, Tensor]:
        """The values of the guide's sites, each (K, ..., B, ..., *shape)."""
        plate = pyro.plate(PARTICLES, piece.count, dim=-1 - self.program.max_plate_nesting)
        with KeyedDraws(piece.keys, self.seed, piece.first), plate:
            guide: Any = poutine.trace(self.program.guide).get_trace(*arguments(piece.x, piece.context))
        return {name: site["value"] for name, site in guide.nodes.items() if is_latent(site)}

    def _inputs(self, values: dict[str, Tensor], piece: Piece) -> list[Tensor]:
        tensors = *values.values(), *arguments(piece.x, piece.context)
        return [tensor.contiguous() for tensor in tensors]

    def _terms(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(self.names)
        values = dict(zip(self.names, tensors[:count], strict=True))
        return self.program.terms_at(values, *tensors[count:], particles=self.count)[:3]


def _kinds(tensors: Sequence[Tensor]) -> list[tuple[torch.Size, torch.dtype]]:
    return [(tensor.shape, tensor.dtype) for tensor in tensors]


def _refuse_draws(module: torch.fx.GraphModule) -> None:
    """The guide runs twice, for its draws and for its density: both must be of one law.

    Raises:
        Uncapturable: for random numbers that are no sample site's.
    """
    for node in module.graph.nodes:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise Uncapturable(f"it draws random numbers outside its sample sites ({node.target})")
