"""The line to quote from `evaluate`, with both errors of log p(x), and the caveats of `compare`."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence

from pyrovae.datasets import Rows
from pyrovae.evidence import Evidence
from pyrovae.evidence.verdict import MOST
from pyrovae.numerics import stderr_of_mean

__all__ = ["caveats", "cost_of", "duration", "quotable", "referee"]


WIDTH = 96  # columns of a paragraph
_NUMBER = re.compile(r"\d(?:[\d,.]*\d)?")


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


def caveats(evidences: Mapping[str, Evidence]) -> str:
    """Whether the estimates can be trusted: each sentence once, with the range of its numbers.

    Example:
        >>> from pyrovae.evidence import log_evidence
        >>> from pyrovae.oracles import LinearGaussian
        >>> oracle = LinearGaussian.random(4, 2)
        >>> a, b = (log_evidence(oracle, oracle.sample(20), particles=k) for k in (30, 60))
        >>> print(caveats({"runs/a": a, "runs/b": b}))
        all 2 runs: trust it for 100% of the observations, as far as the guide covers the posterior:
          their k-hat is good
    """
    groups: dict[str, dict[str, str]] = {}
    for name, evidence in evidences.items():
        groups.setdefault(_NUMBER.sub("#", evidence.verdict), {})[name] = evidence.verdict
    lines = []
    for sentences in groups.values():
        is_all = len(sentences) == len(evidences) > 1
        names = f"all {len(sentences)} runs" if is_all else ", ".join(sentences)
        line = f"{names}: {_merged(list(sentences.values()))}"
        lines.append(textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    return "\n".join(lines)


def _merged(sentences: Sequence[str]) -> str:
    """A sentence for several that differ only in their numbers, with the range of each number."""
    ranges = iter(_range(numbers) for numbers in zip(*map(_NUMBER.findall, sentences), strict=True))
    return _NUMBER.sub(lambda _: next(ranges), sentences[0])


def _range(numbers: Sequence[str]) -> str:
    ordered = sorted(numbers, key=lambda number: float(number.replace(",", "")))
    low, high = ordered[0], ordered[-1]
    return low if low == high else f"{low} to {high}"


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
