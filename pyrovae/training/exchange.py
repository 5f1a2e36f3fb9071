r"""The gradient of a batch that is shared by several processes.

    loss of process r    L_r = -(1/B) sum of maximised(x_n) over its rows n; B rows in all processes
    vector               [dL_r/dw, which w have a gradient, L_r, sums of its rows, stop, error]
    all-reduce           adds up the vectors: gradient, loss and sums of the whole batch

Afterwards all processes have the same numbers. They make the same update, so their weights stay
equal bit for bit; they stop at the same step if one was asked to stop, and fail together if one has
an error. A parameter without a gradient in any process gets none, as in a single process. The noise
of process r at step t depends on (seed, r, t) only, so a checkpoint contains nothing of other
processes.

Reference:
    Goyal et al. (2017), "Accurate, Large Minibatch SGD", on the divisor of the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyrovae import sharing
from pyrovae.errors import NumericalError
from pyrovae.training.batches import Epoch, mixed
from pyrovae.training.job import Alone, Job, Weights

__all__ = ["Exchange", "exchange_of", "gradients", "packed", "unpacked"]

SUMS = 4
FLAGS = 2
TAIL = 1 + SUMS + FLAGS
NOISE = 20140415  # separates the noise from the order of the data, which has the same seed
# Reading a number waits for the GPU, so the flags are read every this number of steps there.
GPU_READS = 10

Gradient = list[Tensor | None]


class Exchange(Alone):
    """The all-reduce of a run's steps.

    Arguments:
        asked: returns whether this process was asked to stop.
        seed: seed of the noise.

    Attributes:
        stopped: whether any process was asked to stop; the same in all processes.
    """

    is_shared = True
    stopped = False  # type: ignore[assignment]

    def __init__(self, asked: Callable[[], bool], seed: int) -> None:
        super().__init__(asked)
        self.seed = seed
        self.trouble: Exception | None = None
        self.is_complete = False

    def differentiate(self, job: Job, epoch: Epoch, number: int, weights: Weights) -> Tensor:
        flat = self.added_up(lambda: self._share(job, epoch, number, weights), job, epoch, number)
        trained = list(job.trained.values())
        _, gradient, used, sums = unpacked(flat, trained)
        # Reading `used` waits for the GPU; a gradient in this process is also one in the sum.
        has_gradient = [True] * len(trained) if self.is_complete else used.tolist()
        for w, g, has in zip(trained, gradient, has_gradient, strict=True):
            w.grad = g if has else None
        return sums

    def added_up(self, share: Callable[[], Tensor], job: Job, epoch: Epoch, number: int) -> Tensor:
        """Add up the vectors of all processes for batch `number`; `share` computes this one's.

        Raises:
            InputError, NumericalError: in every process, if one raised it; nothing is updated then.
            Lost: when another process ended.
        """
        like, step = next(iter(job.trained.values())), job.state.position.step
        self._reseed(like.device, step)
        self.is_complete = False
        flat = self._own(share, job)
        own_loss = flat[-TAIL].clone()
        flat[-2] = float(self.asked())
        flat[-1] = float(self.trouble is not None)
        sharing.add_up(flat)
        if step % (GPU_READS if like.is_cuda else 1) == 0:
            self._read_flags(flat, own_loss, job, epoch, number)
        return flat

    def announced(self, work: Callable[[], None]) -> None:
        """Do work that may fail in this process only; the others are informed at the next step."""
        try:
            work()
        except Exception as error:
            self.trouble = self.trouble or error

    def finish(self) -> None:
        """End the run in all processes.

        Raises:
            InputError: in every process, if one raised it after the last step.
            Lost: when another process ended.
        """
        sharing.together(self._raise_own)

    # ---------------------------------------------------------------- pieces

    def _share(self, job: Job, epoch: Epoch, number: int, weights: Weights) -> Tensor:
        """This process's vector of batch `number`."""
        rows = epoch.batch(number)
        if not len(rows):
            return nothing(job)
        loss, gradient, sums = gradients(job, rows, weights, epoch.count(number))
        self.is_complete = all(g is not None for g in gradient)
        return packed(list(job.trained.values()), loss, gradient, sums)

    def _reseed(self, device: torch.device, step: int) -> None:
        # torch.manual_seed records a stack trace at every call when no GPU is in use.
        seed = mixed(NOISE, self.seed, sharing.rank(), step)
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)

    def _own(self, share: Callable[[], Tensor], job: Job) -> Tensor:
        if self.trouble is None:
            try:
                return share()
            except Exception as error:
                self.trouble = error
        return nothing(job)

    def _read_flags(self, flat: Tensor, own_loss: Tensor, job: Job, epoch: Epoch, number: int) -> None:
        loss, asked, trouble = flat[[-TAIL, -2, -1]].tolist()
        self.stopped = asked > 0
        if trouble or not math.isfinite(loss):
            sharing.together(lambda: self._explain(own_loss, job, epoch, number))
            raise NumericalError(f"the loss is not finite at step {job.state.position.step + 1}")

    def _explain(self, own_loss: Tensor, job: Job, epoch: Epoch, number: int) -> None:
        self._raise_own()
        if not math.isfinite(own_loss.item()):
            self._reseed(own_loss.device, job.state.position.step)
            job.explain(epoch.batch(number), torch.get_rng_state())

    def _raise_own(self) -> None:
        if self.trouble is not None:
            raise self.trouble


def exchange_of(asked: Callable[[], bool], seed: int) -> Alone:
    """The exchange for the processes of this run."""
    return Exchange(asked, seed) if sharing.is_shared() else Alone(asked)


def gradients(
    job: Job, batch: object, weights: Weights, count: int | None = None
) -> tuple[Tensor, Gradient, Tensor]:
    """The loss of a batch, its gradients (or None) and its sums (`Job.loss`)."""
    loss, sums = job.loss(batch, weights, count)  # type: ignore[arg-type]
    return loss.detach(), list(torch.autograd.grad(loss, list(job.trained.values()), allow_unused=True)), sums


def packed(trained: Sequence[Tensor], loss: Tensor, gradient: Gradient, sums: Tensor) -> Tensor:
    """The vector that a process sends at a step; both flags are zero."""
    zeros = (torch.zeros_like(w) for w in trained)
    flat = torch.cat([(z if g is None else g).reshape(-1) for g, z in zip(gradient, zeros, strict=True)])
    used = flat.new_ones(len(gradient))  # copying a list of numbers to a GPU would wait for it
    for i, g in enumerate(gradient):
        if g is None:
            used[i].zero_()
    return torch.cat([flat, used, loss.reshape(1).to(flat), sums.to(flat), flat.new_zeros(FLAGS)])


def unpacked(flat: Tensor, trained: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """Split the sum of vectors: the loss, the gradient, which tensors have one, and the sums."""
    *pieces, used, _ = flat.split([*(w.numel() for w in trained), len(trained), TAIL])
    gradient = [piece.view(w.shape).to(w.dtype) for piece, w in zip(pieces, trained, strict=True)]
    return flat[-TAIL], gradient, used, flat[1 - TAIL : -FLAGS].double()


def nothing(job: Job) -> Tensor:
    """The vector of a process without rows in a batch."""
    trained = list(job.trained.values())
    zero = torch.zeros((), device=trained[0].device)
    return packed(trained, zero, [None] * len(trained), zero.expand(SUMS))
