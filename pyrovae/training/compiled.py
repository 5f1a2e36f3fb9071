r"""The compiled step: a whole step of a run as compiled code.

    input    the number of the step, the order of the data, values of the schedules, the data
    work     gather the batch, sample, score, differentiate, clip, update the weights, add to the
             epoch's sums
    output   the loss

Everything that changes between steps is a tensor. The code counts its steps and reads the batch
from the order of the whole epoch. Learning rate and KL weight are copied into one small tensor
before each step. If the loss is not finite, nothing is updated. The moments are those of the torch
optimiser, so eager and compiled steps can alternate. Each of several processes has two pieces of
code, before and after the exchange of vectors.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae import sharing
from pyrovae.compiling import Build, Compiled, Graph, random_state, set_random_state, traced
from pyrovae.datasets import Rows
from pyrovae.errors import Uncapturable
from pyrovae.training.batches import Epoch
from pyrovae.training.exchange import Exchange, Gradient, gradients, nothing, packed, unpacked
from pyrovae.training.layout import Layout, turnable
from pyrovae.training.step import eager_step, move, shortened

if TYPE_CHECKING:
    from pyrovae.training.job import Job, Weights

__all__ = ["CompiledShare", "CompiledStep", "compiled_step"]

# The largest difference between a compiled and an eager step, relative to the length of the step.
TOLERANCE = {"float32": 0.05, "tf32": 0.2, "bf16": 0.5}
PARTS = ("x", "context", "y")
TIMED = 3  # the number of timings of each kind of step


class CompiledStep:
    """The compiled steps of a run.

    Arguments:
        job: a run whose optimiser has made at least one step.
        epoch: an epoch of the run.

    Raises:
        Uncapturable: when the program cannot be traced.
    """

    def __init__(self, job: Job, epoch: Epoch) -> None:
        self.job = job
        states, names = job.optimizer.state, job.update.moments
        trained = list(job.trained.values())
        # A tensor without a gradient in the first step has no moments and is not updated.
        self.moving = [i for i, w in enumerate(trained) if not names or states.get(w)]
        self.weights = [trained[i] for i in self.moving]
        self.moments = [[states[w][name] for name in names] for w in self.weights]
        groups = [[w, *of_weight] for w, of_weight in zip(self.weights, self.moments, strict=True)]
        self.layout = Layout(groups, turnable(job.runner.module, self.weights, len(epoch.batch(0))))
        device = epoch.rows.x.device
        self.number = torch.zeros(1, dtype=torch.int64, device=device)
        # The values of the schedules at a step. A loop over weights reads them in every iteration
        # and would compute them again each time if they were expressions.
        self.row = torch.zeros(len(self._numbers(0)), dtype=job.precise, device=device)
        self.parts = [name for name in PARTS if getattr(epoch.rows, name) is not None]
        self.codes: list[Compiled] = []
        self.following = -1
        self._enter(epoch)
        with self.layout.entered():
            self.graphs = self._traced()

    @property
    def is_stored(self) -> bool:
        """Whether its machine code is on disk."""
        return all(graph.is_stored for graph in self.graphs)

    def compile(self) -> float:
        """Compile the step, or load its code from disk; returns the seconds that this took.

        Raises:
            Uncapturable: when it cannot be compiled here.
        """
        with self.layout.entered():
            self.codes = [
                graph.compiled(inputs)
                for graph, inputs in zip(self.graphs, self._graph_inputs(), strict=True)
            ]
        return sum(code.seconds for code in self.codes)

    def start(self) -> Build | None:
        """Start to compile the step in another process; None if this is not possible here.

        Raises:
            Uncapturable: when the compilation cannot be started.
        """
        with self.layout.entered():
            return self.graphs[0].start(self._graph_inputs()[0])

    def __call__(self, epoch: Epoch, number: int) -> None:
        """Take step `number` of an epoch.

        Raises:
            NumericalError: when the loss is not finite; nothing is updated then.
        """
        self.layout.enter()
        if epoch is not self.epoch:
            self._enter(epoch)
        if number != self.following:
            self.number.fill_(number)
        self.following = -1
        self.row.copy_(self.table[number])
        self._take(epoch, number)
        self.following = number + 1

    def check(self, epoch: Epoch, number: int) -> None:
        """Take a step eagerly and compiled from the same state, compare, and keep the latter.

        Raises:
            Uncapturable: when they differ by more than rounding; the eager step is kept then.
        """
        self.layout.leave()
        device, before = epoch.rows.x.device, [t.clone() for t in self._state()]
        random = random_state(device)
        eager_step(self.job, epoch, number)
        eager, random_after = [t.clone() for t in self._state()], random_state(device)
        self._put(before)
        set_random_state(random, device)
        try:
            self._first(epoch, number)
            sharing.together(lambda: self._compare(before, eager, random_after))
        except Uncapturable:
            self.layout.leave()
            self._put(eager)
            set_random_state(random_after, device)
            raise

    def seconds(self, epoch: Epoch, number: int) -> tuple[float, float]:
        """The seconds of an eager and a compiled step; what the steps change is restored."""
        before, random = [t.clone() for t in self._state()], random_state(self.number.device)
        eager, compiled = [], []
        try:
            for _ in range(TIMED):
                self.layout.leave()
                eager.append(self._timed(lambda: eager_step(self.job, epoch, number)))
                self._put(before)  # many steps with one batch may lead far away
                self.layout.enter()
                compiled.append(self._timed(lambda: self(epoch, number)))
                self._put(before)
        finally:
            self._put(before)
            self._count(self.job.state.position.step + 1)
            set_random_state(random, self.number.device)
        return statistics.median(eager), statistics.median(compiled)

    def _timed(self, take: Callable[[], None]) -> float:
        """The seconds of the second of two steps; caches may be cold in the first one."""
        take()
        self._wait()
        start = time.perf_counter()
        take()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.number.is_cuda:
            torch.cuda.synchronize(self.number.device)

    def _first(self, epoch: Epoch, number: int) -> None:
        try:
            self(epoch, number)
        except RuntimeError as error:  # an operation that compiled code cannot call
            raise Uncapturable(f"the compiled step fails: {str(error).splitlines()[0][:160]}") from error

    def settle(self) -> None:
        """Give weights and optimiser torch's usual memory and step counts again."""
        self.layout.leave()
        self._count(self.job.state.position.step)

    def _count(self, steps: int) -> None:
        for w in self.weights:
            count = self.job.optimizer.state[w].get("step")
            if count is not None:
                count.fill_(steps)

    def _take(self, epoch: Epoch, number: int) -> None:
        random = None if epoch.rows.x.is_cuda else torch.get_rng_state()
        loss = self.codes[0](self.inputs)[0]
        # Reading the loss would wait for the GPU, where the sums of the epoch are checked instead.
        if random is not None and not math.isfinite(loss.item()):
            self.job.explain(epoch.batch(number), random)

    def _compare(self, before: list[Tensor], eager: list[Tensor], random_after: Tensor) -> None:
        start = "the compiled step was compared with the program's, and it"
        if not torch.equal(random_after, random_state(self.number.device)):
            raise Uncapturable(f"{start} does not draw the same number of random numbers")
        if not self._near(before, eager):
            raise Uncapturable(f"{start} gives a different result")

    # ---------------------------------------------------------------- state

    def _state(self) -> list[Tensor]:
        moments = [moment for of_weight in self.moments for moment in of_weight]
        module = self.job.runner.module
        others = [] if module is None else list(module.buffers())
        others += [tensor for graph in self.graphs for tensor in graph.changed]
        unique = {id(tensor): tensor.detach() for tensor in others}
        return [self.job.state.sums, *(w.detach() for w in self.weights), *moments, *unique.values()]

    def _put(self, state: list[Tensor]) -> None:
        for tensor, value in zip(self._state(), state, strict=True):
            tensor.copy_(value)

    def _near(self, before: list[Tensor], eager: list[Tensor]) -> bool:
        tolerance = TOLERANCE[self.job.settings.precision]
        length = error = 0.0
        for now, old, want in zip(self._state()[1:], before[1:], eager[1:], strict=True):
            length += _squared_distance(want, old)
            error += _squared_distance(now, want)
        sums = torch.allclose(self.job.state.sums, eager[0], rtol=tolerance, atol=tolerance)
        return sums and math.sqrt(error) <= tolerance * math.sqrt(length)

    def _enter(self, epoch: Epoch) -> None:
        """Compute the tables of an epoch."""
        job, position = self.job, self.job.state.position
        first, count = position.step - position.batch + epoch.first, epoch.full
        order = epoch.order[: count * epoch.batch_size].view(count, epoch.batch_size)
        order = order[:, epoch.share[0] :: epoch.share[1]].contiguous()
        table = [self._numbers(first + i) for i in range(count)]
        self.table = torch.tensor(table, dtype=torch.float64).to(self.row)
        self.data = [self.number, self.row, order, *(getattr(epoch.rows, name) for name in self.parts)]
        vectors = [vector for some in self.layout.vectors for vector in some]
        self.inputs = [*self.data, job.state.sums, *vectors]
        self.epoch, self.following = epoch, -1

    def _numbers(self, step: int) -> list[float]:
        job = self.job
        return [
            job.kl_weight(step),
            job.global_weight(step),
            *job.update.coefficients(step + 1, job.lr(step)),
        ]

    # ---------------------------------------------------------------- the graph

    def _traced(self) -> list[Graph]:
        changed = self.inputs[len(self.data) :]
        return [traced(self._step, self.inputs, watched=_watched(self.job), changed=changed)]

    def _graph_inputs(self) -> list[list[Tensor]]:
        """The inputs of each graph."""
        return [self.inputs]

    def _step(self, number: Tensor, row: Tensor, order: Tensor, *rest: Tensor) -> tuple[Tensor]:
        batch = self._batch(number, order, rest)
        loss, gradient, sums = gradients(self.job, batch, self._weights(row.unbind()))
        self._advance(list(rest[len(self.parts) :]), gradient, row.unbind()[2:], loss, sums)
        number.add_(1)
        return (loss,)

    def _batch(self, number: Tensor, order: Tensor, data: Sequence[Tensor]) -> Rows:
        positions = order.index_select(0, number)[0]
        return Rows(**{name: t.index_select(0, positions) for name, t in zip(self.parts, data, strict=False)})

    def _weights(self, row: Sequence[Tensor]) -> Weights:
        """The weights of the divergences that are annealed; None for others."""
        settings, precise = self.job.settings, self.job.precise
        rows = row[0].to(precise) if settings.kl_warmup else None
        return rows, row[1].to(precise) if settings.global_warmup else None

    @torch.no_grad()
    def _advance(
        self,
        state: list[Tensor],
        gradient: Gradient,
        row: Sequence[Tensor],
        loss: Tensor,
        sums: Tensor,
    ) -> None:
        """Update the sums and the vectors of weights and moments in `state`."""
        size = 1 + len(self.job.update.moments)
        vectors = [state[i : i + size] for i in range(1, len(state), size)]
        moving = zip((gradient[i] for i in self.moving), self.weights, strict=True)
        own = self.layout.packed([torch.zeros_like(w) if g is None else g for g, w in moving])
        weights, moments = [some[0] for some in vectors], [some[1:] for some in vectors]
        move(self.job.update, weights, moments, shortened(own, self.job.settings.clip), row, loss.isfinite())
        state[0].add_(sums)


