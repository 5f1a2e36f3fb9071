"""Samples and means of the posterior of global sites, and programs that are held there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from pyro import poutine
from torch import Tensor

from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.terms.global_sites import Fixed, apart, is_global, values_of
from pyrovae.terms.runner import Runner
from pyrovae.terms.trace import AtMeans
from pyrovae.threads import alone

__all__ = ["central_values", "drawn_values", "holding", "simulated_at_centre"]


@torch.no_grad()
def drawn_values(runner: Runner, rows: Rows) -> dict[str, Tensor]:
    """A sample of the global sites from the guide, with torch's random state."""
    return values_of(apart(poutine.trace(runner.guide).get_trace(*rows[:1].arguments))[1])


@torch.no_grad()
def central_values(runner: Runner, rows: Rows) -> dict[str, Tensor]:
    """The mean of each global site under the guide.

    Raises:
        InputError: for a site whose mean is not known.
    """
    known = runner.program.central_globals()
    if known is not None:
        return known
    try:
        with AtGlobalMeans():
            return drawn_values(runner, rows)
    except InputError:
        raise InputError(
            "the mean of a variable that all rows share is not known: average over samples of it instead, as "
            "log_evidence does"
        ) from None


@contextmanager
def holding(runner: Runner, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Hold the global sites of a checked program at given values, in the context.

    Methods of a VAE, such as `decode`, use them too.
    """
    with runner.program.holding(values), runner.held(values):
        yield


def simulated_at_centre(
    runner: Runner, count: int, context: Tensor | None
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor] | None]:
    """Observations sampled from the model, their latents, and the means of the global sites.

    The observations are sampled with the global sites at these means. The means are None if there
    are no such sites, or if the program knows them itself (`Program.central_globals`).
    """
    x, latents = runner.program.simulate(count, context)
    rows = Rows(x, context)
    if runner.program.central_globals() is not None or not runner.check(rows).global_sites:
        return x, latents, None
    means = central_values(runner, rows)
    with alone, Fixed(means):
        return *runner.program.simulate(count, context), means


class AtGlobalMeans(AtMeans):
    """Sets latent global sites to their means."""

    def _pyro_sample(self, msg: object) -> None:
        if is_global(msg):
            super()._pyro_sample(msg)
