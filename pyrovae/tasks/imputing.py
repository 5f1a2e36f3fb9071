r"""Imputations of the missing entries of rows of a table.

    single      the most probable word, the rounded mean of counts, the mean of other numbers
    multiple    samples of p(missing | known entries)
    doubt       mean over the missing entries of a row:
                    numbers             sd given the known entries / sd under the model
                    words and 0 or 1    1 - probability of the imputed word

A doubt of 1 says that the known entries of the row tell nothing about a number; 0 that they
determine it. Rows without missing entries are not computed. The imputations of a row depend on the
seed, its values and its number in the table, whatever the size of the pieces.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import count_of, whole
from pyrovae.datasets import Rows, Schema
from pyrovae.errors import InputError
from pyrovae.evidence.draws import data_keys
from pyrovae.evidence.methods import Method
from pyrovae.evidence.run import evaluation
from pyrovae.measurements import Missing
from pyrovae.tasks.conditioning import completed
from pyrovae.tasks.measured import Measured

__all__ = ["Imputed", "Imputer", "schema_of"]

FEWEST = 50  # samples from which the doubt is computed, if fewer are wanted
PARTICLES = 200
SCALE_ROWS = 2000


class Imputed(NamedTuple):
    """The imputations of the n rows with missing entries.

    Attributes:
        rows: their positions, (n,).
        mode: the single imputations, (n, C), float64.
        draws: the multiple imputations, (M, n, C).
        doubt: the doubt of each row, (n,).
        trusted: whether its samples can be trusted, (n,).
    """

    rows: np.ndarray
    mode: Tensor
    draws: Tensor
    doubt: np.ndarray
    trusted: np.ndarray


def schema_of(vae: Any, what: str = "impute") -> Schema:  # noqa: ANN401
    """The schema of a model of a table.

    Raises:
        InputError: for another model.
    """
    schema = getattr(vae, "schema", None)
    shape = tuple(getattr(vae, "event_shape", None) or ())
    if schema is None or schema.columns is None:
        cure = (
            "use complete (pv.condition) for images"
            if len(shape) == 3
            else "train on a table with named columns, or use pv.condition for arrays"
        )
        raise InputError(f"{what} fills the empty cells of tables, and the model has no columns: {cure}")
    return schema


class Imputer:
    """Imputes the missing entries of rows, a piece at a time.

    Arguments:
        vae: a VAE of a table.
        draws: M, the number of multiple imputations.
        particles: the number of weighted samples of each row; by default 200, or 5 M.
        method: how the posterior of z is found, see `condition`.
        seed: seed of the samples.

    Raises:
        InputError: for an option that cannot be used.
    """

    def __init__(
        self,
        vae: Any,  # noqa: ANN401
        *,
        draws: int = 0,
        particles: int | None = None,
        method: str | Method = "auto",
        seed: int = 0,
    ) -> None:
        self.vae, self.schema = vae, schema_of(vae)
        self.draws, self.method, self.seed = whole("draws", draws, 0), method, whole("seed", seed, 0)
        usual = max(PARTICLES, 5 * self.draws) if isinstance(method, str) and method == "auto" else None
        self.particles = usual if particles is None else count_of("particles", particles)
        kinds = [column.kind.partition(":")[0] for column in self.schema.columns or ()]
        self.are_words = torch.tensor([kind in ("categorical", "ordinal", "bernoulli") for kind in kinds])
        self._scale: Tensor | None = None

    def start(self, first: Rows) -> None:
        """Find the standard deviations of the columns under the model, for contexts of rows."""
        context = first.context
        count = SCALE_ROWS
        if context is not None:
            context = context[torch.arange(count) % len(first)]
        with torch.no_grad():
            x = self.vae.sample(count, context, seed=self.seed).double()
        self._scale = x.cpu().std(0)

    def __call__(self, rows: Rows, first: int = 0, empty: np.ndarray | None = None) -> Imputed:
        """Impute some rows.

        Arguments:
            rows: rows of the model.
            first: the number of the first of them in the table.
            empty: the entries to impute, (N, C); by default all missing ones.

        Raises:
            InputError: for rows that the model cannot read.
        """
        missing = rows.x.isnan() if empty is None else torch.from_numpy(empty)
        places = missing.any(1).nonzero().flatten()
        size = rows.x.shape[1]
        if not len(places):
            none = torch.empty(0, size, dtype=torch.float64)
            return Imputed(places.numpy(), none, none.expand(self.draws, 0, size), np.empty(0), np.empty(0))
        if self._scale is None:
            self.start(rows)
        completion = self._completed(rows[places], first + places)
        x, mode = completion.x.double(), completion.mode.double()
        doubt = self._doubt(x, mode, completion.sd.double(), missing[places])
        return Imputed(places.numpy(), mode, x[: self.draws], doubt.numpy(), completion.trusted)

    def _completed(self, rows: Rows, numbers: Tensor) -> Any:  # noqa: ANN401
        measured = Measured(self.vae, Missing(), tuple(self.schema.event_shape))
        count = self.draws if self.draws >= 20 else FEWEST
        with evaluation(measured, rows, seed=self.seed, chunk=None) as pieces:
            keys = data_keys(replace(rows, y=numbers))  # equal rows have different samples
            pieces = replace(pieces, keys=keys)
            return completed(measured, pieces, count, self.method, self.particles)

    def _doubt(self, x: Tensor, mode: Tensor, sd: Tensor, missing: Tensor) -> Tensor:
        assert self._scale is not None
        apart = sd / self._scale.clamp(min=1e-12)
        wrong = (x != mode).double().mean(0)
        cells = torch.where(self.are_words, wrong, apart)
        return torch.where(missing, cells, 0.0).sum(1) / missing.sum(1)
