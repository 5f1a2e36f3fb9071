r"""The posterior predictive density of new rows, if all rows share some variables w.

    log p(x | D) = log E_q(w)[ p(x | w) ]  ~  log (1/S) sum_s p(x | w_s)

w is sampled S times from the guide, and p(x|w_s) of each row is estimated as for a program without
shared variables. The variance of these estimates over s includes their own noise, so it gives the
total error. All rows share the samples of w, so the errors of rows are not independent. The error
of their mean is computed from

    g_s = (1/N) sum_n p(x_n | w_s) / p(x_n | D),     error of the mean = sd(g) / sqrt(S)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from torch import Tensor

from pyrovae.checks import count_of, one_of
from pyrovae.errors import InputError
from pyrovae.evidence.run import Pieces

__all__ = ["WEIGHTS", "Draws", "Given", "Shared", "over_draws"]

Given = Literal["posterior", "mean"]
Values = Mapping[str, Tensor]
WEIGHTS = 20
STRIDE = 7919  # between the seeds of draws


class Shared:
    """Whether to average over the variables that all rows share, or to use their mean.

    Arguments:
        given: "posterior" or "mean".
        weights: the number of samples of them; None is the default.
        usual: the default number.
        is_asked: whether the options are those of the user, and are refused if they have no effect.

    Raises:
        InputError: for an unknown `given`, or a number of samples that would not be used.
    """

    def __init__(
        self,
        given: Given = "posterior",
        weights: int | None = None,
        *,
        usual: int = WEIGHTS,
        is_asked: bool = True,
    ) -> None:
        self.given = one_of("given", given, get_args(Given))
        self.is_asked = is_asked and (weights is not None or given == "mean")
        if weights is not None and given == "mean":
            raise InputError(
                "weights= is the number of samples for given='posterior': leave out weights= or given='mean'"
            )
        self.count = usual if weights is None else count_of("weights", weights)

    @contextmanager
    def draws(self, pieces: Pieces) -> Iterator[tuple[Pieces, Draws]]:
        """The rows at the first sample of w, and all samples; only the mean if `given` says so.

        Raises:
            InputError: for options that have no effect on a program without shared variables.
        """
        if not pieces.runner.global_sites:
            if self.is_asked:
                raise InputError(
                    "given= and weights= are for variables that all rows share, and the program has none: "
                    "leave them out"
                )
            yield pieces, Draws(None, [{}], {})
            return
        values = [pieces.centre()] if self.given == "mean" else pieces.draws(self.count)
        # All samples are copied into the same tensors, so that code is compiled once.
        slots = {name: value.clone() for name, value in values[0].items()}
        with pieces.at(slots) as held:
            yield held, Draws(self.given, values, slots)


@dataclass(frozen=True, eq=False)
class Draws:
    """Samples of the variables that all rows share, put in turn into the same tensors.

    Attributes:
        given: "posterior" or "mean", or None for a program without such variables.
        values: the samples.
        slots: the tensors that a program reads as values of the variables.
    """

    given: Given | None
    values: Sequence[Values]
    slots: Values

    def __len__(self) -> int:
        return len(self.values)

    def of(self, pieces: Pieces) -> Iterator[Pieces]:
        """The rows at each sample of w in turn, with other samples of z for each."""
        for number, values in enumerate(self.values):
            for name, slot in self.slots.items():
                slot.copy_(values[name])
            yield replace(pieces, seed=pieces.seed + STRIDE * number)

    def combined(self, summaries: np.ndarray) -> dict[str, Any]:
        """The fields of `Evidence` from the summaries at each sample, (S, outputs, N)."""
        if self.given != "posterior":
            log_px, mc_stderr, ess, khat, *bias = summaries[0]
            log_bias = bias[0] if bias else -(mc_stderr**2) / 2
            found = {"log_px": log_px, "mc_stderr": mc_stderr, "ess": ess, "khat": khat, "log_bias": log_bias}
            return found | {"given": self.given}
        return _predictive(summaries)


@contextmanager
def over_draws(
    pieces: Pieces, given: Given = "posterior", weights: int | None = None
) -> Iterator[tuple[Pieces, Draws]]:
    """`Shared.draws` with options that are ignored if rows share no variables."""
    with Shared(given, weights, is_asked=False).draws(pieces) as found:
        yield found


def _predictive(summaries: np.ndarray) -> dict[str, Any]:
    """The logarithm of the mean of p(x|w) over samples of w, with its error."""
    log_p = summaries[:, 0]
    top = log_p.max(0)
    top = np.where(np.isfinite(top), top, 0.0)
    weights = np.exp(log_p - top)
    mean, count = weights.mean(0), len(weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        stderr = _stderr(weights / mean)
        log_px, weights_ess = np.log(mean) + top, weights.sum(0) ** 2 / (weights**2).sum(0)
        shares = weights / weights.sum(0)
    of_smoothing = (shares * np.nan_to_num(summaries[:, 4])).sum(0) if summaries.shape[1] > 4 else 0.0
    of_mean, apart = _stderr((weights / mean).mean(1)), np.sqrt((stderr**2).sum()) / stderr.size
    return {
        "log_px": log_px,
        "mc_stderr": stderr,
        "ess": _mean(summaries[:, 2]),
        "khat": _mean(summaries[:, 3]),
        "log_bias": of_smoothing - stderr**2 / 2,
        "given": "posterior",
        "weights": count,
        "weights_ess": weights_ess,
        "common_error": float(np.sqrt(np.maximum(of_mean**2 - apart**2, 0.0))),
    }


def _stderr(values: np.ndarray) -> Any:  # noqa: ANN401
    """The standard error of a mean over S samples, (S, *) -> (*); nan for one sample."""
    count = len(values)
    if count == 1:
        return np.full(values.shape[1:], np.nan)
    # With few samples this error is itself uncertain: use the standard deviation of Student's t.
    widened = np.sqrt((count - 1) / (count - 3)) if count > 3 else 1.0
    return widened * values.std(0, ddof=1) / np.sqrt(count)


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over samples, without those that give a row no probability; nan if none is left."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(0) / known.sum(0)
