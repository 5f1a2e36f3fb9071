r"""The posterior predictive density of new rows, if all rows share some variables w.

    log p(x | D) = log E_q(w)[ p(x | w) ]  ~  log (1/S) sum_s p(x | w_s)

w is drawn S times from the guide, and log p(x|w_s) of each row is estimated as for a program
without shared variables. The variance of p(x|w_s) between the draws contains the noise of the
estimates, so it gives the error of the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pyrovae.evidence.result import Evidence
from pyrovae.evidence.run import evaluating, inputs
from pyrovae.terms import Runner
from pyrovae.terms.global_posterior import drawn_values

__all__ = ["Given", "over_draws", "predictive", "shared_draws"]

Given = Literal["posterior", "mean"]
Values = Mapping[str, Tensor]
STRIDE = 7919  # between the seeds of draws


def shared_draws(
    vae: Any,  # noqa: ANN401
    x: Any,  # noqa: ANN401
    context: Any,  # noqa: ANN401
    y: Any,  # noqa: ANN401
    *,
    count: int,
    seed: int,
) -> list[Values] | None:
    """Draws of the variables that all rows share; None for a program without such variables."""
    runner = Runner(vae)
    rows = inputs(runner, x, context, y)
    with evaluating(runner):
        if not runner.check(rows).global_sites:
            return None
        torch.manual_seed(seed)
        return [drawn_values(runner, rows) for _ in range(count)]


def over_draws(
    estimate: partial[Evidence],
    x: Any,  # noqa: ANN401
    context: Any,  # noqa: ANN401
    y: Any,  # noqa: ANN401
    draws: Sequence[Values],
) -> list[Evidence]:
    """log p(x|w) for each draw of w, with other samples of z for each."""
    seed = estimate.keywords["seed"]
    return [estimate(x, context, y, shared=values, seed=seed + STRIDE * s) for s, values in enumerate(draws)]


def predictive(each: Sequence[Evidence]) -> Evidence:
    """The logarithm of the mean of p(x|w) over draws of w, with its error."""
    rows = min(len(one) for one in each)  # after Ctrl-C, the rows that all draws have
    log_p = np.stack([one.log_px[:rows] for one in each])
    top = log_p.max(0)
    top = np.where(np.isfinite(top), top, 0.0)
    weights = np.exp(log_p - top)
    mean = weights.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        stderr = _stderr(weights, mean, each[0].mc_stderr[:rows])
        log_px, weights_ess = np.log(mean) + top, weights.sum(0) ** 2 / (weights**2).sum(0)
    first = each[0]
    return replace(
        first,
        log_px=log_px,
        mc_stderr=stderr,
        ess=np.mean([one.ess[:rows] for one in each], axis=0),
        khat=np.mean([one.khat[:rows] for one in each], axis=0),
        log_bias=-(stderr**2) / 2,
        index=None if first.index is None else first.index[:rows],
        partial=any(one.partial for one in each),
        given="posterior",
        weights=len(each),
        weights_ess=weights_ess,
    )


def _stderr(weights: np.ndarray, mean: np.ndarray, of_first: np.ndarray) -> np.ndarray:
    """The standard error of the logarithm of the mean over draws (S, N), (N,)."""
    if len(weights) == 1:
        return of_first
    return weights.std(0, ddof=1) / np.sqrt(len(weights)) / mean
