"""A run: program, data, settings and state, and the gradient of a batch in one process."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae.errors import NumericalError
from pyrovae.objectives import Objective
from pyrovae.terms import Runner, TracePair
from pyrovae.training.optimizers import OPTIMIZERS, Optimizer
from pyrovae.training.schedules import kl_weight, lr_factor
from pyrovae.training.settings import Settings
from pyrovae.training.state import State

if TYPE_CHECKING:
    from pyrovae.datasets import Data, Rows
    from pyrovae.training.batches import Epoch

__all__ = ["ADVICE", "Alone", "Job", "Weights"]

# The weights of the KL divergence of the rows and of that of the global sites; None is 1.
Weights = tuple[Tensor | float | None, Tensor | float | None]
ADVICE = "lower lr, set clip=, or check the data"


@dataclass(eq=False)
class Job:
    """A run.

    Attributes:
        trained: the tensors that are learned, by name.
        optimizer: torch's optimiser, which has the moments.
        state: the position and the history of the run.
        exchange: the exchange with other processes, if any.
        is_ended: whether a callback ended the run.
    """

    runner: Runner
    data: Data
    objective: Objective
    settings: Settings
    trained: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    state: State
    exchange: Alone
    is_ended: bool = False

    @cached_property
    def batch_count(self) -> int:
        """The number of batches in an epoch; the last one may be smaller."""
        return math.ceil(len(self.data.train) / self.settings.batch_size)

    @property
    def precise(self) -> torch.dtype:
        """The floating point type of the densities."""
        return next(iter(self.trained.values())).dtype

    @property
    def update(self) -> type[Optimizer]:
        """The arithmetic of the optimiser."""
        return OPTIMIZERS[self.settings.optimizer]

    @property
    def draws(self) -> dict[str, Any]:
        """The arguments of `Runner.run` that the objective needs."""
        return self.objective.draw_options(self.runner.strata)

    def loss(self, rows: Rows, weights: Weights, count: int | None = None) -> tuple[Tensor, Tensor]:
        """The loss, a mean over the batch, and the sums that an epoch reports.

        Arguments:
            rows: the batch.
            weights: the weights of the KL divergence of the rows and of that of the global sites;
                None is 1.
            count: the divisor of the sum over the batch, if other processes have some of its rows.
        """
        objective = self.objective
        pair = self.runner.run(rows, **self.draws)
        weight, of_globals = (_plain(w) for w in weights)
        ascended = objective.ascended(pair, weight)
        share = objective.global_share(pair, self.data.distinct, self._divergence(pair))
        if share is not None:
            ascended = ascended + (share if of_globals is None else of_globals * share)
        loss = -(ascended.mean() if count is None else ascended.sum() / count)
        with torch.no_grad():
            terms = pair.terms()
            kl = terms.mean(terms.log_qz - terms.log_pz)
            columns = [objective.bound(terms), terms.mean(terms.log_px_z), kl, torch.ones_like(kl)]
            sums = torch.stack(columns).sum(1, dtype=torch.float64)
        return loss, sums

    def _divergence(self, pair: TracePair) -> Tensor | None:
        """KL(q(w) || p(w)) from formulas, where these are of all sites that were drawn; else None.

        Draws know less: many weights of a Dirichlet distribution are 0 in floating point.
        """
        program = self.runner.program
        if pair.global_guide is None or set(self.runner.global_sites) != set(program.central_globals() or ()):
            return None
        return program.global_divergence()

    def lr(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        total = self.settings.epochs * self.batch_count
        return self.settings.lr * lr_factor(self.settings.lr_schedule, step / total)

    def kl_weight(self, step: int) -> float:
        """The weight of the KL divergence in a step."""
        return kl_weight(self.settings.kl_warmup, step / self.batch_count, self.settings.kl_schedule)

    def global_weight(self, step: int) -> float:
        """The weight of the divergence of global sites in a step."""
        return kl_weight(self.settings.global_warmup, step / self.batch_count)

    def weights(self, step: int) -> Weights:
        """The weights of both divergences in a step; None without a warm-up."""
        rows, of_all = self.settings.kl_warmup, self.settings.global_warmup
        return self.kl_weight(step) if rows else None, self.global_weight(step) if of_all else None

    @property
    def keeps_objective(self) -> bool:
        """Whether the objective chooses the weights, and is not measured by its bound."""
        return self.settings.keep == "objective" and not self.objective.chosen_by_bound

    @property
    def is_over(self) -> bool:
        """Whether the last epoch is done, patience has run out, or a callback ended the run."""
        position, settings = self.state.position, self.settings
        # Earlier values belong to a different program.
        start = max(self.state.best_epoch, self.runner.program.waits_for)
        is_impatient = settings.patience is not None and position.epoch - start >= settings.patience
        is_done = self.is_ended or position.epoch >= settings.epochs
        return is_done or (is_impatient and not position.batch)

    def explain(self, rows: Rows, random: Tensor) -> None:
        """Repeat the failed step with the same random numbers and find the first faulty site.

        Raises:
            NumericalError: with its name.
        """
        position = self.state.position
        torch.set_rng_state(random)
        with torch.no_grad():
            pair = self.runner.run(rows, **self.draws)
            logs = pair.site_log_probs()
        bad = sorted((n for n in logs if not torch.isfinite(logs[n]).all()), reverse=True)  # q before p
        raise NumericalError(
            f"the loss is not finite at step {position.step + 1} (epoch {position.epoch + 1}, batch "
            f"{position.batch + 1}): {_term(pair, bad)}{self.bad_parameter()}; {ADVICE}"
        )

    def bad_parameter(self) -> str:
        """The end of a message when a parameter is no longer finite."""
        names = [name for name, p in self.trained.items() if not torch.isfinite(p).all()]
        if not names:
            return ""
        return f" (after step {self.state.position.step}, whose gradient left {names[0]} not finite)"


def _plain(weight: Tensor | float | None) -> Tensor | float | None:
    """A weight, or None if it is 1."""
    return None if not isinstance(weight, Tensor) and weight == 1 else weight


def _term(pair: TracePair, bad: list[str]) -> str:
    if not bad and pair.log_global is not None and not torch.isfinite(pair.log_global).all():
        return "log p(w) - log q(w) of the variables that all rows share is not"
    if not bad:
        return "every term is finite and their sum is not"
    site = bad[0][2:-1]
    if bad[0][0] == "q":
        return f"log q(z|x) is not, at the site {site!r} of the guide"
    term = "log p(x|z)" if pair.model.nodes[site]["is_observed"] else "log p(z)"
    return f"{term} is not, at the site {site!r} of the model"


class Alone:
    """The exchange of a single process.

    Arguments:
        asked: returns whether this process was asked to stop.
    """

    is_shared = False

    def __init__(self, asked: Callable[[], bool] = lambda: False) -> None:
        self.asked = asked

    @property
    def stopped(self) -> bool:
        """Whether the run was asked to stop."""
        return self.asked()

    def differentiate(self, job: Job, epoch: Epoch, number: int, weights: Weights) -> Tensor:
        """Set the parameters' gradients for batch `number`; returns the sums of the batch.

        Raises:
            NumericalError: when the loss is not finite.
        """
        rows, random = epoch.batch(number), torch.get_rng_state()
        loss, sums = job.loss(rows, weights)
        # Reading the loss would wait for the GPU, where the sums of the epoch are checked instead.
        if not loss.is_cuda and not math.isfinite(loss.item()):
            job.explain(rows, random)
        loss.backward()
        return sums

    def announced(self, work: Callable[[], None]) -> None:
        """Do work that may fail in this process only."""
        work()

    def finish(self) -> None:
        """End the run in all processes."""
