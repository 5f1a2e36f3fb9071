"""Checks that priors and guides share: shapes, densities, samples."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor

from pyrovae.evidence.draws import KeyedDraws
from pyrovae.priors import Prior
from pyrovae.testing.attaching import params
from pyrovae.testing.declarations import Check
from pyrovae.testing.failures import require, same, settings
from pyrovae.testing.subjects import LatentSubject

__all__ = ["CHECKS"]


def the_distribution_is_over_latents(subject: LatentSubject) -> None:
    """The event is (size,) and the batch (); expanding to leading dimensions changes no density."""
    size, distribution = subject.size, subject.distribution(subject.size)
    shapes = tuple(distribution.batch_shape), tuple(distribution.event_shape)
    require(
        shapes == ((), (size,)),
        f"the distribution of {subject.name} has batch {shapes[0]} and event {shapes[1]}, not () and "
        f"({size},): use to_event(1), and no leading dimensions of its own",
    )
    wide = distribution.expand((5, 3))
    z = wide.sample()
    require(
        tuple(z.shape) == (5, 3, size) and not z.requires_grad,
        f"samples of {subject.name} for rows (5, 3) have shape {tuple(z.shape)}, not (5, 3, {size}), or a "
        "gradient: expand must expand all parameters",
    )
    require(
        distribution.support.check(z).all(),
        f"{subject.name} draws samples outside its support: declare the support that it has",
    )
    whole = distribution.log_prob(z)
    cure = "log_prob must sum over the last dimension only"
    same(wide.log_prob(z), whole, f"log_prob of {subject.name} changes when it is expanded", cure)
    one = torch.stack([distribution.log_prob(row) for row in z.flatten(0, 1)]).reshape(5, 3)
    same(
        one, whole, f"log_prob of {subject.name} for one row differs from that among others", cure, rtol=1e-9
    )
    shape = tuple(distribution.expand((2,)).expand((4, 2)).sample((3,)).shape)
    require(
        shape == (3, 4, 2, size),
        f"3 samples of {subject.name} expanded to (4, 2) have shape {shape}: expand must work twice",
    )


def single_precision_is_enough(subject: LatentSubject) -> None:
    """500 samples in float32 have a finite density and lie inside the support."""
    with settings(torch.float32):
        distribution = subject.distribution(subject.size).expand((500,))
        z = distribution.sample()
        good = distribution.log_prob(z).isfinite().all() and distribution.support.check(z).all()
        require(
            z.dtype == torch.float32 and good,
            f"float32 samples of {subject.name} have no density: clamp them inside the support, or compute "
            "the density in logarithms",
        )


def the_density_integrates_to_one(subject: LatentSubject) -> None:
    """The density integrates, or the probabilities sum, to one."""
    for measured in subject.measured:
        measured.integrates_to_one()


def samples_follow_the_density(subject: LatentSubject) -> None:
    """20,000 samples follow the density, with a fixed seed."""
    for measured in subject.measured:
        measured.samples_follow()


def the_density_of_a_sample_is_that_of_its_value(subject: LatentSubject) -> None:
    """A sample and a copy of it have the same density, even if samples are cached."""
    distribution = subject.distribution(subject.size).expand((50,))
    samples = [distribution.rsample()] if distribution.has_rsample else []
    for z in (*samples, distribution.sample(), *samples):
        for copy in (z.detach().clone(), z.clone()):
            same(
                distribution.log_prob(z),
                distribution.log_prob(copy),
                f"log_prob of {subject.name} at its own sample differs from that of an equal vector",
                "log_prob must be a function of the value alone",
            )


def rows_draw_their_own_random_numbers(subject: LatentSubject) -> None:
    """Samples of a row do not depend on the other rows of an evaluation."""
    together = _drawn(subject, [0, 1, 2, 3])
    require(
        tuple(together.shape) == (6, 4, subject.size) and len(together.flatten(0, 1).unique(dim=0)) > 1,
        f"samples of {subject.name} for 6 particles of 4 rows have shape {tuple(together.shape)}, or are "
        "all equal",
    )
    require(
        torch.allclose(_drawn(subject, [2, 0]), together[:, [2, 0]], rtol=1e-7, atol=1e-7),
        f"samples of {subject.name} for a row depend on the other rows of an evaluation: make it of Pyro's "
        "distributions, or derive it from pyrovae.distributions.Composed",
    )


def _drawn(subject: LatentSubject, rows: list[int]) -> Tensor:
    part = subject.attach()
    if isinstance(part, Prior):
        distribution: Any = subject.distribution(subject.size).expand((len(rows),))
    else:
        distribution = part(**{name: p[rows] for name, p in params(part.param_shapes, 4).items()})
    keys = KeyedDraws([11 * row for row in rows], seed=3)
    plates = pyro.plate("particles", 6, dim=-2), pyro.plate("data", len(rows), dim=-1)
    with torch.no_grad(), keys, plates[0], plates[1]:
        return pyro.sample("z", distribution)


CHECKS: tuple[Check, ...] = (
    the_distribution_is_over_latents,
    single_precision_is_enough,
    the_density_integrates_to_one,
    samples_follow_the_density,
    the_density_of_a_sample_is_that_of_its_value,
    rows_draw_their_own_random_numbers,
)
