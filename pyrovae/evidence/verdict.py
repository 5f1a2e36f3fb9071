r"""For which observations an estimate of log p(x) can be trusted, and the sentence that says so.

A row is trusted if the error that is stated for it holds: |estimate - log p(x)| is below three
stated errors, or below .05 nats. The limits are calibrated on models with known log p(x)
(`oracles.hard_models`, benchmarks/verdict.py):

    weights   k-hat below its threshold, an effective sample size of 100, or a tenth of K if less
    chains    an error below 1/4 nat, and an effective sample size of half the chains

For samples of the guide the limits hold as far as the guide covers the posterior. A mean over S
samples of variables that all rows share also needs at least 5 samples, and an effective sample size
of at least 10 (or S / 2, if that is less).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from pyrovae.cures import cure
from pyrovae.evidence.pareto import SMALLEST_SAMPLE
from pyrovae.numerics import khat_threshold

__all__ = ["LARGEST_ERROR", "LEAST_ESS", "MOST", "are_trusted", "sentence", "trusted"]

LEAST_ESS = 100
LARGEST_ERROR = 0.25
LEAST_DRAWS, FEWEST_DRAWS = (
    10,
    5,
)  # samples of shared variables: the least effective sample size, and the least number
# The share of trusted observations from which a mean is called trusted.
MOST, HALF = 0.95, 0.5
# `result.Evidence`, which imports this file.
Evidence = Any


def trusted(evidence: Evidence) -> np.ndarray:
    """Whether the error of each observation can be trusted, (N,)."""
    mc_stderr, ess, khat = evidence.mc_stderr, evidence.ess, evidence.khat
    good = _are_trusted(mc_stderr, ess, khat, evidence.particles, annealed=evidence.annealed)
    return good if evidence.weights_ess is None else good & _has_draws(evidence)


def _has_draws(evidence: Evidence) -> np.ndarray:
    """Whether enough samples of shared variables carry the estimate of each observation, (N,)."""
    enough = evidence.weights_ess >= min(LEAST_DRAWS, evidence.weights / 2)
    return enough & (evidence.weights >= FEWEST_DRAWS)


def are_trusted(summary: Tensor, particles: int, *, annealed: bool) -> Tensor:
    """The same for the summary of a method, log_px, mc_stderr, ess and khat, (4, N)."""
    log_px, mc_stderr, ess, khat = summary[:4]
    return _are_trusted(mc_stderr, ess, khat, particles, annealed=annealed) & log_px.isfinite()


def _are_trusted(mc_stderr: Any, ess: Any, khat: Any, particles: int, *, annealed: bool) -> Any:  # noqa: ANN401
    if annealed:
        return (mc_stderr < LARGEST_ERROR) & (ess >= particles / 2)
    if particles < SMALLEST_SAMPLE:
        return ess < 0  # none
    return (khat < khat_threshold(particles)) & (ess >= min(LEAST_ESS, particles / 10))


def sentence(evidence: Evidence) -> str:
    """Whether the numbers can be trusted, and what to do if not."""
    if evidence.particles < 2:
        return "one particle gives the ELBO and no error; use more"
    if not evidence.annealed and evidence.particles < SMALLEST_SAMPLE:
        return "fewer than 25 particles give no k-hat; use more to know whether to trust this"
    if evidence.weights_ess is not None and _has_draws(evidence).mean() < MOST:
        return _of_draws(evidence)
    said = _of_chains(evidence) if evidence.annealed else _of_weights(evidence)
    return said if not evidence.weightless.any() else f"{_of_weightless(evidence)}; {said}"


def _of_draws(evidence: Evidence) -> str:
    count, few = evidence.weights, 1 - _has_draws(evidence).mean()
    least = np.nanmin(evidence.weights_ess)
    if count < FEWEST_DRAWS:
        return f"fewer than {FEWEST_DRAWS} samples of the shared variables do not show their error: use more"
    return (
        f"not reliable: few of the {count} samples of shared variables carry the estimate for {few:.0%} of "
        f"the observations (effective sample size down to {least:.0f}), so the errors "
        "shown are too small: use more samples "
        f"({cure('weights=', '--weights')}) or particles"
    )


def _of_weightless(evidence: Evidence) -> str:
    rows = evidence.numbers(evidence.weightless)
    some = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
    return (
        f"{len(rows)} of {len(evidence):,} observations (row {some}) have no probability under the samples, "
        "so the mean is minus infinity: check whether they are in the support of p(x|z), or leave them out"
    )


def _of_chains(evidence: Evidence) -> str:
    share, smallest = evidence.trusted.mean(), f"{np.nanmin(evidence.ess):.0f} of {evidence.particles:,}"
    if share < MOST:
        return (
            f"the chains disagree for {1 - share:.0%} of the observations (effective sample size down to "
            f"{smallest}): use more temperatures or chains"
        )
    modes = cure("start='modes'", "--method.start modes")
    unless = "" if evidence.settings.get("start", "modes") == "modes" else _UNLESS.format(modes)
    return (
        f"trust it for {share:.0%} of the observations, whose chains agree (smallest effective sample size "
        f"{smallest}){unless}"
    )


def _method(name: str) -> str:
    return cure(f"method={name.lower()!r}", f"--method {name}")


_UNLESS = ", unless the posterior has modes that the start does not reach; {} looks for those"


def _of_weights(evidence: Evidence) -> str:
    share = evidence.trusted.mean()
    if evidence.finds_modes and HALF <= share < MOST:
        return (
            f"trust it for {share:.0%} of the observations; for the others k-hat is above "
            f"{evidence.threshold:.2f} or few samples carry the estimate, and their errors may be larger "
            f"than stated: check some with {_method('AIS')}"
        )
    if share < MOST:
        kind = "a lower bound, not an estimate" if evidence.is_bound else "not reliable"
        name = "AIS" if evidence.finds_modes else "Laplace"
        return (
            f"{kind}: k-hat is above {evidence.threshold:.2f} or few samples carry the estimate for "
            f"{1 - share:.0%} of the observations, so the errors shown do not include the bias; quote "
            f"{_method(name)}, and give this next to it"
        )
    covers = "" if evidence.finds_modes else ", as far as the guide covers the posterior"
    return f"trust it for {share:.0%} of the observations{covers}: their k-hat is good"
