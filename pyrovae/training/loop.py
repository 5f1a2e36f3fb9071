r"""Epochs of stochastic variational inference.

One step draws particles from the guide, computes the objective from their terms, and updates the
parameters along its gradient. The reported numbers are computed from the same terms:

    train, validation   the objective's bound on log p(x)
    objective           on the validation set, if it is not a bound and chooses the weights
    reconstruction      E_q[log p(x|z)]
    kl                  E_q[log q(z|x) - log p(z)]
    global_kl           KL(q(w) || p(w)) / N for variables w that all rows share; the mean bound on
                        the training rows minus this is a bound on log p(D) / N

All are in nats per observation.

The validation set is split into pieces, which several processes share. The noise of a piece depends
on its index only, so the result is that of one process. An objective that couples the rows of a
batch is measured in batches of the training's size.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pyro
import torch
from torch import Tensor

from pyrovae import sharing
from pyrovae.datasets import Rows
from pyrovae.errors import NumericalError
from pyrovae.networks import products_in
from pyrovae.networks.modes import in_mode
from pyrovae.numerics import keep_freed_memory
from pyrovae.terms import TracePair
from pyrovae.training.ahead import NextEpoch
from pyrovae.training.batches import batches_of, order
from pyrovae.training.calling import Callbacks
from pyrovae.training.job import ADVICE, Job
from pyrovae.training.preparing import two_rows
from pyrovae.training.progress import Progress
from pyrovae.training.reading import Reading
from pyrovae.training.saver import Saver
from pyrovae.training.steps import Steps

__all__ = ["Loop"]

VALIDATION_ROWS = 1024
SOME_ROWS = 10_000
VALIDATION_SEED = 20140416
GLOBAL_DRAWS = 3

Measure = Callable[[TracePair], Tensor]


class Loop:
    """The epochs of a run.

    Arguments:
        job: the run.
        saver: writes the checkpoints.
        progress: shows the epochs.
        callbacks: called at the start, after each step and after each epoch.
        give_way: called between steps; lets other threads run.
    """

    def __init__(
        self,
        job: Job,
        saver: Saver,
        progress: Progress,
        callbacks: Callbacks,
        give_way: Callable[[], None],
    ) -> None:
        self.job, self.saver, self.progress, self.give_way = job, saver, progress, give_way
        self.callbacks = callbacks
        self.steps = Steps(job, progress.say)

    def run(self) -> None:
        """Train until the last epoch, until patience runs out, or until the user stops the run."""
        job, position = self.job, self.job.state.position
        start, device = position.step, job.data.validation.x.device
        keep_freed_memory()
        job.runner.program.schema = job.data.schema  # not before: a fit that is refused changes nothing
        job.state.sums = job.state.sums.to(device)
        self._start_callbacks()
        with _training(job, device), self._settled(), self._reading() as reading:
            while not (job.is_over or job.exchange.stopped):
                self._begin_epoch()
                start_time, first, has_chosen = time.perf_counter(), position.batch, False
                for epoch, number in batches_of(job.data, position, job.settings, reading):
                    if self.steps.decide(epoch):  # after a stop during compilation
                        self._save(now=True)
                    if not self.steps.is_interrupted:
                        self.steps.take(epoch, number)
                    if self.steps.is_interrupted:
                        break
                    position.batch += 1
                    position.step += 1
                    if self.callbacks.steppers:
                        self.callbacks.step()
                    self.progress.step(position.step)
                    self.give_way()
                    has_chosen = self.steps.decide(epoch)
                    if position.batch < job.batch_count:
                        self._save(now=has_chosen)
                        self._raise_failure()
                        if job.exchange.stopped:
                            break
                else:
                    seconds = time.perf_counter() - start_time
                    self._end_epoch(seconds, job.batch_count - first, store=has_chosen)
        if not job.is_over or position.step > start:
            self._save(now=True)

    def _start_callbacks(self) -> None:
        """A new run that cannot start leaves no checkpoint."""
        try:
            self.callbacks.start()
        except BaseException:
            if not self.job.state.position.step:
                self.saver.forget()
            raise
        if not self.job.is_over and self.callbacks.states():
            self._save(now=True)

    def _raise_failure(self) -> None:
        """Raise the error of a callback, after a checkpoint was written."""
        if self.callbacks.all_failed:
            self.callbacks.raise_failure()
        if self.callbacks.failure is not None:  # in the first process; the others learn it at the next step
            self.job.exchange.announced(self.callbacks.raise_failure)

    def _save(self, *, now: bool) -> None:
        now = now or self.callbacks.failure is not None
        self.job.exchange.announced(lambda: self.saver.save(now=now, settle=self.steps.settle))

    def _reading(self) -> AbstractContextManager[Reading | NextEpoch | None]:
        """A context for the rows that are read or prepared ahead."""
        job = self.job
        if job.is_over:
            return nullcontext()
        if not job.data.streams:
            return NextEpoch(job.data, job.settings)
        epochs = job.settings.epochs
        return Reading(job.data, job.state.position, job.settings, epochs=epochs, wait=self.give_way)

    @contextmanager
    def _settled(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.steps.end()
            self.steps.settle()

    # ---------------------------------------------------------------- epochs

    def _begin_epoch(self) -> None:
        """Notify objective and program; a prior may start or lose components now."""
        job, position = self.job, self.job.state.position
        job.objective.begin_epoch(position.epoch)
        if position.batch:
            return
        with in_mode(job.runner.module, training=False):
            change = job.runner.program.begin_epoch(position.epoch, self._some)
        changed = torch.tensor(float(change is not None), device=job.data.validation.x.device)
        if not sharing.add_up(changed):
            return
        if sharing.is_shared() and job.runner.module is not None:  # sums may have another order
            state = {name: w.cpu() for name, w in job.runner.module.state_dict().items()}
            job.runner.module.load_state_dict(sharing.agreed(state))
        job.state.best_validation = -math.inf  # that was another program
        self.callbacks.change()
        self.progress.tell(
            f"epoch {position.epoch + 1}: {change or 'the program changed in another process'}"
        )

    def _some(self) -> Rows:
        """Some training rows in random order, labelled ones first; validation rows of a stream."""
        data, device = self.job.data, self.job.data.validation.x.device
        if not isinstance(data.train, Rows):
            return data.validation[:SOME_ROWS]
        rows = order(data.distinct, self.job.settings.seed, 0).to(device)
        if data.train.y is not None:
            rows = rows[(data.train.y[rows] >= 0).int().argsort(descending=True, stable=True)]
        # Grey values, without the noise of binarisation.
        return data.typical[rows[:SOME_ROWS]].as_in(data.validation)

    def _end_epoch(self, seconds: float, steps: int, *, store: bool) -> None:
        self.steps.settle()
        position, state = self.job.state.position, self.job.state
        with self.callbacks.kept_weights():
            row = self._numbers(seconds, steps)
            position.epoch, position.batch = position.epoch + 1, 0
            row |= self.callbacks.epoch(row)
            _append(state.history, row)
            state.sums.zero_()
            value = row.get("objective", row["validation"])
            if self.job.settings.keep == "last" or value > state.best_validation:
                state.best_validation, state.best_epoch = value, position.epoch
                self.saver.keep()
        self._save(now=store or position.epoch == state.best_epoch)
        self.progress.epoch(row)
        self._raise_failure()

    def _numbers(self, seconds: float, steps: int) -> dict[str, float]:
        """The numbers of an epoch of this number of steps."""
        job, position, state = self.job, self.job.state.position, self.job.state
        train, reconstruction, kl, count = state.sums.tolist()
        rows = min(steps * job.settings.batch_size, count)
        row = {"epoch": position.epoch + 1, "train": train / count} | self.validate()
        row |= {"reconstruction": reconstruction / count, "kl": kl / count} | self._global_kl()
        row["lr"] = job.lr(position.step - 1)
        row |= {"seconds": seconds, "data_per_second": rows / seconds}
        self._check_finite(row)
        return row

    def validate(self) -> dict[str, float]:
        """The mean bound on the validation set, and the objective if it chooses the weights."""
        objective = self.job.objective
        measures: dict[str, Measure] = {"validation": lambda pair: objective.bound(pair.terms())}
        if not self.job.keeps_objective:
            return self._means(measures, VALIDATION_ROWS)
        if not objective.of_batch:
            return self._means(measures | {"objective": objective.ascended}, VALIDATION_ROWS)
        size = min(self.job.settings.batch_size, VALIDATION_ROWS)
        return self._means(measures, VALIDATION_ROWS) | self._means({"objective": objective.ascended}, size)

    @torch.no_grad()
    def _global_kl(self) -> dict[str, float]:
        """The divergence of the global sites divided by N, with the same noise in every epoch."""
        job = self.job
        if not job.runner.global_sites:
            return {}
        known = job.runner.program.global_divergence()
        if known is not None:
            return {"global_kl": known.item() / job.data.distinct}
        rows = two_rows(job.data)
        cuda = [rows.x.device] if rows.x.is_cuda else []
        with torch.random.fork_rng(devices=cuda), in_mode(job.runner.module, training=False):
            torch.manual_seed(VALIDATION_SEED)
            draws = min(GLOBAL_DRAWS, job.batch_count)  # no more than the epoch had
            ratios = [job.runner.run(rows, **job.draws).log_global for _ in range(draws)]
        means = [ratio.double().mean().item() for ratio in ratios if ratio is not None]
        return {"global_kl": -sum(means) / len(means) / job.data.distinct}

    @torch.no_grad()
    def _means(self, measures: Mapping[str, Measure], size: int) -> dict[str, float]:
        """Means over the validation set in nats, with the same noise every epoch."""
        rows = self.job.data.validation
        pieces = list(rows.batches(size))
        totals = torch.zeros(len(measures), len(pieces), dtype=torch.float64)
        cuda = [rows.x.device] if rows.x.is_cuda else []
        with (
            torch.random.fork_rng(devices=cuda),
            in_mode(self.job.runner.module, training=False),
            products_in("float32", rows.x.device),
        ):
            for number in sharing.own_rows(len(pieces)).tolist():
                torch.manual_seed(VALIDATION_SEED + number)
                pair = self.job.runner.run(pieces[number], **self.job.draws)
                for total, measure in zip(totals, measures.values(), strict=True):
                    values = measure(pair).expand(len(pieces[number]))  # one number for a batch as a whole
                    total[number] = values.sum(dtype=torch.float64).item()
        sums = sharing.add_up(totals.to(rows.x.device)).tolist()
        return {name: sum(total) / len(rows) for name, total in zip(measures, sums, strict=True)}

    def _check_finite(self, row: dict[str, float]) -> None:
        bad = [name for name, value in row.items() if not math.isfinite(value)]
        if bad:
            where = f"{bad[0]} became {row[bad[0]]} at the end of epoch {int(row['epoch'])}"
            raise NumericalError(f"{where}{self.job.bad_parameter()}; {ADVICE}")


def _append(history: dict[str, list[float]], row: Mapping[str, float]) -> None:
    """Add an epoch; a run may be resumed with other callbacks, which add other metrics."""
    done = max(map(len, history.values()), default=0)
    for name in [name for name in row if name not in history]:  # in the order of the row
        history[name] = [math.nan] * done
    for name, values in history.items():
        values.append(row.get(name, math.nan))


@contextmanager
def _training(job: Job, device: torch.device) -> Iterator[None]:
    """Training mode and the precision of products, without Pyro's validation."""
    precision = products_in(job.settings.precision, device)
    with pyro.validation_enabled(False), in_mode(job.runner.module, training=True), precision:
        yield
