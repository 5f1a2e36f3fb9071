r"""Training by several processes: what they exchange at a step.

    loss of process r    L_r = -(1/B) sum of maximised(x_n) over its rows n          B rows in all processes
    one vector           [dL_r/dw, L_r, sums of its rows, asked to stop, in trouble]
    one all-reduce       adds the vectors up: the gradient of the whole batch, its loss and its sums

After it all processes hold the same numbers: they make the same move, so their weights stay equal bit for
bit; they stop at the same step when one was asked to; they end together when one is in trouble. The noise of
process r at step t is a function of (seed, r, t) alone, so a checkpoint holds nothing of other processes.

Reference:
    Goyal et al. (2017), "Accurate, Large Minibatch SGD", on what a gradient must be divided by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from pyrovae import sharing
from pyrovae.errors import NumericalError
from pyrovae.training.batches import Batch, Rows, mixed

__all__ = ["Exchange", "packed", "unpacked"]

SUMS = 4
FLAGS = 2
TAIL = 1 + SUMS + FLAGS
NOISE = 20140415  # keeps the noise apart from the order of the data, which has the same seed
# Reading a number waits for a GPU, so there the flags are looked at every so many steps.
GPU_LOOKS = 10


def packed(loss: Tensor, gradient: Sequence[Tensor], sums: Tensor) -> Tensor:
    """What a process tells the others at a step, (P + 7,); the flags are zero."""
    flat = torch.cat([g.reshape(-1) for g in gradient])
    tail = [loss.reshape(1).to(flat), sums.to(flat), flat.new_zeros(FLAGS)]
    return torch.cat([flat, *tail])


def unpacked(flat: Tensor, trained: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], Tensor]:
    """The loss, the gradient and the sums of the whole batch from the vectors' sum."""
    pieces = flat[:-TAIL].split([w.numel() for w in trained])
    gradient = [piece.view(w.shape).to(w.dtype) for piece, w in zip(pieces, trained, strict=True)]
    return flat[-TAIL], gradient, flat[1 - TAIL : -FLAGS].double()


class Exchange:
    """The all-reduce of a run's steps.

    Arguments:
        trained: the tensors that are learned.
        seed: of the noise.
        asked: says whether this process was asked to stop.
        explain: given a batch and a random state, says why the loss of that step is no finite number.

    Attributes:
        stopped: whether any process was; the same in all of them.
    """

    def __init__(
        self,
        trained: Iterable[Tensor],
        seed: int,
        asked: Callable[[], bool],
        explain: Callable[[Batch, Tensor], None],
    ) -> None:
        self.trained, self.seed, self.asked, self.explain = list(trained), seed, asked, explain
        self.stopped, self.step = False, 0
        self.trouble: Exception | None = None
        self.device = self.trained[0].device
        self.looks = GPU_LOOKS if self.device.type == "cuda" else 1

    def __call__(self, share: Callable[[], Tensor], step: int, rows: Rows, number: int) -> Tensor:
        """The sum of all processes' vectors at a step; `share` gives this one's part of batch `number`.

        Raises:
            InputError, NumericalError: in every process, what one of them had; nothing was moved then.
            Lost: when another process ended.
        """
        self.step = step
        self._reseed()
        flat = self._own(share)
        own_loss = flat[-TAIL].clone()
        flat[-2] = float(self.asked())
        flat[-1] = float(self.trouble is not None)
        sharing.add_up(flat)
        if step % self.looks == 0:
            self._look(flat, own_loss, rows, number)
        return flat

    def announced(self, work: Callable[[], None]) -> None:
        """Do what this process may fail at; the others learn of it at the next step."""
        try:
            work()
        except Exception as error:
            self.trouble = self.trouble or error

    def finish(self) -> None:
        """End the run in all processes.

        Raises:
            InputError: in every process when one had it after the last step.
            Lost: when another process ended.
        """
        sharing.together(self._raise_own)

    def nothing(self) -> Tensor:
        """The vector of a process that has no row of a batch."""
        zero = torch.zeros((), device=self.device)
        return packed(zero, [torch.zeros_like(w) for w in self.trained], zero.expand(SUMS))

    # ---------------------------------------------------------------- pieces

    def _reseed(self) -> None:
        # Not torch.manual_seed: without a GPU in use it records a stack trace at every call.
        seed = mixed(NOISE, self.seed, sharing.rank(), self.step)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                torch.cuda.manual_seed(seed)

    def _own(self, share: Callable[[], Tensor]) -> Tensor:
        if self.trouble is None:
            try:
                return share()
            except Exception as error:
                self.trouble = error
        return self.nothing()

    def _look(self, flat: Tensor, own_loss: Tensor, rows: Rows, number: int) -> None:
        loss, asked, trouble = flat[[-TAIL, -2, -1]].tolist()
        self.stopped = asked > 0
        if trouble or not math.isfinite(loss):
            sharing.together(lambda: self._explain(own_loss, rows, number))
            raise NumericalError(f"the loss is no finite number at step {self.step + 1}")

    def _explain(self, own_loss: Tensor, rows: Rows, number: int) -> None:
        self._raise_own()
        if not math.isfinite(own_loss.item()):
            self._reseed()
            self.explain(rows.batch(number), torch.get_rng_state())

    def _raise_own(self) -> None:
        if self.trouble is not None:
            raise self.trouble
