"""The importance-weighted bound as a curve over the number of particles, from one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import counts_of
from pyrovae.display import Html, Summary, curves
from pyrovae.evidence.predictive import Given, Shared
from pyrovae.evidence.result import PerRow, about, with_error
from pyrovae.evidence.run import Pieces, checked, finished, refuse_undefined, refuse_weightless, shown
from pyrovae.memory import refuse_too_large
from pyrovae.numerics import log_mean_exp, stderr_of_mean
from pyrovae.plots.diagnostics import bound_curve
from pyrovae.plots.style import Axes

__all__ = ["BoundCurve", "iwae_bound"]


@dataclass(frozen=True, eq=False, repr=False)
class BoundCurve(PerRow):
    """L_K for several K, in nats.

    Attributes:
        particles: the values of K, ascending.
        bound: L_K of each observation, (len(particles), N).
        mc_stderr: the Monte Carlo standard error of `bound`, of the same shape; nan with a
            single group.
        partial: whether the evaluation was stopped before all observations were done.
        given: as for `Evidence`.
    """

    particles: tuple[int, ...]
    bound: np.ndarray
    mc_stderr: np.ndarray
    partial: bool = False
    given: str | None = None

    @property
    def mean(self) -> np.ndarray:
        """The mean for each K, in nats per observation."""
        return self.bound.mean(1)

    @property
    def stderr(self) -> np.ndarray:
        """The standard error of each mean over observations."""
        return stderr_of_mean(self.bound)

    def _summary(self) -> Summary:
        lines = [(f"L_{k}", with_error(bound)) for k, bound in zip(self.particles, self.bound, strict=True)]
        stopped = " (stopped early: partial)" if self.partial else ""
        means = {"posterior": " over the samples", "mean": " at the mean"}.get(self.given or "", "")
        of = f"{means} of the shared variables" if means else ""
        return Summary(f"bounds on {self.quantity}{of}, nats per observation{stopped}", lines, width=8)

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the bound against the number of particles, with two standard errors."""
        return bound_curve(self.particles, self.mean, self.stderr, ax=ax)

    def _sections(self) -> Sequence[Html]:
        drawn = curves({"bound": self.mean}, self.particles, label="particles", is_log=True)
        return [drawn] if len(self.particles) > 1 else []


def iwae_bound(
    vae: Any,  # noqa: ANN401
    x: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
    y: Any = None,  # noqa: ANN401
    *,
    particles: Sequence[int] = (1, 5, 50),
    seed: int = 0,
    chunk: int | None = None,
    progress: bool = False,
    given: Given = "posterior",
    weights: int | None = None,
) -> BoundCurve:
    r"""The bound L_K of each observation for several K, from one set of samples.

    \[\mathcal L_K = \mathbb E\Big[\log \frac1K \sum_{k=1}^K w_k\Big], \qquad
    \mathrm{ELBO} = \mathcal L_1 \le \mathcal L_5 \le \dots \le \log p(x)\]

    For each smaller K, the samples of the largest K are split into groups, whose bounds are
    averaged. If all rows share some variables w, it is a bound on the posterior predictive
    log p(x|D): the logarithm of the mean importance weight over K samples of z for each of S
    samples of w.

    Arguments:
        vae, x, context, y, seed, chunk: as for `log_evidence`.
        particles: the values of K.
        progress: show a bar with the time left.
        given, weights: as for `log_evidence`.

    Returns:
        `BoundCurve`, with arrays of shape (len(particles), N) in nats. After Ctrl-C it has the
        finished rows and is marked as partial.

    Raises:
        InputError: as for `log_evidence`.

    Reference:
        Burda, Grosse & Salakhutdinov (2016), "Importance Weighted Autoencoders", theorem 1.

    Example:
        >>> from pyrovae.oracles import LinearGaussian
        >>> oracle = LinearGaussian.random(event_dim=4, latent_dim=2)
        >>> curve = iwae_bound(oracle, oracle.sample(3), particles=(1, 5))
        >>> curve.bound.shape
        (2, 3)
    """
    counts = counts_of("particles", particles)
    refuse_too_large(f"{counts[-1]:,} weights of a row", 24 * counts[-1])
    columns: list[Tensor] = []
    with (
        checked(vae, x, context, y, seed=seed, chunk=chunk) as free,
        Shared(given, weights).draws(free) as (pieces, draws),
        shown("bounds", len(pieces), show=progress) as advance,
        finished(columns),
    ):
        for some in pieces.parts(counts[-1] * len(draws)):
            log_w = torch.stack([_log_w(at, counts[-1]) for at in draws.of(some)])
            refuse_undefined(torch.logsumexp(log_w, (0, 1)).cpu(), torch.arange(len(pieces))[some.where])
            columns.append(torch.stack([_grouped(log_w, k) for k in counts]).cpu())
            advance(len(some))
    bound, error = torch.cat(columns, -1).unbind(1)
    refuse_weightless(bound[-1])
    done = pieces.rows[: bound.shape[1]]
    partial = len(done) < len(pieces)
    return BoundCurve(counts, bound.numpy(), error.numpy(), partial=partial, given=draws.given, **about(done))


def _log_w(pieces: Pieces, particles: int) -> Tensor:
    return torch.cat([terms.log_w.double() for terms in pieces.terms(particles)])


def _grouped(log_w: Tensor, k: int) -> Tensor:
    """L_k and its error from log weights at S samples of shared variables, (S, K, B) -> (2, B)."""
    draws, groups = len(log_w), log_w.shape[1] // k
    parts = log_mean_exp(log_w[:, : groups * k].unflatten(1, (groups, k)), 2)
    bounds = log_mean_exp(parts, 0)
    if draws > 1:  # the groups share the samples, so their differences do not show the whole error
        each = log_mean_exp(parts, 1)
        error = (each - log_mean_exp(each, 0)).exp().std(0) / math.sqrt(draws)
    else:
        error = bounds.std(0) / math.sqrt(groups) if groups > 1 else torch.full_like(bounds[0], math.nan)
    return torch.stack([bounds.mean(0), error])
