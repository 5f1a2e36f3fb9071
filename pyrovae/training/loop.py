r"""Steps and epochs of stochastic variational inference.

One step draws particles from the guide, reads the terms of the objective, and moves the parameters along
the gradient. The same terms give the numbers that are shown, so what is reported is what was trained:

    train, validation   the objective's bound on log p(x)
    reconstruction      E_q[log p(x|z)]
    kl                  E_q[log q(z|x) - log p(z)]        all means, in nats per datum

Validation goes over pieces of the data; the noise of a piece depends on its number alone, so that several
processes, which share them out, find what one would.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

from pyrovae import sharing
from pyrovae.errors import InputError, NumericalError
from pyrovae.networks import products_in
from pyrovae.numerics import keep_freed_memory
from pyrovae.training.batches import Rows, order, rows_of
from pyrovae.training.job import ADVICE, Job
from pyrovae.training.progress import Progress
from pyrovae.training.steps import Steps
from pyrovae.vae import VAE

__all__ = ["Loop"]

VALIDATION_ROWS = 1024
SOME = 10_000
VALIDATION_SEED = 20140416
COLUMNS = ("epoch", "train", "validation", "reconstruction", "kl", "lr", "seconds", "data_per_second")


@dataclass
class Loop(Job):
    """A run in progress.

    Attributes:
        save: called with this loop where a checkpoint is due; True means at once.
        stop: says whether somebody asked the run to stop, in all processes at the same step; looked at
            after each step.
        steps: takes the steps, once the run goes on.
    """

    save: Callable[[Loop, bool], None] = lambda loop, now: None  # noqa: E731
    stop: Callable[[], bool] = lambda: False  # noqa: E731
    steps: Steps | None = None

    def run(self, progress: Progress) -> None:
        """Train until the last epoch, until patience is out, or until somebody stops it."""
        first = self.state.position.step
        keep_freed_memory()
        self.state.sums = self.state.sums.to(self.data.validation.device)
        self.steps = self.steps or Steps(self, progress.say)
        precision = products_in(self.settings.precision, self.data.validation.device)
        with pyro.validation_enabled(False), _mode(self.program.module, training=True), precision:
            try:
                while not self.over() and not self.stop():
                    self._epoch(progress)
            finally:
                self.settle()
        if self.over() and self.state.position.step > first:
            self.save(self, True)

    def settle(self) -> None:
        """Leave weights and optimiser as all but the steps themselves need them."""
        if self.steps is not None:
            self.steps.settle()

    def over(self) -> bool:
        """Whether the last epoch is done or patience is out."""
        position, patience, target = self.state.position, self.settings.patience, self.program.target
        waits = target.prior.waits_for if isinstance(target, VAE) else 0
        since = max(self.state.best_epoch, waits)  # bounds of a prior that waits are of another program
        tired = patience is not None and position.epoch - since >= patience
        return position.epoch >= self.settings.epochs or (tired and not position.batch)

    # ---------------------------------------------------------------- epochs

    def _epoch(self, progress: Progress) -> None:
        self._begin_epoch(progress)
        position, began, first = self.state.position, time.perf_counter(), self.state.position.batch
        for rows, number in rows_of(self.data, position, self.settings):
            self._step(rows, number)
            position.batch += 1
            position.step += 1
            progress.step(position.step)
            if position.batch < self.batch_count:
                self.save(self, False)
                if self.stop():
                    return
        self._end_epoch(progress, time.perf_counter() - began, self.batch_count - first)

    def _begin_epoch(self, progress: Progress) -> None:
        """Let objective and prior know; a prior may start or lose components now."""
        position, target = self.state.position, self.program.target
        self.objective.begin_epoch(position.epoch)
        if position.batch or not isinstance(target, VAE):
            return
        with _mode(self.program.module, training=False):
            changed = target.begin_epoch(position.epoch, self._some)
        if not sharing.add_up(torch.tensor(float(changed), device=self.data.validation.device)):
            return
        if sharing.is_shared():  # clusters are found by sums whose order may differ
            law = {name: w.cpu() for name, w in target.prior.state_dict().items()}
            target.prior.load_state_dict(sharing.agreed(law))
        self.state.best_validation = -math.inf  # of another program
        progress.tell(f"epoch {position.epoch + 1}: the encodings changed the prior, {target.prior!r}")

    def _some(self) -> tuple[Tensor, Tensor | None]:
        """Some training data in an order of the seed's, of a stream validation data, and their context."""
        data, context = self.data, self.data.context
        if data.streams and self.program.target.prior.labels:
            raise InputError(
                f"the prior {self.program.target.prior!r} needs encodings with their labels, and the data "
                "stream: use start='random' or 'spread', or data held in memory"
            )
        if data.streams:
            return data.validation[:SOME], None if context is None else context.validation[:SOME]
        rows = order(data.distinct, self.settings.seed, 0).to(data.validation.device)
        if context is not None and self.program.target.prior.labels:  # those with a label first
            rows = rows[context.train[rows].sum(-1).argsort(descending=True, stable=True)]
        rows = rows[:SOME]
        x = data.train[rows].to(self.precise)  # grey, where an epoch is binarised: encoded without that noise
        return x, None if context is None else context.train[rows]

    def _step(self, rows: Rows, number: int) -> None:
        assert self.steps is not None
        self.steps.take(rows, number)

    def _end_epoch(self, progress: Progress, seconds: float, steps: int) -> None:
        self.settle()
        position = self.state.position
        train, reconstruction, kl, count = self.state.sums.tolist()
        validation = self.validate()
        numbers = (train / count, validation, reconstruction / count, kl / count, self.lr(position.step - 1))
        seen = min(steps * self.settings.batch_size, count)
        row = dict(zip(COLUMNS, (position.epoch + 1, *numbers, seconds, seen / seconds), strict=True))
        self._check_finite(row)
        position.epoch, position.batch = position.epoch + 1, 0
        for name, value in row.items():
            self.state.history.setdefault(name, []).append(value)
        self.state.sums.zero_()
        if validation > self.state.best_validation:
            self.state.best_validation, self.state.best_epoch = validation, position.epoch
        self.save(self, position.epoch == self.state.best_epoch)
        progress.epoch(row)

    @torch.no_grad()
    def validate(self) -> float:
        """The mean bound on the validation set, with the same noise at every epoch, in nats per datum."""
        x, module = self.data.validation, self.program.module
        starts = range(0, len(x), VALIDATION_ROWS)
        totals = torch.zeros(len(starts), dtype=torch.float64)
        cuda = [x.device] if x.is_cuda else []
        with (
            torch.random.fork_rng(devices=cuda),
            _mode(module, training=False),
            products_in("float32", x.device),
        ):
            for piece in sharing.own_rows(len(starts)).tolist():
                totals[piece] = self._validated(piece, slice(starts[piece], starts[piece] + VALIDATION_ROWS))
        return sum(sharing.add_up(totals.to(x.device)).tolist()) / len(x)

    def _validated(self, piece: int, rows: slice) -> float:
        torch.manual_seed(VALIDATION_SEED + piece)
        context = None if self.data.context is None else self.data.context.validation[rows]
        if isinstance(target := self.program.target, VAE) and target.prior.labels:
            context = None  # log p(x), not log p(x, y)
        terms = self.pair(self.data.validation[rows], context).terms()
        return self.objective.bound(terms).sum(dtype=torch.float64).item()

    def _check_finite(self, row: dict[str, float]) -> None:
        bad = [name for name, value in row.items() if not math.isfinite(value)]
        if bad:
            where = f"{bad[0]} became {row[bad[0]]} at the end of epoch {int(row['epoch'])}"
            raise NumericalError(f"{where}{self.spoilt()}; {ADVICE}")


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
