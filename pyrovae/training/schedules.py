"""Schedules of the learning rate and the KL weight, pure functions of the position in training.

    learning rate   lr * factor(t),   t = step / steps in [0, 1)
    KL weight       min(1, t), t = epoch / kl_warmup, fractional epochs counted; cyclic: t modulo 2

A resumed run continues them exactly.
"""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["KLSchedule", "LRSchedule", "kl_weight", "lr_factor"]

LRSchedule = Literal["constant", "linear", "cosine"]
KLSchedule = Literal["linear", "cyclic"]


def lr_factor(schedule: LRSchedule, t: float) -> float:
    """The factor of the learning rate after a share `t` of all steps.

    Example:
        >>> [round(lr_factor("cosine", t), 3) for t in (0.0, 0.5, 1.0)]
        [1.0, 0.5, 0.0]
    """
    if schedule == "cosine":
        return (1 + math.cos(math.pi * t)) / 2
    return 1 - t if schedule == "linear" else 1.0


def kl_weight(warmup: float, epochs_done: float, schedule: KLSchedule = "linear") -> float:
    """The weight of the KL divergence after `epochs_done` epochs.

    It grows from 0 to 1 over `warmup` epochs. The cyclic schedule then stays at 1 for the same
    number of epochs and starts again.

    Reference:
        Bowman et al. (2016), "Generating Sentences from a Continuous Space"; Fu et al. (2019),
        "Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing".

    Example:
        >>> [kl_weight(2.0, epoch, "cyclic") for epoch in (0, 1, 2, 3, 4, 5)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]
    """
    if not warmup:
        return 1.0
    cycles = epochs_done / warmup
    return min(1.0, cycles % 2 if schedule == "cyclic" else cycles)
