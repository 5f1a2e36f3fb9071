"""What an estimate of the evidence returns: arrays of one number for each datum, and a table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Evidence"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """log p(x) for each of N data, in nats.

    Attributes:
        log_px: the estimate for each datum, (N,).
        mc_stderr: its Monte Carlo standard error, (N,).
        ess: the effective sample size, at most `particles`, (N,).
        particles: draws for each datum.
        event_size: the number of elements of one datum.
        method: how it was estimated.
    """

    log_px: np.ndarray = field(repr=False)
    mc_stderr: np.ndarray = field(repr=False)
    ess: np.ndarray = field(repr=False)
    particles: int
    event_size: int
    method: str = "importance"

    def __len__(self) -> int:
        return len(self.log_px)

    @property
    def mean(self) -> float:
        """The mean of log p(x) over the data, in nats per datum."""
        return float(self.log_px.mean())

    @property
    def stderr(self) -> float:
        """The standard error of the mean that comes from having these data and no others."""
        return float(self.log_px.std(ddof=1) / math.sqrt(len(self))) if len(self) > 1 else math.nan

    @property
    def mc_error(self) -> float:
        """The standard error of the mean that comes from the Monte Carlo draws."""
        return float(np.sqrt((self.mc_stderr**2).sum()) / len(self))

    @property
    def bits_per_dim(self) -> float:
        """Minus the mean in bits, divided by the number of elements; smaller is better."""
        return -self.mean / (self.event_size * math.log(2))

    def __str__(self) -> str:
        rows = [
            ("mean", f"{self.mean:.3f} nats per datum"),
            ("error between data", f"{self.stderr:.3f}"),
            ("Monte Carlo error", f"{self.mc_error:.4f}"),
            ("effective sample size", f"median {np.median(self.ess):.0f}, smallest {self.ess.min():.0f}"),
            ("bits per dimension", f"{self.bits_per_dim:.4f}"),
        ]
        head = f"log p(x) of {len(self):,} data by {self.method} sampling with {self.particles:,} particles"
        return "\n".join([head, *(f"  {name:<22} {value}" for name, value in rows)])
