r"""The captured step: a whole step of a run as one piece of compiled code.

    in     the number of the step, the order of the data, the schedules' numbers, the data
    done   gather the batch, draw, weigh, differentiate, shorten, move the weights, add to the epoch's sums
    out    the loss

Everything that changes between two steps is a tensor: the code counts its steps itself, and reads its batch,
its learning rate and its KL weight from tables of the whole epoch. A loss that is not finite moves nothing.
The moments are those of the torch optimiser, so a step of either kind goes on from the other's.
Of several processes each has two pieces of code, before and after the vector that they exchange.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae import sharing
from pyrovae.errors import Uncapturable
from pyrovae.compiling import Compiled, Graph, random_state, set_random_state, traced
from pyrovae.training.batches import Batch, Rows
from pyrovae.training.exchange import packed, unpacked
from pyrovae.training.layout import Layout, turnable
from pyrovae.training.schedules import kl_weight
from pyrovae.training.step import eager, gradients, moved, shortened
from pyrovae.training.updates import MOMENTS, coefficients

if TYPE_CHECKING:
    from pyrovae.training.job import Job

__all__ = ["Captured", "CapturedShare", "captured"]

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
        held, names = job.optimizer.state, MOMENTS[job.settings.optimizer]
        trained = list(job.trained.values())
        # What got no gradient in the first step has no moments, and never moves.
        self.moving = [i for i, w in enumerate(trained) if not names or held.get(w)]
        self.weights = [trained[i] for i in self.moving]
        self.moments = [[held[w][name] for name in names] for w in self.weights]
        linear = turnable(job.program.module, self.weights, len(rows.batch(0)[0]))
        self.layout = Layout([[self.weights[i], *self.moments[i]] for i in linear])
        self.number = torch.zeros(1, dtype=torch.int64, device=rows.x.device)
        self.codes: list[Compiled] = []
        self.following = -1
        self._enter(rows)
        with self.layout.turned_for_now():
            self.graphs = self._traced()

    @property
    def is_stored(self) -> bool:
        """Whether its machine code lies on the disk."""
        return all(graph.is_stored for graph in self.graphs)

    def compile(self) -> float:
        """Make machine code of it, or find it on the disk; gives the seconds that took.

        Raises:
            Uncapturable: when that cannot be done here.
        """
        given = self._given()
        with self.layout.turned_for_now():
            self.codes = [graph.compiled(inputs) for graph, inputs in zip(self.graphs, given, strict=True)]
        return sum(code.seconds for code in self.codes)

    def __call__(self, rows: Rows, number: int) -> None:
        """Take step `number` of the rows.

        Raises:
            NumericalError: when the loss is no finite number; nothing was moved then.
        """
        self.layout.turn()
        if rows is not self.rows:
            self._enter(rows)
        if number != self.following:
            self.number.fill_(number)
        self.following = -1
        self._take(rows, number)
        self.following = number + 1

    def check(self, rows: Rows, number: int) -> None:
        """Take a step twice from one state with the same draws, eagerly and captured; the latter counts.

        Raises:
            Uncapturable: when the two differ by more than rounding; the eager one counts then.
        """
        self.layout.straighten()
        device, before = rows.x.device, [t.clone() for t in self._state()]
        random = random_state(device)
        eager(self.job, rows, number)
        wanted, drawn = [t.clone() for t in self._state()], random_state(device)
        self._put(before)
        set_random_state(random, device)
        try:
            self._first(rows, number)
            sharing.together(lambda: self._compare(before, wanted, drawn))
        except Uncapturable:
            self.layout.straighten()
            self._put(wanted)
            set_random_state(drawn, device)
            raise

    def _first(self, rows: Rows, number: int) -> None:
        try:
            self(rows, number)
        except RuntimeError as error:  # an operation that compiled code cannot call
            raise Uncapturable(f"the compiled step fails: {str(error).splitlines()[0][:160]}") from error

    def settle(self) -> None:
        """Leave weights and optimiser as torch has them: rows in memory, and the number of steps made."""
        self.layout.straighten()
        for w in self.weights:
            count = self.job.optimizer.state[w].get("step")
            if count is not None:
                count.fill_(self.job.state.position.step)

    def _take(self, rows: Rows, number: int) -> None:
        random = None if rows.x.is_cuda else torch.get_rng_state()
        loss = self.codes[0](self.inputs)[0]
        # Reading the loss waits for a GPU; there the sums of the epoch are looked at instead.
        if random is not None and not math.isfinite(loss.item()):
            self.job.explain(rows.batch(number), random)

    def _compare(self, before: list[Tensor], wanted: list[Tensor], drawn: Tensor) -> None:
        said = "the compiled step was compared with the program's, and it"
        if not torch.equal(drawn, random_state(self.number.device)):
            raise Uncapturable(f"{said} does not draw as many random numbers")
        if not self._near(before, wanted):
            raise Uncapturable(f"{said} gives another step than the program")

    # ---------------------------------------------------------------- state

    def _state(self) -> list[Tensor]:
        moments = [moment for kept in self.moments for moment in kept]
        module = self.job.program.module
        buffers = [] if module is None else list(module.buffers())
        return [self.job.state.sums, *(w.detach() for w in self.weights), *moments, *buffers]

    def _put(self, state: list[Tensor]) -> None:
        for tensor, value in zip(self._state(), state, strict=True):
            tensor.copy_(value)

    def _near(self, before: list[Tensor], wanted: list[Tensor]) -> bool:
        apart = APART[self.job.settings.precision]
        length = error = 0.0
        for now, old, want in zip(self._state()[1:], before[1:], wanted[1:], strict=True):
            length += (want.double() - old.double()).square().sum().item()
            error += (now.double() - want.double()).square().sum().item()
        sums = torch.allclose(self.job.state.sums, wanted[0], rtol=apart, atol=apart)
        return sums and math.sqrt(error) <= apart * math.sqrt(length)

    def _enter(self, rows: Rows) -> None:
        """Make the tables of an epoch."""
        job, position = self.job, self.job.state.position
        first, count = position.step - position.batch + rows.first, rows.full
        table = [self._numbers(first + i) for i in range(count)]
        order = rows.order[: count * rows.batch_size].view(count, rows.batch_size)
        order = order[:, rows.share[0] :: rows.share[1]].contiguous()
        numbers = torch.tensor(table, dtype=torch.float64, device=rows.x.device)
        data = [rows.x] if rows.context is None else [rows.x, rows.context]
        moments = [moment for kept in self.moments for moment in kept]
        self.inputs = [self.number, numbers, order, *data, job.state.sums, *self.weights, *moments]
        self.rows, self.following = rows, -1

    def _numbers(self, step: int) -> list[float]:
        job, settings = self.job, self.job.settings
        weight = kl_weight(settings.kl_warmup, step / job.batch_count, settings.kl_schedule)
        return [weight, *coefficients(settings.optimizer, step + 1, job.lr(step))]

    # ---------------------------------------------------------------- the graph

    def _traced(self) -> list[Graph]:
        return [traced(self._step, self.inputs, watched=_watched(self.job))]

    def _given(self) -> list[list[Tensor]]:
        """The inputs of each graph."""
        return [self.inputs]

    def _step(self, number: Tensor, numbers: Tensor, order: Tensor, *rest: Tensor) -> tuple[Tensor]:
        has_context = self.rows.context is not None
        row = numbers.index_select(0, number)[0].unbind()
        batch = self._batch(number, order, rest[0], rest[1] if has_context else None)
        loss, gradient, sums = gradients(self.job, batch, self._weight(row[0]))
        self._advance(list(rest[1 + has_context :]), gradient, row[1:], loss, sums)
        number.add_(1)
        return (loss,)

    @staticmethod
    def _batch(number: Tensor, order: Tensor, x: Tensor, context: Tensor | None) -> Batch:
        chosen = order.index_select(0, number)[0]
        return x.index_select(0, chosen), None if context is None else context.index_select(0, chosen)

    def _weight(self, number: Tensor) -> Tensor | None:
        return number.to(self.job.precise) if self.job.settings.kl_warmup else None

    @torch.no_grad()
    def _advance(
        self,
        held: list[Tensor],
        gradient: list[Tensor],
        row: Sequence[Tensor],
        loss: Tensor,
        sums: Tensor,
    ) -> None:
        """Move the weights and moments and add to the sums, all of them inputs: [sums, weights, moments]."""
        settings, count = self.job.settings, len(self.weights)
        kinds = len(MOMENTS[settings.optimizer])
        weights, flat = held[1 : 1 + count], held[1 + count :]
        moments = [flat[i * kinds : (i + 1) * kinds] for i in range(count)]
        gradient = shortened([gradient[i] for i in self.moving], settings.clip)
        moved(settings.optimizer, weights, moments, gradient, row, loss.isfinite())
        held[0].add_(sums)


class CapturedShare(Captured):
    """The captured steps of one process among others: its part of the vector, and the move along the sum."""

    def _traced(self) -> list[Graph]:
        first, second = self._given()
        watched = _watched(self.job)
        return [traced(self._share, first, watched=watched), traced(self._move, second, watched=watched)]

    def _given(self) -> list[list[Tensor]]:
        assert self.job.exchange is not None
        number, numbers, data = self.inputs[0], self.inputs[1], 4 + (self.rows.context is not None)
        # Only the shape of the vector counts here.
        return [self.inputs[:data], [number, numbers, self.job.exchange.nothing(), *self.inputs[data:]]]

    def _take(self, rows: Rows, number: int) -> None:
        assert self.job.exchange is not None
        first, second = self.codes
        data = 4 + (rows.context is not None)
        step = self.job.state.position.step
        flat = self.job.exchange(lambda: first(self.inputs[:data])[0], step, rows, number)
        second([*self.inputs[:2], flat, *self.inputs[data:]])

    def _share(
        self, number: Tensor, numbers: Tensor, order: Tensor, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor]:
        row = numbers.index_select(0, number)[0].unbind()
        batch = self._batch(number, order, x, context)
        return (packed(*gradients(self.job, batch, self._weight(row[0]), self.rows.batch_size)),)

    def _move(self, number: Tensor, numbers: Tensor, flat: Tensor, *held: Tensor) -> tuple[Tensor]:
        row = numbers.index_select(0, number)[0].unbind()
        loss, gradient, sums = unpacked(flat, list(self.job.trained.values()))
        self._advance(list(held), gradient, row[1:], loss, sums)
        number.add_(1)
        return (loss.clone(),)


def captured(job: Job, rows: Rows) -> Captured:
    """The captured steps of a run, in all its processes or in none.

    Raises:
        Uncapturable: when the program cannot become a graph.
    """
    return sharing.together(lambda: (Captured if job.exchange is None else CapturedShare)(job, rows))


def _watched(job: Job) -> list[Any]:
    """Where a program's Python state may hang."""
    program = job.program
    return [program.module, program.model, program.guide, job.objective]
