r"""The captured step: a whole step of a run as one piece of compiled code.

    in     the number of the step, the order of the data, the schedules' numbers, the data
    done   gather the batch, draw, weigh, differentiate, shorten, move the weights, add to the epoch's sums
    out    the loss

Everything that changes between two steps is a tensor: the code counts its steps itself, and reads its batch,
its learning rate and its KL weight from tables of the whole epoch. A loss that is not finite moves nothing.
The moments are those of the torch optimiser, so a step of either kind goes on from the other's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae.errors import Uncapturable
from pyrovae.graphs import Compiled, Graph, random_state, set_random_state, traced
from pyrovae.training.batches import Rows
from pyrovae.training.schedules import kl_weight
from pyrovae.training.step import eager, gradients, moved, shortened
from pyrovae.training.updates import MOMENTS, coefficients

if TYPE_CHECKING:
    from pyrovae.training.job import Job

__all__ = ["Captured"]

# How far a captured step may lie from the eager one, as a part of the step's length.
APART = {"float32": 0.05, "tf32": 0.2, "bf16": 0.5}


class Captured:
    """The captured steps of a run.

    Arguments:
        job: a run whose optimiser has made at least one step.
        rows: data as an epoch has them.

    Raises:
        Uncapturable: when the program cannot become a graph.
    """

    def __init__(self, job: Job, rows: Rows) -> None:
        self.job = job
        self.weights = list(job.trained.values())
        held, names = job.optimizer.state, MOMENTS[job.settings.optimizer]
        self.moments = [[held[w][name] for name in names] for w in self.weights]
        self.number = torch.zeros(1, dtype=torch.int64, device=rows.x.device)
        self.code: Compiled | None = None
        self.following = -1
        self._enter(rows)
        self.graph: Graph = traced(self._step, self.inputs, watched=_watched(job))

    def compile(self) -> float:
        """Make machine code of it, or find it on the disk; gives the seconds that took.

        Raises:
            Uncapturable: when that cannot be done here.
        """
        self.code = self.graph.compiled(self.inputs)
        return self.code.seconds

    def __call__(self, rows: Rows, number: int) -> None:
        """Take step `number` of the rows.

        Raises:
            NumericalError: when the loss is no finite number; nothing was moved then.
        """
        assert self.code is not None
        if rows is not self.rows:
            self._enter(rows)
        if number != self.following:
            self.number.fill_(number)
        random = None if rows.x.is_cuda else torch.get_rng_state()
        loss = self.code(self.inputs)[0]
        self.following = number + 1
        # Reading the loss waits for a GPU; there the sums of the epoch are looked at instead.
        if random is not None and not math.isfinite(loss.item()):
            self.job.explain(rows.batch(number), random)

    def check(self, rows: Rows, number: int) -> None:
        """Take a step twice from one state with the same draws, eagerly and captured; the latter counts.

        Raises:
            Uncapturable: when the two differ by more than rounding; the eager one counts then.
        """
        device, before = rows.x.device, [t.clone() for t in self._state()]
        random = random_state(device)
        eager(self.job, rows.batch(number))
        wanted, drawn = [t.clone() for t in self._state()], random_state(device)
        self._put(before)
        set_random_state(random, device)
        self(rows, number)
        if not torch.equal(drawn, random_state(device)):
            wrong = "it does not draw as many random numbers"
        elif not self._near(before, wanted):
            wrong = "it gives another step than the program"
        else:
            return
        self._put(wanted)
        set_random_state(drawn, device)
        raise Uncapturable(f"the compiled step was compared with the program's, and {wrong}")

    def settle(self) -> None:
        """Tell the torch optimiser how many steps were made."""
        for w in self.weights:
            count = self.job.optimizer.state[w].get("step")
            if count is not None:
                count.fill_(self.job.state.position.step)

    # ---------------------------------------------------------------- state

    def _state(self) -> list[Tensor]:
        moments = [moment for kept in self.moments for moment in kept]
        return [self.job.state.sums, *(w.detach() for w in self.weights), *moments]

    def _put(self, state: list[Tensor]) -> None:
        for tensor, value in zip(self._state(), state, strict=True):
            tensor.copy_(value)

    def _near(self, before: list[Tensor], wanted: list[Tensor]) -> bool:
        apart = APART[self.job.settings.precision]
        length = error = 0.0
        for now, old, want in zip(self._state()[1:], before[1:], wanted[1:], strict=True):
            length += (want - old).double().square().sum().item()
            error += (now - want).double().square().sum().item()
        sums = torch.allclose(self.job.state.sums, wanted[0], rtol=apart, atol=apart)
        return sums and math.sqrt(error) <= apart * math.sqrt(length)

    def _enter(self, rows: Rows) -> None:
        """Make the tables of an epoch."""
        job, position = self.job, self.job.state.position
        first, count = position.step - position.batch + rows.first, rows.full
        table = [self._numbers(first + i) for i in range(count)]
        order = rows.order[: count * rows.batch_size].view(count, rows.batch_size)
        numbers = torch.tensor(table, dtype=torch.float64, device=rows.x.device)
        data = [rows.x] if rows.context is None else [rows.x, rows.context]
        moments = [moment for kept in self.moments for moment in kept]
        self.inputs = [self.number, numbers, order, *data, job.state.sums, *self.weights, *moments]
        self.rows, self.following = rows, -1

    def _numbers(self, step: int) -> list[float]:
        job, settings = self.job, self.job.settings
        weight = kl_weight(settings.kl_warmup, step / job.batch_count)
        return [weight, *coefficients(settings.optimizer, step + 1, job.lr(step))]

    # ---------------------------------------------------------------- the graph

    def _step(self, number: Tensor, numbers: Tensor, order: Tensor, *rest: Tensor) -> tuple[Tensor]:
        job, has_context = self.job, self.rows.context is not None
        x, context = rest[0], rest[1] if has_context else None
        chosen = order.index_select(0, number)[0]
        batch = x.index_select(0, chosen), None if context is None else context.index_select(0, chosen)
        row = numbers.index_select(0, number)[0].unbind()
        # The graph knows the loop's own tensors again as the inputs that they are.
        weight = row[0].to(job.precise) if job.settings.kl_warmup else None
        loss, gradient, sums = gradients(job, batch, weight)
        with torch.no_grad():
            self._advance(
                list(rest[1 + has_context :]), shortened(gradient, job.settings.clip), row[1:], loss
            )
            rest[1 + has_context].add_(sums)
            number.add_(1)
        return (loss,)

    def _advance(self, held: list[Tensor], gradient: list[Tensor], row: Any, loss: Tensor) -> None:  # noqa: ANN401
        count, kinds = len(self.weights), len(MOMENTS[self.job.settings.optimizer])
        weights, flat = held[1 : 1 + count], held[1 + count :]
        moments = [flat[i * kinds : (i + 1) * kinds] for i in range(count)]
        moved(self.job.settings.optimizer, weights, moments, gradient, row, loss.isfinite())


def _watched(job: Job) -> list[Any]:
    """Where a program's Python state may hang."""
    program = job.program
    return [program.module, program.model, program.guide, job.objective]
