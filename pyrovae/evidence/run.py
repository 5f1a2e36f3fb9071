"""Run a program for its weights, in pieces that fit into memory, without side effects."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor

from pyrovae.checks import one_of, whole
from pyrovae.datasets import Rows
from pyrovae.datasets.asked_labels import contexts_of
from pyrovae.errors import InputError
from pyrovae.evidence.captured import Codes
from pyrovae.evidence.draws import BLOCK, KeyedDraws, data_keys
from pyrovae.memory import is_exhausted
from pyrovae.networks.modes import in_mode
from pyrovae.numerics import keep_freed_memory
from pyrovae.seeds import random_kept
from pyrovae.sharing import is_shared
from pyrovae.terms import DATA, Runner, Terms
from pyrovae.terms.global_posterior import central_values, drawn_values, holding
from pyrovae.terms.global_sites import Fixed
from pyrovae.terms.sites import plate_dim, sites_of
from pyrovae.threads import alone

__all__ = [
    "Pieces",
    "checked",
    "eager_terms",
    "evaluating",
    "evaluation",
    "finished",
    "inputs",
    "refuse_undefined",
    "refuse_weightless",
    "shown",
]

# Cells (particles x rows x elements of a row) of one piece: small enough for the CPU cache.
CELLS = 2**21
# On a GPU: four bytes per number, with room for the activations and log-densities in use.
BYTES_A_CELL = 256


@contextmanager
def evaluation(
    vae: Any,  # noqa: ANN401
    x: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
    y: Any = None,  # noqa: ANN401
    *,
    seed: int,
    chunk: int | None,
    shared: Mapping[str, Tensor] | None = None,
) -> Iterator[Pieces]:
    """Evaluate a program on checked rows, in pieces, without side effects.

    Variables that all rows share are held at a value, so the program has local sites only.

    Arguments:
        vae: a `Program`, an object with a Pyro `model` and `guide`, or a pair of these functions.
        x, context, y: as for `inputs`.
        seed: seed of the samples.
        chunk: the number of (particle, row) pairs that run at once; chosen if None.
        shared: the values of shared variables; by default the mean of their posterior.

    Raises:
        InputError: if the program or the rows cannot be evaluated; for a value outside the support
            of its site, the message has the row number.
    """
    with checked(vae, x, context, y, seed=seed, chunk=chunk) as pieces:
        with pieces.at(pieces.centre() if shared is None else shared) as held:
            yield held


@contextmanager
def checked(
    vae: Any,  # noqa: ANN401
    x: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
    y: Any = None,  # noqa: ANN401
    *,
    seed: int,
    chunk: int | None,
) -> Iterator[Pieces]:
    """The same, without values for shared variables: use `Pieces.at` to hold them."""
    runner = Runner(vae)
    rows = inputs(runner, x, context, y)
    pairs, seed = None if chunk is None else whole("chunk", chunk), whole("seed", seed, 0)
    keep_freed_memory()
    with evaluating(runner):
        _check(runner, rows)
        with closing(Codes("auto", len(rows))) as codes:
            yield Pieces(runner, rows, seed, data_keys(rows), pairs or _usual_pairs(rows), codes=codes)


@contextmanager
def evaluating(runner: Runner) -> Iterator[None]:
    """Disable gradients, training mode and other threads, and keep the caller's state unchanged."""
    with alone, in_mode(runner.module, training=False):
        # Without a module, the parameters are in the store, and a guide that never ran would add
        # its parameters.
        store = pyro.get_param_store()
        params = store.get_state() if runner.module is None else None
        with (
            store.scope(params),
            torch.no_grad(),
            random_kept(),
            pyro.validation_enabled(False),
        ):
            yield


