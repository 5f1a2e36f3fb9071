"""Checks of likelihoods: densities, means, support, missing entries, precision, and a VAE."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.testing import programs
from pyrovae.testing.attaching import attached, params
from pyrovae.testing.declarations import MODULE_CHECKS, Check
from pyrovae.testing.failures import refuse, require, same, settings
from pyrovae.testing.spaces import unwrapped
from pyrovae.testing.subjects import LikelihoodSubject
from pyrovae.vae import VAE

__all__ = ["CHECKS"]

FAR = 50.0  # the largest output of a network
CANDIDATES = (-1e6, -1.0, 0.0, 1e-30, 0.25, 0.5, 1 - 2**-24, 1.0, 2.0, 3.0, 1e5)


def the_density_integrates_to_one(subject: LikelihoodSubject) -> None:
    """The density integrates, or the probabilities sum, to one.

    Events of several elements are checked if their values are few.
    """
    for measured in subject.measured:
        measured.integrates_to_one()


def samples_follow_the_density(subject: LikelihoodSubject) -> None:
    """20,000 samples of one element follow the density, with a fixed seed."""
    for measured in subject.measured:
        measured.samples_follow()


def the_event_is_that_of_the_data(subject: LikelihoodSubject) -> None:
    """The batch is that of the parameters and the event is `event_shape`.

    The density of independent elements is their product.
    """
    part, event = subject.attach(), subject.event_shape
    distribution = part(**params(part.param_shapes, 4))
    shapes = tuple(distribution.batch_shape), tuple(distribution.event_shape)
    require(
        shapes == ((4,), event),
        f"the distribution of {subject.name} for 4 rows has batch {shapes[0]} and event {shapes[1]}, not "
        f"(4,) and {event}: end forward with self.over_event(...)",
    )
    x = distribution.sample()
    log_px = distribution.log_prob(x)
    require(
        tuple(x.shape) == (4, *event) and tuple(log_px.shape) == (4,),
        f"{subject.name} gives samples of shape {tuple(x.shape)} and log_prob of shape "
        f"{tuple(log_px.shape)} for 4 rows, not {(4, *event)} and (4,)",
    )
    if isinstance(distribution, dist.Independent):
        elements = distribution.base_dist.log_prob(x).flatten(1).sum(1)
        same(
            log_px, elements, f"log_prob of an event of {subject.name} is not the sum over its elements", _SUM
        )


_SUM = "let over_event sum"


def leading_dimensions_pass_through(subject: LikelihoodSubject) -> None:
    """Each particle gives each row the score that the pair has alone."""
    part, event = subject.attach(), subject.event_shape
    given = params(part.param_shapes, 5, 4)
    distribution = part(**given)
    x = distribution.sample()[0]
    together = distribution.log_prob(x)
    require(
        tuple(together.shape) == (5, 4),
        f"log_prob of {subject.name} for 5 particles of 4 rows has shape {tuple(together.shape)}, not "
        "(5, 4): forward takes parameters with any leading dimensions",
    )
    for k, b in ((0, 0), (4, 3), (2, 1)):
        alone = part(**{name: value[k, b] for name, value in given.items()}).log_prob(x[b])
        what = f"log p(x|z) of {subject.name} for one row differs from that among others"
        same(alone, together[k, b], what, "rows must not influence each other")
    wide = part(**{name: value[0, 0] for name, value in given.items()}).expand((7,))
    shapes = tuple(wide.sample().shape), tuple(wide.log_prob(x[0]).shape)
    require(
        shapes == ((7, *event), (7,)),
        f"{subject.name} expanded to 7 rows gives shapes {shapes}: expand must work",
    )


def rows_stand_alone(subject: LikelihoodSubject) -> None:
    """log p(x|z) of a row in a VAE does not depend on the other rows.

    A likelihood with `of_batch` is checked in evaluation mode only.
    """
    vae = vae_with(subject)
    rows = programs.drawn(vae, 4)
    modes = (False, True) if not vae.likelihood.of_batch else (False,)
    for training in modes:
        vae.train(training)
        z = torch.randn(3, 4, 2)
        together = vae.decode(z).log_prob(rows.x)
        for i in range(4):
            alone = vae.decode(z[:, i : i + 1]).log_prob(rows.x[i : i + 1])
            same(
                alone,
                together[:, i : i + 1],
                f"log p(x|z) of {subject.name} for a row alone differs from that among others "
                f"{'in training' if training else 'in evaluation'}",
                "rows must not influence each other, unless the property of_batch says so",
                rtol=1e-12,
                atol=1e-12,
            )


def the_mean_is_that_of_samples(subject: LikelihoodSubject) -> None:
    """`mean` and `variance`, if defined, agree with 20,000 samples and with quadrature."""
    part = subject.attach()
    distribution = part(**params(part.param_shapes))
    try:
        mean = distribution.mean
    except NotImplementedError:
        return
    samples = distribution.expand((20_000,)).sample()
    require(
        mean.shape == samples[0].shape,
        f"the mean of {subject.name} has shape {tuple(mean.shape)}, not {tuple(samples[0].shape)}",
    )
    error = 6 * samples.std(0) / math.sqrt(len(samples)) + 1e-9
    worst = ((samples.mean(0) - mean).abs() / error).flatten().argmax()
    found, said = samples.mean(0).flatten()[worst], mean.flatten()[worst]
    require(
        ((samples.mean(0) - mean).abs() < error).all(),
        f"samples of {subject.name} have mean {found:.4g}, and its `mean` says {said:.4g}: give the mean of "
        "the same distribution",
    )
    for measured in subject.measured:
        if measured.distribution.event_shape.numel() == 1:
            _moments(subject, measured)


def _moments(subject: LikelihoodSubject, measured: Any) -> None:  # noqa: ANN401
    """Compare the mean and the variance with quadrature, unless the tails are too heavy."""
    mass, x = measured.log_mass.exp(), measured.rule.z[:, 0]
    try:
        said = measured.distribution.mean.item(), measured.distribution.variance.item()
    except NotImplementedError:
        return
    mean = (mass * x).sum().item()
    variance = (mass * (x - mean).square()).sum().item()
    fourth = (mass * (x - mean) ** 4).sum().item()
    if not math.isfinite(fourth) or fourth > 1e3 * variance**2:  # no rule gives moments of heavy tails
        return
    for name, found, wanted in zip(("mean", "variance"), (mean, variance), said, strict=True):
        require(
            math.isnan(wanted)  # torch's answer where it has no formula
            or abs(found - wanted) < 1e-3 * (abs(wanted) + math.sqrt(variance) + variance),
            f"the {name} of the density of {subject.name} is {found:.4g}, and its `{name}` says "
            f"{wanted:.4g}: give that of the same distribution",
        )


def values_outside_the_support_are_refused(subject: LikelihoodSubject) -> None:
    """`check` accepts samples, and refuses values outside the support in one sentence."""
    part = subject.attach()
    x = part(**params(part.param_shapes, 40)).sample()
    try:
        part.check(x)
    except InputError as error:
        refuse(f"{subject.name} refuses its own samples: {error}")
    outside = _outside(part, x)
    if outside is None:
        return
    try:
        part.check(outside, "the test data")
    except InputError as error:
        words = str(error)
        good = "the test data" in words and type(part).__name__ in words and "\n" not in words
        require(
            good, f"the message about values outside the support of {subject.name} names neither: {words}"
        )
    else:
        refuse(f"{subject.name} accepts values that have no density: give its distribution the right support")


def _outside(part: Any, x: Tensor) -> Tensor | None:  # noqa: ANN401
    """The samples with one value outside the support; None if every value is inside."""
    distribution = part(**params(part.param_shapes, len(x)))
    for value in (math.nan, *CANDIDATES):
        wrong = x.clone()
        wrong[7].view(-1)[-1] = value
        if not unwrapped(distribution.support).check(wrong).all():
            return wrong
    return None


def missing_entries_are_left_out(subject: LikelihoodSubject) -> None:
    """A missing entry (NaN) has log-density 0 and a finite gradient, if the support holds NaN."""
    part = subject.attach()
    given = {name: value.requires_grad_() for name, value in params(part.param_shapes, 3).items()}
    distribution = part(**given)
    x = distribution.sample()
    missing = torch.full_like(x, math.nan)
    if not unwrapped(distribution.support).check(missing).all():
        return
    one = x.clone()
    one[:, ..., :1] = math.nan
    rest = x.clone()
    rest[:, ..., 1:] = math.nan
    cure = "leave missing entries out of the sum"
    what = f"log_prob of {subject.name} is not 0 where all entries are missing"
    same(distribution.log_prob(missing), torch.zeros(3), what, cure)
    parts = distribution.log_prob(one) + distribution.log_prob(rest)
    what = f"log_prob of {subject.name} is not the sum over the entries that are present"
    same(parts, distribution.log_prob(x), what, cure)
    gradients = torch.autograd.grad(distribution.log_prob(one).sum(), list(given.values()), allow_unused=True)
    finite = all(g is None or g.isfinite().all() for g in gradients)
    require(finite, f"the gradient of {subject.name} is not finite with missing entries: replace them first")


def single_precision_is_right(subject: LikelihoodSubject) -> None:
    """log p(x|z) in float32 agrees with float64 at the same values."""
    part = subject.attach()
    given = params(part.param_shapes, 6)
    x = part(**given).sample().float()
    expected = part(**given).log_prob(x.double())
    part.float()
    found = part(**{name: value.float() for name, value in given.items()}).log_prob(x)
    require(found.dtype == torch.float32, f"log_prob of {subject.name} is {found.dtype} for float32 inputs")
    what = f"log_prob of {subject.name} in float32 differs from float64"
    same(found.double(), expected, what, "compute in logarithms (logsumexp, log1p)", rtol=1e-4, atol=1e-3)


def gradients_are_finite_far_out(subject: LikelihoodSubject) -> None:
    """Gradients in float32 are finite for parameters of -50, 0 and 50 and extreme data."""
    with settings(torch.float32):
        for size in (FAR, -FAR, 0.0):
            part = attached(subject.part, subject.event_shape).float()
            for x in _ends(part):
                given = {
                    n: torch.full((1, *s), size, requires_grad=True) for n, s in part.param_shapes.items()
                }
                log_px = part(**given).log_prob(x)
                gradients = torch.autograd.grad(
                    log_px.sum(), [*given.values(), *part.parameters()], allow_unused=True
                )
                require(
                    log_px.isfinite().all() and all(g is None or g.isfinite().all() for g in gradients),
                    f"{subject.name} is not finite, or has no finite gradient, at x = {x.flatten()[0]:g} "
                    f"with parameters of {size:g}: compute in logarithms, and give scales a floor",
                )


def _ends(part: Any) -> list[Tensor]:  # noqa: ANN401
    """Events of equal elements at both ends of the support, and a sample."""
    given = {n: torch.zeros(1, *s) for n, s in part.param_shapes.items()}
    distribution = part(**given)
    support = unwrapped(distribution.support)
    events = [torch.full((1, *part.event_shape), v) for v in CANDIDATES]
    inside = [x for x in events if support.check(x).all()]
    positive = inside and inside[0].flatten()[0] >= 0 and inside[-1].flatten()[0] > 3
    if positive and not getattr(support, "is_discrete", False):
        inside.append(torch.full((1, *part.event_shape), 1e30))
    return [*inside[:1], *inside[-1:], distribution.sample()]


# ---------------------------------------------------------------- in a VAE


def vae_with(subject: LikelihoodSubject, latent_dim: int = 2) -> VAE:
    """A small VAE with the likelihood."""
    shape = (3,) if (3,) in subject.event_shapes else subject.event_shape
    return programs.small_vae(
        shape, latent_dim, likelihood=subject.part, context_shape=subject.options.context_shape
    )


def it_serves_in_a_vae(subject: LikelihoodSubject) -> None:
    """log p(x) of each row is finite and independent of other rows."""
    programs.pieces_change_nothing(subject.name, vae_with(subject))


def log_px_agrees_with_quadrature(subject: LikelihoodSubject) -> None:
    """log p(x) of a VAE with one latent agrees with the integral over this latent."""
    programs.agrees_with_quadrature(subject.name, vae_with(subject, 1), count=10)


def it_trains_and_is_saved(subject: LikelihoodSubject) -> None:
    """A small VAE trains for ten steps, and is saved and loaded."""
    programs.trains(subject.name, lambda: vae_with(subject))


def the_step_is_captured_or_refused(subject: LikelihoodSubject) -> None:
    """The captured step gives the results of Python, or it is refused with a reason."""
    programs.captured_or_refused(subject.name, vae_with(subject))


CHECKS: tuple[Check, ...] = (
    *MODULE_CHECKS,
    the_density_integrates_to_one,
    samples_follow_the_density,
    the_event_is_that_of_the_data,
    leading_dimensions_pass_through,
    rows_stand_alone,
    the_mean_is_that_of_samples,
    values_outside_the_support_are_refused,
    missing_entries_are_left_out,
    single_precision_is_right,
    gradients_are_finite_far_out,
    it_serves_in_a_vae,
    log_px_agrees_with_quadrature,
    it_trains_and_is_saved,
    the_step_is_captured_or_refused,
)
