"""A run: what is trained on what, and where it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyrovae.errors import NumericalError
from pyrovae.objectives import Objective
from pyrovae.terms import Program, TracePair
from pyrovae.training.batches import Batch
from pyrovae.training.checks import drawn_for
from pyrovae.training.exchange import Exchange
from pyrovae.training.schedules import lr_factor
from pyrovae.training.settings import Settings
from pyrovae.training.state import State

if TYPE_CHECKING:
    from pyrovae.datasets import Data

__all__ = ["ADVICE", "Job"]

ADVICE = "lower lr, set clip=, or look at the data"


@dataclass
class Job:
    """What a step needs to know of its run.

    Attributes:
        trained: the tensors that are learned, by name.
        optimizer: torch's, which holds the moments.
        state: where the run is, and what it has seen.
        exchange: with the other processes of the run, where there are any.
    """

    program: Program
    data: Data
    objective: Objective
    settings: Settings
    trained: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    state: State
    exchange: Exchange | None = None

    @cached_property
    def batch_count(self) -> int:
        """The number of batches in an epoch; the last one may be smaller."""
        return math.ceil(len(self.data.train) / self.settings.batch_size)  # type: ignore[arg-type]

    @property
    def precise(self) -> torch.dtype:
        """The floating point type of the densities."""
        return self.data.validation.dtype

    def pair(self, x: Tensor, context: Tensor | None) -> TracePair:
        """Guide and model on a batch, drawn as the objective wants."""
        return drawn_for(self.objective, self.program, x, context)

    def lr(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        total = self.settings.epochs * self.batch_count
        return self.settings.lr * lr_factor(self.settings.lr_schedule, step / total)

    def announced(self, work: Callable[[], None]) -> None:
        """Do what one process may fail at; in the end all fail with it."""
        (work() if self.exchange is None else self.exchange.announced(work))

    def explain(self, batch: Batch, random: Tensor) -> None:
        """Run the failed step once more, with the same draws, and name the first site that is at fault."""
        position = self.state.position
        torch.set_rng_state(random)
        with torch.no_grad():
            pair = self.pair(*batch)
            found = pair.site_log_probs()
        bad = sorted((n for n in found if not torch.isfinite(found[n]).all()), reverse=True)  # q before p
        raise NumericalError(
            f"the loss is no finite number at step {position.step + 1} (epoch {position.epoch + 1}, batch "
            f"{position.batch + 1}): {_term(pair, bad)}{self.spoilt()}; {ADVICE}"
        )

    def spoilt(self) -> str:
        """What to add when a parameter is no finite number any more."""
        names = [name for name, p in self.trained.items() if not torch.isfinite(p).all()]
        if not names:
            return ""
        return f" (after step {self.state.position.step}, whose gradient left {names[0]} not finite)"


def _term(pair: TracePair, bad: list[str]) -> str:
    if not bad:
        return "every term is finite and their sum is not"
    site = bad[0][2:-1]
    if bad[0][0] == "q":
        return f"log q(z|x) is not, at the site {site!r} of the guide"
    term = "log p(x|z)" if pair.model.nodes[site]["is_observed"] else "log p(z)"
    return f"{term} is not, at the site {site!r} of the model"