def inputs(runner: Runner, x: Any, context: Any = None, y: Any = None) -> Rows:  # noqa: ANN401
    """Check rows, and convert them to the type and device of the program.

    Arguments:
        runner: the program's runner.
        x: observations (N, *event), as rows, a tensor or an array of any numeric type.
        context: contexts or labels of a conditional program, one for each row or one for all.
        y: class indices (N,) that the program observes, -1 where unknown.

    Raises:
        InputError: for no rows, a wrong event shape, missing values or values outside the support.
    """
    if hasattr(x, "test") and hasattr(x, "event_shape"):
        raise InputError("give rows, not a whole data set: one part of it, as in data.test")
    runner.refuse_few_digits()
    like, doubles = runner.parameter, runner.program.takes_doubles
    rows = Rows.of(runner.program.read(x), None, y, like=like, doubles=doubles)
    rows = Rows.of(rows, contexts_of(runner.program, context, rows), like=like, doubles=doubles)
    if rows.x.dim() == 0 or len(rows) == 0:
        raise InputError("there is nothing to evaluate: x has no rows")
    for name, part in (("context", rows.context), ("y", rows.y)):
        if part is not None and part.dim() == 0:
            raise InputError(f"{name} is one number, and x has {len(rows)} rows: give one for each row")
    runner.program.check_rows(rows, "x")
    runner.program.check_range(rows, "x")
    return rows


def _check(runner: Runner, rows: Rows) -> None:
    """Run `Runner.check`, and run all rows once with validation, for programs that need it."""
    if runner.program.checks_support:
        runner.check(rows)
        return
    with pyro.validation_enabled(True):
        try:
            runner.check(rows)
            size = _usual_pairs(rows)
            for start in range(0, len(rows), size):
                _validate(runner, rows[start : start + size], start)
        except (InputError, torch.OutOfMemoryError):
            raise
        except (ValueError, RuntimeError, IndexError) as error:
            if is_exhausted(error):
                raise
            raise InputError(_refusal(rows, error)) from error


def _refusal(rows: Rows, error: Exception) -> str:
    reason = str(error).splitlines()[0].rstrip(":")  # Pyro appends the shapes of a whole trace
    odd = (~rows.x.isfinite()).nonzero()
    if len(odd):
        return f"x is not finite in row {int(odd[0, 0])}, which the program cannot take: {reason}"
    return f"the program cannot take x of shape {tuple(rows.x.shape)}: {reason}"


def _validate(runner: Runner, rows: Rows, start: int) -> None:
    pair = runner.run(rows)
    for name, site in (*sites_of(pair.guide), *sites_of(pair.model)):
        outside = ~site["fn"].support.check(site["value"])
        if outside.any() and getattr(site["fn"], "_validate_args", True):
            row = start + int(outside.nonzero()[0][plate_dim(site, DATA)])
            whose = "x is" if site["is_observed"] else "the guide draws a value"
            raise InputError(f"{whose} outside the support of the site {name!r} in row {row}")
    pair.terms()


def eager_terms(pieces: Pieces, first: int, count: int) -> Terms:
    """The terms of particles `first` to `first + count` of some rows, computed in Python."""
    with KeyedDraws(pieces.keys, pieces.seed, first):
        return pieces.runner.terms(pieces.rows, particles=count)


