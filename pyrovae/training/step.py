r"""One step: the gradient of a batch, and the move along it.

    L = -(1/B) sum_n maximised(x_n)          g = dL/dw, shortened to the norm `clip`          w <- w - ... g

`gradients` and `moved` are arithmetic on tensors without a Python number in it: the captured step is made
of them. `eager` is the same step through autograd and torch's own optimiser. Of several processes each has
the sum over its rows, divided by the rows of all, and their gradients are added up (`exchange`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyrovae.objectives import Objective
from pyrovae.terms import Terms
from pyrovae.training.batches import Batch, Rows
from pyrovae.training.exchange import packed, unpacked
from pyrovae.training.schedules import kl_weight
from pyrovae.training.updates import updated

if TYPE_CHECKING:
    from pyrovae.training.job import Job

__all__ = ["eager", "gradients", "moved", "share", "shortened"]


def eager(job: Job, rows: Rows, number: int) -> None:
    """Take the step of batch `number` in Python.

    Raises:
        NumericalError: when the loss is no finite number; nothing was moved then.
    """
    for group in job.optimizer.param_groups:
        group["lr"] = job.lr(job.state.position.step)
    warmup = job.settings.kl_warmup
    weight = (
        kl_weight(warmup, job.state.position.step / job.batch_count, job.settings.kl_schedule)
        if warmup
        else None
    )
    sums = (_differentiate if job.exchange is None else _exchange)(job, rows, number, weight)
    if job.settings.clip is not None:
        torch.nn.utils.clip_grad_norm_(list(job.trained.values()), job.settings.clip)
    job.optimizer.step()
    job.optimizer.zero_grad(set_to_none=True)
    job.state.sums += sums


def gradients(
    job: Job, batch: Batch, weight: Tensor | float | None, count: int | None = None
) -> tuple[Tensor, list[Tensor], Tensor]:
    """The loss of a batch, its gradient for each trained tensor, and the sums that an epoch reports.

    With a count the loss is a sum over the batch divided by it, as of one process among others.
    """
    loss, sums = _loss(job, batch, weight, count)
    trained = list(job.trained.values())
    found = torch.autograd.grad(loss, trained, allow_unused=True)
    zeros = (torch.zeros_like(w) for w in trained)
    return loss.detach(), [zero if g is None else g for g, zero in zip(found, zeros, strict=True)], sums


def share(job: Job, rows: Rows, number: int, weight: float | None) -> Tensor:
    """What this process tells the others of batch `number`, (P + 7,)."""
    assert job.exchange is not None
    batch = rows.batch(number)
    if not len(batch[0]):
        return job.exchange.nothing()
    return packed(*gradients(job, batch, weight, rows.count(number)))


def shortened(gradient: Sequence[Tensor], clip: float | None) -> list[Tensor]:
    """The gradient, brought to the norm `clip` where it is longer, as `clip_grad_norm_` does it."""
    if clip is None:
        return list(gradient)
    norm = torch.stack([g.square().sum() for g in gradient]).sum().sqrt()
    factor = (clip / (norm + 1e-6)).clamp(max=1.0)
    return [g * factor for g in gradient]


def moved(
    name: str,
    weights: Sequence[Tensor],
    moments: Sequence[Sequence[Tensor]],
    gradient: Sequence[Tensor],
    numbers: Sequence[Tensor],
    good: Tensor,
) -> None:
    """Move weights and moments in place by one step of an optimiser, where `good` is true."""
    for w, kept, g in zip(weights, moments, gradient, strict=True):
        new = updated(name, w, g, kept, [number.to(w.dtype) for number in numbers])
        for old, value in zip((w, *kept), new, strict=True):
            old.copy_(torch.where(good, value, old))


def _differentiate(job: Job, rows: Rows, number: int, weight: float | None) -> Tensor:
    """Leave the gradient at the parameters; gives the batch's sums."""
    batch, random = rows.batch(number), torch.get_rng_state()
    loss, sums = _loss(job, batch, weight)
    # Reading the loss waits for a GPU; there the sums of the epoch are looked at instead.
    if not loss.is_cuda and not math.isfinite(loss.item()):
        job.explain(batch, random)
    loss.backward()
    return sums


def _exchange(job: Job, rows: Rows, number: int, weight: float | None) -> Tensor:
    """The same from the rows of all processes."""
    assert job.exchange is not None
    trained = list(job.trained.values())
    flat = job.exchange(lambda: share(job, rows, number, weight), job.state.position.step, rows, number)
    _, gradient, sums = unpacked(flat, trained)
    for w, g in zip(trained, gradient, strict=True):
        w.grad = g
    return sums


def _loss(
    job: Job, batch: Batch, weight: Tensor | float | None, count: int | None = None
) -> tuple[Tensor, Tensor]:
    """Minus what is ascended, a mean over the batch; without a weight there is no annealing."""
    pair, objective = job.pair(*batch), job.objective
    plain = weight is None or (not isinstance(weight, Tensor) and weight == 1)
    ascended = objective.ascended(pair, None if plain else weight)
    mean = ascended.mean() if count is None else ascended.sum() / count
    return -mean, _sums(objective, pair.terms())


@torch.no_grad()
def _sums(objective: Objective, terms: Terms) -> Tensor:
    kl = terms.mean(terms.log_qz - terms.log_pz)
    rows = torch.stack([objective.bound(terms), terms.mean(terms.log_px_z), kl, torch.ones_like(kl)])
    return rows.sum(1, dtype=torch.float64)
