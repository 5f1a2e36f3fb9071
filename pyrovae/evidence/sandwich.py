r"""The sandwich: a lower and an upper bound on log p(x) that close on it (bidirectional Monte Carlo).

On data simulated from the model the latents that made each datum are an exact sample of its posterior.
From there annealing can run backwards:

    forward   E[w]   = p(x)       log mean w       is a lower bound in expectation
    reverse   E[1/w] = 1/p(x)     -log mean (1/w)  is an upper bound in expectation

The gap between them bounds the error of annealed importance sampling on such data, whatever the guide.

Reference:
    Grosse, Ghahramani & Adams (2015), "Sandwiching the marginal likelihood using bidirectional Monte Carlo".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.evidence.annealing import Schedule
from pyrovae.evidence.methods import AIS
from pyrovae.evidence.path import Start
from pyrovae.evidence.run import Pieces, checked, evaluating, shown, whole_number
from pyrovae.numerics import log_mean_exp, stderr_of_mean
from pyrovae.terms import Program
from pyrovae.vae import VAE

__all__ = ["Sandwich", "sandwich"]


@dataclass(frozen=True, eq=False)
class Sandwich:
    """Bounds on log p(x) of N simulated data for several lengths of the schedule, in nats.

    Attributes:
        temperatures: the lengths T of the schedule, ascending.
        lower: forward AIS, (len(temperatures), N).
        upper: reverse AIS, (len(temperatures), N).
        x: the simulated data, (N, *event).
        chains: for each datum and direction.
    """

    temperatures: tuple[int, ...]
    lower: np.ndarray = field(repr=False)
    upper: np.ndarray = field(repr=False)
    x: np.ndarray = field(repr=False)
    chains: int

    @property
    def gap(self) -> np.ndarray:
        """upper - lower of each datum with the longest schedule, (N,)."""
        return self.upper[-1] - self.lower[-1]

    @property
    def gaps(self) -> np.ndarray:
        """The mean gap for each length of the schedule."""
        return (self.upper - self.lower).mean(1)

    @property
    def gap_errors(self) -> np.ndarray:
        """The standard error between data of each mean gap."""
        return stderr_of_mean(self.upper - self.lower)

    def __str__(self) -> str:
        head = f"log p(x) of {self.lower.shape[1]:,} simulated data between AIS bounds, {self.chains} chains"
        columns = zip(
            self.temperatures, self.lower.mean(1), self.upper.mean(1), self.gaps, self.gap_errors, strict=True
        )
        rows = [
            f"  T = {t:<6} {low:10.3f} <= log p(x) <= {high:9.3f}   gap {gap:.3f} +- {error:.3f}"
            for t, low, high, gap, error in columns
        ]
        return "\n".join([head, *rows])


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
    r"""Bound log p(x) from below and above on data simulated from the model.

    \[\mathbb E\Big[\log \tfrac1C \sum_c w_c\Big] \le \log p(x) \le
    \mathbb E\Big[-\log \tfrac1C \sum_c \tfrac1{w_c}\Big]\]

    Arguments:
        vae: a `VAE`, or an object whose Pyro `model()` draws a datum when it is given none.
        count: the number N of data to simulate.
        context: (count, *context_shape) for a conditional VAE.
        temperatures: the lengths of the schedule to try.
        chains: for each datum and direction.
        start, schedule, leapfrog: as for `AIS`.
        seed: of the data and the draws.
        chunk: how many (chain, datum) pairs run at once; None chooses.
        progress: show a bar with the time left.

    Returns:
        `Sandwich`, with arrays of shape (len(temperatures), N) in nats.

    Raises:
        InputError: for a count, chains or temperatures below 1, or a model that cannot be simulated.

    Example:
        >>> from pyrovae.oracles import LinearGaussian
        >>> oracle = LinearGaussian.random(event_dim=4, latent_dim=2, guide_scale=0.7)
        >>> bounds = sandwich(oracle, count=20, temperatures=(5, 40))
        >>> bool(bounds.gaps[1] < bounds.gaps[0])
        True
    """
    lengths = tuple(sorted({whole_number("temperatures", t) for t in temperatures}))
    if not lengths:
        raise InputError("temperatures must name at least one length of the schedule, as in (10, 30, 100)")
    whole_number("count", count), whole_number("chains", chains)
    program = Program(vae)
    with evaluating(program):
        torch.manual_seed(seed)
        x, values, context = _simulated(program, count, context)
        checked(program, x, context)
        pieces = Pieces(program, x, context, seed=seed, chunk=chunk)
        bounds = []
        with shown("bidirectional Monte Carlo", len(lengths) * count, show=progress) as advance:
            for length in lengths:
                method, found = AIS(length, start, schedule, leapfrog), []
                for rows in pieces.rows(2 * chains):
                    found.append(_bounds(method, pieces, rows, values, chains))
                    advance(rows.stop - rows.start)
                bounds.append(torch.cat(found, 1))
    lower, upper = torch.stack(bounds, 1).cpu().numpy()
    return Sandwich(lengths, lower, upper, x.cpu().numpy(), chains)


def _bounds(method: AIS, pieces: Pieces, rows: slice, values: dict[str, Tensor], chains: int) -> Tensor:
    annealer = method.annealer(pieces.latents(rows), chains)
    lower = log_mean_exp(annealer.forward(), 0)
    upper = -log_mean_exp(-annealer.reverse({name: value[:, rows] for name, value in values.items()}), 0)
    return torch.stack([lower, upper])


def _simulated(program: Program, count: int, context: Any) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:  # noqa: ANN401
    """Data (N, *event), and the latents (1, N, *shape) that made them."""
    given = None if context is None else torch.as_tensor(context)
    if isinstance(program.target, VAE):
        like = next(program.target.parameters())
        given = None if given is None else given.to(like)
        if given is not None and len(given) != count:
            raise InputError(f"context has {len(given)} rows for {count} data: give one context for each")
        z = program.target.latents(given).expand((count,)).sample()
        x = program.target.decode(z, given).sample()
        return x.to(like.dtype), {"z": z.unsqueeze(0)}, given
    return *_by_tracing(program, count), None


def _by_tracing(program: Program, count: int) -> tuple[Tensor, dict[str, Tensor]]:
    traces: list[Any] = []
    for _ in range(count):
        try:
            trace = poutine.trace(program.model).get_trace()
        except TypeError as error:
            raise InputError(
                f"the model cannot be simulated: call it without data to draw one datum ({error})"
            ) from None
        traces.append(trace)
    sites = [n for n, s in traces[0].nodes.items() if s["type"] == "sample" and hasattr(s["value"], "dim")]
    drawn = {n: torch.cat([t.nodes[n]["value"] for t in traces]) for n in sites if n != "data"}
    x = drawn.pop("x", None)
    if x is None:
        raise InputError("the model cannot be simulated: it has no sample site named 'x'")
    return x, {n: v.unsqueeze(0) for n, v in drawn.items()}
