r"""Schedules: numbers that change as training goes on, each a pure function of the position.

    learning rate   lr * factor(t),   t = step / steps in [0, 1)
    KL weight       min(1, epoch / kl_warmup), fractional epochs counted

Because they depend on the position alone, a resumed run continues them exactly.
"""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["LRSchedule", "kl_weight", "lr_factor"]

LRSchedule = Literal["constant", "linear", "cosine"]


def lr_factor(schedule: LRSchedule, t: float) -> float:
    """The factor of the learning rate after a share `t` of all steps.

    Example:
        >>> [round(lr_factor("cosine", t), 3) for t in (0.0, 0.5, 1.0)]
        [1.0, 0.5, 0.0]
    """
    if schedule == "cosine":
        return (1 + math.cos(math.pi * t)) / 2
    return 1 - t if schedule == "linear" else 1.0


def kl_weight(warmup: float, epochs_done: float) -> float:
    """The weight of the KL divergence after `epochs_done` epochs; it grows from 0 to 1 over `warmup` epochs.

    Reference:
        Bowman et al. (2016), "Generating Sentences from a Continuous Space".
    """
    return min(1.0, epochs_done / warmup) if warmup else 1.0
