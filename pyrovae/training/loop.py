r"""Steps and epochs of stochastic variational inference.

One step draws particles from the guide, reads the terms of the objective, and moves the parameters along
the gradient. The same terms give the numbers that are shown, so what is reported is what was trained:

    train, validation   the objective's bound on log p(x)
    reconstruction      E_q[log p(x|z)]
    kl                  E_q[log q(z|x) - log p(z)]        all means, in nats per datum
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyro
import torch
from torch import Tensor

from pyrovae.errors import NumericalError
from pyrovae.objectives import Objective
from pyrovae.terms import Program, Terms
from pyrovae.training.batches import Batch, batches
from pyrovae.training.progress import Progress
from pyrovae.training.schedules import LRSchedule, kl_weight, lr_factor
from pyrovae.training.state import State

if TYPE_CHECKING:
    from pyrovae.datasets import Data

__all__ = ["Loop", "Settings"]

VALIDATION_ROWS = 1024
VALIDATION_SEED = 20140416
COLUMNS = ("epoch", "train", "validation", "reconstruction", "kl", "lr", "seconds", "data_per_second")


@dataclass(frozen=True)
class Settings:
    """What decides a run beside the program, the data and the objective."""

    optimizer: str
    lr: float
    epochs: int
    batch_size: int
    seed: int
    lr_schedule: LRSchedule
    kl_warmup: float
    clip: float | None
    patience: int | None
    checkpoint_seconds: float


@dataclass
class Loop:
    """A run in progress.

    Attributes:
        save: called with this loop where a checkpoint is due; True means at once.
        stop: says whether somebody asked the run to stop; looked at after each step.
    """

    program: Program
    data: Data
    objective: Objective
    settings: Settings
    trained: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    state: State
    save: Callable[[Loop, bool], None]
    stop: Callable[[], bool]

    def run(self, progress: Progress) -> None:
        """Train until the last epoch, until patience is out, or until somebody stops it."""
        with pyro.validation_enabled(False):
            while not self._over() and not self.stop():
                self._epoch(progress)
        if self._over():
            self.state.finished = True
            self.save(self, True)

    def _over(self) -> bool:
        position, patience = self.state.position, self.settings.patience
        tired = patience is not None and position.epoch - self.state.best_epoch >= patience
        return self.state.finished or position.epoch >= self.settings.epochs or (tired and not position.batch)

    # ---------------------------------------------------------------- epochs

    def _epoch(self, progress: Progress) -> None:
        position, settings = self.state.position, self.settings
        began, first = time.perf_counter(), position.batch
        self._batch_count = math.ceil(len(self.data.train) / settings.batch_size)  # type: ignore[arg-type]
        for x, context in batches(
            self.data, epoch=position.epoch, seed=settings.seed, batch_size=settings.batch_size, start=first
        ):
            self._step(x, context)
            position.batch += 1
            position.step += 1
            progress.step(position.step)
            if position.batch < self._batch_count:
                self.save(self, False)
                if self.stop():
                    return
        self._end_epoch(progress, time.perf_counter() - began, self._batch_count - first)

    def _end_epoch(self, progress: Progress, seconds: float, steps: int) -> None:
        position = self.state.position
        train, reconstruction, kl, count = self.state.sums.tolist()
        validation = self.validate()
        position.epoch, position.batch = position.epoch + 1, 0
        numbers = (train / count, validation, reconstruction / count, kl / count, self._lr())
        seen = min(steps * self.settings.batch_size, count)
        row = dict(zip(COLUMNS, (position.epoch, *numbers, seconds, seen / seconds), strict=True))
        self._check_finite(row)
        for name, value in row.items():
            self.state.history.setdefault(name, []).append(value)
        self.state.sums = torch.zeros_like(self.state.sums)
        if validation > self.state.best_validation:
            self.state.best_validation, self.state.best_epoch = validation, position.epoch
        self.save(self, position.epoch == self.state.best_epoch)
        progress.epoch(row)

    @torch.no_grad()
    def validate(self) -> float:
        """The mean bound on the validation set, with the same noise at every epoch, in nats per datum."""
        x, context = self.data.validation, self.data.context
        total = 0.0
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            torch.manual_seed(VALIDATION_SEED)
            for start in range(0, len(x), VALIDATION_ROWS):
                rows = slice(start, start + VALIDATION_ROWS)
                terms = self._terms(x[rows], None if context is None else context.validation[rows])
                total += self.objective.bound(terms).sum(dtype=torch.float64).item()
        return total / len(x)

    # ---------------------------------------------------------------- steps

    def _step(self, x: Tensor, context: Tensor | None) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr()
        random = torch.get_rng_state()
        terms = self._terms(x, context)
        weight = kl_weight(self.settings.kl_warmup, self.state.position.step / self._batch_count)
        ascended = self.objective.maximised(terms) if weight == 1 else self.objective.annealed(terms, weight)
        loss = -ascended.mean()
        # Reading the loss waits for a GPU; there the sums of the epoch are looked at instead.
        if not x.is_cuda and not math.isfinite(loss.item()):
            self._explain((x, context), random)
        loss.backward()
        if self.settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(list(self.trained.values()), self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.sums = self.state.sums.to(x.device) + _sums(self.objective, terms)

    def _terms(self, x: Tensor, context: Tensor | None) -> Terms:
        return self.program.terms(x, context, particles=self.objective.particles)

    def _lr(self) -> float:
        total = self.settings.epochs * self._batch_count
        return self.settings.lr * lr_factor(self.settings.lr_schedule, self.state.position.step / total)

    # ---------------------------------------------------------------- numbers that are none

    def _check_finite(self, row: dict[str, float]) -> None:
        bad = [name for name, value in row.items() if not math.isfinite(value)]
        if bad:
            raise NumericalError(
                f"{bad[0]} became {row[bad[0]]} in epoch {self.state.position.epoch}: lower lr, set "
                "clip=, or look at the data"
            )

    def _explain(self, batch: Batch, random: Tensor) -> None:
        position = self.state.position
        torch.set_rng_state(random)
        with torch.no_grad():
            found = self.program.run(*batch, particles=self.objective.particles).site_log_probs()
        sites = [name for name in sorted(found, reverse=True) if not torch.isfinite(found[name]).all()]
        site = sites[0] if sites else "their sum"
        raise NumericalError(
            f"the loss is no finite number at step {position.step + 1} (epoch {position.epoch + 1}, batch "
            f"{position.batch + 1}): the term is log {site}; lower lr, set clip=, or look at the data"
        )


@torch.no_grad()
def _sums(objective: Objective, terms: Terms) -> Tensor:
    kl = (terms.log_qz - terms.log_pz).mean(0)
    rows = torch.stack([objective.bound(terms), terms.log_px.mean(0), kl, torch.ones_like(kl)])
    return rows.sum(1, dtype=torch.float64)
