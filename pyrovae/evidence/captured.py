r"""Compiled log-densities and their derivatives at given latents, for chains and proposals.

A `Kind` is a function of the latents u (K, B, D) of B rows, such as the log-densities, gradients or
second derivatives of log p(x, u). It is compiled for a tile of fixed size, and calls are cut into
tiles:

    tile (1, P)   P of the K B pairs of a particle and a row, as P rows with one particle each
    tile (K, R)   K particles of R rows

The last tile is filled up with copies. So one piece of code serves any number of particles and
rows, and its memory does not depend on these numbers. A kind is compiled once the eager time that
is likely to follow exceeds the cost, in another process, and calls stay eager until then. Its
results are first compared with the eager ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrovae.compiling import Compile, Compiled, Making, When, traced
from pyrovae.datasets import Rows
from pyrovae.errors import Uncapturable
from pyrovae.networks.precision import product_dtype

__all__ = ["Codes", "Kind", "parts_of", "refuse_draws", "refuse_other"]

# The largest relative difference between compiled and eager results, by the type of the products.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.01}
SAVED = 0.5  # the share of eager time that compiled code saves, from benchmarks/evidence.py
TIMED = 2  # the number of eager calls before a kind may be compiled; the first is ignored
Outputs = tuple[Tensor, ...]
Eager = Callable[[Tensor], Outputs]
Latents = Any  # `path.Latents`, which imports this file


class Kind(NamedTuple):
    """A function of latents that can be compiled.

    Attributes:
        name: its name.
        function: returns tensors (K, B, *) for latents and u (K, B, D).
        tile: returns the particles and rows of a tile, from the largest number of pairs and D.
    """

    name: str
    function: Callable[[Latents, Tensor], Outputs]
    tile: Callable[[int, int], tuple[int, int]]


class Codes:
    """The compiled code of one evaluation, by kind.

    Arguments:
        compile: "auto"; True to compile every kind at its first call; False for no code.
        rows: the number of rows of the evaluation.
    """

    def __init__(self, compile: Compile, rows: int) -> None:
        self.compile, self.rows, self.reached = compile, rows, 0
        self.choices: dict[str, _Choice] = {}

    def __call__(
        self, kind: Kind, latents: Latents, u: Tensor, eager: Callable[[Tensor], Outputs]
    ) -> Outputs:
        """The outputs of a kind at u (K, B, D), by compiled code if there is any."""
        return self._choice(kind)(latents, u, eager, self._rows_to_come())

    def expect(self, kind: Kind, pairs: int) -> None:
        """Announce for how many pairs of particle and row a kind will be called."""
        self._choice(kind).expected += pairs

    def begin(self, rows: slice) -> None:
        """Note which rows are evaluated next."""
        self.reached = rows.stop

    def close(self) -> None:
        """End the compilations that are not done."""
        for choice in self.choices.values():
            choice.close()

    def _choice(self, kind: Kind) -> _Choice:
        if kind.name not in self.choices:
            self.choices[kind.name] = _Choice(kind, self.compile)
        return self.choices[kind.name]

    def _rows_to_come(self) -> float:
        """The rows left, as a multiple of those reached; at least 1, and 1 if not known."""
        return max(1.0, self.rows / self.reached - 1) if self.reached else 1.0


class _Choice:
    """Whether a kind runs as compiled code, decided once from the time of eager calls.

    While another process compiles, the calls stay eager.
    """

    def __init__(self, kind: Kind, compile: Compile) -> None:
        self.kind, self.when = kind, When(compile, TIMED)
        self.traced: _Code | None = None
        self.code: _Code | None = None
        self.is_started = False
        self.calls, self.expected, self.pairs, self.seconds = 0, 0, 0, 0.0

    def __call__(self, latents: Latents, u: Tensor, eager: Eager, to_come: float) -> Outputs:
        if self.when.is_open and self._is_due(to_come):
            self._choose(latents, u, to_come)
        if self.code is not None and self.code.fits(latents, u):
            return self.code(latents, u)
        began = time.perf_counter()
        outputs = eager(u)
        self.calls += 1
        if self.calls > 1:
            self.seconds += time.perf_counter() - began
            self.pairs += u.shape[0] * u.shape[1]
        return outputs

    def close(self) -> None:
        """End the compilation if it is not done."""
        self.when.is_open = False
        if self.traced is not None:
            self.traced.making.close()

    def _is_due(self, to_come: float) -> bool:
        if self.when.insists or self.is_started:
            return True
        return self.calls >= TIMED and self.when.pays(self._gain(to_come))

    def _gain(self, to_come: float) -> float:
        """The seconds that code may save, if at least as much work follows as there was."""
        if self.when.insists:
            return math.inf
        left = max(self.expected - self.pairs, self.pairs * to_come)
        return SAVED * left * self.rate

    @property
    def rate(self) -> float:
        """The seconds per pair in eager calls."""
        return self.seconds / max(1, self.pairs)

    def _choose(self, latents: Latents, u: Tensor, to_come: float) -> None:
        try:
            with torch.random.fork_rng(devices=[]):
                self._make(latents, u, to_come)
        except Uncapturable:
            self.when.is_open = False

    def _make(self, latents: Latents, u: Tensor, to_come: float) -> None:
        code = self.traced = self.traced or _Code(self.kind, latents, u)
        if not self.is_started:
            is_stored = code.graph.is_stored
            if not self.when.pays(self._gain(to_come), is_stored=is_stored):
                return  # it may pay later, when more work is known to follow
            self.is_started = True
        if code.compile(wait=self.when.insists):
            self.when.is_open = False
            code.check()
            if self.when.insists or self._is_faster(code):
                self.code = code

    def _is_faster(self, code: _Code) -> bool:
        """Whether the tiles of a usual call take less time than it took."""
        tiles = math.ceil(self.pairs / max(1, self.calls - 1) / code.pairs)
        return tiles * code.seconds() * (self.calls - 1) < self.seconds


class _Code:
    """The compiled code of one kind.

    Arguments:
        kind: what it computes.
        latents: the latents of B rows.
        u: a point, (K, B, D).

    Raises:
        Uncapturable: if the kind cannot be traced.
    """

    def __init__(self, kind: Kind, latents: Latents, u: Tensor) -> None:
        if u.device.type != "cpu":
            raise Uncapturable("code is made for processors (CPUs), and the program is on another device")
        self.kind, self.latents, self.model = kind, latents, latents.runner.model
        self.tile = kind.tile(latents.pieces.pairs, latents.dim)
        self.pairs = math.prod(self.tile)
        self.parts = list(parts_of(latents.rows))
        self.kinds = self._kinds(latents, u)
        self.code: Compiled | None = None
        self.example = next(self._inputs(latents, self._flat(u)))[0]
        runner = latents.runner
        self.graph = traced(self._function, self.example, watched=[runner.module, runner.model, runner.guide])
        refuse_draws(self.graph.module)
        self.making = Making(self.graph, self.example)

    def compile(self, *, wait: bool) -> bool:
        """Compile the graph, or load its code from disk; returns whether the code is there.

        Raises:
            Uncapturable: if it cannot be compiled here.
        """
        self.code = self.making.code(wait=wait)
        return self.code is not None

    def check(self) -> None:
        """Compare the outputs at the example with the eager ones.

        Raises:
            Uncapturable: if they differ by more than rounding.
        """
        assert self.code is not None
        refuse_other(self.code(self.example), self._function(*self.example), self.example[0].dtype)

    def seconds(self) -> float:
        """The time of one tile, in seconds."""
        assert self.code is not None
        began = time.perf_counter()
        self.code(self.example)
        return time.perf_counter() - began

    def fits(self, latents: Latents, u: Tensor) -> bool:
        """Whether the code is for these latents and rows, and no tile is mostly copies."""
        is_full = 2 * len(u) > self.tile[0]  # rows that are left over cost little, particles do not
        return is_full and latents.runner.model is self.model and self._kinds(latents, u) == self.kinds

    def __call__(self, latents: Latents, u: Tensor) -> Outputs:
        """The outputs at u (K, B, D)."""
        assert self.code is not None
        flat = self._flat(u)
        outputs: list[Tensor] = []
        for inputs, place in self._inputs(latents, flat):
            tiles = self.code(inputs)
            if not outputs:
                outputs = [tile.new_empty(*flat.shape[:2], *tile.shape[2:]) for tile in tiles]
            for output, tile in zip(outputs, tiles, strict=True):
                here = output[place]
                here.copy_(tile[: here.shape[0], : here.shape[1]])
        return tuple(output.reshape(*u.shape[:2], *output.shape[2:]) for output in outputs)

    # ---------------------------------------------------------------- tiles

    def _function(self, *tensors: Tensor) -> Outputs:
        rows = Rows(**dict(zip(self.parts, tensors[1:], strict=True)))
        return self.kind.function(self.latents.at_rows(rows), tensors[0])

    def _flat(self, u: Tensor) -> Tensor:
        """The pairs of u (K, B, D) as rows with one particle, if a tile has one particle."""
        return u.reshape(1, -1, u.shape[2]) if self.tile[0] == 1 else u

    def _inputs(self, latents: Latents, u: Tensor) -> Iterator[tuple[list[Tensor], tuple[slice, slice]]]:
        """The inputs of each tile of u (K, B, D), and the place of the tile in u."""
        particles, rows = self.tile
        for start in range(0, u.shape[1], rows):
            columns = _places(start, rows, u.shape[1])
            parts = [_plain(part[columns % len(part)]) for part in parts_of(latents.rows).values()]
            for first in range(0, u.shape[0], particles):
                place = slice(first, first + particles), slice(start, start + rows)
                tile = u[place]
                if tile.shape[:2] != self.tile:
                    tile = u[_places(first, particles, u.shape[0])][:, columns]
                yield [_plain(tile), *parts], place

    def _kinds(self, latents: Latents, u: Tensor) -> list[Any]:
        parts = parts_of(latents.rows)
        return [u.dtype, u.shape[2], *((name, part.shape[1:], part.dtype) for name, part in parts.items())]


def _plain(tensor: Tensor) -> Tensor:
    """A contiguous tensor with the usual strides, including those of axes of size 1.

    Code is stored under the strides of its inputs, and those of a slice depend on the whole tensor.
    """
    return tensor.contiguous().flatten().view(tensor.shape)


def _places(first: int, count: int, end: int) -> Tensor:
    """`count` indices from `first` on; those from `end` on are replaced by the last one."""
    return torch.arange(first, first + count).clamp(max=end - 1)


def parts_of(rows: Rows) -> dict[str, Tensor]:
    """The parts of rows that a program reads."""
    return {name: part for name, part in vars(rows).items() if name != "index" and part is not None}


def refuse_other(found: Sequence[Tensor], wanted: Sequence[Tensor], dtype: torch.dtype) -> None:
    """Refuse code whose outputs differ from those of the program by more than rounding.

    Arguments:
        found, wanted: the outputs of the code and of the program.
        dtype: the type in which they were computed, but for the networks' matrix products.

    Raises:
        Uncapturable: if they differ.
    """
    tolerance = TOLERANCE[product_dtype() or dtype]
    for one, other in zip(found, wanted, strict=True):
        finite = other[other.isfinite()].abs()
        size = 1 + (float(finite.max()) if len(finite) else 0.0)
        if not torch.allclose(one, other, rtol=tolerance, atol=tolerance * size, equal_nan=True):
            raise Uncapturable("the code was compared with the program and gives other terms")


def refuse_draws(module: torch.fx.GraphModule) -> None:
    """Refuse random numbers outside the sample sites, which eager code would draw in another order.

    Raises:
        Uncapturable: with the operation that draws them.
    """
    for node in module.graph.nodes:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise Uncapturable(f"it draws random numbers outside its sample sites ({node.target})")
