"""The line to quote from `evaluate`: log p(x) of all rows, with both of its errors."""

from __future__ import annotations

import time
from collections.abc import Callable

from pyrovae.datasets import Rows
from pyrovae.evidence import Evidence
from pyrovae.evidence.verdict import MOST
from pyrovae.numerics import stderr_of_mean

__all__ = ["cost_of", "duration", "quotable", "referee"]


def quotable(evidence: Evidence) -> str:
    """One line with the mean of log p(x), its errors, the method and the share of trusted rows.

    Example:
        >>> from pyrovae.evidence import log_evidence
        >>> from pyrovae.oracles import LinearGaussian
        >>> oracle = LinearGaussian.random(4, 2)
        >>> evidence = log_evidence(oracle, oracle.sample(20), method="laplace")
        >>> quotable(evidence).split(", ", 2)[2]
        'Laplace importance sampling, K = 1,000, trusted for 100% of rows'
    """
    number = f"{'chains' if evidence.annealed else 'K'} = {evidence.particles:,}"
    below = "at least " if evidence.is_bound and evidence.trusted.mean() < MOST else ""
    return (
        f"{evidence.meaning} = {below}{evidence.corrected:.2f} +- {evidence.stderr:.2f} between "
        f"observations, +- {evidence.corrected_error:.2g} Monte Carlo, {evidence.method}, {number}, "
        f"trusted for {evidence.trusted.mean():.0%} of rows"
    )


def referee(evidence: Evidence, other: Evidence, best: str, name: str) -> str:
    """The paired difference of a second estimate of the first rows."""
    difference = other.log_px - evidence.log_px[: len(other)]
    mean, error = difference.mean(), float(stderr_of_mean(difference))
    return f"{name} minus {best}, on the same {len(other):,} observations: {mean:.3f} +- {error:.3f} nats"


def cost_of(estimate: Callable[[Rows], Evidence], rows: Rows, count: int) -> float:
    """The seconds that an estimate of all rows will take, from a few of them."""
    few = rows[: min(count, len(rows))]
    estimate(few[:1])  # one-time work is not measured
    began = time.perf_counter()
    estimate(few)
    return (time.perf_counter() - began) * len(rows) / len(few)


def duration(seconds: float) -> str:
    """A number of seconds in words.

    Example:
        >>> duration(12.3), duration(200), duration(8000)
        ('12 seconds', '3 minutes', '2.2 hours')
    """
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
