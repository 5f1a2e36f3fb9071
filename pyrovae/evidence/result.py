"""What an estimate of the evidence returns: arrays of one number for each datum, and a table in words."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyrovae.numerics import khat_threshold, stderr_of_mean

__all__ = ["Evidence"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """log p(x) for each of N data, in nats.

    Attributes:
        log_px: the estimate for each datum, (N,).
        mc_stderr: its Monte Carlo standard error, (N,); nan for one particle.
        ess: the effective sample size, at most `particles`, (N,).
        khat: the Pareto index of the weights, (N,); nan below 25 particles, 0 for equal weights.
        particles: draws for each datum.
        event_shape: of one datum.
        method: how it was estimated, in words.
        settings: what the method chose or was given.
        annealed: whether the particles are chains that were moved to the posterior.
        partial: whether it was stopped before all data were done.
        seconds: how long it took.
    """

    log_px: np.ndarray = field(repr=False)
    mc_stderr: np.ndarray = field(repr=False)
    ess: np.ndarray = field(repr=False)
    khat: np.ndarray = field(repr=False)
    particles: int
    event_shape: tuple[int, ...]
    method: str = "importance sampling"
    settings: Mapping[str, Any] = field(default_factory=dict)
    annealed: bool = False
    partial: bool = False
    seconds: float = math.nan

    def __len__(self) -> int:
        return len(self.log_px)

    @property
    def mean(self) -> float:
        """The mean of log p(x) over the data, in nats per datum."""
        return float(self.log_px.mean())

    @property
    def stderr(self) -> float:
        """The standard error of the mean that comes from having these data and no others."""
        return float(stderr_of_mean(self.log_px))

    @property
    def mc_error(self) -> float:
        """The standard error of the mean that comes from the Monte Carlo draws."""
        return float(np.sqrt((self.mc_stderr**2).sum()) / len(self))

    @property
    def threshold(self) -> float:
        """The k-hat above which a datum's weights are not to be trusted, min(1 - 1/log10 K, 0.7)."""
        return khat_threshold(self.particles)

    @property
    def doubtful(self) -> float:
        """The share of data whose k-hat is above the threshold; nan when there is no k-hat."""
        known = self.khat[~np.isnan(self.khat)]
        return float((known > self.threshold).mean()) if len(known) else math.nan

    @property
    def bits_per_dim(self) -> float:
        """Minus the mean in bits, divided by the number of elements of a datum; smaller is better."""
        return -self.mean / (math.prod(self.event_shape) * math.log(2))

    @property
    def verdict(self) -> str:
        """Whether to trust the numbers, and what to do if not, in a sentence."""
        if self.particles < 2:
            return "one particle gives the ELBO and no error; use more"
        smallest = f"{self.ess.min():.0f} of {self.particles:,}"
        if self.annealed:
            if np.median(self.mc_stderr) < 0.5:
                return (
                    f"the chains agree (smallest effective sample size {smallest}): trust the mean, but for "
                    "modes of the posterior that the start does not reach; start='prior' sees those"
                )
            return f"the chains disagree (effective sample size down to {smallest}): use more temperatures"
        if self.particles < 25:
            return "fewer than 25 particles give no k-hat; use more to know whether to trust this"
        if self.doubtful > 0.05 or np.median(self.ess) < 10:
            plain = self.method == "importance sampling"
            kind = "a lower bound, not an estimate" if plain else "not to be trusted"
            return (
                f"{kind}: k-hat is above {self.threshold:.2f} for "
                f"{self.doubtful:.0%} of the data, so the errors shown do not hold the bias; "
                "quote method='ais' and give this beside it"
            )
        good = f"k-hat is good for {1 - self.doubtful:.0%} of the data"
        return f"trust it as far as the guide covers the posterior: {good}"

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values, for a file."""
        plain = {
            "method": self.method,
            "settings": dict(self.settings),
            "particles": self.particles,
            "rows": len(self),
            "partial": self.partial,
            "log_px": self.mean,
            "stderr": self.stderr,
            "mc_error": self.mc_error,
            "doubtful": self.doubtful,
            "khat_threshold": self.threshold,
            "median_ess": float(np.median(self.ess)),
            "bits_per_dim": self.bits_per_dim,
            "seconds": self.seconds,
        }
        return {name: None if _is_nan(value) else value for name, value in plain.items()}

    def __str__(self) -> str:
        word = "chains" if self.annealed else "particles"
        rows = [
            ("mean", f"{self.mean:.3f} nats per datum"),
            ("error between data", f"{self.stderr:.3f}"),
            ("Monte Carlo error", f"{self.mc_error:.4f}"),
            ("effective sample size", f"median {np.median(self.ess):.0f}, smallest {self.ess.min():.0f}"),
        ]
        if not math.isnan(self.doubtful) and not self.annealed:
            rows.append((f"k-hat above {self.threshold:.2f}", f"{self.doubtful:.1%} of the data"))
        if len(self.event_shape) == 3:
            rows.append(("bits per dimension", f"{self.bits_per_dim:.4f}"))
        rows.append(("seconds", f"{self.seconds:.1f}"))
        head = f"log p(x) of {len(self):,} data by {self.method}, {self.particles:,} {word}"
        head += "".join(f", {name} {value}" for name, value in self.settings.items() if value is not None)
        head += " (stopped early: partial)" if self.partial else ""
        lines = [f"  {name:<22} {value}" for name, value in rows]
        verdict = textwrap.fill(self.verdict, 96, initial_indent="  ", subsequent_indent="  ")
        return "\n".join([head, *lines, verdict])


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
