"""One step: the gradient of a batch, and the update.

    L = -(1/B) sum_n maximised(x_n)      g = dL/dw, clipped to the norm `clip`      w <- w - ... g

`eager_step` uses autograd and torch's optimiser. `shortened` and `move` are the same arithmetic on
tensors, without Python numbers, for compiled steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyrovae.training.batches import Epoch
from pyrovae.training.optimizers import Optimizer

if TYPE_CHECKING:
    from pyrovae.training.job import Job

__all__ = ["eager_step", "move", "shortened"]


def eager_step(job: Job, epoch: Epoch, number: int) -> None:
    """Take the step of batch `number` in Python.

    Raises:
        NumericalError: when the loss is not finite; nothing is updated then.
    """
    step = job.state.position.step
    for group in job.optimizer.param_groups:
        group["lr"] = job.lr(step)
    sums = job.exchange.differentiate(job, epoch, number, job.weights(step))
    if job.settings.clip is not None:
        torch.nn.utils.clip_grad_norm_(list(job.trained.values()), job.settings.clip)
    job.optimizer.step()
    job.optimizer.zero_grad(set_to_none=True)
    job.state.sums += sums


def shortened(gradient: Sequence[Tensor], clip: float | None) -> list[Tensor]:
    """Clip the gradient to the norm `clip`, as `clip_grad_norm_`."""
    if clip is None:
        return list(gradient)
    norm = torch.stack([g.square().sum() for g in gradient]).sum().sqrt()
    factor = (clip / (norm + 1e-6)).clamp(max=1.0)
    return [g * factor for g in gradient]


def move(
    update: type[Optimizer],
    weights: Sequence[Tensor],
    moments: Sequence[Sequence[Tensor]],
    gradient: Sequence[Tensor],
    numbers: Sequence[Tensor],
    good: Tensor,
) -> None:
    """Update weights and moments in place by one step of an optimiser, if `good` is true."""
    for w, of_weight, g in zip(weights, moments, gradient, strict=True):
        new = update.updated(w, g, of_weight, [number.to(w.dtype) for number in numbers])
        for old, value in zip((w, *of_weight), new, strict=True):
            old.copy_(torch.where(good, value, old))