@dataclass(frozen=True, eq=False)
class Pieces:
    """Rows whose weights are computed piece by piece.

    Attributes:
        runner: the runner of a checked program.
        rows: the result of `inputs`.
        seed: seed of the samples.
        keys: the keys of the rows, from `data_keys`.
        pairs: the number of (particle, row) pairs that run at once.
        evaluate: computes the terms of a piece, as `eager_terms` does.
        start: the position of the first of these rows among all rows.
        shared: the values at which the variables that all rows share are held.
        codes: compiled code for densities and derivatives at given latents, or None.
    """

    runner: Runner
    rows: Rows
    seed: int
    keys: np.ndarray
    pairs: int
    evaluate: Callable[[Pieces, int, int], Terms] = eager_terms
    start: int = 0
    shared: Mapping[str, Tensor] = field(default_factory=dict)
    codes: Codes | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @contextmanager
    def at(self, shared: Mapping[str, Tensor]) -> Iterator[Pieces]:
        """These rows, with the variables that all rows share at given values in the context."""
        if not self.runner.global_sites:
            yield self
            return
        with holding(self.runner, shared):
            yield replace(self, shared=shared)

    def centre(self) -> Mapping[str, Tensor]:
        """The mean of each variable that all rows share."""
        return central_values(self.runner, self.rows) if self.runner.global_sites else {}

    def draws(self, count: int) -> list[Mapping[str, Tensor]]:
        """Samples of the variables that all rows share, which depend on the seed only."""
        if not self.runner.global_sites:
            return []
        return [self._draw(number) for number in range(count)]

    def _draw(self, number: int) -> Mapping[str, Tensor]:
        with KeyedDraws([number], self.seed):  # sites outside the plates are seeded by their names
            return drawn_values(self.runner, self.rows)

    @property
    def device(self) -> torch.device:
        """The device of the rows."""
        return self.rows.x.device

    @property
    def where(self) -> slice:
        """The positions of these rows among all rows."""
        return slice(self.start, self.start + len(self))

    def log_ratio(self, shared: Mapping[str, Tensor]) -> Tensor:
        """log q(w) - log p(w) at values of the variables that all rows share, (), float64."""
        with Fixed(shared):
            log_global = self.runner.run(self.rows[:1]).log_global
        assert log_global is not None
        return -log_global.double().sum().cpu()

    def parts(self, particles: int) -> Iterator[Pieces]:
        """Split the rows so that the particles of each part fill a piece."""
        blocks = min(particles, BLOCK * max(1, self.pairs // BLOCK))
        size = max(1, self.pairs // blocks)
        for start in range(0, len(self), size):
            yield self.take(slice(start, min(start + size, len(self))))

    def cuts(self, particles: int) -> Iterator[tuple[int, int]]:
        """Split the particles into ranges (first, count) of whole blocks that fit a piece."""
        size = BLOCK * max(1, self.pairs // (BLOCK * len(self)))
        for first in range(0, particles, size):
            yield first, min(size, particles - first)

    def terms(self, particles: int) -> Iterator[Terms]:
        """The terms of all rows, in pieces (K_i, N) of the K particles."""
        for first, count in self.cuts(particles):
            yield self.evaluate(self, first, count)

    def shapes(self, particles: int) -> Counter[tuple[int, int]]:
        """The number of pieces of each shape (K_i, B)."""
        parts = self.parts(particles)
        return Counter((count, len(some)) for some in parts for _, count in some.cuts(particles))

    def pilot(self, count: int) -> Pieces:
        """A few of the rows, chosen by their keys: the same ones in any order."""
        return self.take(np.argsort(self.keys)[:count])

    def take(self, chosen: slice | np.ndarray) -> Pieces:
        """Some of the rows, with the same samples as here."""
        start = chosen.start or 0 if isinstance(chosen, slice) else 0
        return replace(self, rows=self.rows[chosen], keys=self.keys[chosen], start=start)


def refuse_undefined(log_px: Tensor, numbers: Tensor) -> None:
    """Refuse rows whose log p(x) is not a number, (B,), with their indices (B,) among all rows.

    Raises:
        InputError: with the index of the first of them.
    """
    bad = log_px.isnan() | (log_px == math.inf)
    if bad.any():
        raise InputError(
            f"the weights of row {int(numbers[int(bad.nonzero()[0])])} are not numbers: check that the "
            "densities of model and guide are finite there"
        )


def refuse_weightless(log_px: Tensor) -> None:
    """Refuse rows of which none has any weight, (N,); log p(x) of single such rows is -inf.

    Raises:
        InputError: if all rows are without weight.
    """
    if len(log_px) and bool((log_px == -math.inf).all()):
        raise InputError(
            "the model gives none of the rows any probability, since all of their weights are zero: check "
            "that they are in the support of p(x|z)"
        )


@contextmanager
def shown(what: str, total: int, *, show: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar with the time left, on a terminal; returns the function that advances it."""
    one_of("progress", show, (True, False))
    from rich.console import Console
    from rich.progress import Progress

    console = Console()
    if not (show and console.is_terminal):
        yield lambda count: None  # up to version 14, a disabled bar of rich prints an empty line
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def finished(done: Sequence[Any]) -> Iterator[None]:
    """Let Ctrl-C end a loop that adds its results to a list, if there are some."""
    try:
        yield
    except KeyboardInterrupt:
        if not done or is_shared():
            raise


def _usual_pairs(rows: Rows) -> int:
    """The number of pairs that fits a CPU cache, or the memory of a GPU."""
    cells, device = CELLS, rows.x.device
    if device.type == "cuda":
        cells = max(CELLS, torch.cuda.mem_get_info(device)[0] // BYTES_A_CELL)
    return max(1, cells // max(64, math.prod(rows.x.shape[1:])))
