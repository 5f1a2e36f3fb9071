"""log p(x) of rows that come in pieces, whatever the size of the pieces.

`log_evidence` evaluates rows that are all in memory. A `Scorer` evaluates one piece after another
by the same methods. The noise of a row depends on the seed and the values of the row only, so equal
rows have equal scores, and the pieces change nothing. Code that was compiled for one piece is used
for all. If rows share some variables (the weights of a Bayesian decoder), the scores are those of
the posterior predictive log p(x | D), with 20 samples of these variables.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import count_of, whole
from pyrovae.compiling import Compile, check_option
from pyrovae.cures import option
from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.evidence.compiled import Evaluator
from pyrovae.evidence.draws import data_keys
from pyrovae.evidence.methods import Method, as_method
from pyrovae.evidence.predictive import Draws, over_draws
from pyrovae.evidence.result import meaning_of
from pyrovae.evidence.run import Pieces, checked
from pyrovae.sharing import gathered, is_shared, own_rows

__all__ = ["COLUMNS", "Scorer"]

COLUMNS = ("log_px", "mc_stderr", "ess", "khat")

# (particle, row) pairs of one piece of a file; chains take many steps for each.
PAIRS, PAIRS_OF_CHAINS = 10**6, 5 * 10**3
PILOT_ROWS = 256
MOST_ROWS, MOST_NUMBERS = 10_000, 2**23


class Scorer:
    """Estimates log p(x) of rows, piece by piece.

    Arguments:
        vae: a `VAE`, or any program that `log_evidence` takes.
        particles: K; by default 100, or 16 chains for AIS.
        method: how log p(x) is estimated, see `log_evidence`.
        seed: seed of the samples.
        compile: see `log_evidence`.
        rows: the number of rows that are expected, which decides whether compiling pays.

    Raises:
        InputError: for an option that cannot be used.
    """

    def __init__(
        self,
        vae: Any,  # noqa: ANN401
        *,
        particles: int | None = None,
        method: str | Method = "importance",
        seed: int = 0,
        compile: Compile = "auto",
        rows: int = 0,
    ) -> None:
        self.vae, self.method, self.seed = vae, as_method(method), whole("seed", seed, 0)
        usual = self.method.particles if self.method.annealed else 100
        self.particles = count_of("particles", usual if particles is None else particles)
        self.compile, self.rows = compile, rows
        check_option(compile)
        if compile is True and not self.method.compilable:
            raise InputError(
                f"{option('compile', True)} is for 'importance' and 'psis', not for {self.method.name}: use "
                f"{option('compile', 'auto')}, which compiles what saves time"
            )
        self._is_prepared = False
        self._evaluator: Evaluator | None = None
        self._draws: Draws | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What the scores of a row depend on, next to the weights, in plain values."""
        return {"method": self.method.to_dict(), "particles": self.particles, "seed": self.seed}

    def meaning(self, quantity: str) -> str:
        """A quantity in words, which say whether variables that rows share are averaged over."""
        return meaning_of(quantity, None if self._draws is None else self._draws.given)

    def piece_rows(self, numbers: int) -> int:
        """The number of rows of one piece, for rows of this number of elements."""
        pairs = PAIRS_OF_CHAINS if self.method.annealed else PAIRS
        most = min(MOST_ROWS, MOST_NUMBERS // max(1, numbers))
        return max(PILOT_ROWS if self.method.annealed else 1, min(most, pairs // self.particles))

    def prepare(self, method: Method) -> None:
        """Use a method whose open options are chosen."""
        self.method, self._is_prepared = method, True

    def __call__(self, rows: Rows, first: int = 0) -> np.ndarray:
        """log_px, mc_stderr, ess and khat of rows, (4, N); in all processes.

        A row without any probability under the samples has log p(x) = -inf.

        Arguments:
            rows: rows of the model.
            first: the number of the first row in messages.

        Raises:
            InputError: for rows that the model cannot score.
        """
        try:
            with checked(self.vae, rows, seed=self.seed, chunk=None) as free, self._held(free) as every:
                codes = None if self.compile is False else every.codes
                return self._summaries(replace(every, keys=_keys(every.rows), codes=codes))
        except InputError as error:
            if not first:
                raise
            shift = lambda match: f"row {int(match[1]) + first}"  # noqa: E731
            raise InputError(re.sub(r"\brow (\d+)\b", shift, str(error))) from None

    @contextmanager
    def _held(self, free: Pieces) -> Iterator[Pieces]:
        """Rows with the shared variables held, in the same tensors for all pieces."""
        if self._draws is None:
            with over_draws(free) as (every, self._draws):
                yield every
            return
        with free.at(self._draws.slots) as every:
            yield every

    def _summaries(self, every: Pieces) -> np.ndarray:
        assert self._draws is not None
        if not self._is_prepared:
            self.prepare(self.method.prepared(every.take(slice(0, PILOT_ROWS)), self.particles))
        own = own_rows(len(every))
        pieces = every.take(own.numpy()) if is_shared() else every
        if self.method.compilable and self.compile is not False and len(own):
            pieces = replace(pieces, evaluate=self._evaluate(pieces))
        each = gathered(lambda: self._own(pieces), len(every)).unflatten(0, (-1, 4)).numpy()
        combined = self._draws.combined(each)
        return np.stack([combined[name] for name in COLUMNS])

    def _own(self, pieces: Pieces) -> Tensor:
        """The summaries of this process's rows at each sample of shared variables, (S * 4, N)."""
        assert self._draws is not None
        return torch.cat([self._at(some) for some in self._draws.of(pieces)])

    def _at(self, pieces: Pieces) -> Tensor:
        done = [torch.empty(4, 0, dtype=torch.float64)]
        if len(pieces):
            parts = pieces.parts(self.particles)
            done += [self.method.summary(some, self.particles)[:4].cpu() for some in parts]
        summary = torch.cat(done, 1)
        if bool(summary[0].isnan().any()):
            row = int(summary[0].isnan().nonzero()[0])
            raise InputError(f"log p(x) of row {row} is not a number: is it in the support of p(x|z)?")
        summary[1:, summary[0] == -torch.inf] = torch.nan
        return summary

    def _evaluate(self, pieces: Pieces) -> Evaluator:
        """The evaluator of all pieces, which is made for the first."""
        if self._evaluator is None:
            shape, count = pieces.shapes(self.particles).most_common(1)[0]
            draws = 1 if self._draws is None else len(self._draws)
            expected = draws * max(count, int(count * self.rows / len(pieces)))
            self._evaluator = Evaluator(self.compile, Counter({shape: expected}))
        return self._evaluator


def _keys(rows: Rows) -> np.ndarray:
    """A key for each row that depends on its values only; equal rows have the same key.

    It is the key of `log_evidence`, except for rows that occur more than once.
    """
    parts = [part.detach().cpu() for part in (rows.x, rows.context, rows.y) if part is not None]
    tables = [_bytes(part.float() if part.is_floating_point() else part) for part in parts]
    table = np.ascontiguousarray(np.concatenate(tables, 1))
    _, places, numbers = np.unique(
        table.view(np.dtype((np.void, table.shape[1])))[:, 0], return_index=True, return_inverse=True
    )
    few = rows[torch.from_numpy(places)]
    return data_keys(replace(few, x=few.x.float()))[numbers.reshape(-1)]


def _bytes(part: Tensor) -> np.ndarray:
    array = np.ascontiguousarray(part.reshape(len(part), -1).numpy())
    return array.view(np.uint8).reshape(len(part), -1)
