r"""Compiled evaluation: the terms of a piece by machine code, if that saves time.

    outside   normal noise e (K, B, *shape) from keyed generators
    inside    z = m(x) + s(x) e from the guide, and log_px_z, log_pz, log_qz (K, B) at z

If a site of the guide has another form (a flow, a gamma distribution), the guide runs outside too,
and the inputs are the values of its sites instead. The noise is that of eager evaluation, so a
compiled estimate is the same up to rounding. All pieces except the last ones have the same shape.
Code is compiled for this shape, in another process, and the other pieces run eagerly. A program
also runs eagerly if it cannot be compiled, or if its code gives other terms.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyrovae.compiling import Compile, Compiled, Making, When, traced
from pyrovae.cures import option
from pyrovae.datasets import Rows
from pyrovae.errors import InputError, Uncapturable
from pyrovae.evidence.captured import parts_of, refuse_draws, refuse_other
from pyrovae.evidence.draws import GivenNoise, KeyedDraws, NotedDraws, SiteNoise
from pyrovae.evidence.path import latent_sites
from pyrovae.evidence.run import Pieces, eager_terms
from pyrovae.terms import PARTICLES, Terms

__all__ = ["CompiledTerms", "Evaluator"]

# The number of pieces timed before "auto" chooses; the first is ignored.
TIMED = 4


class Evaluator:
    """Computes the terms of pieces, by compiled code if that is faster.

    Arguments:
        compile: True, False, or "auto", which times a few eager pieces, and compiles if the
            remaining pieces would save more time than compiling costs.
        shapes: the number of pieces of each shape (K, B).
        elsewhere: compile in another process while pieces are eager; then `close` must be called.

    Raises:
        InputError: for compile=True if the terms cannot be compiled.
    """

    def __init__(
        self, compile: Compile, shapes: Counter[tuple[int, int]], *, elsewhere: bool = False
    ) -> None:
        self.when = When(compile, TIMED)
        self.elsewhere = elsewhere and not self.when.insists
        self.shape, self.left = shapes.most_common(1)[0]
        self.compiled: CompiledTerms | None = None
        self.waiting: CompiledTerms | None = None

    def __call__(self, pieces: Pieces, first: int, count: int) -> Terms:
        """The terms of particles `first` to `first + count` of B rows, each (K, B)."""
        if (count, len(pieces)) != self.shape:
            return eager_terms(pieces, first, count)
        if self.waiting is not None or self.when.is_due:
            self._choose(pieces, first, count)
        self.left -= 1
        if self.compiled is not None:
            return self.compiled(pieces, first, count)
        with self.when.timing():
            return eager_terms(pieces, first, count)

    def close(self) -> None:
        """End the compilation if it is not done."""
        self.when.is_open = False
        if self.waiting is not None:
            self.waiting.making.close()
            self.waiting = None

    def _choose(self, pieces: Pieces, first: int, count: int) -> None:
        self.when.is_open = False
        try:
            # The attempt must not change the random state, for programs that draw outside sites.
            with torch.random.fork_rng(devices=[]):
                terms = self.waiting or self._traced(pieces, first, count)
                self.waiting = terms
                if terms is not None and terms.compile():
                    self.waiting = None
                    self._compare(terms, pieces, first, count)
        except Uncapturable as error:
            self.waiting = None
            if self.when.insists:
                asked, auto = option("compile", True), option("compile", "auto")
                raise InputError(f"{asked}, but log p(x) cannot be compiled: {error}; use {auto}") from error

    def _traced(self, pieces: Pieces, first: int, count: int) -> CompiledTerms | None:
        """The graph of the terms, if it pays to compile it."""
        gain = self.when.gain(self.left)
        if not self.when.pays(gain):
            return None
        terms = CompiledTerms(pieces, first, count, elsewhere=self.elsewhere)
        return terms if self.when.pays(gain, is_stored=terms.graph.is_stored) else None

    def _compare(self, terms: CompiledTerms, pieces: Pieces, first: int, count: int) -> None:
        terms.check(pieces, first, count)
        if self.when.insists or terms.seconds(pieces, first, count) < self.when.usual_seconds:
            self.compiled = terms


class CompiledTerms:
    """The terms of pieces of one shape as a graph.

    Arguments:
        pieces, first, count: a piece of this shape.
        elsewhere: compile in another process.

    Raises:
        Uncapturable: if the program cannot be traced.
    """

    def __init__(self, pieces: Pieces, first: int, count: int, *, elsewhere: bool = False) -> None:
        if pieces.device.type != "cpu":
            raise Uncapturable("code is made for processors (CPUs), and the program is on another device")
        self.runner, self.count, self.elsewhere = pieces.runner, count, elsewhere
        self.code: Compiled | None = None
        self.noise, values = _noted(pieces, first, count)
        self.sites, self.parts = list(values), list(parts_of(pieces.rows))
        try:
            self._trace(pieces, first)
        except Uncapturable:
            if not self.noise:
                raise
            self.noise = {}  # the guide cannot be traced, but the rest may be
            self._trace(pieces, first)
        refuse_draws(self.graph.module)
        self.making = Making(self.graph, self.example)

    def _trace(self, pieces: Pieces, first: int) -> None:
        self.example = self._inputs(pieces, first)
        self.kinds = _kinds(self.example)
        watched = [self.runner.module, self.runner.model, self.runner.guide]
        self.graph = traced(self._terms, self.example, watched=watched)

    def compile(self) -> bool:
        """Compile the graph, or load its code from disk; returns whether the code is there.

        Raises:
            Uncapturable: if it cannot be compiled here.
        """
        self.code = self.making.code(wait=not self.elsewhere)
        return self.code is not None

    def __call__(self, pieces: Pieces, first: int, count: int) -> Terms:
        """The terms of a piece, each (K, B)."""
        assert self.code is not None
        inputs = self._inputs(pieces, first)
        if _kinds(inputs) != self.kinds:
            return eager_terms(pieces, first, count)
        return Terms(*self.code(inputs))

    def _inputs(self, pieces: Pieces, first: int) -> list[Tensor]:
        """The noise or values of the sites, and the rows; empty if the sites have changed."""
        if self.noise:
            if list(self.noise) != self.sites:
                return []
            of_sites = [
                site.drawn(pieces.keys, pieces.seed, first, self.count) for site in self.noise.values()
            ]
        else:
            values = _values(pieces, first, self.count)
            if list(values) != self.sites:
                return []
            of_sites = list(values.values())
        return [tensor.contiguous() for tensor in (*of_sites, *parts_of(pieces.rows).values())]

    def check(self, pieces: Pieces, first: int, count: int) -> None:
        """Compare the terms of a piece with the eager ones.

        Raises:
            Uncapturable: if they differ by more than rounding.
        """
        found, wanted = self(pieces, first, count), eager_terms(pieces, first, count)
        refuse_other(found[:3], wanted[:3], wanted[0].dtype)

    def seconds(self, pieces: Pieces, first: int, count: int) -> float:
        """The time that a piece takes."""
        began = time.perf_counter()
        self(pieces, first, count)
        return time.perf_counter() - began

    def _terms(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        of_sites = dict(zip(self.sites, tensors, strict=False))
        rows = Rows(**dict(zip(self.parts, tensors[len(of_sites) :], strict=True)))
        if not self.noise:
            return self.runner.terms_at(of_sites, rows, particles=self.count)[:3]
        with GivenNoise(of_sites):
            return self.runner.terms(rows, particles=self.count)[:3]


def _noted(pieces: Pieces, first: int, count: int) -> tuple[dict[str, SiteNoise], dict[str, Tensor]]:
    """The noise of the guide's sites, and their values; no noise if a site needs another form."""
    noted = NotedDraws(pieces.keys, pieces.seed, first)
    values = _values(pieces, first, count, noted)
    noise = {name: site for name, site in noted.noise.items() if site is not None}
    return (noise if list(noise) == list(values) else {}), values


def _values(pieces: Pieces, first: int, count: int, draws: KeyedDraws | None = None) -> dict[str, Tensor]:
    """The values of the guide's sites, each (K, ..., B, ..., *shape)."""
    plate = pyro.plate(PARTICLES, count, dim=-1 - pieces.runner.max_plate_nesting)
    with draws or KeyedDraws(pieces.keys, pieces.seed, first), plate:
        guide: Any = poutine.trace(pieces.runner.guide).get_trace(*pieces.rows.arguments)
    return {name: site["value"] for name, site in latent_sites(guide).items()}


def _kinds(tensors: Sequence[Tensor]) -> list[tuple[torch.Size, torch.dtype]]:
    return [(tensor.shape, tensor.dtype) for tensor in tensors]
