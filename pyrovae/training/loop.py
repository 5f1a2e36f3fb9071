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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, get_args

import pyro
import torch
from torch import Tensor

from pyrovae.errors import InputError, NumericalError
from pyrovae.objectives import Objective
from pyrovae.terms import Program, Terms, TracePair
from pyrovae.training.batches import Batch, batches
from pyrovae.training.progress import Progress
from pyrovae.training.schedules import LRSchedule, kl_weight, lr_factor
from pyrovae.training.state import State
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from pyrovae.datasets import Data

__all__ = ["Loop", "Settings"]

VALIDATION_ROWS = 1024
VALIDATION_SEED = 20140416
ADVICE = "lower lr, set clip=, or look at the data"
COLUMNS = ("epoch", "train", "validation", "reconstruction", "kl", "lr", "seconds", "data_per_second")


@dataclass(frozen=True)
class Settings:
    """What decides a run beside the program, the data and the objective; numpy numbers become plain ones.

    Raises:
        InputError: for a setting that makes no sense.
    """

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

    def __post_init__(self) -> None:
        plain = {
            "lr": _number("lr", self.lr, above=0.0),
            "epochs": _whole("epochs", self.epochs, 1),
            "batch_size": _whole("batch_size", self.batch_size, 1),
            "seed": _whole("seed", self.seed, 0),
            "kl_warmup": _number("kl_warmup", self.kl_warmup),
            "clip": None if self.clip is None else _number("clip", self.clip, above=0.0),
            "patience": None if self.patience is None else _whole("patience", self.patience, 1),
            "checkpoint_seconds": _number("checkpoint_seconds", self.checkpoint_seconds),
        }
        if self.lr_schedule not in get_args(LRSchedule):
            known = ", ".join(get_args(LRSchedule))
            raise InputError(f"unknown lr_schedule {self.lr_schedule!r}: choose one of {known}")
        for name, value in plain.items():
            object.__setattr__(self, name, value)


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
    save: Callable[[Loop, bool], None] = lambda loop, now: None  # noqa: E731
    stop: Callable[[], bool] = lambda: False  # noqa: E731

    @property
    def batch_count(self) -> int:
        """The number of batches in an epoch; the last one may be smaller."""
        return math.ceil(len(self.data.train) / self.settings.batch_size)  # type: ignore[arg-type]

    def run(self, progress: Progress) -> None:
        """Train until the last epoch, until patience is out, or until somebody stops it."""
        first = self.state.position.step
        with pyro.validation_enabled(False), _mode(self.program.module, training=True):
            while not self.over() and not self.stop():
                self._epoch(progress)
        if self.over() and self.state.position.step > first:
            self.save(self, True)

    def over(self) -> bool:
        """Whether the last epoch is done or patience is out."""
        position, patience = self.state.position, self.settings.patience
        tired = patience is not None and position.epoch - self.state.best_epoch >= patience
        return position.epoch >= self.settings.epochs or (tired and not position.batch)

    # ---------------------------------------------------------------- epochs

    def _epoch(self, progress: Progress) -> None:
        position, settings = self.state.position, self.settings
        began, first = time.perf_counter(), position.batch
        for x, context in batches(
            self.data, epoch=position.epoch, seed=settings.seed, batch_size=settings.batch_size, start=first
        ):
            if self.data.streams and position.epoch == 0 and isinstance(self.program.target, VAE):
                self.program.target.likelihood.check(x, f"batch {position.batch + 1} of the training data")
            self._step(x, context)
            position.batch += 1
            position.step += 1
            progress.step(position.step)
            if position.batch < self.batch_count:
                self.save(self, False)
                if self.stop():
                    return
        self._end_epoch(progress, time.perf_counter() - began, self.batch_count - first)

    def _end_epoch(self, progress: Progress, seconds: float, steps: int) -> None:
        position = self.state.position
        train, reconstruction, kl, count = self.state.sums.tolist()
        validation = self.validate()
        numbers = (train / count, validation, reconstruction / count, kl / count, self._lr(position.step - 1))
        seen = min(steps * self.settings.batch_size, count)
        row = dict(zip(COLUMNS, (position.epoch + 1, *numbers, seconds, seen / seconds), strict=True))
        self._check_finite(row)
        position.epoch, position.batch = position.epoch + 1, 0
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
        x, context, module = self.data.validation, self.data.context, self.program.module
        total = 0.0
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []), _mode(module, training=False):
            torch.manual_seed(VALIDATION_SEED)
            for start in range(0, len(x), VALIDATION_ROWS):
                rows = slice(start, start + VALIDATION_ROWS)
                terms = self._terms(x[rows], None if context is None else context.validation[rows])
                total += self.objective.bound(terms).sum(dtype=torch.float64).item()
        return total / len(x)

    # ---------------------------------------------------------------- steps

    def _step(self, x: Tensor, context: Tensor | None) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(self.state.position.step)
        random = torch.get_rng_state()
        terms = self._terms(x, context)
        weight = kl_weight(self.settings.kl_warmup, self.state.position.step / self.batch_count)
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

    def _lr(self, step: int) -> float:
        total = self.settings.epochs * self.batch_count
        return self.settings.lr * lr_factor(self.settings.lr_schedule, step / total)

    # ---------------------------------------------------------------- numbers that are none

    def _check_finite(self, row: dict[str, float]) -> None:
        bad = [name for name, value in row.items() if not math.isfinite(value)]
        if bad:
            where = f"{bad[0]} became {row[bad[0]]} at the end of epoch {int(row['epoch'])}"
            raise NumericalError(f"{where}{self._spoilt()}; {ADVICE}")

    def _explain(self, batch: Batch, random: Tensor) -> None:
        """Run the failed step once more, with the same draws, and name the first site that is at fault."""
        position = self.state.position
        torch.set_rng_state(random)
        with torch.no_grad():
            pair = self.program.run(*batch, particles=self.objective.particles)
            found = pair.site_log_probs()
        bad = sorted((n for n in found if not torch.isfinite(found[n]).all()), reverse=True)  # q before p
        raise NumericalError(
            f"the loss is no finite number at step {position.step + 1} (epoch {position.epoch + 1}, batch "
            f"{position.batch + 1}): {_term(pair, bad)}{self._spoilt()}; {ADVICE}"
        )

    def _spoilt(self) -> str:
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


@contextmanager
def _mode(module: torch.nn.Module | None, *, training: bool) -> Iterator[None]:
    """Training or evaluation mode, and what it was before afterwards."""
    before = {} if module is None else {m: m.training for m in module.modules()}
    try:
        if module is not None:
            module.train(training)
        yield
    finally:
        for m, mode in before.items():
            m.training = mode


@torch.no_grad()
def _sums(objective: Objective, terms: Terms) -> Tensor:
    kl = (terms.log_qz - terms.log_pz).mean(0)
    rows = torch.stack([objective.bound(terms), terms.log_px.mean(0), kl, torch.ones_like(kl)])
    return rows.sum(1, dtype=torch.float64)


def _whole(name: str, value: Any, least: int) -> int:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) < 2**63:
        raise InputError(f"{name} must be a whole number of {least} or more, not {value!r}")
    return int(value)


def _number(name: str, value: Any, *, above: float | None = None) -> float:  # noqa: ANN401
    good = isinstance(value, Real) and not isinstance(value, bool) and value < float("inf")
    if not good or not (value >= 0 if above is None else value > above):
        least = "0 or more" if above is None else f"above {above:g}"
        raise InputError(f"{name} must be a finite number, {least}, not {value!r}")
    return float(value)