class CompiledShare(CompiledStep):
    """The compiled steps of one of several processes: its gradient, and the update by their sum."""

    def _traced(self) -> list[Graph]:
        first, second = self._graph_inputs()
        watched, changed = _watched(self.job), self.inputs[len(self.data) :]
        return [
            traced(self._share, first, watched=watched),
            traced(self._move, second, watched=watched, changed=changed),
        ]

    def _graph_inputs(self) -> list[list[Tensor]]:
        # Only the shape of the vector is used.
        return [self.data, [*self.data[:2], nothing(self.job), *self.inputs[len(self.data) :]]]

    def _take(self, epoch: Epoch, number: int) -> None:
        first, second = self.codes
        exchange = self.job.exchange
        assert isinstance(exchange, Exchange)
        flat = exchange.added_up(lambda: first(self.data)[0], self.job, epoch, number)
        second([*self.data[:2], flat, *self.inputs[len(self.data) :]])

    def _share(self, number: Tensor, row: Tensor, order: Tensor, *data: Tensor) -> tuple[Tensor]:
        batch = self._batch(number, order, data)
        own = gradients(self.job, batch, self._weights(row.unbind()), self.epoch.batch_size)
        return (packed(list(self.job.trained.values()), *own),)

    def _move(self, number: Tensor, row: Tensor, flat: Tensor, *state: Tensor) -> tuple[Tensor]:
        loss, gradient, _, sums = unpacked(flat, list(self.job.trained.values()))
        self._advance(list(state), list(gradient), row.unbind()[2:], loss, sums)
        number.add_(1)
        return (loss.clone(),)


def _squared_distance(one: Tensor, other: Tensor) -> float:
    """The sum of squared differences; equal infinite values, as in a mask, have none."""
    return torch.where(one == other, 0.0, one.double() - other.double()).square().sum().item()


def compiled_step(job: Job, epoch: Epoch) -> CompiledStep:
    """Trace the step of a run, in all its processes or in none.

    Raises:
        Uncapturable: when the program cannot be traced.
    """
    kind = CompiledShare if job.exchange.is_shared else CompiledStep
    return sharing.together(lambda: kind(job, epoch))


def _watched(job: Job) -> list[Any]:
    """The objects that may have Python state."""
    runner = job.runner
    return [runner.module, runner.model, runner.guide, job.objective]
