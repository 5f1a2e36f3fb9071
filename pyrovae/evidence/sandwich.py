r"""A lower and an upper bound that converge to log p(x) (bidirectional Monte Carlo).

If observations are simulated from the model, the latents that generated them are exact samples from
their posteriors. From there, annealing can run backwards:

    forward   E[w]   = p(x)       log mean w       is a lower bound in expectation
    reverse   E[1/w] = 1/p(x)     -log mean (1/w)  is an upper bound in expectation

The gap between the bounds limits the error of annealed importance sampling on such observations,
for any guide.

Reference:
    Grosse, Ghahramani & Adams (2015), "Sandwiching the marginal likelihood using bidirectional
    Monte Carlo".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import count_of, counts_of, whole
from pyrovae.datasets import Rows
from pyrovae.datasets.asked_labels import contexts_of
from pyrovae.display import Displayed, Summary
from pyrovae.evidence.annealing import Schedule
from pyrovae.evidence.methods import AIS
from pyrovae.evidence.origin import Start
from pyrovae.evidence.run import Pieces, evaluating, evaluation, finished, shown
from pyrovae.numerics import as_array, log_mean_exp, stderr_of_mean
from pyrovae.plots.diagnostics import gap_curve
from pyrovae.plots.style import Axes
from pyrovae.terms import Runner
from pyrovae.terms.global_posterior import simulated_at_centre

__all__ = ["Sandwich", "sandwich"]


@dataclass(frozen=True, eq=False, repr=False)
class Sandwich(Displayed):
    """Bounds on log p(x) of N simulated observations for several lengths of the schedule, in nats.

    Attributes:
        temperatures: the lengths T of the schedule, ascending.
        lower: forward AIS, (len(temperatures), N).
        upper: reverse AIS, (len(temperatures), N).
        x: the simulated observations, (N, *event).
        chains: the number of chains for each observation and direction.
    """

    temperatures: tuple[int, ...]
    lower: np.ndarray
    upper: np.ndarray
    x: np.ndarray
    chains: int

    @property
    def gap(self) -> np.ndarray:
        """upper - lower of each observation with the longest schedule, (N,)."""
        return self.upper[-1] - self.lower[-1]

    @property
    def gaps(self) -> np.ndarray:
        """The mean gap for each length of the schedule."""
        return (self.upper - self.lower).mean(1)

    @property
    def gap_errors(self) -> np.ndarray:
        """The standard error of each mean gap over observations."""
        return stderr_of_mean(self.upper - self.lower)

    def _summary(self) -> Summary:
        columns = self.temperatures, self.lower.mean(1), self.upper.mean(1), self.gaps, self.gap_errors
        lines = [
            (f"T = {t}", f"{low:10.3f} <= log p(x) <= {high:9.3f}   gap {gap:.3f} +- {error:.3f}")
            for t, low, high, gap, error in zip(*columns, strict=True)
        ]
        count = self.lower.shape[1]
        head = f"log p(x) of {count:,} simulated observations between AIS bounds, {self.chains} chains"
        return Summary(head, lines, width=10)

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw both bounds against the length of the schedule, with two standard errors."""
        bounds = self.lower, self.upper
        means, errors = [bound.mean(1) for bound in bounds], [stderr_of_mean(bound) for bound in bounds]
        return gap_curve(self.temperatures, *means, *errors, ax=ax)


def sandwich(
    vae: Any,  # noqa: ANN401
    *,
    count: int = 100,
    context: Any = None,  # noqa: ANN401
    temperatures: Sequence[int] = (10, 30, 100),
    chains: int = 16,
    start: Start = "guide",
    schedule: Schedule = "linear",
    leapfrog: int = 2,
    seed: int = 0,
    chunk: int | None = None,
    progress: bool = False,
) -> Sandwich:
    r"""Bound log p(x) from below and above on observations simulated from the model.

    \[\mathbb E\Big[\log \tfrac1C \sum_c w_c\Big] \le \log p(x) \le
    \mathbb E\Big[-\log \tfrac1C \sum_c \tfrac1{w_c}\Big]\]

    Variables that all rows share, such as the weights of a Bayesian decoder, are at their mean.

    Arguments:
        vae: a `VAE`, or an object whose Pyro `model()` draws an observation if called without one.
        count: the number N of observations to simulate.
        context: (count, *context_shape) for a conditional VAE.
        temperatures: the lengths of the schedule.
        chains: the number of chains for each observation and direction.
        start, schedule, leapfrog: as for `AIS`.
        seed: seed of the observations and the samples.
        chunk, progress: as for `log_evidence`.

    Returns:
        `Sandwich`, with arrays of shape (len(temperatures), N) in nats. After Ctrl-C it has the
        lengths of the schedule that are finished.

    Raises:
        InputError: if count, chains or temperatures are below 1, or the model cannot be simulated.

    Example:
        >>> from pyrovae.oracles import LinearGaussian
        >>> oracle = LinearGaussian.random(event_dim=4, latent_dim=2, guide_scale=0.7)
        >>> bounds = sandwich(oracle, count=20, temperatures=(5, 40))
        >>> bool(bounds.gaps[1] < bounds.gaps[0])
        True
    """
    lengths = counts_of("temperatures", temperatures)
    methods = [AIS(length, start, schedule, leapfrog) for length in lengths]
    count, chains, seed = whole("count", count), count_of("chains", chains), whole("seed", seed, 0)
    runner = Runner(vae)
    if context is not None:
        context = contexts_of(runner.program, context, Rows(torch.empty(count)))
        context = Rows.of(context, like=runner.parameter).x
    with evaluating(runner):
        torch.manual_seed(seed)
        x, values, means = simulated_at_centre(runner, count, context)
        with (
            evaluation(vae, x, context, seed=seed, chunk=chunk, shared=means) as pieces,
            shown("bidirectional Monte Carlo", len(lengths) * count, show=progress) as advance,
        ):
            bounds: list[Tensor] = []
            with finished(bounds):
                for method in methods:
                    bounds.append(_bounds(method, pieces, values, chains, advance))
    lower, upper = as_array(torch.stack(bounds, 1))
    return Sandwich(lengths[: len(bounds)], lower, upper, as_array(x), chains)


def _bounds(
    method: AIS, pieces: Pieces, values: dict[str, Tensor], chains: int, advance: Callable[[int], None]
) -> Tensor:
    """The lower and the upper bound of each observation, (2, N)."""
    columns = []
    for some in pieces.parts(2 * chains):
        annealer = method.annealer(some, chains)
        lower = log_mean_exp(annealer.forward(), 0)
        latents = {name: value[:, some.where] for name, value in values.items()}
        columns.append(torch.stack([lower, -log_mean_exp(-annealer.reverse(latents), 0)]))
        advance(len(some))
    return torch.cat(columns, 1)
